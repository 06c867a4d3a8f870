//! The signed sync: what is taken, what is refused, what is kept.

use std::time::{Duration, Instant};

use felhom_model::backup::Level;
use felhom_model::{Digest, Generation, GuestUuid, OperationId, OperationState};
use felhom_protocol::hub_sync::{JobReport, SyncRequest};
use felhom_protocol::receipt::{Receipt, SCHEMA, SignedReceipt, Verdict};
use felhom_protocol::status::{Evidence, Guest, Operation};
use felhom_signing::sshsig::{self, Namespace};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Hub, TestBox, document_digest, empty_report, idle, post, send};

fn body(request: &SyncRequest) -> Vec<u8> {
    serde_json::to_vec(request).unwrap()
}

async fn refused(hub: &Hub, (status, answer): (StatusCode, Value), error: &str) {
    assert_eq!((status, &answer["error"]), (StatusCode::UNAUTHORIZED, &json!(error)), "{answer}");
    let time: Timestamp = answer["time"].as_str().unwrap().parse().unwrap();
    assert!(time.duration_since(Timestamp::now()).abs().as_secs() < 30, "the hub's signed time");
    let detail = hub.get("/boxes/home").await;
    let event = &detail["events"][0];
    assert_eq!(event["kind"], "sync_refused");
    assert_eq!(event["message"], answer["message"], "the reason is on the box's page");
}

#[tokio::test]
async fn a_replayed_sync_is_refused_even_after_a_restart() {
    let mut hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let wire = home.sign(body(&idle()), 0);
    assert_eq!(send(&hub, wire.clone()).await.0, StatusCode::OK);
    refused(&hub, send(&hub, wire.clone()).await, "replayed").await;
    hub.kill_and_restart();
    refused(&hub, send(&hub, wire).await, "replayed").await;
    assert_eq!(home.try_sync(&hub, &idle()).await.0, StatusCode::OK);
}

/// A request that comes late says how the box was: its generation is no fall, its report no news.
#[tokio::test]
async fn a_late_sync_is_refused_also_one_of_an_earlier_run_of_the_agent() {
    let mut hub = Hub::new();
    let mut home = hub.enrolled("home", 1).await;
    let early = home.sign(body(&idle()), 0);
    let held = SyncRequest { generation: Generation(3), ..idle() };
    assert_eq!(home.try_sync(&hub, &held).await.0, StatusCode::OK);
    refused(&hub, send(&hub, early).await, "replayed").await;
    let late = home.sign(body(&idle()), 0);
    home.starts_again();
    assert_eq!(home.try_sync(&hub, &held).await.0, StatusCode::OK);
    hub.kill_and_restart();
    refused(&hub, send(&hub, late).await, "replayed").await;
    assert_eq!(home.try_sync(&hub, &held).await.0, StatusCode::OK);
    // One that nobody knows yet takes the turn, and the box speaks as a new run.
    let unknown = home.of_another_run().sign(body(&idle()), 0);
    assert_eq!(send(&hub, unknown).await.0, StatusCode::OK);
    assert_eq!(home.try_sync(&hub, &held).await.1["error"], "replayed");
    home.starts_again();
    assert_eq!(home.try_sync(&hub, &held).await.0, StatusCode::OK);
    let events = hub.get("/boxes/home").await["events"].clone();
    let kinds: Vec<&str> =
        events.as_array().unwrap().iter().filter_map(|event| event["kind"].as_str()).collect();
    assert!(kinds.contains(&"sync_refused"), "{kinds:?}");
}

#[tokio::test]
async fn an_altered_body_is_refused() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let mut wire = home.sign(body(&idle()), 0);
    wire.body = body(&SyncRequest { generation: Generation(7), ..idle() });
    refused(&hub, send(&hub, wire.clone()).await, "bad_signature").await;
    // With a digest that fits the altered body, too.
    wire.headers.content_digest = home.sign(wire.body.clone(), 0).headers.content_digest;
    refused(&hub, send(&hub, wire).await, "bad_signature").await;
    assert_eq!(hub.get("/boxes/home").await["liveness"], "never");
}

