//! Every bound in the daemon, in one place.
//!
//! A queue, buffer, loop or recursion that can grow from outside input has its
//! limit here, with the unit at the end of its name.

use std::time::Duration;

/// Longest frame accepted from a client, unless the operator sets `max_frame_bytes`.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Frames longer than this are buffered only while the budget for large frames
/// ([`LARGE_FRAMES_BYTES_MAX`]) has room.
pub const LARGE_FRAME_BYTES_MIN: usize = 64 << 10;

/// Most bytes that large frames of all connections together may take.
pub const LARGE_FRAMES_BYTES_MAX: usize = 512 << 20;

/// Longest reply. A listing that would be longer is refused, a claim stops before it.
pub const REPLY_BYTES_MAX: usize = 256 << 20;

/// Most bytes of unit data that one claim hands out, beyond its first unit.
pub const CLAIM_BYTES_MAX: usize = 64 << 20;

/// Replies are written once this many bytes wait, even if more requests do too.
pub const REPLY_BYTES_HIGH: usize = 64 << 10;

/// Most bytes read ahead from a client while its request is being answered.
pub const READ_AHEAD_BYTES_MAX: usize = 64 << 10;

/// Most bytes taken from a socket at once, unless they are the rest of a large frame.
pub const RECEIVE_BYTES_MAX: usize = 64 << 10;

/// Bytes that each buffer of a connection keeps while the connection is idle, so that
/// a client that makes one small call after another costs no allocations.
pub const IDLE_BUFFER_BYTES_MAX: usize = 2 << 10;

/// Longest time in which a client that is sending a large frame sends nothing, or less
/// than [`LARGE_FRAME_BYTES_MIN`]. It holds memory that others wait for; so it is
/// dropped, unlike a client that is silent between or inside small frames.
pub const LARGE_FRAME_STALL_MAX: Duration = Duration::from_secs(30);

/// Most connections at a time, unless the operator sets `max_connections`.
pub const CONNECTIONS_DEFAULT: usize = 16_384;

/// A server at its limit of connections says so again only when more than the limit's
/// share by this were free in between: clients that come and go at the limit are one
/// line in the log, not one each.
pub const CONNECTIONS_FEW_DIVISOR: usize = 16;

/// Connections accepted in a row after which failures to accept count as over.
pub const ACCEPTS_AGAIN_MIN: u32 = 16;

/// Connections that the kernel queues until they are accepted.
pub const ACCEPT_QUEUE_MAX: i32 = 4_096;

/// First pause after a connection could not be accepted; each further one doubles it.
pub const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);

/// Longest pause after a connection could not be accepted.
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Silence after which the kernel asks whether a peer is still there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Time between such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Questions without an answer after which a peer counts as dead.
pub const KEEPALIVE_PROBES: u32 = 4;

/// Longest time that a client which sent something malformed has to take the reply
/// that says so.
pub const REFUSAL_WAIT_MAX: Duration = Duration::from_secs(1);

/// Silence after which such a client is taken to have sent all it wanted to send.
pub const REFUSAL_QUIET: Duration = Duration::from_millis(100);

/// Messages that are no requests, after which a peer that has never sent one is dropped:
/// it speaks another protocol, in which nearly every byte may look like a message that
/// costs a reply.
pub const OTHER_MESSAGES_MAX: u32 = 16;

/// Time for connections to end on their own when the daemon stops, unless the operator
/// sets `drain_seconds`.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(25);

/// Deepest nesting of arrays, maps and tags in data that is kept for users.
///
/// Python 2 clients decode recursively; a stored item deeper than this would be
/// handed to every worker that asks for the unit, and end each of them.
pub const CBOR_DEPTH_MAX: usize = 64;

/// Levels of a message that are around a user's data: a batch, the envelope, its
/// parameters, a list in them, a tuple in that, options; the tags of tuples count too.
pub const ENVELOPE_DEPTH_MAX: usize = 12;

/// Deepest nesting of a whole message.
pub const MESSAGE_DEPTH_MAX: usize = CBOR_DEPTH_MAX + ENVELOPE_DEPTH_MAX;

/// Most items in any list a request carries: keys, units, updates, lock paths.
pub const LIST_ITEMS_MAX: usize = 1 << 20;

/// Most items of a listing in one reply, whatever limit was asked for.
pub const LIST_LIMIT_MAX: usize = 10_000;

