with buried as materialized (
    select shelf_id from buried_shelf order by shelf_id limit 1 for update skip locked
), found as materialized (
    select id, key, row_number() over before as place, sum(greatest(tries, 1)) over before as rows
    from (
        select id, key, tries from unit
        where shelf_id = (select shelf_id from buried)
            and key >= (select case when shelf_id = $2 then $3::bytea else '' end from buried)
        order by key limit $1::bigint + 1
    ) first
    window before as (order by key rows unbounded preceding)
), taken as materialized (
    select * from found where place = 1 or place <= $1 and rows <= $1
), locked as materialized (
    select t.id from taken t cross join lateral (
        select from unit u where u.id = t.id offset 0 for update skip locked
    ) l
), gone as (
    delete from unit u where u.id = any (array(select id from locked)) returning 1
), counts as materialized (
    select ctid as at from tally where shelf_id = (select shelf_id from buried)
    limit $1 for update skip locked
), uncounted as (
    delete from tally t where t.ctid = any (array(select at from counts)) returning 1
), state as materialized (
    select (select count(*) from found) > (select count(*) from taken) as is_more,
        (select count(*) from locked) = (select count(*) from taken) as is_clean,
        (select count(*) from counts) = (
            select count(*) from tally where shelf_id = (select shelf_id from buried)
        ) as is_uncounted
), done as (
    delete from buried_shelf b using buried, state
    where b.shelf_id = buried.shelf_id and not is_more and is_clean and is_uncounted
        and ($4::boolean or b.shelf_id <> $2)
    returning 1
)
select shelf_id, (select key from taken order by place desc limit 1), is_more, is_clean, (select count(*) from gone) from buried, state
