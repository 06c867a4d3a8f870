//! `/nodes/{node}/vzdump`: start a backup, an archive's configuration (F32, F65, F73). Its defaults are in
//! [`super::vzdump_defaults`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::check::Check;
use super::{Answer, Call, Route, data, formats, properties, protected, volumes};
use crate::error::ApiError;
use crate::http::params::{Params, Value, split_list};
use crate::http::schema::{Field, Kind, opt, req};
use crate::state::access::Access;
use crate::state::property::Properties;
use crate::state::storage::Storages;
use crate::state::volid::Volid;
use crate::state::{Host, atomic, guests, lock};
use crate::task::{Upid, process};
use crate::work::Job;
use crate::work::vzdump::{VzdumpJob, pid_file, quote};

/// Options of a backup, also in a job.
pub(crate) const COMMON: &[Field] = &[
    opt("node", Kind::Format(formats::node)),
    opt("all", Kind::Boolean),
    opt("bwlimit", Kind::Integer(0, i64::MAX)),
    opt("compress", Kind::Enum(&["0", "1", "gzip", "lzo", "zstd"])),
    opt("dumpdir", Kind::Text(usize::MAX)),
    opt("exclude", Kind::List(formats::vmid_item)),
    opt("exclude-path", Kind::Text(usize::MAX)),
    opt("fleecing", Kind::Property(&properties::FLEECING)),
    opt("ionice", Kind::Integer(0, 8)),
    opt("lockwait", Kind::Integer(0, i64::MAX)),
    opt("mailnotification", Kind::Enum(&["always", "failure"])),
    opt("mailto", Kind::List(formats::email_or_user)),
    opt("mode", Kind::Enum(&["snapshot", "suspend", "stop"])),
    opt("notes-template", Kind::Text(1024)).requires("storage"),
    opt("notification-mode", Kind::Enum(&["auto", "legacy-sendmail", "notification-system"])),
    opt("pbs-change-detection-mode", Kind::Enum(&["legacy", "data", "metadata"])),
    opt("performance", Kind::Property(&properties::PERFORMANCE)),
    opt("pigz", Kind::Integer(i64::MIN, i64::MAX)),
    opt("pool", Kind::Text(usize::MAX)),
    opt("protected", Kind::Boolean).requires("storage"),
    opt("prune-backups", Kind::Property(&properties::PRUNE)),
    opt("quiet", Kind::Boolean),
    opt("remove", Kind::Boolean),
    opt("script", Kind::Text(usize::MAX)),
    opt("stdexcludes", Kind::Boolean),
    opt("stop", Kind::Boolean),
    opt("stopwait", Kind::Integer(0, i64::MAX)),
    opt("storage", Kind::Format(formats::storage_id)),
    opt("tmpdir", Kind::Text(usize::MAX)),
    opt("vmid", Kind::List(formats::vmid_item)),
    opt("zstd", Kind::Integer(i64::MIN, i64::MAX)),
];
const CALL: &[Field] =
    &[opt("job-id", Kind::Pattern(formats::is_solid)).length(0, 50), opt("stdout", Kind::Boolean)];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    protected(("POST", "/nodes/{node}/vzdump"), &[COMMON, CALL], Check::All, start),
    protected(
        ("GET", "/nodes/{node}/vzdump/extractconfig"),
        &[&[formats::NODE, req("volume", Kind::Text(usize::MAX))]],
        Check::All,
        extract_config,
    ),
];

/// Options that only root may pass (F73), also in a backup job.
pub(crate) const ROOT_ONLY: [&str; 4] = ["tmpdir", "dumpdir", "script", "job-id"];

