//! Challenges and what people say to them: the hub keeps and shows, as it came; the box judges.

use felhom_model::{BoxId, Digest, GuestUuid, OperationId, OperationKind};
use felhom_protocol::hub_sync::{Message, Outcome, Report, Said};
use felhom_protocol::{SignedBytes, status};
use felhom_signing::Key;
use felhom_signing::challenge::{Asked, Challenge, Signers, Stakes, Target};
use felhom_signing::consent::{Act, WAITING_VERSION, Waiting};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::pages::Browser;
use crate::support::{Hub, TestBox, empty_report, idle};

fn operation(n: u64) -> OperationId {
    OperationId::from_parts(1_700_000_000_000 + n, 1)
}

/// As the box's executor would issue it.
pub(crate) fn challenge(home: &TestBox, n: u64, key: &Key) -> status::Challenge {
    let guest = GuestUuid::from_random([7; 16]);
    let target = Target {
        uuid: Some(guest),
        vmid: Some(2000.try_into().unwrap()),
        volids: vec!["tank:subvol-2000-disk-0".parse().unwrap()],
        durable_id: None,
        bytes: 8 << 30,
        label: "family <b>".to_owned(),
        config_digest: None,
    };
    let document = Challenge {
        v: 1,
        box_id: home.id.unwrap(),
        enrolment_epoch: 1,
        challenge_id: Digest::of(&n.to_be_bytes()),
        seq: n,
        issued_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::UNIX_EPOCH,
        boot_id: "boot".to_owned(),
        operation: Asked {
            id: operation(n),
            kind: OperationKind::ReclaimGuest,
            params: json!({ "guest": guest }),
            asked_by: "job".to_owned(),
            reason: "job of ada".to_owned(),
            grace_s: 604_800,
        },
        targets: vec![target],
        evidence: Stakes { would_be_lost: vec!["photos".to_owned()], ..Stakes::default() },
        requires: vec![Signers { operators: 2, customers: vec![guest] }],
        operators_version: 1,
    };
    let signed: SignedBytes = document.issue(key).unwrap().into();
    status::Challenge {
        digest: Digest::of(&signed.bytes),
        operation: operation(n),
        guest: Some(guest),
        signed,
        left_s: 3600,
        consented: vec!["operator anna".to_owned()],
    }
}

fn open(challenges: &[status::Challenge]) -> Report {
    Report { challenges: challenges.to_vec(), ..empty_report() }
}

/// The operation as the box tells it.
pub(crate) fn in_state(n: u64, state: &str) -> Value {
    json!({
        "id": operation(n), "kind": "reclaim_guest", "state": state, "asked_for": "job of ada", "asked_by": "job",
        "verdict": "", "created": "2026-01-01T00:00:00Z",
    })
}

fn judged(message: &Message, accepted: bool, code: Option<&str>) -> Outcome {
    let (code, text) = (code.map(str::to_owned), "in words".to_owned());
    Outcome { id: message.id, accepted, code, message: text, challenge: None }
}

async fn answer(hub: &Hub, digest: Digest, signature: &str) -> (StatusCode, Value) {
    let path = format!("/challenges/{digest}/answers");
    hub.call(Method::POST, &path, json!({ "signature": signature })).await
}

