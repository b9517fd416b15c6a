with context as (
    select $2::bigint as now, $3::bigint as history
), target as materialized (
    select id, shelf_id from spec where id = $1 and version = $4 for key share
), links as materialized (
    select distinct on (c.key) c.key, first_value(c.is_text) over same as is_text, c.data,
        coalesce(c.priority, made.priority) as priority, c.not_before
    from target cross join unnest($6::bytea[], $7::boolean[], $8::bytea[], $9::double precision[],
            $10::bigint[], $11::bigint[])
        with ordinality as c(key, is_text, data, priority, not_before, change, ord)
    join unnest($5::bigint[]) with ordinality as source(id, change) on source.change = c.change
    cross join lateral (
        select priority from unit
        where id = source.id and status = 4 and xmin = pg_current_xact_id()::xid offset 0
    ) made
    window same as (partition by c.key order by c.ord)
    order by c.key, c.ord desc
), locked as materialized (
    select l.* from links k cross join lateral (
        select u.* from unit u
        where u.shelf_id = (select shelf_id from target) and u.key = k.key
        offset 0 for update
    ) l
