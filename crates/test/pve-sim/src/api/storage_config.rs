//! `POST`, `PUT` and `DELETE /storage`: the definitions (rec 391–436; F87).
//!
//! Options by type, and the texts that no recording shows, are unrecorded: PVE/API2/Storage/Config.pm,
//! PVE/Storage/{Plugin,DirPlugin,BTRFSPlugin,LvmThinPlugin}.pm of libpve-storage-perl 9.1.7, PVE/SectionConfig.pm of
//! libpve-common-perl 9.2.1.

use std::collections::BTreeMap;

use serde_json::json;

use super::check::perm;
use super::storage::{STORAGE, TYPES};
use super::storage_fields::{CREATE, SETTINGS};
use super::{Answer, Call, Route, data, nothing, protected};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::state::disk::Disks;
use crate::state::property::parse_boolean;
use crate::state::storage::{BOOLEANS, Storage, StorageKind, Storages};
use crate::state::{Host, access_file, lock};

const NEW: &[Field] = &[STORAGE, req("type", Kind::Enum(TYPES))];
const CHANGE: &[Field] = &[
    STORAGE,
    opt("delete", Kind::List(super::formats::config_id)).length(0, 4096),
    opt("digest", Kind::Text(64)),
];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    protected(
        ("POST", "/storage"),
        &[NEW, CREATE, SETTINGS],
        perm("/storage", &["Datastore.Allocate"]),
        create,
    ),
    protected(
        ("PUT", "/storage/{storage}"),
        &[CHANGE, SETTINGS],
        perm("/storage", &["Datastore.Allocate"]),
        update,
    ),
    protected(
        ("DELETE", "/storage/{storage}"),
        &[&[STORAGE]],
        perm("/storage", &["Datastore.Allocate"]),
        delete,
    ),
];

/// What one type makes of an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Optional,
    Fixed,
    RequiredAndFixed,
}

const DIRECTORY: &[&str] = &[
    "nodes",
    "shared",
    "disable",
    "prune-backups",
    "max-protected-backups",
    "content",
    "format",
    "mkdir",
    "create-base-path",
    "create-subdirs",
    "is_mountpoint",
    "preallocation",
];

fn rule(kind: StorageKind, option: &str) -> Option<Rule> {
    let optional = |known: bool| known.then_some(Rule::Optional);
    match (kind, option) {
        (StorageKind::Dir | StorageKind::Btrfs, "path") | (StorageKind::LvmThin, "thinpool" | "vgname") => {
            Some(Rule::RequiredAndFixed)
        }
        (StorageKind::Dir, "snapshot-as-volume-chain") => Some(Rule::Fixed),
        (StorageKind::Dir, "content-dirs" | "bwlimit") | (StorageKind::Btrfs, "nocow") => {
            Some(Rule::Optional)
        }
        (StorageKind::Dir | StorageKind::Btrfs, option) => optional(DIRECTORY.contains(&option)),
        (StorageKind::LvmThin, option) => {
            optional(["nodes", "disable", "content", "bwlimit"].contains(&option))
        }
    }
}

fn required(kind: StorageKind) -> &'static [&'static str] {
    match kind {
        StorageKind::Dir | StorageKind::Btrfs => &["path"],
        StorageKind::LvmThin => &["thinpool", "vgname"],
    }
}

/// Settings of the call, as they are written.
fn settings(call: &Call, kind: StorageKind, creating: bool) -> Result<BTreeMap<String, String>, ApiError> {
    let mut all = BTreeMap::new();
    for name in call.params.0.keys() {
        if ["storage", "type", "node", "digest", "delete"].contains(&name.as_str()) {
            continue;
        }
        let value = call.params.get(name).unwrap_or_default();
        match rule(kind, name) {
            None => return Err(ApiError::die(format!("unexpected property '{name}'"))),
            Some(Rule::Fixed | Rule::RequiredAndFixed) if !creating => {
                return Err(ApiError::die(format!("can't change value of fixed parameter '{name}'")));
            }
            Some(_) if name == "content" => {
                all.insert(name.clone(), content(kind, &call.params.list(name))?);
            }
            Some(_) => {
                all.insert(name.clone(), value);
            }
        }
    }
    match required(kind).iter().find(|name| creating && !all.contains_key(**name)) {
        Some(name) => Err(ApiError::die(format!("missing value for required option '{name}'"))),
        None => Ok(all),
    }
}

