//! `/nodes/{node}/storage/{storage}/content`: list, one volume, notes and protection, delete (F26, F27, F62, F64, F72, F86).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json, json};

use super::check::{Check, any, perm};
use super::storage::{SEE, STORAGE};
use super::storage_fields::content;
use super::volumes::{self, check_access};
use super::{Answer, Call, Reply, Route, data, formats, nothing, protected};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::perm as rights;
use crate::state::storage::{Storage, Storages, image_name};
use crate::state::volid::{Volid, VolumeKind};
use crate::state::{atomic, guests, lock};
use crate::task::{log, process};
use crate::work::Job;

const ONE: &[Field] = &[
    formats::NODE,
    opt("storage", Kind::Format(formats::storage_id)),
    req("volume", Kind::Text(usize::MAX)),
];
/// Without Datastore.Allocate this many archives of a guest can be protected (F72).
pub(crate) const PROTECTED_LIMIT: usize = 5;

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    protected(
        ("GET", "/nodes/{node}/storage/{storage}/content"),
        &[&[formats::NODE, STORAGE, opt("content", Kind::Format(content)), opt("vmid", Kind::Vmid)]],
        any("/storage/{storage}", SEE),
        list,
    ),
    protected(
        ("POST", "/nodes/{node}/storage/{storage}/content"),
        &[&[
            formats::NODE,
            STORAGE,
            req("vmid", Kind::Vmid),
            req("filename", Kind::Text(usize::MAX)),
            req("size", Kind::Format(size)),
            opt("format", Kind::Enum(&["raw", "qcow2", "subvol", "vmdk"])).requires("size"),
        ]],
        perm("/storage/{storage}", &["Datastore.AllocateSpace"]),
        allocate,
    ),
    protected(("GET", "/nodes/{node}/storage/{storage}/content/{volume}"), &[ONE], Check::All, show),
    protected(
        ("PUT", "/nodes/{node}/storage/{storage}/content/{volume}"),
        &[ONE, &[opt("notes", Kind::Text(usize::MAX)), opt("protected", Kind::Boolean)]],
        Check::All,
        update,
    ),
    protected(
        ("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}"),
        &[ONE, &[opt("delay", Kind::Integer(1, 30))]],
        Check::All,
        delete,
    ),
];

/// What the caller may not use is left out, without a word (F26, F86).
fn list(call: &Call) -> Answer {
    let storages = Storages::load(call.host())?;
    let storage = storages.enabled(&call.params.need("storage")?)?;
    storage.activate(call.host())?;
    let vmid = call.params.get("vmid").and_then(|v| v.parse().ok());
    let content = call.params.get("content");
    let guests = guests::list(call.host())?;
    let mut all: Vec<Map<String, Json>> = volumes::list(storage, &guests, vmid, content.as_deref())?;
    all.retain(|item| {
        let volid = item["volid"].as_str().unwrap_or_default();
        check_access(&call.access, &call.authid, volid, None, None).is_ok()
    });
    data(json!(all))
}

fn size(text: &str) -> Result<(), String> {
    let digits = text.strip_suffix(['M', 'G']).unwrap_or(text);
    let fits = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    if fits { Ok(()) } else { Err("value does not match the regex pattern".into()) }
}

/// rec 661. Another format than the file name's is refused; images of other formats than raw are not simulated.
fn allocate(call: &Call) -> Answer {
    let (filename, format) = (call.params.need("filename")?, call.params.get("format"));
    let named = ["raw", "qcow2", "vmdk"].into_iter().find(|end| filename.ends_with(&format!(".{end}")));
    if let (Some(named), Some(format)) = (named, &format)
        && named != format
    {
        let text = format!("different storage formats ({format} != {named})");
        return Err(ApiError::param("format", text));
    }
    let storage = call.params.need("storage")?;
    let wanted = (filename.as_str(), call.params.need("size")?);
    let made = volumes::allocate(call.host(), &storage, call.params.vmid()?, (wanted.0, &wanted.1))?;
    data(json!(made.volid))
}

/// `volume` may be a whole volume id or the name alone.
fn locate(call: &Call) -> Result<(Storage, Volid, PathBuf), ApiError> {
    let text = call.params.need("volume")?;
    let id = call.params.get("storage");
    let volid = match (text.split_once(':'), &id) {
        (Some((storage, name)), _) => Volid { storage: storage.to_owned(), name: name.to_owned() },
        (None, Some(storage)) => Volid { storage: storage.clone(), name: text },
        (None, None) => {
            return Err(ApiError::param("storage", "storage ID missing - unable to create volume ID"));
        }
    };
    if id.as_ref().is_some_and(|s| *s != volid.storage) {
        let text = format!("storage ID missmatch ({} != {})", volid.storage, id.unwrap_or_default());
        return Err(ApiError::param("storage", text));
    }
    let storages = Storages::load(call.host())?;
    let storage = storages.get(&volid.storage)?.clone();
    let path = storage.path_of(&volid)?;
    Ok((storage, volid, path))
}

