//! What is kept of units that are over, and of attempts.

use std::time::Duration;

use coordinated::{
    backend::{Backend as _, Retention, UnitPage, UnitSelection},
    model::{Effect, StatusSet},
};

use crate::{Daemons, after, change, claim, now, support};

#[tokio::test]
async fn the_oldest_finished_units_are_archived_and_stay_in_the_counts() {
    let world = Daemons::start(1).await;
    let spec = world.spec("s", []).await;
    world.add(spec, 6).await;
    for at in 0..5u64 {
        let unit = claim(&world.of(0), after(at), spec, 1)
            .await
            .units
            .remove(0);
        let finish = vec![change(&unit, Effect::Finish, None)];
        let daemon = world.of(0);
        daemon
            .change_units(after(at), spec, finish)
            .await
            .unwrap()
            .remove(0)
            .unwrap();
    }
    let keys = async |daemon: &coordinated::backend::postgres::Postgres| {
        let page = UnitPage {
            statuses: StatusSet::NONE.with_wire(4),
            after: None,
            limit: 10,
        };
        let units = daemon.page_units(after(9), spec, page).await.unwrap();
        let key = |unit: &coordinated::model::Unit| unit.key.as_bytes()[5] - b'0';
        units.iter().map(key).collect::<Vec<_>>()
    };
    let counted = Retention {
        completed_count: Some(3),
        ..Retention::default()
    };
    let daemon = support::on_schema(&world.schema, counted).await;
    daemon
        .archive(after(9), world.namespace, Some(&["s", "x"]))
        .await
        .unwrap();
    assert_eq!(keys(&daemon).await, [2, 3, 4]);
    let aged = Retention {
        completed_age: Some(Duration::from_secs(6)),
        completed_count: Some(100),
        ..Retention::default()
    };
    let daemon = support::on_schema(&world.schema, aged).await;
    while daemon.sweep(after(9), 1_000).await.unwrap().more {}
    assert_eq!(keys(&daemon).await, [3, 4]);
    let counts = world.count(spec).await;
    assert_eq!((counts.available, counts.finished), (1, 5));
    let deleted = daemon.delete_units(now(), spec, UnitSelection::All).await;
    assert_eq!(deleted.unwrap(), 3, "what is archived was deleted before");
    assert_eq!(world.count(spec).await.finished, 0);
}
