//! Pills (a state as icon and word, never by colour alone) and times, as they stand in pages.

use askama::Template;
use askama::filters::HtmlSafe;
use felhom_model::OperationState;
use felhom_model::backup::Level;
use felhom_protocol::hub_api::{ChallengeState, Enrolment, Liveness};
use felhom_protocol::receipt::Receipt;
use felhom_protocol::status::ConditionStatus;
use jiff::Timestamp;

use crate::facts::Severity;

/// A state as icon and word.
#[derive(Template)]
#[template(
    ext = "html",
    source = r##"<span class="pill {{ tone }}"><svg class="icon" aria-hidden="true"><use href="#i-{{ icon }}"></use></svg>{{ text }}</span>"##
)]
pub(crate) struct Pill {
    tone: &'static str,
    icon: &'static str,
    text: String,
}
impl HtmlSafe for Pill {}

fn pill(tone: &'static str, icon: &'static str, text: impl Into<String>) -> Pill {
    Pill { tone, icon, text: text.into() }
}

/// A moment. The page's script puts it as "3 min ago"; without it the time stands there in UTC.
#[derive(Template)]
#[template(ext = "html", source = r#"<time datetime="{{ iso }}">{{ text }}</time>"#)]
pub(crate) struct When {
    iso: String,
    text: String,
}
impl HtmlSafe for When {}

/// What a program said: words between backticks stand as code.
#[derive(Template)]
#[template(
    ext = "html",
    source = "{% for (code, part) in parts %}{% if *code %}<code>{{ part }}</code>{% else %}{{ part }}{% endif %}{% endfor %}"
)]
pub(crate) struct Said<'a> {
    parts: Vec<(bool, &'a str)>,
}
impl HtmlSafe for Said<'_> {}

/// What a program said. A single backtick stays what it is.
pub(crate) fn said(text: &str) -> Said<'_> {
    let pieces: Vec<&str> = text.split('`').collect();
    if pieces.len().is_multiple_of(2) {
        return Said { parts: vec![(false, text)] };
    }
    Said { parts: pieces.into_iter().enumerate().map(|(n, part)| (n % 2 == 1, part)).collect() }
}

/// A moment.
pub(crate) fn when(time: &Timestamp) -> When {
    When { iso: format!("{time:.0}"), text: time.strftime("%Y-%m-%d %H:%M UTC").to_string() }
}

/// Risk of a box or a reason.
pub(crate) fn severity(severity: &Severity) -> Pill {
    match severity {
        Severity::Ok => pill("good", "check", "fine"),
        Severity::Waiting => pill("calm", "clock", "waiting"),
        Severity::Attention => pill("warn", "alert", "attention"),
        Severity::Danger => pill("bad", "stop", "danger"),
    }
}

/// Risk by its word on the wire.
pub(crate) fn risk(word: &str) -> Pill {
    let all = [Severity::Ok, Severity::Waiting, Severity::Attention, Severity::Danger];
    severity(all.iter().find(|severity| severity.name() == word).unwrap_or(&Severity::Danger))
}

/// Whether a box speaks.
pub(crate) fn liveness(liveness: &Liveness) -> Pill {
    match liveness {
        Liveness::Alive => pill("good", "pulse", "alive"),
        Liveness::Late => pill("warn", "clock", "late"),
        Liveness::Silent => pill("bad", "stop", "silent"),
        Liveness::Never => pill("calm", "dash", "never seen"),
    }
}

/// Where an enrolment stands.
pub(crate) fn enrolment(enrolment: &Enrolment) -> Pill {
    match enrolment {
        Enrolment::Waiting => pill("calm", "clock", "waits for enrolment"),
        Enrolment::Expired => pill("warn", "alert", "ticket expired"),
        Enrolment::Enrolled => pill("good", "check", "enrolled"),
    }
}

/// State of an operation.
pub(crate) fn operation(state: &OperationState) -> Pill {
    let text = state.name().replace('_', " ");
    match state {
        OperationState::Done => pill("good", "check", text),
        OperationState::Running => pill("busy", "pulse", text),
        OperationState::Pending | OperationState::Waiting => pill("calm", "clock", text),
        OperationState::PendingAuthorization => pill("warn", "key", "needs authorization"),
        OperationState::RollingBack => pill("warn", "back", text),
        OperationState::RolledBack => pill("warn", "back", text),
        OperationState::Refused | OperationState::Vetoed => pill("warn", "ban", text),
        OperationState::Expired => pill("calm", "clock", text),
        OperationState::NeedsOperator => pill("bad", "stop", text),
    }
}

/// An operation that the box no longer reports.
pub(crate) fn lost() -> Pill {
    pill("warn", "alert", "no longer reported")
}