fn show(call: &Call) -> Answer {
    let (storage, volid, path) = locate(call)?;
    check_access(&call.access, &call.authid, &volid.to_string(), None, None)?;
    let metadata =
        fs::metadata(&path).map_err(|_| ApiError::die(format!("volume_size_info on '{volid}' failed")))?;
    let mut shown = Map::new();
    shown.insert("path".into(), json!(storage.shown(&path)));
    shown.insert("format".into(), json!("raw"));
    if volid.parts()?.kind == VolumeKind::Images {
        let (images, name) = (storage.images(), image_name(&volid)?);
        let size = images.size(&name).map_err(|e| ApiError::die(e.to_string()))?;
        shown.insert("size".into(), json!(size));
        shown.insert("used".into(), json!(images.used(&name)));
    } else {
        shown.insert("size".into(), json!(metadata.len()));
        shown.insert("used".into(), json!(metadata.blocks() * 512));
    }
    if volid.parts()?.kind == VolumeKind::Backup {
        shown.insert("protected".into(), json!(u8::from(volumes::protected_path(&path).exists())));
        if let Some(notes) = atomic::read_optional(&volumes::notes_path(&path))? {
            shown.insert("notes".into(), json!(notes));
        }
    }
    data(Json::Object(shown))
}

fn update(call: &Call) -> Answer {
    let (storage, volid, path) = locate(call)?;
    check_access(&call.access, &call.authid, &volid.to_string(), None, None)?;
    let parts = volid.parts()?;
    if parts.kind != VolumeKind::Backup {
        return Err(ApiError::die("attribute 'notes' is not supported for this volume"));
    }
    if !path.exists() {
        return Err(ApiError::die(format!("file '{}' does not exist", storage.shown(&path))));
    }
    if let Some(notes) = call.params.get("notes") {
        if notes.is_empty() {
            remove_if_there(&volumes::notes_path(&path))?;
        } else {
            atomic::write(&volumes::notes_path(&path), notes.as_bytes())?;
        }
    }
    if let Some(protect) = call.params.get("protected") {
        let marker = volumes::protected_path(&path);
        if protect == "1" && !marker.exists() {
            let unlimited = rights::has(
                &call.access,
                &call.authid,
                &format!("/storage/{}", storage.id),
                "Datastore.Allocate",
            );
            check_protected_limit(&storage, parts.vmid, unlimited)?;
            atomic::write(&marker, b"")?;
        } else if protect == "0" {
            remove_if_there(&marker)?;
        }
    }
    nothing()
}

fn remove_if_there(path: &std::path::Path) -> Result<(), ApiError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// # Errors
/// 500 with the limit (F72).
pub(crate) fn check_protected_limit(
    storage: &Storage,
    vmid: Option<u32>,
    unlimited: bool,
) -> Result<(), ApiError> {
    let count = volumes::backups(storage)?.iter().filter(|b| b.protected && b.vmid == vmid).count();
    if unlimited || vmid.is_none() || count < PROTECTED_LIMIT {
        return Ok(());
    }
    let id = &storage.id;
    Err(ApiError::die(format!(
        "The number of protected backups per guest is limited to {PROTECTED_LIMIT} on storage '{id}'"
    )))
}

fn delete(call: &Call) -> Answer {
    let (storage, volid, _) = locate(call)?;
    let parts = volid.parts()?;
    let path = format!("/storage/{}", storage.id);
    match (parts.kind, parts.vmid) {
        (VolumeKind::Backup, Some(owner)) => {
            call.need(&path, &["Datastore.AllocateSpace"])?;
            call.need(&format!("/vms/{owner}"), &["VM.Backup"])?;
        }
        _ => call.need(&path, &["Datastore.Allocate"])?,
    }
    let id = parts.vmid.map_or_else(|| storage.id.clone(), |v| format!("{v}@{}", storage.id));
    let upid = call.start("imgdel", &id, Job::DeleteVolume { volid: volid.to_string() })?;
    if let Some(delay) = call.params.number("delay") {
        let deadline = Instant::now() + Duration::from_secs(delay);
        while process::running(upid.pid, upid.pstart) && Instant::now() < deadline {
            lock::pause(Duration::from_millis(20));
        }
        if !process::running(upid.pid, upid.pstart) {
            let status = log::exit_status(call.host(), &upid);
            let ok = status == "OK" || status.starts_with("WARNINGS: ");
            return if ok { nothing() } else { Err(ApiError::die(status)) };
        }
    }
    Ok(Reply::Data(json!(upid.to_string())))
}
