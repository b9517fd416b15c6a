
), links as materialized (
    select distinct on (c.key) c.key, first_value(c.is_text) over same as is_text, c.data,
        coalesce(c.priority, p.priority) as priority, c.not_before
    from target cross join unnest($18::bytea[], $19::boolean[], $20::bytea[], $21::double precision[],
            $22::bigint[], $23::bigint[])
        with ordinality as c(key, is_text, data, priority, not_before, change, ord)
    join planned p on p.ord = c.change
    window same as (partition by c.key order by c.ord)
    order by c.key, c.ord desc
