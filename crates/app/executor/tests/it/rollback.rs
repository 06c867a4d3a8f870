//! A database that is older than what the box did: people are asked anew, and no signature of before counts (invariant 4).

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use felhom_executor::authorization::Answer;
use felhom_executor::config::Config;
use felhom_executor::ledger::{ConsentRow, Watermark};
use felhom_executor::marks::to_journal;
use felhom_executor::rollback::InGuests;
use felhom_executor::submit::Executor;
use felhom_executor::wiring;
use felhom_journal::{GraceAsked, State};
use felhom_model::{BoxId, GuestUuid, OperationId, Vmid};
use felhom_protocol::SignedBytes;
use felhom_protocol::executor::{BoxIdentity, OperationRequest};
use felhom_protocol::status;
use felhom_signing::audit::{Chain, Entry, Head, verify};
use felhom_signing::challenge::{Challenge, Consenter};
use felhom_signing::consent::{Armored, Veto};
use felhom_signing::operators::{OperatorKey, OperatorsFile, Role};
use felhom_signing::sshsig::{self, Namespace, openssh_line};
use felhom_signing::{Context, Key, Signed};
use jiff::Timestamp;
use serde_json::json;

use crate::bench::{Bench, within};
use crate::people::{People, challenge};

fn ada() -> Key {
    Key::from_seed(&[21; 32])
}

/// An operators' file with one operator.
pub(crate) fn operators() -> Vec<u8> {
    let line = openssh_line(&ada().public(), "ada").unwrap();
    let key = OperatorKey::new("ada", Role::Operator, &line).unwrap();
    OperatorsFile::new(1, 1, vec![key]).unwrap().to_text().unwrap().into_bytes()
}

fn box_id() -> BoxId {
    BoxId::from_random([4; 16])
}

/// A box with a tenant whose executor is opened and closed by the test itself.
struct Scene {
    bench: Bench,
    tenant: GuestUuid,
}

