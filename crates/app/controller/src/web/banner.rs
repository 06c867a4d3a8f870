//! The notices on top of every page.

use super::text::Language;
use crate::customer::plain;
use felhom_model::OperationKind;
use felhom_protocol::notices::{Notice, NoticeStage};
use jiff::SignedDuration;

/// All notices as the template `notices.html` shows them.
pub struct Banner {
    pub(super) alarm: Option<String>,
    pub(super) alarm_detail: String,
    pub(super) notices: Vec<Row>,
    pub(super) token: String,
    pub(super) lang: &'static str,
    pub(super) heading: String,
    pub(super) seen: String,
    pub(super) veto: String,
    pub(super) look: String,
    pub(super) details: String,
}

/// One notice.
pub(super) struct Row {
    pub(super) operation: String,
    pub(super) stage: &'static str,
    pub(super) at: String,
    pub(super) text: String,
    pub(super) meaning: String,
    pub(super) detail: String,
    pub(super) warns: bool,
    pub(super) can_be_vetoed: bool,
    pub(super) asks: bool,
    pub(super) seen_label: String,
    pub(super) veto_label: String,
}

impl Banner {
    /// From what was told and not seen yet.
    pub fn new(unseen: Result<Vec<Notice>, String>, token: &str, language: Language) -> Self {
        let text = |id| language.text(id);
        let (notices, alarm) = match unseen {
            Ok(notices) => (notices, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        Self {
            alarm_detail: plain(alarm.as_deref().unwrap_or_default()),
            alarm: alarm.map(|_| text("notices-alarm")),
            notices: notices.iter().map(|notice| row(notice, language)).collect(),
            token: token.to_owned(),
            lang: language.tag(),
            heading: text("notices"),
            seen: text("seen"),
            veto: text("veto"),
            look: text("notice-look"),
            details: text("details"),
        }
    }
}

fn row(notice: &Notice, language: Language) -> Row {
    let (kind, label) = (kind(notice.kind, language), plain(&notice.label));
    let grace = SignedDuration::from_secs(i64::try_from(notice.grace_s).unwrap_or(i64::MAX));
    let until = notice.at.saturating_add(grace).map_or_else(|_| String::new(), |at| language.time(at));
    let id = format!("notice-{}", notice.stage.name());
    let values = [("what", kind.as_str()), ("name", label.as_str()), ("when", until.as_str())];
    Row {
        operation: notice.operation.to_string(),
        stage: notice.stage.name(),
        at: notice.at.to_string(),
        text: language.with(&id, &values),
        meaning: meaning(notice.kind, language),
        detail: plain(&format!("{}: {} ({})", notice.operation, notice.reason, notice.asked_by)),
        warns: matches!(notice.stage, NoticeStage::Consent | NoticeStage::Grace | NoticeStage::Begins),
        can_be_vetoed: notice.stage.can_be_vetoed(),
        asks: notice.stage == NoticeStage::Consent,
        seen_label: language.with("seen-named", &[("what", &kind)]),
        veto_label: language.with("veto-named", &[("what", &kind)]),
    }
}

/// What an operation does, in a few words.
pub fn kind(kind: OperationKind, language: Language) -> String {
    if told(kind) {
        return language.text(&format!("op-{}", kind.name().replace('_', "-")));
    }
    language.with("op-other", &[("name", kind.name())])
}

/// What it means for the customer; empty where the words say it all.
pub fn meaning(kind: OperationKind, language: Language) -> String {
    if told(kind) {
        return language.text(&format!("op-{}-means", kind.name().replace('_', "-")));
    }
    language.text("op-other-means")
}

fn told(kind: OperationKind) -> bool {
    use OperationKind as K;
    matches!(
        kind,
        K::RetireGuest
            | K::ReclaimGuest
            | K::CutoverGuest
            | K::ReverseCutoverGuest
            | K::PruneBackups
            | K::AssignDisk
            | K::FormatDisk
            | K::ForgetKey
            | K::ReplaceRecoveryCode
            | K::RotateOperators
            | K::OpenSupportAccess
            | K::CollectDiagnostics
    )
}
