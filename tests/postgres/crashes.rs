//! Daemons that die in the middle of a call: after each of its round trips, one after the
//! other. Whatever is one step is there as a whole then, or not at all.

use serde_cbor::Value;
use tokio_postgres::Client;

use super::watched::{Watched, keys};
use crate::support::{int, list, map, postgres::Schema, text, texts};

/// A schema, and a daemon on it that lives.
struct Scene {
    schema: Schema,
    witness: Client,
    living: Watched,
}

impl Scene {
    async fn set() -> Scene {
        let schema = crate::support::postgres::schema().await;
        let living = Watched::on(&schema, 1).await;
        Scene {
            witness: schema.client().await,
            living,
            schema,
        }
    }

    /// Has a new daemon make a call and die after so many round trips. Whether it was
    /// answered before that. Whatever it asked of the server is over then.
    async fn dies(&self, round_trips: usize, method: &str, params: Vec<Value>) -> bool {
        const SESSIONS: &str = "select count(*) from pg_stat_activity where application_name = $1";
        let Watched {
            proxy, mut client, ..
        } = Watched::on(&self.schema, 1).await;
        proxy.wall_after(round_trips);
        let is_answered = tokio::select! {
            _ = Box::pin(client.ok(method, params)) => true,
            () = proxy.at_wall() => false,
        };
        let name = format!("{}_p", self.schema.name());
        let others = 1; // the one that lives
        drop(proxy);
        loop {
            let row = self.witness.query_one(SESSIONS, &[&name]).await.unwrap();
            if row.get::<_, i64>(0) == others {
                return is_answered;
            }
        }
    }

    /// Has a daemon die after each round trip of a finish that leads to a unit, in all
    /// ways in which the spec's output can get there.
    async fn finishes_die(&mut self, spec: &str, then: &str, is_stored_before: bool) {
        self.living.spec(spec, [("then", text(then))]).await;
        for round_trips in 0.. {
            let (key, next) = (format!("key {round_trips}"), format!("next {round_trips}"));
            self.living.add(spec, std::slice::from_ref(&key)).await;
            assert_eq!(self.living.work(spec).await.0, key);
            let output = ("data", map([("output", texts([&next]))]));
            let finish = match is_stored_before {
                true => {
                    let keep = [("lease_time", int(60)), output];
                    self.living.update(spec, &key, keep).await;
                    map([("status", int(4))])
                }
                false => map([("status", int(4)), output]),
            };
            let params = vec![text(spec), text(&key), finish];
            let is_answered = self.dies(round_trips, "update_work_unit", params).await;
            let row = self
                .witness
                .query_one(
                    "select exists (select from unit where key = $1 and status = 4),
                        exists (select from unit where key = $2)",
                    &[&key.as_bytes(), &next.as_bytes()],
                )
                .await
                .unwrap();
            let (is_finished, is_chained): (bool, bool) = (row.get(0), row.get(1));
            assert_eq!(
                is_finished, is_chained,
                "after {round_trips} round trips of a finish of {spec}"
            );
            if is_answered {
                assert!(is_finished && round_trips > 0);
                return;
            }
            if is_chained && spec == then {
                // Or it would be handed out in the next round.
                let gone = map([("work_unit_keys", texts([&next]))]);
                let params = vec![text(spec), gone];
                self.living.ok("del_work_units", params).await;
            }
        }
    }
}

#[tokio::test]
async fn a_daemon_that_dies_has_finished_a_unit_and_chained_its_output_or_neither() {
    let mut scene = Scene::set().await;
    scene.living.spec("t", []).await;
    scene.finishes_die("to another", "t", false).await;
    scene.finishes_die("stored before", "t", true).await;
    scene.finishes_die("to itself", "to itself", false).await;
}

#[tokio::test]
async fn a_daemon_that_dies_has_added_all_units_of_a_call_or_none() {
    const UNITS: usize = 12_000;
    let mut scene = Scene::set().await;
    let units = keys("a", UNITS);
    let units = units.iter().map(|key| list([text(key), map([])])).collect();
    let units = Value::Array(units);
    for round_trips in 0.. {
        let spec = format!("spec {round_trips}");
        scene.living.spec(&spec, []).await;
        let params = vec![text(&spec), units.clone()];
        let is_answered = scene.dies(round_trips, "add_work_units", params).await;
        let count = "select count(*) from unit where shelf_id = (
            select shelf_id from spec where name = $1)";
        let row = scene.witness.query_one(count, &[&spec.as_bytes()]).await;
        let added = usize::try_from(row.unwrap().get::<_, i64>(0)).unwrap();
        assert!(
            added == 0 || added == UNITS,
            "{added} after {round_trips} round trips"
        );
        if is_answered {
            assert_eq!(added, UNITS);
            return;
        }
    }
}
