//! A box's audit log, as far as the hub can see it.

use askama::Template;
use felhom_protocol::hub_api::AuditHeadView;

use super::parts;

/// That the log was cut or forked.
#[derive(Template)]
#[template(path = "box_audit_alarm.html")]
pub(crate) struct Alarm<'a> {
    name: &'a str,
    problems: &'a [AuditHeadView],
}

impl<'a> Alarm<'a> {
    pub(crate) fn new(name: &'a str, problems: &'a [AuditHeadView]) -> Self {
        Self { name, problems }
    }

    /// The section's class.
    pub(crate) fn class(&self) -> &'static str {
        if self.problems.is_empty() { "empty" } else { "alarm" }
    }
}

/// Where the log ends.
#[derive(Template)]
#[template(path = "box_audit.html")]
pub(crate) struct Log<'a> {
    pub(crate) name: &'a str,
    pub(crate) head: Option<&'a AuditHeadView>,
}
