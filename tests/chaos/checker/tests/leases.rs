//! Histories in which leases, fences or limits do not hold.

use super::*;

/// The second attempt comes when the first is certainly live.
fn early(history: &mut History) {
    history.claims[2].call = call(500);
    history.claims[2].units[0].expires -= LEASE;
}

#[test]
fn two_live_attempts_are_found() {
    finds(Rule::OneOwner, early);
    // Until it ends, a renewed lease is live too.
    finds(Rule::OneOwner, |history| {
        let renewal = update(900, ("a", "one"), 100, Ask::Renew(LEASE), Some(true));
        history.push(Event::Update(renewal));
    });
}

#[test]
fn what_may_be_over_is_no_live_attempt() {
    let renewal = |answer| {
        let mut renewal = update(900, ("a", "one"), 100, Ask::Renew(LEASE), answer);
        if answer.is_none() {
            renewal.call = lost(900);
        }
        Event::Update(renewal)
    };
    // It may not have been carried out.
    allows(|history| history.push(renewal(None)));
    // It may have been given back, as whoever asked for it does not know.
    allows(|history| {
        let mut release = update(400, ("a", "one"), 100, Ask::Release(0), None);
        release.call = lost(400);
        history.push(Event::Update(release));
        early(history);
    });
    // Clocks are not that exact.
    allows(|history| {
        let end = 100_000 + LEASE - SLACK;
        history.claims[2].call = call(end / 1_000);
        history.claims[2].units[0].expires = OFFSET + end + LEASE;
    });
}

#[test]
fn a_shorter_lease_ends_sooner() {
    allows(|history| {
        let shorter = update(200, ("a", "one"), 100, Ask::Renew(LEASE / 4), Some(true));
        history.push(Event::Update(shorter));
        history.claims[2].call = call(520);
        history.claims[2].units[0].expires = OFFSET + 520_000 + LEASE;
        history.updates[1].call = call(600);
    });
}

#[test]
fn attempts_that_do_not_rise_are_found() {
    finds(Rule::AttemptsRise, |history| {
        let twice = claim(1_500, "a", "two", 200);
        history.push(twice);
    });
    finds(Rule::AttemptsRise, |history| {
        history.push(claim(5_000, "a", "one", 150));
    });
    finds(Rule::AttemptsRise, |history| {
        history.claims[2].units[0].number = 1
    });
    finds(Rule::AttemptsRise, |history| history.units[0].attempts = 1);
    finds(Rule::AttemptsRise, |history| history.updates[0].attempt = 7);
}

#[test]
fn a_stale_attempt_that_is_heard_is_found() {
    finds(Rule::Fenced, |history| {
        history.updates[1].answer = Some(true)
    });
    for ask in [Ask::Renew(LEASE), Ask::Release(0)] {
        finds(Rule::Fenced, |history| {
            let stale = update(1_600, ("a", "one"), 100, ask, Some(true));
            history.push(Event::Update(stale));
        });
    }
    // It was refused, and yet the unit is as it said.
    finds(Rule::Fenced, |history| history.units[0].attempt = Some(100));
    finds(Rule::Fenced, |history| {
        let release = update(150, ("a", "two"), 101, Ask::Release(0), Some(true));
        history.push(Event::Update(release));
        history.updates[0].call = call(300);
        history.updates[0].answer = Some(true);
    });
}

#[test]
fn a_live_attempt_that_is_refused_is_found() {
    finds(Rule::HolderIsHeard, |history| {
        history.updates[1].call = call(600);
    });
    // After its lease it may have been superseded by someone whose reply was lost.
    allows(|history| history.updates[1].call = call(1_200));
}

#[test]
fn too_many_that_run_are_found() {
    let another = |history: &mut History, at: u64| {
        for event in [
            add(0, &["three"], true),
            claim(at, "a", "three", 103),
            finish(3_500, "a", "three", 103, Some(true)),
            found("a", "three", 103, "{}"),
        ] {
            history.push(event);
        }
        history.counts[0].counts[0].1 = 3;
        history.counts[2].counts[0].1 = 3;
    };
    for limit in [0, 2] {
        allows(|history| {
            history.specs[0].max_running = limit;
            another(history, 2_700); // only then, as the lost finish may be late
        });
    }
    finds(Rule::MaxRunning, |history| {
        history.specs[0].max_running = 2;
        for at in [1_000, 1_200, 1_300] {
            let key = format!("more {at}");
            history.push(claim(at, "a", &key, at));
        }
    });
}

#[test]
fn a_lease_of_another_length_is_found() {
    finds(Rule::LeaseLength, |history| {
        history.claims[0].units[0].expires += 3 * SLACK;
    });
    finds(Rule::LeaseLength, |history| {
        history.claims[1].units[0].expires -= 3 * SLACK;
    });
}
