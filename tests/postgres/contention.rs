//! Several daemons and many clients who want the same at the same time: how often their
//! transactions are in each other's way, and what becomes of that.

use serde_cbor::Value;
use tokio::task::JoinSet;

use super::{
    proxy::{Proxy, Traffic},
    watched::{Watched, keys},
};
use crate::support::{Client, get, int, items, list, map, postgres::schema, text, texts};
use coordinated::{backend::postgres::Postgres, limits::DATABASE_RETRIES_MAX};

const DAEMONS: usize = 3;
const CLIENTS: usize = 24;

/// Daemons on one schema, each with several connections.
struct Daemons(Vec<Watched>);

impl Daemons {
    /// Spec `s` has these keys, and units.
    async fn start<const N: usize>(definition: [(&str, Value); N], units: usize) -> Daemons {
        let schema = schema().await;
        let mut daemons = Vec::new();
        for _ in 0..DAEMONS {
            daemons.push(Watched::on(&schema, 4).await);
        }
        daemons[0].spec("s", definition).await;
        daemons[0].add("s", &keys("a", units)).await;
        daemons[0].world.schema = Some(schema);
        for daemon in &daemons {
            daemon.proxy.take();
        }
        Daemons(daemons)
    }

    /// Runs a task for each client; the sum of what they give, and what went through.
    async fn at_once<F>(&self, task: impl Fn(usize, Client<Postgres>) -> F) -> (usize, Traffic)
    where
        F: Future<Output = usize> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for client in 0..CLIENTS {
            tasks.spawn(task(client, self.0[client % DAEMONS].world.client()));
        }
        let sum = tasks.join_all().await.into_iter().sum();
        let proxies = self.0.iter().map(|daemon| &daemon.proxy);
        (sum, Traffic::of_all(proxies.map(Proxy::take)))
    }
}

/// The keys of up to so many units that are handed out.
async fn take(client: &mut Client<Postgres>, units_max: usize) -> Vec<Value> {
    let options = map([("max_jobs", int(units_max as u64 + 1))]);
    let work = items(client.ok("get_work", vec![text("w"), options]).await);
    work.into_iter().map(|unit| items(unit).remove(1)).collect()
}

async fn finish(client: &mut Client<Postgres>, key: Value, data: Value) {
    let finish = map([("status", int(4)), ("data", data)]);
    let params = vec![text("s"), key, finish];
    client.ok("update_work_unit", params).await;
}

/// Another server had tens of thousands of serialization failures here.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_and_finishes_of_many_clients_are_never_in_each_others_way() {
    for definition in [("min_gb", int(0)), ("max_running", int(CLIENTS as u64))] {
        let daemons = Daemons::start([definition.clone()], 1_000).await;
        let (finished, traffic) = daemons
            .at_once(|_, mut client| async move {
                let mut finished = 0;
                // A claim may find nothing because others are about to take what is left.
                for _ in 0..50 {
                    for key in take(&mut client, 1).await {
                        finish(&mut client, key, map([])).await;
                        finished += 1;
                    }
                }
                finished
            })
            .await;
        assert!(finished > 500, "{finished} with {definition:?}");
        assert_eq!(traffic.errors, [""; 0], "with {definition:?}");
        assert!(
            traffic.commits <= 2 * finished + CLIENTS * 50,
            "no more than a transaction for a call: {} for {finished} units",
            traffic.commits
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_adds_and_chains_the_same_keys_as_others_is_seldom_sent_back_and_never_refused() {
    const ROUNDS: u32 = 10;
    let daemons = Daemons::start([("then", text("s"))], 200).await;
    let (calls, traffic) = daemons
        .at_once(|number, mut client| async move {
            let mut random = fastrand::Rng::with_seed(number as u64);
            let mut calls = 0;
            for round in 0..ROUNDS {
                // Of 20 that are new, for who comes first.
                let mut some = || -> [String; 4] {
                    std::array::from_fn(|_| format!("b{:06}", round * 20 + random.u32(..20)))
                };
                let units = some().map(|key| list([text(&key), map([])]));
                let params = vec![text("s"), list(units)];
                client.ok("add_work_units", params).await;
                calls += 1;
                for key in take(&mut client, 2).await {
                    let next = some();
                    let next = texts([&*next[0], &*next[1], &*next[2]]);
                    finish(&mut client, key, map([("output", next)])).await;
                    calls += 1;
                }
            }
            calls
        })
        .await;
    // What came with a statement that was sent back is refused too.
    let is_expected = |code: &String| code.starts_with("40") || code == "25P02";
    assert!(
        traffic.errors.iter().all(is_expected),
        "{:?}",
        traffic.errors
    );
    let conflicts = traffic.conflicts();
    assert!(
        conflicts * 10 <= calls,
        "{conflicts} conflicts in {calls} calls"
    );
}

#[tokio::test]
async fn what_is_in_the_way_for_good_is_tried_again_a_bounded_number_of_times() {
    let mut daemon = Watched::alone().await;
    daemon.spec("s", []).await;
    let schema = daemon.world.schema.as_ref().unwrap();
    let never = "create function never() returns trigger language plpgsql as $$ begin
            raise exception 'not now' using errcode = 'serialization_failure';
        end $$;
        create trigger never before insert on unit execute function never()";
    schema.client().await.batch_execute(never).await.unwrap();
    let params = vec![text("s"), texts(["a"])];
    let call = Box::pin(daemon.client.try_call("add_work_units", params));
    let (answer, traffic) = daemon.proxy.during(call).await;
    assert_eq!(
        answer.unwrap_err(),
        "the backend is busy or restarting; try again"
    );
    let tries = traffic.conflicts();
    let tries_max = 1 + DATABASE_RETRIES_MAX as usize;
    assert!((2..=tries_max).contains(&tries), "{tries} tries");
    let meta = daemon.ok("get_work_spec_meta", vec![text("s")]).await.0;
    assert_eq!(get(&meta, "status"), int(1), "the daemon goes on");
}
