//! `/storage` (definitions) and `/nodes/{node}/storage` (their state on the node).

use serde_json::{Map, Value as Json, json};

use super::check::{Check, any, perm};
use super::{Answer, Call, Route, data, formats, plain, protected};
use crate::error::ApiError;
use crate::fault;
use crate::http::schema::{Field, Kind, opt, req};
use crate::perm;
use crate::state::Host;
use crate::state::storage::{Capacity, Storage, Storages};

/// Either lets one see a storage (F27).
pub(super) const SEE: &[&str] = &["Datastore.Audit", "Datastore.AllocateSpace"];
/// `{storage}` of a path.
pub(super) const STORAGE: Field = req("storage", Kind::Format(formats::storage_id));

const TYPES: &[&str] = &[
    "btrfs",
    "cephfs",
    "cifs",
    "dir",
    "esxi",
    "iscsi",
    "iscsidirect",
    "lvm",
    "lvmthin",
    "nfs",
    "pbs",
    "rbd",
    "zfs",
    "zfspool",
];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(("GET", "/storage"), &[&[opt("type", Kind::Enum(TYPES))]], Check::All, definitions),
    plain(
        ("GET", "/storage/{storage}"),
        &[&[STORAGE]],
        perm("/storage/{storage}", &["Datastore.Allocate"]),
        definition,
    ),
    protected(
        ("GET", "/nodes/{node}/storage"),
        &[&[
            formats::NODE,
            opt("storage", Kind::Format(formats::storage_id)),
            opt("content", Kind::Text(256)),
            opt("enabled", Kind::Boolean),
            opt("format", Kind::Boolean),
            opt("target", Kind::Text(64)),
        ]],
        Check::All,
        list,
    ),
    protected(
        ("GET", "/nodes/{node}/storage/{storage}/status"),
        &[&[formats::NODE, STORAGE]],
        any("/storage/{storage}", SEE),
        status,
    ),
];

/// Storages the caller may see.
pub(super) fn visible(call: &Call) -> Result<Vec<Storage>, ApiError> {
    let all = Storages::load(call.host())?.0;
    let sees =
        |s: &Storage| perm::check_any(&call.access, &call.authid, &format!("/storage/{}", s.id), SEE).is_ok();
    Ok(all.into_iter().filter(sees).collect())
}

fn shown(storage: &Storage, digest: &str) -> Json {
    let mut entry = Map::new();
    entry.insert("storage".into(), json!(storage.id));
    entry.insert("type".into(), json!(storage.kind.name()));
    entry.insert("path".into(), json!(storage.path));
    entry.insert("digest".into(), json!(digest));
    for (key, value) in &storage.options {
        entry.insert(key.clone(), json!(value));
    }
    Json::Object(entry)
}

fn definitions(call: &Call) -> Answer {
    let digest = Storages::load(call.host())?.digest();
    let wanted = call.params.get("type");
    let all = visible(call)?;
    let of_type = all.iter().filter(|s| wanted.as_deref().is_none_or(|t| t == s.kind.name()));
    data(json!(of_type.map(|s| shown(s, &digest)).collect::<Vec<_>>()))
}

fn definition(call: &Call) -> Answer {
    let storages = Storages::load(call.host())?;
    data(shown(storages.get(&call.params.need("storage")?)?, &storages.digest()))
}

fn state(host: &Host, storage: &Storage) -> Map<String, Json> {
    let active = !storage.disabled() && storage.path.is_dir() && !fault::storage_offline(host, &storage.id);
    let capacity = if active { storage.capacity() } else { Capacity::default() };
    let mut entry = Map::new();
    entry.insert("type".into(), json!(storage.kind.name()));
    entry.insert("content".into(), json!(storage.content().join(",")));
    entry.insert("shared".into(), json!(0));
    entry.insert("enabled".into(), json!(u8::from(!storage.disabled())));
    entry.insert("active".into(), json!(u8::from(active)));
    entry.insert("total".into(), json!(capacity.total));
    entry.insert("avail".into(), json!(capacity.avail));
    entry.insert("used".into(), json!(capacity.used));
    entry
}

fn list(call: &Call) -> Answer {
    let params = &call.params;
    let wanted = params.list("content");
    let mut all = Vec::new();
    for storage in visible(call)? {
        let named = params.get("storage").is_none_or(|s| s == storage.id);
        let holds = wanted.is_empty() || wanted.iter().any(|c| storage.holds(c));
        if !named || !holds || (params.flag("enabled") && storage.disabled()) {
            continue;
        }
        let mut entry = state(call.host(), &storage);
        entry.insert("storage".into(), json!(storage.id));
        let (total, used) = (entry["total"].as_f64().unwrap_or(0.0), entry["used"].as_f64().unwrap_or(0.0));
        if total > 0.0 {
            entry.insert("used_fraction".into(), json!(used / total));
        }
        all.push(Json::Object(entry));
    }
    data(json!(all))
}

/// F6: an unknown storage is a parameter error here, and 500 elsewhere.
fn status(call: &Call) -> Answer {
    let id = call.params.need("storage")?;
    let storages = Storages::load(call.host())?;
    let storage = storages
        .get(&id)
        .map_err(|e| ApiError::param("storage", format!("No such storage. {}", e.message)))?;
    data(Json::Object(state(call.host(), storage)))
}

/// A storage as `/cluster/resources` and pools show it.
pub(super) fn resource(host: &Host, id: &str) -> Option<Json> {
    let storages = Storages::load(host).ok()?;
    let storage = storages.get(id).ok()?;
    let capacity = storage.capacity();
    Some(json!({
        "id": format!("storage/{}/{id}", host.node), "type": "storage", "storage": id, "node": host.node,
        "plugintype": storage.kind.name(), "content": storage.content().join(","), "shared": 0, "status": "available",
        "disk": capacity.used, "maxdisk": capacity.total,
    }))
}
