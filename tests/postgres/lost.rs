//! Calls whose answer from the database is lost: they leave everything as if they had been
//! made once, and are answered as if nothing had happened; or, where nobody can know, with
//! an error that says so and not with a falsehood.

use std::collections::BTreeMap;

use coordinated::{
    backend::{Retention, postgres::Postgres},
    clock::Clock as _,
};
use serde_cbor::Value;

use crate::{
    lossy::Lossy,
    support::{
        Client, World, int, items, list, map, on_schema, postgres::Schema, settings, text, texts,
    },
};

/// What a client is told if nobody knows what became of its call.
pub const NOBODY_KNOWS: &str = "the backend failed; the daemon's log says why";

/// A daemon whose way to the database loses answers, and one whose way does not.
pub struct Daemons {
    pub lossy: Lossy,
    pub one: World<Postgres>,
    pub other: World<Postgres>,
    /// Looks into the tables.
    pub client: tokio_postgres::Client,
    _schema: Schema,
}

/// What a call answers, or its error.
pub type Answer = Result<Value, String>;

impl Daemons {
    pub async fn start(cache_entries: usize, retention: Retention) -> Daemons {
        let schema = crate::support::postgres::schema().await;
        let lossy = Lossy::start(&schema).await;
        let backend = lossy.backend(&schema, retention).await;
        let in_progress = backend.in_progress();
        let mut one = World::on(backend, cache_entries, settings()).await;
        one.in_progress = in_progress;
        let backend = on_schema(&schema, retention).await;
        let other = World::on(backend, cache_entries, settings()).await;
        Daemons {
            lossy,
            one,
            other,
            client: schema.client().await,
            _schema: schema,
        }
    }
}

pub async fn set_spec(client: &mut Client<Postgres>, name: &str, keys: &[(&str, Value)]) {
    let mut definition = BTreeMap::from([(text("name"), text(name))]);
    definition.extend(keys.iter().map(|(key, value)| (text(key), value.clone())));
    client
        .ok("set_work_spec", vec![Value::Map(definition)])
        .await;
}

pub async fn add(client: &mut Client<Postgres>, spec: &str, key: &str) {
    let unit = list([text(key), map([("data", text("the unit's"))])]);
    client
        .ok("add_work_units", vec![text(spec), list([unit])])
        .await;
}

pub async fn take(client: &mut Client<Postgres>, spec: &str, worker: &str) {
    let options = map([("work_spec_names", texts([spec])), ("lease_time", int(10))]);
    let work = client.ok("get_work", vec![text(worker), options]).await;
    assert_eq!(items(work)[1], text("a"));
}

pub fn updating(spec: &str, options: &Value) -> Vec<Value> {
    vec![text(spec), text("a"), options.clone()]
}

pub async fn update(client: &mut Client<Postgres>, spec: &str, options: Value) {
    let updated = client
        .ok("update_work_unit", updating(spec, &options))
        .await;
    assert_eq!(updated, Value::Bool(true));
}

pub fn status(number: u8) -> Value {
    map([("status", int(number))])
}

/// How a unit stands before the call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    Idle,
    Held,
    HeldByAnother,
    Ended,
    Finished,
    Failed,
}

const STARTS: [Start; 6] = [
    Start::Idle,
    Start::Held,
    Start::HeldByAnother,
    Start::Ended,
    Start::Finished,
    Start::Failed,
];

