//! The customer's say: what is shown of challenges and notices, and what is signed.

use crate::{
    boxed::{TheBox, box_id},
    guest::Guest,
};
use felhom_model::{BoxId, Digest, GuestUuid, OperationId, OperationKind};
use felhom_protocol::{
    SignedBytes,
    notices::{Answers, NOTICES_VERSION, Notice, NoticeStage, Notices},
    status,
};
use felhom_signing::{
    Context, Key, Signed,
    challenge::{Asked, CHALLENGE_VERSION, Challenge, Copy, Signers, Stakes, Target},
    consent::{Act, Customer, LIFETIME_MS, Now, OpenChallenge, VetoOn, accept_customer, veto_by_customer},
};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Response, redirect::Policy};
use rustix::time::{ClockId, clock_gettime};

const OPERATION: u128 = 77;

fn operation() -> OperationId {
    OperationId::from_parts(1_800_000_000_000, OPERATION)
}

fn challenge(guest: GuestUuid) -> Challenge {
    let now = Timestamp::now();
    let copy = Copy {
        volid: "local:backup/a.tar.zst".parse().unwrap(),
        taken_at: "2026-03-04T05:06:07Z".parse().unwrap(),
        bytes: 3 << 30,
        proven: true,
    };
    Challenge {
        v: CHALLENGE_VERSION,
        box_id: box_id(),
        enrolment_epoch: 1,
        challenge_id: Digest::of(b"nonce"),
        seq: 1,
        issued_at: now,
        expires_at: now + SignedDuration::from_mins(59),
        boot_id: "boot".into(),
        operation: Asked {
            id: operation(),
            kind: OperationKind::RetireGuest,
            params: serde_json::json!({ "guest": guest }),
            asked_by: "job:x".into(),
            reason: "<script>alert(1)</script>\u{202e}\u{1b}[2J".into(),
            grace_s: 7 * 86_400,
        },
        targets: vec![Target {
            uuid: Some(guest),
            vmid: Some(2000.try_into().unwrap()),
            volids: vec!["tank:2000/vm-2000-disk-0".parse().unwrap()],
            durable_id: None,
            bytes: 5 << 30,
            label: "family".into(),
            config_digest: None,
        }],
        evidence: Stakes {
            copies: vec![copy],
            last_proven_restore: None,
            would_be_lost: vec!["volume <b>x</b>\u{200b}".into()],
            facts: vec![("a\u{7}".into(), "\"><img src=x>".into())],
        },
        requires: vec![
            Signers { operators: 0, customers: vec![guest] },
            Signers { operators: 2, customers: vec![] },
        ],
        operators_version: 1,
    }
}

fn carried(challenge: &Challenge, key: &Key) -> status::Challenge {
    let signed: SignedBytes = challenge.issue(key).unwrap().into();
    status::Challenge {
        digest: Digest::of(&signed.bytes),
        operation: operation(),
        guest: None,
        signed,
        left_s: 3600,
        consented: vec![],
    }
}

/// A guest whose box asks something, and a browser on its network.
struct World {
    guest: Guest,
    the_box: TheBox,
    http: Client,
    origin: String,
}

async fn world() -> World {
    let mut guest = Guest::empty();
    guest.link_up();
    let the_box = TheBox::start(&guest).await;
    guest.start();
    the_box.until("a heartbeat", |seen| (!seen.heartbeats.is_empty()).then_some(())).await;
    let origin = format!("http://{}:8080", guest.net0);
    let http = Client::builder().redirect(Policy::none()).build().unwrap();
    World { guest, the_box, http, origin }
}

impl World {
    async fn page(&self, path: &str) -> String {
        let page = self.http.get(format!("{}{path}", self.origin)).send().await.unwrap();
        assert_eq!(page.status(), 200);
        page.text().await.unwrap()
    }

    /// The token of the forms, once there is one.
    async fn token(&self, path: &str) -> String {
        let page = self.page(path).await;
        let (_, rest) = page.split_once("name=\"token\" value=\"").unwrap_or_else(|| panic!("{page}"));
        rest.split_once('"').unwrap().0.to_owned()
    }

    async fn post(&self, path: &str, fields: &str) -> Response {
        let request = self.http.post(format!("{}{path}", self.origin)).header("origin", &self.origin);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(fields.to_owned()).send().await.unwrap()
    }

