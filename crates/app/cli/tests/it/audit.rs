//! An exported audit log, as the operator verifies it: whole, cut, altered, and against a hub that was told something else.

use crate::hub::Serving;
use crate::{felhom, text, token};
use assert_cmd::assert::Assert;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use felhom_model::{Digest, GuestUuid};
use felhom_protocol::audit::AuditEnd;
use felhom_protocol::hub_api::AuditHeadView;
use felhom_signing::Key;
use felhom_signing::audit::{AUDIT_VERSION, Entry, GuestLink, Head, Tip};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn box_key() -> Key {
    Key::from_seed(&[9; 32])
}

fn guest() -> GuestUuid {
    GuestUuid::from_random([7; 16])
}

/// A log with an entry of each of these kinds; the second one concerns a guest.
fn log(kinds: &[&str]) -> (Vec<String>, Vec<Tip>) {
    let (mut lines, mut tips) = (Vec::new(), vec![Tip::BEGINNING]);
    for (n, kind) in (1..).zip(kinds) {
        let before: &Tip = tips.last().unwrap();
        let entry = Entry {
            v: AUDIT_VERSION,
            seq: n,
            at: Timestamp::UNIX_EPOCH,
            prev: before.hash,
            guest: (n == 2).then(|| GuestLink { uuid: guest(), seq: 1, prev: Tip::BEGINNING.hash }),
            kind: (*kind).to_owned(),
            operation: None,
            who: Some("operator\u{1b}[2J ada".to_owned()),
            data: json!({ "code": kind }),
        };
        let bytes = entry.bytes().unwrap();
        tips.push(Tip { seq: n, hash: Digest::of(&bytes) });
        lines.push(String::from_utf8(bytes).unwrap());
    }
    (lines, tips)
}

fn head(key: &Key, tip: Tip) -> felhom_protocol::SignedBytes {
    Head { v: AUDIT_VERSION, tip, guest: None }.sign(key).unwrap().into()
}

fn end(key: &Key, tip: Tip) -> String {
    json!({ "end": AuditEnd { head: head(key, tip), attestation_key: key.public() } }).to_string()
}

fn told(key: &Key, tip: Tip, problem: Option<&str>) -> AuditHeadView {
    AuditHeadView {
        seq: tip.seq,
        hash: tip.hash,
        attestation_key: key.public(),
        received: Timestamp::UNIX_EPOCH,
        problem: problem.map(str::to_owned),
        unseen: 0,
        head: head(key, tip),
    }
}

const KINDS: [&str; 3] = ["challenge_issued", "answer_refused", "destroyed"];

type Heads = Arc<Mutex<Vec<AuditHeadView>>>;

/// An operator's home that has pinned the box, and a hub with heads.
struct Scene {
    home: tempfile::TempDir,
    heads: Heads,
    serving: Serving,
}

impl Scene {
    fn new() -> Self {
        let heads = Heads::default();
        let show = |State(heads): State<Heads>| async move { Json(heads.lock().unwrap().clone()) };
        let router =
            Router::new().route("/api/v1/boxes/kovacs/audit-heads", get(show)).with_state(heads.clone());
        let scene = Self { home: tempfile::tempdir().unwrap(), heads, serving: Serving::new(router) };
        token(scene.home.path());
        scene.run(&["box", "pin", "kovacs", &box_key().public().fingerprint()]).success();
        scene
    }

    fn run(&self, args: &[&str]) -> Assert {
        let home: &Path = self.home.path();
        let mut command = felhom(home);
        command.current_dir(home);
        self.serving.point_to(&mut command, home);
        command.args(args).assert()
    }

    /// Writes the file and verifies it; exit code and what was said.
    fn verify(&self, lines: &[String], more: &[&str]) -> (i32, Value, String) {
        fs::write(self.home.path().join("audit.jsonl"), lines.join("\n") + "\n").unwrap();
        let args = [&["--json", "audit", "verify", "kovacs", "--file", "audit.jsonl"][..], more].concat();
        let run = self.run(&args);
        let output = run.get_output();
        let json = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), json, text(&output.stderr))
    }
}

