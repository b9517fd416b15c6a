), replaced as (
    update unit u
    set data = p.new_data, priority = p.new_priority, not_before = p.new_not_before,
        status = case when p.is_live then 3 when p.new_not_before > (select now from context) then 2 else 1 end,
        due = case when p.is_live then p.due when p.new_not_before > (select now from context) then p.new_not_before end,
        attempt_id = case when p.status < 4 then p.attempt_id end,
        worker = case when p.status < 4 then p.worker end,
        started = case when p.status < 4 then p.started end,
        ends = case when p.status < 4 then p.ends end,
        attempt_data = case when p.status < 4 then p.attempt_data end
    from present p
    where u.id = p.id and u.id = any (array(select id from present))
    returning u.status, p.status as was
), put as materialized (
    select status, was from replaced union all select status, null from inserted
), put_counted as (
    insert into tally (shelf_id, available, delayed, pending, finished, failed)
    select (select shelf_id from target),
        count(*) filter (where status = 1) - count(*) filter (where was = 1),
        count(*) filter (where status = 2) - count(*) filter (where was = 2),
        -count(*) filter (where was = 3 and status <> 3),
        -count(*) filter (where was = 4),
        -count(*) filter (where was = 5)
    from put where was is distinct from status having count(*) > 0
), put_logged as (
    insert into attempt (unit_id, id, started, ended, how, held, worker, data)
    select id, attempt_id, started, ends, case status when 4 then 3 else 4 end, false, worker, attempt_data
    from present where status > 3 and (select history from context) > 0
    returning unit_id
), put_forgotten as (
    delete from attempt a
    where a.unit_id = any (array(select unit_id from put_logged)) and a.id <= (
        select id from attempt o where o.unit_id = a.unit_id
        order by id desc offset greatest((select history from context) - 1, 0) limit 1
    )
)
