), judged as materialized (
    select a.ord, a.op, a.outcome, a.until, a.worker as asker, a.data as given, l.*,
        l.status <> 3 or coalesce(l.due <= $3, false) as is_over,
        case
            when l.id is null then 1
            when a.attempt is distinct from l.attempt_id or a.phase <> case l.status
                when 4 then 2 when 5 then 3 else (l.attempt_id is not null)::integer end
                or a.expected <> coalesce(l.attempt_data, l.data) then 2
            when $4::bigint > 0 and (a.op = 2 and a.outcome = 3
                or a.op = 3 and (l.status <> 3 or l.due <= $14)) then case
                when $15::boolean is null then 4
                when $15::boolean and $4::bigint > (
                    select count(*) from (
                        select from unit o
                        where o.shelf_id = (select shelf_id from source) and o.status = 3
                            and (o.due > $3 or o.due is null) and o.id <> l.id
                        limit $4::bigint
                    ) live
                ) then 0
                else 3 end
            else 0
        end as verdict
    from asked a left join locked l on l.id = a.unit
), planned as materialized (
    select j.*, coalesce(j.attempt_data, j.data) as shown,
        case
            when op in (1, 4) then case
                when (case op when 1 then coalesce(until, not_before) else until end) > $3 then 2 else 1 end
            when op = 2 then outcome
            when op = 3 then 3
            when op = 5 then 4
            else 5
        end::smallint as new_status,
        case op when 1 then coalesce(until, not_before) when 4 then until else not_before end as new_not_before,
        case
            when op = 2 then until
            when op = 3 then coalesce(until, case when is_over then $16::bigint else ends end)
            else $3
        end as new_ends
    from judged j where verdict = 0
), moved as (
    update unit u
    set status = p.new_status,
        not_before = p.new_not_before,
        due = case p.new_status
            when 2 then p.new_not_before
            when 3 then case when p.new_ends < 9223372036854775807 then p.new_ends + 1 end
        end,
        data = case when p.op = 1 then coalesce(p.given, p.data) else p.data end,
        attempt_id = case when p.op = 2 then nextval('attempt_id') when p.op <> 4 then p.attempt_id end,
        worker = case when p.op = 2 then p.asker when p.op <> 4 then p.worker end,
        started = case when p.op = 2 then $3 when p.op <> 4 then p.started end,
        ends = case when p.op in (2, 3, 5, 6) then p.new_ends end,
        attempt_data = case when p.op = 2 then p.given when p.op in (3, 5, 6) then coalesce(p.given, p.attempt_data) end,
        tries = case when p.op = 2 then least(p.tries, 2147483646) + 1 else p.tries end
    from planned p
    where u.id = p.id and u.id = any (array(select id from planned))
    returning p.ord, u.id, u.shelf_id, u.status, u.attempt_id, u.worker, u.due, p.status as was
), counted as (
    insert into tally (shelf_id, available, delayed, pending, finished, failed)
    select shelf_id,
        count(*) filter (where status = 1) - count(*) filter (where was = 1),
        count(*) filter (where status = 2) - count(*) filter (where was = 2),
        count(*) filter (where status = 3) - count(*) filter (where was = 3),
        count(*) filter (where status = 4) - count(*) filter (where was = 4),
        count(*) filter (where status = 5) - count(*) filter (where was = 5)
    from moved where status <> was group by shelf_id
), logged as (
    insert into attempt (unit_id, id, started, ended, how, held, worker, data)
    select id, attempt_id, started,
        case when is_over then ends else $3 end,
        case when status = 4 then 3 when status = 5 then 4 when is_over or until is null then 1 else 2 end,
        false, worker,
        case when status < 4 then coalesce(given, attempt_data) else attempt_data end
    from planned where op = 4 and $17::bigint > 0
    returning unit_id
), forgotten as (
    delete from attempt a
    where a.unit_id = any (array(select unit_id from logged)) and a.id <= (
        select id from attempt o where o.unit_id = a.unit_id
        order by id desc offset greatest($17::bigint - 1, 0) limit 1
    )