//! Limits are facts of the box: the hub can make them stricter, and nothing else.

use felhom_model::OperationState;
use felhom_model::desired::Tightening;
use serde_json::json;

use crate::bench::{Bench, provision};
use crate::people::People;

/// More than any disk of these tests has.
const RESERVE: u64 = 1 << 44;

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
    let strict = Tightening { reserve_bytes: Some(RESERVE), ..Tightening::default() };
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
        (&json!(RESERVE), &json!(RESERVE)),
        "{}",
        shown.stderr
    );
    assert_eq!(shown.json["max_guests"], json!({ "own": 1, "wished": null, "in_force": 1 }));

    bench.kill();
    let down = bench.sim.executor(&["limits"]);
    assert!(down.code == 1 && down.stderr.contains("felhom-executor serve"), "{}", down.stderr);
    // Local root has it ignored.
    let file = bench.sim.path("executor.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("heed_wished_limits = false\n{text}")).unwrap();
    bench.serve().await;
    let made = backup(&bench, "b4").await;
    assert_eq!(bench.end(made.id).await.state, OperationState::Done, "{}", bench.log());
    let shown = bench.sim.executor(&["limits"]);
    let reserve = &shown.json["reserve_bytes"];
    assert_eq!(
        (&reserve["wished"], &reserve["in_force"]),
        (&json!(RESERVE), &reserve["own"]),
        "{}",
        shown.stderr
    );
}

/// A wish that comes while a grace runs makes it longer, and it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_longer_grace_that_is_wished_meanwhile_ends_as_well() {
    let mut bench = Bench::start("grace_s = 2").await;
    let people = People::on(&mut bench, &["anna"]).await;
    let next = people.next_file(2, &["anna", "bela"]);
    let ask = people.rotation(2, &next, &["anna"]);
    let op = bench.ask("rotate", "rotate_operators", ask).await;
    assert_eq!(op.state, OperationState::Waiting, "{}", op.verdict);
    let began = std::time::Instant::now();
    bench.client.set_limits(&Tightening { grace_s: Some(5), ..Tightening::default() }).await.unwrap();
    let over = async || bench.client.operation(op.id).await.unwrap().state == OperationState::Done;
    assert!(crate::bench::within(std::time::Duration::from_secs(60), over).await, "{}", bench.log());
    assert!(began.elapsed() >= std::time::Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_leaves_the_box_unable_to_work_is_refused() {
    let bench = Bench::start("").await;
    let nothing = Tightening::default();
    for wish in [
        Tightening { signatures_per_day: Some(0), ..nothing },
        Tightening { target_full_percent: Some(1), ..nothing },
        Tightening { reserve_bytes: Some(u64::MAX), ..nothing },
        Tightening { grace_s: Some(u64::MAX), ..nothing },
    ] {
        let refused = bench.client.set_limits(&wish).await.unwrap_err();
        assert_eq!(refused.refusal(), Some("malformed_limits"), "{wish:?}");
    }
    assert_eq!(bench.client.observation().await.unwrap().wished_limits, nothing);
}
