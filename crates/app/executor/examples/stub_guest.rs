//! A guest for tests: init and controller in one program. It has no network; the test speaks for it to the socket.
//!
//! As `/sbin/init` it makes `/run/felhom` and keeps the identity that it is pushed; as `felhom-controller` it knows
//! `public-key`, `probe --json`, `answers`, `watermark` and `cat PATH`. Its key is fixed, so that the test can sign for it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use felhom_model::Digest;
use felhom_protocol::probe::{AppProbe, DatabaseCheck, ProbeAnswer, ProbeRequest, Sample, SampleId};
use felhom_signing::Key;
use serde_json::Value;

fn root() -> PathBuf {
    std::env::var_os("PVE_SIM_ROOTFS").map(PathBuf::from).unwrap_or_default()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.first().is_some_and(|name| name.ends_with("init")) {
        init();
    }
    match arguments.get(1).map(String::as_str) {
        Some("public-key") => println!("{}", Key::from_seed(&[9; 32]).public()),
        Some("probe") => probe(),
        Some("cat") => {
            let path =
                root().join(arguments.get(2).map(String::as_str).unwrap_or_default().trim_start_matches('/'));
            match fs::read(path) {
                Ok(bytes) => std::io::stdout().write_all(&bytes).unwrap_or_default(),
                Err(_) => std::process::exit(1),
            }
        }
        Some("watermark") => {
            let kept = fs::read(root().join("var/lib/felhom/controller/watermark.json")).unwrap_or_default();
            std::io::stdout().write_all(&kept).unwrap_or_default();
        }
        // What the test has the customer say.
        Some("answers") => {
            let said = fs::read(root().join("run/felhom/answers.json")).unwrap_or_default();
            std::io::stdout().write_all(&said).unwrap_or_default();
        }
        _ => std::process::exit(2),
    }
}

fn identity() -> PathBuf {
    root().join("var/lib/stub/guest")
}

fn init() -> ! {
    let root = root();
    fs::create_dir_all(root.join("run/felhom")).unwrap_or_default();
    fs::create_dir_all(root.join("var/lib/stub")).unwrap_or_default();
    fs::create_dir_all(root.join("var/lib/felhom/controller")).unwrap_or_default();
    // The test's directory goes away with the test, and the guest with it.
    while root.exists() {
        let pushed = fs::read(root.join("run/felhom/bootstrap.json")).unwrap_or_default();
        let bootstrap: Value = serde_json::from_slice(&pushed).unwrap_or_default();
        if let Some(guest) = bootstrap["guest"].as_str() {
            // Once: a snapshot must not meet the file while it is being written again.
            if fs::read_to_string(identity()).is_ok_and(|kept| kept == guest) {
                std::thread::park_timeout(Duration::from_millis(30));
                continue;
            }
            fs::write(identity(), guest).unwrap_or_default();
        }
        std::thread::park_timeout(Duration::from_millis(30));
    }
    std::process::exit(0)
}

fn probe() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap_or_default();
    let Ok(request) = serde_json::from_str::<ProbeRequest>(&text) else { std::process::exit(3) };
    let database = fs::read_to_string(root().join("data/notes.db")).unwrap_or_default();
    let Ok(app) = "sample".parse() else { std::process::exit(3) };
    let answer = ProbeAnswer {
        nonce: request.nonce,
        guest: fs::read_to_string(identity()).ok().and_then(|text| text.parse().ok()),
        version: "stub".to_owned(),
        apps: vec![AppProbe {
            app,
            state: "running".to_owned(),
            healthy: true,
            message: None,
            databases: vec![DatabaseCheck {
                name: "notes.db".to_owned(),
                ok: database.starts_with("ok"),
                detail: "starts with ok".to_owned(),
            }],
        }],
        samples: request.samples.into_iter().map(sample).collect(),
    };
    println!("{}", serde_json::to_string(&answer).unwrap_or_default());
}

fn sample(id: SampleId) -> Sample {
    let bytes = fs::read(root().join("data").join(Path::new(&id.path))).ok();
    Sample { id, kind: "database".to_owned(), digest: bytes.map(|b| Digest::of(&b)), message: None }
}
