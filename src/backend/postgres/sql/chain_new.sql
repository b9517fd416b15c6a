    where not exists (select from present p where p.key = k.key)
    order by k.key
    on conflict on constraint unit_key do nothing
    returning status
