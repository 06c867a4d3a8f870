//! Access to volumes (`PVE::Storage::check_volume_access`), and what a listing says about one.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::error::ApiError;
use crate::perm;
use crate::state::access::Access;
use crate::state::property::parse_size;
use crate::state::storage::{Storage, StorageKind, Storages};
use crate::state::volid::{ARCHIVE_EXTENSIONS, Volid, VolumeKind, archive_vmid};
use crate::state::{Host, atomic};
use crate::volume::VolumeName;

/// Whether the caller may use a volume; `vmid` is the guest it is used for, `content` what it has to be.
///
/// # Errors
/// 403 with the privilege missing, or 500 `unable to use volume …` for another content type.
pub(crate) fn check_access(
    access: &Access,
    authid: &str,
    volid: &str,
    vmid: Option<u32>,
    content: Option<&str>,
) -> Result<(), ApiError> {
    let Ok(volid) = Volid::parse(volid) else {
        return if authid == "root@pam" {
            Ok(())
        } else {
            Err(ApiError::die("Only root can pass arbitrary filesystem paths."))
        };
    };
    let parts = volid.parts()?;
    if let Some(wanted) = content
        && wanted != parts.kind.name()
        && !(wanted == "rootdir" && parts.kind == VolumeKind::Images)
    {
        return Err(ApiError::die(format!(
            "unable to use volume {volid} - content type needs to be '{wanted}'"
        )));
    }
    let storage = format!("/storage/{}", volid.storage);
    if perm::has(access, authid, &storage, "Datastore.Allocate") {
        return Ok(());
    }
    match (parts.kind, parts.vmid) {
        (VolumeKind::Iso | VolumeKind::Template, _) => {
            perm::check_any(access, authid, &storage, &["Datastore.AllocateSpace", "Datastore.Audit"])
        }
        (_, Some(owner)) if vmid == Some(owner) => Ok(()),
        (VolumeKind::Backup, Some(owner)) => {
            perm::check(access, authid, &storage, &["Datastore.AllocateSpace"])?;
            perm::check(access, authid, &format!("/vms/{owner}"), &["VM.Backup"])
        }
        (VolumeKind::Images, Some(owner)) => {
            perm::check(access, authid, &storage, &["Datastore.Audit"])?;
            perm::check(access, authid, &format!("/vms/{owner}"), &["VM.Config.Disk"])
        }
        _ => Err(ApiError::forbidden("")),
    }
}

/// A volume that no configuration names.
#[derive(Debug)]
pub(crate) struct Allocated {
    /// Its volume id.
    pub(crate) volid: String,
    /// What `qemu-img` prints, where the storage uses it.
    pub(crate) formatting: Option<String>,
}

/// Makes a volume of a given name (F86, rec 661, rec 2/101); `size` in KiB, or with a unit (`M`, `G`).
///
/// # Errors
/// No such storage, another name than `vm-VMID-disk-N.raw` (which a genuine node takes, rec 663), a name that is taken.
pub(crate) fn allocate(
    host: &Host,
    storage: &str,
    vmid: u32,
    (filename, size): (&str, &str),
) -> Result<Allocated, ApiError> {
    let storages = Storages::load(host)?;
    let storage = storages.enabled(storage)?;
    storage.activate(host)?;
    let bad = || ApiError::die(format!("unable to parse volume filename '{filename}'"));
    let name: VolumeName = format!("{vmid}/{filename}").parse().map_err(|_| bad())?;
    let kilobytes = size.chars().all(|c| c.is_ascii_digit());
    let size = if kilobytes { format!("{size}K") } else { size.to_owned() };
    let bytes = parse_size(&size).ok_or_else(|| ApiError::param("size", "value is not a valid size"))?;
    let images = storage.images();
    let place = storage.shown(&images.tree(&name));
    if !images.allocate_as(&name, bytes)? {
        return Err(ApiError::die(format!("disk image '{place}' already exists")));
    }
    let formatting = (storage.kind == StorageKind::Dir)
        .then(|| format!("Formatting '{place}', fmt=raw size={bytes} preallocation=off"));
    Ok(Allocated { volid: format!("{}:{name}", storage.id), formatting })
}

/// Everything on a storage, as the content list shows it. `guests` are those that exist.
pub(crate) fn list(
    storage: &Storage,
    guests: &[u32],
    vmid: Option<u32>,
    content: Option<&str>,
) -> Result<Vec<Map<String, Json>>, ApiError> {
    let is = |kind: &str| content.is_none_or(|c| c == kind);
    let mut all = Vec::new();
    if is("backup") && storage.holds("backup") {
        all.extend(
            backups(storage)?
                .into_iter()
                .filter(|b| vmid.is_none() || b.vmid == vmid)
                .map(|b| b.listed(&storage.id)),
        );
    }
    for (kind, folder, format) in [("vztmpl", "template/cache", None), ("iso", "template/iso", Some("iso"))] {
        if is(kind) && storage.holds(kind) && vmid.is_none() {
            all.extend(files(&storage.path.join(folder))?.into_iter().map(|(name, size, ctime)| {
                let format = format.map_or_else(|| template_format(&name), str::to_owned);
                entry(&[
                    ("volid", json!(format!("{}:{kind}/{name}", storage.id))),
                    ("content", json!(kind)),
                    ("format", json!(format)),
                    ("size", json!(size)),
                    ("ctime", json!(ctime)),
                ])
            }));
        }
    }
    if storage.holds("rootdir") || storage.holds("images") {
        let images = storage.images();
        for info in images.list(vmid).map_err(|e| ApiError::die(e.to_string()))? {
            // F86, rec 2/79, 952: what belongs to no guest is an image.
            let kind = if guests.contains(&info.name.vmid) { "rootdir" } else { "images" };
            if !(is(kind) && storage.holds(kind)) {
                continue;
            }
            let made = fs::metadata(images.tree(&info.name)).ok();
            let made = made.and_then(|m| m.created().or_else(|_| m.modified()).ok());
            all.push(entry(&[
                ("volid", json!(storage.volid(&info.name))),
                ("content", json!(kind)),
                ("format", json!("raw")),
                ("size", json!(info.size)),
                ("used", json!(images.used(&info.name))),
                ("parent", Json::Null),
                ("ctime", json!(made.map_or(0, seconds))),
                ("vmid", json!(info.name.vmid)),
            ]));
        }
    }
    Ok(all)
}

