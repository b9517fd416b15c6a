-- A queue as one would write it for pgbench: one row per unit, the current attempt in
-- it, and indexes for what any job server asks. No checks, no foreign keys, no counts. A
-- claim returns key and data, as ours does; a finish stores data of the attempt, but need
-- not be sent it.
create sequence attempt_id cache 32;
create table unit (
    id           bigint generated always as identity primary key,
    spec_id      bigint not null,
    name         bytea not null,
    status       smallint not null,
    priority     double precision not null,
    due          timestamptz,
    tries        integer not null default 0,
    attempt_id   bigint,
    worker_id    bigint,
    started      timestamptz,
    attempt_data bytea,
    data         bytea not null,
    unique (spec_id, name)
) with (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
create index unit_ready   on unit (spec_id, priority desc, name) where status = 1;
create index unit_due     on unit (due) where status in (2, 3);
create index unit_pending on unit (spec_id) where status = 3;
create index unit_worker  on unit (worker_id) where status = 3;