#[tokio::test]
async fn a_challenge_is_kept_as_it_came_and_an_answer_travels_until_it_is_judged() {
    let mut hub = Hub::new();
    let home = hub.enrolled("kovacs", 1).await;
    let waits = challenge(&home, 1, &home.attestation);
    home.tell(&hub, open(std::slice::from_ref(&waits))).await;
    let view = hub.get(&format!("/challenges/{}", waits.digest)).await;
    assert_eq!(view["signed"], serde_json::to_value(&waits.signed).unwrap(), "never re-encoded");
    assert_eq!((&view["state"], &view["box_name"]), (&"open".into(), &"kovacs".into()));
    assert_eq!(view["consented"][0], "operator anna");
    assert_eq!(hub.get("/challenges").await.as_array().unwrap().len(), 1);

    let (status, view) = answer(&hub, waits.digest, "armored").await;
    assert_eq!((status, &view["state"]), (StatusCode::OK, &"answered".into()), "{view}");
    assert_eq!((&view["answers"][0]["by"], &view["answers"][0]["accepted"]), (&"ada".into(), &Value::Null));
    answer(&hub, waits.digest, "armored").await;
    hub.kill_and_restart();
    let offered = home.sync(&hub, &idle()).await.messages;
    let said = Said::Answer { challenge: waits.digest, signature: "armored".to_owned() };
    assert_eq!(offered.len(), 1, "the same answer is one message");
    assert_eq!(offered[0].said, said);
    assert_eq!(home.sync(&hub, &idle()).await.messages, offered, "until its outcome was told");

    let refused = judged(&offered[0], false, Some("unknown_key"));
    let report = Report { outcomes: vec![refused], ..open(std::slice::from_ref(&waits)) };
    assert!(home.tell(&hub, report.clone()).await.messages.is_empty());
    home.tell(&hub, report).await;
    let view = hub.get(&format!("/challenges/{}", waits.digest)).await;
    assert_eq!((&view["state"], &view["answers"][0]["accepted"]), (&"open".into(), &false.into()));
    assert_eq!(view["answers"][0]["why"], "unknown_key: in words");
    answer(&hub, waits.digest, "armored").await;
    let again = home.sync(&hub, &idle()).await.messages;
    assert!(again.len() == 1 && again[0].id != offered[0].id, "what was refused may be said anew");
    let mut report = Report { outcomes: vec![judged(&again[0], true, None)], ..empty_report() };
    report.operations = vec![serde_json::from_value(in_state(1, "waiting")).unwrap()];
    home.tell(&hub, report).await;
    let view = hub.get(&format!("/challenges/{}", waits.digest)).await;
    assert_eq!((&view["state"], &view["answers"][1]["accepted"]), (&"accepted".into(), &true.into()));
    let (status, body) = answer(&hub, waits.digest, "late").await;
    assert_eq!((status, &body["error"]), (StatusCode::CONFLICT, &"challenge_over".into()));
}

#[tokio::test]
async fn an_answer_cuts_the_long_poll_short() {
    let hub = Hub::new();
    let home = hub.enrolled("kovacs", 1).await;
    let waits = challenge(&home, 1, &home.attestation);
    home.tell(&hub, open(std::slice::from_ref(&waits))).await;
    let began = std::time::Instant::now();
    let poll = felhom_protocol::hub_sync::SyncRequest { wait_s: 30, ..idle() };
    let (told, _) = tokio::join!(home.sync(&hub, &poll), async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        answer(&hub, waits.digest, "armored").await
    });
    assert_eq!(told.messages.len(), 1);
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}

