//! How long and how bad a run is.

use std::env;

/// Clients that work, of whichever daemon.
pub const WORKERS: usize = 64;

/// What workers do that costs time.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Of a thousand claimed units, those that are kept for longer than their lease, and
    /// as many whose worker dies. Each costs seconds.
    pub late_per_mille: u32,
    /// Of a thousand claimed units, those with locks around the work.
    pub locked_per_mille: u32,
}

/// Sizes and chances of one run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Units that are added; about as many again come of them.
    pub units: usize,
    pub daemons: usize,
    /// Times that one daemon is killed, or all of them are.
    pub kills: usize,
    /// Times that the database is stopped, every other time as by a crash.
    pub database_restarts: usize,
    pub habits: Habits,
    /// Everything random comes from it, though not when what happens.
    pub seed: u64,
}

impl Plan {
    /// From `COORDINATED_CHAOS_UNITS`, `COORDINATED_CHAOS_DAEMONS` and
    /// `COORDINATED_CHAOS_SEED`; without them, something that takes half a minute.
    pub fn from_environment() -> Plan {
        let units = number("COORDINATED_CHAOS_UNITS").unwrap_or(4_000);
        let daemons = number("COORDINATED_CHAOS_DAEMONS").unwrap_or(2);
        assert!(
            units >= 1_000,
            "fewer than 1000 units are done before anything happens"
        );
        assert!((1..=16).contains(&daemons), "1 to 16 daemons");
        let (units, daemons) = (units as usize, daemons as usize);
        Plan {
            units,
            daemons,
            kills: (units / 2_500).max(6),
            database_restarts: 2,
            habits: match units {
                ..=10_000 => Habits {
                    late_per_mille: 15,
                    locked_per_mille: 120,
                },
                _ => Habits {
                    late_per_mille: 4,
                    locked_per_mille: 50,
                },
            },
            seed: number("COORDINATED_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..)),
        }
    }

    /// Random numbers for one of those who take part.
    pub fn random(&self, part: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok().filter(|value| !value.is_empty())?;
    let parsed = value.parse();
    Some(parsed.unwrap_or_else(|_| panic!("{variable} is {value:?}, not a number")))
}
