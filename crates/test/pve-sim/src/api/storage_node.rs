//! `/nodes/{node}/storage`: the storages' state on the node, statistics, and pruning (rec 59, 300, 402–407, 659, 660, 743–750;
//! rec2 861, 895–898, 917, 937, 976).

use serde_json::{Map, Value as Json, json};

use super::check::{Check, any};
use super::storage::{SEE, STORAGE, visible};
use super::storage_fields::content;
use super::{Answer, Call, Route, data, formats, plain, properties, protected};
use crate::clock;
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::state::Host;
use crate::state::storage::{Capacity, Storage, StorageKind, Storages};
use crate::work::Job;
use crate::work::prune;

const FRAMES: &[&str] = &["hour", "day", "week", "month", "year"];
const GUEST_TYPES: &[&str] = &["qemu", "lxc"];
const ONE: &[Field] = &[formats::NODE, STORAGE];
const PRUNE: &[Field] = &[opt("type", Kind::Enum(GUEST_TYPES)), opt("vmid", Kind::Vmid)];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    protected(
        ("GET", "/nodes/{node}/storage"),
        &[&[
            formats::NODE,
            opt("storage", Kind::Format(formats::storage_id)),
            opt("content", Kind::List(content)),
            opt("enabled", Kind::Boolean),
            opt("format", Kind::Boolean),
            opt("target", Kind::Format(formats::node)),
        ]],
        Check::All,
        list,
    ),
    plain(("GET", "/nodes/{node}/storage/{storage}"), &[ONE], any("/storage/{storage}", SEE), index),
    protected(
        ("GET", "/nodes/{node}/storage/{storage}/status"),
        &[ONE],
        any("/storage/{storage}", SEE),
        status,
    ),
    protected(
        ("GET", "/nodes/{node}/storage/{storage}/rrddata"),
        &[ONE, &[req("timeframe", Kind::Enum(FRAMES)), opt("cf", Kind::Enum(&["AVERAGE", "MAX"]))]],
        any("/storage/{storage}", SEE),
        statistics,
    ),
    protected(
        ("GET", "/nodes/{node}/storage/{storage}/prunebackups"),
        &[ONE, PRUNE, &[opt("prune-backups", Kind::Property(&properties::PRUNE))]],
        any("/storage/{storage}", SEE),
        preview,
    ),
    protected(
        ("DELETE", "/nodes/{node}/storage/{storage}/prunebackups"),
        &[ONE, PRUNE, &[opt("prune-backups", Kind::Property(&properties::PRUNE))]],
        Check::All,
        prune_now,
    ),
    protected(
        ("GET", "/nodes/{node}/storage/{storage}/file-restore/list"),
        &[ONE, &[req("volume", Kind::Text(usize::MAX)), req("filepath", Kind::Text(usize::MAX))]],
        Check::All,
        file_restore,
    ),
];

/// Looking makes the directories of a storage (rec2 898).
fn state(host: &Host, storage: &Storage) -> Map<String, Json> {
    let active = storage.activate(host).is_ok();
    let capacity = if active { storage.capacity() } else { Capacity::default() };
    let shared = storage.options.get("shared").is_some_and(|s| s == "1");
    let mut entry = Map::new();
    entry.insert("type".into(), json!(storage.kind.name()));
    entry.insert("content".into(), json!(storage.content().join(",")));
    entry.insert("shared".into(), json!(u8::from(shared)));
    entry.insert("enabled".into(), json!(u8::from(storage.check_enabled().is_ok())));
    entry.insert("active".into(), json!(u8::from(active)));
    entry.insert("total".into(), json!(capacity.total));
    entry.insert("avail".into(), json!(capacity.avail));
    entry.insert("used".into(), json!(capacity.used));
    entry
}

/// Unrecorded: `storage_info` in PVE/Storage.pm:1489-1509 of libpve-storage-perl 9.1.7.
fn add_formats(entry: &mut Map<String, Json>, kind: StorageKind) {
    let valid: &[&str] = match kind {
        StorageKind::Dir => &["qcow2", "raw", "subvol", "vmdk"],
        StorageKind::Btrfs => &["raw", "subvol"],
        StorageKind::LvmThin => &["raw"],
    };
    let flags: Map<String, Json> = valid.iter().map(|f| ((*f).to_owned(), json!(1))).collect();
    entry.insert("formats".into(), json!({"supported": valid, "default": "raw"}));
    entry.insert("format".into(), json!([flags, "raw"]));
}

fn no_such() -> ApiError {
    ApiError::param("storage", "No such storage.")
}

