with picked as (
    select id from unit
    where spec_id = 1 and status = 1
    order by priority desc, name
    limit 100
    for update skip locked
), claimed as (
    update unit
    set status = 3, attempt_id = nextval('attempt_id'), worker_id = :client_id, started = now(),
        due = now() + interval '300 s', tries = tries + 1, attempt_data = null
    from picked
    where unit.id = picked.id
    returning unit.id, unit.attempt_id, unit.name, unit.data
)
select array_agg(id) as ids, array_agg(attempt_id) as attempts, array_agg(name) as names,
    array_agg(data) as data
from claimed \gset
update unit
set status = 4, due = null, attempt_data = data
from unnest(:ids::bigint[], :attempts::bigint[]) v(id, attempt_id)
where unit.id = v.id and unit.attempt_id = v.attempt_id and unit.status = 3;