/// What a type cannot hold is dropped with a warning that nobody sees.
fn content(kind: StorageKind, wanted: &[String]) -> Result<String, ApiError> {
    let possible = kind.possible_content();
    let mut kept: Vec<&str> = Vec::new();
    for one in wanted.iter().map(String::as_str).filter(|one| possible.contains(one)) {
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    if kept.contains(&"none") && kept.len() > 1 {
        return Err(ApiError::die("unable to combine 'none' with other content types"));
    }
    match kept.is_empty() {
        true if possible.contains(&"none") => Ok("none".to_owned()),
        true => Err(ApiError::die("storage does not support content type 'none'")),
        false => Ok(kept.join(",")),
    }
}

/// `/srv//x/./` as `/srv/x`.
fn directory(path: &str) -> Result<String, ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-/_.@".contains(c);
    if !path.starts_with('/') || path.len() < 2 || !path.chars().all(allowed) {
        return Err(ApiError::die(format!("illegal path for directory storage: {path}")));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    Ok(format!("/{}", parts.join("/")))
}

fn locked<T>(
    host: &Host,
    verb: &str,
    change: impl FnOnce(&mut Storages) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let attempt = || {
        let _held = host.lock("storage.cfg", lock::GUEST_TIMEOUT, &mut || ())?;
        let mut all = Storages::load(host)?;
        let result = change(&mut all)?;
        all.save(host).map(|()| result)
    };
    attempt().map_err(|error: ApiError| error.prefixed(&format!("{verb} storage failed: ")))
}

fn create(call: &Call) -> Answer {
    let (id, name) = (call.params.need("storage")?, call.params.need("type")?);
    let Some(kind) = StorageKind::parse(&name) else {
        return Err(ApiError::not_implemented("POST", &format!("/storage?type={name}")));
    };
    let mut options = settings(call, kind, true)?;
    let at = options.remove("path").map(|path| directory(&path)).transpose()?.unwrap_or_default();
    locked(call.host(), "create", |all| {
        if all.get(&id).is_ok() {
            return Err(ApiError::die(format!("storage ID '{id}' already defined")));
        }
        let mut storage = Storage::new(&id, kind, &at, options);
        storage.settle(call.host(), &Disks::load(call.host())?);
        if storage.check_enabled().is_ok() {
            storage.activate(call.host())?;
        }
        all.0.push(storage);
        Ok(())
    })?;
    data(json!({"storage": id, "type": name}))
}

fn update(call: &Call) -> Answer {
    let id = call.params.need("storage")?;
    let kind = locked(call.host(), "update", |all| {
        let digest = call.params.get("digest").filter(|digest| !digest.is_empty());
        if digest.is_some_and(|digest| digest != all.digest()) {
            return Err(ApiError::die(
                "detected modified configuration - file changed by other user? Try again.",
            ));
        }
        let kind = all.get(&id)?.kind;
        let settings = settings(call, kind, false)?;
        let gone = call.params.list("delete");
        for name in &gone {
            let text = match rule(kind, name) {
                None => format!("no such option '{name}'"),
                Some(Rule::RequiredAndFixed) => format!("unable to delete required option '{name}'"),
                Some(Rule::Fixed) => format!("unable to delete fixed option '{name}'"),
                Some(Rule::Optional) if settings.contains_key(name) => {
                    format!("cannot set and delete property '{name}' at the same time!")
                }
                Some(Rule::Optional) => continue,
            };
            return Err(ApiError::die(text));
        }
        for storage in all.0.iter_mut().filter(|storage| storage.id == id) {
            storage.options.retain(|name, _| !gone.contains(name));
            storage.options.extend(settings.clone());
        }
        Ok(kind)
    })?;
    data(json!({"storage": id, "type": kind.name()}))
}

/// F87: only the definition goes, with the ACL entries of its path (rec2 1040); what lies on it stays.
fn delete(call: &Call) -> Answer {
    let id = call.params.need("storage")?;
    locked(call.host(), "delete", |all| {
        all.get(&id)?;
        all.0.retain(|storage| storage.id != id);
        Ok(())
    })?;
    access_file::update(call.host(), |access| {
        access.forget_storage(&id);
        Ok(())
    })?;
    nothing()
}

/// An option as the API shows it: booleans and numbers are numbers, `is_mountpoint` is text (rec2 935, 1138).
pub(super) fn shown(name: &str, value: &str) -> serde_json::Value {
    match (name, value.parse::<i64>()) {
        (name, _) if BOOLEANS.contains(&name) => json!(u8::from(parse_boolean(value) == Some(true))),
        ("max-protected-backups", Ok(number)) => json!(number),
        _ => json!(value),
    }
}
