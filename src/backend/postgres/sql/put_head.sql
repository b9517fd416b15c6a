with context as (
    select $2::bigint as now, $3::bigint as history
), target as materialized (
    select id, shelf_id from spec where id = $1 for key share
), links as materialized (
    select * from unnest($4::bytea[], $5::boolean[], $6::bytea[], $7::double precision[], $8::bigint[])
        as k(key, is_text, data, priority, not_before)
    where exists (select from target)
), inserted as (
    insert into unit (shelf_id, priority, not_before, due, status, is_text, key, data)
    select (select shelf_id from target), k.priority, k.not_before,
        case when k.not_before > (select now from context) then k.not_before end,
        case when k.not_before > (select now from context) then 2 else 1 end,
        k.is_text, k.key, k.data
    from links k
    on conflict on constraint unit_key do nothing
    returning status, key
), missing as materialized (
    select k.key from links k
    where (select count(*) from inserted) < (select count(*) from links)
        and not exists (select from inserted i where i.key = k.key)
), locked as materialized (
    select l.* from missing k cross join lateral (
        select u.* from unit u
        where u.shelf_id = (select shelf_id from target) and u.key = k.key
        offset 0 for update skip locked
    ) l
