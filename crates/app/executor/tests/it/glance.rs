//! Who plans asks for lists only while nothing changes, and sees all the same what did. The gate looks for itself.

use std::fs;

use felhom_model::OperationState;
use serde_json::json;

use crate::bench::Bench;

/// The paths of the calls to Proxmox while `ask` is done, with the list that the executor may ask for of its own accord.
async fn calls(bench: &Bench, ask: impl AsyncFnOnce()) -> Vec<String> {
    let log = bench.sim.path("pve/var/log/pveproxy/access.log");
    let before = fs::read_to_string(&log).unwrap().len();
    ask().await;
    let text = fs::read_to_string(&log).unwrap();
    let path = |line: &str| Some(line.split_once("/api2/json")?.1.split([' ', '?']).next()?.to_owned());
    text[before..].lines().filter_map(path).collect()
}

async fn looked(bench: &Bench) -> Vec<String> {
    calls(bench, async || drop(bench.client.observation().await.unwrap())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observation_at_rest_asks_for_lists_and_a_decision_for_all() {
    let bench = Bench::start("max_guests = 2").await;
    let family = bench.tenant("family").await;
    let vmid = bench.guest(family).await.vmid;
    assert!(!bench.guest(family).await.addresses.is_empty());
    let of_guest = |calls: &[String]| calls.iter().any(|path| path.contains(&format!("/lxc/{vmid}/")));
    let rest = looked(&bench).await;
    assert!(!of_guest(&rest), "{rest:?}");
    assert!(rest.iter().any(|path| path == "/nodes/pve/lxc") && rest.len() <= 5, "{rest:?}");
    assert!(!bench.guest(family).await.addresses.is_empty(), "they are still told");

    // What an operation did is seen at once.
    bench.done("c1", "configure_guest", json!({ "guest": family, "memory_mib": 300 })).await;
    assert_eq!(bench.guest(family).await.memory_mib, 300);
    assert!(!of_guest(&looked(&bench).await));

    // So is what root did, as far as the list shows it.
    let set = bench.pct(&["set", &vmid.to_string(), "--memory", "320"]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    assert!(of_guest(&looked(&bench).await));
    assert!(!of_guest(&looked(&bench).await));

    // A lock is shown as long as it is there.
    let conf = bench.sim.path(&format!("pve/etc/pve/lxc/{vmid}.conf"));
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{text}lock: backup\n")).unwrap();
    assert_eq!(bench.guest(family).await.lock.as_deref(), Some("backup"));
    fs::write(&conf, &text).unwrap();
    assert_eq!(bench.guest(family).await.lock, None);

    // What the list does not show, the gate sees: the description's mark is gone.
    let unmarked: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    fs::write(&conf, unmarked.join("\n") + "\n").unwrap();
    assert!(!of_guest(&looked(&bench).await));
    let stop = bench.ask("s1", "stop_guest", json!({ "guest": family })).await;
    assert_eq!(stop.state, OperationState::Refused, "{stop:?}");
    assert!(stop.verdict.starts_with("provenance_not_proven"), "{stop:?}");
    assert_eq!(bench.guest(family).await.provenance, "row_only", "a refusal is an event as well");

    // That somebody stopped it is seen at once.
    let stop = bench.pct(&["stop", &vmid.to_string()]);
    assert!(stop.status.success(), "{}", String::from_utf8_lossy(&stop.stderr));
    assert_eq!(bench.guest(family).await.power, "stopped");
}
