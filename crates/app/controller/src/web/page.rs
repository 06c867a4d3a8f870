//! From the status to the page: every state as a word and a sign, never as a colour alone.

use super::{AppView, Status, banner::Banner, text::Language};
use crate::{link::proof::Tested, state::NoLink};
use askama::Template;
use felhom_protocol::local_api::BackupPhase;
use jiff::{SignedDuration, Timestamp};

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    lang: &'static str,
    other_lang: &'static str,
    title: String,
    name: String,
    t: Texts,
    banner: Banner,
    sum: String,
    sum_class: &'static str,
    sum_sign: &'static str,
    apps: Vec<AppRow>,
    backup: Vec<(String, String)>,
    backup_warnings: Vec<String>,
    backup_detail: Option<String>,
    proof: Vec<(String, String)>,
    proof_warnings: Vec<String>,
    link: String,
    link_detail: Option<String>,
}

/// Texts without values.
struct Texts {
    skip: String,
    lang_other: String,
    offline: String,
    confirm: String,
    apps: String,
    apps_none: String,
    app_open: String,
    backup: String,
    backup_none: String,
    backup_readable: String,
    proof: String,
    proof_none: String,
    details: String,
    link: String,
    note: String,
}

struct AppRow {
    id: String,
    name: String,
    state: String,
    class: &'static str,
    sign: &'static str,
    message: Option<String>,
    url: Option<String>,
    open_label: String,
}

/// A proof that is older counts no more: each guest is to be proven at least monthly.
const PROOF_LASTS: SignedDuration = SignedDuration::from_hours(35 * 24);

/// The page as HTML, as of `now`.
///
/// # Errors
/// When the template cannot be filled.
pub fn render(status: &Status, banner: Banner, language: Language, now: Timestamp) -> askama::Result<String> {
    let name = status.guest.as_ref().map_or_else(|| "Felhom".to_owned(), |guest| guest.name.to_string());
    let (sum, good) = summary(status, now);
    let (backup, backup_warnings) = backup(status, language);
    let (proof, proof_warnings) = proof(status, language);
    Page {
        lang: language.tag(),
        other_lang: language.other().tag(),
        title: language.with("title", &[("name", &name)]),
        name,
        t: Texts::new(language),
        banner,
        sum: language.text(sum),
        sum_class: if good { "ok" } else { "warn" },
        sum_sign: if good { "✓" } else { "!" },
        apps: status.apps.iter().map(|app| app_row(app, language)).collect(),
        backup,
        backup_warnings,
        backup_detail: status.backup.as_ref().and_then(|own| own.message.clone()),
        proof,
        proof_warnings,
        link: link(status, language),
        link_detail: status.link.error.clone(),
    }
    .render()
}

impl Texts {
    fn new(language: Language) -> Self {
        let text = |id| language.text(id);
        Self {
            skip: text("skip"),
            lang_other: text("lang-other"),
            offline: text("offline"),
            confirm: text("confirm"),
            apps: text("apps"),
            apps_none: text("apps-none"),
            app_open: text("app-open"),
            backup: text("backup"),
            backup_none: text("backup-none"),
            backup_readable: text("backup-readable"),
            proof: text("proof"),
            proof_none: text("proof-none"),
            details: text("details"),
            link: text("link"),
            note: text("note"),
        }
    }
}

/// The worst news first; "proven" only with a receipt that was verified.
fn summary(status: &Status, now: Timestamp) -> (&'static str, bool) {
    let proofs = &status.proofs;
    let down = |app: &AppView| app.state != "running" && app.state != "frozen";
    if status.apps.iter().any(down) {
        ("sum-app", false)
    } else if proofs.failed.is_some() {
        ("sum-failed", false)
    } else if let Some(proven) = &proofs.proven {
        let old = now.duration_since(proven.tested_at) > PROOF_LASTS;
        if old { ("sum-stale", false) } else { ("sum-protected", true) }
    } else if proofs.last_backup.is_some() {
        ("sum-unproven", false)
    } else {
        ("sum-none", false)
    }
}

fn app_row(app: &AppView, language: Language) -> AppRow {
    let name = app.name.as_ref().map_or_else(
        || app.app.to_string(),
        |name| match language {
            Language::Hu => name.hu.clone(),
            Language::En => name.en.clone(),
        },
    );
    let (class, sign) = match app.state.as_str() {
        "running" => ("ok", "●"),
        "starting" => ("", "◌"),
        "frozen" => ("", "❚❚"),
        "stopped" => ("", "■"),
        _ => ("warn", "✕"),
    };
    AppRow {
        id: app.app.to_string(),
        state: language.text(&format!("state-{}", app.state)),
        class,
        sign,
        message: app.message.clone().filter(|_| !app.healthy),
        url: app.url.clone(),
        open_label: language.with("app-open-named", &[("name", &name)]),
        name,
    }
}

type Rows = Vec<(String, String)>;

fn backup(status: &Status, language: Language) -> (Rows, Vec<String>) {
    let (mut rows, mut warnings) = (Vec::new(), Vec::new());
    if let Some(archive) = &status.proofs.last_backup {
        rows.push((language.text("backup-last"), language.time(archive.taken_at)));
        rows.push((language.text("backup-size"), size(archive.bytes)));
    }
    if let Some(own) = &status.backup {
        if rows.is_empty() {
            rows.push((language.text("backup-last"), language.time(own.asked)));
        }
        rows.push((
            language.text("backup-now"),
            language.text(&format!("backup-phase-{}", phase(own.phase))),
        ));
        let archive = status.proofs.last_backup.as_ref().filter(|archive| archive.operation == own.id);
        let downtime = match own.downtime_ms.or(archive.and_then(|archive| archive.downtime_ms)) {
            Some(ms) => language.with("downtime-value", &[("ms", &ms.to_string())]),
            None => language.text("downtime-unknown"),
        };
        rows.push((language.text("downtime"), downtime));
        if own.downtime_ms.is_some() && !own.held {
            warnings.push(language.text("not-held"));
        }
    }
    (rows, warnings)
}

