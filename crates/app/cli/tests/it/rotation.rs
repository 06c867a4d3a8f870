//! A new operators' file goes to a box, and one operator stops it: keys and signatures of the real OpenSSH, against a hub of a
//! few routes.

use crate::hub::Serving;
use crate::ssh::keygen;
use crate::{felhom, text, token};
use assert_cmd::assert::Assert;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use felhom_model::{BoxId, Digest, OperationId, OperationKind};
use felhom_protocol::executor::RotateOperatorsParams;
use felhom_protocol::hub_api::{AddJob, AddVeto, AnswerView, JobView, WaitingView};
use felhom_protocol::status::Operation;
use felhom_signing::Key;
use felhom_signing::consent::{Act, Veto, VetoOn, WAITING_VERSION, Waiting, veto_by_operator};
use felhom_signing::operators::{OperatorsFile, rotate};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn box_key() -> Key {
    Key::from_seed(&[9; 32])
}

fn operation() -> OperationId {
    OperationId::from_parts(1_700_000_000_000, 1)
}

fn says(what: &[u8]) -> Waiting {
    Waiting {
        v: WAITING_VERSION,
        box_id: BoxId::from_random([8; 16]),
        waiting: operation(),
        act: Act { enrolment_epoch: 3, kind: OperationKind::RotateOperators, what: Digest::of(what) },
        asked_by: "job".to_owned(),
        reason: "job of \u{1b}[8m ada".to_owned(),
        facts: vec![("next".to_owned(), "2".to_owned())],
        grace_s: 604_800,
    }
}

/// As a hub shows what a box with this key signed.
fn view(says: &Waiting, key: &Key) -> WaitingView {
    let signed: felhom_protocol::SignedBytes = says.sign(key).unwrap().into();
    let operation: Operation = serde_json::from_value(json!({
        "id": operation(), "kind": "rotate_operators", "state": "waiting", "asked_for": "job of ada", "asked_by": "job",
        "verdict": "", "created": "2026-01-01T00:00:00Z", "grace": { "left_s": 518_400, "signed": signed },
    }))
    .unwrap();
    WaitingView {
        box_id: says.box_id,
        box_name: "kovacs".to_owned(),
        attestation_key: key.public(),
        operation,
        told: Timestamp::UNIX_EPOCH,
        vetoes: vec![],
        problem: None,
    }
}

/// What a hub has, and what it was sent.
#[derive(Default)]
struct Hub {
    waiting: Vec<WaitingView>,
    jobs: Vec<JobView>,
    vetoes: Vec<AddVeto>,
    /// What becomes of a job at once.
    becomes: &'static str,
}

type Shared = Arc<Mutex<Hub>>;

async fn add_job(State(hub): State<Shared>, Json(asked): Json<AddJob>) -> Json<JobView> {
    let mut hub = hub.lock().unwrap();
    let job = json!({
        "id": format!("01ARZ3NDEKTSV4RRFFQ69G5F{:02}", hub.jobs.len()), "kind": asked.kind, "params": asked.params,
        "author": "ada", "created": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:00Z", "state": hub.becomes,
        "message": "by the box", "operation": operation(),
    });
    let job: JobView = serde_json::from_value(job).unwrap();
    hub.jobs.insert(0, job.clone());
    Json(job)
}

/// The box takes the veto.
async fn veto(State(hub): State<Shared>, Json(veto): Json<AddVeto>) -> Json<Vec<AnswerView>> {
    hub.lock().unwrap().vetoes.push(veto);
    Json(vec![AnswerView {
        by: "ada".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        accepted: Some(true),
        why: None,
    }])
}

/// A hub, and the home of an operator who has pinned the box, with a signed bundle in it.
struct Scene {
    home: tempfile::TempDir,
    hub: Shared,
    serving: Serving,
}

