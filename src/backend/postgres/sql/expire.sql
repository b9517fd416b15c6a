with leases as materialized (
    select id, status from unit
    where shelf_id = (select shelf_id from spec where id = $1) and status = 3 and due > $4 and due <= $2
    order by due limit $3
    for update skip locked
), delays as materialized (
    select id, status from unit
    where shelf_id = (select shelf_id from spec where id = $1) and status = 2 and due > $4 and due <= $2
    order by due limit $3
    for update skip locked
), ended as materialized (
    select * from leases union all select * from delays
), moved as (
    update unit u
    set status = case when u.not_before > $2 then 2 else 1 end,
        due = case when u.not_before > $2 then u.not_before end
    from ended e
    where u.id = e.id and u.id = any (array(select id from ended))
    returning u.shelf_id, e.status as was, u.status, u.priority, u.key
), counted as (
    insert into tally (shelf_id, available, delayed, pending)
    select shelf_id, count(*) filter (where status = 1),
        count(*) filter (where status = 2) - count(*) filter (where was = 2),
        -count(*) filter (where was = 3)
    from moved group by shelf_id
)
select count(*), count(*) filter (where status = 1),
    (select priority from moved where status = 1 order by priority desc, key limit 1),
    (select key from moved where status = 1 order by priority desc, key limit 1)
from moved
