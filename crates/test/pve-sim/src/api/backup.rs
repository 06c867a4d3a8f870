//! `/cluster/backup` and `/cluster/backup-info`: the host's backup jobs (F30, F45, F98). Nothing here runs them at their time.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::check::perm;
use super::vzdump::{
    COMMON, ROOT_ONLY, Selection, check_common, check_selection, exclude_path, included, storage_param,
};
use super::{Answer, Call, Route, data, formats, nothing, plain, protected};
use crate::clock;
use crate::error::ApiError;
use crate::http::params::{Params, Value, split_list};
use crate::http::schema::{Field, Kind, opt, req};
use crate::state::calendar::Event;
use crate::state::guests;
use crate::state::jobs::{self, Job, Jobs};
use crate::state::property::Properties;
use crate::state::secrets::random_uuid;

const ID: &[Field] = &[req("id", Kind::Pattern(formats::is_solid)).length(0, 50)];
const JOB: &[Field] = &[
    opt("comment", Kind::Text(512)),
    opt("dow", Kind::List(day)).requires("starttime"),
    opt("enabled", Kind::Boolean),
    opt("repeat-missed", Kind::Boolean),
    opt("schedule", Kind::Format(schedule)).length(0, 128),
    opt("starttime", Kind::Pattern(is_start_time)),
];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(("GET", "/cluster/backup"), &[], perm("/", &["Sys.Audit"]), list),
    protected(
        ("POST", "/cluster/backup"),
        &[COMMON, JOB, &[opt("id", Kind::Format(formats::config_id))]],
        perm("/", &["Sys.Modify"]),
        create,
    ),
    plain(("GET", "/cluster/backup/{id}"), &[ID], perm("/", &["Sys.Audit"]), show),
    protected(
        ("PUT", "/cluster/backup/{id}"),
        &[COMMON, JOB, ID, &[opt("delete", Kind::List(formats::config_id))]],
        perm("/", &["Sys.Modify"]),
        update,
    ),
    protected(("DELETE", "/cluster/backup/{id}"), &[ID], perm("/", &["Sys.Modify"]), delete),
    protected(
        ("GET", "/cluster/backup/{id}/included_volumes"),
        &[ID],
        perm("/", &["Sys.Audit"]),
        included_volumes,
    ),
    protected(("GET", "/cluster/backup-info/not-backed-up"), &[], perm("/", &["Sys.Audit"]), not_backed_up),
];

/// Options that are numbers in a listing.
const NUMBERS: [&str; 14] = [
    "all",
    "bwlimit",
    "enabled",
    "ionice",
    "lockwait",
    "pigz",
    "protected",
    "quiet",
    "remove",
    "repeat-missed",
    "stdexcludes",
    "stop",
    "stopwait",
    "zstd",
];

fn day(text: &str) -> Result<(), String> {
    if ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].contains(&text) {
        Ok(())
    } else {
        Err(format!("invalid format - invalid day '{text}'\n"))
    }
}

fn schedule(text: &str) -> Result<(), String> {
    Event::parse(text).map(drop).map_err(|e| format!("invalid format - {e}\n"))
}

fn is_start_time(text: &str) -> bool {
    let digits = |t: &str| (1..=2).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    text.split_once(':').is_some_and(|(hours, minutes)| digits(hours) && digits(minutes))
}

fn shown(id: &str, job: &Job) -> Map<String, Json> {
    let mut all = Map::new();
    for (key, value) in job {
        let value = match key.as_str() {
            key if NUMBERS.contains(&key) => value.parse::<i64>().map_or_else(|_| json!(value), |n| json!(n)),
            "exclude-path" => json!(value.split('\0').collect::<Vec<_>>()),
            "prune-backups" | "performance" | "fleecing" => object(key, value),
            _ => json!(value),
        };
        all.insert(key.clone(), value);
    }
    all.insert("id".into(), json!(id));
    all.insert("type".into(), json!("vzdump"));
    all
}

/// A property string as an object; its values stay text.
fn object(key: &str, value: &str) -> Json {
    let default = (key == "fleecing").then_some("enabled");
    let Ok(parsed) = Properties::parse(value, default) else { return json!(value) };
    let first = parsed.first.into_iter().map(|v| ("enabled".to_owned(), json!(v)));
    Json::Object(first.chain(parsed.pairs.into_iter().map(|(k, v)| (k, json!(v)))).collect())
}

/// rec 655, 916: with the next run, also of a disabled job.
fn list(call: &Call) -> Answer {
    let now = clock::local(call.host());
    let all = Jobs::load(call.host())?.0.into_iter().map(|(id, job)| {
        let mut entry = shown(&id, &job);
        let event = job.get("schedule").and_then(|s| Event::parse(s).ok());
        let next = event.and_then(|e| e.next(now.datetime()));
        if let Some(zoned) = next.and_then(|n| n.to_zoned(now.time_zone().clone()).ok()) {
            entry.insert("next-run".into(), json!(zoned.timestamp().as_second()));
        }
        Json::Object(entry)
    });
    data(json!(all.collect::<Vec<_>>()))
}

