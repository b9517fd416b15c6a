with locked as materialized (
    select l.* from unnest($2::bigint[], $3::integer[], $4::bytea[]) as e(id, tries, data)
    cross join lateral (
        select u.id, u.shelf_id, u.attempt_id, u.worker, u.started, u.ends, u.attempt_data, e.data as final
        from unit u
        where u.id = e.id and u.status = 1 and u.tries = e.tries
        offset 0 for update skip locked
    ) l
), failed as (
    update unit u
    set status = 5, tries = least(u.tries, 2147483646) + 1, attempt_id = nextval('attempt_id'),
        worker = $5, started = $1, ends = $1, due = null, attempt_data = l.final
    from locked l
    where u.id = l.id and u.id = any (array(select id from locked))
    returning u.id, u.shelf_id
), counted as (
    insert into tally (shelf_id, available, failed)
    select shelf_id, -count(*), count(*) from failed group by shelf_id
), logged as (
    insert into attempt (unit_id, id, started, ended, how, held, worker, data)
    select id, attempt_id, started, ends, 1, true, worker, attempt_data
    from locked where attempt_id is not null and $6::bigint > 0
    returning unit_id
), forgotten as (
    delete from attempt a
    where a.unit_id = any (array(select unit_id from logged)) and a.id <= (
        select id from attempt o where o.unit_id = a.unit_id
        order by id desc offset greatest($6::bigint - 1, 0) limit 1
    )
)
select count(*) from failed
