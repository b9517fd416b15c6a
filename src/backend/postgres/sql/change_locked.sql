), locked as materialized (
    select l.* from (
        select id from (select id, shelf_id, key from unit where id = any ($5) offset 0) asked
        order by shelf_id, key
    ) touched cross join lateral (select u.* from unit u where u.id = touched.id offset 0 for update) l
    where l.shelf_id = (select shelf_id from source)