#[tokio::test]
async fn what_the_box_did_not_sign_is_shown_as_that_and_takes_no_answer() {
    let hub = Hub::new();
    let home = hub.enrolled("kovacs", 1).await;
    let other = hub.enrolled("nagy", 2).await;
    let forged = challenge(&home, 1, &Key::from_seed(&[66; 32]));
    let foreign = challenge(&other, 2, &home.attestation);
    home.tell(&hub, open(&[forged.clone(), foreign.clone()])).await;
    for (digest, word) in [(forged.digest, "bad_signature"), (foreign.digest, "other_box")] {
        let view = hub.get(&format!("/challenges/{digest}")).await;
        assert_eq!(view["state"], "bad_signature");
        assert!(view["problem"].as_str().unwrap().starts_with(word), "{view}");
        assert_eq!(answer(&hub, digest, "armored").await.0, StatusCode::CONFLICT);
    }
    let page = Browser::logged_in(&hub).await.get("/authorizations").await.1;
    assert!(page.contains("pill bad") && page.contains("bad signature"), "{page}");
    assert!(!page.contains("felhom approve"), "nobody is invited to sign it");
    assert!(!page.contains("photos"), "nothing of it is shown");
    let good = challenge(&home, 1, &home.attestation);
    assert_eq!(good.digest, forged.digest);
    home.tell(&hub, open(std::slice::from_ref(&good))).await;
    assert_eq!(hub.get(&format!("/challenges/{}", good.digest)).await["state"], "open");
    home.tell(&hub, open(&[forged])).await;
    let view = hub.get(&format!("/challenges/{}", good.digest)).await;
    assert_eq!(view["signed"], serde_json::to_value(&good.signed).unwrap(), "the good one stays");
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let hub = Hub::new();
    let home = hub.enrolled("kovacs", 1).await;
    let waits = challenge(&home, 1, &home.attestation);
    home.tell(&hub, open(std::slice::from_ref(&waits))).await;
    assert_eq!(answer(&hub, waits.digest, &"x".repeat(16 << 10)).await.0, StatusCode::OK);
    assert_eq!(answer(&hub, waits.digest, &"x".repeat((16 << 10) + 1)).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(answer(&hub, waits.digest, "").await.0, StatusCode::BAD_REQUEST);
    for n in 1..32 {
        assert_eq!(answer(&hub, waits.digest, &format!("answer {n}")).await.0, StatusCode::OK);
    }
    let (status, body) = answer(&hub, waits.digest, "one more").await;
    assert_eq!((status, &body["error"]), (StatusCode::CONFLICT, &"too_many_answers".into()));
    let nobody = Digest::of(b"nobody");
    assert_eq!(answer(&hub, nobody, "x").await.0, StatusCode::NOT_FOUND);
    let (status, _) = hub.call(Method::GET, "/challenges/nonsense", Value::Null).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let unauthorized = hub.http.get(format!("{}/api/v1/challenges", hub.url)).send().await.unwrap();
    assert_eq!(unauthorized.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn vetoes_and_wishes_for_a_longer_life_travel_the_same_way() {
    let hub = Hub::new();
    let home = hub.enrolled("kovacs", 1).await;
    let waits = challenge(&home, 1, &home.attestation);
    let mut report = open(std::slice::from_ref(&waits));
    report.operations = vec![serde_json::from_value(in_state(1, "pending_authorization")).unwrap()];
    home.tell(&hub, report.clone()).await;
    let renew = format!("/challenges/{}/renewals", waits.digest);
    let (_, view) = hub.call(Method::POST, &renew, Value::Null).await;
    assert_eq!((&view["state"], &view["renewals"][0]["by"]), (&"open".into(), &"ada".into()));
    let path = format!("/boxes/kovacs/operations/{}/vetoes", operation(1));
    let signed = json!({ "bytes": "AAAA", "signature": "armored" });
    let (status, vetoes) = hub.call(Method::POST, &path, json!({ "signed": signed })).await;
    assert_eq!((status, vetoes.as_array().unwrap().len()), (StatusCode::OK, 1), "{vetoes}");
    let said = home.sync(&hub, &idle()).await.messages;
    assert!(matches!(said[0].said, Said::Renew { challenge } if challenge == waits.digest));
    assert!(matches!(said[1].said, Said::Veto { operation: of, .. } if of == operation(1)));
    let longer = challenge(&home, 2, &home.attestation);
    let renewed = Outcome { challenge: Some(longer.digest), ..judged(&said[0], true, None) };
    let vetoed = judged(&said[1], false, Some("unknown_key"));
    home.tell(&hub, Report { outcomes: vec![renewed, vetoed], challenges: vec![longer.clone()], ..report })
        .await;
    let view = hub.get(&format!("/challenges/{}", waits.digest)).await;
    assert_eq!(view["renewals"][0]["challenge"], longer.digest.to_string());
    assert_eq!(view["state"], "void");
    assert_eq!(hub.get(&path).await[0]["why"], "unknown_key: in words");
    let unknown = format!("/boxes/kovacs/operations/{}/vetoes", operation(9));
    let (status, _) = hub.call(Method::POST, &unknown, json!({ "signed": signed })).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_page_shows_what_is_at_stake_and_the_command() {
    let hub = Hub::new();
    let home = hub.enrolled("kovacs", 1).await;
    let mut browser = Browser::logged_in(&hub).await;
    let (status, page) = browser.get("/authorizations").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("Nothing waits for a signature"), "{page}");
    let waits = challenge(&home, 1, &home.attestation);
    home.tell(&hub, open(std::slice::from_ref(&waits))).await;
    let (_, page) = browser.get("/authorizations").await;
    let command = format!("felhom approve {}", waits.digest);
    let label = "family &#60;b&#62;";
    for part in [&command, label, "8.0 GiB", "reclaim_guest", "photos", "operator anna"] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(page.contains("2 different operators and the customer"), "{page}");
    let (_, page) = browser.get("/boxes/kovacs").await;
    assert!(page.contains(&format!("/authorizations#challenge-{}", waits.digest.hex())), "{page}");
    let mut report = empty_report();
    report.operations = vec![serde_json::from_value(in_state(1, "waiting")).unwrap()];
    home.tell(&hub, report).await;
    let (_, page) = browser.get("/authorizations/live").await;
    assert!(page.contains(&format!("felhom veto {}", operation(1))), "{page}");
    assert_eq!(Browser::new(&hub).get("/authorizations").await.0, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_box_that_enrols_anew_voids_what_waited() {
    let hub = Hub::new();
    let home = hub.enrolled("kovacs", 1).await;
    let waits = challenge(&home, 1, &home.attestation);
    home.tell(&hub, open(std::slice::from_ref(&waits))).await;
    answer(&hub, waits.digest, "armored").await;
    let ticket = hub.ticket("kovacs", true).await;
    let mut again = TestBox::new(9);
    assert_eq!(again.enrol(&hub, &ticket.token).await.0, StatusCode::OK);
    again.id = home.id;
    let view = hub.get(&format!("/challenges/{}", waits.digest)).await;
    assert_eq!((&view["state"], &view["answers"][0]["accepted"]), (&"void".into(), &false.into()));
    assert!(again.sync(&hub, &idle()).await.messages.is_empty());
}

/// A job's operation may wait for days: its box is not kept busy, and the job says what it waits for.
#[tokio::test]
async fn a_job_that_waits_for_people_is_not_hurried() {
    let hub = Hub::with(&[("FELHOM_HUB_NEXT_SYNC_S", "60")]);
    let home = hub.enrolled("kovacs", 1).await;
    let body = json!({ "kind": "retire_guest", "params": { "guest": "family" } });
    let (_, job) = hub.call(Method::POST, "/boxes/kovacs/jobs", body).await;
    for (state, next) in [("running", 5), ("pending_authorization", 60), ("waiting", 60)] {
        let word = json!({ "id": job["id"], "state": state, "message": "", "operation": operation(1) });
        let report = Report { jobs: vec![serde_json::from_value(word).unwrap()], ..empty_report() };
        assert_eq!(home.tell(&hub, report).await.next_sync_s, next, "{state}");
        assert_eq!(hub.get("/boxes/kovacs/jobs").await[0]["state"], state);
    }
    let word = json!({ "id": job["id"], "state": "vetoed", "message": "by anna" });
    let report = Report { jobs: vec![serde_json::from_value(word).unwrap()], ..empty_report() };
    assert!(home.tell(&hub, report).await.jobs.is_empty(), "it is over");
}

/// A rotation in its grace, of which there is no challenge, as its box tells it: signed with `key` for the box `of`.
pub(crate) fn rotation(n: u64, key: &Key, of: BoxId) -> status::Operation {
    let says = Waiting {
        v: WAITING_VERSION,
        box_id: of,
        waiting: operation(n),
        act: Act {
            enrolment_epoch: 1,
            kind: OperationKind::RotateOperators,
            what: Digest::of(b"the next file"),
        },
        asked_by: "job".to_owned(),
        reason: "job of mallory <b>".to_owned(),
        facts: vec![("next".to_owned(), "2".to_owned())],
        grace_s: 604_800,
    };
    let signed: SignedBytes = says.sign(key).unwrap().into();
    let mut told = in_state(n, "waiting");
    told["kind"] = "rotate_operators".into();
    told["grace"] = json!({ "left_s": 518_400, "signed": signed });
    serde_json::from_value(told).unwrap()
}

#[tokio::test]
async fn a_rotation_in_its_grace_is_shown_with_what_is_left_and_how_to_stop_it() {
    let hub = Hub::new();
    let home = hub.enrolled("kovacs", 1).await;
    let (key, id) = (&home.attestation, home.id.unwrap());
    assert_eq!(hub.get("/waiting").await, json!([]));
    let report = Report { operations: vec![rotation(1, key, id)], ..empty_report() };
    home.tell(&hub, report.clone()).await;
    let waiting = hub.get("/waiting").await;
    let told = serde_json::to_value(&report.operations[0]).unwrap();
    assert_eq!((&waiting[0]["operation"], &waiting[0]["box_name"]), (&told, &"kovacs".into()), "as it came");
    assert_eq!((&waiting[0]["box_id"], &waiting[0]["problem"]), (&id.to_string().into(), &Value::Null));

    let mut browser = Browser::logged_in(&hub).await;
    let (_, page) = browser.get("/authorizations").await;
    let command = format!("felhom veto {}", operation(1));
    let file = Digest::of(b"the next file").to_string();
    for part in
        [&command, &file, "rotate_operators", "begins in 6 d", "job of ada", "<dt>next</dt><dd>2</dd>"]
    {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("Nothing waits for a signature"), "{page}");
    let (_, page) = browser.get("/boxes/kovacs").await;
    assert!(page.contains(&format!("/authorizations#waiting-{}", operation(1))), "{page}");

    let path = format!("/boxes/kovacs/operations/{}/vetoes", operation(1));
    let signed = json!({ "bytes": "AAAA", "signature": "armored" });
    hub.call(Method::POST, &path, json!({ "signed": signed })).await;
    let said = home.sync(&hub, &idle()).await.messages;
    assert!(matches!(said[0].said, Said::Veto { operation: of, .. } if of == operation(1)));
    let refused = Report { outcomes: vec![judged(&said[0], false, Some("other_epoch"))], ..report };
    home.tell(&hub, refused).await;
    let waiting = hub.get("/waiting").await;
    assert_eq!(waiting[0]["vetoes"][0]["why"], "other_epoch: in words");

    let mut over = rotation(1, key, id);
    (over.state, over.grace) = (felhom_model::OperationState::Vetoed, None);
    home.tell(&hub, Report { operations: vec![over], ..empty_report() }).await;
    assert_eq!(hub.get("/waiting").await, json!([]));
    assert!(browser.get("/authorizations").await.1.contains("Nothing waits for a signature"));
}

#[tokio::test]
async fn what_is_said_of_a_grace_in_the_name_of_a_box_is_shown_as_that() {
    let hub = Hub::new();
    let home = hub.enrolled("kovacs", 1).await;
    let (key, id) = (&home.attestation, home.id.unwrap());
    let mut unsigned = rotation(4, key, id);
    unsigned.grace.as_mut().unwrap().signed = None;
    let mut misnamed = rotation(5, key, id);
    misnamed.kind = "backup_guest".to_owned();
    let operations = vec![
        rotation(2, &Key::from_seed(&[66; 32]), id),
        rotation(3, key, BoxId::from_random([5; 16])),
        unsigned,
        misnamed,
    ];
    home.tell(&hub, Report { operations, ..empty_report() }).await;
    let waiting = hub.get("/waiting").await;
    let problems: Vec<&str> =
        waiting.as_array().unwrap().iter().map(|view| view["problem"].as_str().unwrap()).collect();
    let words = ["other_operation", "not_signed", "other_box", "bad_signature"];
    assert!(problems.iter().zip(words).all(|(problem, word)| problem.starts_with(word)), "{problems:?}");
    let (_, page) = Browser::logged_in(&hub).await.get("/authorizations").await;
    assert!(page.contains("does not count here") && !page.contains("the next file"), "{page}");

    // One with a challenge is shown with that, and what a report no longer lists is not waited for.
    let waits = challenge(&home, 1, key);
    home.tell(&hub, open(std::slice::from_ref(&waits))).await;
    assert_eq!(hub.get("/waiting").await, json!([]));
    home.tell(&hub, Report { operations: vec![rotation(1, key, id)], ..empty_report() }).await;
    assert_eq!(hub.get("/waiting").await, json!([]));
}
