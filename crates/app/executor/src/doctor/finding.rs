//! What is wrong, why it matters, and the command that repairs it.

use serde::Serialize;

/// All ids; docs/operator/doctor.md lists them.
const IDS: [&str; 41] = [
    "server.away",
    "server.not_loopback",
    "tls.not_pinned",
    "tls.renewed",
    "tls.other_certificate",
    "token.no_secret",
    "token.refused",
    "pve.too_old",
    "pve.not_tried",
    "node.unknown",
    "rights.missing",
    "rights.too_many",
    "setup.missing",
    "setup.differs",
    "setup.blocked",
    "setup.extra",
    "storage.unknown",
    "storage.inactive",
    "storage.content",
    "storage.prune",
    "storage.mountpoint",
    "space.full",
    "space.low",
    "space.promised",
    "vzdump.exclude_path",
    "vzdump.script",
    "vzdump.tmpdir",
    "vzdump.prune",
    "vzdump.foreign",
    "clock.not_synchronised",
    "clock.differs",
    "time_zone.unknown",
    "time_zone.differs",
    "time_zone.utc",
    "kernel.cgroup",
    "kernel.overlay",
    "kernel.user_namespaces",
    "kernel.apparmor",
    "ids.subuid",
    "ids.subgid",
    "not_checked",
];

/// An id that is on the list: `id!("storage.prune")`. Another one does not compile.
macro_rules! id {
    ($id:literal) => {
        const { $crate::doctor::finding::Id::of($id) }
    };
}
pub(super) use id;

/// One of [`IDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(&'static str);

impl Id {
    #[cfg(test)]
    pub(super) const ALL: [&'static str; IDS.len()] = IDS;

    pub(super) const fn of(id: &'static str) -> Self {
        let mut n = 0;
        while n < IDS.len() {
            if same(IDS[n].as_bytes(), id.as_bytes()) {
                return Self(id);
            }
            n += 1;
        }
        panic!("this id is not on the list")
    }
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut n = 0;
    while n < one.len() && n < other.len() {
        if one[n] != other[n] {
            return false;
        }
        n += 1;
    }
    one.len() == other.len()
}

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
    pub(super) fn new(id: Id, severity: Severity, subject: impl Into<String>) -> Self {
        let text = String::new;
        Self { id: id.0, severity, subject: subject.into(), seen: text(), why: text(), repair: text() }
    }

    pub(super) fn danger(id: Id, subject: impl Into<String>) -> Self {
        Self::new(id, Severity::Danger, subject)
    }

    pub(super) fn warning(id: Id, subject: impl Into<String>) -> Self {
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
