//! Handing out work: scheduling, leases, retries, continuous specs (semantics.md §4, §5).

use std::collections::HashMap;

use coordinated::backend::Backend;
use serde_cbor::Value;

use crate::support::{World, get, int, items, list, map, settings, text, texts};

fn prioritized(key: &str, priority: f64) -> Value {
    list([text(key), map([]), Value::Null, Value::Float(priority)])
}

pub async fn units_come_by_priority_then_key(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add("s", ["b", "a"]).await;
    let ranked = [("low", -0.5), ("high", 1e9), ("tiny", 1e-9), ("zero", -0.0)];
    let ranked = ranked.map(|(key, priority)| prioritized(key, priority));
    c.add_items("s", list(ranked)).await;
    let order = ["high", "tiny", "a", "b", "zero", "low"];
    assert_eq!(c.take_many("w", 9).await, order);
}

pub async fn a_lease_holds_at_its_deadline_and_is_over_after_it(w: World<impl Backend>) {
    let (mut one, mut other) = (w.client(), w.client());
    one.spec("s", []).await;
    one.add("s", ["a"]).await;
    assert_eq!(one.take_for("one", 60).await.unwrap(), "a");
    w.advance(60.0);
    assert_eq!(other.take("other").await, None);
    assert_eq!(other.counts("s").await, [0, 1, 0, 0]);
    w.advance(0.000_001);
    assert_eq!(other.counts("s").await, [1, 0, 0, 0]);
    assert_eq!(other.take("other").await.unwrap(), "a");
    assert_eq!(get(&other.status("s", "a").await, "attempts"), int(2));
}

pub async fn leases_are_as_long_as_asked_within_bounds(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    for (asked, granted) in [
        (Value::Null, 300.0),
        (Value::Float(1.5), 1.5),
        (int(86_400), 86_400.0),
        (int(86_401), 300.0),
        (Value::Float(0.5), 300.0),
        (int(-1), 300.0),
    ] {
        c.add("s", ["a"]).await;
        c.take_with("w", [("lease_time", asked)]).await.unwrap();
        let expiration = get(&c.status("s", "a").await, "expiration");
        assert_eq!(expiration, Value::Float(1_700_000_000.0 + granted));
        c.finish("s", "a").await;
    }
    let error = c
        .try_call(
            "get_work",
            vec![text("w"), map([("lease_time", text("1"))])],
        )
        .await;
    assert!(error.unwrap_err().contains("lease_time"));
}

pub async fn one_job_and_many_jobs_have_their_own_shapes(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    let nothing = c.call("get_work", vec![text("w"), map([])]).await;
    assert_eq!(
        nothing,
        list([list([Value::Null, Value::Null, Value::Null]), Value::Null])
    );
    let nothing = c
        .call("get_work", vec![text("w"), map([("max_jobs", int(2))])])
        .await;
    assert_eq!(nothing, list([list([]), Value::Null]));
    c.add("s", ["a", "b", "c", "d"]).await;
    let one = c
        .ok(
            "get_work",
            vec![text("w"), map([("max_jobs", Value::Float(1.0))])],
        )
        .await;
    assert_eq!(one, list([text("s"), text("a"), map([])]));
    let one = c
        .ok("get_work", vec![text("w"), map([("max_jobs", int(0))])])
        .await;
    assert_eq!(
        one,
        list([list([text("s"), text("b"), map([])])]),
        "one in a list"
    );
    let rest = c
        .ok("get_work", vec![text("w"), map([("max_jobs", int(99))])])
        .await;
    assert_eq!(items(rest).len(), 2);
    let error = c.try_call(
        "get_work",
        vec![text("w"), map([("max_jobs", Value::Float(2.9))])],
    );
    assert!(error.await.unwrap_err().contains("max_jobs is 2.9"));
}

pub async fn max_jobs_and_max_getwork_and_max_running_bound_a_claim(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", [("max_running", int(5)), ("max_getwork", int(2))])
        .await;
    c.add_items(
        "s",
        Value::Array((0..9).map(|i| text(&i.to_string())).collect()),
    )
    .await;
    assert_eq!(c.take_many("w", 9).await.len(), 2);
    assert_eq!(c.take_many("w", 9).await.len(), 2);
    assert_eq!(c.take_many("w", 9).await.len(), 1);
    assert_eq!(c.take_many("w", 9).await.len(), 0);
    c.finish("s", "0").await;
    assert_eq!(c.take_many("w", 9).await, ["5"]);
    let open = map([("max_running", int(0)), ("max_getwork", int(0))]);
    c.ok("control_work_spec", vec![text("s"), open]).await;
    assert_eq!(c.take_many("w", 9).await.len(), 3);
}

