//! Writes replies (protocol.md §3 and §5).
//!
//! # Invariants
//!
//! A reply is written whole or not at all, and what is written is one item: each
//! container gets as many items as it announced. Before a user's data is copied, it is
//! checked that the frame stays within its limit, so a listing that is too long costs
//! no more memory than one that is just short enough.

use bytes::BytesMut;

use super::{ChildUnit, Job, JobAttempt, ListedKey, Reply, SpecMeta, Status, Value, user_data};
use crate::{
    cbor::{FrameStart, Writer, field},
    limits::REPLY_BYTES_MAX,
    model::{KeyRef, StringType, TRACEBACK, UnitCounts, UnitStatus},
    wire::Dialect,
};

/// The tag of an array that is a Python tuple.
const TAG_TUPLE: u64 = 128;

/// What `hello` answers for `server` and `protocol`.
const SERVER: &str = "coordinated";
const PROTOCOL: u64 = 1;

/// What this server does beyond what its older relatives did.
const EXTENSIONS: [&str; 7] = [
    "update_work_units",
    "wait",
    "with_attempt",
    "runtimes",
    "fencing",
    "named_params",
    "batch",
];

/// The frame would have become longer than [`REPLY_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reply is longer than {max} bytes; ask for less", max = REPLY_BYTES_MAX)]
pub struct TooLong;

/// Appends one reply to the payload of `frame`: a result, or an error with this
/// message.
///
/// # Errors
/// [`TooLong`], and then nothing was appended; the caller says so with an error reply.
/// Those are always appended: they are no longer than requests are.
pub fn write_reply(
    out: &mut BytesMut,
    frame: &FrameStart,
    id: u64,
    dialect: Dialect,
    result: Result<&Reply<'_>, &str>,
) -> Result<(), TooLong> {
    let room = REPLY_BYTES_MAX.saturating_sub(frame.payload_bytes(out));
    write_within(out, room, id, dialect, result)
}

/// [`write_reply`] in at most `room` bytes.
pub(super) fn write_within(
    out: &mut BytesMut,
    room: usize,
    id: u64,
    dialect: Dialect,
    result: Result<&Reply<'_>, &str>,
) -> Result<(), TooLong> {
    let start = out.len();
    let mut writer = Writer::new(out);
    writer.map(2).text("id").u64(id);
    let reply = match result {
        Ok(reply) => reply,
        Err(message) => {
            writer.text("error").map(1).text("message").text(message);
            return Ok(());
        }
    };
    writer.text("result");
    let mut results = Results {
        out: writer,
        bytes_max: start.saturating_add(room),
        dialect,
    };
    let written = results.reply(reply).and_then(|()| results.room(0));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

struct Results<'w> {
    out: Writer<'w>,
    /// How long the buffer may become.
    bytes_max: usize,
    dialect: Dialect,
}