    /// Posts, and the word that it is answered with.
    async fn said(&self, path: &str, fields: &str) -> String {
        let answer = self.post(path, fields).await;
        assert_eq!(answer.status(), 303, "{answer:?}");
        let to = answer.headers()["location"].to_str().unwrap().to_owned();
        to.strip_prefix("/confirm?said=").unwrap().split_once('&').unwrap().0.to_owned()
    }

    fn ask(&self, challenges: Vec<status::Challenge>) {
        self.the_box.seen.lock().unwrap().challenges = challenges;
    }

    fn tell(&self, notices: &Notices, key: &Key) {
        let bytes = serde_json::to_vec(notices).unwrap();
        let signed: SignedBytes = Signed::new(key, Context::Notices, bytes).into();
        std::fs::write(self.guest.paths().notices(), serde_json::to_vec(&signed).unwrap()).unwrap();
    }

    /// What the executor would read by `pct exec`.
    fn answers(&self) -> Option<Answers> {
        let output = self.guest.call(&["answers"], "");
        assert!(output.status.success());
        let signed: SignedBytes = serde_json::from_slice(&output.stdout).ok()?;
        let bytes = Signed::from(signed).verify(self.the_box.guest_key(), Context::Answers).unwrap();
        Some(serde_json::from_slice(bytes.get()).unwrap())
    }
}

fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec * 1000 + now.tv_nsec / 1_000_000).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_customer_reads_types_and_signs() {
    let world = world().await;
    assert!(world.page("/confirm").await.contains("A doboz most nem kérdez semmit."));
    let open = carried(&challenge(world.the_box.guest), world.the_box.attestation());
    world.ask(vec![open.clone()]);
    let en = world.page("/confirm?lang=en").await;
    for shown in [
        "Retire the machine",
        "family, 5.0 GiB",
        "3.0 GiB, its restore is proven",
        "never",
        "you; or operators: 2",
        "7 days",
        "59 minutes",
        "&#60;script&#62;alert(1)&#60;/script&#62;\\u{202e}\\u{1b}[2J",
        "&#60;b&#62;x&#60;/b&#62;\\u{200b}",
        "a\\u{7}",
    ] {
        assert!(en.contains(shown), "{shown}\n{en}");
    }
    for hidden in ["<script>alert", "<b>x", "<img", "\u{202e}", "\u{1b}", "\u{7}"] {
        assert!(!en.contains(hidden), "{hidden:?}");
    }
    let hu = world.page("/confirm").await;
    assert!(hu.contains("A gép nyugdíjazása") && hu.contains("Önnek; vagy üzemeltetők: 2"), "{hu}");

    let token = world.token("/confirm").await;
    let fields = |token: &str, typed: &str| format!("token={token}&challenge={}&typed={typed}", open.digest);
    assert_eq!(world.said("/confirm", &fields(&token, "Family")).await, "typed-other");
    let forged = world.post("/confirm", &fields("0", "family")).await;
    assert_eq!(forged.status(), 403);
    assert!(world.the_box.seen.lock().unwrap().confirmed.is_empty(), "nothing was sent");
    assert_eq!(world.said("/confirm", &fields(&token, "+family")).await, "confirmed");

    let (digest, signed) = world.the_box.seen.lock().unwrap().confirmed.pop().unwrap();
    assert_eq!(digest, open.digest.to_string());
    let now = Now { boottime_ms: now_ms(), boot_id: "boot".into(), box_id: box_id(), enrolment_epoch: 1 };
    let kept = OpenChallenge::new(open.signed.bytes.clone(), now.boottime_ms - 1000, LIFETIME_MS);
    let customer = Customer { guest: world.the_box.guest, key: world.the_box.guest_key() };
    let consent = accept_customer(&[kept], &signed, customer, &now).unwrap();
    assert_eq!(consent.get().operation, operation());

    for (refusal, said, text) in [
        ("challenge_expired", "expired", "The time for an answer is over."),
        ("challenge_not_open", "gone", "This is not asked any more"),
        ("other_boot", "restarted", "The box was restarted since."),
        ("not_yours", "not-yours", "does not concern this machine"),
        ("something_else", "failed", "It did not work"),
    ] {
        world.the_box.seen.lock().unwrap().refuses = Some((403, refusal));
        assert_eq!(world.said("/confirm", &fields(&token, "family")).await, said);
        assert!(world.page(&format!("/confirm?lang=en&said={said}")).await.contains(text), "{said}");
    }
    assert!(!world.page("/confirm?said=%3Cb%3E").await.contains("<b>"));
}