pub async fn max_running_counts_a_lease_that_ran_out_no_more(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", [("max_running", int(1))]).await;
    c.add("s", ["a", "b"]).await;
    assert_eq!(c.take_for("w", 10).await.unwrap(), "a");
    assert_eq!(c.take("w").await, None);
    w.advance(10.5);
    assert_eq!(c.take("w").await.unwrap(), "a");
    assert_eq!(c.take("w").await, None);
    assert!(c.set_status("s", "b", 3).await.is_err(), "nor by an update");
    assert_eq!(c.counts("s").await, [1, 1, 0, 0]);
}

pub async fn nothing_comes_from_a_paused_spec(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", [("disabled", Value::Bool(true))]).await;
    c.add("s", ["a"]).await;
    assert_eq!(c.take("w").await, None);
    let status = |number: i32| vec![text("s"), map([("status", int(number))])];
    c.ok("control_work_spec", status(1)).await;
    assert_eq!(c.take("w").await.unwrap(), "a");
    c.set_status("s", "a", 1).await.unwrap();
    c.ok("control_work_spec", status(2)).await;
    assert_eq!(c.take("w").await, None);
}

pub async fn a_higher_priority_spec_goes_first(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("low", [("priority", int(-1)), ("weight", int(1_000_000))])
        .await;
    c.spec("high", [("priority", int(1)), ("weight", int(1))])
        .await;
    c.add("low", ["l"]).await;
    c.add("high", ["h1", "h2"]).await;
    let taken = c.take_many("w", 9).await;
    assert_eq!(taken, ["h1", "h2"], "units of one spec in one reply");
    assert_eq!(c.take("w").await.unwrap(), "l");
}

pub async fn running_work_follows_the_weights(w: World<impl Backend>) {
    let mut c = w.client();
    let specs = [("a", 10), ("b", 30), ("c", 60)];
    let units: Vec<String> = (0..1_000).map(|i| format!("{i:04}")).collect();
    for (spec, weight) in specs {
        c.spec(spec, [("weight", int(weight))]).await;
        c.add_items(
            spec,
            Value::Array(units.iter().map(|unit| text(unit)).collect()),
        )
        .await;
    }
    let mut running = HashMap::<String, i32>::new();
    for _ in 0..1_000 {
        *running
            .entry(c.take_with("w", []).await.unwrap().spec)
            .or_default() += 1;
    }
    for (spec, weight) in specs {
        let share = running[spec];
        assert!(
            (share - weight * 10).abs() <= 20,
            "{spec} has {share} of 1,000 at {weight} %"
        );
    }
}

pub async fn only_asked_runtimes_and_specs_are_handed_out(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("py", []).await;
    c.spec("rs", [("runtime", text("rust"))]).await;
    c.add("py", ["p"]).await;
    c.add("rs", ["r"]).await;
    assert_eq!(
        c.take_with("w", [("work_spec_names", texts(["x", "rs"]))])
            .await,
        None
    );
    let rust = [("runtimes", texts(["go", "rust"]))];
    assert_eq!(c.take_with("w", rust).await.unwrap().key, "r");
    assert_eq!(
        c.take_with("w", [("work_spec_names", texts(["x"]))]).await,
        None
    );
    assert_eq!(
        c.take_with("w", [("work_spec_names", list([]))])
            .await
            .unwrap()
            .key,
        "p"
    );
}

pub async fn memory_counts_only_where_the_daemon_enforces_it(w: World<impl Backend>) {
    let mut c = w.client();
    let big = [("min_gb", int(8))];
    c.spec("s", big.clone()).await;
    c.add("s", ["a"]).await;
    assert_eq!(
        c.take_with("w", [("available_gb", int(1))])
            .await
            .unwrap()
            .key,
        "a"
    );

    let strict = coordinated::jobserver::Settings {
        enforce_min_gb: true,
        ..settings()
    };
    let w = World::memory_with(16, Default::default(), strict).await;
    let mut c = w.client();
    c.spec("s", big).await;
    c.add("s", ["a"]).await;
    assert_eq!(c.take_with("w", [("available_gb", int(1))]).await, None);
    assert_eq!(
        c.take_with("w", [("available_gb", Value::Float(8.0))])
            .await
            .unwrap()
            .key,
        "a"
    );
}