fn no_such(id: &str) -> ApiError {
    ApiError::param("id", format!("No such job '{id}'"))
}

fn show(call: &Call) -> Answer {
    let id = call.params.need("id")?;
    match Jobs::load(call.host())?.get(&id) {
        Some(job) => data(Json::Object(shown(&id, job))),
        None => Err(no_such(&id)),
    }
}

/// `starttime` and `dow` become `schedule`.
fn wanted_schedule(params: &Params, required: bool) -> Result<Option<String>, ApiError> {
    match (params.get("schedule"), params.get("starttime")) {
        (Some(_), Some(_)) => {
            Err(ApiError::param("starttime", "'starttime' and 'schedule' cannot both be set"))
        }
        (Some(schedule), None) => Ok(Some(schedule)),
        (None, Some(time)) => {
            let days = params.list("dow").join(",");
            let every_day = days.is_empty() || days == "mon,tue,wed,thu,fri,sat,sun";
            Ok(Some(if every_day { time } else { format!("{days} {time}") }))
        }
        (None, None) if required => {
            Err(ApiError::param("schedule", "neither 'starttime' nor 'schedule' were set"))
        }
        (None, None) => Ok(None),
    }
}

/// Options as passed, for the file.
fn options(params: &Params) -> Job {
    let special = ["id", "delete", "starttime", "dow", "exclude-path"];
    let mut job = Job::new();
    for name in params.0.keys().filter(|n| !special.contains(&n.as_str())) {
        let value = params.get(name).unwrap_or_default();
        job.insert(name.clone(), if name == "vmid" { split_list(&value).join(",") } else { value });
    }
    let paths = exclude_path(params);
    if !paths.is_empty() {
        job.insert("exclude-path".into(), paths.join("\0"));
    }
    job
}

fn check_pool(call: &Call) -> Result<(), ApiError> {
    let Some(pool) = call.params.get("pool").filter(|p| !p.is_empty()) else { return Ok(()) };
    if !call.access.pools.contains_key(&pool) {
        return Err(ApiError::die(format!("pool '{pool}' does not exist")));
    }
    call.need(&format!("/pool/{pool}"), &["VM.Backup"])
}

fn create(call: &Call) -> Answer {
    check_common(call, true)?;
    if let Some(id) = storage_param(&call.params).filter(|_| !call.is_root()) {
        call.need(&format!("/storage/{id}"), &["Datastore.Allocate"])?;
    }
    check_pool(call)?;
    let schedule = wanted_schedule(&call.params, true)?;
    let mut job = options(&call.params);
    job.extend(schedule.map(|s| ("schedule".to_owned(), s)));
    job.entry("enabled".into()).or_insert_with(|| "1".into());
    let id = call.params.get("id").map_or_else(random_uuid, Ok)?;
    jobs::update(call.host(), |jobs| {
        if jobs.get(&id).is_some() {
            return Err(ApiError::die(format!("Job '{id}' already exists")));
        }
        check_selection(&call.params, true)?;
        if job.contains_key("exclude") && !job.contains_key("pool") {
            job.insert("all".into(), "1".into());
        }
        jobs.0.push((id.clone(), job));
        Ok(())
    })?;
    nothing()
}

/// Unrecorded: PVE/API2/Backup.pm:470 of pve-manager.
fn update(call: &Call) -> Answer {
    let id = call.params.need("id")?;
    let gone = call.params.list("delete");
    check_common(call, true)?;
    check_update(call, &gone, None)?;
    check_pool(call)?;
    let schedule = wanted_schedule(&call.params, false)?;
    let mut changes = options(&call.params);
    changes.extend(schedule.map(|s| ("schedule".to_owned(), s)));
    jobs::update(call.host(), |jobs| {
        if changes.is_empty() && gone.is_empty() {
            return Err(ApiError::die("no options specified"));
        }
        check_selection(&call.params, false)?;
        let found = jobs.0.iter_mut().find(|(name, _)| *name == id);
        let (_, job) = found.ok_or_else(|| ApiError::die("no such vzdump job"))?;
        check_update(call, &gone, Some(job))?;
        for key in &gone {
            let known =
                COMMON.iter().any(|f| f.name == key) || ["comment", "repeat-missed"].contains(&key.as_str());
            if !known {
                return Err(ApiError::param("delete", format!("unknown option '{key}'")));
            }
            job.remove(key);
        }
        merge(job, &changes);
        let whole = job.iter().map(|(k, v)| (k.clone(), Value::Text(v.clone()))).collect();
        check_selection(&Params(whole), true)
    })?;
    nothing()
}

