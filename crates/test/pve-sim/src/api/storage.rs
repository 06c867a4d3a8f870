//! `GET /storage`: the definitions, and storages as other lists show them.

use serde_json::{Map, Value as Json, json};

use super::check::{Check, perm};
use super::{Answer, Call, Route, data, formats, plain, storage_config};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::perm;
use crate::state::Host;
use crate::state::storage::{Storage, StorageKind, Storages};

/// Either lets one see a storage (F27).
pub(super) const SEE: &[&str] = &["Datastore.Audit", "Datastore.AllocateSpace"];
/// `{storage}` of a path.
pub(super) const STORAGE: Field = req("storage", Kind::Format(formats::storage_id));

/// Every type there is.
pub(super) const TYPES: &[&str] = &[
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
    if storage.kind != StorageKind::LvmThin {
        entry.insert("path".into(), json!(storage.at));
    }
    entry.insert("content".into(), json!(storage.content().join(",")));
    entry.insert("digest".into(), json!(digest));
    for (key, value) in &storage.options {
        entry.insert(key.clone(), storage_config::shown(key, value));
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
