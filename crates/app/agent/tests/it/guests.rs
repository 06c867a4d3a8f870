//! The local API as guests see it.

use crate::agent::World;
use crate::executor::{tenant, uuid};
use felhom_client::local::LocalApiClient;
use felhom_model::backup::{Consistency, Level};
use felhom_model::{Digest, OperationId, OperationState};
use felhom_protocol::SignedBytes;
use felhom_protocol::local_api::*;
use felhom_protocol::receipt::SignedReceipt;
use felhom_protocol::status::Archive;
use felhom_signing::{Context, Key, Signed};
use jiff::Timestamp;
use serde_json::json;

const GUEST: &str = "[[guest]]\nname = \"family\"\ncores = 2\nmemory_mib = 512\n";

/// Two tenants, of which the first is desired.
pub(crate) async fn world(more: &str) -> World {
    let world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    world.executor.add(tenant(2, "others"));
    world.hub.desire(&format!("{GUEST}{more}"));
    world.until("converged", || world.hub.told("Converged", "AsDesired")).await;
    world
}

pub(crate) fn client(world: &World, token: &str) -> LocalApiClient {
    let api = world.executor.lock().local_api.clone().unwrap();
    LocalApiClient::new(&api.url, api.fingerprint, token.to_owned(), None).unwrap()
}

