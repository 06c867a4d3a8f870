//! Freeze and thaw, whatever happens in between.

use crate::guest::{Guest, PROGRAM, until};
use felhom_controller::{
    app::Catalogue,
    engine::{Engine, ProcessEngine, net::NetSource, proc},
    quiesce::Freezer,
};
use felhom_model::AppName;
use rustix::process::Signal;
use std::{sync::Arc, time::Duration};

/// An engine and a freezer in this process, with the guest's app running.
async fn freezer(guest: &Guest, longest: Duration) -> Freezer {
    let (paths, app) = (guest.paths(), "notes".parse::<AppName>().unwrap());
    let catalogue = Catalogue::new(paths.clone(), vec![8080]);
    let net = NetSource::Any.watch();
    let engine = ProcessEngine::new(paths.clone(), catalogue.clone(), PROGRAM.into(), guest.lo, net).unwrap();
    engine.up(&app).await;
    let engine: Arc<dyn Engine> = Arc::new(engine);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !engine.status(&app).healthy {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", engine.status(&app));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Freezer { engine, catalogue, paths, program: PROGRAM.into(), longest }
}

async fn answers(guest: &Guest) -> bool {
    let request = reqwest::Client::new().get(guest.url("/health")).timeout(Duration::from_millis(300));
    request.send().await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_stand_still_and_the_downtime_is_measured() {
    let guest = Guest::new();
    let freezer = freezer(&guest, Duration::from_secs(20)).await;
    guest.add_data("tej", "a.bin", &[1; 200_000]).await;
    let begun = tokio::time::Instant::now();
    let frozen = freezer.freeze(1).await.unwrap();
    assert_eq!(frozen.apps(), ["notes".parse().unwrap()]);
    assert_eq!(guest.instance().process.state(), Some('T'));
    assert!(!answers(&guest).await);
    let kinds: Vec<_> =
        frozen.samples.iter().map(|sample| (sample.kind.as_str(), sample.id.path.as_str())).collect();
    assert_eq!(kinds, [("database", "notes.db"), ("database", "notes.db-wal"), ("file", "files/a.bin")]);
    assert!(frozen.samples.iter().all(|sample| sample.digest.is_some()));
    let thawed = frozen.thaw().await;
    let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap();
    assert!(answers(&guest).await);
    assert!(thawed.held);
    // The request that got no answer took 300 ms of it.
    assert!(thawed.downtime_ms >= 300 && thawed.downtime_ms <= elapsed, "{thawed:?} in {elapsed} ms");
    assert_eq!(thawed.apps.len(), 1);
    assert!(!freezer.paths.lease().exists());
    freezer.engine.stop(&"notes".parse().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_resumes_an_app_in_the_freeze_is_found_out() {
    let guest = Guest::new();
    let freezer = freezer(&guest, Duration::from_secs(20)).await;
    let frozen = freezer.freeze(1).await.unwrap();
    let pid = guest.instance().process.pid;
    proc::signal(pid, Signal::CONT).unwrap();
    assert!(answers(&guest).await);
    proc::signal(pid, Signal::STOP).unwrap();
    until("stopped again", || (guest.instance().process.state() == Some('T')).then_some(()));
    assert!(!frozen.thaw().await.held);
    freezer.engine.stop(&"notes".parse().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_runs_out_thaws_and_says_so() {
    let guest = Guest::new();
    let freezer = freezer(&guest, Duration::from_millis(400)).await;
    let frozen = freezer.freeze(1).await.unwrap();
    assert_eq!(guest.instance().process.state(), Some('T'));
    until("thawed by the holder", || (guest.instance().process.state() != Some('T')).then_some(()));
    assert!(!frozen.thaw().await.held);
    freezer.engine.stop(&"notes".parse().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_app_can_be_stopped() {
    let guest = Guest::new();
    let freezer = freezer(&guest, Duration::from_secs(20)).await;
    let _frozen = freezer.freeze(1).await.unwrap();
    let instance = guest.instance();
    freezer.engine.stop(&"notes".parse().unwrap()).await;
    assert!(!instance.process.is_alive());
}

/// Not a test: how long the freeze itself takes at 100 MB, without a box to wait for.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo nextest run -p felhom-controller --run-ignored only freeze_at_100_mb --no-capture"]
async fn freeze_at_100_mb() {
    let guest = Guest::new();
    let freezer = freezer(&guest, Duration::from_secs(20)).await;
    for n in 0..10_u8 {
        guest.add_data("tej", &format!("{n}.bin"), &vec![n; 10_000_000]).await;
    }
    for seed in 0..5 {
        let thawed = freezer.freeze(seed).await.unwrap().thaw().await;
        println!("downtime {} ms, held {}", thawed.downtime_ms, thawed.held);
    }
    freezer.engine.stop(&"notes".parse().unwrap()).await;
}