impl Scene {
    async fn new() -> Self {
        let mut bench = Bench::start("").await;
        let tenant = bench.tenant("family").await;
        bench.client.set_box(&BoxIdentity { box_id: box_id(), epoch: 1 }).await.unwrap();
        bench.kill();
        // It forks, and between fork and exec a child holds the lock of a database that this process opened.
        bench.silence();
        let file = bench.sim.path("operators.json");
        fs::write(&file, operators()).unwrap();
        let done = bench.sim.executor(&["operators", "install", file.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        Self { bench, tenant }
    }

    fn open(&self) -> Executor {
        wiring::executor(self.config(), wiring::Hooks::default()).unwrap()
    }

    fn config(&self) -> Config {
        Config::load(&self.bench.sim.path("executor.toml"), std::iter::empty()).unwrap()
    }

    fn files(&self) -> Vec<(PathBuf, PathBuf)> {
        let database = self.config().database();
        let beside = |end: &str| {
            let mut path = database.clone().into_os_string();
            path.push(end);
            PathBuf::from(path)
        };
        ["", "-wal", "-shm"].iter().map(|end| (beside(end), beside(&format!(".copy{end}")))).collect()
    }

    /// Keeps a copy of the database.
    fn copy(&self) {
        for (file, copy) in self.files() {
            if file.exists() {
                fs::copy(file, copy).unwrap();
            }
        }
    }

    /// Puts the copy in the database's place.
    fn put_back(&self) {
        for (file, copy) in self.files() {
            let _ = fs::remove_file(&file);
            if copy.exists() {
                fs::copy(copy, file).unwrap();
            }
        }
    }
}

async fn retire(executor: &Executor, scene: &Scene) -> OperationId {
    let ask = OperationRequest {
        request_id: "retire".to_owned(),
        kind: "retire_guest".to_owned(),
        params: json!({ "guest": scene.tenant }),
        reason: "test".to_owned(),
        asked_by: "local".to_owned(),
    };
    let op = executor.submit(ask).await.unwrap();
    assert_eq!(op.state, State::PendingAuthorization, "{:?}", op.reason);
    op.id().to_string().parse().unwrap()
}

/// A retirement that is authorized and whose grace runs, and what its authorization consumed.
async fn authorized(executor: &Executor, scene: &Scene) -> (OperationId, String) {
    let id = retire(executor, scene).await;
    let (digest, _, signature) = challenge_of(executor, id);
    let by = Consenter::Operator { name: "ada".to_owned(), key: "SHA256:ada".to_owned() };
    let document = felhom_executor::ledger::ConsentDocument::Operator(signature);
    let row = ConsentRow { challenge: digest, operation: id, by, document, ran_s: 0 };
    executor.services.ledger.record_consent(&row).unwrap();
    let grace = GraceAsked { reason: "grace".to_owned(), seconds: 600 };
    let token = format!("challenge:{digest}");
    executor.runner.authorize(to_journal(id), json!("ada"), vec![token.clone()], Some(grace)).unwrap();
    (id, token)
}

fn challenge_of(executor: &Executor, id: OperationId) -> (felhom_model::Digest, Challenge, String) {
    let open = executor.services.ledger.open_challenges().unwrap();
    let row = open.iter().find(|row| row.operation == id).unwrap();
    let signature = sshsig::sign(&ada(), Namespace::Operation, &row.signed.bytes).unwrap();
    (row.digest, Challenge::read(&row.signed.bytes).unwrap(), signature)
}

fn log(executor: &Executor) -> Vec<Entry> {
    let page = executor.services.audit_page(0, None).unwrap();
    let head = Head::open(page.head.into(), &executor.services.key.public()).unwrap();
    let bytes: Vec<Vec<u8>> = page.entries.into_iter().map(|entry| entry.bytes).collect();
    verify(&bytes, &head, Chain::Whole).unwrap()
}

fn kinds(executor: &Executor) -> Vec<String> {
    log(executor).into_iter().map(|entry| entry.kind).collect()
}

fn veto(id: OperationId) -> Armored {
    let veto = Veto {
        v: 1,
        box_id: box_id(),
        veto: id,
        object: None,
        act: None,
        reason: "no".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    };
    let bytes = veto.to_bytes().unwrap();
    Armored { signature: sshsig::sign(&ada(), Namespace::Operation, &bytes).unwrap(), bytes }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_for_an_older_database_counts_nowhere() {
    let scene = Scene::new().await;
    let executor = scene.open();
    let id = retire(&executor, &scene).await;
    let (digest, before, signature) = challenge_of(&executor, id);
    assert_eq!(before.enrolment_epoch, 1);
    drop(executor);
    scene.copy();

    // Meanwhile the operation ends.
    let executor = scene.open();
    let forged = executor.answer(digest, Answer::Operator("nonsense".to_owned())).await;
    assert_eq!(forged.unwrap_err().code(), "signature_malformed");
    let mut wrong = veto(id);
    wrong.bytes.push(b' ');
    assert!(executor.veto(id, &wrong).is_err());
    assert_eq!(executor.veto(id, &veto(id)).unwrap().state, State::Vetoed);
    let names = kinds(&executor);
    let expected = ["challenge_issued", "answer_refused", "veto_refused", "vetoed"];
    assert_eq!(names[names.len() - 4..], expected, "{names:?}");
    let text = serde_json::to_string(&log(&executor)).unwrap();
    assert!(!text.contains("nonsense") && !text.contains(&veto(id).signature), "{text}");
    drop(executor);

    scene.put_back();
    let executor = scene.open();
    assert_eq!(executor.services.ledger.epoch().unwrap(), 2);
    let old = executor.answer(digest, Answer::Operator(signature)).await.unwrap_err();
    assert_eq!(old.code(), "challenge_not_open");
    let op = executor.advance(id).await.unwrap();
    assert_eq!(op.state, State::PendingAuthorization);
    let (other, anew, _) = challenge_of(&executor, id);
    assert!(other != digest && anew.enrolment_epoch == 2, "{anew:?}");
    let names = kinds(&executor);
    let expected = ["challenge_issued", "database_behind", "answer_refused", "challenge_issued"];
    assert_eq!(names[names.len() - 4..], expected, "{names:?}");
    drop(executor);

    // It was dealt with once; and the same copy once more is behind again, with an epoch above both.
    assert_eq!(scene.open().services.ledger.epoch().unwrap(), 2);
    scene.put_back();
    assert_eq!(scene.open().services.ledger.epoch().unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_with_an_authorization_goes_back_to_the_people() {
    let scene = Scene::new().await;
    let executor = scene.open();
    let (id, token) = authorized(&executor, &scene).await;
    executor.services.ledger.keep_watermark();
    drop(executor);
    scene.copy();

    let executor = scene.open();
    let op = executor.runner.count_grace(to_journal(id), 60).unwrap();
    assert_eq!((op.state, op.grace.unwrap().counted), (State::Waiting, 60), "an equal database goes on");
    executor.services.ledger.keep_watermark();
    drop(executor);

    scene.put_back();
    let executor = scene.open();
    let op = executor.services.journal.get(to_journal(id)).unwrap().unwrap();
    assert_eq!((op.state, &op.authorization, op.grace), (State::PendingAuthorization, &None, None));
    assert!(op.reason.unwrap().contains("counts no more"));
    assert_eq!(executor.services.ledger.consents(id).unwrap(), [], "no consent of before counts");
    assert_eq!(executor.services.ledger.open_challenges().unwrap(), []);
    let again = executor.runner.authorize(to_journal(id), json!("ada"), vec![token], None);
    assert!(matches!(again, Err(felhom_journal::JournalError::AlreadyConsumed { .. })), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_root_do_not_hide_an_older_database_and_an_unreadable_watermark_is_one() {
    let scene = Scene::new().await;
    drop(scene.open());
    scene.copy();
    let executor = scene.open();
    retire(&executor, &scene).await;
    drop(executor);
    scene.put_back();
    let done = scene.bench.sim.executor(&["forget-box"]);
    assert_eq!(done.json["forgotten"], json!(true), "{}", done.stderr);
    let executor = scene.open();
    assert_eq!(
        executor.services.ledger.epoch().unwrap(),
        3,
        "one for the command, one for the older database"
    );
    assert_eq!(kinds(&executor).pop().unwrap(), "database_behind");
    drop(executor);

    let file = scene.config().watermark_file();
    fs::write(&file, "torn").unwrap();
    assert_eq!(scene.open().services.ledger.epoch().unwrap(), 4);
    // After a reboot there is none, and nothing to compare with.
    fs::remove_file(&file).unwrap();
    assert_eq!(scene.open().services.ledger.epoch().unwrap(), 4);
    assert!(file.exists());
}

async fn asked_anew(bench: &Bench, id: OperationId) -> (status::Challenge, Challenge) {
    let open = async || bench.client.challenges().await.unwrap().iter().any(|shown| shown.operation == id);
    assert!(within(std::time::Duration::from_secs(30), open).await, "{}", bench.log());
    challenge(bench, id).await
}

/// A consent that was given, and a grace that runs, are of the enrolment before.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_and_waits_is_void_after_another_enrolment() {
    let scene = Scene::new().await;
    let executor = scene.open();
    let (id, _) = authorized(&executor, &scene).await;
    let identity = BoxIdentity { box_id: box_id(), epoch: 2 };
    felhom_executor::rollback::enrolled_again(&executor, &identity).unwrap();
    let op = executor.services.journal.get(to_journal(id)).unwrap().unwrap();
    assert_eq!((op.state, &op.authorization, op.grace), (State::PendingAuthorization, &None, None));
    assert_eq!(executor.services.ledger.consents(id).unwrap(), []);
    drop(executor);
    let scene = Scene::new().await;
    let (id, _) = authorized(&scene.open(), &scene).await;
    assert_eq!(scene.bench.sim.executor(&["forget-box"]).json["forgotten"], json!(true));
    for _ in 0..2 {
        let executor = scene.open();
        let op = executor.services.journal.get(to_journal(id)).unwrap().unwrap();
        assert_eq!((op.state, &op.authorization, op.grace), (State::PendingAuthorization, &None, None));
        assert_eq!(executor.services.ledger.consents(id).unwrap(), []);
        assert_eq!(executor.services.ledger.epoch().unwrap(), 2);
    }
}

/// Commits fail from one on.
#[derive(Debug)]
struct FailsFrom(AtomicU32);

impl felhom_journal::Hook for FailsFrom {
    fn before_commit(&self, _: &str) -> rusqlite::Result<()> {
        let left = self.0.load(Ordering::SeqCst);
        if left == 0 {
            let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
            return Err(rusqlite::Error::SqliteFailure(error, None));
        }
        self.0.store(left - 1, Ordering::SeqCst);
        Ok(())
    }
}

/// Wherever dealing with it ends, the next start does it all.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_database_that_only_a_guest_shows_is_dealt_with_through_a_death_at_each_commit() {
    let scene = Scene::new().await;
    let executor = scene.open();
    let (id, _) = authorized(&executor, &scene).await;
    drop(executor);
    scene.copy();
    let executor = scene.open();
    executor.veto(id, &veto(id)).unwrap();
    scene.look_after_guests(&executor).await;
    drop(executor);
    let mut died = 0;
    for n in 0..40 {
        scene.put_back();
        fs::remove_file(scene.config().watermark_file()).unwrap();
        let counter = Arc::new(FailsFrom(AtomicU32::new(u32::MAX)));
        let hooks = wiring::Hooks { database: Some(counter.clone()), ..wiring::Hooks::default() };
        let executor = wiring::executor(scene.config(), hooks).unwrap();
        counter.0.store(n, Ordering::SeqCst);
        let outcome = InGuests::default().read(&executor, &[scene.tenant]).await;
        drop(executor);
        died += u32::from(outcome.is_err());
        let executor = scene.open();
        InGuests::default().read(&executor, &[scene.tenant]).await.unwrap();
        let op = executor.services.journal.get(to_journal(id)).unwrap().unwrap();
        assert_eq!((op.state, &op.authorization), (State::PendingAuthorization, &None), "commit {n}");
        assert_eq!(executor.services.ledger.consents(id).unwrap(), [], "commit {n}");
        assert!(executor.services.ledger.epoch().unwrap() > 1, "commit {n}");
        assert!(kinds(&executor).contains(&"database_behind".to_owned()), "commit {n}");
        if outcome.is_ok() {
            assert!(died > 3, "it died {died} times only");
            return;
        }
    }
    panic!("it never got through");
}

/// What waits for people was asked in the name of an enrolment that is over, whether the agent says so or local root.
#[tokio::test(flavor = "multi_thread")]
async fn another_enrolment_voids_what_waits_for_people() {
    let mut bench = Bench::start("").await;
    let people = People::on(&mut bench, &["anna"]).await;
    let family = bench.tenant("family").await;
    let retire = bench.ask("r", "retire_guest", json!({ "guest": family })).await;
    let (first, asked) = challenge(&bench, retire.id).await;
    let signature = people.sign("anna", &first.signed.bytes);
    let again = |epoch| BoxIdentity { box_id: asked.box_id, epoch };
    // As it was said before, and by one that counts no enrolments: the next one would not be another one then.
    for epoch in [1, 0, 1] {
        bench.client.set_box(&again(epoch)).await.unwrap();
        assert_eq!(challenge(&bench, retire.id).await.0.digest, first.digest);
    }
    bench.client.set_box(&again(2)).await.unwrap();
    let refused = bench.client.answer(first.digest, &signature).await.unwrap_err();
    assert_eq!(refused.refusal(), Some("challenge_not_open"));
    let (second, asked) = asked_anew(&bench, retire.id).await;
    assert!(second.digest != first.digest && asked.enrolment_epoch == 2, "{asked:?}");
    bench.kill();
    assert_eq!(bench.sim.executor(&["forget-box"]).json["forgotten"], json!(true));
    bench.serve().await;
    bench.client.set_box(&again(2)).await.unwrap();
    let refused = bench.client.answer(second.digest, &signature).await.unwrap_err();
    assert_eq!(refused.refusal(), Some("challenge_not_open"));
    let (third, asked) = asked_anew(&bench, retire.id).await;
    assert_eq!(asked.enrolment_epoch, 3);
    bench.client.answer(third.digest, &people.sign("anna", &third.signed.bytes)).await.unwrap();
    assert_eq!(bench.end(retire.id).await.state, felhom_model::OperationState::Done, "{}", bench.log());
    // Whoever floods it fills no disk.
    let mut said = 0;
    let refused = loop {
        match bench.client.set_box(&again(3 + said)).await {
            Ok(()) => said += 1,
            Err(e) => break e,
        }
        assert!(said < 1000, "it is taken without an end");
    };
    assert_eq!(refused.refusal(), Some("too_often"));
}

/// Where a guest keeps it.
const KEPT: &str = "/var/lib/felhom/controller/watermark.json";

impl Scene {
    /// What a process does that just began to look after guests.
    async fn look_after_guests(&self, executor: &Executor) -> u64 {
        let mut watermarks = InGuests::default();
        watermarks.read(executor, &[self.tenant]).await.unwrap();
        watermarks.keep(executor, &[self.tenant]).await.unwrap();
        executor.services.ledger.epoch().unwrap()
    }

    fn show(&self, vmid: Vmid, bytes: &[u8]) {
        let file = self.bench.sim.path("shown");
        fs::write(&file, bytes).unwrap();
        self.bench.pct(&["push", &vmid.to_string(), file.to_str().unwrap(), KEPT]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_keeps_what_a_reboot_forgets() {
    let scene = Scene::new().await;
    let executor = scene.open();
    assert_eq!(scene.look_after_guests(&executor).await, 1);
    let vmid = executor.services.ledger.guest(scene.tenant).unwrap().unwrap().vmid;
    let older = scene.bench.cat(vmid, KEPT).unwrap();
    drop(executor);
    scene.copy();

    let executor = scene.open();
    let id = retire(&executor, &scene).await;
    let (digest, _, signature) = challenge_of(&executor, id);
    executor.veto(id, &veto(id)).unwrap();
    assert_eq!(scene.look_after_guests(&executor).await, 1);
    let newer = scene.bench.cat(vmid, KEPT).unwrap();
    assert!(newer != older);
    // A guest that is restored from its backup shows less, and that says nothing.
    scene.show(vmid, &older);
    assert_eq!(scene.look_after_guests(&executor).await, 1);
    scene.show(vmid, &newer);
    drop(executor);

    scene.put_back();
    fs::remove_file(scene.config().watermark_file()).unwrap();
    let executor = scene.open();
    assert_eq!(executor.services.ledger.epoch().unwrap(), 1, "nothing is left on the host to compare with");
    let waits = retire(&executor, &scene).await;
    let (open, ..) = challenge_of(&executor, waits);
    assert_eq!(scene.look_after_guests(&executor).await, 2);
    assert_eq!(kinds(&executor).pop().unwrap(), "database_behind");
    for challenge in [open, digest] {
        let answer = Answer::Operator(signature.clone());
        assert_eq!(executor.answer(challenge, answer).await.unwrap_err().code(), "challenge_not_open");
    }
    executor.advance(waits).await.unwrap();
    assert_eq!(challenge_of(&executor, waits).1.enrolment_epoch, 2);

    // It was dealt with: what is shown of the epoch before raises nothing any more.
    scene.show(vmid, &newer);
    assert_eq!(scene.look_after_guests(&executor).await, 2);
    assert!(scene.bench.cat(vmid, KEPT).unwrap() != newer, "it keeps the newer one again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_shows_what_the_box_did_not_sign_raises_nothing() {
    let scene = Scene::new().await;
    let executor = scene.open();
    scene.look_after_guests(&executor).await;
    let vmid = executor.services.ledger.guest(scene.tenant).unwrap().unwrap().vmid;
    let kept = scene.bench.cat(vmid, KEPT).unwrap();
    let ahead = Watermark { epoch: 9, journal: 1 << 40, ..executor.services.ledger.here().unwrap() };
    let bytes = serde_json::to_vec(&ahead).unwrap();
    let signed = |key: &Key, context| {
        let signed: SignedBytes = Signed::new(key, context, bytes.clone()).into();
        serde_json::to_vec(&signed).unwrap()
    };
    let mut altered: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    altered["bytes"] =
        serde_json::to_value(SignedBytes::from(Signed::new(&ada(), Context::Watermark, bytes.clone())))
            .unwrap()["bytes"]
            .clone();
    for shown in [
        b"torn".to_vec(),
        Vec::new(),
        vec![b'['; 1 << 20],
        bytes.clone(),
        signed(&ada(), Context::Watermark),
        serde_json::to_vec(&altered).unwrap(),
        // Signed by the box, and about something else.
        signed(&executor.services.key, Context::AuditHead),
    ] {
        scene.show(vmid, &shown);
        assert_eq!(scene.look_after_guests(&executor).await, 1, "{:?}", String::from_utf8_lossy(&shown));
    }
    scene.show(vmid, &signed(&executor.services.key, Context::Watermark));
    assert_eq!(scene.look_after_guests(&executor).await, 10, "one that it did sign");
}
