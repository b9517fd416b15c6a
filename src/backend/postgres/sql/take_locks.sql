with found as materialized (
    select taken from receipt where daemon = $12 and call = $13
), asked as materialized (
    select * from unnest($3::bytea[], $4::bytea[]) with ordinality as p(path, path_end, ord)
    where not exists (select from found)
), judged as materialized (
    select ord, (array_agg(path) filter (where path is not null))[1] as path,
        (array_agg(path_end) filter (where path is not null))[1] as path_end,
        (array_agg(owner order by rank) filter (where owner is not null))[1] as holder
    from (
        select ord, path, path_end, null::bytea as owner, null::integer as rank from asked
        union all
        select f.ord, null, null, l.owner, length(f.prefix)
        from unnest($5::bytea[], $6::bigint[]) f(prefix, ord) cross join lateral (
            select owner from lock
            where namespace_id = $1 and path = f.prefix and deadline >= $2 offset 0
        ) l
        where not exists (select from found)
        union all
        select a.ord, null, null, l.owner, 2147483647
        from asked a cross join lateral (
            select owner from lock
            where namespace_id = $1 and path >= a.path and path < a.path_end and deadline >= $2
            order by path limit 1
        ) l
    ) known
    group by ord
), free as materialized (
    select ord, path, path_end from judged
    where holder is null
        and (select count(*) from judged where holder is null) >= $7::bigint
        and ord not in (
            select e.ord from unnest($8::bigint[], $9::bigint[]) e(ord, above)
            where e.above in (select ord from judged where holder is null)
        )
), ended as (
    delete from lock
    where namespace_id = $1 and deadline < $2 and path = any (array(
        select f.prefix from unnest($5::bytea[], $6::bigint[]) f(prefix, ord)
        where f.ord in (select ord from free)
        union all
        select l.path from free a cross join lateral (
            select path from lock
            where namespace_id = $1 and path > a.path and path < a.path_end and deadline < $2 offset 0
        ) l
    ))
), taken as (
    insert into lock (namespace_id, path, owner, deadline)
    select $1, path, $10, $11 from free order by path
    on conflict (namespace_id, path) do update set owner = $10, deadline = $11
), receipted as (
    insert into receipt (daemon, call, until, taken)
    select $12, $13, $14, array(select ord from free) where exists (select from free)
)
select j.ord, j.holder, j.ord in (select ord from free), (select taken from found)
from namespace n left join judged j on true
where n.id = $1 order by j.ord
