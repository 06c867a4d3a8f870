//! What the link to the hub accepts, and how little it says when nothing happens.

use crate::agent::World;
use crate::executor::tenant;
use felhom_model::{Digest, Generation};
use felhom_protocol::hub_sync::Turn;

const GUEST: &str = "[[guest]]\nname = \"family\"\ncores = 2\nmemory_mib = 512";

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_goes_back_or_forks_is_an_alarm_and_the_old_one_holds() {
    let mut world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    world.hub.desire(GUEST);
    world.until("1", || world.hub.told("DesiredStateValid", "Accepted")).await;
    world.hub.desire(GUEST);
    world
        .until("2", || world.hub.told("DesiredStateValid", "Accepted").filter(|m| m.contains("generation 2")))
        .await;
    let bad = "[[guest]]\nname = \"family\"\nmemory_mib = 4096";
    world.hub.write(Generation(1), None, bad);
    let told = world.until("lower", || world.hub.told("DesiredStateValid", "LowerGeneration")).await;
    assert!(told.contains("the box holds 2"), "{told}");
    world.hub.write(Generation(2), None, bad);
    world.until("other hash", || world.hub.told("DesiredStateValid", "HistoryForked")).await;
    world.hub.write(Generation(3), Some(Digest::of(b"?")), bad);
    world
        .until("fork", || world.hub.told("DesiredStateValid", "HistoryForked").filter(|m| m.contains('3')))
        .await;
    world.kill();
    world.start();
    let syncs = world.hub.lock().syncs;
    world.until("syncs", || (world.hub.lock().syncs > syncs + 1).then_some(())).await;
    assert_eq!(world.executor.lock().requests, vec![], "nothing of it was obeyed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_told_with_its_reason() {
    let world = World::ready("").await;
    world
        .hub
        .desire("[[guest]]\nname = \"family\"\n[guest.backup]\nschedule = \"at noon\"\ntarget = \"local\"");
    let told = world.until("told", || world.hub.told("DesiredStateValid", "NotUsable")).await;
    assert!(told.contains("family") && told.contains("at noon"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_pinned_key_did_not_sign_is_not_obeyed() {
    let world = World::ready("").await;
    world.until("a sync", || world.hub.last_report()).await;
    world.hub.lock().forge = true;
    world.hub.desire(GUEST);
    let syncs = world.hub.lock().syncs;
    world.until("syncs", || (world.hub.lock().syncs > syncs + 1).then_some(())).await;
    assert_eq!(world.executor.lock().requests, vec![]);
    let status = world.run(&["status", "--json"]).await;
    let line: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let conditions = line["conditions"].as_array().unwrap();
    let hub = conditions.iter().find(|condition| condition["type"] == "HubReachable").unwrap();
    assert_eq!((hub["status"].as_str(), hub["reason"].as_str()), (Some("false"), Some("NotFromPinnedHub")));
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_sent_when_something_changed() {
    let world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    world.hub.desire(GUEST);
    world.until("converged", || world.hub.told("Converged", "AsDesired")).await;
    let counts = || {
        let inner = world.hub.lock();
        (inner.syncs, inner.reports.len())
    };
    let mut seen = counts();
    let idle = || {
        let now = counts();
        if now.1 != seen.1 {
            seen = now;
        }
        (now.0 >= seen.0 + 3).then_some(())
    };
    world.until("three syncs in a row without a report", idle).await;
    // With the hub's answer, 340 bytes at most, an idle sync is at most 1,000 bytes of HTTP.
    let bytes = world.hub.lock().sync_bytes;
    assert!(bytes <= 660, "{bytes} bytes");
    let reports = counts().1;
    world.executor.lock().guests[0].power = "stopped".to_owned();
    world.until("news", || (counts().1 > reports).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_told_of_and_does_not_cut_the_link() {
    let world = World::with("").await;
    world.hub.lock().ahead = jiff::SignedDuration::from_hours(24 * 400);
    let mut world = world;
    world.enroll().await;
    world.start();
    world.executor.add(tenant(1, "family"));
    world.hub.desire(GUEST);
    let told = world.until("alarm", || world.hub.told("ClockPlausible", "Differs")).await;
    assert!(told.contains("34560000 s") || told.contains("34559999 s"), "{told}");
    world.until("converged", || world.hub.told("Converged", "AsDesired")).await;
    world.hub.lock().ahead = jiff::SignedDuration::ZERO;
    world.until("right again", || world.hub.told("ClockPlausible", "AsTheHub")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_the_same_state_stops() {
    let world = World::ready("").await;
    world.until("a sync", || world.hub.last_report()).await;
    let second = world.run(&["serve"]).await;
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another felhom-agent"));
}

/// A request of an earlier run came late and took the turn: the agent is heard again under another name.
#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_is_out_of_turn_speaks_as_a_new_run() {
    let world = World::ready("").await;
    let runs = || -> std::collections::BTreeSet<String> {
        let nonces = world.hub.lock().nonces.clone();
        nonces.iter().map(|nonce| Turn::read(nonce).unwrap().run).collect()
    };
    world.until("a sync", || (world.hub.lock().syncs > 0).then_some(())).await;
    assert_eq!(runs().len(), 1);
    world.hub.lock().out_of_turn = 1;
    world.hub.desire("");
    world.until("heard again", || (runs().len() == 2).then_some(())).await;
    world.until("reachable", || world.hub.told("HubReachable", "Answers")).await;
}
