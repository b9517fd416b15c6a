with context as (
    select $3::bigint as now, $17::bigint as history
), source as materialized (
    select shelf_id from spec where id = $1 and version = $2
), asked as materialized (
    select * from unnest($5::bigint[], $6::smallint[], $7::bigint[], $8::smallint[], $9::smallint[],
            $10::bigint[], $11::bytea[], $12::bytea[], $13::bytea[])
        with ordinality as a(unit, phase, attempt, op, outcome, until, worker, data, expected, ord)