#[tokio::test]
async fn another_boxs_key_is_refused() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let mut other = hub.enrolled("other", 2).await;
    other.id = home.id;
    refused(&hub, other.try_sync(&hub, &idle()).await, "bad_signature").await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_refused_with_the_hubs_time() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    for skew in [-310, 310, i64::MIN / 2] {
        let wire = home.sign(body(&idle()), skew);
        refused(&hub, send(&hub, wire).await, "clock_off").await;
    }
    for skew in [-290, 290] {
        assert_eq!(send(&hub, home.sign(body(&idle()), skew)).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn unknown_boxes_and_unsigned_requests_are_refused() {
    let hub = Hub::new();
    let mut stranger = TestBox::new(3);
    stranger.id = "5f0c2e9a-8f4e-4d4b-9f5c-6d7b3c9b1a11".parse().ok();
    let (status, answer) = stranger.try_sync(&hub, &idle()).await;
    assert_eq!((status, &answer["error"]), (StatusCode::UNAUTHORIZED, &json!("unknown_box")));
    let url = format!("{}/api/v1/sync", hub.url);
    let response = hub.http.post(url).json(&idle()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.json::<Value>().await.unwrap()["error"], "signature_missing");
}

#[tokio::test]
async fn a_signed_request_that_is_malformed_names_the_field() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let text = json!({"nonce": "x", "generation": 0, "report": {"agent_version": 3}}).to_string();
    let (status, answer) = send(&hub, home.sign(text.into_bytes(), 0)).await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("malformed")));
    assert!(answer["message"].as_str().unwrap().contains("`report.agent_version`"), "{answer}");
}

/// With what the agent sends, 660 bytes at most, an idle sync is at most 1,000 bytes of HTTP.
#[tokio::test]
async fn an_answer_without_news_is_small() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    hub.set("home", "a").await;
    let digest = document_digest(&home.sync(&hub, &idle()).await);
    // As long as the agent's own.
    let nonce = "0".repeat(32);
    let holds = SyncRequest { nonce, generation: Generation(1), document_digest: digest, ..idle() };
    let response = post(&hub, home.sign(body(&holds), 0)).await;
    let headers = response.headers().clone();
    let head: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let text = response.text().await.unwrap();
    let all = "HTTP/1.1 200 OK\r\n\r\n".len() + head + text.len();
    assert!(all <= 340, "{all} bytes: {headers:?} {text}");
}

#[tokio::test]
async fn a_box_that_is_behind_gets_the_newest_document() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    for guest in ["a", "b", "c"] {
        hub.set("home", guest).await;
    }
    let answer = home.sync(&hub, &SyncRequest { generation: Generation(1), ..idle() }).await;
    assert_eq!(answer.generation.0, 3);
    let digest = document_digest(&answer);
    let holds = SyncRequest { generation: Generation(3), document_digest: digest, ..idle() };
    let answer = home.sync(&hub, &holds).await;
    assert!(answer.desired_state.is_none());
    // It lost its database: no alarm about the hub, the document again.
    let answer = home.sync(&hub, &idle()).await;
    assert_eq!(document_digest(&answer), digest);
    assert_eq!(hub.event_kinds("home").await[0], "box_generation_fell");
}

#[tokio::test]
async fn a_box_ahead_of_the_database_raises_an_alarm_and_the_counter() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    hub.set("home", "a").await;
    let digest = Digest::of(b"generation 41");
    let ahead = SyncRequest { generation: Generation(41), document_digest: Some(digest), ..idle() };
    for _ in 0..3 {
        let answer = home.sync(&hub, &ahead).await;
        assert_eq!((answer.generation.0, answer.desired_state), (1, None));
    }
    let kinds = hub.event_kinds("home").await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "database_older_than_box").count(), 1);
    let detail = hub.get("/boxes/home").await;
    assert_eq!(detail["risk"], "danger");
    assert_eq!(hub.set("home", "b").await, 42);
    let answer = home.sync(&hub, &ahead).await;
    let document: Value = serde_json::from_slice(&answer.desired_state.unwrap().bytes).unwrap();
    assert_eq!(document["prev_hash"], json!(digest), "the chain goes on from what the box holds");
}

#[tokio::test]
async fn another_document_of_the_same_generation_is_an_alarm() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    hub.set("home", "a").await;
    let digest = Some(Digest::of(b"not what the hub signed"));
    let fork = SyncRequest { generation: Generation(1), document_digest: digest, ..idle() };
    let answer = home.sync(&hub, &fork).await;
    assert!(answer.desired_state.is_some(), "so that the box sees it, too");
    assert_eq!(hub.event_kinds("home").await[0], "generation_fork");
    assert_eq!(hub.get("/boxes/home").await["risk"], "danger");
}