fn entry(pairs: &[(&str, Json)]) -> Map<String, Json> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
}

fn template_format(name: &str) -> String {
    if name.ends_with(".tar.zst") {
        "tzst"
    } else if name.ends_with(".tar.xz") {
        "txz"
    } else {
        "tgz"
    }
    .to_owned()
}

fn seconds(time: std::time::SystemTime) -> u64 {
    time.duration_since(std::time::UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default()
}

fn files(dir: &Path) -> Result<Vec<(String, u64, u64)>, ApiError> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        if metadata.is_file() && !name.starts_with('.') {
            all.push((name, metadata.len(), metadata.modified().map(seconds).unwrap_or_default()));
        }
    }
    all.sort();
    Ok(all)
}

/// A finished archive in a storage's `dump`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    /// File name.
    pub(crate) file: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Seconds since 1970, from the name where it has a time.
    pub(crate) ctime: u64,
    /// The guest, if the name says so.
    pub(crate) vmid: Option<u32>,
    /// The whole `.notes` file.
    pub(crate) notes: Option<String>,
    /// Whether there is a `.protected` file.
    pub(crate) protected: bool,
}

impl Backup {
    /// Volume id.
    pub(crate) fn volid(&self, storage: &str) -> String {
        format!("{storage}:backup/{}", self.file)
    }

    fn listed(&self, storage: &str) -> Map<String, Json> {
        let extension =
            ARCHIVE_EXTENSIONS.iter().find(|e| self.file.ends_with(**e)).map_or("tar", |e| &e[1..]);
        let mut shown = entry(&[
            ("volid", json!(self.volid(storage))),
            ("content", json!("backup")),
            ("format", json!(extension)),
            ("size", json!(self.size)),
            ("ctime", json!(self.ctime)),
        ]);
        if let Some(vmid) = self.vmid {
            shown.insert("vmid".into(), json!(vmid));
            shown.insert("subtype".into(), json!("lxc"));
        }
        // F62: the first line only, and `protected` only when it is set.
        if let Some(first) = self.notes.as_deref().and_then(|n| n.lines().next()) {
            shown.insert("notes".into(), json!(first));
        }
        if self.protected {
            shown.insert("protected".into(), json!(1));
        }
        shown
    }
}

/// All finished archives of a storage, by name.
pub(crate) fn backups(storage: &Storage) -> Result<Vec<Backup>, ApiError> {
    backups_in(&storage.dump_dir())
}

/// All finished archives in a directory, by name.
pub(crate) fn backups_in(dump: &Path) -> Result<Vec<Backup>, ApiError> {
    let mut all = Vec::new();
    for (file, size, modified) in files(dump)? {
        if !ARCHIVE_EXTENSIONS.iter().any(|e| file.ends_with(e)) {
            continue;
        }
        let path = dump.join(&file);
        all.push(Backup {
            ctime: archive_time(&file).unwrap_or(modified),
            vmid: archive_vmid(&file),
            notes: atomic::read_optional(&notes_path(&path))?,
            protected: protected_path(&path).exists(),
            size,
            file,
        });
    }
    Ok(all)
}

/// The time in `vzdump-lxc-110-2026_11_23-11_28_42.tar.zst`, which is local time.
pub(crate) fn archive_time(file: &str) -> Option<u64> {
    let stem = file.strip_prefix("vzdump-lxc-")?;
    let (_, stamp) = stem.split_once('-')?;
    let time = jiff::civil::DateTime::strptime("%Y_%m_%d-%H_%M_%S", stamp.get(..19)?).ok()?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::system()).ok()?;
    u64::try_from(zoned.timestamp().as_second()).ok()
}

/// `ARCHIVE.notes`.
pub(crate) fn notes_path(archive: &Path) -> std::path::PathBuf {
    suffixed(archive, ".notes")
}

/// `ARCHIVE.protected`.
pub(crate) fn protected_path(archive: &Path) -> std::path::PathBuf {
    suffixed(archive, ".protected")
}

/// The `.log` beside an archive: its name without `.tar…`.
pub(crate) fn log_path(archive: &Path) -> std::path::PathBuf {
    let text = archive.to_string_lossy();
    let stem = ARCHIVE_EXTENSIONS.iter().find_map(|e| text.strip_suffix(e)).unwrap_or(&text);
    std::path::PathBuf::from(format!("{stem}.log"))
}

fn suffixed(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
