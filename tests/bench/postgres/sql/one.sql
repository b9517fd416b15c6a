with picked as (
    select id from unit
    where spec_id = 1 and status = 1
    order by priority desc, name
    limit 1
    for update skip locked
)
update unit
set status = 3, attempt_id = nextval('attempt_id'), worker_id = :client_id, started = now(),
    due = now() + interval '300 s', tries = tries + 1, attempt_data = null
from picked
where unit.id = picked.id
returning unit.id, unit.attempt_id as attempt, unit.name as name, unit.data as data \gset
update unit
set status = 4, due = null, attempt_data = data
where id = :id and attempt_id = :attempt and status = 3;