impl Results<'_> {
    /// Whether `bytes` more fit.
    fn room(&self, bytes: usize) -> Result<(), TooLong> {
        if self.out.buffered_bytes().saturating_add(bytes) <= self.bytes_max {
            Ok(())
        } else {
            Err(TooLong)
        }
    }

    fn reply(&mut self, reply: &Reply<'_>) -> Result<(), TooLong> {
        match reply {
            Reply::Bare(value) => self.value(value),
            Reply::Pair(value, message) => {
                self.tuple(2);
                self.value(value)?;
                self.text_or_nil(message.as_deref());
                Ok(())
            }
        }
    }

    fn value(&mut self, value: &Value<'_>) -> Result<(), TooLong> {
        match value {
            Value::Nil => drop(self.out.null()),
            Value::Bool(value) => drop(self.out.bool(*value)),
            Value::Unsigned(value) => drop(self.out.u64(*value)),
            Value::EmptyMap => drop(self.out.map(0)),
            Value::Definition(definition) => self.definition(definition)?,
            Value::Definitions(definitions, next) => {
                self.tuple(2);
                self.list(definitions, |w, definition| w.definition(definition))?;
                self.text_or_nil(next.as_ref().map(|name| name.as_str()));
            }
            Value::SpecMeta(meta) => self.spec_meta(meta),
            Value::Counts(counts) => self.counts(counts),
            Value::Units(units) => self.list(units, |w, (key, data)| {
                w.tuple(2);
                match key {
                    ListedKey::Stored(key) => w.key(key.as_ref()),
                    ListedKey::Asked(key) => w.key(*key),
                }
                w.item_or_nil(data.as_deref())
            })?,
            Value::Statuses(statuses) => self.list(statuses, |w, status| match status {
                Some(status) => w.status(status),
                None => w.item_or_nil(None),
            })?,
            Value::OneJob(Some(job)) => self.job(job)?,
            Value::OneJob(None) => {
                self.tuple(3);
                self.out.null().null().null();
            }
            Value::Jobs(jobs) => self.list(jobs, Self::job)?,
            Value::Pairs(pairs) => self.list(pairs, |w, (done, message)| {
                w.tuple(2);
                w.out.bool(*done);
                w.text_or_nil(message.as_deref());
                Ok(())
            })?,
            Value::Modes(modes) => self.entries(modes, |w, (worker, mode)| {
                w.out.text(worker.as_str()).text(mode);
                Ok(())
            })?,
            Value::ModeCounts(counts) => self.entries(counts, |w, (mode, count)| {
                w.out.text(mode).u64(*count);
                Ok(())
            })?,
            Value::WorkerInfo(data, age_seconds) => {
                self.room(data.as_ref().map_or(0, |data| data.len()))?;
                user_data::worker_info(&mut self.out, data.as_deref(), *age_seconds);
            }
            Value::WorkerStats { workers, children } => {
                self.out.map(3).text("num_workers").u64(*workers);
                self.out.text("num_children").u64(*children);
                // Every worker here has an expiration.
                self.out.text("num_expirable").u64(*workers);
            }
            Value::ChildUnits(children) => self.entries(children, |w, (child, units)| {
                w.out.text(child.as_str());
                w.list(units, Self::child_unit)
            })?,
            Value::Item(item) => self.item_or_nil(Some(item))?,
            Value::Items(items) => self.list(items, |w, item| w.item_or_nil(*item))?,
            Value::Owners(owners) => self.list(owners, |w, owner| {
                w.text_or_nil(owner.as_ref().map(|owner| owner.as_str()));
                Ok(())
            })?,
            Value::Hello { namespace } => self.hello(namespace),
        }
        Ok(())
    }

    fn spec_meta(&mut self, meta: &SpecMeta) {
        let options = &meta.options;
        let (runnable, paused) = (1, 2);
        self.out.map(12);
        self.out
            .text("status")
            .u64(if options.paused { paused } else { runnable });
        self.out.text("continuous").bool(options.continuous);
        self.out
            .text("interval")
            .f64(options.interval.as_secs_f64());
        self.out.text("max_running").u64(options.max_running);
        self.out.text("weight").u64(options.weight.into());
        self.out.text("priority").i64(options.priority);
        self.out.text("max_getwork").u64(options.max_getwork);
        self.out.text("max_retries").u64(options.max_retries);
        self.out.text("runtime").text(&options.runtime);
        self.out.text("then");
        self.text_or_nil(options.then.as_ref().map(|then| then.as_str()));
        self.out.text("min_gb").f64(options.min_gb);
        self.out.text("next_continuous");
        self.seconds_or_nil(meta.next_continuous);
    }

    fn counts(&mut self, counts: &UnitCounts) {
        let counts = [
            (
                UnitStatus::Available,
                counts.available.saturating_add(counts.delayed),
            ),
            (UnitStatus::Pending, counts.pending),
            (UnitStatus::Finished, counts.finished),
            (UnitStatus::Failed, counts.failed),
        ];
        let shown = counts.iter().filter(|(_, count)| *count > 0);
        self.out.map(shown.clone().count() as u64);
        for (status, count) in shown {
            self.out.u64(status.wire()).u64(*count);
        }
    }

    fn status(&mut self, status: &Status) -> Result<(), TooLong> {
        let traceback = field(&status.data, TRACEBACK.as_bytes());
        let optional = [
            status.worker.is_some(),
            traceback.is_some(),
            status.attempt.is_some(),
        ];
        let pairs = 3 + optional.iter().filter(|present| **present).count();
        self.out.map(pairs as u64);
        self.out.text("status").u64(status.status);
        self.out.text("expiration");
        self.seconds_or_nil(status.expiration);
        if let Some(worker) = &status.worker {
            self.out.text("worker_id").text(worker.as_str());
        }
        if let Some(traceback) = traceback {
            self.out.text(TRACEBACK);
            self.item_or_nil(Some(traceback))?;
        }
        self.out.text("attempts").u64(status.attempts.into());
        if let Some(attempt) = status.attempt {
            self.out.text("attempt_id").u64(attempt.get());
        }
        Ok(())
    }

    fn job(&mut self, job: &Job) -> Result<(), TooLong> {
        self.tuple(if job.attempt.is_some() { 4 } else { 3 });
        self.out.text(job.spec.as_str());
        self.key(job.key.as_ref());
        self.item_or_nil(Some(&job.data))?;
        if let Some(attempt) = &job.attempt {
            self.job_attempt(attempt);
        }
        Ok(())
    }

    fn job_attempt(&mut self, attempt: &JobAttempt) {
        self.out.map(4);
        self.out.text("attempt_id").u64(attempt.id.get());
        self.out.text("attempt").u64(attempt.number.into());
        self.out.text("expires").f64(attempt.expires.as_seconds());
        self.out.text("priority").f64(attempt.priority.get());
    }

    fn child_unit(&mut self, unit: &ChildUnit) -> Result<(), TooLong> {
        let holder = unit.holder.as_ref();
        self.out.map(5);
        self.out.text("work_spec_name").text(unit.spec.as_str());
        self.out.text("work_unit_key");
        self.key(unit.key.as_ref());
        self.out.text("work_unit_data");
        self.item_or_nil(Some(&unit.data))?;
        self.out.text("worker_id");
        self.text_or_nil(holder.map(|(worker, _)| worker.as_str()));
        self.out.text("expires");
        self.seconds_or_nil(holder.map(|(_, expires)| *expires));
        Ok(())
    }

    fn hello(&mut self, namespace: &str) {
        self.out.map(5);
        self.out.text("server").text(SERVER);
        self.out.text("version").text(env!("CARGO_PKG_VERSION"));
        self.out.text("protocol").u64(PROTOCOL);
        self.out.text("namespace").text(namespace);
        self.out.text("extensions").array(EXTENSIONS.len() as u64);
        for extension in EXTENSIONS {
            self.out.text(extension);
        }
    }

    /// A tuple of this many items, which come next.
    fn tuple(&mut self, items: u64) {
        self.out.tag(TAG_TUPLE).array(items);
    }

    fn list<T>(
        &mut self,
        items: &[T],
        write: impl FnMut(&mut Self, &T) -> Result<(), TooLong>,
    ) -> Result<(), TooLong> {
        self.out.array(items.len() as u64);
        self.each(items, write)
    }

    /// A map; `write` appends a key and a value for each item.
    fn entries<T>(
        &mut self,
        items: &[T],
        write: impl FnMut(&mut Self, &T) -> Result<(), TooLong>,
    ) -> Result<(), TooLong> {
        self.out.map(items.len() as u64);
        self.each(items, write)
    }

    fn each<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T) -> Result<(), TooLong>,
    ) -> Result<(), TooLong> {
        items.iter().try_for_each(|item| {
            self.room(1)?;
            write(self, item)
        })
    }

    fn definition(&mut self, definition: &[u8]) -> Result<(), TooLong> {
        self.room(definition.len())?;
        user_data::definition(&mut self.out, definition, self.dialect);
        Ok(())
    }

    fn item_or_nil(&mut self, item: Option<&[u8]>) -> Result<(), TooLong> {
        let Some(item) = item else {
            self.out.null();
            return Ok(());
        };
        self.room(item.len())?;
        self.out.raw(item);
        Ok(())
    }

    /// A unit's key, as the string type it was first stored with.
    fn key(&mut self, key: KeyRef<'_>) {
        match (key.string_type, std::str::from_utf8(key.bytes)) {
            (StringType::Text, Ok(text)) => self.out.text(text),
            _ => self.out.bytes(key.bytes),
        };
    }

    fn text_or_nil(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.out.text(text),
            None => self.out.null(),
        };
    }

    /// A time as clients see it: seconds since the Unix epoch.
    fn seconds_or_nil(&mut self, time: Option<crate::clock::Timestamp>) {
        match time {
            Some(time) => self.out.f64(time.as_seconds()),
            None => self.out.null(),
        };
    }
}
