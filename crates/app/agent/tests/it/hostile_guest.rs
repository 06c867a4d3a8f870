//! A hostile guest on the local API: every route that there is × every way to call it. A guest reaches its own objects only, of
//! others it does not even learn that they exist, and it keeps nobody from being served.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::agent::World;
use crate::consents::{challenge, confirmation, veto};
use crate::executor::{tenant, uuid};
use crate::guests::{client, world};
use felhom_model::{OperationId, OperationState};
use felhom_protocol::local_api::{BackupRequest, Frozen};
use felhom_signing::{Context, Key, Signed};
use serde_json::{Value, json};

/// The routes as the program declares them.
const DECLARED: &str = include_str!("../../src/local_api/mod.rs");
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY"];

fn routes() -> Vec<String> {
    let all = DECLARED.lines().filter_map(|line| line.trim().strip_prefix(".route(\""));
    all.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// What belongs to the other guest: a backup, a challenge, an operation.
struct Theirs {
    backup: OperationId,
    asked: felhom_protocol::status::Challenge,
}

/// A world in which the second guest has something to be found.
async fn theirs(world: &World) -> Theirs {
    world.executor.lock().slow = vec!["backup_guest"];
    let request = BackupRequest { request_id: "theirs".to_owned() };
    let backup = client(world, "token-2").request_backup(&request).await.unwrap().id;
    let asked = challenge(OperationId::from_parts(7, 2), &[uuid(2)], &[uuid(2)]);
    world.executor.lock().challenges = vec![asked.clone()];
    Theirs { backup, asked }
}

/// Bodies that would do something if the caller were somebody else, and some that are none.
fn bodies(theirs: &Theirs) -> Vec<Vec<u8>> {
    let frozen = Frozen { id: theirs.backup, guest: uuid(2), apps: vec![], samples: vec![], lease_ms: 1 };
    let own = Key::from_seed(&[1; 32]);
    let frozen = Signed::new(&own, Context::Frozen, serde_json::to_vec(&frozen).unwrap());
    let said = [
        json!(felhom_protocol::SignedBytes::from(frozen)),
        json!(confirmation(theirs.asked.digest, uuid(2))),
        json!(confirmation(theirs.asked.digest, uuid(1))),
        json!(veto(theirs.asked.operation, Some(uuid(2)))),
        json!({ "downtime_ms": 0, "apps": [], "held": true }),
        json!({ "archive": "local:backup/vzdump-lxc-2002-2026_01_01-00_00_00.tar.zst" }),
        json!({ "request_id": "theirs", "guest": uuid(2) }),
    ];
    let mut all: Vec<Vec<u8>> = said.iter().map(|body| serde_json::to_vec(body).unwrap()).collect();
    all.push(Vec::new());
    all.push(b"[".repeat(50_000));
    all.push(vec![0xff; 64]);
    all
}

/// The route about an object of the other guest, about one that does not exist, and about none.
fn paths(route: &str, theirs: &Theirs) -> Vec<String> {
    if !route.contains('{') {
        return vec![route.to_owned(), format!("{route}?guest={}&after=0", uuid(2))];
    }
    let ids = [
        theirs.backup.to_string(),
        theirs.asked.operation.to_string(),
        theirs.asked.digest.to_string(),
        "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
        "..%2f..%2fv1".to_owned(),
        "%00".to_owned(),
    ];
    ids.iter().map(|id| route.replace("{id}", id).replace("{digest}", id)).collect()
}

struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    fn of(world: &World) -> Self {
        let http =
            reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
        Self { http, url: world.executor.lock().local_api.clone().unwrap().url }
    }

    async fn send(&self, (method, path): (&str, &str), token: Option<&str>, body: &[u8]) -> (u16, Value) {
        // A guest that calls too often waits and is served again: the limit is another test's.
        loop {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let mut request = self.http.request(method, format!("{}{path}", self.url));
            request = request.header("content-type", "application/json").body(body.to_vec());
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            // Who answers before it has read everything may close the connection on what is still being written.
            let Ok(answer) = request.send().await else { continue };
            let status = answer.status().as_u16();
            let body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
            if status != 429 {
                return (status, body);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_guest_reaches_nothing_of_another_on_any_route() {
    let world = world("").await;
    let theirs = theirs(&world).await;
    let http = Client::of(&world);
    let routes = routes();
    assert!(routes.len() >= 12, "{routes:?}");
    let mut calls = 0;
    for route in &routes {
        for path in paths(route, &theirs) {
            for method in METHODS {
                // Only what is posted has a body that is read.
                let read = if method == "POST" { usize::MAX } else { 1 };
                for body in bodies(&theirs).into_iter().take(read) {
                    let (status, answer) = http.send((method, &path), Some("token-1"), &body).await;
                    let what = format!("{method} {path}: {status} {answer}");
                    calls += 1;
                    assert!(status < 500 || status == 503, "{what}");
                    let told = answer.to_string();
                    for secret in [uuid(2).to_string(), "others".to_owned(), theirs.backup.to_string()] {
                        let echoed =
                            path.contains(&secret) || String::from_utf8_lossy(&body).contains(&secret);
                        assert!(echoed || !told.contains(&secret), "{what}");
                    }
                    assert!(
                        status != 200 || !path.starts_with("/v1/backup/") || path.contains("/due"),
                        "{what}"
                    );
                }
            }
        }
    }
    println!("{} routes, {calls} calls", routes.len());
    nothing_happened_to_the_other(&world, &theirs);
}

fn nothing_happened_to_the_other(world: &World, theirs: &Theirs) {
    assert!(!world.log().contains("panicked"), "{}", world.log());
    let inner = world.executor.lock();
    assert!(inner.frozen.is_empty() && inner.thawed.is_empty() && inner.answered.is_empty());
    assert_eq!(inner.operations[&theirs.backup].state, OperationState::Running);
    for request in inner.requests.iter().filter(|request| {
        !request.request_id.ends_with(":theirs") || request.params["guest"] != json!(uuid(2))
    }) {
        let about = request.params["guest"].as_str();
        assert!(about.is_none_or(|guest| guest == uuid(1).to_string()), "{request:?}");
        assert_ne!(request.params["archive"], "local:backup/vzdump-lxc-2002-2026_01_01-00_00_00.tar.zst");
    }
}

/// Who shows no token, somebody's wrong one or that of a copy, gets the same answer on every route.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_every_route_is_closed() {
    let world = world("").await;
    let theirs = theirs(&world).await;
    let mut copy = tenant(3, "copy");
    copy.purpose = "copy".to_owned();
    world.executor.add(copy);
    let http = Client::of(&world);
    for token in [None, Some(""), Some("token-3"), Some("nobody"), Some("token-1 token-2")] {
        let mut said = BTreeSet::new();
        for route in routes() {
            for path in paths(&route, &theirs) {
                for method in METHODS {
                    let (status, body) = http.send((method, &path), token, b"{}").await;
                    assert!(
                        matches!(status, 401 | 404 | 405 | 503),
                        "{token:?} {method} {path}: {status} {body}"
                    );
                    if status == 401 {
                        said.insert(body.to_string());
                    }
                }
            }
        }
        // An unknown token is looked up at most once a second, and until then it is to try again.
        let looked_up = token.is_some_and(|token| !token.is_empty());
        assert!(said.len() == 1 || looked_up && said.is_empty(), "{token:?}: {said:?}");
    }
    nothing_happened_to_the_other(&world, &theirs);
}

/// A guest that calls without end is held back; the others do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_guest_is_its_own() {
    let world = world("").await;
    let http = Client::of(&world);
    let flood = (0..400).map(async |_| {
        let request = http.http.get(format!("{}/v1/restore-test/status", http.url)).bearer_auth("token-1");
        request.send().await.unwrap().status().as_u16()
    });
    let other = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let begun = Instant::now();
            client(&world, "token-2").restore_test_status().await.unwrap();
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    let (answers, slowest) = tokio::join!(futures_util::future::join_all(flood), other);
    let held_back = answers.iter().filter(|status| **status == 429).count();
    assert!(held_back > 200, "{held_back} of {}", answers.len());
    assert!(answers.iter().all(|status| matches!(status, 200 | 429)), "{answers:?}");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}
