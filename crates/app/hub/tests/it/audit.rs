//! Ends of boxes' audit logs: what a box may say next, and what is an alarm that stays.

use felhom_model::Digest;
use felhom_protocol::SignedBytes;
use felhom_protocol::hub_sync::Report;
use felhom_signing::Key;
use felhom_signing::audit::{AUDIT_VERSION, Head, Tip};

use crate::pages::Browser;
use crate::support::{Hub, TestBox, empty_report, idle};

/// A signed end of a log.
pub(crate) fn head(key: &Key, seq: u64, text: &str) -> SignedBytes {
    let tip = Tip { seq, hash: Digest::of(text.as_bytes()) };
    Head { v: AUDIT_VERSION, tip, guest: None }.sign(key).unwrap().into()
}

async fn tell(hub: &Hub, home: &TestBox, head: SignedBytes) {
    home.tell(hub, Report { audit_head: Some(head), ..empty_report() }).await;
}

/// The kinds of alarms of an audit log that a box's events have.
async fn alarms(hub: &Hub) -> Vec<String> {
    let mut kinds = hub.event_kinds("home").await;
    kinds.retain(|kind| kind.starts_with("audit"));
    kinds
}

/// Number and whether it is an alarm, the last one told first.
async fn kept(hub: &Hub) -> Vec<(u64, bool)> {
    let heads = hub.get("/boxes/home/audit-heads").await;
    let read = |head: &serde_json::Value| (head["seq"].as_u64().unwrap(), head["problem"].is_string());
    heads.as_array().unwrap().iter().map(read).collect()
}

#[tokio::test]
async fn a_log_that_grows_is_kept_and_shown() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let mut browser = Browser::logged_in(&hub).await;
    let (_, page) = browser.get("/boxes/home").await;
    assert!(page.contains("told no end of its audit log yet"));
    home.tell(&hub, empty_report()).await;
    for (seq, text) in [(0, "0"), (3, "3"), (3, "3"), (90, "90")] {
        tell(&hub, &home, head(&home.attestation, seq, text)).await;
    }
    assert_eq!(kept(&hub).await, [(90, false), (3, false), (0, false)]);
    assert_eq!(alarms(&hub).await, [] as [String; 0]);
    let heads = hub.get("/boxes/home/audit-heads").await;
    let signed: SignedBytes = serde_json::from_value(heads[0]["head"].clone()).unwrap();
    assert!(
        Head::open(signed.into(), &home.attestation.public()).is_ok(),
        "with its signature, for who verifies"
    );
    let (_, page) = browser.get("/boxes/home").await;
    assert!(page.contains("90 entries") && !page.contains("The audit log was changed"), "{page}");
    // Between the ends 0, 3 and 90 the hub was told none: it cannot say that one follows on the other, and says so.
    let gaps: Vec<u64> =
        heads.as_array().unwrap().iter().map(|head| head["unseen"].as_u64().unwrap()).collect();
    assert_eq!(gaps, [86, 2, 0]);
    assert!(page.contains("86 of the entries since") && page.contains("in all 88"), "{page}");
    tell(&hub, &home, head(&home.attestation, 91, "91")).await;
    let (_, page) = browser.get("/boxes/home").await;
    assert!(page.contains("Of 88 earlier entries no end was told"), "{page}");
    assert!(!reasons(&hub).await.iter().any(|reason| reason.contains("audit")), "it is no alarm");
}

/// Risk of the box in the fleet, and why.
async fn fleet(hub: &Hub) -> (String, Vec<String>) {
    let fleet = hub.get("/boxes").await;
    let summary = fleet.as_array().unwrap().iter().find(|summary| summary["name"] == "home").unwrap().clone();
    (
        summary["risk"].as_str().unwrap().to_owned(),
        serde_json::from_value(summary["reasons"].clone()).unwrap(),
    )
}

async fn reasons(hub: &Hub) -> Vec<String> {
    fleet(hub).await.1
}

