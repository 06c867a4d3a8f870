//! Faults on demand: what `control/faults.json` in the state directory says about a place in the program (never the API).
//!
//! ```json
//! {"seed": 7, "rules": [
//!   {"at": "vzdump.archive", "id": "101", "do": "hold"},
//!   {"at": "vzrestore.unpack", "do": "kill", "nth": 2},
//!   {"at": "vzdump.snapshot", "do": {"delay_ms": 500}, "probability": 0.25},
//!   {"at": "vzstart.begin", "do": {"fail": "some text"}},
//!   {"at": "http", "method": "POST", "path": "/nodes/*/lxc/**", "do": "drop_after"},
//!   {"at": "storage", "id": "tank", "do": "offline"},
//!   {"at": "pvedaemon", "do": "dead"},
//!   {"at": "clock", "do": {"shift_s": -3600}}
//! ]}
//! ```
//! | place | what may happen there |
//! |---|---|
//! | `TYPE.PHASE` of a task (`begin` is in all; a `*` is any type or any phase), `id` being the UPID's | `hold`, `kill`, `delay_ms`, `fail` |
//! | `http`, with `method` and `path` (`*` one segment, a last `**` the rest) | `hold`, `delay_ms`; `fail` (500), `drop_before`, without doing it; `drop_after`, `timeout` (596), having done it |
//! | `storage`, `id` being the storage's | `offline` |
//! | `pvestatd.round`, after which lists show what changed (every ten seconds) | `hold`, `delay_ms` |
//! | `pvedaemon` | `dead`: protected calls get 595 |
//! | `clock` | `shift_s`: the host's time differs from this machine's; several add up |
//!
//! The file is read anew at each place, so a rule acts from when it is there until it is not. A held task goes on when its rule is
//! gone, and until then a file `PLACE.ID` in `run/held` says that it is there. With `nth` a rule acts on the nth arrival only (the first is 1), with `probability` on some, chosen by `seed` and the number of
//! the arrival, so that the same seed chooses the same ones. Arrivals are counted in `run/faults`, one file a rule,
//! one line an arrival.

mod count;
pub(crate) mod edit;
mod held;
mod places;
mod rules;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::ApiError;
use crate::state::Host;
use crate::state::lock::pause;

pub(crate) use rules::{Act, Faults, Rule};

/// How often a held place looks again.
const HELD: Duration = Duration::from_millis(10);

/// Does what the control file says about a task's place.
///
/// # Errors
/// The text of a `fail` rule; a control file that is no such JSON.
pub(crate) fn point(host: &Host, at: &str, id: &str, stop: impl Fn() -> bool) -> Result<(), ApiError> {
    let mut visit = Visit::default();
    let mut held = None;
    loop {
        match visit.wanted(host, &format!("{at} {id}"), |rule| rule.is_at(at) && rule.is_for(id))? {
            Some(Act::Hold) if stop() => return Ok(()),
            Some(Act::Hold) => {
                held.get_or_insert_with(|| held::Held::new(host, at, id));
                pause(HELD);
            }
            Some(Act::DelayMs(ms)) => {
                pause(Duration::from_millis(ms));
                return Ok(());
            }
            Some(Act::Fail(text)) => return Err(ApiError::die(text)),
            Some(Act::Kill) => {
                let me = rustix::process::getpid();
                let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
            }
            _ => return Ok(()),
        }
    }
}

/// What is to happen to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallFault {
    /// The connection ends without an answer; nothing was done.
    DropBefore,
    /// The call is done, then the connection ends without an answer.
    DropAfter,
    /// The call is done, the answer is 596 without a body.
    Timeout,
    /// 500 with this text; nothing was done.
    Fail(String),
}

/// What the control file says about a call. Waits as long as it says so; blocking.
pub(crate) fn call(host: &Host, method: &str, path: &str) -> Option<CallFault> {
    let mut visit = Visit::default();
    loop {
        match visit.wanted(host, &format!("{method} {path}"), |rule| rule.is_call(method, path)) {
            Ok(Some(Act::Hold)) => pause(HELD),
            Ok(Some(Act::DelayMs(ms))) => {
                pause(Duration::from_millis(ms));
                return None;
            }
            Ok(Some(Act::DropBefore)) => return Some(CallFault::DropBefore),
            Ok(Some(Act::DropAfter)) => return Some(CallFault::DropAfter),
            Ok(Some(Act::Timeout)) => return Some(CallFault::Timeout),
            Ok(Some(Act::Fail(text))) => return Some(CallFault::Fail(text)),
            Ok(_) => return None,
            Err(error) => return Some(CallFault::Fail(error.message)),
        }
    }
}

/// Whether any rule is about calls at all; cheap.
pub(crate) fn calls_concerned(host: &Host) -> bool {
    Faults::load(host).is_ok_and(|f| f.rules.iter().any(|rule| rule.at == "http"))
}

/// Whether the privileged daemon is dead: protected calls are answered 595 (F79).
pub(crate) fn daemon_is_dead(host: &Host) -> bool {
    any(host, |rule| rule.at == "pvedaemon" && rule.act == Act::Dead)
}

/// Whether a storage is out of reach.
pub(crate) fn storage_offline(host: &Host, id: &str) -> bool {
    any(host, |rule| rule.at == "storage" && rule.is_for(id) && rule.act == Act::Offline)
}

/// Seconds by which the host's clock is ahead of this machine's.
pub(crate) fn clock_shift(host: &Host) -> i64 {
    let shift = |rule: &Rule| if let Act::ShiftS(by) = rule.act { by } else { 0 };
    Faults::load(host).map_or(0, |f| f.rules.iter().filter(|r| r.at == "clock").map(shift).sum())
}

fn any(host: &Host, is: impl Fn(&Rule) -> bool) -> bool {
    Faults::load(host).is_ok_and(|faults| faults.rules.iter().any(is))
}

/// One arrival at a place: a rule counts it once, however often it is looked at.
#[derive(Debug, Default)]
struct Visit(BTreeMap<String, bool>);

impl Visit {
    fn wanted(
        &mut self,
        host: &Host,
        what: &str,
        here: impl Fn(&Rule) -> bool,
    ) -> Result<Option<Act>, ApiError> {
        let faults = Faults::load(host)?;
        let mut found = None;
        for rule in faults.rules.iter().filter(|rule| here(rule)) {
            if self.acts(host, faults.seed, rule, what)? && found.is_none() {
                found = Some(rule.act.clone());
            }
        }
        Ok(found)
    }

    fn acts(&mut self, host: &Host, seed: u64, rule: &Rule, what: &str) -> Result<bool, ApiError> {
        if rule.nth.is_none() && rule.probability.is_none() {
            return Ok(true);
        }
        let key = rule.key();
        if let Some(known) = self.0.get(&key) {
            return Ok(*known);
        }
        let number = count::arrival(host, &key, what)?;
        let acts = rule.chooses(seed, number);
        self.0.insert(key, acts);
        Ok(acts)
    }
}
