//! SIGKILL at random instants, again and again, until the operation ends: always in the same state.
//!
//! `FELHOM_SOAK=N` runs N rounds instead of a few; the seed is printed.

use std::time::Duration;

use felhom_model::OperationState;
pub(crate) use felhom_rig::Random;
use serde_json::{Value, json};

use crate::bench::{Bench, provision};
use crate::crash::nothing_left_over;

/// The seed that was given by `FELHOM_SEED`.
pub(crate) fn given_seed() -> Option<u64> {
    std::env::var("FELHOM_SEED").ok().and_then(|n| n.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_instant_is_survived() {
    let rounds: u64 = std::env::var("FELHOM_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let of_now = || u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap();
    let seed = given_seed().unwrap_or_else(of_now);
    println!("FELHOM_SEED={seed}");
    let mut random = Random::of(seed, "");
    let mut bench = Bench::start("max_guests = 500").await;
    let uuid = bench.tenant("family").await;
    let quick = json!({ "guest": uuid, "target": "local", "quiesced": false });
    bench.done("b", "backup_guest", quick.clone()).await;
    for round in 0..rounds {
        let guest = json!({ "guest": uuid });
        let asked: [(&str, Value); 4] = [
            ("backup_guest", quick.clone()),
            ("restore_test", guest.clone()),
            ("reboot_guest", guest),
            ("provision_guest", provision(&format!("guest-{round}"))),
        ];
        let (kind, params) = asked[usize::try_from(round % 4).unwrap()].clone();
        let op = bench.ask(&format!("random-{round}"), kind, params).await;
        let deaths = 1 + random.below(3);
        for _ in 0..deaths {
            tokio::time::sleep(Duration::from_millis(random.below(900))).await;
            bench.kill();
            bench.serve().await;
        }
        let op = bench.end(op.id).await;
        let what = format!("seed {seed}, round {round}, {kind}, {deaths} deaths");
        assert_eq!(op.state, OperationState::Done, "{what}: {:?}\n{}", op.reason, bench.log());
        nothing_left_over(&bench, &what).await;
    }
}
