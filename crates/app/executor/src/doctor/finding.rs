//! What is wrong, why it matters, and the command that repairs it.

use serde::Serialize;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not work, or backups or data are at risk.
    Danger,
    /// It works, and should be set right.
    Warning,
    /// Good to know.
    Notice,
}

impl Severity {
    /// The word that is printed.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Danger => "danger",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stays the same from version to version, e.g. `storage.mountpoint`; docs/operator/doctor.md lists all.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Of which thing, e.g. `storage tank`.
    pub subject: String,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// The one command that repairs it, for root on the host. Where only a person can decide, the one that shows what to
    /// decide on.
    pub repair: String,
}

impl Finding {
    pub(super) fn new(id: &'static str, severity: Severity, subject: impl Into<String>) -> Self {
        let text = String::new;
        Self { id, severity, subject: subject.into(), seen: text(), why: text(), repair: text() }
    }

    pub(super) fn danger(id: &'static str, subject: impl Into<String>) -> Self {
        Self::new(id, Severity::Danger, subject)
    }

    pub(super) fn warning(id: &'static str, subject: impl Into<String>) -> Self {
        Self::new(id, Severity::Warning, subject)
    }

    pub(super) fn seen(self, seen: impl Into<String>) -> Self {
        Self { seen: seen.into(), ..self }
    }

    pub(super) fn why(self, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..self }
    }

    pub(super) fn repair(self, repair: impl Into<String>) -> Self {
        Self { repair: repair.into(), ..self }
    }
}
