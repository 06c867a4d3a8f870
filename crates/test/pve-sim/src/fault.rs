//! Faults on demand: what `control/faults.json` in the state directory says about a place in the program (never the API).
//!
//! ```json
//! {"rules": [
//!   {"at": "vzdump.archive", "id": "101", "do": "hold"},
//!   {"at": "vzrestore.unpack", "do": "kill"},
//!   {"at": "vzdump.snapshot", "do": {"delay_ms": 500}},
//!   {"at": "vzstart.begin", "do": {"fail": "some text"}}
//! ]}
//! ```
//! A task's place is `TYPE.PHASE`; `id` is the UPID's. The file is read anew at each place, so a rule acts from when it is
//! there until it is not. A held task goes on when its rule is gone.

use std::fs;
use std::time::Duration;

use serde::Deserialize;

use crate::error::ApiError;
use crate::state::Host;

/// How often a held place looks again.
const HELD: Duration = Duration::from_millis(10);

#[derive(Debug, Default, Deserialize)]
struct Faults {
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    at: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(rename = "do")]
    act: Act,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Act {
    Hold,
    Kill,
    DelayMs(u64),
    Fail(String),
}

/// Does what the control file says about a place.
///
/// # Errors
/// The text of a `fail` rule; a control file that is no such JSON.
pub(crate) fn point(host: &Host, at: &str, id: &str, stop: impl Fn() -> bool) -> Result<(), ApiError> {
    loop {
        match wanted(host, at, id)? {
            None => return Ok(()),
            Some(Act::Hold) if stop() => return Ok(()),
            Some(Act::Hold) => std::thread::sleep(HELD),
            Some(Act::DelayMs(ms)) => {
                std::thread::sleep(Duration::from_millis(ms));
                return Ok(());
            }
            Some(Act::Fail(text)) => return Err(ApiError::die(text)),
            Some(Act::Kill) => {
                let me = rustix::process::getpid();
                let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
            }
        }
    }
}

fn wanted(host: &Host, at: &str, id: &str) -> Result<Option<Act>, ApiError> {
    let Ok(bytes) = fs::read(host.dir.faults()) else { return Ok(None) };
    let faults: Faults =
        serde_json::from_slice(&bytes).map_err(|e| ApiError::die(format!("control/faults.json: {e}")))?;
    let here = |rule: &&Rule| rule.at == at && rule.id.as_deref().is_none_or(|wanted| wanted == id);
    Ok(faults.rules.iter().find(here).map(|rule| rule.act.clone()))
}