/// An agent in somebody else's hands makes, changes and mixes up what it carries.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_boxes_word_about_this_guest_is_an_alarm_and_cannot_be_confirmed() {
    let world = world().await;
    let (own, key) = (world.the_box.guest, world.the_box.attestation());
    let stranger = GuestUuid::from_random([6; 16]);
    let mut changed = carried(&challenge(own), key);
    let at = changed.signed.bytes.windows(6).position(|w| w == b"family").unwrap();
    changed.signed.bytes[at] = b'F';
    let other_purpose = Signed::new(key, Context::BackupPhase, changed.signed.bytes.clone());
    let elsewhere = Challenge { box_id: BoxId::from_random([8; 16]), ..challenge(own) };
    let nobody = Challenge { requires: vec![], ..challenge(own) };
    let nobody = Signed::new(key, Context::Challenge, serde_json::to_vec(&nobody).unwrap());
    let hostile = [
        carried(&challenge(own), &Key::from_seed(&[1; 32])),
        changed.clone(),
        status::Challenge { signed: other_purpose.into(), ..changed.clone() },
        status::Challenge { signed: nobody.into(), ..changed.clone() },
        carried(&elsewhere, key),
        carried(&challenge(stranger), key),
        status::Challenge { signed: Signed::new(key, Context::Challenge, b"{}".to_vec()).into(), ..changed },
    ];
    for (n, one) in hostile.into_iter().enumerate() {
        let digest = Digest::of(&one.signed.bytes);
        let good = carried(&challenge(own), key);
        world.ask(vec![one, good]);
        let page = world.page("/confirm?lang=en").await;
        assert!(page.contains("This question is not genuine."), "{n}: {page}");
        assert_eq!(page.matches("<section").count(), 1, "{n}: only the genuine one is shown");
        assert!(!page.contains(&digest.to_string()), "{n}");
        let token = world.token("/confirm").await;
        let fields = format!("token={token}&challenge={digest}&typed=family");
        assert_eq!(world.said("/confirm", &fields).await, "gone", "{n}");
    }
    assert!(world.the_box.seen.lock().unwrap().confirmed.is_empty());

    let only_operators = vec![Signers { operators: 1, customers: vec![] }];
    let open = carried(&Challenge { requires: only_operators, ..challenge(own) }, key);
    world.ask(vec![open.clone()]);
    let page = world.page("/confirm?lang=en").await;
    assert!(page.contains("operators sign it") && !page.contains("name=\"typed\""), "{page}");
    let token = world.token("/confirm").await;
    let fields = format!("token={token}&challenge={}&typed=family", open.digest);
    assert_eq!(world.said("/confirm", &fields).await, "not-yours");
    assert_eq!(world.said("/veto", &format!("token={token}&operation={}", operation())).await, "vetoed");
    assert_eq!(world.the_box.seen.lock().unwrap().vetoed.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_on_the_lan_and_only_from_this_page() {
    let world = world().await;
    let open = carried(&challenge(world.the_box.guest), world.the_box.attestation());
    world.ask(vec![open.clone()]);
    let token = world.token("/confirm").await;
    let fields = format!("token={token}&challenge={}&typed=family", open.digest);
    let url = format!("{}/confirm?lang=en", world.origin);
    for (name, value) in [("x-forwarded-for", "203.0.113.7"), ("cf-ray", "1"), ("host", "family.example")] {
        let page = world.http.get(&url).header(name, value).send().await.unwrap();
        assert_eq!(page.status(), 403, "{name}");
        let page = page.text().await.unwrap();
        assert!(page.contains("works only at home") && !page.contains("Retire"), "{page}");
        let post = world.http.post(&url).header("origin", &world.origin).header(name, value);
        let post = post.header("content-type", "application/x-www-form-urlencoded").body(fields.clone());
        assert_eq!(post.send().await.unwrap().status(), 403, "{name}");
    }
    for origin in [format!("http://{}:8081", world.guest.net0), "null".into(), "http://evil.example".into()] {
        let post = world.http.post(&url).header("origin", &origin);
        let post = post.header("content-type", "application/x-www-form-urlencoded").body(fields.clone());
        assert_eq!(post.send().await.unwrap().status(), 403, "{origin}");
    }
    let fetched =
        world.http.post(&url).header("origin", &world.origin).header("sec-fetch-site", "cross-site");
    let fetched = fetched.header("content-type", "application/x-www-form-urlencoded").body(fields.clone());
    assert_eq!(fetched.send().await.unwrap().status(), 403);
    assert!(world.the_box.seen.lock().unwrap().confirmed.is_empty());
    assert_eq!(world.said("/confirm", &fields).await, "confirmed");
}

fn notice(guest: GuestUuid, stage: NoticeStage) -> Notice {
    Notice {
        operation: operation(),
        kind: OperationKind::ReclaimGuest,
        stage,
        about: guest,
        label: "family<i>\u{202e}".into(),
        asked_by: "job:x".into(),
        reason: "room".into(),
        grace_s: 3600,
        at: "2026-03-04T05:06:07.5Z".parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_stay_on_every_page_until_they_were_seen_and_a_veto_needs_no_agent() {
    let world = world().await;
    assert_eq!(world.answers(), None);
    let guest = world.the_box.guest;
    let grace = notice(guest, NoticeStage::Grace);
    let told = Notices { v: NOTICES_VERSION, guest, box_id: box_id(), notices: vec![grace.clone()] };
    for hostile in [
        (&told, &Key::from_seed(&[1; 32])),
        (&Notices { guest: GuestUuid::from_random([6; 16]), ..told.clone() }, world.the_box.attestation()),
    ] {
        world.tell(hostile.0, hostile.1);
        let page = world.page("/?lang=en").await;
        assert!(page.contains("messages are not genuine") && !page.contains("action=\"/veto\""), "{page}");
    }
    world.tell(&told, world.the_box.attestation());
    for path in ["/?lang=en", "/confirm?lang=en"] {
        let page = world.page(path).await;
        assert!(page.contains("Signed: Destroy a retired machine (family&#60;i&#62;\\u{202e})"), "{page}");
    }
    let token = world.token("/").await;

    // The agent is not there, or drops it.
    world.the_box.seen.lock().unwrap().refuses = Some((503, "executor_unavailable"));
    let veto = format!("token={token}&operation={}", operation());
    assert_eq!(world.said("/veto", &veto).await, "veto-kept");
    let answers = world.answers().unwrap();
    assert_eq!((answers.guest, answers.vetoes.len()), (guest, 1));
    let customer = Customer { guest, key: world.the_box.guest_key() };
    let act = Act { enrolment_epoch: 1, kind: OperationKind::ReclaimGuest, what: Digest::of(b"") };
    let on = VetoOn { box_id: box_id(), operation: operation(), act };
    veto_by_customer(&answers.vetoes[0], customer, on).unwrap();
    let other = format!("token={token}&operation={}", OperationId::from_parts(5, 5));
    assert_eq!(world.said("/veto", &other).await, "gone");

    let at = |notice: &Notice| notice.at.to_string().replace(':', "%3A");
    let seen = format!("token={token}&operation={}&stage=grace&at={}", operation(), at(&grace));
    assert_eq!(world.said("/seen", &seen.replace("grace&", "begins&")).await, "gone");
    assert_eq!(world.said("/seen", &seen).await, "seen");
    assert_eq!(world.answers().unwrap().acknowledged, [grace.acknowledged()]);
    assert!(!world.page("/?lang=en").await.contains("Destroy a retired machine"));
    assert!(world.page("/confirm?lang=en").await.contains("action=\"/veto\""), "it can still be vetoed");
    let vetoed = Notices { notices: vec![notice(guest, NoticeStage::Vetoed)], ..told };
    world.tell(&vetoed, world.the_box.attestation());
    let page = world.page("/?lang=en").await;
    assert!(page.contains("Stopped by a veto: Destroy a retired machine") && !page.contains("\"/veto\""));
}