impl Scene {
    fn new() -> Self {
        let hub: Shared = Arc::new(Mutex::new(Hub { becomes: "waiting", ..Hub::default() }));
        let jobs = get(|State(hub): State<Shared>| async move { Json(hub.lock().unwrap().jobs.clone()) });
        let router = Router::new()
            .route("/api/v1/challenges", get(|| async { Json(json!([])) }))
            .route(
                "/api/v1/waiting",
                get(|State(hub): State<Shared>| async move { Json(hub.lock().unwrap().waiting.clone()) }),
            )
            .route("/api/v1/boxes/kovacs/jobs", jobs.post(add_job))
            .route("/api/v1/boxes/kovacs/operations", get(|| async { Json(json!([])) }))
            .route("/api/v1/boxes/kovacs/operations/{id}/vetoes", post(veto))
            .with_state(Arc::clone(&hub));
        let scene = Self { home: tempfile::tempdir().unwrap(), hub, serving: Serving::new(router) };
        token(scene.home());
        scene.run(&["box", "pin", "kovacs", &box_key().public().fingerprint()]).success();
        for name in ["ada", "bela"] {
            keygen(scene.home(), name, &["-t", "ed25519"]);
        }
        scene.operators(&["init", "--name", "ada", "--key", "ada.pub"]).success();
        let add = ["add", "operators.json", "--name", "bela", "--key", "bela.pub", "--threshold", "2"];
        scene.operators(&add).success();
        scene.operators(&["rotate", "operators-2.json", "--sign-with", "ada"]).success();
        scene
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn run(&self, args: &[&str]) -> Assert {
        let mut command = felhom(self.home());
        command.current_dir(self.home()).env("PATH", std::env::var("PATH").unwrap());
        self.serving.point_to(&mut command, self.home());
        command.args(args).write_stdin("rotate_operators\n").assert()
    }

    fn operators(&self, args: &[&str]) -> Assert {
        self.run(&[&["operators"], args].concat())
    }

    fn in_force(&self) -> OperatorsFile {
        OperatorsFile::parse(&fs::read(self.home().join("operators.json")).unwrap()).unwrap()
    }
}

fn said(run: &Assert) -> String {
    let output = run.get_output();
    text(&output.stdout) + &text(&output.stderr)
}

fn json(run: &Assert) -> Value {
    serde_json::from_str(text(&run.get_output().stdout).lines().last().unwrap()).unwrap()
}

const SUBMIT: [&str; 3] = ["submit", "kovacs", "operators-2.signed.json"];

#[test]
fn a_bundle_is_checked_sent_once_and_said_how_to_stop() {
    let scene = Scene::new();
    let short = scene.operators(&[&SUBMIT[..], &["--json"]].concat()).code(5);
    assert_eq!(json(&short)["reason"], "signatures_missing");
    assert!(scene.hub.lock().unwrap().jobs.is_empty(), "nothing was sent");
    scene.operators(&["rotate", "operators-2.signed.json", "--sign-with", "bela"]).success();

    let run = scene.operators(&SUBMIT).success();
    let shown = said(&run);
    for part in ["+ bela (operator)", "signed by ada, bela", &format!("felhom veto {}", operation())] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let job = scene.hub.lock().unwrap().jobs[0].clone();
    assert_eq!(job.kind, "rotate_operators");
    let params: RotateOperatorsParams = serde_json::from_value(job.params).unwrap();
    assert_eq!(params.digest, Digest::of(&params.document));
    let next = rotate(&scene.in_force(), &params.document, &params.signatures).unwrap();
    assert_eq!(next.get().version(), params.version, "as the box reads it");

    let again = scene.operators(&[&SUBMIT[..], &["--json"]].concat()).success();
    assert_eq!(json(&again)["job"]["id"], job.id.to_string());
    assert_eq!(scene.hub.lock().unwrap().jobs.len(), 1, "the same bundle is the same job");
    scene.hub.lock().unwrap().jobs[0].state = "vetoed".to_owned();
    scene.hub.lock().unwrap().becomes = "refused";
    let refused = scene.operators(&SUBMIT).code(3);
    assert!(said(&refused).contains("by the box"), "what was stopped may be asked for anew");
    assert_eq!(scene.hub.lock().unwrap().jobs.len(), 2);
}

#[test]
fn what_the_box_would_refuse_is_not_sent() {
    let scene = Scene::new();
    scene.operators(&["rotate", "operators-2.signed.json", "--sign-with", "bela"]).success();
    let bundle = scene.home().join("operators-2.signed.json");
    let good = fs::read_to_string(&bundle).unwrap();
    let mut altered: Value = serde_json::from_str(&good).unwrap();
    altered["signatures"][0] = altered["signatures"][1].clone();
    fs::write(&bundle, altered.to_string()).unwrap();
    scene.operators(&SUBMIT).code(5);
    fs::write(&bundle, "{}").unwrap();
    scene.operators(&SUBMIT).code(1);
    scene.operators(&["submit", "kovacs", "operators-2.json"]).code(1);
    fs::write(&bundle, &good).unwrap();
    let of_other = [&SUBMIT[..], &["--old", "operators-2.json"]].concat();
    assert!(said(&scene.operators(&of_other).code(5)).contains("only version 3 can follow"));
    fs::rename(scene.home().join("operators.json"), scene.home().join("kept.json")).unwrap();
    let without = scene.operators(&SUBMIT).code(1);
    assert!(said(&without).contains("--old FILE") && said(&without).contains("operators-1.json"));
    assert!(scene.hub.lock().unwrap().jobs.is_empty(), "nothing was sent");
    scene.operators(&[&SUBMIT[..], &["--old", "kept.json"]].concat()).success();
    let help = scene.operators(&["submit", "--help"]).success();
    assert!(said(&help).contains("Example:\n  felhom operators submit kovacs"));
}

#[test]
fn a_rotation_in_its_grace_is_vetoed_without_a_challenge() {
    let scene = Scene::new();
    let says = says(&fs::read(scene.home().join("operators-2.json")).unwrap());
    scene.hub.lock().unwrap().waiting = vec![view(&says, &box_key())];
    let list = scene.run(&["challenges", "list"]).success();
    let command = format!("felhom veto {}", operation());
    assert!(
        said(&list).contains(&command) && said(&list).contains("rotate_operators at kovacs"),
        "{}",
        said(&list)
    );
    let list = json(&scene.run(&["challenges", "list", "--json"]).success());
    assert_eq!((&list[0]["state"], &list[0]["verified"]), (&"waiting".into(), &true.into()));

    let id = operation().to_string();
    let veto = ["veto", &id, "--reason", "nobody told me", "--sign-with", "ada"];
    let run = scene.run(&veto).success();
    let shown = said(&run);
    for part in [
        "rotate_operators",
        "verified by its pinned key",
        &says.act.what.to_string(),
        "next: 2",
        "6 days left",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let sent = scene.hub.lock().unwrap().vetoes.pop().unwrap().signed;
    let on = VetoOn { box_id: says.box_id, operation: operation(), act: says.act };
    assert!(veto_by_operator(&sent, &scene.in_force(), on).is_ok(), "as the box reads it");
    let other = VetoOn { act: Act { enrolment_epoch: 4, ..says.act }, ..on };
    assert_eq!(veto_by_operator(&sent, &scene.in_force(), other).unwrap_err().code(), "other_epoch");
    let read = Veto::read(&sent.bytes).unwrap();
    assert_eq!((read.v, read.act, read.reason.as_str()), (2, Some(says.act), "nobody told me"));
}

#[test]
fn a_hub_that_lies_about_a_grace_gets_no_veto() {
    let scene = Scene::new();
    let says = says(b"a file");
    let honest = view(&says, &box_key());
    let stranger = Key::from_seed(&[1; 32]);
    let forged = WaitingView { attestation_key: box_key().public(), ..view(&says, &stranger) };
    let unpinned = WaitingView { box_name: "nagy".to_owned(), ..honest.clone() };
    let about = Waiting { waiting: OperationId::from_parts(1, 2), ..says.clone() };
    let mut unsigned = honest.clone();
    unsigned.operation.grace.as_mut().unwrap().signed = None;
    let id = operation().to_string();
    for (lie, words) in [
        (forged, "ALARM"),
        (view(&says, &stranger), "this machine has pinned"),
        (unpinned, "no key is pinned for nagy"),
        (view(&about, &box_key()), "is about operation"),
        (unsigned, "signed nothing of operation"),
    ] {
        scene.hub.lock().unwrap().waiting = vec![lie];
        let run = scene.run(&["veto", &id, "--reason", "x", "--sign-with", "ada"]).code(5);
        assert!(said(&run).contains(words), "{words}: {}", said(&run));
        assert!(scene.hub.lock().unwrap().vetoes.is_empty());
    }
    scene.hub.lock().unwrap().waiting.clear();
    let nothing = scene.run(&["veto", &id, "--reason", "x", "--sign-with", "ada"]).code(1);
    assert!(said(&nothing).contains("no challenge of operation"));
}
