with context as (
    select $2::bigint as now, $3::bigint as history
), target as materialized (
    select id, shelf_id from spec where id = $1 for key share
), links as materialized (
    select * from unnest($4::bytea[], $5::boolean[], $6::bytea[], $7::double precision[], $8::bigint[])
        as k(key, is_text, data, priority, not_before)
    where exists (select from target)
