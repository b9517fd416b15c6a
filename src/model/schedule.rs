//! Which work spec the next unit comes from (semantics.md §4).

/// A work spec that could hand out a unit now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Only the specs of the highest priority are considered.
    pub priority: i64,
    /// Its share of the running work among specs of equal priority; at least 1.
    pub weight: u32,
    /// How many of its units are pending.
    pub pending: u64,
}

/// Picks one of `specs`: of those with the highest priority, at random with
/// probability proportional to max(0, weight·(total pending + 1) − total
/// weight·pending), so that each spec's running work tends to its weight.
///
/// `random` is asked for a number below its argument, which is above zero. `None` if
/// there are no specs.
pub fn choose<T>(
    specs: &[T],
    share: impl Fn(&T) -> Share,
    random: impl FnOnce(u128) -> u128,
) -> Option<usize> {
    let highest = specs.iter().map(|spec| share(spec).priority).max()?;
    let kept = || {
        specs
            .iter()
            .map(&share)
            .enumerate()
            .filter(move |(_, spec)| spec.priority == highest)
    };
    let (mut count, mut only, mut weight, mut pending) = (0, 0, 0u128, 0u128);
    for (index, spec) in kept() {
        count += 1;
        only = index;
        weight += u128::from(spec.weight);
        pending += u128::from(spec.pending);
    }
    if count == 1 {
        return Some(only);
    }
    let score = |spec: &Share| {
        (u128::from(spec.weight) * (pending + 1)).saturating_sub(weight * u128::from(spec.pending))
    };
    let total: u128 = kept().map(|(_, spec)| score(&spec)).sum();
    assert!(
        total > 0,
        "the scores before cutting at zero add up to the total weight, which is positive"
    );
    let mut drawn = random(total);
    for (index, spec) in kept() {
        match drawn.checked_sub(score(&spec)) {
            None => return Some(index),
            Some(rest) => drawn = rest,
        }
    }
    unreachable!("the drawn number is below the total")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(priority: i64, weight: u32, pending: u64) -> Share {
        Share {
            priority,
            weight,
            pending,
        }
    }

    fn pick(specs: &[Share], random: impl FnOnce(u128) -> u128) -> Option<usize> {
        choose(specs, |&spec| spec, random)
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert_eq!(pick(&[], |_| 0), None);
    }

    #[test]
    fn a_higher_priority_always_goes_before_a_lower_one() {
        let specs = [share(0, 1_000, 0), share(1, 1, 1_000), share(-5, 1, 0)];
        assert_eq!(pick(&specs, |n| n - 1), Some(1));
    }

    #[test]
    fn a_spec_that_has_more_than_its_share_is_not_chosen() {
        let specs = [share(0, 20, 9), share(0, 20, 0)];
        for drawn in 0..20 {
            assert_eq!(pick(&specs, |n| drawn % n), Some(1));
        }
    }

    #[test]
    fn running_work_settles_at_the_weights() {
        let mut specs = [share(0, 10, 0), share(0, 30, 0), share(0, 60, 0)];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let chosen = pick(&specs, |n| random.u128(..n)).unwrap();
            specs[chosen].pending += 1;
        }
        for spec in specs {
            let share = spec.pending as f64 / 10_000.0;
            let want = f64::from(spec.weight) / 100.0;
            assert!((share - want).abs() < 0.01, "{spec:?} has {share}");
        }
    }

    proptest! {
        #[test]
        fn the_choice_is_one_of_the_highest_priority(
            specs in prop::collection::vec(
                (-2i64..3, 1u32..=u32::MAX, prop_oneof![0u64..50, any::<u64>()])
                    .prop_map(|(p, w, n)| share(p, w, n)),
                1..12,
            ),
            seed: u64,
        ) {
            let chosen = pick(&specs, |n| fastrand::Rng::with_seed(seed).u128(..n)).unwrap();
            let highest = specs.iter().map(|s| s.priority).max().unwrap();
            prop_assert_eq!(specs[chosen].priority, highest);
        }
    }
}