/// What a token may pass, and what only root or a holder of more may (F30, F73).
pub(crate) fn check_common(call: &Call, fleecing: bool) -> Result<(), ApiError> {
    if call.is_root() {
        return Ok(());
    }
    let given = |name: &str| call.params.0.contains_key(name);
    if let Some(name) = ROOT_ONLY.into_iter().find(|n| given(n)) {
        return Err(ApiError::param(name, "Only root may set this option."));
    }
    if ["bwlimit", "ionice", "performance"].into_iter().any(given) {
        call.need("/", &["Sys.Modify"])?;
    }
    let text = call.params.get("fleecing").filter(|_| fleecing).unwrap_or_default();
    if let Some(storage) = text.split(',').find_map(|p| p.trim().strip_prefix("storage=")) {
        call.need(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    }
    Ok(())
}

/// The storage whose rights count: the one passed, else `local`, also if the host's file names another (Unrecorded:
/// PVE/VZDump.pm:64 of pve-manager).
pub(crate) fn storage_param(params: &Params) -> Option<String> {
    if params.get("dumpdir").is_some() {
        None
    } else {
        Some(params.get("storage").unwrap_or_else(|| "local".into()))
    }
}

/// Options that contradict each other (2/778).
pub(crate) fn check_selection(params: &Params, complete: bool) -> Result<(), ApiError> {
    let vmid = params.get("vmid").is_some_and(|v| !v.trim().is_empty());
    for (name, set) in [
        ("all", params.flag("all")),
        ("exclude", params.get("exclude").is_some_and(|e| !e.is_empty())),
        ("pool", params.get("pool").is_some_and(|p| !p.is_empty())),
    ] {
        if set && vmid {
            return Err(ApiError::param(name, "option conflicts with option 'vmid'"));
        }
    }
    if let Some(template) = params.get("notes-template") {
        check_notes_template(&template).map_err(|e| ApiError::param("notes-template", format!("{e}\n")))?;
    }
    let chosen = ["all", "stop"].iter().any(|n| params.flag(n)) || params.get("pool").is_some();
    if complete && !(chosen || vmid || params.get("exclude").is_some()) {
        return Err(ApiError::param("vmid", "property is missing"));
    }
    Ok(())
}

/// Variables and escapes of a notes template.
///
/// # Errors
/// What is unknown, and where (Unrecorded: PVE/VZDump.pm:88 of pve-manager).
pub(crate) fn check_notes_template(template: &str) -> Result<(), String> {
    if template.contains('\n') {
        return Err("contains a line feed".into());
    }
    let chars: Vec<char> = template.chars().collect();
    let mut unknown = Vec::new();
    let mut at = 0;
    while at + 1 < chars.len() {
        if chars[at] == '\\' {
            if !"n\\".contains(chars[at + 1]) {
                unknown.push(format!("escape sequence '\\{}' at char {at}", chars[at + 1]));
            }
            at += 1;
        }
        at += 1;
    }
    let mut from = 0;
    while let Some(open) = template[from..].find("{{").map(|p| p + from) {
        let Some(close) = template[open..].find("}}").map(|p| p + open) else { break };
        let name = &template[open + 2..close];
        let word = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "{}".contains(c));
        if word && !["cluster", "guestname", "node", "vmid"].contains(&name) {
            let at = template[..close + 2].chars().count() - name.chars().count();
            unknown.push(format!("variable '{name}' at char {at}"));
        }
        from = open + if word { close + 2 - open } else { 1 };
    }
    if unknown.is_empty() { Ok(()) } else { Err(format!("found unknown: {}", unknown.join(", "))) }
}

fn start(call: &Call) -> Answer {
    let params = &call.params;
    if params.flag("stdout") {
        return Err(ApiError::param("stdout", "option is only allowed on the command line interface."));
    }
    check_common(call, true)?;
    let storage = storage_param(params);
    if let Some(id) = storage.as_ref().filter(|_| params.get("prune-backups").is_some()) {
        call.need(&format!("/storage/{id}"), &["Datastore.Allocate"])?;
    }
    check_selection(params, true)?;
    let vmids = included(call.host(), &call.access, &selection(params))?;
    if params.flag("stop") {
        call.need(&format!("/nodes/{}", call.host().node), &["Sys.Modify"])?;
        stop_running(call)?;
    }
    if vmids.is_empty() && !(params.flag("all") || params.get("exclude").is_some()) {
        return data(json!("OK"));
    }
    if let Some(id) = &storage {
        call.need(&format!("/storage/{id}"), &["Datastore.AllocateSpace"])?;
    }
    let mut given: BTreeMap<String, String> = BTreeMap::new();
    for name in params.0.keys().filter(|n| !["node", "vmid", "exclude-path"].contains(&n.as_str())) {
        given.extend(params.get(name).map(|value| (name.clone(), value)));
    }
    if params.get("exclude").is_some() && params.get("pool").is_none() {
        given.insert("all".into(), "1".into());
    }
    let command = command_line(params, &given);
    let id = if let [one] = vmids.as_slice() { one.to_string() } else { String::new() };
    let job = VzdumpJob { vmids, given, exclude_path: exclude_path(params), command };
    call.task("vzdump", &id, Job::Vzdump(Box::new(job)))
}

/// Patterns: a JSON array, a form value that came several times, or a text separated by NUL.
pub(crate) fn exclude_path(params: &Params) -> Vec<String> {
    match params.0.get("exclude-path") {
        Some(Value::List(all)) => all.clone(),
        Some(_) => params.get("exclude-path").unwrap_or_default().split('\0').map(str::to_owned).collect(),
        None => Vec::new(),
    }
}

