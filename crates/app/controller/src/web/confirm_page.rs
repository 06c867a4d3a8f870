//! From challenges to the page: everything out of the bytes that the box signed, with nothing hidden in it.

use super::{
    banner::{Banner, kind, meaning},
    page::size,
    text::Language,
};
use crate::customer::{
    CustomerError,
    asked::{Asked, Shown, label, may_confirm},
    plain,
};
use askama::Template;
use felhom_model::GuestUuid;
use felhom_protocol::notices::Notice;
use felhom_signing::challenge::{Challenge, Signers};
use jiff::{SignedDuration, Timestamp};

/// What became of a form, as the address of the page says it; anything else says nothing.
const SAID: [(&str, bool); 13] = [
    ("confirmed", true),
    ("vetoed", true),
    ("veto-kept", true),
    ("seen", true),
    ("gone", false),
    ("expired", false),
    ("restarted", false),
    ("typed-other", false),
    ("not-yours", false),
    ("no-link", false),
    ("failed", false),
    ("not-lan", false),
    ("not-ours", false),
];
/// Lists are cut after so many lines.
const LINES: usize = 50;

/// What the page is made from.
pub struct Input {
    /// The guest's name.
    pub name: String,
    /// What the box asks; `None` where this is not shown.
    pub asked: Option<Result<(GuestUuid, Vec<Shown>), CustomerError>>,
    /// What it told and was not seen yet, or can still be vetoed.
    pub notices: Result<Vec<Notice>, String>,
    /// For the forms.
    pub token: String,
    /// What became of the last form.
    pub said: String,
    /// Now.
    pub now: Timestamp,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct Page {
    lang: &'static str,
    other_lang: &'static str,
    title: String,
    t: Texts,
    banner: Banner,
    said: Option<String>,
    said_class: &'static str,
    said_sign: &'static str,
    trouble: Option<String>,
    trouble_detail: String,
    on_lan: bool,
    alarms: Vec<String>,
    cards: Vec<Card>,
    nothing: bool,
}

struct Texts {
    skip: String,
    lang_other: String,
    details: String,
    alarm: String,
    type_name: String,
    not_asked: String,
    veto_means: String,
    nothing: String,
    home: String,
}

type Rows = Vec<(String, String)>;

struct List {
    heading: String,
    none: String,
    lines: Vec<String>,
}

struct Card {
    what: String,
    meaning: String,
    rows: Rows,
    lists: Vec<List>,
    details: Rows,
    /// What is to be typed, if this guest's customer is asked.
    label: Option<String>,
    confirm: String,
    veto_label: String,
    digest: String,
    operation: String,
}

/// The page as HTML.
///
/// # Errors
/// When the template cannot be filled.
pub fn render(input: Input, language: Language) -> askama::Result<String> {
    let said = SAID.into_iter().find(|(word, _)| *word == input.said);
    let on_lan = input.asked.is_some();
    let (mut alarms, mut cards, mut trouble) = (Vec::new(), Vec::new(), None);
    match input.asked {
        None => {}
        Some(Err(e)) => trouble = Some(e.to_string()),
        Some(Ok((guest, shown))) => {
            for one in shown {
                match one {
                    Shown::Alarm { why } => alarms.push(plain(&why)),
                    Shown::Genuine(asked) => cards.push(card(&asked, guest, input.now, language)),
                }
            }
        }
    }
    Page {
        lang: language.tag(),
        other_lang: language.other().tag(),
        title: language.with("confirm-title", &[("name", &input.name)]),
        t: Texts::new(language),
        banner: Banner::new(input.notices, &input.token, language),
        said: said.map(|(word, _)| language.text(&format!("said-{word}"))),
        said_class: if said.is_some_and(|(_, good)| good) { "ok" } else { "warn" },
        said_sign: if said.is_some_and(|(_, good)| good) { "✓" } else { "!" },
        nothing: on_lan && alarms.is_empty() && cards.is_empty() && trouble.is_none(),
        trouble_detail: plain(trouble.as_deref().unwrap_or_default()),
        trouble: trouble.map(|_| language.text("said-no-link")),
        on_lan,
        alarms,
        cards,
    }
    .render()
}

impl Texts {
    fn new(language: Language) -> Self {
        let text = |id| language.text(id);
        Self {
            skip: text("skip"),
            lang_other: text("lang-other"),
            details: text("details"),
            alarm: text("challenge-alarm"),
            type_name: text("type-name"),
            not_asked: text("not-asked"),
            veto_means: text("veto-means"),
            nothing: text("nothing-asked"),
            home: text("home"),
        }
    }
}

fn card(asked: &Asked, guest: GuestUuid, now: Timestamp, language: Language) -> Card {
    let challenge = &asked.challenge;
    let what = kind(challenge.operation.kind, language);
    let own = label(challenge, guest).filter(|_| may_confirm(challenge, guest));
    Card {
        meaning: meaning(challenge.operation.kind, language),
        rows: rows(challenge, guest, now, language),
        lists: lists(challenge, language),
        details: details(challenge),
        label: own.map(plain),
        confirm: language.with("confirm-named", &[("what", &what)]),
        veto_label: language.with("veto-named", &[("what", &what)]),
        digest: asked.digest.to_string(),
        operation: challenge.operation.id.to_string(),
        what,
    }
}

fn rows(challenge: &Challenge, guest: GuestUuid, now: Timestamp, language: Language) -> Rows {
    let mut rows = Vec::new();
    let mut row = |id: &str, value: String| rows.push((language.text(id), value));
    for target in challenge.targets.iter().take(LINES) {
        let label = plain(&target.label);
        row(
            "asked-target",
            language.with("asked-target-value", &[("name", &label), ("size", &size(target.bytes))]),
        );
    }
    row(
        "asked-proven",
        match challenge.evidence.last_proven_restore {
            Some(when) => language.time(when),
            None => language.text("asked-never-proven"),
        },
    );
    let ways: Vec<String> = challenge.requires.iter().map(|signers| who(signers, guest, language)).collect();
    row("asked-who", ways.join(&language.text("asked-or")));
    row(
        "asked-grace",
        match challenge.operation.grace_s {
            0 => language.text("asked-no-grace"),
            seconds => duration(seconds, language),
        },
    );
    let left = challenge.expires_at.duration_since(now).max(SignedDuration::ZERO);
    row("asked-left", duration(left.as_secs().unsigned_abs(), language));
    rows
}

fn who(signers: &Signers, guest: GuestUuid, language: Language) -> String {
    let others = signers.customers.iter().filter(|customer| **customer != guest).count();
    let mut who = Vec::new();
    if signers.customers.contains(&guest) {
        who.push(language.text("asked-you"));
    }
    for (id, n) in [("asked-operators", usize::from(signers.operators)), ("asked-customers", others)] {
        if n > 0 {
            who.push(language.with(id, &[("n", &n.to_string())]));
        }
    }
    who.join(&language.text("asked-and"))
}

fn lists(challenge: &Challenge, language: Language) -> Vec<List> {
    let stakes = &challenge.evidence;
    let proven = |yes| language.text(if yes { "copy-proven" } else { "copy-not-proven" });
    let copies = stakes.copies.iter().take(LINES).map(|copy| {
        let (when, size) = (language.time(copy.taken_at), size(copy.bytes));
        language.with("copy-value", &[("when", &when), ("size", &size), ("proven", &proven(copy.proven))])
    });
    let list = |id: &str, lines: Vec<String>| List {
        heading: language.text(id),
        none: language.text(&format!("{id}-none")),
        lines,
    };
    vec![
        list("asked-lost", stakes.would_be_lost.iter().take(LINES).map(|line| plain(line)).collect()),
        list("asked-copies", copies.collect()),
    ]
}

/// For whoever wants to know exactly; in English, as the box wrote it.
fn details(challenge: &Challenge) -> Rows {
    let operation = &challenge.operation;
    let mut rows: Rows = vec![
        ("operation".to_owned(), format!("{} {}", operation.kind, operation.id)),
        ("asked by".to_owned(), plain(&operation.asked_by)),
        ("reason".to_owned(), plain(&operation.reason)),
        ("parameters".to_owned(), plain(&operation.params.to_string())),
    ];
    for target in challenge.targets.iter().take(LINES) {
        let vmid = target.vmid.map_or_else(|| "none".to_owned(), |vmid| vmid.to_string());
        let volids: Vec<String> = target.volids.iter().map(ToString::to_string).collect();
        rows.push((format!("target at VMID {vmid}"), plain(&volids.join(" "))));
        rows.extend(target.durable_id.as_ref().map(|id| ("disk".to_owned(), plain(id))));
    }
    let facts = challenge.evidence.facts.iter().take(LINES);
    rows.extend(facts.map(|(key, value)| (plain(key), plain(value))));
    rows
}

/// A time span for people: the largest unit that is at least one, rounded up.
fn duration(seconds: u64, language: Language) -> String {
    let (id, n) = match seconds {
        0..60 => ("seconds", seconds),
        60..7_200 => ("minutes", seconds.div_ceil(60)),
        7_200..172_800 => ("hours", seconds.div_ceil(3_600)),
        _ => ("days", seconds.div_ceil(86_400)),
    };
    language.with(id, &[("n", &n.to_string())])
}
