//! Apps run, end, and outlive the controller.

use crate::guest::{COMPOSE, Guest, MANIFEST, until};
use felhom_controller::engine::proc;
use felhom_protocol::probe::ProbeRequest;
use rustix::process::Signal;
use std::fs;

#[test]
fn a_killed_controller_leaves_its_apps_and_finds_them_again() {
    let mut guest = Guest::new();
    guest.start();
    guest.healthy();
    let first = guest.instance();
    guest.kill_controller();
    assert!(first.process.is_alive(), "the app died with the controller");
    guest.start();
    until("taken over", || guest.log().contains("taken over").then_some(()));
    guest.healthy();
    assert_eq!(guest.instance(), first, "it was started a second time");
    // It is watched: when it ends, it is started again, as another instance.
    proc::signal(first.process.pid, Signal::KILL).unwrap();
    let second = until("started again", || {
        let now = guest.probe(&ProbeRequest::default());
        now.apps[0].healthy.then(|| guest.instance()).filter(|now| *now != first)
    });
    assert_ne!(second.nonce, first.nonce);
    guest.stop();
    assert!(!second.process.is_alive(), "the app outlived the guest's end");
}

#[test]
fn many_kills_in_a_row_never_start_an_app_twice() {
    let mut guest = Guest::new();
    for _ in 0..8 {
        guest.start();
        until("a record or a log", || (!guest.log().is_empty()).then_some(()));
        guest.kill_controller();
        fs::write(guest.root.join("controller.log"), "").unwrap();
    }
    guest.start();
    guest.healthy();
    let nonce = &guest.instance().nonce;
    let ours = format!("{}", guest.lo);
    let running: Vec<i32> = proc::all()
        .into_iter()
        .map(|stat| stat.id.pid)
        .filter(|pid| proc::has_variable(*pid, "HOST", &ours))
        .collect();
    assert_eq!(running, [guest.instance().process.pid]);
    assert!(proc::has_variable(running[0], "HEALTH_NONCE", nonce));
    guest.stop();
}

#[test]
fn a_second_controller_says_that_there_is_one() {
    let mut guest = Guest::new();
    guest.start();
    guest.healthy();
    let second = guest.call(&["serve"], "");
    assert!(!second.status.success());
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(error.contains("another felhom-controller runs in this guest"), "{error}");
    guest.stop();
}

#[test]
fn what_cannot_run_says_why_and_the_others_run() {
    let mut guest = Guest::new();
    guest.install("odd", &COMPOSE.replace("image: sample", "privileged: true"), MANIFEST);
    let lost = COMPOSE.replace(r#""app", "#, r#""missing", "#).replace("8081:8090", "8082:8091");
    guest.install("lost", &lost, &MANIFEST.replace("8090", "8091"));
    guest.should_run(&["notes", "odd", "lost"]);
    guest.start();
    let apps = until("notes healthy", || {
        let apps = guest.call(&["probe", "--json"], "{\"nonce\":\"\"}");
        let answer: felhom_protocol::probe::ProbeAnswer = serde_json::from_slice(&apps.stdout).ok()?;
        answer.apps.iter().any(|app| app.app.as_str() == "notes" && app.healthy).then_some(answer.apps)
    });
    let message = |name: &str| {
        let app = apps.iter().find(|app| app.app.as_str() == name).unwrap();
        (app.healthy, app.message.clone().unwrap_or_default())
    };
    let (healthy, why) = message("odd");
    assert!(!healthy && why.contains("service `web`: `privileged` is not supported"), "{why}");
    assert!(!message("lost").0);
    until("the reason", || guest.log().contains("`missing` is no program of this guest").then_some(()));
    guest.stop();
}

#[test]
fn the_link_publishes_ports_and_takes_them_away() {
    let mut guest = Guest::new();
    guest.start();
    guest.healthy();
    let connects = |port| std::net::TcpStream::connect((guest.net0, port)).is_ok();
    assert!(!connects(8081) && !connects(8080));
    guest.link_up();
    until("app published", || connects(8081).then_some(()));
    until("page served", || connects(8080).then_some(()));
    fs::write(guest.root.join("run/net0"), "").unwrap();
    until("app hidden", || (!connects(8081)).then_some(()));
    until("page hidden", || (!connects(8080)).then_some(()));
    guest.stop();
}

#[test]
fn the_key_is_made_once_and_kept() {
    let guest = Guest::empty();
    let calls: Vec<_> = (0..4).map(|_| guest.call(&["public-key"], "").stdout).collect();
    assert_eq!(calls[0].trim_ascii_end().len(), 44);
    assert!(calls.iter().all(|key| key == &calls[0]));
    use std::os::unix::fs::PermissionsExt as _;
    let key = guest.root.join("var/lib/felhom/controller/guest.key");
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = guest.restored_copy();
    assert_eq!(copy.call(&["public-key"], "").stdout, calls[0]);
}
