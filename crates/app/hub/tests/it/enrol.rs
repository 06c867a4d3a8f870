//! Enrolment: who gets in, and who does not.

use felhom_protocol::desired::Document;
use felhom_protocol::hub_sync::SyncRequest;
use felhom_signing::{Context, Signed};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Hub, TestBox, eventually, idle};

#[tokio::test]
async fn what_was_set_before_enrolment_is_signed_at_it() {
    let hub = Hub::new();
    let ticket = hub.ticket("home", false).await;
    assert_eq!(ticket.hub_url, hub.url);
    assert_eq!(ticket.hub_key, hub.key);
    assert_eq!(hub.set("home", "family").await, 1);
    assert_eq!(hub.set("home", "family2").await, 2);
    assert_eq!(hub.get("/boxes/home").await["enrolment"], "waiting");
    let mut home = TestBox::new(1);
    let (status, answer) = home.enrol(&hub, &ticket.token).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&answer["name"], &answer["epoch"]), (&json!("home"), &json!(1)));
    home.id = answer["box_id"].as_str().unwrap().parse().ok();

    let answer = home.sync(&hub, &idle()).await;
    let signed = Signed::from(answer.desired_state.unwrap());
    let bytes = signed.verify(&hub.key, Context::DesiredState).unwrap().into_inner();
    let document: Document = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(Some(document.box_id), home.id);
    assert_eq!(document.generation.0, 2);
    assert_eq!(document.spec.guests[0].name.as_str(), "family2");
    let history = hub.get("/boxes/home/desired/history").await;
    assert_eq!(json!(document.prev_hash), history[1]["document_digest"]);

    let detail = hub.get("/boxes/home").await;
    assert_eq!(detail["enrolment"], "enrolled");
    assert_eq!(detail["liveness"], "alive");
    assert_eq!(detail["hostname"], "pve1");
    assert_eq!(detail["attestation_fingerprint"], json!(home.attestation.public().fingerprint()));
}

#[tokio::test]
async fn a_ticket_is_good_once() {
    let hub = Hub::new();
    let ticket = hub.ticket("home", false).await;
    let home = TestBox::new(1);
    let (_, first) = home.enrol(&hub, &ticket.token).await;
    let (status, again) = home.enrol(&hub, &ticket.token).await;
    assert_eq!((status, &again), (StatusCode::OK, &first), "a lost answer can be asked for again");
    let (status, answer) = TestBox::new(2).enrol(&hub, &ticket.token).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer["error"], "ticket_used");
    assert!(answer["hint"].as_str().unwrap().contains("felhom box add"), "{answer}");
    assert!(answer["time"].is_string());
    assert!(hub.event_kinds("home").await.contains(&"enrolment_refused".to_owned()));
    assert_eq!(hub.get("/boxes/home").await["box_id"], first["box_id"]);
}

#[tokio::test]
async fn an_expired_ticket_is_refused() {
    let hub = Hub::new();
    let (_, added) = hub.call(Method::POST, "/boxes", json!({"name": "home", "ttl_s": 1})).await;
    let ticket = felhom_protocol::hub_sync::Ticket::decode(added["ticket"].as_str().unwrap()).unwrap();
    eventually("the ticket expires", async || hub.get("/boxes/home").await["enrolment"] == "expired").await;
    let (status, answer) = TestBox::new(1).enrol(&hub, &ticket.token).await;
    assert_eq!((status, &answer["error"]), (StatusCode::UNAUTHORIZED, &json!("ticket_expired")));
    let renewed = hub.ticket("home", false).await;
    assert_eq!(TestBox::new(1).enrol(&hub, &renewed.token).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_ticket_is_refused_and_guessing_is_slowed_but_locks_nobody_out() {
    let hub = Hub::new();
    let ticket = hub.ticket("home", false).await;
    let stranger = TestBox::new(9);
    let (status, answer) = stranger.enrol(&hub, "00112233445566778899aabbccddeeff").await;
    assert_eq!((status, &answer["error"]), (StatusCode::UNAUTHORIZED, &json!("unknown_token")));
    let mut last = StatusCode::OK;
    for n in 0..11 {
        last = stranger.enrol(&hub, &format!("{n:032x}")).await.0;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(TestBox::new(1).enrol(&hub, &ticket.token).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_ticket_can_be_taken_back_and_renewed() {
    let hub = Hub::new();
    let first = hub.ticket("home", false).await;
    let (status, body) = hub.call(Method::POST, "/boxes", json!({"name": "home"})).await;
    assert_eq!((status, &body["error"]), (StatusCode::CONFLICT, &json!("box_waits")));
    let second = hub.ticket("home", true).await;
    assert_eq!(TestBox::new(1).enrol(&hub, &first.token).await.1["error"], "unknown_token");
    let (status, _) = hub.call(Method::DELETE, "/boxes/home/enrolment", Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(TestBox::new(1).enrol(&hub, &second.token).await.1["error"], "unknown_token");
    let (status, _) = hub.call(Method::DELETE, "/boxes/home/enrolment", Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn enrolling_anew_raises_the_epoch_and_voids_what_was_pending() {
    let hub = Hub::new();
    let old = hub.enrolled("home", 1).await;
    hub.set("home", "family").await;
    hub.call(Method::POST, "/boxes/home/jobs", json!({"kind": "backup_guest"})).await;
    let (status, body) = hub.call(Method::POST, "/boxes", json!({"name": "home"})).await;
    assert_eq!((status, &body["error"]), (StatusCode::CONFLICT, &json!("box_enrolled")));
    let ticket = hub.ticket("home", true).await;
    assert_eq!(old.try_sync(&hub, &idle()).await.0, StatusCode::OK, "until the ticket is used");
    let mut new = TestBox::new(2);
    let (_, answer) = new.enrol(&hub, &ticket.token).await;
    assert_eq!(answer["epoch"], 2);
    new.id = old.id;
    assert_eq!(json!(new.id), answer["box_id"], "documents stay valid for the box");
    assert_eq!(old.try_sync(&hub, &idle()).await.1["error"], "bad_signature");
    let answer = new.sync(&hub, &SyncRequest { wait_s: 0, ..idle() }).await;
    assert!(answer.jobs.is_empty());
    assert_eq!(answer.generation.0, 1);
    assert!(answer.desired_state.is_some());
    assert_eq!(hub.get("/boxes/home/jobs").await[0]["state"], "expired");
}

#[tokio::test]
async fn a_malformed_enrolment_names_the_field() {
    let hub = Hub::new();
    let url = format!("{}/api/v1/enroll", hub.url);
    let body = json!({"token": "x", "device_key": "no key"});
    let response = hub.http.post(&url).json(&body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body: Value = response.json().await.unwrap();
    assert!(body["message"].as_str().unwrap().contains("`device_key`"), "{body}");
    let response = hub.http.post(&url).body(vec![b' '; 20 << 10]).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}
