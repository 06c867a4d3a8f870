//! Limits are facts of the box: the hub can make them stricter, and nothing else.

use felhom_model::OperationState;
use felhom_model::desired::Tightening;
use serde_json::json;

use crate::bench::{Bench, provision};
use crate::people::People;

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_makes_limits_stricter_and_never_looser() {
    let mut bench = Bench::start("max_guests = 1\nkeep_backups = 2\nkeep_spread_h = 0").await;
    People::on(&mut bench, &["anna"]).await;
    let family = bench.tenant("family").await;
    let loose = Tightening {
        max_guests: Some(99),
        reserve_bytes: Some(0),
        target_full_percent: Some(100),
        grace_s: Some(0),
        signatures_per_day: Some(1000),
        keep_backups: Some(0),
        keep_spread_h: Some(0),
    };
    bench.client.set_limits(&loose).await.unwrap();
    let second = bench.ask("second", "provision_guest", provision("second")).await;
    assert_eq!(second.state, OperationState::PendingAuthorization, "{}", second.verdict);

    let backup = async |bench: &Bench, key: &str| {
        let ask = json!({ "guest": family, "target": "local", "quiesced": false });
        bench.ask(key, "backup_guest", ask).await
    };
    let made = backup(&bench, "b1").await;
    assert_eq!(bench.end(made.id).await.state, OperationState::Done, "{}", bench.log());
    let strict = Tightening { reserve_bytes: Some(1 << 60), ..Tightening::default() };
    bench.client.set_limits(&strict).await.unwrap();
    let refused = backup(&bench, "b2").await;
    assert!(refused.verdict.starts_with("not_enough_space"), "{}", refused.verdict);

    // It holds for the next process as well, until something else is wished.
    bench.kill();
    bench.serve().await;
    assert!(backup(&bench, "b3").await.verdict.starts_with("not_enough_space"));
    assert_eq!(bench.client.observation().await.unwrap().wished_limits, strict);
    let shown = bench.sim.executor(&["limits"]);
    let reserve = &shown.json["reserve_bytes"];
    assert_eq!(
        (&reserve["wished"], &reserve["in_force"]),
        (&json!(1u64 << 60), &json!(1u64 << 60)),
        "{}",
        shown.stderr
    );
    assert_eq!(shown.json["max_guests"], json!({ "own": 1, "wished": null, "in_force": 1 }));
    let busy = bench.sim.executor(&["limits", "--forget"]);
    assert!(busy.code == 1 && !busy.stderr.is_empty(), "{}", busy.stderr);

    bench.kill();
    for _ in 0..2 {
        let forgotten = bench.sim.executor(&["limits", "--forget"]);
        assert_eq!(forgotten.json["reserve_bytes"]["wished"], json!(null), "{}", forgotten.stderr);
    }
    let down = bench.sim.executor(&["limits"]);
    assert!(down.code == 1 && down.stderr.contains("felhom-executor serve"), "{}", down.stderr);
    bench.serve().await;
    let made = backup(&bench, "b4").await;
    assert_eq!(bench.end(made.id).await.state, OperationState::Done, "{}", bench.log());
}