fn heartbeat(n: u8) -> SignedBytes {
    let summary = HeartbeatSummary {
        version: "1".to_owned(),
        slot: "A".to_owned(),
        apps: vec![],
        url: None,
        received: None,
    };
    let heartbeat = Heartbeat { guest: uuid(n), boot_nonce: "n".to_owned(), time: Timestamp::now(), summary };
    Signed::new(&Key::from_seed(&[n; 32]), Context::Heartbeat, serde_json::to_vec(&heartbeat).unwrap()).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_reach_executor_and_hub() {
    let world = world("apps = [\"notes\"]").await;
    let answer = client(&world, "token-1").heartbeat(&heartbeat(1)).await.unwrap();
    assert_eq!((answer.apps, answer.backup_due), (vec!["notes".parse().unwrap()], false));
    assert_eq!(world.executor.lock().heartbeats, 1);
    let told = || world.hub.last_report()?.guests.into_iter().find_map(|guest| guest.heartbeat);
    assert!(world.until("told", told).await.received.is_some());
    let stranger = client(&world, "token-1").heartbeat(&heartbeat(2)).await.unwrap_err();
    assert_eq!(stranger.status(), Some(403));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_known_by_their_digest_and_bound_to_one_guest() {
    let world = world("").await;
    for token in ["wrong", "token-9"] {
        assert_eq!(unknown(&world, token).await, Some("unknown_token".to_owned()));
    }
    let mut copy = tenant(3, "copy");
    copy.purpose = "copy".to_owned();
    world.executor.add(copy);
    assert_eq!(
        unknown(&world, "token-3").await,
        Some("unknown_token".to_owned()),
        "a restored copy has no access"
    );
    // A guest that was started a moment ago has a new token, which the last observation did not have.
    world.executor.lock().guests[0].token_digest = Some(Digest::of(b"fresh"));
    let fresh = client(&world, "fresh");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while fresh.restore_test_status().await.is_err() {
        assert!(std::time::Instant::now() < end, "a new token is soon known");
    }
    assert_eq!(unknown(&world, "token-1").await, Some("unknown_token".to_owned()), "the old one is void");
    let api = world.executor.lock().local_api.clone().unwrap();
    let other = LocalApiClient::new(&api.url, Digest::of(b"x"), "fresh".to_owned(), None).unwrap();
    assert!(other.restore_test_status().await.unwrap_err().to_string().contains("certificate"));
}

/// The refusal of a token once it was looked up; before that the answer is "try again".
async fn unknown(world: &World, token: &str) -> Option<String> {
    let client = client(world, token);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let error = client.restore_test_status().await.unwrap_err();
        if error.status() != Some(503) {
            assert_eq!(error.status(), Some(401));
            return error.refusal().map(str::to_owned);
        }
        assert!(std::time::Instant::now() < end, "looked up at last");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_from_due_to_done() {
    let world = world("").await;
    world.executor.lock().slow = vec!["backup_guest"];
    let guest = client(&world, "token-1");
    assert!(!guest.backup_due(0).await.unwrap().due);
    let waiting = tokio::spawn({
        let guest = guest.clone();
        async move { guest.backup_due(30).await.unwrap() }
    });
    let job = world.hub.job(1, "backup_guest", json!({ "guest": "family" }));
    let due = waiting.await.unwrap();
    assert_eq!((due.due, due.request_id.clone()), (true, Some(format!("job:{job}"))));
    assert!(!client(&world, "token-2").backup_due(0).await.unwrap().due, "not the other guest's");

    let request = BackupRequest { request_id: due.request_id.unwrap() };
    let asked = guest.request_backup(&request).await.unwrap();
    assert_eq!(asked.phase, BackupPhase::Granted);
    assert_eq!(guest.request_backup(&request).await.unwrap().id, asked.id, "asked twice is asked once");
    let requests = world.executor.asked("backup_guest");
    assert_eq!((requests.len(), &requests[0].params["quiesced"]), (1, &json!(true)));

    let frozen = Frozen { id: asked.id, guest: uuid(1), apps: vec![], samples: vec![], lease_ms: 1000 };
    let frozen: SignedBytes =
        Signed::new(&Key::from_seed(&[1; 32]), Context::Frozen, serde_json::to_vec(&frozen).unwrap()).into();
    assert_eq!(guest.frozen(asked.id, &frozen).await.unwrap().phase, BackupPhase::Frozen);
    let snapshotted = guest.backup(asked.id, Some(BackupPhase::Frozen), 5).await.unwrap();
    assert_eq!(snapshotted.phase, BackupPhase::Snapshotted);
    guest.thawed(asked.id, &Thawed { downtime_ms: 12, apps: vec![], held: true }).await.unwrap();
    assert_eq!(world.executor.lock().thawed[0].downtime_ms, 12);

    strangers_see_nothing(&world, asked.id, &frozen).await;
    assert_eq!(stream(&world, asked.id).await, "snapshotted");
    world.executor.end(asked.id, OperationState::Done);
    let end = world.until("the job ends", || world.hub.finished(job)).await;
    assert_eq!((end.state.as_str(), end.operation), ("done", Some(asked.id)));
    assert!(!guest.backup_due(0).await.unwrap().due, "over");
    let late = guest.request_backup(&request).await;
    assert!(late.is_err() || late.unwrap().id == asked.id, "never a second backup");
    assert_eq!(world.executor.asked("backup_guest").len(), 1);
}

/// Another guest gets the same words for this backup and for one that does not exist.
async fn strangers_see_nothing(world: &World, id: OperationId, frozen: &SignedBytes) {
    let stranger = client(world, "token-2");
    let theirs = stranger.backup(id, None, 0).await.unwrap_err();
    let nobodys = stranger.backup(OperationId::from_parts(5, 5), None, 0).await.unwrap_err();
    assert_eq!((theirs.status(), nobodys.status()), (Some(403), Some(403)));
    assert_eq!(theirs.refusal(), nobodys.refusal());
    assert_eq!(stranger.frozen(id, frozen).await.unwrap_err().status(), Some(403));
    let thawed = Thawed { downtime_ms: 0, apps: vec![], held: true };
    assert_eq!(stranger.thawed(id, &thawed).await.unwrap_err().status(), Some(403));
}

/// The first phase of the stream.
async fn stream(world: &World, id: OperationId) -> String {
    let api = world.executor.lock().local_api.clone().unwrap();
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
    let request = client.get(format!("{}/v1/backup/{id}", api.url)).bearer_auth("token-1");
    let mut answer = request.header("accept", "text/event-stream").send().await.unwrap();
    let chunk = answer.chunk().await.unwrap().unwrap();
    let text = std::str::from_utf8(&chunk).unwrap();
    let status: BackupStatus = serde_json::from_str(text.trim().strip_prefix("data:").unwrap()).unwrap();
    serde_json::to_value(status.phase).unwrap().as_str().unwrap().to_owned()
}

/// The apps stand still while the guest waits: a new executor must not cost the freeze.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_outlasts_a_new_executor() {
    let world = world("").await;
    world.executor.lock().slow = vec!["backup_guest"];
    let guest = client(&world, "token-1");
    let asked = guest.request_backup(&BackupRequest { request_id: "mine".to_owned() }).await.unwrap();
    let waiting = tokio::spawn({
        let guest = guest.clone();
        async move { guest.backup(asked.id, Some(BackupPhase::Granted), 20).await }
    });
    world
        .until("the wait has reached the executor", || (world.executor.lock().waits > 0).then_some(()))
        .await;
    world.executor.stop();
    let again = world.executor.again(&world.path("executor.sock")).await;
    again.lock().phases.insert(asked.id, BackupPhase::Snapshotted);
    assert_eq!(waiting.await.unwrap().unwrap().phase, BackupPhase::Snapshotted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_may_back_itself_up() {
    let world = world("").await;
    world.executor.lock().slow = vec!["backup_guest"];
    let guest = client(&world, "token-1");
    let request = BackupRequest { request_id: "mine".to_owned() };
    let asked = guest.request_backup(&request).await.unwrap();
    assert_eq!(guest.request_backup(&request).await.unwrap().id, asked.id);
    let error = guest.request_backup(&BackupRequest { request_id: "more".to_owned() }).await.unwrap_err();
    assert_eq!((error.status(), error.refusal()), (Some(409), Some("another_is_due")));
    let asked = world.executor.asked("backup_guest");
    assert_eq!((asked.len(), asked[0].asked_by.as_str()), (1, "guest"));
    let stolen = BackupRequest { request_id: "job:01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned() };
    assert_eq!(client(&world, "token-2").request_backup(&stolen).await.unwrap_err().status(), Some(409));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_makes_a_backup_due_and_a_new_archive_is_tested() {
    let world = world("[guest.backup]\nschedule = \"* * * * *\"\ntarget = \"local\"").await;
    let guest = client(&world, "token-1");
    let due = guest.backup_due(30).await.unwrap();
    assert!(due.due && due.reason.unwrap().contains("* * * * *"));
    let asked = guest.request_backup(&BackupRequest { request_id: due.request_id.unwrap() }).await.unwrap();
    let volid = "local:backup/a.tar.zst".parse().unwrap();
    world.executor.lock().archives.push(archive(volid, asked.id));
    let test = world.until("a restore test", || world.executor.asked("restore_test").pop()).await;
    assert_eq!((test.asked_by.as_str(), &test.params["level"]), ("schedule", &json!("L4")));
    assert_eq!(test.params["archive"], "local:backup/a.tar.zst");

    {
        let mut inner = world.executor.lock();
        inner.archives[0].proven_level = Some(Level::L4);
        inner.archives[0].proven_at = Some(Timestamp::now());
        let document = "{}".to_owned();
        inner.receipts = vec![SignedReceipt { document, signature: "x".to_owned() }];
    }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let status = guest.restore_test_status().await.unwrap();
        assert!(status.last_backup.is_some());
        if status.last_proven.is_some() {
            assert!(status.receipt.is_none(), "an unreadable receipt is nobody's");
            break;
        }
        assert!(std::time::Instant::now() < end, "the proof is shown");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(client(&world, "token-2").restore_test_status().await.unwrap().last_backup.is_none());
}

pub(crate) fn archive(volid: felhom_model::Volid, operation: OperationId) -> Archive {
    Archive {
        volid,
        guest: uuid(1),
        guest_name: None,
        operation,
        target: "local".parse().unwrap(),
        taken_at: Timestamp::now(),
        bytes: 1,
        digest: Digest::of(b"a"),
        consistency: Consistency::Quiesced,
        downtime_ms: None,
        proven_level: None,
        proven_at: None,
        present: true,
    }
}