fn proof(status: &Status, language: Language) -> (Rows, Vec<String>) {
    let (mut rows, mut warnings) = (Vec::new(), Vec::new());
    if let Some(tested) = &status.proofs.proven {
        let Tested { taken_at, tested_at, level, took_ms, .. } = tested;
        rows.push((language.text("proof-when"), language.time(*tested_at)));
        rows.push((language.text("proof-of"), language.time(*taken_at)));
        if let Some(level) = level {
            let meaning = language.text(&format!("proof-level-{level}"));
            rows.push((language.text("proof-level"), format!("{level} – {meaning}")));
        }
        let seconds = format!("{}.{}", took_ms / 1000, took_ms % 1000 / 100);
        rows.push((language.text("proof-took"), language.with("proof-took-value", &[("s", &seconds)])));
    }
    if let Some(failed) = &status.proofs.failed {
        let (when, why) = (language.time(failed.tested_at), failed.failed.join("; "));
        warnings.push(language.with("proof-failed", &[("when", &when), ("why", &why)]));
    }
    if let Some(why) = &status.proofs.distrust {
        warnings.push(language.with("proof-distrust", &[("why", why)]));
    }
    (rows, warnings)
}

fn link(status: &Status, language: Language) -> String {
    match (status.link.reason, status.link.last_answer) {
        (Some(NoLink::NotBootstrapped), _) => language.text("link-not-bootstrapped"),
        (Some(NoLink::LinkDown), _) => language.text("link-down"),
        (Some(NoLink::Unusable), _) => language.text("link-unusable"),
        (Some(NoLink::NoAnswer), _) => language.text("link-no-answer"),
        (None, Some(when)) => language.with("link-ok", &[("when", &language.time(when))]),
        (None, None) => language.text("link-never"),
    }
}

fn phase(phase: BackupPhase) -> &'static str {
    match phase {
        BackupPhase::Requested => "requested",
        BackupPhase::Granted => "granted",
        BackupPhase::Frozen => "frozen",
        BackupPhase::Snapshotted => "snapshotted",
        BackupPhase::Archiving => "archiving",
        BackupPhase::Verifying => "verifying",
        BackupPhase::Done => "done",
        BackupPhase::Partial => "partial",
        BackupPhase::Failed => "failed",
    }
}

/// Bytes for people, in units of 1024.
pub(super) fn size(bytes: u64) -> String {
    let (mut tenths, mut unit) = (u128::from(bytes) * 10, 0);
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    while tenths >= 10240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Banner {
        Banner::new(Ok(vec![]), "token", Language::Hu)
    }
    use crate::{link::proof::Proofs, state::LinkState};

    #[test]
    fn an_empty_guest_says_so_in_both_languages_and_promises_nothing() {
        let status = Status {
            version: "1".into(),
            guest: None,
            apps: vec![],
            backup: None,
            proofs: Proofs::default(),
            link: LinkState::default(),
        };
        let hu = render(&status, none(), Language::Hu, Timestamp::UNIX_EPOCH).unwrap();
        assert!(hu.contains("lang=\"hu\"") && hu.contains("Még nincs biztonsági mentés"));
        let en = render(&status, none(), Language::En, Timestamp::UNIX_EPOCH).unwrap();
        assert!(en.contains("There is no backup yet") && en.contains("There is no app on this machine yet"));
        assert!(!en.contains("was proven</strong>"));
    }

    #[test]
    fn a_message_cannot_bring_markup() {
        let app = AppView {
            app: "x".parse().unwrap(),
            name: None,
            state: "failed".into(),
            healthy: false,
            message: Some("<script>alert(1)</script>".into()),
            url: None,
        };
        let status = Status {
            version: "1".into(),
            guest: None,
            apps: vec![app],
            backup: None,
            proofs: Proofs::default(),
            link: LinkState { last_answer: None, reason: None, error: Some("<b>".into()) },
        };
        let page = render(&status, none(), Language::En, Timestamp::UNIX_EPOCH).unwrap();
        assert!(!page.contains("<script>alert") && !page.contains("<b>"));
        assert!(page.contains("Failed"));
    }

    #[test]
    fn an_old_proof_protects_no_more() {
        let tested: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let proven = Tested { taken_at: tested, tested_at: tested, level: None, took_ms: 1, failed: vec![] };
        let status = Status {
            version: "1".into(),
            guest: None,
            apps: vec![],
            backup: None,
            proofs: Proofs { proven: Some(proven), ..Proofs::default() },
            link: LinkState::default(),
        };
        assert_eq!(summary(&status, tested + SignedDuration::from_hours(24)), ("sum-protected", true));
        assert_eq!(summary(&status, tested + SignedDuration::from_hours(36 * 24)), ("sum-stale", false));
    }

    #[test]
    fn sizes() {
        assert_eq!(
            (size(12), size(1536), size(104_857_600)),
            ("12 B".into(), "1.5 KiB".into(), "100.0 MiB".into())
        );
    }
}
