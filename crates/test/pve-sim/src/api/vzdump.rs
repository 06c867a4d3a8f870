//! `/nodes/{node}/vzdump`: start a backup, effective defaults, an archive's configuration (F32, F65, F67, F68, F73).

use serde_json::{Map, Value as Json, json};

use super::check::Check;
use super::storage::SEE;
use super::{Answer, Call, Route, data, formats, plain, protected, volumes};
use crate::error::ApiError;
use crate::http::params::Value;
use crate::http::schema::{Field, Kind, opt, req};
use crate::perm;
use crate::state::guests;
use crate::state::storage::Storages;
use crate::state::vzdump_conf::Defaults;
use crate::work::Job;
use crate::work::vzdump::{Mode, VzdumpJob};

const VZDUMP: &[Field] = &[
    opt("node", Kind::Text(64)),
    opt("all", Kind::Boolean),
    opt("bwlimit", Kind::Integer(0, i64::MAX)),
    opt("compress", Kind::Enum(&["0", "1", "gzip", "lzo", "zstd"])),
    opt("dumpdir", Kind::Text(4096)),
    opt("exclude", Kind::List(formats::vmid_item)),
    opt("exclude-path", Kind::Text(65_536)),
    opt("fleecing", Kind::Text(1024)),
    opt("ionice", Kind::Integer(0, 8)),
    opt("job-id", Kind::Text(50)),
    opt("lockwait", Kind::Integer(0, i64::MAX)),
    opt("mailnotification", Kind::Enum(&["always", "failure"])),
    opt("mailto", Kind::Text(4096)),
    opt("mode", Kind::Enum(&["snapshot", "suspend", "stop"])),
    opt("notes-template", Kind::Text(1024)),
    opt("notification-mode", Kind::Enum(&["auto", "legacy-sendmail", "notification-system"])),
    opt("pbs-change-detection-mode", Kind::Enum(&["legacy", "data", "metadata"])),
    opt("performance", Kind::Text(1024)),
    opt("pigz", Kind::Integer(i64::MIN, i64::MAX)),
    opt("pool", Kind::Text(1024)),
    opt("protected", Kind::Boolean),
    opt("prune-backups", Kind::Format(formats::prune)),
    opt("quiet", Kind::Boolean),
    opt("remove", Kind::Boolean),
    opt("script", Kind::Text(4096)),
    opt("stdexcludes", Kind::Boolean),
    opt("stdout", Kind::Boolean),
    opt("stop", Kind::Boolean),
    opt("stopwait", Kind::Integer(0, i64::MAX)),
    opt("storage", Kind::Format(formats::storage_id)),
    opt("tmpdir", Kind::Text(4096)),
    opt("vmid", Kind::List(formats::vmid_item)),
    opt("zstd", Kind::Integer(i64::MIN, i64::MAX)),
];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    protected(("POST", "/nodes/{node}/vzdump"), &[VZDUMP], Check::All, start),
    plain(
        ("GET", "/nodes/{node}/vzdump/defaults"),
        &[&[formats::NODE, opt("storage", Kind::Format(formats::storage_id))]],
        Check::All,
        defaults,
    ),
    protected(
        ("GET", "/nodes/{node}/vzdump/extractconfig"),
        &[&[formats::NODE, req("volume", Kind::Text(512))]],
        Check::All,
        extract_config,
    ),
];

/// What a token may pass, and what only root or a holder of more may (F30, F73).
fn check_rights(call: &Call, storage: &str) -> Result<(), ApiError> {
    let given = |name: &str| call.params.0.contains_key(name);
    for name in ["tmpdir", "dumpdir", "script", "job-id"] {
        if given(name) && !call.is_root() {
            return Err(ApiError::param(name, "Only root may set this option."));
        }
    }
    if ["bwlimit", "ionice", "performance"].into_iter().any(given) {
        call.need("/", &["Sys.Modify"])?;
    }
    if call.params.flag("stop") {
        call.need(&format!("/nodes/{}", call.host().node), &["Sys.Modify"])?;
    }
    if given("prune-backups") {
        call.need(&format!("/storage/{storage}"), &["Datastore.Allocate"])?;
    }
    call.need(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])
}

fn start(call: &Call) -> Answer {
    let params = &call.params;
    if params.flag("stop") {
        return Err(ApiError {
            status: 501,
            ..ApiError::die("stopping all backup jobs of a node is not implemented by this simulator")
        });
    }
    let host_defaults = Defaults::load(call.host())?;
    let storage =
        params.get("storage").or_else(|| host_defaults.get("storage")).unwrap_or_else(|| "local".into());
    let vmids = wanted(call)?;
    check_rights(call, &storage)?;
    for unsupported in ["dumpdir", "script", "tmpdir", "fleecing"] {
        if params.0.contains_key(unsupported) && unsupported != "fleecing" {
            let text = format!("vzdump option '{unsupported}' is not implemented by this simulator");
            return Err(ApiError { status: 501, ..ApiError::die(text) });
        }
    }
    let setting = |name: &str| params.get(name).or_else(|| host_defaults.get(name));
    let mut exclude_path = host_defaults.exclude_path();
    match params.0.get("exclude-path") {
        Some(Value::List(all)) => exclude_path.extend(all.iter().cloned()),
        Some(_) => exclude_path.extend(params.get("exclude-path")),
        None => {}
    }
    let compress = setting("compress").unwrap_or_else(|| "0".into());
    if !["0", "1", "zstd"].contains(&compress.as_str()) {
        let text =
            format!("vzdump compression '{compress}' is not implemented by this simulator (0 and zstd are)");
        return Err(ApiError { status: 501, ..ApiError::die(text) });
    }
    let minutes = |name: &str, default: u64| setting(name).and_then(|v| v.parse().ok()).unwrap_or(default);
    let job = VzdumpJob {
        mode: Mode::parse(&setting("mode").unwrap_or_else(|| "snapshot".into())),
        zstd: compress == "zstd",
        remove: setting("remove").is_none_or(|r| r == "1"),
        protected: params.flag("protected"),
        notes_template: setting("notes-template"),
        lockwait: minutes("lockwait", 180),
        stopwait: minutes("stopwait", 10),
        stdexcludes: setting("stdexcludes").is_none_or(|s| s == "1"),
        prune: params.get("prune-backups"),
        command: command_line(call, &vmids),
        all: params.flag("all"),
        exclude_path,
        storage,
        vmids,
    };
    let id = if let [one] = job.vmids.as_slice() { one.to_string() } else { String::new() };
    call.task("vzdump", &id, Job::Vzdump(Box::new(job)))
}