#[test]
fn a_whole_log_verifies_with_and_without_the_hub() {
    let scene = Scene::new();
    let (mut lines, tips) = log(&KINDS);
    lines.push(end(&box_key(), tips[3]));
    *scene.heads.lock().unwrap() = vec![
        told(&box_key(), tips[3], None),
        told(&box_key(), tips[1], None),
        told(&box_key(), Tip::BEGINNING, None),
        told(
            &Key::from_seed(&[8; 32]),
            Tip { seq: 70, hash: Digest::of(b"before") },
            Some("of an earlier life"),
        ),
    ];
    let (code, json, said) = scene.verify(&lines, &[]);
    assert_eq!((code, &json["entries"], &json["hub"]["heads"]), (0, &json!(3), &json!(3)), "{said}");
    assert_eq!(json["hub"]["of_earlier_installations"], 1);
    assert!(said.contains("signed by the pinned key"), "{said}");
    let (code, json, _) = scene.verify(&lines, &["--offline"]);
    assert_eq!((code, &json["hub"]), (0, &Value::Null));

    let show = scene.run(&["audit", "show", "kovacs", "--file", "audit.jsonl"]).success();
    let shown = text(&show.get_output().stdout);
    assert!(KINDS.iter().all(|kind| shown.contains(kind)) && !shown.contains('\u{1b}'), "{shown}");
    let own = ["--json", "audit", "show", "kovacs", "--file", "audit.jsonl", "--guest", &guest().to_string()];
    let show = scene.run(&own).success();
    let entries: Vec<Entry> = serde_json::from_slice(&show.get_output().stdout).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2]);
}

#[test]
fn what_was_done_to_a_file_is_said_and_is_exit_code_5() {
    let scene = Scene::new();
    let (lines, tips) = log(&KINDS);
    let signed = end(&box_key(), tips[3]);
    let stranger = Key::from_seed(&[8; 32]);
    let altered = lines[1].replace("answer_refused", "answer_accepted");
    let file = |parts: &[&String]| parts.iter().map(|line| (*line).clone()).collect::<Vec<_>>();
    let [a, b, c] = &lines[..] else { panic!() };
    for (lines, expected) in [
        (file(&[a, b, c]), "does not end with a signed head"),
        (file(&[a, &altered, c, &signed]), "entry 2 was altered"),
        (file(&[a, c, &signed]), "entries 2 to 2 are missing"),
        (file(&[a, b, &signed]), "its end was cut off"),
        (file(&[b, a, c, &signed]), "reordered"),
        (file(&[a, b, b, c, &signed]), "two entries have the number 2"),
        (file(&[a, b, c, &end(&stranger, tips[3])]), "this machine has pinned"),
    ] {
        let (code, json, said) = scene.verify(&lines, &["--offline"]);
        assert_eq!((code, &json["exit_code"]), (5, &json!(5)), "{said}");
        assert!(said.contains(expected), "`{expected}` is not in: {said}");
    }
    let forged = signed.replace(&box_key().public().to_string(), &stranger.public().to_string());
    let (code, _, said) = scene.verify(&file(&[a, b, c, &forged]), &["--offline"]);
    assert!(code == 5 && said.contains("pinned"), "{said}");
    scene.run(&["box", "unpin", "kovacs", &box_key().public().fingerprint()]).success();
    let (code, _, said) = scene.verify(&file(&[a, b, c, &signed]), &["--offline"]);
    assert!(code == 5 && said.contains("no key is pinned"), "{said}");
}

#[test]
fn a_box_that_signed_another_history_is_found_by_what_the_hub_was_told() {
    let scene = Scene::new();
    let (mut lines, tips) = log(&["challenge_issued", "vetoed"]);
    lines.push(end(&box_key(), tips[2]));
    let (_, other) = log(&KINDS);
    for (heads, expected) in [
        (vec![told(&box_key(), other[3], None)], "was told"),
        (vec![told(&box_key(), other[2], None)], "another entry 2"),
        (vec![told(&box_key(), tips[2], Some("the end was cut off"))], "the hub found: the end was cut off"),
        (
            vec![AuditHeadView {
                head: head(&Key::from_seed(&[8; 32]), tips[1]),
                ..told(&box_key(), tips[1], None)
            }],
            "did not sign",
        ),
    ] {
        *scene.heads.lock().unwrap() = heads;
        let (code, json, said) = scene.verify(&lines, &[]);
        assert_eq!((code, json["exit_code"].as_i64()), (5, Some(5)), "{said}");
        let expected = expected.replace("was told", "told the hub of entry 3");
        assert!(json["hub"]["problems"][0].as_str().unwrap().contains(&expected), "{json}");
        assert!(said.contains("ALARM"), "{said}");
        let (code, _, _) = scene.verify(&lines, &["--offline"]);
        assert_eq!(code, 0, "nobody else can know");
    }
}
