), present as materialized (
    select l.*, k.data as new_data, k.priority as new_priority, k.not_before as new_not_before,
        l.status = 3 and coalesce(l.due > (select now from context), true) as is_live
    from locked l join links k on k.key = l.key
    where l.shelf_id = (select shelf_id from target)