#[tokio::test]
async fn an_end_that_was_told_once_must_keep_coming() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    home.tell(&hub, empty_report()).await;
    assert_eq!(alarms(&hub).await, [] as [String; 0], "a box that never told one lacks none");
    tell(&hub, &home, head(&home.attestation, 5, "five")).await;
    home.sync(&hub, &idle()).await;
    assert_eq!(alarms(&hub).await, [] as [String; 0], "without a report nothing is missing");
    // As an agent reports that was started anew.
    home.tell(&hub, Report { executor_version: None, ..empty_report() }).await;
    assert_eq!(alarms(&hub).await, [] as [String; 0]);
    assert!(reasons(&hub).await.iter().any(|why| why.contains("has not reached its executor")));
    home.tell(&hub, empty_report()).await;
    home.tell(&hub, empty_report()).await;
    assert_eq!(alarms(&hub).await, ["audit_head_missing"], "told once, when it begins");
    let (risk, why) = fleet(&hub).await;
    assert_eq!(risk, "attention");
    assert!(why.iter().any(|why| why.contains("entry 5 was the last one told")), "{why:?}");
    let mut browser = Browser::logged_in(&hub).await;
    let (_, page) = browser.get("/boxes/home").await;
    assert!(page.contains("The end of the audit log is not told"), "{page}");
    assert!(!page.contains("The audit log was changed"), "{page}");
    tell(&hub, &home, head(&home.attestation, 6, "six")).await;
    assert!(!reasons(&hub).await.iter().any(|why| why.contains("audit")), "it came again");
    tell(&hub, &home, head(&home.device, 7, "seven")).await;
    assert!(reasons(&hub).await.iter().any(|why| why.contains("no good end of the audit log")));
}

#[tokio::test]
async fn a_fork_and_a_cut_are_alarms_that_stay() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    let key = &home.attestation;
    tell(&hub, &home, head(key, 5, "five")).await;
    tell(&hub, &home, head(key, 5, "another five")).await;
    assert_eq!(alarms(&hub).await, ["audit_log_broken"]);
    tell(&hub, &home, head(key, 8, "eight")).await;
    tell(&hub, &home, head(key, 6, "six")).await;
    assert_eq!(alarms(&hub).await.len(), 2);
    // What was true once does not become good by being said again, nor bad by what follows on it.
    tell(&hub, &home, head(key, 9, "nine")).await;
    tell(&hub, &home, head(key, 8, "eight")).await;
    tell(&hub, &home, head(key, 10, "ten")).await;
    assert_eq!(kept(&hub).await, [(10, false), (8, true), (9, false), (6, true), (5, true), (5, false)]);
    let mut browser = Browser::logged_in(&hub).await;
    let (_, page) = browser.get("/boxes/home").await;
    for part in ["The audit log was changed", "another entry 5", "felhom audit verify home --file"] {
        assert!(page.contains(part), "`{part}` is not in: {page}");
    }
    let quiet = hub.enrolled("a-quiet-one", 2).await;
    quiet.tell(&hub, empty_report()).await;
    let (risk, why) = fleet(&hub).await;
    assert_eq!(risk, "danger", "{why:?}");
    assert!(why[0].contains("its end was cut off"), "the newest of them: {why:?}");
    assert_eq!(hub.get("/boxes").await[0]["name"], "home", "the fleet by risk begins with it");
}

#[tokio::test]
async fn a_head_of_another_key_counts_for_nothing_and_a_box_installed_anew_begins_anew() {
    let hub = Hub::new();
    let home = hub.enrolled("home", 1).await;
    tell(&hub, &home, head(&home.attestation, 5, "five")).await;
    tell(&hub, &home, head(&home.device, 6, "six")).await;
    assert_eq!(
        (alarms(&hub).await, kept(&hub).await),
        (vec!["audit_head_forged".to_owned()], vec![(5, false)])
    );
    let ticket = hub.ticket("home", true).await;
    let mut anew = TestBox::new(2);
    let (_, answer) = anew.enrol(&hub, &ticket.token).await;
    anew.id = Some(serde_json::from_value(answer["box_id"].clone()).unwrap());
    tell(&hub, &anew, head(&anew.attestation, 1, "one")).await;
    assert_eq!(kept(&hub).await, [(1, false), (5, false)]);
    assert!(!reasons(&hub).await.iter().any(|why| why.contains("audit")), "it is another log");
}