pub async fn a_unit_with_too_many_attempts_fails_and_the_batch_goes_on(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", [("max_retries", int(2))]).await;
    c.add_items("s", list([list([text("a"), map([("n", int(1))])])]))
        .await;
    for _ in 0..2 {
        assert_eq!(c.take_for("w", 10).await.unwrap(), "a");
        w.advance(11.0);
    }
    c.add("s", ["b"]).await;
    assert_eq!(c.take_many("w", 5).await, ["b"]);
    assert_eq!(c.counts("s").await, [0, 1, 0, 1]);
    let status = c.status("s", "a").await;
    assert_eq!(get(&status, "attempts"), int(3));
    assert_eq!(get(&status, "traceback"), text("too many retries"));
    let data = map([("n", int(1)), ("traceback", text("too many retries"))]);
    assert_eq!(c.data("s", "a").await, data);
    w.client().set_status("s", "a", 1).await.unwrap();
    assert_eq!(c.data("s", "a").await, map([("n", int(1))]));
}

pub async fn when_retries_empty_a_batch_the_scheduler_goes_on(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", [("max_retries", int(1)), ("priority", int(9))])
        .await;
    c.spec("t", []).await;
    c.add("s", ["a", "b", "c"]).await;
    c.add("t", ["z"]).await;
    for _ in 0..3 {
        c.take_for("w", 10).await.unwrap();
    }
    w.advance(11.0);
    assert_eq!(c.take("w").await.unwrap(), "z");
    assert_eq!(c.counts("s").await, [0, 0, 0, 3]);
}

pub async fn a_continuous_spec_makes_one_unit_at_a_time_and_not_before_its_interval(
    w: World<impl Backend>,
) {
    let mut c = w.client();
    c.spec(
        "s",
        [
            ("continuous", Value::Bool(true)),
            ("interval", Value::Float(10.5)),
        ],
    )
    .await;
    let made = c.take_with("w", [("max_jobs", Value::Null)]).await.unwrap();
    assert_eq!((made.key.as_str(), made.data), ("1700000000.000", map([])));
    assert_eq!(c.take("w").await, None, "one is pending");
    c.finish("s", &made.key).await;
    assert_eq!(c.take("w").await, None, "the interval is not over");
    w.advance(10.499_999);
    assert_eq!(c.take("w").await, None);
    w.advance(0.000_001);
    assert_eq!(c.take_many("w", 5).await, ["1700000010.500"]);
    w.advance(400.0);
    assert_eq!(
        c.take("w").await.unwrap(),
        "1700000010.500",
        "the old one first"
    );
    c.update(
        "s",
        "1700000010.500",
        [("status", int(1)), ("delay", int(100))],
    )
    .await
    .unwrap();
    assert_eq!(
        c.take("w").await,
        None,
        "none is made while another is delayed"
    );
    let pause = map([("status", int(2))]);
    c.ok("control_work_spec", vec![text("s"), pause]).await;
    w.advance(200.0);
    assert_eq!(c.take("w").await, None);

    c.spec("fast", [("continuous", Value::Bool(true))]).await;
    let first = c.take("w").await.unwrap();
    c.finish("fast", &first).await;
    let second = c.take("w").await.unwrap();
    assert_ne!(first, second, "two made in one millisecond are two units");
    assert_eq!(c.counts("fast").await, [0, 1, 1, 0]);
}

pub async fn the_attempt_is_told_to_who_asks(w: World<impl Backend>) {
    let mut c = w.client();
    c.spec("s", []).await;
    c.add_items("s", list([prioritized("a", 2.5)])).await;
    let mut ids = Vec::new();
    for number in 1..3 {
        let options = map([("with_attempt", Value::Bool(true)), ("lease_time", int(10))]);
        let job = items(c.ok("get_work", vec![text("w"), options]).await);
        let told = &job[3];
        assert_eq!(get(told, "attempt"), int(number));
        assert_eq!(get(told, "priority"), Value::Float(2.5));
        let Value::Float(expires) = get(told, "expires") else {
            panic!("{told:?}")
        };
        assert_eq!(
            Value::Float(expires),
            get(&c.status("s", "a").await, "expiration")
        );
        let Value::Integer(id) = get(told, "attempt_id") else {
            panic!("{told:?}")
        };
        assert_eq!(get(&c.status("s", "a").await, "attempt_id"), int(id));
        ids.push(id);
        w.advance(11.0);
    }
    assert!(ids[0] < ids[1]);
}