/// Items of a listing in one reply if no limit was asked for.
pub const LIST_LIMIT_DEFAULT: usize = 1_000;

/// Most units in one claim.
pub const CLAIM_UNITS_MAX: usize = 10_000;

/// Longest work spec, worker, mode or namespace name.
pub const NAME_BYTES_MAX: usize = 1 << 10;

/// Longest work unit key. PostgreSQL refuses index keys over 2,704 bytes.
pub const KEY_BYTES_MAX: usize = 2 << 10;

/// Longest encoded lock path.
pub const LOCK_PATH_BYTES_MAX: usize = 2 << 10;

/// Longest lock path as a client sends it. Its encoding, which is what
/// [`LOCK_PATH_BYTES_MAX`] bounds, is mostly shorter; this bounds the work of finding
/// out.
pub const LOCK_PATH_ITEM_BYTES_MAX: usize = 16 * LOCK_PATH_BYTES_MAX;

/// Lease when none, or none that is allowed, was asked for.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(300);

/// Shortest lease that `get_work` grants as asked.
pub const LEASE_MIN: Duration = Duration::from_secs(1);

/// Longest lease and worker lifetime that is granted as asked.
pub const LEASE_MAX: Duration = Duration::from_secs(86_400);

/// Lifetime of a worker that asked for a negative one, or for none.
pub const WORKER_LIFETIME_DEFAULT: Duration = Duration::from_secs(300);

/// Lifetime of a worker that asked for more than [`LEASE_MAX`].
pub const WORKER_LIFETIME_CAPPED: Duration = Duration::from_secs(3_600);

/// Deadline of a lock when none was asked for.
pub const LOCK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// Latest deadline of a lock.
pub const LOCK_TIMEOUT_MAX: Duration = Duration::from_secs(1_000_000);

/// Longest time that `get_work` waits for work.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// Units whose attempt is remembered for each connection, for fencing.
pub const FENCE_UNITS_MAX: usize = 10_000;

/// How often an update is decided anew because its unit changed in between.
pub const UPDATE_ROUNDS_MAX: usize = 16;

/// Delayed units that one call returns to the ready queue before it answers, so
/// that ten million delays that end together do not hold up one caller.
pub const DELAY_BATCH_MAX: usize = 10_000;

/// Smallest `max_frame_bytes` an operator may set; a worker's own requests are larger
/// than anything below.
pub const FRAME_BYTES_MIN: usize = 4 << 10;

/// Largest `max_connections`, which is what Linux lets one process open.
pub const CONNECTIONS_MAX: usize = 1 << 20;

/// Open files besides the clients' sockets: listeners, runtime, log, database.
pub const OTHER_FILES_MAX: usize = 64;

/// Largest `cache_entries`; the cache reserves its table when it is made.
pub const CACHE_ENTRIES_MAX: usize = 1 << 26;

/// Largest `attempt_history`. Every unit may keep this many ended attempts.
pub const ATTEMPT_HISTORY_MAX: usize = 10_000;

/// Largest `worker_threads`.
pub const WORKER_THREADS_MAX: usize = 1_024;

/// Units that one claim fails for having had too many attempts, before it answers.
pub const EXHAUSTED_UNITS_MAX: usize = 1_000;

/// Keys that the memory backend tries for a unit it makes, a millisecond apart.
pub const CONTINUOUS_KEYS_MAX: i64 = 1_000;

/// Changes that the memory backend makes before others get a turn at the spec.
pub const CHANGE_BATCH_MAX: usize = 1_000;

/// Units that the memory backend looks up before others get a turn at the spec.
pub const LOOKUP_BATCH_MAX: usize = 4_000;

/// Units that the memory backend deletes before others get a turn at the spec.
pub const DELETE_BATCH_MAX: usize = 1_000;

/// Deleted specs of more units are freed in a thread of their own.
pub const FREE_UNITS_MAX: usize = 10_000;

/// Most ancestors of a worker. A chain that is longer counts as a cycle, because
/// every heartbeat at its end would walk it.
pub const WORKER_ANCESTORS_MAX: usize = 1_000;

/// Names of workers that a work spec remembers so that attempts share them.
pub const RECENT_WORKERS_MAX: usize = 4_096;

