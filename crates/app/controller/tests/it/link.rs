//! Bootstrap, heartbeat, a whole backup, and what a restored copy makes of it.

use crate::{
    boxed::TheBox,
    guest::{COMPOSE, Guest, MANIFEST, until},
};
use felhom_protocol::probe::ProbeRequest;

/// A guest with an app and data, in the middle of the freeze of a backup.
async fn in_the_freeze() -> (Guest, TheBox) {
    let mut guest = Guest::empty();
    guest.install("notes", COMPOSE, MANIFEST);
    guest.link_up();
    let the_box = TheBox::start(&guest).await;
    guest.start();
    let running = |seen: &mut crate::boxed::Seen| {
        let last = seen.heartbeats.last()?;
        last.summary.apps.iter().any(|app| app.state == "running").then(|| last.clone())
    };
    let heartbeat = the_box.until("a heartbeat with the app running", running).await;
    assert_eq!((heartbeat.guest, heartbeat.boot_nonce.as_str()), (the_box.guest, "boot-1"));
    assert_eq!(heartbeat.summary.url, Some(format!("http://{}:8080", guest.net0)));
    assert_eq!(heartbeat.summary.apps[0].url, Some(format!("http://{}:8081", guest.net0)));
    guest.add_data("tej", "a.bin", &[3; 50_000]).await;
    the_box.seen.lock().unwrap().due = true;
    the_box.until("frozen", |seen| seen.frozen.is_some().then_some(())).await;
    assert_eq!(guest.instance().process.state(), Some('T'));
    (guest, the_box)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_freezes_until_the_snapshot_and_a_copy_proves_its_bytes() {
    let (mut guest, the_box) = in_the_freeze().await;
    let copy = guest.restored_copy();
    the_box.seen.lock().unwrap().snapshot = true;
    let thawed = the_box.until("thawed", |seen| seen.thawed.clone()).await;
    assert!(thawed.held && thawed.downtime_ms > 0, "{thawed:?}");
    assert_ne!(guest.instance().process.state(), Some('T'));
    assert!(guest.root.join("var/lib/felhom/dumps/notes/notes.sqlite").is_file());
    let url = format!("http://{}:8080/api/status", guest.net0);
    let status = loop {
        let status: serde_json::Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
        if status["backup"]["phase"] == "done" {
            break status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(status["backup"]["held"], true);
    // The box still says that it is due; two more heartbeats later nothing has changed.
    let beats = the_box.seen.lock().unwrap().heartbeats.len();
    the_box.until("heartbeats", |seen| (seen.heartbeats.len() > beats + 1).then_some(())).await;
    assert_eq!(the_box.seen.lock().unwrap().requests, 1);
    let later: serde_json::Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    assert_eq!(later["backup"], status["backup"]);
    assert_eq!(status["guest"]["name"], "family");
    guest.stop();

    // The copy has no token and no network; its app opens the database, which changes the file's bytes.
    let mut copy = copy;
    assert!(copy.paths().state().join("last-backup.json").exists());
    copy.start();
    let frozen = the_box.seen.lock().unwrap().frozen.clone().unwrap();
    assert!(frozen.samples.iter().any(|sample| sample.kind == "database"));
    let request = ProbeRequest {
        nonce: "q".into(),
        wait_ms: 30_000,
        samples: frozen.samples.iter().map(|sample| sample.id.clone()).collect(),
    };
    let answer = copy.probe(&request);
    assert_eq!(answer.guest, Some(the_box.guest));
    assert!(answer.apps[0].healthy && answer.apps[0].databases[0].ok);
    assert_eq!(answer.samples, frozen.samples);
    // It must not speak for the backup that it was restored from.
    assert!(!copy.paths().state().join("last-backup.json").exists());
    copy.stop();
}

/// The app stands still now, and runs again once the snapshot was taken, not before.
async fn still_holds_until_the_snapshot(guest: &Guest, the_box: &TheBox) {
    assert_eq!(guest.instance().process.state(), Some('T'));
    assert!(the_box.seen.lock().unwrap().thawed.is_none());
    the_box.seen.lock().unwrap().snapshot = true;
    let thawed = the_box.until("thawed", |seen| seen.thawed.clone()).await;
    assert!(thawed.held, "{thawed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_freeze_holds_while_the_box_is_away_for_a_moment() {
    let (guest, the_box) = in_the_freeze().await;
    the_box.seen.lock().unwrap().away = 5;
    the_box.until("asked again", |seen| (seen.away == 0).then_some(())).await;
    still_holds_until_the_snapshot(&guest, &the_box).await;
}

/// An agent in somebody else's hands cannot end the freeze before the snapshot: the executor did not sign that.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_executor_did_not_sign_thaws_nothing() {
    let (guest, the_box) = in_the_freeze().await;
    the_box.seen.lock().unwrap().lies = 3;
    the_box.until("lied to", |seen| (seen.lies == 0).then_some(())).await;
    still_holds_until_the_snapshot(&guest, &the_box).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_in_the_copy_is_another_digest() {
    let (guest, the_box) = in_the_freeze().await;
    let mut copy = guest.restored_copy();
    let file = copy.data().join("files/a.bin");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    copy.start();
    let frozen = the_box.seen.lock().unwrap().frozen.clone().unwrap();
    let samples = frozen.samples.iter().map(|sample| sample.id.clone()).collect();
    let answer = copy.probe(&ProbeRequest { nonce: "q".into(), wait_ms: 30_000, samples });
    let changed: Vec<_> = frozen.samples.iter().zip(&answer.samples).filter(|(a, b)| a != b).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].0.id.path, "files/a.bin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_killed_in_the_freeze_is_outlived_by_its_lease() {
    let (mut guest, the_box) = in_the_freeze().await;
    let app = guest.instance();
    guest.kill_controller();
    assert_eq!(app.process.state(), Some('T'));
    until("thawed by the lease", || (app.process.state() != Some('T')).then_some(()));
    assert!(app.process.is_alive());
    assert!(the_box.seen.lock().unwrap().thawed.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_started_again_in_the_freeze_thaws_at_once() {
    let (mut guest, the_box) = in_the_freeze().await;
    let app = guest.instance();
    guest.kill_controller();
    guest.start();
    until("thawed", || (app.process.state() != Some('T')).then_some(()));
    until("told", || guest.log().contains("left apps frozen").then_some(()));
    assert_eq!(guest.healthy().apps.len(), 1);
    // Nobody knows whether the snapshot was taken before: the box must not call it quiesced.
    let thawed = the_box.until("told", |seen| seen.thawed.clone()).await;
    assert!(!thawed.held);
    assert_eq!(guest.instance(), app);
}
