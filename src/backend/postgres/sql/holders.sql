select kind, pid, coalesce(name, ''), state, mark, seconds
from (
    select 'session' as kind, a.pid, a.application_name as name, a.state,
        coalesce(a.backend_xid, a.backend_xmin)::text as mark,
        extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds
    from pg_stat_activity a
    where (a.backend_xmin is not null or a.backend_xid is not null)
        and (a.datname is null or a.datname = current_database())
        and a.pid <> pg_backend_pid() and a.backend_type is distinct from 'autovacuum worker'
        and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
    union all
    select 'prepared transaction', null, p.gid, null, p.transaction::text,
        extract(epoch from clock_timestamp() - p.prepared)::float8
    from pg_prepared_xacts p where p.database = current_database()
    union all
    select 'replication slot', s.active_pid, s.slot_name, case when s.active then 'active' else 'inactive' end,
        coalesce(s.xmin, s.catalog_xmin)::text, null
    from pg_replication_slots s where s.xmin is not null or s.catalog_xmin is not null
) held
order by seconds desc nulls first
limit $1