/// Time between two rounds of upkeep while calls change something.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time between two rounds of upkeep; how late it is changes no result, but a
/// request that waits may have missed a hint.
pub const UPKEEP_SAFETY_INTERVAL: Duration = Duration::from_secs(60);

/// Shortest time between two rounds of upkeep that found nothing more to do: what is due
/// may be locked by someone else for a moment.
pub const UPKEEP_PAUSE_MIN: Duration = Duration::from_millis(10);

/// Pause after a round of upkeep that left something to do, so that a backlog never takes
/// a store for itself: about as long as a step of [`UPKEEP_STEPS_MAX`] takes.
pub const UPKEEP_STEP_PAUSE: Duration = Duration::from_millis(20);

/// Steps of one call of upkeep, so that it holds up no request for long.
pub const UPKEEP_STEPS_MAX: usize = 1_000;

/// Most connections to the database that one daemon may be told to open.
pub const POSTGRES_CONNECTIONS_MAX: usize = 1_000;

/// Longest time that a call waits for a connection to the database, and in which it is
/// tried again after failures that may pass.
pub const DATABASE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Longest time that the database lets one statement run.
pub const STATEMENT_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest time to wait for the database's answer to a statement, which it should have
/// given up by then; the connection counts as dead.
pub const STATEMENT_ANSWER_MAX: Duration = Duration::from_secs(7);

/// Times that the daemon looks what became of changes whose answer was lost.
pub const DOUBT_ROUNDS_MAX: usize = 3;

/// How long a call's receipt is kept: longer than the call can be repeated because its
/// answer was lost.
pub const RECEIPT_KEPT: Duration = Duration::from_secs(60);

/// Longest time that a transaction waits for the daemon's next statement before the
/// database ends its connection.
pub const TRANSACTION_IDLE_MAX: Duration = Duration::from_secs(10);

/// Longest time that one attempt to connect to the database takes, for each address.
pub const DATABASE_CONNECT_MAX: Duration = Duration::from_secs(2);

/// Most times that one call is tried again after a failure that may pass.
pub const DATABASE_RETRIES_MAX: u32 = 20;

/// How often the database's clock is looked at.
pub const CLOCK_INTERVAL: Duration = Duration::from_secs(30);

/// Looks at the database's clock, of which the quickest counts, if one shows a difference.
pub const CLOCK_LOOKS: usize = 3;

/// Shortest time between two notifications of the same daemon.
pub const NOTIFY_PAUSE: Duration = Duration::from_millis(50);

/// Shortest time between two notifications of the same daemon that say only when something
/// comes due. It comes due a second after it was known, or later ([`LEASE_MIN`]).
pub const NOTIFY_DUE_PAUSE: Duration = Duration::from_millis(500);

/// How often those who wait for work look for it without having been told of any, in case
/// a daemon ended before it could tell of it.
pub const SAFETY_INTERVAL: Duration = Duration::from_secs(30);

/// The same while other daemons cannot be heard.
pub const DEAF_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time that a notification takes to arrive which the daemon sends to itself, to
/// find out whether any do.
pub const ECHO_WAIT_MAX: Duration = Duration::from_secs(2);

/// First pause before the lost connection for notifications is made again; each further
/// one doubles it.
pub const LISTEN_PAUSE_MIN: Duration = Duration::from_millis(50);

/// Longest pause before the lost connection for notifications is made again.
pub const LISTEN_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Most calls that wait for a batch of statements, of all kinds together.
pub const BATCH_CALLS_MAX: usize = 65_536;

/// First pause before a statement is tried again; each further one doubles it.
pub const DATABASE_PAUSE_MIN: Duration = Duration::from_millis(2);

/// Longest pause before a statement is tried again.
pub const DATABASE_PAUSE_MAX: Duration = Duration::from_millis(250);

/// Specs whose options a daemon on PostgreSQL remembers.
pub const KNOWN_SPECS_MAX: usize = 10_000;

/// How often a call on PostgreSQL begins anew because the spec was changed meanwhile.
pub const STALE_ROUNDS_MAX: usize = 16;

/// Leases, and delays, that one statement writes down as ended.
pub const EXPIRE_BATCH_MAX: usize = 1_000;

/// Such statements that one claim waits for.
pub const EXPIRE_ROUNDS_MAX: usize = 10;

/// Units that one statement adds.
pub const PUT_BATCH_MAX: usize = 10_000;

/// Larger additions do not share a statement with others.
pub const SHARED_UNITS_MAX: usize = 1_000;

