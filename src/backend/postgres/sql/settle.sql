-- `status + 0`, so that units are found by their ids and not among all that are pending.
with source as materialized (
    select shelf_id from spec where id = $1 and version = $2
), moved as (
    update unit u
    set status = a.status, due = null, ends = $3, attempt_data = coalesce(a.data, u.attempt_data)
    from unnest($4::bigint[], $5::bigint[], $6::smallint[], $7::bytea[]) a(unit, attempt, status, data)
    where u.id = a.unit and u.id = any ($4) and u.shelf_id = (select shelf_id from source)
        and u.status + 0 = 3 and u.attempt_id = a.attempt and (u.due > $3 or u.due is null)
    returning u.id, u.status, u.attempt_id, u.worker
), counted as (
    insert into tally (shelf_id, pending, finished, failed)
    select (select shelf_id from source), -count(*),
        count(*) filter (where status = 4), count(*) filter (where status = 5)
    from moved having count(*) > 0
)
select exists (select from source) as fresh, m.*
from (select 1) one left join moved m on true
