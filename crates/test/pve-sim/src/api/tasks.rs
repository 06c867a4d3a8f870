//! `/nodes/{node}/tasks`: list (F34, F89, F90), status (F33), log (F35), stop (F80).

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Map, Value as Json, json};

use super::check::Check;
use super::{Answer, Call, Download, Reply, Route, data, formats, nothing, plain, protected};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::perm;
use crate::state::lock::pause;
use crate::task::index::{self, Entry};
use crate::task::{Upid, log, process};

const LIST: &[Field] = &[
    formats::NODE,
    opt("source", Kind::Enum(&["archive", "active", "all"])),
    opt("start", Kind::Integer(0, i64::MAX)),
    opt("limit", Kind::Integer(0, i64::MAX)),
    opt("errors", Kind::Boolean),
    opt("since", Kind::Integer(i64::MIN, i64::MAX)),
    opt("until", Kind::Integer(i64::MIN, i64::MAX)),
    opt("vmid", Kind::Vmid),
    opt("typefilter", Kind::Text(usize::MAX)),
    opt("userfilter", Kind::Text(usize::MAX)),
    opt("statusfilter", Kind::List(status_type)),
];
const ONE: &[Field] = &[formats::NODE, req("upid", Kind::Text(usize::MAX))];
const LOG: &[Field] = &[
    opt("start", Kind::Integer(0, i64::MAX)),
    opt("limit", Kind::Integer(0, i64::MAX)),
    opt("download", Kind::Boolean),
];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(("GET", "/nodes/{node}/tasks"), &[LIST], Check::All, list),
    plain(("GET", "/nodes/{node}/tasks/{upid}"), &[ONE], Check::All, |_| {
        data(json!([{"name": "log"}, {"name": "status"}]))
    }),
    protected(("GET", "/nodes/{node}/tasks/{upid}/status"), &[ONE], Check::All, status),
    protected(("GET", "/nodes/{node}/tasks/{upid}/log"), &[ONE, LOG], Check::All, read_log),
    protected(("DELETE", "/nodes/{node}/tasks/{upid}"), &[ONE], Check::All, stop),
];

/// A task as lists show it: a running one with the full token id and `RUNNING`, a finished one with its exit text as `status`.
pub(super) fn listed(entry: &Entry) -> Map<String, Json> {
    let upid = &entry.upid;
    let mut shown = Map::new();
    shown.insert("upid".into(), json!(upid.to_string()));
    shown.insert("node".into(), json!(upid.node));
    shown.insert("pid".into(), json!(upid.pid));
    shown.insert("pstart".into(), json!(upid.pstart));
    shown.insert("starttime".into(), json!(upid.starttime));
    shown.insert("type".into(), json!(upid.kind));
    shown.insert("id".into(), json!(upid.id));
    match &entry.end {
        None => {
            shown.insert("user".into(), json!(upid.authid));
            shown.insert("saved".into(), json!("0"));
            shown.insert("status".into(), json!("RUNNING"));
        }
        Some((end, status)) => {
            shown.insert("user".into(), json!(upid.user()));
            if let Some(token) = upid.tokenid() {
                shown.insert("tokenid".into(), json!(token));
            }
            shown.insert("endtime".into(), json!(end));
            shown.insert("status".into(), json!(status));
        }
    }
    shown
}

fn list(call: &Call) -> Answer {
    let params = &call.params;
    let mut all = Vec::new();
    let source = params.get("source").unwrap_or_else(|| "archive".into());
    let (active, archive) = index::both(call.host())?;
    if source != "archive" {
        all.extend(active);
    }
    if source != "active" {
        all.extend(archive);
    }
    let auditor = call.has(&format!("/nodes/{}", call.host().node), "Sys.Audit");
    all.retain(|entry| (auditor || lists(call, entry)) && wanted(call, entry));
    let total = all.len();
    let start = usize::try_from(params.number("start").unwrap_or(0)).unwrap_or(usize::MAX);
    // Unrecorded: PVE/API2/Tasks.pm:178 of pve-manager: a limit of 0 is none of them, unlike in the log.
    let limit = usize::try_from(params.number("limit").unwrap_or(50)).unwrap_or(usize::MAX);
    let page: Vec<Json> = all.iter().skip(start).take(limit).map(|e| Json::Object(listed(e))).collect();
    Ok(Reply::Counted(json!(page), total))
}

/// Whether the caller owns it. Of a running task the list knows only the full token id, so that the user behind a token does not see it.
/// Unrecorded: PVE/API2/Tasks.pm:220 of pve-manager.
fn lists(call: &Call, entry: &Entry) -> bool {
    if entry.end.is_some() { is_owner(call, &entry.upid) } else { entry.upid.authid == call.authid }
}

fn wanted(call: &Call, entry: &Entry) -> bool {
    let params = &call.params;
    let upid = &entry.upid;
    let seconds = |name: &str| params.get(name).and_then(|t| t.parse::<i64>().ok());
    let start = i64::try_from(upid.starttime).unwrap_or(i64::MAX);
    // rec 2/604, 1129: a running one has the token in its user, a finished one has not.
    let user = if entry.end.is_some() { upid.user() } else { upid.authid.as_str() }.to_lowercase();
    params.get("vmid").is_none_or(|v| v == upid.id)
        && params.get("typefilter").is_none_or(|t| t.is_empty() || t == upid.kind)
        && params.get("userfilter").is_none_or(|u| user.contains(&u.to_lowercase()))
        && seconds("since").is_none_or(|s| start >= s)
        && seconds("until").is_none_or(|u| start <= u)
        && has_status(call, status_class(entry))
}

