//! Reads the calls about work units.

use super::{Call, DelWorkUnits, PrioritizeWorkUnits, UnitListing};
use crate::{
    cbor::Reader,
    limits::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX},
    model::{BadField, NewUnit, Priority, PriorityChange, StatusSet, each_unit, flag},
    wire::{BadCall, args, params::Params},
};

type Result<'a> = std::result::Result<Call<'a>, BadCall>;

pub(super) fn add(params: Params<'_>) -> Result<'_> {
    let [spec, units] = params.args();
    Ok(Call::AddWorkUnits(
        spec.read(args::name)?,
        units.read(new_units)?,
    ))
}

/// The units, if every one of them is right; else what is wrong with the first that
/// is not.
fn new_units(name: &str, item: &[u8]) -> std::result::Result<Vec<NewUnit>, BadField> {
    let mut reader = Reader::new(item);
    if reader.map().is_err() && reader.array().is_err() {
        let why = "must be a list of work units, or a map of keys to data";
        return Err(BadField::new(name, item, why));
    }
    let mut units = Vec::new();
    each_unit(item, Priority::ZERO, |unit| {
        let index = units.len();
        args::check_count(name, item, index + 1)?;
        units.push(
            unit.map_err(|bad| args::place(bad, "work unit", format_args!("work unit {index}")))?,
        );
        Ok(())
    })?;
    Ok(units)
}

pub(super) fn count(params: Params<'_>) -> Result<'_> {
    let [spec] = params.args();
    Ok(Call::CountWorkUnits(spec.read(args::name)?))
}

pub(super) fn get(params: Params<'_>) -> Result<'_> {
    let [spec, options] = params.args();
    let spec = spec.read(args::name)?;
    let [keys, state, start, limit] =
        options.options(["work_unit_keys", "state", "start", "limit"])?;
    let limit = limit.optional(args::limit)?.unwrap_or(LIST_LIMIT_DEFAULT);
    let page = UnitListing::Page {
        statuses: state.optional(args::statuses)?.unwrap_or(StatusSet::ALL),
        after: start.optional(args::key)?.map(|key| key.bytes),
        limit: limit.min(LIST_LIMIT_MAX),
    };
    let keys = keys.optional(args::keys)?;
    Ok(Call::GetWorkUnits(
        spec,
        keys.map_or(page, UnitListing::Keys),
    ))
}

pub(super) fn status(params: Params<'_>) -> Result<'_> {
    let [spec, keys] = params.args();
    Ok(Call::GetWorkUnitStatus(
        spec.read(args::name)?,
        keys.read(args::keys)?,
    ))
}

pub(super) fn prioritize(params: Params<'_>) -> Result<'_> {
    let [spec, options] = params.args();
    let spec = spec.read(args::name)?;
    let [keys, priority, adjustment] =
        options.options(["work_unit_keys", "priority", "adjustment"])?;
    let set = priority.optional(args::finite)?.and_then(Priority::new);
    let adjust = adjustment.optional(args::finite)?;
    Ok(Call::PrioritizeWorkUnits(PrioritizeWorkUnits {
        spec,
        keys: keys.optional(args::keys)?,
        change: set
            .map(PriorityChange::Set)
            .or(adjust.map(PriorityChange::Adjust)),
    }))
}

pub(super) fn delete(params: Params<'_>) -> Result<'_> {
    let [spec, options] = params.args();
    let spec = spec.read(args::name)?;
    let [all, keys, state] = options.options(["all", "work_unit_keys", "state"])?;
    Ok(Call::DelWorkUnits(DelWorkUnits {
        spec,
        all: all.optional(flag)?.unwrap_or(false),
        keys: keys.optional(args::keys)?,
        statuses: state.optional(args::statuses)?,
    }))
}

pub(super) fn archive(params: Params<'_>) -> Result<'_> {
    let [options] = params.args();
    let [specs] = options.options(["work_spec_names"])?;
    Ok(Call::Archive(specs.optional(args::names)?))
}
