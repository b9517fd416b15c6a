//! Reads the calls about work specs.

use super::{Call, ListWorkSpecs};
use crate::{
    cbor::Reader,
    model::{NewSpec, SpecChange},
    wire::{BadCall, args, params::Params},
};

type Result<'a> = std::result::Result<Call<'a>, BadCall>;

pub(super) fn set(params: Params<'_>) -> Result<'_> {
    let [work_spec] = params.args();
    Ok(Call::SetWorkSpec(NewSpec::read(work_spec.item)?))
}

pub(super) fn get(params: Params<'_>) -> Result<'_> {
    let [spec] = params.args();
    Ok(Call::GetWorkSpec(spec.read(args::name)?))
}

pub(super) fn get_meta(params: Params<'_>) -> Result<'_> {
    let [spec] = params.args();
    Ok(Call::GetWorkSpecMeta(spec.read(args::name)?))
}

pub(super) fn control(params: Params<'_>) -> Result<'_> {
    let [spec, options] = params.args();
    let spec = spec.read(args::name)?;
    let change = if Reader::new(options.item).null() {
        SpecChange::default()
    } else {
        SpecChange::control(options.item)?
    };
    Ok(Call::ControlWorkSpec(spec, change))
}

pub(super) fn list(params: Params<'_>) -> Result<'_> {
    let [options] = params.args();
    let [start, limit] = options.options(["start", "limit"])?;
    Ok(Call::ListWorkSpecs(ListWorkSpecs {
        start: start.optional(args::name)?,
        limit: limit.optional(args::limit)?,
    }))
}

pub(super) fn delete(params: Params<'_>) -> Result<'_> {
    let [spec] = params.args();
    Ok(Call::DelWorkSpec(spec.read(args::name)?))
}

pub(super) fn clear(params: Params<'_>) -> Result<'_> {
    let [] = params.args();
    Ok(Call::Clear)
}
