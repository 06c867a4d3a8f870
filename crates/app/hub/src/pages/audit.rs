//! A box's audit log, as far as the hub can see it.

use askama::Template;
use felhom_protocol::hub_api::AuditHeadView;
use jiff::Timestamp;

use super::parts;
use crate::audit::Standing;

/// That the log was cut or forked, or that its end is not told.
#[derive(Template)]
#[template(path = "box_audit_alarm.html")]
pub(crate) struct Alarm<'a> {
    name: &'a str,
    problems: &'a [AuditHeadView],
    absent: Option<&'a (Timestamp, String)>,
}

impl<'a> Alarm<'a> {
    pub(crate) fn new(name: &'a str, problems: &'a [AuditHeadView], standing: &'a Standing) -> Self {
        Self { name, problems, absent: standing.absent.as_ref() }
    }

    /// The section's heading.
    pub(crate) fn title(&self) -> &'static str {
        match (self.problems.is_empty(), self.absent) {
            (true, Some(_)) => "The end of the audit log is not told",
            (true, None) | (false, _) => "The audit log was changed",
        }
    }

    /// The section's class.
    pub(crate) fn class(&self) -> &'static str {
        if self.problems.is_empty() && self.absent.is_none() { "empty" } else { "alarm" }
    }
}

/// Where the log ends.
#[derive(Template)]
#[template(path = "box_audit.html")]
pub(crate) struct Log<'a> {
    pub(crate) name: &'a str,
    pub(crate) head: Option<&'a AuditHeadView>,
    /// Entries of which no end was told, in all.
    pub(crate) unseen: u64,
}
