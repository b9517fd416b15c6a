//! Histories in which units are lost, done twice, or come from nowhere.

use super::*;

#[test]
fn a_lost_unit_is_found() {
    finds(Rule::NoneLost, |history| drop(history.units.remove(1)));
    finds(Rule::NoneLost, |history| history.units[1].status = 1);
    finds(Rule::NoneLost, |history| {
        history.push(add(0, &["three"], true))
    });
}

#[test]
fn a_unit_that_was_finished_twice_is_found() {
    finds(Rule::FinishIsFinal, |history| {
        history.updates[1].answer = Some(true)
    });
    // It says it was another.
    finds(Rule::FinishIsFinal, |history| {
        history.units[2].attempt = Some(7)
    });
    // Its last attempt has not finished it.
    finds(Rule::FinishIsFinal, |history| {
        drop(history.updates.remove(0))
    });
}

#[test]
fn a_unit_that_is_handed_out_after_its_finish_is_found() {
    finds(Rule::FinishIsFinal, |history| {
        history.push(claim(4_000, "b", "one.1", 202));
    });
    // Nobody was told that it is finished, but somebody saw it.
    for (spec, key) in [("a", "two"), ("b", "two.1")] {
        finds(Rule::FinishIsFinal, |history| {
            history.updates[0].data = Some(Data {
                text: "{}".to_owned(),
                output: vec![new("two.1", "{}")],
            });
            let seen = match spec {
                "a" => Seen::Finished,
                _ => Seen::Present,
            };
            history.push(look(1_000, spec, key, seen));
            history.push(claim(1_400, "a", "two", 201));
        });
    }
    finds(Rule::FinishIsFinal, |history| {
        history.push(look(2_050, "a", "one", Seen::Unfinished));
    });
}

#[test]
fn other_data_is_found() {
    finds(Rule::Data, |history| {
        history.units[0].data = "{}".to_owned()
    });
    finds(Rule::Data, |history| {
        history.units[1].data = "else".to_owned()
    });
    finds(Rule::Data, |history| {
        history.claims[0].units[0].data = "else".to_owned()
    });
    finds(Rule::Data, |history| {
        history.claims[3].units[0].data = "else".to_owned()
    });
}

#[test]
fn data_that_was_stored_is_what_a_finish_without_data_keeps() {
    let store = |answer| {
        let mut store = update(250, ("a", "two"), 101, Ask::Renew(LEASE), answer);
        store.data = Some(Data {
            text: "stored".to_owned(),
            output: Vec::new(),
        });
        Event::Update(store)
    };
    allows(|history| {
        history.push(store(Some(true)));
        history.units[1].data = "stored".to_owned();
    });
    finds(Rule::Data, |history| history.push(store(Some(true))));
}

#[test]
fn half_a_chain_is_found() {
    finds(Rule::ChainIsOneStep, |history| {
        drop(history.units.remove(2))
    });
    // For a while there was only half of it.
    finds(Rule::ChainIsOneStep, |history| {
        history.push(look(2_035, "b", "one.1", Seen::Missing));
    });
    allows(|history| history.push(look(2_005, "b", "one.1", Seen::Missing)));
    // Two finishes have chained the same.
    finds(Rule::ChainIsOneStep, |history| {
        history.updates[0].data = history.updates[2].data.clone();
    });
}

#[test]
fn what_comes_from_nowhere_is_found() {
    finds(Rule::NothingFromNowhere, |history| {
        history.push(found("b", "one.2", 103, "{}"));
    });
    finds(Rule::NothingFromNowhere, |history| {
        history.claims[3].call = call(1_900);
    });
    finds(Rule::NothingFromNowhere, |history| {
        history.push(claim(2_500, "b", "else", 103));
    });
    // The stale attempt's output.
    finds(Rule::NothingFromNowhere, |history| {
        history.updates[1].data = Some(Data {
            text: String::new(),
            output: vec![new("stale", "{}")],
        });
        history.push(found("b", "stale", 104, "{}"));
    });
}

#[test]
fn half_an_add_is_found() {
    allows(|history| history.push(add(0, &["three", "four"], false)));
    finds(Rule::AddIsOneStep, |history| {
        history.push(add(0, &["two", "three"], false));
    });
}

#[test]
fn what_comes_too_early_is_found() {
    finds(Rule::NotEarly, |history| {
        let output = history.updates[2].data.as_mut();
        output.unwrap().output[0].delay = 500_000;
    });
    finds(Rule::NotEarly, |history| {
        history.updates[1] = update(1_000, ("a", "one"), 100, Ask::Release(800_000), Some(true));
    });
    allows(|history| {
        history.updates[1] = update(1_000, ("a", "one"), 100, Ask::Release(400_000), Some(true));
    });
}

#[test]
fn wrong_counts_are_found() {
    finds(Rule::CountsAreExact, |history| {
        history.counts[3].counts[0].1 = 2
    });
    finds(Rule::CountsAreExact, |history| {
        history.counts[0].counts.push((1, 1))
    });
    finds(Rule::CountsAreExact, |history| {
        history.counts.retain(|count| count.spec == "a");
    });
    finds(Rule::CountsAreExact, |history| {
        history.units.push(history.units[0].clone());
    });
}

#[test]
fn units_made_in_one_interval_are_found() {
    let ticks = |history: &mut History, keys: [&str; 2]| {
        history.push(Event::Spec(Spec {
            name: "ticks".to_owned(),
            max_running: 1,
            then: None,
            interval: Some(300_000),
        }));
        for (key, number) in keys.into_iter().zip(0..) {
            let (attempt, at) = (110 + number, 5_000 + 500 * number);
            history.push(claim(at, "ticks", key, attempt));
            history.push(finish(at + 50, "ticks", key, attempt, Some(true)));
            history.push(found("ticks", key, attempt, "{}"));
        }
        history.push(count(0, "ticks", 2));
    };
    allows(|history| ticks(history, ["1700000005.001", "1700000005.301"]));
    finds(Rule::OnePerInterval, |history| {
        ticks(history, ["1700000005.001", "1700000005.299"]);
    });
    finds(Rule::NothingFromNowhere, |history| {
        ticks(history, ["1700000005.001", "other"]);
    });
}
