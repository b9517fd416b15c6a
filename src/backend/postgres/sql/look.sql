select a.ord,
    case
        when u.id is null then 2
        -- Data or a delay of a unit without an attempt: no harm if it is given again.
        when a.op = 1 then case when u.attempt_id is null then 1 else 2 end
        -- An attempt that began with the call.
        when a.op = 2 then case
            when u.started = $2 and u.worker = a.worker or exists (
                select from attempt where unit_id = a.unit and started = $2 and worker = a.worker
            ) then 0
            when $3::bigint > 0 then 1
            else 2 end
        -- The attempt is the unit's still.
        when u.attempt_id = a.attempt then
            case when a.op = 5 and u.status = 4 or a.op = 6 and u.status = 5 then 0 else 1 end
        -- A renewal of an attempt that is over is nothing to anyone.
        when a.op = 3 then 1
        when t.id is null then 2
        when a.op = 5 then case when t.how = 3 then 0 else 1 end
        when a.op = 6 then case when t.how = 4 then 0 else 1 end
        -- Cleared, and not superseded, with this data.
        when a.phase = 1 then case
            when t.how in (1, 2) and not t.held and (a.data is null or a.data = t.data) then 0
            else 1 end
        else 0
    end,
    u.status, u.attempt_id, u.worker, u.due,
    (select t.id from spec s join spec t on t.namespace_id = s.namespace_id and t.name = s.next_name
        where s.id = $1)
from unnest($4::bigint[], $5::smallint[], $6::bigint[], $7::smallint[], $8::bytea[], $9::bytea[])
    with ordinality as a(unit, phase, attempt, op, worker, data, ord)
left join lateral (select * from unit where id = a.unit offset 0) u on true
left join lateral (select * from attempt where unit_id = a.unit and id = a.attempt offset 0) t on true
order by a.ord