/// `errors` beats `statusfilter` and means everything but `ok`, warnings and running tasks, too (F34).
fn has_status(call: &Call, class: &str) -> bool {
    if call.params.flag("errors") {
        return class != "ok";
    }
    let filter = call.params.list("statusfilter");
    call.params.get("statusfilter").is_none() || filter.iter().any(|s| s.eq_ignore_ascii_case(class))
}

fn status_type(text: &str) -> Result<(), String> {
    if ["ok", "error", "warning", "unknown"].iter().any(|known| text.eq_ignore_ascii_case(known)) {
        Ok(())
    } else {
        Err(format!("invalid format - invalid status '{text}'\n"))
    }
}

fn status_class(entry: &Entry) -> &'static str {
    match entry.end.as_ref().map(|(_, status)| status.as_str()) {
        None | Some("unexpected status") => "unknown",
        Some("OK") => "ok",
        Some(text) if text.starts_with("WARNINGS: ") => "warning",
        Some(_) => "error",
    }
}

/// The token itself, or the user for tasks of its tokens; not a sibling token (F29).
fn is_owner(call: &Call, upid: &Upid) -> bool {
    upid.authid == call.authid || upid.user() == call.authid
}

fn parse(call: &Call) -> Result<Upid, ApiError> {
    let text = call.params.need("upid")?;
    text.parse().map_err(|()| ApiError::param("upid", "unable to parse worker upid"))
}

fn check_owner(call: &Call, upid: &Upid, privilege: &str) -> Result<(), ApiError> {
    if is_owner(call, upid) {
        Ok(())
    } else {
        perm::check(&call.access, &call.authid, &format!("/nodes/{}", upid.node), &[privilege])
    }
}

fn status(call: &Call) -> Answer {
    let upid = parse(call)?;
    if !log::path(call.host(), &upid).exists() {
        return Err(ApiError::param("upid", "no such task"));
    }
    check_owner(call, &upid, "Sys.Audit")?;
    let mut shown = Map::new();
    shown.insert("upid".into(), json!(upid.to_string()));
    shown.insert("node".into(), json!(upid.node));
    shown.insert("pid".into(), json!(upid.pid));
    shown.insert("pstart".into(), json!(upid.pstart));
    shown.insert("starttime".into(), json!(upid.starttime));
    shown.insert("type".into(), json!(upid.kind));
    shown.insert("id".into(), json!(upid.id));
    shown.insert("user".into(), json!(upid.user()));
    if let Some(token) = upid.tokenid() {
        shown.insert("tokenid".into(), json!(token));
    }
    // The process first: what it wrote before it ended is then there to be read.
    if process::running(upid.pid, upid.pstart) {
        shown.insert("status".into(), json!("running"));
    } else {
        shown.insert("status".into(), json!("stopped"));
        shown.insert("exitstatus".into(), json!(log::exit_status(call.host(), &upid)));
    }
    data(Json::Object(shown))
}

fn read_log(call: &Call) -> Answer {
    let upid = parse(call)?;
    check_owner(call, &upid, "Sys.Audit")?;
    let number = |name: &str| call.params.number(name).and_then(|n| usize::try_from(n).ok());
    if call.params.flag("download") {
        if call.params.get("start").is_some() || call.params.get("limit").is_some() {
            return Err(ApiError::die(
                "'download' cannot be used together with 'start' or 'limit' parameters",
            ));
        }
        return download(call, &upid);
    }
    let (lines, total) =
        log::read(call.host(), &upid, number("start").unwrap_or(0), number("limit").unwrap_or(50));
    let lines: Vec<Json> = lines.into_iter().map(|(n, t)| json!({"n": n, "t": t})).collect();
    Ok(Reply::Counted(json!(lines), total))
}

/// The log as a file, compressed if it is long (rec 453).
fn download(call: &Call, upid: &Upid) -> Answer {
    let path = log::path(call.host(), upid);
    let body = std::fs::read(&path).map_err(|_| {
        let shown = format!("/var/log/pve/tasks/{:X}/{upid}", upid.starttime & 0xf);
        ApiError::die(format!("Could not open file '{shown}' - No such file or directory"))
    })?;
    let start =
        jiff::Timestamp::from_second(i64::try_from(upid.starttime).unwrap_or_default()).unwrap_or_default();
    let name = format!("task-{}-{}-{}.log", upid.node, upid.kind, start.strftime("%Y-%m-%dT%H:%M:%SZ"));
    Ok(Reply::File(Download { name, compress: body.len() > 1024, body }))
}

/// Asks the worker to stop, and after five seconds makes it (`PVE::RPCEnvironment::check_worker`). A finished task is no error.
fn stop(call: &Call) -> Answer {
    let upid = parse(call)?;
    if !log::path(call.host(), &upid).exists() {
        return Err(ApiError::param("upid", "no such task"));
    }
    check_owner(call, &upid, "Sys.Modify")?;
    let raw = i32::try_from(upid.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = raw.filter(|_| process::running(upid.pid, upid.pstart)) else { return nothing() };
    let _ = kill_process(pid, Signal::TERM);
    for _ in 0..500 {
        if !process::running(upid.pid, upid.pstart) {
            return nothing();
        }
        pause(Duration::from_millis(10));
    }
    let _ = kill_process_group(pid, Signal::KILL);
    nothing()
}