#[tokio::test]
async fn a_long_poll_ends_at_once_when_there_is_something() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let waiting = SyncRequest { wait_s: 50, ..idle() };
    let started = Instant::now();
    let (answer, generation) = tokio::join!(home.sync(&hub, &waiting), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        hub.set("home", "family").await
    });
    assert_eq!(answer.generation.0, generation);
    let digest = document_digest(&answer);
    let waiting = SyncRequest { generation: Generation(1), document_digest: digest, ..waiting };
    let (answer, _) = tokio::join!(home.sync(&hub, &waiting), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        hub.call(Method::POST, "/boxes/home/jobs", json!({"kind": "backup_guest"})).await
    });
    assert_eq!(answer.jobs.len(), 1);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_a_box_does_not_take_does_not_make_it_spin() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    hub.set("home", "family").await;
    let waiting = SyncRequest { wait_s: 2, ..idle() };
    let started = Instant::now();
    for _ in 0..3 {
        assert!(home.sync(&hub, &waiting).await.desired_state.is_some());
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(3), "the second and third waited: {took:?}");
}

#[tokio::test]
async fn a_job_is_delivered_until_the_box_says_its_last_word() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let job = json!({"kind": "destroy_guest", "params": {"guest": "family"}});
    let (status, job) = hub.call(Method::POST, "/boxes/home/jobs", job).await;
    assert_eq!((status, &job["state"]), (StatusCode::CREATED, &json!("queued")));
    for _ in 0..2 {
        let answer = home.sync(&hub, &idle()).await;
        assert_eq!(json!(answer.jobs[0].id), job["id"]);
        assert_eq!(answer.jobs[0].kind, "destroy_guest");
        assert_eq!(answer.jobs[0].author, "ada");
        assert_eq!(answer.next_sync_s, 5, "a box with work is asked to come sooner");
    }
    let id = serde_json::from_value(job["id"].clone()).unwrap();
    let say = |state: &str, message: &str| {
        let word = JobReport { id, state: state.into(), message: message.into(), operation: None };
        felhom_protocol::hub_sync::Report { jobs: vec![word], ..empty_report() }
    };
    assert_eq!(home.tell(&hub, say("running", "begun")).await.jobs.len(), 1);
    let answer = home.tell(&hub, say("refused", "there is no operation `destroy_guest`")).await;
    assert!(answer.jobs.is_empty());
    assert_eq!(answer.next_sync_s, 60);
    home.tell(&hub, say("running", "an old word")).await;
    let jobs = hub.get("/boxes/home/jobs").await;
    assert_eq!(jobs[0]["state"], "refused");
    assert_eq!(jobs[0]["message"], "there is no operation `destroy_guest`");
    // Another box cannot speak about it.
    let other = hub.enrolled("other", 2).await;
    other.tell(&hub, say("done", "not mine")).await;
    assert_eq!(hub.get("/boxes/home/jobs").await[0]["state"], "refused");
}

fn operation(ms: u64, state: OperationState) -> Operation {
    Operation {
        id: OperationId::from_parts(ms, 1),
        kind: "reclaim_guest".into(),
        state,
        guest: None,
        guest_name: "family".parse().ok(),
        asked_for: "job".into(),
        asked_by: "job:x".into(),
        verdict: "refused".into(),
        evidence: vec![Evidence { key: "purpose".into(), value: "tenant".into() }],
        reason: Some("not a tombstone".into()),
        grace: None,
        steps: vec![],
        progress: None,
        created: Timestamp::now(),
        ended: None,
        result: Value::Null,
    }
}

#[tokio::test]
async fn operations_stay_after_the_box_stops_listing_them() {
    let mut hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let mut report = empty_report();
    report.operations = vec![operation(1, OperationState::Running), operation(2, OperationState::Running)];
    home.tell(&hub, report.clone()).await;
    report.operations = vec![operation(2, OperationState::Refused)];
    home.tell(&hub, report.clone()).await;
    hub.kill_and_restart();
    let operations = hub.get("/boxes/home/operations").await;
    let states: Vec<_> = operations.as_array().unwrap().iter().map(|o| o["state"].clone()).collect();
    assert_eq!(states, ["refused", "running"]);
    assert_eq!(operations[0]["evidence"][0]["value"], "tenant");
    let detail = hub.get("/boxes/home").await;
    assert_eq!(detail["report"], json!(report), "the newest report, whole");
    let reasons = detail["reasons"].to_string();
    assert!(reasons.contains("reclaim_guest on family refused: not a tombstone"), "{reasons}");
}

fn guest(uuid: GuestUuid) -> Guest {
    serde_json::from_value(json!({
        "uuid": uuid, "vmid": 2000, "name": "family", "purpose": "tenant", "provenance": "proven",
        "power": "running", "cores": 2, "memory_mib": 2048, "swap_mib": 0
    }))
    .unwrap()
}

