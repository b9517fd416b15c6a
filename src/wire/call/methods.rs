//! Every method there is, with its parameters (protocol.md §5).

use super::{locks, specs, units, work, workers};
use crate::wire::Method;

const SPEC: &str = "work_spec_name";
const WORKER: &str = "worker_id";
const LOCKER: &str = "locker_id";

/// The methods that clients can call, in the order of protocol.md §5.
///
/// A reader gets exactly the parameters that its line here lists.
pub static METHODS: [Method; 33] = [
    Method::new("set_work_spec", &["work_spec"], 1, specs::set),
    Method::new("get_work_spec", &[SPEC], 1, specs::get),
    Method::new("get_work_spec_meta", &[SPEC], 1, specs::get_meta),
    Method::new("control_work_spec", &[SPEC, "options"], 2, specs::control),
    Method::new("list_work_specs", &["options"], 1, specs::list),
    Method::new("del_work_spec", &[SPEC], 1, specs::delete),
    Method::new("clear", &[], 0, specs::clear),
    Method::new(
        "add_work_units",
        &[SPEC, "work_unit_key_vals"],
        2,
        units::add,
    ),
    Method::new("count_work_units", &[SPEC], 1, units::count),
    Method::new("get_work_units", &[SPEC, "options"], 2, units::get),
    Method::new(
        "get_work_unit_status",
        &[SPEC, "work_unit_keys"],
        2,
        units::status,
    ),
    Method::new(
        "prioritize_work_units",
        &[SPEC, "options"],
        2,
        units::prioritize,
    ),
    Method::new("del_work_units", &[SPEC, "options"], 2, units::delete),
    Method::new("archive", &["options"], 0, units::archive),
    Method::new("get_work", &[WORKER, "options"], 2, work::get),
    Method::new(
        "update_work_unit",
        &[SPEC, "work_unit_key", "options"],
        3,
        work::update,
    ),
    Method::new("update_work_units", &["updates"], 1, work::update_many),
    Method::new(
        "worker_heartbeat",
        &[WORKER, "mode", "expire_seconds", "data", "parent"],
        1,
        workers::heartbeat,
    ),
    Method::new("worker_unregister", &[WORKER], 1, workers::unregister),
    Method::new("list_worker_modes", &[], 0, workers::list_modes),
    Method::new("mode_counts", &[], 0, workers::mode_counts),
    Method::new("get_worker_info", &[WORKER], 1, workers::get_info),
    Method::new("worker_stats", &[], 0, workers::stats),
    Method::new(
        "get_child_work_units",
        &[WORKER],
        1,
        workers::get_child_units,
    ),
    Method::new("get_config", &[], 0, workers::get_config),
    Method::new("now", &[], 0, workers::now),
    Method::new("lock", &[LOCKER, "timeout", "keys"], 3, locks::lock),
    Method::new(
        "locksome",
        &[LOCKER, "timeout", "keys"],
        3,
        locks::lock_some,
    ),
    Method::new("renew", &[LOCKER, "timeout", "keys"], 3, locks::renew),
    Method::new("readlock", &["keys"], 1, locks::read),
    Method::new("unlock", &[LOCKER, "keys"], 2, locks::unlock),
    Method::new("delete_namespace", &["prefix"], 1, locks::delete_namespace),
    Method::new("hello", &["options"], 0, workers::hello),
];

/// The method of this name.
pub(super) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}
