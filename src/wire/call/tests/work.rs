//! Calls that take work and report on it.

use super::*;

#[test]
fn work_is_asked_for() {
    let work = |lease: &str,
                jobs: &str,
                specs: &str,
                gb: &str,
                runtimes: &str,
                wait: &str,
                with| {
        format!(
            "GetWork(GetWork {{ worker: \"w\", lease_seconds: {lease}, jobs: {jobs}, specs: {specs}, \
             available_gb: {gb}, runtimes: {runtimes}, wait: {wait}, with_attempt: {with} }})"
        )
    };
    let usual = |jobs: &str| work("None", jobs, "[]", "None", "None", "0ns", false);
    for (options, jobs) in [
        ("{}", "One"),
        ("null", "One"),
        ("{'max_jobs': null}", "One"),
        ("{'max_jobs': 1}", "One"),
        ("{'max_jobs': 1.0}", "One"),
        ("{'max_jobs': 2}", "UpTo(2)"),
        ("{'max_jobs': 0}", "UpTo(1)"),
        ("{'max_jobs': -7}", "UpTo(1)"),
        ("{'max_jobs': 10001}", "UpTo(10000)"),
        ("{'max_jobs': 18446744073709551615}", "UpTo(10000)"),
        ("{'MAX_JOBS': 9}", "One"),
    ] {
        reads("get_work", &["'w'", options], &usual(jobs));
    }
    reads(
        "get_work",
        &[
            "'w'",
            "{'lease_time': -0.5, 'work_spec_names': T['a'], 'available_gb': 8, 'runtimes': ['', 'go'], \
             'wait': 0.25, 'with_attempt': true}",
        ],
        &work(
            "Some(-0.5)",
            "One",
            "[\"a\"]",
            "Some(8.0)",
            "Some([\"\", \"go\"])",
            "250ms",
            true,
        ),
    );
    for (wait, held) in [("-3", "0ns"), ("1e300", "60s"), ("60.5", "60s")] {
        let options = format!("{{'wait': {wait}, 'work_spec_names': []}}");
        let expected = work("None", "One", "[]", "None", "None", held, false);
        reads("get_work", &["'w'", &options], &expected);
    }
}

#[test]
fn units_are_updated_alone_and_in_batches() {
    let update = |ask: &str, data: &str, worker: &str, attempt: &str| {
        format!(
            "UpdateWorkUnit {{ spec: \"s\", key: {KEY_A}, ask: Ask {{ {ask} }}, data: {data}, \
             worker: {worker}, attempt: {attempt} }}"
        )
    };
    let cases = [
        (
            "{}",
            update(
                "status: None, lease: None, has_data: false, delay: 0ns",
                "None",
                "None",
                "None",
            ),
        ),
        (
            "{'status': 4, 'data': {1: 2}}",
            update(
                "status: Some(Finished), lease: None, has_data: true, delay: 0ns",
                "Some([161, 1, 2])",
                "None",
                "None",
            ),
        ),
        (
            "{'status': 1.0, 'lease_time': 0, 'delay': 1.5, 'data': null}",
            update(
                "status: Some(Available), lease: Some(0ns), has_data: false, delay: 1.5s",
                "None",
                "None",
                "None",
            ),
        ),
        (
            "{'lease_time': -1, 'delay': -2, 'worker_id': 'w', 'attempt_id': 12, 'x': 1}",
            update(
                "status: None, lease: Some(0ns), has_data: false, delay: 0ns",
                "None",
                "Some(\"w\")",
                "Some(AttemptId(12))",
            ),
        ),
        (
            "{'lease_time': 0.25, 'attempt_id': (c2 48 ffffffffffffffff)}",
            update(
                "status: None, lease: Some(250ms), has_data: false, delay: 0ns",
                "None",
                "None",
                "Some(AttemptId(18446744073709551615))",
            ),
        ),
    ];
    for (options, expected) in &cases {
        reads(
            "update_work_unit",
            &["'s'", "'a'", options],
            &format!("UpdateWorkUnit({expected})"),
        );
    }
    let batch: Vec<_> = cases
        .iter()
        .map(|(o, _)| format!("T['s', 'a', {o}]"))
        .collect();
    let expected: Vec<_> = cases.iter().map(|(_, e)| e.as_str()).collect();
    reads(
        "update_work_units",
        &[&format!("[{}]", batch.join(", "))],
        &format!("UpdateWorkUnits([{}])", expected.join(", ")),
    );
    reads("update_work_units", &["[]"], "UpdateWorkUnits([])");
}