/// The guests: `vmid`, `all` (those the caller may back up, F65) or `pool`.
fn wanted(call: &Call) -> Result<Vec<u32>, ApiError> {
    let params = &call.params;
    let numbers =
        |name: &str| -> Vec<u32> { params.list(name).iter().filter_map(|v| v.parse().ok()).collect() };
    if let Some(pool) = params.get("pool") {
        let pool = call
            .access
            .pools
            .get(&pool)
            .ok_or_else(|| ApiError::die(format!("pool '{pool}' does not exist")))?;
        return Ok(pool.vms.iter().copied().collect());
    }
    if params.flag("all") {
        let excluded = numbers("exclude");
        let may = |v: &u32| call.has(&format!("/vms/{v}"), "VM.Backup");
        return Ok(guests::list(call.host())?
            .into_iter()
            .filter(|v| !excluded.contains(v) && may(v))
            .collect());
    }
    let vmids = numbers("vmid");
    if vmids.is_empty() { Err(ApiError::param("vmid", "property is missing")) } else { Ok(vmids) }
}

/// `vzdump 110 --mode snapshot …`, as the first log line has it.
fn command_line(call: &Call, vmids: &[u32]) -> String {
    let mut text = String::from("vzdump");
    if !call.params.flag("all") {
        for vmid in vmids {
            text.push_str(&format!(" {vmid}"));
        }
    }
    for name in call.params.0.keys().filter(|n| *n != "vmid") {
        let value = call.params.get(name).unwrap_or_default();
        let plain =
            value.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)) && !value.is_empty();
        let shown = if plain { value } else { format!("'{value}'") };
        text.push_str(&format!(" --{name} {shown}"));
    }
    text
}

/// The host's settings that apply to a call unless it passes its own (F67, F68).
fn defaults(call: &Call) -> Answer {
    let host_defaults = Defaults::load(call.host())?;
    let id =
        call.params.get("storage").or_else(|| host_defaults.get("storage")).unwrap_or_else(|| "local".into());
    perm::check_any(&call.access, &call.authid, &format!("/storage/{id}"), SEE)?;
    let storages = Storages::load(call.host())?;
    let storage = storages.enabled(&id)?;
    let mut shown: Map<String, Json> = Map::new();
    let fixed = [
        ("mode", json!("snapshot")),
        ("compress", json!("0")),
        ("remove", json!(1)),
        ("quiet", json!(0)),
        ("stop", json!(0)),
        ("all", json!(0)),
        ("bwlimit", json!(0)),
        ("pigz", json!(0)),
        ("zstd", json!(1)),
        ("ionice", json!(7)),
        ("lockwait", json!(180)),
        ("stopwait", json!(10)),
        ("stdexcludes", json!(1)),
        ("mailnotification", json!("always")),
        ("notification-mode", json!("auto")),
        ("fleecing", json!({"enabled": 0})),
        ("performance", json!({"max-workers": 16, "pbs-entries-max": 1_048_576})),
        ("prune-backups", json!("keep-all=1")),
    ];
    shown.extend(fixed.map(|(k, v)| (k.to_owned(), v)));
    let auditor = call.has(&format!("/nodes/{}", call.host().node), "Sys.Audit");
    for (name, value) in host_defaults.all() {
        if auditor || !["script", "tmpdir", "dumpdir", "mailto"].contains(&name.as_str()) {
            shown.insert(name.clone(), json!(value));
        }
    }
    if let Some(prune) = storage.options.get("prune-backups") {
        shown.insert("prune-backups".into(), json!(prune));
    }
    shown.insert("storage".into(), json!(id));
    shown.insert("dumpdir".into(), json!(storage.shown(&storage.dump_dir())));
    data(Json::Object(shown))
}

fn extract_config(call: &Call) -> Answer {
    let volume = call.params.need("volume")?;
    volumes::check_access(&call.access, &call.authid, &volume, None, Some("backup"))?;
    let storages = Storages::load(call.host())?;
    let (_, path) = storages.path_of(&volume)?;
    if !path.is_file() {
        return Err(ApiError::die(format!("volume '{volume}' does not exist")));
    }
    let found = crate::archive::read_config(&path).map_err(|e| ApiError::die(e.to_string()))?;
    data(json!(found.config))
}
