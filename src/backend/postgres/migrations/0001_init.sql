-- Everything that is kept, for any number of daemons on one schema.
--
-- Names, keys and modes are bytea: they sort bytewise, whatever the database's
-- collation, and may hold any character, NUL included. Times are microseconds since the
-- epoch, as the daemons pass them in; nothing here reads the server's clock. No id is
-- given out twice.
--
-- Order of locks, so that no two statements wait for each other in a circle:
--   1. namespace rows, 2. lock_gate rows by (namespace, gate), 3. spec rows by id,
--   4. unit rows by (shelf, key), 5. new unit keys in order. Statements that take unit
--   rows in another order (claims, expiry) skip rows that are locked and never wait.

create table namespace (
    id   bigint generated always as identity primary key,
    name bytea not null unique
);

-- The units of a spec are on a shelf. Deleting them all is giving the spec an empty
-- shelf; the old one is buried, and cleared in small steps.
create sequence shelf_id;

create table spec (
    id                   bigint generated always as identity primary key,
    namespace_id         bigint not null references namespace,
    name                 bytea not null,
    version              bigint not null default 1,  -- counts changes of what follows
    shelf_id             bigint not null unique default nextval('shelf_id'),
    definition           bytea not null,             -- one CBOR map, as the client sent it
    paused               boolean not null,
    priority             bigint not null,
    weight               bigint not null,
    continuous           boolean not null,
    can_be_continuous    boolean not null,
    interval_seconds     bigint not null,            -- this and the next three: unsigned,
    max_running          bigint not null,            -- two's complement; 0 is no limit
    max_getwork          bigint not null,
    max_retries          bigint not null,
    interval_nanoseconds integer not null,
    next_name            bytea,                      -- receives the output; "then"
    runtime              bytea not null,
    min_gb               double precision not null,
    next_continuous      bigint,                     -- not in the version
    unique (namespace_id, name)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create table buried_shelf (
    shelf_id bigint primary key
);

-- The unit row is the state machine: each transition is one conditional update of it.
-- status: 1 available, 2 delayed, 3 pending, 4 finished, 5 failed.
-- 2 and 3 end by themselves at `due`; until someone writes that down, a reader sees it.
-- attempt_id and what goes with it: the current attempt, also an expired one that
-- nobody has superseded (then the status is 1 or 2).
--
-- A statement that has waited for a row checks its new version before it notices that
-- the old one is no longer current. So that the checks hold then too, what goes together
-- is set from one version: that which was locked.
create sequence attempt_id;

create table unit (
    id           bigint generated always as identity primary key,
    shelf_id     bigint not null,
    priority     double precision not null,
    not_before   bigint,            -- null: any time
    due          bigint,            -- pending: just after `ends`; delayed: not_before
    attempt_id   bigint,
    started      bigint,
    ends         bigint,            -- of the lease, or when it finished or failed
    tries        integer not null default 0,
    status       smallint not null,
    is_text      boolean not null,  -- the key's string type
    key          bytea not null,
    worker       bytea,
    attempt_data bytea,             -- null: the attempt has no data of its own
    data         bytea not null,
    constraint unit_key unique (shelf_id, key),
    check (status between 1 and 5),
    check (status < 3 or attempt_id is not null),
    check ((attempt_id is null) = (worker is null)),
    check (status <> 2 or due is not null)
) with (
    fillfactor = 85,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.1, autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
-- The queue, in the order in which units are handed out. So that a claim can begin anywhere
-- in it with one comparison of rows, both columns ascend. Those who look at it order by the
-- same, or the planner may walk another index past everything that is not available.
create index unit_ready  on unit (shelf_id, (-priority), key) where status = 1;
create index unit_due    on unit (shelf_id, status, due) where status in (2, 3);
create index unit_page   on unit (shelf_id, status, key) where status in (1, 2, 4, 5);
create index unit_ended  on unit (shelf_id, status, ends) where status in (4, 5);
create index unit_worker on unit (worker) where attempt_id is not null and status < 4;

-- Attempts that their unit no longer answers to.
-- how: 1 expired, 2 retryable, 3 finished, 4 failed.
create table attempt (
    unit_id bigint not null references unit on delete cascade,
    id      bigint not null,
    started bigint not null,
    ended   bigint not null,
    how     smallint not null,
    held    boolean not null,       -- superseded, and nobody told its worker
    worker  bytea not null,
    data    bytea,
    primary key (unit_id, id)
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0
);
create index attempt_held on attempt (worker) where held;

-- How many units a shelf has in each status: the sums over its rows. A statement that
-- moves units adds one row with the differences, so counting is exact, waits for
-- nobody and visits no unit; upkeep folds the rows of a shelf into one.
create table tally (
    shelf_id  bigint not null,
    available bigint not null default 0,
    delayed   bigint not null default 0,
    pending   bigint not null default 0,
    finished  bigint not null default 0,  -- archived ones included
    failed    bigint not null default 0,  -- archived ones included
    archived_finished bigint not null default 0,
    archived_failed   bigint not null default 0
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
create index tally_shelf on tally (shelf_id);

create table worker (
    namespace_id bigint not null references namespace,
    name         bytea not null,
    parent       bytea,
    mode         bytea not null,
    data         bytea,
    heard        bigint not null,
    expires      bigint not null,
    primary key (namespace_id, name)
) with (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
create index worker_parent on worker (namespace_id, parent) where parent is not null;
create index worker_expires on worker (expires);

-- Calls that could want the same path pass the same gate, one after the other: gate 0
-- for paths that begin anywhere, the others for paths by their first label.
create table lock_gate (
    namespace_id bigint not null references namespace,
    gate         smallint not null,
    primary key (namespace_id, gate)
) with (fillfactor = 50);

create table lock (
    namespace_id bigint not null references namespace,
    path         bytea not null,    -- LockPath::as_bytes; what is below it is a range
    owner        bytea not null,
    deadline     bigint not null,
    primary key (namespace_id, path)
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
create index lock_deadline on lock (deadline);

-- What calls did that would do something else if they were made twice, for as long as
-- their daemon may repeat them because it has lost the answer.
create sequence daemon_id;

create table receipt (
    daemon bigint not null,
    call   bigint not null,         -- of those of the daemon
    until  bigint not null,
    taken  bigint[] not null,       -- which of the paths were locked, counted from 1
    primary key (daemon, call)
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
create index receipt_until on receipt (until);

-- Undoes the statement that finds, after it has begun, that its snapshot is too old for
-- what it does. Whoever sent it sends it again.
create function again() returns boolean language plpgsql as $$
begin
    raise exception 'another statement was faster' using errcode = 'serialization_failure';
end
$$;