fn receipt(home: &TestBox, uuid: GuestUuid, taken: i64, level: Level, verdict: Verdict) -> SignedReceipt {
    let taken_at = Timestamp::from_second(taken).unwrap();
    let receipt = Receipt {
        schema: SCHEMA.into(),
        box_id: home.id,
        operation: OperationId::from_parts(taken.unsigned_abs() * 1000, 7),
        guest: uuid,
        archive: "local:backup/x.tar.zst".parse().unwrap(),
        archive_digest: Digest::of(b"archive"),
        taken_at,
        asked_level: Level::L4,
        level: Some(level),
        checks: vec![],
        verdict,
        not_tested: vec![],
        started: taken_at,
        took_ms: 1,
        bytes: 1,
    };
    let document = serde_json::to_string(&receipt).unwrap();
    let signature = sshsig::sign(&home.attestation, Namespace::Receipt, document.as_bytes()).unwrap();
    SignedReceipt { document, signature }
}

#[tokio::test]
async fn only_a_receipt_that_the_box_signed_proves_anything() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let uuid = GuestUuid::from_random([5; 16]);
    let mut report = empty_report();
    report.guests = vec![guest(uuid)];
    let proven = async |report| {
        home.tell(&hub, report).await;
        hub.get("/boxes/home").await["last_proven"].clone()
    };
    let mut altered = receipt(&home, uuid, 1_000, Level::L2, Verdict::Passed);
    altered.document = altered.document.replace("\"level\":\"L2\"", "\"level\":\"L4\"");
    report.receipts = vec![altered, receipt(&home, uuid, 900, Level::L2, Verdict::Passed)];
    assert_eq!(proven(report.clone()).await, Value::Null);
    let detail = hub.get("/boxes/home").await;
    assert!(detail["reasons"].to_string().contains("signature does not count"), "{}", detail["reasons"]);
    report.receipts = vec![receipt(&home, uuid, 1_001, Level::L3, Verdict::Passed)];
    assert_eq!(proven(report.clone()).await, json!("1970-01-01T00:16:41Z"));
    report.receipts = vec![receipt(&home, uuid, 1_002, Level::L3, Verdict::Failed)];
    assert_eq!(proven(report.clone()).await, json!("1970-01-01T00:16:41Z"), "older receipts are kept");
    let detail = hub.get("/boxes/home").await;
    assert_eq!(detail["risk"], "danger");
    assert!(detail["reasons"].to_string().contains("the restore test failed"), "{}", detail["reasons"]);
}

#[tokio::test]
async fn an_older_archive_that_restores_does_not_make_up_for_the_newest() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let uuid = GuestUuid::from_random([5; 16]);
    let archive = |taken: i64, present: bool| -> felhom_protocol::status::Archive {
        serde_json::from_value(json!({
            "volid": format!("local:backup/{taken}.tar.zst"), "guest": uuid, "operation": OperationId::from_parts(1, 1),
            "target": "local", "taken_at": Timestamp::from_second(taken).unwrap(), "bytes": 1,
            "digest": Digest::of(b"archive"), "consistency": "quiesced", "present": present
        }))
        .unwrap()
    };
    let told = async |report: &felhom_protocol::hub_sync::Report| {
        home.tell(&hub, report.clone()).await;
        let seen = hub.get("/boxes/home").await;
        assert_eq!(seen["reasons"], hub.get("/boxes").await[0]["reasons"], "list and box say the same");
        (seen["risk"].clone(), seen["reasons"].to_string())
    };
    let mut report = empty_report();
    report.guests = vec![guest(uuid)];
    report.archives = vec![archive(1_000, true), archive(2_000, true)];
    report.receipts = vec![receipt(&home, uuid, 2_000, Level::L2, Verdict::Failed)];
    let not_proven = "archive local:backup/2000.tar.zst, its newest, is not proven";
    let (_, reasons) = told(&report).await;
    assert_eq!(reasons.matches("proves nothing").count(), 1, "said once: {reasons}");
    assert!(reasons.contains(not_proven), "{reasons}");
    // Tested later, but taken earlier.
    let mut older = receipt(&home, uuid, 1_000, Level::L4, Verdict::Passed);
    older.document = older
        .document
        .replace("\"started\":\"1970-01-01T00:16:40Z\"", "\"started\":\"1970-01-01T01:00:00Z\"");
    older.signature = sshsig::sign(&home.attestation, Namespace::Receipt, older.document.as_bytes()).unwrap();
    report.receipts = vec![older];
    let (risk, reasons) = told(&report).await;
    assert!(reasons.contains(not_proven) && risk == "danger", "{reasons}");
    report.archives = vec![archive(1_000, true), archive(2_000, false)];
    let (_, reasons) = told(&report).await;
    assert!(reasons.contains("archive local:backup/2000.tar.zst, its newest, is missing"), "{reasons}");
    report.archives.push(archive(3_000, true));
    let (_, reasons) = told(&report).await;
    assert!(!reasons.contains("its newest"), "a newer one is there: {reasons}");
}
