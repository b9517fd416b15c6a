), inserted as (
    insert into unit (shelf_id, priority, not_before, due, status, is_text, key, data)
    select (select shelf_id from target), k.priority, k.not_before,
        case when k.not_before > (select now from context) then k.not_before end,
        case when k.not_before > (select now from context) then 2 else 1 end,
        k.is_text, k.key, k.data
    from links k
