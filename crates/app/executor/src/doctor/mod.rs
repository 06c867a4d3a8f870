//! `felhom-executor doctor`: whether this host is as the executor needs it. Changes nothing.
//!
//! 1. `observe`: Proxmox through the token, the host's own settings as root; with root@pam's password, also what set-up would
//!    still do;
//! 2. [`check`]: pure, from what was seen to [`Finding`]s;
//! 3. `command`: prints them, worst first.
//!
//! Each finding has a stable id, what was seen, why it matters, and the one command that repairs it. What could not be seen is
//! a finding as well. docs/operator/doctor.md lists them.

pub mod command;
mod facts;
mod finding;
mod host;
mod observe;
mod rights;
mod server;
mod storages;
#[cfg(test)]
mod tests;

pub use finding::{Finding, Severity};

use facts::{Answers, Facts, Server};
use finding::id;

/// All that is not as it should be, worst first.
fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = server::check(facts);
    if let Server::Answers(answers) = &facts.server {
        findings.extend(rights::check(facts, answers));
        findings.extend(storages::check(facts, answers));
        findings.extend(host::time(facts, answers));
    }
    findings.extend(rights::setup(facts));
    findings.extend(host::check(facts));
    findings.extend(storages::folders(facts));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Something that could not be seen.
fn unseen(what: &str, why: &str) -> Finding {
    Finding::warning(id!("not_checked"), what)
        .seen(why)
        .why("what was not seen may be wrong; nothing is concluded from it")
        .repair("felhom-executor setup")
}
