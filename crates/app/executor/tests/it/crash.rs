//! Operation × each mutating call × dying before it is sent or after it was answered: the next process ends it in the same
//! state, with nothing left over and nothing done twice.

use felhom_model::{GuestUuid, OperationState};
use felhom_protocol::executor::Observation;
use serde_json::{Value, json};

use crate::bench::{Bench, provision};

/// Runs the operation again and again, each time dying one call later, until it ends without dying. Returns how often it
/// died.
async fn at_each_call(bench: &mut Bench, kind: &str, params: impl Fn(u32) -> Value) -> u32 {
    let mut died = 0;
    let mut run = 0;
    for when in ["before", "after"] {
        for n in 1.. {
            run += 1;
            let what = format!("{kind} dying {when} its call {n}");
            bench.kill();
            bench.serve_crashing(n, when).await;
            let op = bench.ask(&format!("{kind}-{run}"), kind, params(run)).await;
            assert_ne!(op.state, OperationState::Refused, "{what}: {}", op.verdict);
            let dead = bench.died(op.id).await;
            if dead {
                died += 1;
            } else {
                bench.kill();
            }
            bench.serve().await;
            let op = bench.end(op.id).await;
            assert_eq!(op.state, OperationState::Done, "{what}: {:?}\n{}", op.reason, bench.log());
            nothing_left_over(bench, &what).await;
            if !dead {
                break;
            }
        }
    }
    died
}

/// Every guest of the host is in the ledger and unlocked, and nothing stands that an ended operation should have removed.
pub(crate) async fn nothing_left_over(bench: &Bench, what: &str) {
    let seen: Observation = bench.client.observation().await.unwrap();
    assert!(seen.active.is_empty(), "{what}");
    for guest in &seen.guests {
        assert_eq!(guest.provenance, "proven", "{what}: {guest:?}");
        assert_ne!(guest.purpose, "scratch", "{what}: {guest:?}");
        assert_eq!(guest.lock, None, "{what}: {guest:?}");
    }
    // A configuration that is just being written, by a guest that starts at boot, has another name until it is whole.
    let is_whole = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "conf");
    if let Ok(entries) = std::fs::read_dir(bench.sim.path("pve/etc/pve/lxc")) {
        let configs = entries.flatten().filter(is_whole).count();
        assert_eq!(configs, seen.guests.len(), "{what}: guests of the host and of the ledger");
    }
    let images = std::fs::read_dir(bench.sim.path("pve/mnt/tank/images"));
    for dir in images.into_iter().flatten().flatten() {
        let known = seen.guests.iter().any(|guest| *dir.file_name() == *guest.vmid.to_string());
        let empty = std::fs::read_dir(dir.path()).is_ok_and(|mut inside| inside.next().is_none());
        assert!(known || empty, "{what}: volumes of nobody in {}", dir.path().display());
    }
    let dump = bench.sim.path("pve/var/lib/vz/dump");
    let files = std::fs::read_dir(dump).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let archives = files.filter(|name| name.ends_with(".tar.zst")).count();
    assert_eq!(archives, seen.archives.len() + 1, "{what}: archives of the ledger, and the golden one");
}

/// Restores that are enough for each of their mutating calls, before and after, and two that end without dying.
const RESTORES: u32 = 8;

async fn tenant(bench: &Bench) -> GuestUuid {
    bench.tenant("family").await
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_survives_a_death_at_each_call() {
    let mut bench = Bench::start("max_guests = 50").await;
    let died = at_each_call(&mut bench, "provision_guest", |run| provision(&format!("guest-{run}"))).await;
    assert!(died >= 6, "{died}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_survives_a_death_at_each_call() {
    let mut bench = Bench::start("").await;
    let uuid = tenant(&bench).await;
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": false });
    let died = at_each_call(&mut bench, "backup_guest", |_| ask.clone()).await;
    assert!(died >= 4, "{died}");
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_test_survives_a_death_at_each_call() {
    let mut bench = Bench::start("").await;
    let uuid = tenant(&bench).await;
    bench.done("b", "backup_guest", json!({ "guest": uuid, "target": "local", "quiesced": false })).await;
    let died = at_each_call(&mut bench, "restore_test", |_| json!({ "guest": uuid })).await;
    assert!(died >= 8, "{died}");
    let receipts = bench.client.receipts(Some(uuid)).await.unwrap();
    assert!(receipts.iter().all(|r| r.document.contains("\"passed\"")));
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_survives_a_death_at_each_call() {
    let mut bench = Bench::start("max_guests = 50").await;
    // One copy a guest, and nothing discards a copy: each run restores another guest.
    let mut guests = Vec::new();
    for n in 1..=RESTORES {
        let uuid = bench.tenant(&format!("guest-{n}")).await;
        let ask = json!({ "guest": uuid, "target": "local", "quiesced": false });
        bench.done(&format!("b-{n}"), "backup_guest", ask).await;
        guests.push(uuid);
    }
    let used = std::cell::Cell::new(0);
    let died = at_each_call(&mut bench, "restore_guest", |run| {
        used.set(run);
        json!({ "guest": guests[run as usize - 1] })
    })
    .await;
    assert!(died >= 4, "{died}");
    let seen = bench.client.observation().await.unwrap();
    let copies: Vec<_> = seen.guests.iter().filter(|guest| guest.purpose == "copy").collect();
    assert_eq!(copies.len(), used.get() as usize, "one copy a restore, dead or not");
    for copy in copies {
        assert_eq!(bench.cat(copy.vmid, "/data/photo.jpg").as_deref(), Some(&b"a photo"[..]), "{copy:?}");
        let config = std::fs::read_to_string(bench.sim.path(&format!("pve/etc/pve/lxc/{}.conf", copy.vmid)));
        let config = config.unwrap();
        let nets: Vec<_> = config.lines().filter(|line| line.starts_with("net")).collect();
        assert!(
            !nets.is_empty() && nets.iter().all(|net| net.contains("link_down=1")),
            "a live twin: {nets:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn power_and_limits_survive_a_death_at_each_call() {
    let mut bench = Bench::start("").await;
    let uuid = tenant(&bench).await;
    let guest = json!({ "guest": uuid });
    // One call each: a second run finds it done already, unless the opposite comes between.
    for round in 0..2 {
        let when = ["before", "after"][round];
        for kind in ["stop_guest", "start_guest", "reboot_guest"] {
            bench.kill();
            bench.serve_crashing(1, when).await;
            let op = bench.ask(&format!("{kind}-{when}"), kind, guest.clone()).await;
            assert!(bench.died(op.id).await, "{kind} {when}");
            bench.serve().await;
            let op = bench.end(op.id).await;
            assert_eq!(op.state, OperationState::Done, "{kind} {when}: {:?}", op.reason);
            let power = if kind == "stop_guest" { "stopped" } else { "running" };
            assert_eq!(bench.guest(uuid).await.power, power, "{kind} {when}");
        }
    }
    let limits = |run: u32| json!({ "guest": uuid, "memory_mib": 256 + run, "disk_gib": 1 + run });
    let died = at_each_call(&mut bench, "configure_guest", limits).await;
    assert!(died >= 4, "{died}");
}
