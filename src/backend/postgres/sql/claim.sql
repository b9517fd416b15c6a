with source as materialized (
    select shelf_id from spec where id = $1 and version = $2 for share
), due as materialized (
    select $12::boolean and (
        exists (select from unit where shelf_id = (select shelf_id from source) and status = 3 and due > $15 and due <= $3)
        or exists (select from unit where shelf_id = (select shelf_id from source) and status = 2 and due > $15 and due <= $3)
    ) as is_due
), room as materialized (
    select case
        when (select is_due from due) then 0
        when $11::bigint = 0 then $7::bigint
        else greatest(0, least($7::bigint, $11::bigint - (
            select count(*) from (
                select from unit
                where shelf_id = (select shelf_id from source) and status = 3 and (due > $3 or due is null)
                limit $11::bigint
            ) live
        )))
    end as room
), from_floor as materialized (
    select id, key, priority, tries, attempt_id, worker, started, ends, attempt_data,
        octet_length(data)::bigint as bytes
    from unit
    where shelf_id = (select shelf_id from source) and status = 1
        and (-priority, key) >= (-coalesce($13::double precision, 'Infinity'), coalesce($14::bytea, ''))
    order by -priority, key
    limit (select room from room)
    for update skip locked
), before_floor as materialized (
    select id, key, priority, tries, attempt_id, worker, started, ends, attempt_data,
        octet_length(data)::bigint as bytes
    from unit
    where shelf_id = (select shelf_id from source) and status = 1
    order by -priority, key
    limit case
        when $13::double precision is null or exists (select from from_floor) then 0
        else (select room from room)
    end
    for update skip locked
), picked as materialized (
    select * from from_floor union all select * from before_floor
), numbered as (
    select picked.*, row_number() over (order by priority desc, key) as place
    from picked
    where $8::bigint = 0 or tries < $8::bigint
), placed as (
    select n.*, ($5::integer[])[place] as ord from numbered n
), offered as (
    select p.*, row_number() over same as nth, sum(bytes) over same as bytes_so_far
    from placed p
    window same as (partition by ord order by place)
), given as materialized (
    select * from offered where nth = 1 or bytes_so_far <= $9::bigint
), claimed as (
    update unit u
    set status = 3, tries = least(u.tries, 2147483646) + 1, attempt_id = nextval('attempt_id'),
        worker = ($4::bytea[])[g.ord], started = $3, ends = ($6::bigint[])[g.ord], attempt_data = null,
        due = case when ($6::bigint[])[g.ord] < 9223372036854775807 then ($6::bigint[])[g.ord] + 1 end
    from given g
    where u.id = g.id and u.id = any (array(select id from given))
    returning g.ord, g.place, u.id, u.key, u.is_text, u.data, u.attempt_id, u.tries, u.priority
), counted as (
    insert into tally (shelf_id, available, pending)
    select (select shelf_id from source), -count(*), count(*) from claimed having count(*) > 0
), logged as (
    insert into attempt (unit_id, id, started, ended, how, held, worker, data)
    select id, attempt_id, started, ends, 1, true, worker, attempt_data
    from given where attempt_id is not null and $10::bigint > 0
    returning unit_id
), forgotten as (
    delete from attempt a
    where a.unit_id = any (array(select unit_id from logged)) and a.id <= (
        select id from attempt o where o.unit_id = a.unit_id
        order by id desc offset greatest($10::bigint - 1, 0) limit 1
    )
)
select exists (select from source) as fresh, (select is_due from due) as is_due,
    (select count(*) from picked) as picked, r.*
from (select 1) one left join (
    select true as given, ord, place, id, key, is_text, data, attempt_id, tries, priority from claimed
    union all
    select false, null::integer, null, p.id, p.key, false, u.data, p.attempt_id, p.tries, p.priority
    from picked p cross join lateral (select data from unit where id = p.id offset 0) u
    where $8::bigint > 0 and p.tries >= $8::bigint
) r on true
order by r.place
