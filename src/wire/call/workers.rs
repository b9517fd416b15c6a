//! Reads the calls about workers and about the server itself.

use super::{Call, Hello, WorkerHeartbeat};
use crate::{
    model::kept_map,
    wire::{BadCall, args, params::Params},
};

type Result<'a> = std::result::Result<Call<'a>, BadCall>;

pub(super) fn heartbeat(params: Params<'_>) -> Result<'_> {
    let [worker, mode, expire_seconds, data, parent] = params.args();
    Ok(Call::WorkerHeartbeat(WorkerHeartbeat {
        worker: worker.read(args::name)?,
        mode: mode.optional(args::name)?.unwrap_or_default(),
        expire_seconds: expire_seconds.optional(args::finite)?,
        data: data.optional(kept_map)?,
        parent: parent
            .optional(args::name)?
            .filter(|parent| !parent.is_empty()),
    }))
}

pub(super) fn unregister(params: Params<'_>) -> Result<'_> {
    let [worker] = params.args();
    Ok(Call::WorkerUnregister(worker.read(args::name)?))
}

pub(super) fn list_modes(params: Params<'_>) -> Result<'_> {
    let [] = params.args();
    Ok(Call::ListWorkerModes)
}

pub(super) fn mode_counts(params: Params<'_>) -> Result<'_> {
    let [] = params.args();
    Ok(Call::ModeCounts)
}

pub(super) fn get_info(params: Params<'_>) -> Result<'_> {
    let [worker] = params.args();
    Ok(Call::GetWorkerInfo(worker.read(args::name)?))
}

pub(super) fn stats(params: Params<'_>) -> Result<'_> {
    let [] = params.args();
    Ok(Call::WorkerStats)
}

pub(super) fn get_child_units(params: Params<'_>) -> Result<'_> {
    let [worker] = params.args();
    Ok(Call::GetChildWorkUnits(worker.read(args::name)?))
}

pub(super) fn get_config(params: Params<'_>) -> Result<'_> {
    let [] = params.args();
    Ok(Call::GetConfig)
}

pub(super) fn now(params: Params<'_>) -> Result<'_> {
    let [] = params.args();
    Ok(Call::Now)
}

pub(super) fn hello(params: Params<'_>) -> Result<'_> {
    let [options] = params.args();
    let [namespace, token] = options.options(["namespace", "token"])?;
    Ok(Call::Hello(Hello {
        namespace: namespace.optional(args::name)?,
        token: token.optional(args::secret)?,
    }))
}
