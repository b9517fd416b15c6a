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