/// State of a step.
pub(crate) fn step(state: &str) -> Pill {
    match state {
        "done" => pill("good", "check", state),
        "running" => pill("busy", "pulse", state),
        "undoing" | "undone" => pill("warn", "back", state),
        "failed" => pill("bad", "stop", state),
        "skipped" => pill("calm", "dash", state),
        _ => pill("calm", "clock", state),
    }
}

/// State of a job.
pub(crate) fn job(state: &str) -> Pill {
    match state {
        "done" => pill("good", "check", state),
        "accepted" | "running" => pill("busy", "pulse", state),
        "pending_authorization" => pill("warn", "key", "needs authorization"),
        "refused" | "vetoed" => pill("warn", "ban", state),
        "failed" => pill("bad", "stop", state),
        _ => pill("calm", "clock", state),
    }
}

/// Where a challenge stands.
pub(crate) fn challenge(state: &ChallengeState) -> Pill {
    match state {
        ChallengeState::Open => pill("warn", "key", "needs authorization"),
        ChallengeState::Answered => pill("busy", "pulse", "answer under way"),
        ChallengeState::Accepted => pill("good", "check", "authorized"),
        ChallengeState::Expired => pill("calm", "clock", "expired"),
        ChallengeState::Void | ChallengeState::Unknown => pill("calm", "dash", "void"),
        ChallengeState::BadSignature => pill("bad", "stop", "bad signature"),
    }
}

/// What the box said of an answer.
pub(crate) fn answer(accepted: Option<bool>) -> Pill {
    match accepted {
        None => pill("busy", "clock", "not judged yet"),
        Some(true) => pill("good", "check", "accepted"),
        Some(false) => pill("bad", "ban", "refused"),
    }
}

/// Whether a guest runs.
pub(crate) fn power(power: &str) -> Pill {
    match power {
        "running" => pill("good", "pulse", power),
        "missing" => pill("bad", "stop", power),
        _ => pill("calm", "dash", power),
    }
}

/// State of an app.
pub(crate) fn app(state: &str) -> Pill {
    match state {
        "running" => pill("good", "pulse", state),
        "starting" | "frozen" => pill("busy", "clock", state),
        "failed" => pill("bad", "stop", state),
        _ => pill("calm", "dash", state),
    }
}

/// Value of a condition.
pub(crate) fn condition(status: &ConditionStatus) -> Pill {
    match status {
        ConditionStatus::True => pill("good", "check", "true"),
        ConditionStatus::False => pill("warn", "alert", "false"),
        ConditionStatus::Unknown => pill("calm", "dash", "unknown"),
    }
}

/// A guest that is not as desired, by its condition's status and reason.
pub(crate) fn differs(status: &ConditionStatus, reason: &str) -> Pill {
    match (status, reason) {
        (ConditionStatus::Unknown | ConditionStatus::True, _) => pill("calm", "dash", "nothing wanted"),
        (ConditionStatus::False, "InProgress") => pill("busy", "pulse", "in progress"),
        (ConditionStatus::False, "NeedsAuthorization") => pill("warn", "key", "needs authorization"),
        (ConditionStatus::False, _) => pill("warn", "alert", "not as desired"),
    }
}

/// How far a backup is proven, by receipts that count here.
pub(crate) fn proven(level: &Option<Level>) -> Pill {
    match level {
        Some(level) => pill("good", "shield", format!("proven {level}")),
        None => pill("calm", "dash", "not proven"),
    }
}

/// What a receipt counts for.
pub(crate) fn receipt(problem: &Option<String>, receipt: &Option<Receipt>) -> Pill {
    match (problem, receipt.as_ref().and_then(|receipt| receipt.level)) {
        (None, level) => proven(&level),
        (Some(_), _) => pill("bad", "stop", "proves nothing"),
    }
}

/// Whether a check passed.
pub(crate) fn check(passed: &bool) -> Pill {
    if *passed { pill("good", "check", "passed") } else { pill("bad", "stop", "failed") }
}

/// Whether a storage can be used.
pub(crate) fn active(active: &bool) -> Pill {
    if *active { pill("good", "check", "active") } else { pill("bad", "stop", "not active") }
}

/// An address that a box told, if it is one that may become a link.
pub(crate) fn link(url: &Option<String>) -> Option<&str> {
    url.as_deref().filter(|url| url.starts_with("https://") || url.starts_with("http://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_box_says_stays_text() {
        let text = step("<script>").to_string();
        assert!(text.contains("&#60;script&#62;"), "{text}");
        assert_eq!(said("a `<b>` c").to_string(), "a <code>&#60;b&#62;</code> c");
        assert_eq!(said("it`s").to_string(), "it`s");
        assert_eq!(link(&Some("javascript:alert(1)".into())), None);
        assert_eq!(link(&Some("http://10.0.0.2:8080".into())), Some("http://10.0.0.2:8080"));
    }
}
