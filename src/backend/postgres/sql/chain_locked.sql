), target as materialized (
    select t.id, t.shelf_id from spec s join spec t on t.namespace_id = s.namespace_id and t.name = s.next_name
    where s.id = $1 and s.version = $2
    for key share of t
), locked as materialized (
    select l.* from (
        (select id, shelf_id, key from unit where id = any ($5) offset 0)
        union
        select u.id, t.shelf_id, k.key from target t cross join unnest($18::bytea[]) k(key)
        cross join lateral (select id from unit where shelf_id = t.shelf_id and key = k.key offset 0) u
        order by shelf_id, key
    ) touched cross join lateral (select u.* from unit u where u.id = touched.id offset 0 for update) l
    where l.shelf_id in ((select shelf_id from source), (select shelf_id from target))