/// `stop=1`: ends the backup that holds the node's lock, and waits for its end.
fn stop_running(call: &Call) -> Result<(), ApiError> {
    let Some(text) = atomic::read_optional(&pid_file(call.host()))? else { return Ok(()) };
    let Ok(upid) = text.trim().parse::<Upid>() else { return Ok(()) };
    let Some(pid) = i32::try_from(upid.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    if !process::running(upid.pid, upid.pstart) {
        return Ok(());
    }
    let _ = kill_process(pid, Signal::TERM);
    let deadline = Instant::now() + Duration::from_secs(15);
    while process::running(upid.pid, upid.pstart) {
        if Instant::now() >= deadline {
            return Err(ApiError::die(format!("stopping backup process {} failed", upid.pid)));
        }
        lock::pause(Duration::from_millis(20));
    }
    Ok(())
}

/// Which guests a call or a job means.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// `pool`.
    pub(crate) pool: Option<String>,
    /// `vmid`.
    pub(crate) vmids: Vec<u32>,
    /// `all`.
    pub(crate) all: bool,
    /// `exclude`.
    pub(crate) exclude: Vec<u32>,
}

fn selection(params: &Params) -> Selection {
    let numbers = |name: &str| params.list(name).iter().filter_map(|v| v.parse().ok()).collect();
    Selection {
        pool: params.get("pool").filter(|p| !p.is_empty()),
        vmids: numbers("vmid"),
        all: params.flag("all") || params.get("exclude").is_some(),
        exclude: numbers("exclude"),
    }
}

/// The guests of a selection, whoever may back them up: `all` leaves out only when the task runs (F65).
///
/// # Errors
/// 500 for a pool that does not exist.
pub(crate) fn included(host: &Host, access: &Access, wanted: &Selection) -> Result<Vec<u32>, ApiError> {
    let there = guests::list(host)?;
    let mut all: Vec<u32> = if let Some(pool) = &wanted.pool {
        if !access.pools.contains_key(pool) {
            return Err(ApiError::die(format!("pool '{pool}' does not exist")));
        }
        let below = format!("{pool}/");
        let pools = access.pools.iter().filter(|(id, _)| *id == pool || id.starts_with(&below));
        pools.flat_map(|(_, p)| p.vms.iter().copied()).filter(|v| there.contains(v)).collect()
    } else if !wanted.vmids.is_empty() {
        wanted.vmids.clone()
    } else if wanted.all {
        there.into_iter().filter(|v| !wanted.exclude.contains(v)).collect()
    } else {
        Vec::new()
    };
    all.sort_unstable();
    Ok(all)
}

/// `vzdump 110 --mode snapshot …`, as the first log line has it.
fn command_line(params: &Params, given: &BTreeMap<String, String>) -> String {
    let mut text = String::from("vzdump");
    for vmid in params.list("vmid") {
        text.push_str(&format!(" {vmid}"));
    }
    let mut options: Vec<(&str, String)> = Vec::new();
    for (name, value) in given.iter().filter(|(n, v)| *n != "job-id" && !v.is_empty()) {
        let shown = match name.as_str() {
            "mailto" => split_list(value).join(","),
            "prune-backups" | "performance" | "fleecing" => printed(name, value),
            _ => value.clone(),
        };
        options.push((name, shown));
    }
    options.extend(params.get("node").map(|node| ("node", node)));
    options.extend(exclude_path(params).into_iter().map(|path| ("exclude-path", path)));
    options.sort_by(|a, b| a.0.cmp(b.0));
    for (name, value) in options {
        text.push_str(&format!(" --{name} {}", quote(&value)));
    }
    text
}

/// A property string as Proxmox VE prints it, its keys in order.
pub(super) fn printed(name: &str, value: &str) -> String {
    let default = (name == "fleecing").then_some("enabled");
    match Properties::parse(value, default) {
        Ok(properties) => properties.to_text(None),
        Err(_) => value.to_owned(),
    }
}

/// Needs VM.Backup on the guest whose archive it is, even with Datastore.Allocate.
fn extract_config(call: &Call) -> Answer {
    let volume = call.params.need("volume")?;
    volumes::check_access(&call.access, &call.authid, &volume, None, Some("backup"))?;
    let storages = Storages::load(call.host())?;
    let mut shown = volume.clone();
    let path = match Volid::parse(&volume) {
        Ok(volid) => {
            let owner = volid.parts()?.vmid.map(|v| v.to_string()).unwrap_or_default();
            call.need(&format!("/vms/{owner}"), &["VM.Backup"])?;
            let storage = storages.get(&volid.storage)?;
            let path = storage.path_of(&volid)?;
            shown = storage.shown(&path);
            path
        }
        // A path of the node.
        Err(_) => call.host().dir.root().join(volume.trim_start_matches('/')),
    };
    if !path.is_file() {
        return Err(ApiError::die(format!("ERROR: file '{shown}' does not exist")));
    }
    match crate::archive::read_config(&path) {
        Ok(found) => data(json!(found.config)),
        Err(crate::archive::ArchiveError::NoConfig(_)) => {
            Err(ApiError::die("ERROR: archive contains no configuration file"))
        }
        Err(error) => Err(ApiError::die(error.to_string())),
    }
}