/// What is chosen last replaces how guests were chosen before.
fn merge(job: &mut Job, changes: &Job) {
    job.extend(changes.iter().map(|(k, v)| (k.clone(), v.clone())));
    if job.contains_key("exclude") && !job.contains_key("pool") {
        job.insert("all".into(), "1".into());
    }
    let others: &[&str] = if changes.contains_key("vmid") {
        &["all", "exclude", "pool"]
    } else if changes.get("all").is_some_and(|a| a == "1") {
        &["vmid", "pool"]
    } else if job.contains_key("pool") {
        &["vmid", "all", "exclude"]
    } else {
        &[]
    };
    for key in others {
        job.remove(*key);
    }
}

/// Rights on what is changed, and on the job as it stands.
fn check_update(call: &Call, gone: &[String], job: Option<&Job>) -> Result<(), ApiError> {
    if call.is_root() {
        return Ok(());
    }
    if let Some(name) = ROOT_ONLY.into_iter().find(|n| gone.iter().any(|g| g == n)) {
        return Err(ApiError::param(name, "Only root may set this option."));
    }
    let allocate = |id: &str| call.need(&format!("/storage/{id}"), &["Datastore.Allocate"]);
    match call.params.get("storage") {
        Some(id) => allocate(&id)?,
        None if gone.iter().any(|g| g == "storage") => allocate("local")?,
        None => {}
    }
    match job {
        Some(job) if job.contains_key("dumpdir") => {
            Err(ApiError::die("only root@pam may edit jobs with a 'dumpdir' option."))
        }
        Some(job) => allocate(job.get("storage").map_or("local", String::as_str)),
        None => Ok(()),
    }
}

fn delete(call: &Call) -> Answer {
    let id = call.params.need("id")?;
    jobs::update(call.host(), |jobs| {
        let before = jobs.0.len();
        jobs.0.retain(|(name, _)| *name != id);
        if jobs.0.len() == before { Err(no_such(&id)) } else { Ok(()) }
    })?;
    nothing()
}

fn selected(call: &Call, job: &Job) -> Result<Vec<u32>, ApiError> {
    let numbers = |key: &str| {
        split_list(job.get(key).map_or("", String::as_str)).iter().filter_map(|v| v.parse().ok()).collect()
    };
    let wanted = Selection {
        pool: job.get("pool").cloned(),
        vmids: numbers("vmid"),
        all: job.get("all").is_some_and(|a| a == "1"),
        exclude: numbers("exclude"),
    };
    included(call.host(), &call.access, &wanted)
}

/// Unrecorded: PVE/API2/Backup.pm:640 of pve-manager.
fn included_volumes(call: &Call) -> Answer {
    let id = call.params.need("id")?;
    let jobs = Jobs::load(call.host())?;
    let job = jobs.get(&id).ok_or_else(|| no_such(&id))?;
    let mut children = Vec::new();
    for vmid in selected(call, job)? {
        if !call.has(&format!("/vms/{vmid}"), "VM.Audit") {
            continue;
        }
        let Ok(config) = guests::load(call.host(), vmid) else {
            children.push(json!({"id": vmid, "type": "unknown", "leaf": 1}));
            continue;
        };
        let volumes: Vec<Json> = config.current.mount_points().into_iter().map(|(key, mount)| {
            let included = mount.in_backup(&key);
            let reason = match (key.as_str(), mount.is_volume(), included) {
                ("rootfs", ..) => "rootfs",
                (_, false, _) => "not a volume",
                (_, _, true) => "enabled",
                _ => "disabled",
            };
            json!({
                "id": format!("{vmid}:{key}"), "name": mount.volume, "included": u8::from(included), "reason": reason, "leaf": 1,
            })
        }).collect();
        children.push(json!({
            "id": vmid, "type": "lxc", "name": config.current.get("hostname"), "leaf": u8::from(volumes.is_empty()),
            "children": volumes,
        }));
    }
    data(json!({"children": children}))
}

/// 2/1003: guests in no job, enabled or not.
fn not_backed_up(call: &Call) -> Answer {
    let mut covered = BTreeSet::new();
    for (_, job) in &Jobs::load(call.host())?.0 {
        covered.extend(selected(call, job).unwrap_or_default());
    }
    let mut all = Vec::new();
    for vmid in guests::list(call.host())? {
        if covered.contains(&vmid) || !call.has(&format!("/vms/{vmid}"), "VM.Audit") {
            continue;
        }
        let mut entry = json!({"vmid": vmid, "type": "lxc"});
        if let Some(name) = guests::load(call.host(), vmid)?.current.get("hostname") {
            entry["name"] = json!(name);
        }
        all.push(entry);
    }
    data(json!(all))
}
