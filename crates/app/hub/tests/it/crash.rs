//! SIGKILL at any time: what was acknowledged is there after the restart, and nothing is there by halves.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use felhom_model::Generation;
use felhom_protocol::hub_sync::SyncRequest;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Hub, TestBox, Wire, idle, send, spec};

/// What the hub acknowledged.
#[derive(Default)]
struct Acknowledged {
    generations: BTreeSet<u64>,
    jobs: BTreeSet<String>,
    syncs: Vec<Wire>,
}

impl Acknowledged {
    /// Whether there is something of each kind.
    fn is_complete(&self) -> bool {
        !self.generations.is_empty() && !self.jobs.is_empty() && !self.syncs.is_empty()
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_sigkill_at_any_time() {
    let mut hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let mut known = Acknowledged::default();
    let mut round = 0;
    // On a busy machine a round may end before anything was acknowledged.
    while round < 6 || (!known.is_complete() && round < 60) {
        let stop = AtomicBool::new(false);
        // Spread over the length of a write, which is a few milliseconds.
        let kill_after = Duration::from_micros(40_000 + round * 3_700);
        let killer = async {
            tokio::time::sleep(kill_after).await;
            stop.store(true, Ordering::SeqCst);
        };
        let writers = write_until(&hub, &home, &stop, &mut known);
        tokio::select! {
            () = killer => {}
            () = writers => {}
        }
        hub.kill_and_restart();
        check(&hub, &home, &known).await;
        round += 1;
    }
    assert!(known.is_complete());
}

async fn write_until(hub: &Hub, home: &TestBox, stop: &AtomicBool, known: &mut Acknowledged) {
    let client = &hub.http;
    let url = |path: &str| format!("{}/api/v1{path}", hub.url);
    let mut n = 0;
    while !stop.load(Ordering::SeqCst) {
        n += 1;
        let set = client.put(url("/boxes/home/desired")).bearer_auth(&hub.token);
        let set = set.json(&json!({"spec": spec(&format!("g{n}"))})).send();
        let job = client.post(url("/boxes/home/jobs")).bearer_auth(&hub.token);
        let job = job.json(&json!({"kind": "backup_guest", "params": {"n": n}})).send();
        let wire = home.sign(serde_json::to_vec(&idle()).unwrap(), 0);
        let (set, job, (status, _)) = tokio::join!(set, job, send(hub, wire.clone()));
        let set: Value = set.unwrap().json().await.unwrap();
        let job: Value = job.unwrap().json().await.unwrap();
        known.generations.insert(set["generation"].as_u64().unwrap());
        known.jobs.insert(job["id"].as_str().unwrap().to_owned());
        assert_eq!(status, StatusCode::OK);
        known.syncs.push(wire);
    }
}

async fn check(hub: &Hub, home: &TestBox, known: &Acknowledged) {
    let history = hub.get("/boxes/home/desired/history").await;
    let history = history.as_array().unwrap();
    let generations: Vec<u64> = history.iter().rev().map(|v| v["generation"].as_u64().unwrap()).collect();
    let count = u64::try_from(generations.len()).unwrap();
    assert_eq!(generations, (1..=count).collect::<Vec<_>>(), "no gap, no double");
    assert!(known.generations.iter().all(|generation| *generation <= count), "a generation was lost");
    assert!(history.iter().all(|version| version["document_digest"].is_string()), "one without signature");
    let jobs = hub.get("/boxes/home/jobs").await;
    let jobs: BTreeSet<String> =
        jobs.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
    let newest: Vec<&String> = known.jobs.iter().rev().take(100).collect();
    assert!(newest.iter().all(|id| jobs.contains(*id)), "a job was lost");
    if let Some(wire) = known.syncs.last() {
        assert_eq!(send(hub, wire.clone()).await.1["error"], "replayed", "a turn was lost");
    }
    let answer = home.sync(hub, &SyncRequest { generation: Generation(0), ..idle() }).await;
    assert_eq!(answer.generation.0, count);
    let (status, _) = hub.call(Method::GET, "/boxes/home", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
}
