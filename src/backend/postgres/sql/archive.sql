with source as materialized (
    select shelf_id from spec where id = $1
), kept as (
    select coalesce(sum(case $2::smallint when 4 then finished - archived_finished
        else failed - archived_failed end), 0)::bigint as count
    from tally where shelf_id = (select shelf_id from source)
), first as materialized (
    select id, ends from unit
    where shelf_id = (select shelf_id from source) and status = $2::smallint and status in (4, 5)
        and ends >= $6
    order by ends limit 1
), due as materialized (
    select * from first where ends < $3 or (select count from kept) > $4::bigint
), turn as materialized (
    select from due cross join lateral (
        select from unit u where u.id = due.id and u.status = $2::smallint and u.ends = due.ends
        offset 0 for update skip locked
    ) l
), oldest as materialized (
    select id, ends, row_number() over before as place, sum(greatest(tries, 1)) over before as rows
    from (
        select id, ends, tries from unit
        where shelf_id = (select shelf_id from source) and status = $2::smallint and status in (4, 5)
            and ends >= $6 and exists (select from turn)
        order by ends limit $5::bigint + 1
    ) first
    window before as (order by ends rows unbounded preceding)
), old as materialized (
    select * from oldest where ends < $3 or place <= (select count from kept) - $4::bigint
), taken as materialized (
    select * from old where place = 1 or place <= $5 and rows <= $5
), locked as materialized (
    select t.id from taken t cross join lateral (
        select from unit u where u.id = t.id and u.status = $2::smallint and u.ends = t.ends
        offset 0 for update skip locked
    ) l
), gone as (
    delete from unit u where u.id = any (array(select id from locked)) returning u.shelf_id
), counted as (
    insert into tally (shelf_id, archived_finished, archived_failed)
    select shelf_id, count(*) filter (where $2::smallint = 4), count(*) filter (where $2::smallint = 5)
    from gone group by shelf_id
)
select exists (select from due) and not exists (select from turn), (select count(*) from gone),
    (select count(*) from old) > (select count(*) from taken), (select max(ends) from taken)