/// Updates of every kind, in three specs: whose output goes nowhere, where the update
/// says, and that has a limit.
fn requests() -> Vec<(Vec<(&'static str, Value)>, Value)> {
    let data = || ("data", map([("output", texts(["b", "c", "a"]))]));
    let worker = || ("worker_id", text("w"));
    let plain = [
        map([data()]),
        map([("lease_time", int(100)), data()]),
        map([("lease_time", int(0)), data()]),
        map([("status", int(1)), data()]),
        map([("status", int(1)), ("delay", int(7)), data()]),
        map([("status", int(1))]),
        map([("status", int(3)), data(), worker()]),
        map([("status", int(4)), data()]),
        map([("status", int(5)), data()]),
    ];
    let chaining = [
        map([("status", int(4)), data()]),
        map([("status", int(4)), worker()]),
    ];
    let limited = [
        map([("status", int(3)), data(), worker()]),
        map([("lease_time", int(100)), data()]),
    ];
    let of = |keys: Vec<(&'static str, Value)>, requests: &[Value]| {
        let requests = requests.iter().cloned();
        requests
            .map(|request| (keys.clone(), request))
            .collect::<Vec<_>>()
    };
    [
        of(vec![], &plain),
        of(vec![("then", text("another"))], &chaining),
        of(vec![("then", text("itself"))], &chaining),
        of(vec![("max_running", int(1))], &limited),
    ]
    .concat()
}

/// Everything that is kept of a spec and the one that its output goes to.
async fn kept(daemons: &Daemons, name: &str) -> Vec<String> {
    const KEPT: &str = "with kept as (
            select * from spec where name in (convert_to($1, 'UTF8'), convert_to($1 || ' then', 'UTF8'))
        ) select jsonb_build_array(s.name, u.key, u.status, u.tries, u.worker, u.priority, u.data,
            u.attempt_data, u.not_before - $2, u.due - $2, u.started - $2, u.ends - $2)::text
        from kept s join unit u on u.shelf_id = s.shelf_id
        union all
        select jsonb_build_array(s.name, u.key, a.how, a.held, a.worker, a.data, a.started - $2,
            a.ended - $2, row_number() over (partition by a.unit_id order by a.id))::text
        from kept s join unit u on u.shelf_id = s.shelf_id join attempt a on a.unit_id = u.id
        union all
        select jsonb_build_array(s.name, sum(t.available), sum(t.delayed), sum(t.pending),
            sum(t.finished), sum(t.failed))::text
        from kept s join tally t on t.shelf_id = s.shelf_id group by s.name
        order by 1";
    let now = daemons.one.clock.now().as_micros();
    let rows = daemons.client.query(KEPT, &[&name, &now]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// What may go wrong.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Nothing,
    Answer(usize),
    Request(usize),
}

/// Makes one update of a unit that is as `start` says; its answer, whether anything was
/// lost, and what is kept afterwards.
async fn updated(
    daemons: &Daemons,
    keys: &[(&str, Value)],
    start: Start,
    request: &Value,
    loss: Loss,
) -> (Answer, bool, Vec<String>) {
    let mut client = daemons.one.client();
    let mut another = daemons.one.client();
    let keys = keys.iter().map(|(key, value)| match value {
        Value::Text(which) if which == "another" => (*key, text("s then")),
        Value::Text(_) => (*key, text("s")),
        value => (*key, value.clone()),
    });
    client.call("clear", vec![]).await;
    set_spec(&mut client, "s then", &[]).await;
    set_spec(&mut client, "s", &keys.collect::<Vec<_>>()).await;
    add(&mut client, "s", "a").await;
    match start {
        Start::Idle => {}
        Start::HeldByAnother => take(&mut another, "s", "w").await,
        Start::Held | Start::Ended => take(&mut client, "s", "w").await,
        Start::Finished => update(&mut client, "s", status(4)).await,
        Start::Failed => update(&mut client, "s", status(5)).await,
    }
    if start == Start::Ended {
        daemons.one.advance(20.0);
    }
    match loss {
        Loss::Nothing => {}
        Loss::Answer(after) => daemons.lossy.lose_answer(after),
        Loss::Request(after) => daemons.lossy.lose_request(after),
    }
    let answer = client
        .try_call("update_work_unit", updating("s", request))
        .await;
    let was_lost = daemons.lossy.lose_nothing();
    (answer, was_lost, kept(daemons, "s").await)
}

/// Every update of a unit in every state, and each of the answers and requests that it
/// takes lost in turn. Takes some seconds, for the number of them.
#[tokio::test]
async fn an_update_whose_answer_is_lost_is_made_once_and_answered_as_if_it_was_not() {
    let daemons = Daemons::start(1024, Retention::default()).await;
    let mut lost = 0;
    for (keys, request) in requests() {
        for start in STARTS {
            let run = async |loss| updated(&daemons, &keys, start, &request, loss).await;
            let (answer, was_lost, then) = run(Loss::Nothing).await;
            assert!(!was_lost);
            let ways: [fn(usize) -> Loss; 2] = [Loss::Answer, Loss::Request];
            for way in ways {
                for after in 0.. {
                    let loss = way(after);
                    let (told, was_lost, found) = run(loss).await;
                    let what = format!("{keys:?} {start:?} {request:?} {loss:?}");
                    assert_eq!(told, answer, "{what}");
                    assert_eq!(found, then, "{what}");
                    if !was_lost {
                        break;
                    }
                    lost += 1;
                }
            }
        }
    }
    assert!(lost > 200, "only {lost}");
}
