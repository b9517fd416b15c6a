//! Calls about work units.

use super::*;

#[test]
fn units_are_added_in_every_form() {
    let unit = |key: &str, data: &str, priority: &str, delay: &str| {
        format!(
            "NewUnit {{ key: \"{key}\", data: {data}, priority: Priority({priority}), delay: {delay} }}"
        )
    };
    let (a, b) = (
        unit("a", "{1: 2}", "0.0", "0ns"),
        unit("b", "{}", "1.5", "500ms"),
    );
    for (items, expected) in [
        ("[]", String::new()),
        ("['a']", unit("a", "{}", "0.0", "0ns")),
        ("[['a', {1: 2}]]", a.clone()),
        (
            "T[T['a', {1: 2}], ['b', null, {'priority': 1.5, 'delay': 0.5}]]",
            format!("{a}, {b}"),
        ),
        (
            "[_ T['a', {1: 2}, null], ['b', {}, {'delay': 0.5, 'priority': 9}, 1.5]]",
            format!("{a}, {b}"),
        ),
        ("{'a': {1: 2}}", a.clone()),
        ("{_ 'a': {1: 2}}", a.clone()),
    ] {
        reads(
            "add_work_units",
            &["'s'", items],
            &format!("AddWorkUnits(\"s\", [{expected}])"),
        );
    }
}

#[test]
fn units_are_listed_by_key_or_by_page() {
    let all = StatusSet::ALL;
    let some = |numbers: &[u64]| numbers.iter().fold(StatusSet::NONE, |s, n| s.with_wire(*n));
    for (options, statuses, after, limit) in [
        ("{}", all, "None", 1_000),
        ("null", all, "None", 1_000),
        (
            "{'work_unit_keys': null, 'limit': null}",
            all,
            "None",
            1_000,
        ),
        ("{'limit': 7, 'start': 'a'}", all, "Some([97])", 7),
        ("{'limit': 10001}", all, "None", 10_000),
        ("{'limit': 0}", all, "None", 0),
        ("{'limit': -1}", all, "None", 0),
        ("{'state': 4}", some(&[4]), "None", 1_000),
        ("{'state': 4.0}", some(&[4]), "None", 1_000),
        ("{'state': [1, 3]}", some(&[1, 3]), "None", 1_000),
        ("{'state': T[1, 3]}", some(&[1, 3]), "None", 1_000),
        ("{'state': [_ 5, 5.0]}", some(&[5]), "None", 1_000),
        ("{'state': 2}", some(&[]), "None", 1_000),
        ("{'state': [-1, 99, 1e300]}", some(&[]), "None", 1_000),
        ("{'state': []}", some(&[]), "None", 1_000),
    ] {
        let page = format!("Page {{ statuses: {statuses:?}, after: {after}, limit: {limit} }}");
        reads(
            "get_work_units",
            &["'s'", options],
            &format!("GetWorkUnits(\"s\", {page})"),
        );
    }
    for (keys, expected) in [
        ("[]", ""),
        ("['a']", KEY_A),
        ("T['a', 'a']", &format!("{KEY_A}, {KEY_A}")),
    ] {
        reads(
            "get_work_units",
            &["'s'", &format!("{{'work_unit_keys': {keys}, 'limit': 1}}")],
            &format!("GetWorkUnits(\"s\", Keys([{expected}]))"),
        );
        reads(
            "get_work_unit_status",
            &["'s'", keys],
            &format!("GetWorkUnitStatus(\"s\", [{expected}])"),
        );
    }
}

#[test]
fn units_are_prioritized_deleted_and_archived() {
    for (options, keys, change) in [
        ("{}", "None".to_owned(), "None"),
        (
            "{'work_unit_keys': ['a'], 'priority': 2, 'adjustment': null}",
            format!("Some([{KEY_A}])"),
            "Some(Set(Priority(2.0)))",
        ),
        (
            "{'work_unit_keys': [], 'priority': null, 'adjustment': -1.5}",
            "Some([])".to_owned(),
            "Some(Adjust(-1.5))",
        ),
        (
            "{'priority': 1, 'adjustment': 5}",
            "None".to_owned(),
            "Some(Set(Priority(1.0)))",
        ),
    ] {
        reads(
            "prioritize_work_units",
            &["'s'", options],
            &format!(
                "PrioritizeWorkUnits(PrioritizeWorkUnits {{ spec: \"s\", keys: {keys}, change: {change} }})"
            ),
        );
    }
    let failed = StatusSet::NONE.with_wire(5);
    for (options, all, keys, statuses) in [
        ("{}", false, "None".to_owned(), "None".to_owned()),
        ("{'all': true}", true, "None".to_owned(), "None".to_owned()),
        ("{'all': 0}", false, "None".to_owned(), "None".to_owned()),
        (
            "{'work_unit_keys': ['a'], 'state': 5}",
            false,
            format!("Some([{KEY_A}])"),
            format!("Some({failed:?})"),
        ),
        (
            "{'work_unit_keys': [], 'state': []}",
            false,
            "Some([])".to_owned(),
            format!("Some({:?})", StatusSet::NONE),
        ),
    ] {
        reads(
            "del_work_units",
            &["'s'", options],
            &format!(
                "DelWorkUnits(DelWorkUnits {{ spec: \"s\", all: {all}, keys: {keys}, statuses: {statuses} }})"
            ),
        );
    }
    reads("archive", &[], "Archive(None)");
    reads("archive", &["null"], "Archive(None)");
    reads("archive", &["{}"], "Archive(None)");
    reads(
        "archive",
        &["{'work_spec_names': ['a', 'b']}"],
        "Archive(Some([\"a\", \"b\"]))",
    );
}
