//! `/nodes/{node}/lxc/{vmid}/status/{start,stop,shutdown,reboot,suspend,resume}`.

use crate::api::check::{Check, perm};
use crate::api::{Answer, Call, Route, formats, protected};
use crate::error::ApiError;
use crate::http::schema::{Kind, opt};
use crate::state::guests;
use crate::work::{Job, machine};

const POWER: Check = perm("/vms/{vmid}", &["VM.PowerMgmt"]);

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    protected(
        ("POST", "/nodes/{node}/lxc/{vmid}/status/start"),
        &[formats::GUEST, &[opt("skiplock", Kind::Boolean), opt("debug", Kind::Boolean)]],
        POWER,
        start,
    ),
    protected(
        ("POST", "/nodes/{node}/lxc/{vmid}/status/stop"),
        &[formats::GUEST, &[opt("skiplock", Kind::Boolean), opt("overrule-shutdown", Kind::Boolean)]],
        POWER,
        stop,
    ),
    protected(
        ("POST", "/nodes/{node}/lxc/{vmid}/status/shutdown"),
        &[formats::GUEST, &[opt("timeout", Kind::Integer(0, i64::MAX)), opt("forceStop", Kind::Boolean)]],
        POWER,
        shutdown,
    ),
    protected(
        ("POST", "/nodes/{node}/lxc/{vmid}/status/reboot"),
        &[formats::GUEST, &[opt("timeout", Kind::Integer(0, i64::MAX))]],
        POWER,
        reboot,
    ),
    protected(("POST", "/nodes/{node}/lxc/{vmid}/status/suspend"), &[formats::GUEST], POWER, |call| {
        let vmid = check(call, true, "CT")?;
        call.task("vzsuspend", &vmid.to_string(), Job::Suspend { vmid })
    }),
    protected(("POST", "/nodes/{node}/lxc/{vmid}/status/resume"), &[formats::GUEST], POWER, |call| {
        let vmid = check(call, false, "CT")?;
        call.task("vzresume", &vmid.to_string(), Job::Resume { vmid })
    }),
];

/// The guest must exist, and run or not; locks are looked at in the task (F32, F38).
fn check(call: &Call, running: bool, kind: &str) -> Result<u32, ApiError> {
    let vmid = call.params.vmid()?;
    guests::load(call.host(), vmid)?;
    if call.params.flag("skiplock") && !call.is_root() {
        return Err(ApiError::param("skiplock", "Only root may use this option."));
    }
    match (machine::running(call.host(), vmid).is_some(), running) {
        (true, false) => Err(ApiError::die(format!("CT {vmid} already running"))),
        (false, true) => Err(ApiError::die(format!("{kind} {vmid} not running"))),
        _ => Ok(vmid),
    }
}

fn start(call: &Call) -> Answer {
    let vmid = check(call, false, "CT")?;
    call.task("vzstart", &vmid.to_string(), Job::Start { vmid, skiplock: call.params.flag("skiplock") })
}

fn stop(call: &Call) -> Answer {
    let vmid = check(call, true, "CT")?;
    call.task("vzstop", &vmid.to_string(), Job::Stop { vmid, skiplock: call.params.flag("skiplock") })
}

fn shutdown(call: &Call) -> Answer {
    let vmid = check(call, true, "CT")?;
    let timeout = call.params.number("timeout").unwrap_or(60);
    call.task(
        "vzshutdown",
        &vmid.to_string(),
        Job::Shutdown { vmid, timeout, force: call.params.flag("forceStop") },
    )
}

/// rec 494: here it is called a VM.
fn reboot(call: &Call) -> Answer {
    let vmid = check(call, true, "VM")?;
    let timeout = call.params.number("timeout").unwrap_or(60);
    call.task("vzreboot", &vmid.to_string(), Job::Reboot { vmid, timeout })
}
