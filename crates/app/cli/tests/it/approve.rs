//! Signing a challenge: against a hub that tells the truth, and against one that lies.

use crate::hub::Serving;
use crate::ssh::{Agent, keygen};
use crate::{felhom, text, token};
use assert_cmd::assert::Assert;
use axum::extract::{Path as UrlPath, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use felhom_model::{BoxId, Digest, GuestUuid, OperationId, OperationKind, Vmid};
use felhom_protocol::hub_api::{AddAnswer, AddVeto, AnswerView, ChallengeState, ChallengeView, RenewalView};
use felhom_rig::Random;
use felhom_signing::Key;
use felhom_signing::challenge::{Asked, Challenge, Copy, Signers, Stakes, Target};
use felhom_signing::consent::{Armored, Veto};
use felhom_signing::sshsig::{self, Namespace, SshPublicKey};
use jiff::Timestamp;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn box_key() -> Key {
    Key::from_seed(&[9; 32])
}

fn challenge(label: &str) -> Challenge {
    let target = Target {
        uuid: Some(GuestUuid::from_random([7; 16])),
        vmid: Some(Vmid::try_from(2000).unwrap()),
        volids: vec!["local-lvm:vm-2000-disk-0".parse().unwrap()],
        durable_id: None,
        bytes: 8 << 30,
        label: label.to_owned(),
        config_digest: None,
    };
    let evidence = Stakes {
        copies: vec![Copy {
            volid: "tank:backup/vzdump-lxc-2000-2026_11_24-02_30_00.tar.zst".parse().unwrap(),
            taken_at: Timestamp::UNIX_EPOCH,
            bytes: 3 << 30,
            proven: true,
        }],
        last_proven_restore: None,
        would_be_lost: vec!["photos since\u{1b}[8m Monday".to_owned()],
        facts: vec![("tombstone".to_owned(), "grace is over".to_owned())],
    };
    let operation = Asked {
        id: OperationId::from_parts(1_700_000_000_000, 1),
        kind: OperationKind::ReclaimGuest,
        params: serde_json::json!({ "guest": "family" }),
        asked_by: "hub".to_owned(),
        reason: "retired".to_owned(),
        grace_s: 604_800,
    };
    Challenge {
        v: 1,
        box_id: BoxId::from_random([8; 16]),
        enrolment_epoch: 1,
        challenge_id: Digest::of(b"nonce"),
        seq: 1,
        issued_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::UNIX_EPOCH,
        boot_id: "boot".to_owned(),
        operation,
        targets: vec![target],
        evidence,
        requires: vec![Signers { operators: 2, customers: vec![GuestUuid::from_random([7; 16])] }],
        operators_version: 3,
    }
}

/// As an honest hub shows it.
fn view(label: &str) -> ChallengeView {
    let signed = challenge(label).issue(&box_key()).unwrap();
    ChallengeView {
        digest: Digest::of(&signed.bytes),
        box_id: BoxId::from_random([8; 16]),
        box_name: "kovacs".to_owned(),
        signed: signed.into(),
        attestation_key: box_key().public(),
        state: ChallengeState::Open,
        answers: vec![],
        operation: Some(challenge(label).operation.id),
        consented: vec![],
        problem: None,
        renewals: vec![],
    }
}

/// The box issues another challenge for the same operation, which is the open one from then on.
async fn renew(State(hub): State<Shared>) -> Json<ChallengeView> {
    let mut view = hub.lock().unwrap();
    let mut next = Challenge::read(&view.signed.bytes).unwrap();
    next.seq += 1;
    view.signed = next.issue(&box_key()).unwrap().into();
    view.digest = Digest::of(&view.signed.bytes);
    let asked =
        AnswerView { by: "ada".to_owned(), at: Timestamp::UNIX_EPOCH, accepted: Some(true), why: None };
    let challenge = Some(view.digest);
    view.renewals.push(RenewalView { asked, challenge });
    Json(view.clone())
}

/// Keeps the veto among the answers; the box takes the first one only.
async fn veto(State(hub): State<Shared>, Json(AddVeto { signed }): Json<AddVeto>) -> Json<Vec<AnswerView>> {
    let mut view = hub.lock().unwrap();
    let first = view.answers.is_empty();
    let why = (!first).then(|| "not_waiting: it is over".to_owned());
    let by = serde_json::to_string(&signed).unwrap();
    view.answers.push(AnswerView { by, at: Timestamp::UNIX_EPOCH, accepted: Some(first), why });
    Json(view.answers.clone())
}

/// What a hub has, and what it was sent.
type Shared = Arc<Mutex<ChallengeView>>;

async fn answer(State(hub): State<Shared>, Json(answer): Json<AddAnswer>) -> Json<ChallengeView> {
    let mut view = hub.lock().unwrap();
    let at = Timestamp::UNIX_EPOCH;
    view.answers.push(AnswerView { by: answer.signature, at, accepted: None, why: None });
    Json(view.clone())
}

async fn one(State(hub): State<Shared>, UrlPath(_): UrlPath<String>) -> Json<ChallengeView> {
    Json(hub.lock().unwrap().clone())
}

/// A hub with one challenge, and an operator's home that has pinned the box.
struct Scene {
    home: tempfile::TempDir,
    hub: Shared,
    serving: Serving,
}

impl Scene {
    fn new(view: ChallengeView) -> Self {
        let hub: Shared = Arc::new(Mutex::new(view));
        let router = Router::new()
            .route(
                "/api/v1/challenges",
                get(|State(hub): State<Shared>| async move { Json(vec![hub.lock().unwrap().clone()]) }),
            )
            .route("/api/v1/challenges/{digest}", get(one))
            .route("/api/v1/challenges/{digest}/answers", post(answer))
            .route("/api/v1/challenges/{digest}/renewals", post(renew))
            .route("/api/v1/boxes/kovacs/operations/{id}/vetoes", post(veto))
            .with_state(Arc::clone(&hub));
        let scene = Self { home: tempfile::tempdir().unwrap(), hub, serving: Serving::new(router) };
        token(scene.home());
        let pin = box_key().public().fingerprint();
        scene.run(&["box", "pin", "kovacs", &pin], "").success();
        scene
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn command(&self) -> assert_cmd::Command {
        let mut command = felhom(self.home());
        command.current_dir(self.home()).env("PATH", std::env::var("PATH").unwrap());
        self.serving.point_to(&mut command, self.home());
        command
    }

    fn run(&self, args: &[&str], typed: &str) -> Assert {
        self.command().args(args).write_stdin(typed).assert()
    }

    fn id(&self) -> String {
        self.hub.lock().unwrap().digest.hex()[..12].to_owned()
    }

    /// Signatures that the hub was sent.
    fn sent(&self) -> Vec<String> {
        self.hub.lock().unwrap().answers.iter().map(|answer| answer.by.clone()).collect()
    }

    fn check_sent(&self, key: &Path) {
        let line = fs::read_to_string(key.with_extension("pub")).unwrap();
        let accepted = [SshPublicKey::from_openssh(&line).unwrap()];
        let bytes = self.hub.lock().unwrap().signed.bytes.clone();
        let sent = self.sent();
        assert_eq!(sent.len(), 1);
        sshsig::verify(&sent[0], Namespace::Operation, bytes, &accepted).unwrap();
    }
}

#[test]
fn what_is_shown_is_signed_and_sent() {
    let scene = Scene::new(view("family"));
    for kind in [&["-t", "ed25519"][..], &["-t", "ecdsa", "-b", "256"], &["-t", "rsa", "-b", "2048"]] {
        let key = keygen(scene.home(), kind[1], kind);
        let run = scene.run(&["approve", &scene.id(), "--sign-with", kind[1]], "family\n").success();
        let shown = text(&run.get_output().stdout);
        for expected in [
            "reclaim_guest",
            "family  8.00 GiB at stake",
            "local-lvm:vm-2000-disk-0",
            "photos since\\u{1b}[8m Monday",
            "3.00 GiB, proven to restore",
            "last proven restore: NEVER",
            "2 different operators and the customer of",
            "7 day(s) of the running box",
            "tombstone: grace is over",
        ] {
            assert!(shown.contains(expected), "{expected}\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown}");
        scene.check_sent(&key);
        scene.hub.lock().unwrap().answers.clear();
    }
}

#[test]
fn nothing_is_signed_by_habit() {
    let scene = Scene::new(view("family"));
    keygen(scene.home(), "ada", &["-t", "ed25519"]);
    let approve = ["approve", &scene.id(), "--sign-with", "ada"];
    for typed in ["y\n", "\n", "", "Family\n"] {
        scene.run(&approve, typed).code(3);
    }
    assert!(scene.sent().is_empty());
    let json = scene.run(&[&approve[..], &["--yes-i-read", "--json"]].concat(), "").success();
    let line: Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert_eq!(line["state"], "open");
    assert_eq!(scene.sent().len(), 1);
    scene.run(&["approve", &scene.id(), "--yes-i-read"], "").code(1);
    scene.run(&["approve"], "").code(2);
}

#[test]
fn a_hub_that_lies_gets_no_signature() {
    let stranger = Key::from_seed(&[1; 32]);
    let honest = view("family");
    let mut altered = honest.clone();
    altered.signed.bytes =
        String::from_utf8(altered.signed.bytes).unwrap().replace("family", "tenant").into();
    altered.digest = Digest::of(&altered.signed.bytes);
    let forged: felhom_protocol::SignedBytes = challenge("family").issue(&stranger).unwrap().into();
    let by_stranger = ChallengeView { signed: forged.clone(), ..honest.clone() };
    let with_its_key = ChallengeView { attestation_key: stranger.public(), signed: forged, ..honest.clone() };
    let unpinned = ChallengeView { box_name: "nagy".to_owned(), ..honest.clone() };
    let other_bytes = ChallengeView { digest: Digest::of(b"asked for"), ..honest };
    for (lie, words) in [
        (altered, "did not sign"),
        (by_stranger, "did not sign"),
        (with_its_key, "this machine has pinned"),
        (unpinned, "no key is pinned for nagy"),
        (other_bytes, "other bytes"),
    ] {
        let scene = Scene::new(lie);
        keygen(scene.home(), "ada", &["-t", "ed25519"]);
        let run = scene.run(&["approve", &scene.id(), "--sign-with", "ada", "--yes-i-read"], "").code(5);
        let message = text(&run.get_output().stderr);
        assert!(message.contains(words), "{words}: {message}");
        assert!(scene.sent().is_empty());
        scene.run(&["challenges", "show", &scene.id()], "").code(5);
    }
    let scene = Scene::new(view("family"));
    let other = Digest::of(b"another challenge").to_string();
    scene.run(&["challenges", "show", &other], "").code(5);
}

/// Places of values in a document, each as a JSON pointer.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), all))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| places(value, &format!("{at}/{n}"), all));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => all.push(at.to_owned()),
    }
}

/// What a hub could show instead: values of other challenges, of the same box and of another one, and damaged ones.
fn mutated(honest: &ChallengeView, others: &[ChallengeView], random: &mut Random) -> Option<ChallengeView> {
    let mut shown = serde_json::to_value(honest).unwrap();
    for _ in 0..=random.below(3) {
        let mut all = Vec::new();
        places(&shown, "", &mut all);
        let at = &all[random.place(all.len())];
        let other = &others[random.place(others.len())];
        let other = serde_json::to_value(other).unwrap().pointer(at).cloned();
        let place = shown.pointer_mut(at).unwrap();
        *place = match (other, place.as_str()) {
            (_, Some(text)) if random.below(2) == 0 => {
                let mut bytes = text.as_bytes().to_vec();
                let n = random.place(bytes.len().max(1));
                bytes.get_mut(n).into_iter().for_each(|byte| *byte ^= 1);
                String::from_utf8(bytes).unwrap_or_default().into()
            }
            (Some(other), _) => other,
            (None, _) => Value::Null,
        };
    }
    serde_json::from_value(shown).ok()
}

/// Whatever a hub makes of a challenge: what is signed is what this box issued under the name that was asked for.
#[test]
fn a_lying_rendering_gets_no_signature() {
    let honest = view("family");
    let other_box = ChallengeView {
        signed: challenge("family").issue(&Key::from_seed(&[1; 32])).unwrap().into(),
        attestation_key: Key::from_seed(&[1; 32]).public(),
        box_id: BoxId::from_random([3; 16]),
        box_name: "nagy".to_owned(),
        ..honest.clone()
    };
    let others = [view("tenant"), other_box];
    let scene = Scene::new(honest.clone());
    let key = keygen(scene.home(), "ada", &["-t", "ed25519"]);
    let line = fs::read_to_string(key.with_extension("pub")).unwrap();
    let accepted = [SshPublicKey::from_openssh(&line).unwrap()];
    let (asked, mut random) = (honest.digest.to_string(), Random::of(1, "a lying rendering"));
    let mut counts = [0, 0];
    while counts[0] + counts[1] < 120 {
        let Some(lie) = mutated(&honest, &others, &mut random) else { continue };
        *scene.hub.lock().unwrap() = lie.clone();
        let run = scene.run(&["approve", &asked, "--sign-with", "ada", "--yes-i-read"], "");
        let output = run.get_output();
        let signed: Vec<String> = scene.sent().split_off(lie.answers.len());
        if signed.is_empty() {
            assert!(!output.status.success(), "{lie:?}: {output:?}");
            counts[0] += 1;
            continue;
        }
        counts[1] += 1;
        let shown = text(&output.stdout);
        assert!(shown.contains("family") && shown.contains("8.00 GiB"), "{lie:?}: {shown}");
        for signature in &signed {
            let bytes = honest.signed.bytes.clone();
            sshsig::verify(signature, Namespace::Operation, bytes, &accepted).unwrap();
        }
    }
    // Most of what a hub can change is what is verified; the rest is said to be the hub's.
    assert!(counts[0] > 30 && counts[1] > 5, "refused, signed: {counts:?}");
}

#[test]
fn challenges_are_listed_and_shown() {
    let scene = Scene::new(view("fam\u{202e}ily"));
    let list = scene.run(&["challenges", "list"], "").success();
    let shown = text(&list.get_output().stdout);
    assert!(shown.contains("reclaim_guest") && shown.contains("fam\\u{202e}ily"), "{shown}");
    let show = scene.run(&["challenges", "show", &scene.id(), "--json"], "").success();
    let line: Value = serde_json::from_slice(&show.get_output().stdout).unwrap();
    assert_eq!(line["challenge"]["operation"]["kind"], "reclaim_guest");
    scene.run(&["challenges", "show", "abc"], "").code(1);
    scene.run(&["box", "unpin", "kovacs", &box_key().public().fingerprint()], "").success();
    let list = scene.run(&["challenges", "list", "--json"], "").success();
    let line: Value = serde_json::from_slice(&list.get_output().stdout).unwrap();
    assert_eq!((&line[0]["verified"], &line[0]["challenge"]), (&false.into(), &Value::Null));
}

#[test]
fn a_machine_without_network_signs_what_it_has_pinned_itself() {
    let scene = Scene::new(view("family"));
    let away = tempfile::tempdir().unwrap();
    let key = keygen(away.path(), "vaulted", &["-t", "ed25519"]);
    let before = scene.id();
    scene.run(&["approve", &before, "--export", "challenge.json"], "").success();
    assert_ne!(scene.id(), before, "the box was asked for one that lives longer, and that one was written");
    scene.run(&["approve", &scene.id(), "--export", "challenge.json"], "").code(1);
    scene.run(&["approve", "--import", "challenge.json"], "").code(1);
    let file = scene.home().join("challenge.json");
    let offline = |typed: &str| {
        let mut command = felhom(away.path());
        command.env("PATH", std::env::var("PATH").unwrap()).arg("approve").arg("--offline").arg(&file);
        command.arg("--sign-with").arg(&key).write_stdin(typed).assert()
    };
    offline("family\n").code(5);
    let pin = box_key().public().fingerprint();
    felhom(away.path()).args(["box", "pin", "kovacs", &pin]).assert().success();
    offline("other\n").code(3);
    let run = offline("family\n").success();
    assert!(text(&run.get_output().stdout).contains("8.00 GiB at stake"));
    scene.run(&["approve", "--import", "challenge.json"], "").success();
    scene.check_sent(&key);
}

#[test]
fn a_veto_is_signed_for_the_box_that_signed_the_challenge() {
    let scene = Scene::new(view("family"));
    let key = keygen(scene.home(), "ada", &["-t", "ed25519"]);
    let id = challenge("family").operation.id.to_string();
    let veto = ["veto", &id, "--reason", "the customer called", "--sign-with", "ada"];
    scene.run(&veto, "other\n").code(3);
    assert!(scene.sent().is_empty());
    let run = scene.run(&veto, "family\n").success();
    let shown = text(&run.get_output().stdout);
    assert!(shown.contains("VETO") && shown.contains("8.00 GiB at stake"), "{shown}");
    let signed: Armored = serde_json::from_str(&scene.sent()[0]).unwrap();
    let line = fs::read_to_string(key.with_extension("pub")).unwrap();
    let accepted = [SshPublicKey::from_openssh(&line).unwrap()];
    sshsig::verify(&signed.signature, Namespace::Operation, signed.bytes.clone(), &accepted).unwrap();
    let said = Veto::read(&signed.bytes).unwrap();
    assert_eq!((said.veto.to_string(), said.box_id), (id.clone(), BoxId::from_random([8; 16])));
    assert_eq!(said.reason, "the customer called");
    let again = scene.run(&[&veto[..], &["--yes-i-read", "--json"]].concat(), "").code(3);
    assert!(text(&again.get_output().stderr).contains("not_waiting"));
    scene.run(&["veto", "01K6Z3NDEKTSV4RRFFQ69G5FAV", "--reason", "x", "--sign-with", "ada"], "").code(1);
    scene.run(&["box", "unpin", "kovacs", &box_key().public().fingerprint()], "").success();
    scene.run(&[&veto[..], &["--yes-i-read"]].concat(), "").code(5);
}

#[test]
fn an_agent_signs_too() {
    let scene = Scene::new(view("family"));
    let key = keygen(scene.home(), "ada", &["-t", "ed25519"]);
    let agent = Agent::with(scene.home(), &key);
    fs::remove_file(&key).unwrap();
    let mut command = scene.command();
    command.env("SSH_AUTH_SOCK", &agent.socket).args(["approve", &scene.id(), "--sign-with", "ada.pub"]);
    command.write_stdin("family\n").assert().success();
    scene.check_sent(&key);
}
