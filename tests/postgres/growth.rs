//! What a claim costs the server when there are many units: the blocks that it looks at, as
//! the server itself counts them.

use std::time::Duration;

use coordinated::clock::ManualClock;
use tokio_postgres::Client;

use super::watched::{Watched, keys};
use crate::support::{int, items, map, postgres::Schema, text, texts};

/// Times that something is done, so that what is done once can be told apart.
const FEW: usize = 10;
const MANY: usize = 60;

/// Units of another spec whose leases are over.
const HELD: usize = 20_000;

struct Growth {
    schema: Schema,
    /// Looks at what others do, and never at a table of ours.
    witness: Client,
}

impl Growth {
    /// With so many units in spec `s`.
    async fn begin(units: usize) -> Growth {
        let schema = crate::support::postgres::schema().await;
        let mut daemon = Watched::on(&schema, 1).await;
        let witness = schema.client().await;
        // Vacuum looks at blocks too.
        for table in ["unit", "spec", "tally", "attempt"] {
            let statement = format!("alter table {table} set (autovacuum_enabled = off)");
            witness.batch_execute(&statement).await.unwrap();
        }
        daemon.spec("s", []).await;
        daemon.add("s", &keys("a", units)).await;
        let growth = Growth { schema, witness };
        growth.ends(daemon).await;
        growth
    }

    /// 100,000 more units in the spec, and 20,000 in another one that are held by workers
    /// whose leases are over.
    async fn grow(&self) {
        let mut daemon = Watched::on(&self.schema, 1).await;
        daemon.add("s", &keys("b", 100_000)).await;
        daemon.spec("other", []).await;
        daemon.add("other", &keys("a", HELD)).await;
        for _ in 0..HELD / 10_000 {
            let options = map([
                ("max_jobs", int(10_000)),
                ("work_spec_names", texts(["other"])),
                ("lease_time", int(1)),
            ]);
            let (work, _) = daemon.ok("get_work", vec![text("w"), options]).await;
            assert_eq!(items(work).len(), 10_000);
        }
        let client = self.schema.client().await;
        client.batch_execute("vacuum analyze unit").await.unwrap();
        drop(client);
        self.ends(daemon).await;
    }

    /// Ends a daemon. All sessions but the witness's have told then what they looked at,
    /// which they do at their end at the latest.
    async fn ends(&self, daemon: Watched) {
        const SESSIONS: &str = "select count(*) from pg_stat_activity
            where application_name in ($1, $1 || '_p') and pid <> pg_backend_pid()";
        drop(daemon);
        let name = self.schema.name();
        loop {
            let row = self.witness.query_one(SESSIONS, &[&name]).await.unwrap();
            if row.get::<_, i64>(0) == 0 {
                return;
            }
        }
    }

    /// Blocks that were looked at so far.
    async fn blocks(&self) -> i64 {
        let blocks = "select sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit
                + coalesce(toast_blks_read + toast_blks_hit, 0))::bigint
            from pg_statio_user_tables where schemaname = $1";
        let name = self.schema.name();
        let row = self.witness.query_one(blocks, &[&name]).await.unwrap();
        row.get(0)
    }

    /// Blocks that were looked at since there were so many. Before PostgreSQL 15, it takes
    /// the server a moment to know.
    async fn blocks_since(&self, before: i64) -> i64 {
        loop {
            let blocks = self.blocks().await;
            if blocks > before {
                return blocks - before;
            }
        }
    }

    /// Blocks that a daemon looks at for one claim.
    async fn for_a_claim(&self) -> i64 {
        let mut costs = Vec::new();
        for times in [FEW, MANY] {
            let before = self.blocks().await;
            let mut daemon = Watched::on(&self.schema, 1).await;
            daemon.world.advance(60.0);
            for _ in 0..times {
                daemon.work("s").await;
            }
            self.ends(daemon).await;
            costs.push(self.blocks_since(before).await);
        }
        (costs[1] - costs[0]) / (MANY - FEW) as i64
    }

    /// Blocks that a daemon looks at to see which specs have work.
    async fn for_a_look(&self) -> i64 {
        let mut costs = Vec::new();
        for times in [FEW, MANY] {
            let before = self.blocks().await;
            let mut daemon = Watched::on(&self.schema, 1).await;
            for _ in 0..times {
                daemon.world.advance(0.2);
                let options = map([("work_spec_names", texts(["none"]))]);
                let (_, traffic) = daemon.ok("get_work", vec![text("w"), options]).await;
                assert!(traffic.statements() == 1, "{traffic:?}");
            }
            self.ends(daemon).await;
            costs.push(self.blocks_since(before).await);
        }
        (costs[1] - costs[0]) / (MANY - FEW) as i64
    }
}

/// Another server looked for what has ended everywhere before each claim, and read all units
/// to find a spec that has work.
#[tokio::test]
async fn what_a_claim_looks_at_does_not_grow_with_units_and_ended_leases() {
    let growth = Growth::begin(500).await;
    let (look, claim) = (growth.for_a_look().await, growth.for_a_claim().await);
    growth.grow().await;
    let (late_look, late_claim) = (growth.for_a_look().await, growth.for_a_claim().await);
    // Trees are higher, and there is one spec more. And who has not claimed before may walk
    // past all that was claimed, if a test beside this one holds an older snapshot: no vacuum
    // clears it away then.
    let late_look_max = 4 * look + 2 * (FEW + MANY) as i64;
    assert!(
        (1..=2 * claim).contains(&late_claim),
        "a claim looked at {claim} blocks and now at {late_claim}"
    );
    assert!(
        (1..=late_look_max).contains(&late_look),
        "a look for work looked at {look} blocks and now at {late_look}"
    );
    let held = "select count(*) from unit where status = 3 and due < $1";
    let start = ManualClock::START
        .after(Duration::from_secs(60))
        .as_micros();
    let held = growth.witness.query_one(held, &[&start]).await.unwrap();
    assert_eq!(
        held.get::<_, i64>(0),
        HELD as i64,
        "a claim writes down what has ended in its own spec only"
    );
}
