), locked as materialized (
    select u.* from unit u
    where u.id = any ($5) and u.shelf_id = (select shelf_id from source)
    order by u.key
    for update
