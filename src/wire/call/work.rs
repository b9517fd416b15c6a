//! Reads the calls that take work and report on it.

use super::{Call, GetWork, Jobs, UpdateWorkUnit};
use crate::{
    cbor::Reader,
    limits::{CLAIM_UNITS_MAX, WAIT_MAX},
    model::{Ask, AskedStatus, AttemptId, BadField, count, duration, flag, kept_map, read_field},
    wire::{
        BadCall,
        args::{self, Arg},
        params::Params,
    },
};

type Result<'a> = std::result::Result<Call<'a>, BadCall>;

pub(super) fn get(params: Params<'_>) -> Result<'_> {
    let [worker, options] = params.args();
    let worker = worker.read(args::name)?;
    let [
        lease_time,
        max_jobs,
        specs,
        available_gb,
        runtimes,
        wait,
        with_attempt,
    ] = options.options([
        "lease_time",
        "max_jobs",
        "work_spec_names",
        "available_gb",
        "runtimes",
        "wait",
        "with_attempt",
    ])?;
    let wait = wait.optional(args::finite)?.unwrap_or(0.0);
    Ok(Call::GetWork(GetWork {
        worker,
        lease_seconds: lease_time.optional(args::finite)?,
        jobs: max_jobs.optional(jobs)?.unwrap_or(Jobs::One),
        specs: specs.optional(args::names)?.unwrap_or_default(),
        available_gb: available_gb.optional(args::finite)?,
        runtimes: runtimes.optional(args::names)?,
        wait: duration(wait).min(WAIT_MAX),
        with_attempt: with_attempt.optional(flag)?.unwrap_or(false),
    }))
}

fn jobs(name: &str, item: &[u8]) -> std::result::Result<Jobs, BadField> {
    Ok(match args::limit(name, item)? {
        1 => Jobs::One,
        jobs => Jobs::UpTo(jobs.clamp(1, CLAIM_UNITS_MAX)),
    })
}

pub(super) fn update(params: Params<'_>) -> Result<'_> {
    let [spec, key, options] = params.args();
    Ok(Call::UpdateWorkUnit(one_update(spec, key, options)?))
}

fn one_update<'a>(
    spec: Arg<'a>,
    key: Arg<'a>,
    options: Arg<'a>,
) -> std::result::Result<UpdateWorkUnit<'a>, BadField> {
    let [status, lease_time, data, worker_id, attempt_id, delay] = options.options([
        "status",
        "lease_time",
        "data",
        "worker_id",
        "attempt_id",
        "delay",
    ])?;
    let data = data.optional(kept_map)?;
    let delay = delay.optional(args::finite)?.unwrap_or(0.0);
    Ok(UpdateWorkUnit {
        spec: spec.read(args::name)?,
        key: key.read(args::key)?,
        ask: Ask {
            status: status.optional(asked_status)?,
            lease: lease_time.optional(args::finite)?.map(duration),
            has_data: data.is_some(),
            delay: duration(delay),
        },
        data,
        worker: worker_id.optional(args::name)?,
        attempt: attempt_id.optional(count)?.map(AttemptId::new),
    })
}

fn asked_status(name: &str, item: &[u8]) -> std::result::Result<AskedStatus, BadField> {
    let number = read_field(name, item, Reader::whole)?;
    u64::try_from(number)
        .ok()
        .and_then(AskedStatus::from_wire)
        .ok_or_else(|| {
            let why = "must be 1 (available), 3 (pending), 4 (finished) or 5 (failed)";
            BadField::new(name, item, why)
        })
}

pub(super) fn update_many(params: Params<'_>) -> Result<'_> {
    let [updates] = params.args();
    let updates = updates.read(|name, item| {
        args::list(name, item, |name, update| {
            let [spec, key, options] = parts(name, update)?;
            one_update(spec, key, options)
        })
    })?;
    Ok(Call::UpdateWorkUnits(updates))
}

/// The three parts of an item of `update_work_units`.
fn parts<'a>(name: &str, update: &'a [u8]) -> std::result::Result<[Arg<'a>; 3], BadField> {
    let bad = |why: String| BadField::new(name, update, why);
    let mut parts = ["work_spec_name", "work_unit_key", "options"].map(Arg::absent);
    let mut reader = Reader::new(update);
    let mut left = reader.array().map_err(|error| bad(error.to_string()))?;
    let mut slots = parts.iter_mut();
    while reader
        .more(&mut left)
        .map_err(|error| bad(error.to_string()))?
    {
        let item = reader.raw().map_err(|error| bad(error.to_string()))?;
        match slots.next() {
            Some(slot) => slot.item = item,
            None => return Err(bad(NOT_THREE.to_owned())),
        }
    }
    match slots.next() {
        Some(_) => Err(bad(NOT_THREE.to_owned())),
        None => Ok(parts),
    }
}

const NOT_THREE: &str = "must be (work_spec_name, work_unit_key, options)";