/// Most time between calls that share a statement, which has one time for all of them.
pub const SHARED_WITHIN: Duration = Duration::from_millis(100);

/// Statements that change units of one spec at the same time.
pub const CHANGE_LANES: u64 = 2;

/// Age at which a daemon on PostgreSQL looks anew which specs have work.
pub const BOARD_AGE_MAX: Duration = Duration::from_millis(100);

/// How long a look at which specs have work may take before those that come meanwhile no
/// longer wait for it, if there is something that was remembered.
pub const BOARD_WAIT_MAX: Duration = Duration::from_millis(250);

/// How many times as long as such a slow look took the pause after it lasts.
pub const BOARD_PAUSE: u32 = 10;

/// How often, at most, a daemon on PostgreSQL looks whether something has become available
/// behind the unit it has claimed last: what other daemons add counts within a second.
pub const FLOOR_AGE_MAX: Duration = Duration::from_millis(500);

/// How many times as long as such a look took the pause after it lasts. It walks past all
/// that the database could not clear away; then a twentieth of a processor is enough.
pub const FLOOR_LOOK_PAUSE: u32 = 20;

/// How long ago something must have ended for claims no longer to look for it, once all
/// that had ended was written down. Upkeep looks for all of it.
pub const FLOOR_TIME_MARGIN: Duration = Duration::from_secs(1);

/// How far the clocks of two daemons on one database, and the time a call takes, may set
/// them apart. A lease closer to its end than this may have ended for another daemon.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(10);

/// Age at which a snapshot in the database is too old. Our own statements end within
/// [`STATEMENT_TIME_MAX`] and our transactions within [`TRANSACTION_IDLE_MAX`]; at 2,000
/// units a second, a minute is 240,000 dead rows that whoever looks for work steps over.
pub const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(60);

/// How often a daemon that has something to do looks for old snapshots.
pub const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(30);

/// Most holders of snapshots that one look remembers.
pub const SNAPSHOT_HOLDERS_MAX: usize = 1_000;

/// Counts of a shelf that are worth making one of.
pub const FOLD_ROWS_MIN: i64 = 64;

/// Counts of a shelf that one statement makes one of.
pub const FOLD_ROWS_MAX: usize = 5_000;

/// Rows, of units and of their ended attempts, that one statement deletes of specs that
/// were deleted. It goes by key, which is all over the table, so it is given fewer: a
/// thousand took 50 ms and at times 350, as the finished units of a million took 20.
pub const CLEAR_ROWS_MAX: usize = 250;

/// Rows, of units and of their ended attempts, that one statement of a client's `archive`
/// deletes; upkeep's delete [`UPKEEP_STEPS_MAX`].
pub const ARCHIVE_ROWS_MAX: usize = 1_000;

/// Pause of a client's `archive` while another daemon archives the same units.
pub const ARCHIVE_PAUSE: Duration = Duration::from_millis(20);

/// Such pauses in a row, after which the rest is left to upkeep.
pub const ARCHIVE_WAITS_MAX: usize = 100;

const _: () = assert!(MESSAGE_DEPTH_MAX < 128, "serde_cbor stops at 128 levels");
const _: () = assert!(CLAIM_BYTES_MAX < REPLY_BYTES_MAX);
const _: () = assert!(LARGE_FRAME_BYTES_MIN <= READ_AHEAD_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX <= LARGE_FRAMES_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MIN <= FRAME_BYTES_MAX);
const _: () = assert!(
    CLAIM_UNITS_MAX <= DELAY_BATCH_MAX,
    "a claim finds all it may take"
);
const _: () = assert!(
    RECEIVE_BYTES_MAX <= LARGE_FRAME_BYTES_MIN,
    "one read takes no more than may be buffered without asking the budget"
);
const _: () = assert!(
    STATEMENT_TIME_MAX.as_millis() < STATEMENT_ANSWER_MAX.as_millis(),
    "the database gives a statement up before we give up the connection"
);
const _: () = assert!(
    DATABASE_WAIT_MAX.as_millis() + STATEMENT_ANSWER_MAX.as_millis() < RECEIPT_KEPT.as_millis(),
    "the last repetition of a call finds its receipt"
);
const _: () = assert!(POSTGRES_CONNECTIONS_MAX + OTHER_FILES_MAX < CONNECTIONS_MAX);