fn list(call: &Call) -> Answer {
    let params = &call.params;
    let wanted = params.list("content");
    let named = params.get("storage");
    let shown = |storage: &Storage| {
        wanted.is_empty() || (storage.check_enabled().is_ok() && wanted.iter().any(|c| storage.holds(c)))
    };
    if let Some(id) = &named
        && !Storages::load(call.host())?.get(id).is_ok_and(shown)
    {
        return Err(no_such());
    }
    let elsewhere =
        params.get("target").filter(|target| *target != call.host().node && target != "localhost");
    let mut all = Vec::new();
    for storage in visible(call)?.iter().filter(|storage| shown(storage)) {
        let other = named.as_ref().is_some_and(|id| *id != storage.id);
        if other || elsewhere.is_some() || (params.flag("enabled") && storage.disabled()) {
            continue;
        }
        let mut entry = state(call.host(), storage);
        if params.flag("format") && storage.check_enabled().is_ok() {
            add_formats(&mut entry, storage.kind);
        }
        entry.insert("storage".into(), json!(storage.id));
        let (total, used) = (entry["total"].as_f64().unwrap_or(0.0), entry["used"].as_f64().unwrap_or(0.0));
        if total > 0.0 {
            entry.insert("used_fraction".into(), json!(used / total));
        }
        all.push(Json::Object(entry));
    }
    data(json!(all))
}

fn index(_call: &Call) -> Answer {
    let names = [
        "content",
        "download-url",
        "file-restore",
        "import-metadata",
        "identity",
        "oci-registry-pull",
        "prunebackups",
        "rrd",
        "rrddata",
        "status",
        "upload",
    ];
    data(json!(names.map(|name| json!({"subdir": name}))))
}

/// F6, rec 659: an unknown storage is a parameter error here, and 500 elsewhere.
fn status(call: &Call) -> Answer {
    let storages = Storages::load(call.host())?;
    let storage = storages.get(&call.params.need("storage")?).map_err(|_| no_such())?;
    data(Json::Object(state(call.host(), storage)))
}

/// rec2 976: a point each step, without values where nothing was measured. This host measures only now.
fn statistics(call: &Call) -> Answer {
    let storages = Storages::load(call.host())?;
    let storage = storages.get(&call.params.need("storage")?)?;
    let step: u64 = match call.params.need("timeframe")?.as_str() {
        "hour" | "day" => 60,
        "week" | "month" => 1800,
        _ => 21_600,
    };
    let span: u64 = match call.params.need("timeframe")?.as_str() {
        "hour" => 3600,
        "day" => 86_400,
        "week" => 604_800,
        "month" => 2_592_000,
        _ => 31_536_000,
    };
    let last = clock::now(call.host()) / step * step;
    let mut points: Vec<Json> =
        (1..=span / step).rev().map(|back| json!({"time": last.saturating_sub(back * step)})).collect();
    let capacity = storage.capacity();
    points.push(json!({"time": last, "total": capacity.total, "used": capacity.used}));
    data(json!(points))
}

fn keep(call: &Call, storage: &Storage) -> prune::Keep {
    let text = call.params.get("prune-backups").or_else(|| storage.options.get("prune-backups").cloned());
    prune::Keep::parse(text.as_deref().unwrap_or("keep-all=1"))
}

/// rec 300: what a prune would do.
fn preview(call: &Call) -> Answer {
    let storages = Storages::load(call.host())?;
    let storage = storages.enabled(&call.params.need("storage")?)?;
    storage.activate(call.host())?;
    if call.params.get("type").as_deref() == Some("qemu") {
        return data(json!([]));
    }
    let vmid = call.params.get("vmid").and_then(|v| v.parse().ok());
    let marks = prune::marks(storage, &keep(call, storage), vmid)?;
    let shown = marks.iter().map(|(backup, mark)| {
        let mut entry = json!({
            "volid": backup.volid(&storage.id), "ctime": backup.ctime, "mark": mark,
            "type": if backup.vmid.is_some() { "lxc" } else { "unknown" },
        });
        if let (Some(vmid), Some(entry)) = (backup.vmid, entry.as_object_mut()) {
            entry.insert("vmid".into(), json!(vmid));
        }
        entry
    });
    data(Json::Array(shown.collect()))
}

/// rec 743–750.
fn prune_now(call: &Call) -> Answer {
    let id = call.params.need("storage")?;
    let path = format!("/storage/{id}");
    let vmid: Option<u32> = call.params.get("vmid").and_then(|v| v.parse().ok());
    match vmid {
        Some(vmid) => {
            call.need(&path, &["Datastore.AllocateSpace"])?;
            call.need(&format!("/vms/{vmid}"), &["VM.Backup"])?;
        }
        None => call.need(&path, &["Datastore.Allocate"])?,
    }
    let keep = call.params.get("prune-backups");
    let only_qemu = call.params.get("type").as_deref() == Some("qemu");
    let name = vmid.map_or_else(|| id.clone(), |vmid| format!("{vmid}@{id}"));
    call.task("prunebackups", &name, Job::Prune { storage: id, vmid, keep, only_qemu })
}

/// rec 301.
fn file_restore(_call: &Call) -> Answer {
    Err(ApiError::param("storage", "Only PBS storages supported for file-restore."))
}
