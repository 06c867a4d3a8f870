//! Guests' volumes: allocate, free, resize; and deleting any volume of a storage.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::{machine, power};
use crate::api::volumes::{log_path, notes_path, protected_path};
use crate::destroyed::{self, Kind};
use crate::error::ApiError;
use crate::state::guest_config::GuestConfig;
use crate::state::property::{MountPoint, format_size, parse_size};
use crate::state::storage::{Storage, StorageKind, Storages, image_name};
use crate::state::volid::{Volid, VolumeKind};
use crate::state::{Host, guests, secrets};
use crate::task::worker::Worker;
use crate::volume::ext4::Ext4;
use crate::volume::owners::Owner;
use crate::volume::{VolumeError, VolumeName};

impl From<VolumeError> for ApiError {
    fn from(error: VolumeError) -> Self {
        Self::die(error.to_string())
    }
}

/// A size in GiB as Proxmox VE rounds it: down to whole MiB (0.3 becomes 307 MiB, F46).
pub(crate) fn bytes(gigabytes: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let mebibytes = (gigabytes * 1024.0) as u64;
    mebibytes << 20
}

/// What an empty ext4 file system needs, in bytes.
const SMALLEST: u64 = 256 << 10;

/// Makes an empty volume and answers its id.
pub(crate) fn allocate(host: &Host, storage: &str, vmid: u32, bytes: u64) -> Result<String, ApiError> {
    let storages = Storages::load(host)?;
    let storage = storages.enabled(storage)?;
    storage.activate(host)?;
    let name = storage.images().allocate(vmid, bytes)?;
    if storage.room().is_some_and(|room| room < SMALLEST) {
        // Unrecorded: PVE/LXC.pm:2525 of pve-container 6.1.10 (mkfs of a sparse image on a full file system).
        let path = storage.shown(&storage.images().tree(&name));
        destroyed::note_own(host, Kind::Volume, &storage.volid(&name))?;
        storage.images().free(&name)?;
        let command = format!("mkfs.ext4 -O mmp -E 'root_owner=100000:100000' {path}");
        return Err(ApiError::die(format!("command '{command}' failed: exit code 1")));
    }
    let root = Owner { uid: 0, gid: 0, mode: 0o755 };
    host.ownership().give(&storage.images().tree(&name), root)?;
    Ok(storage.volid(&name))
}

/// What `mkfs` and `qemu-img` print for a new volume (rec 113, 121).
pub(crate) fn say_created(worker: &mut Worker, volid: &str, bytes: u64) -> Result<(), ApiError> {
    let storages = Storages::load(&worker.host)?;
    let (storage, path) = storages.path_of(volid)?;
    if !storage.snapshots() {
        worker.say(format!("Formatting '{}', fmt=raw size={bytes} preallocation=off", storage.shown(&path)));
    }
    let fs = Ext4::of(bytes);
    worker.say(format!("Creating filesystem with {}", fs.sizes()));
    worker.say(format!("Filesystem UUID: {}", secrets::random_uuid()?));
    worker.say("Superblock backups stored on blocks: ");
    let copies: Vec<String> = fs.backups().iter().map(u64::to_string).collect();
    if !copies.is_empty() {
        worker.say(format!("\t{}", copies.join(", ")));
    }
    Ok(())
}

/// Frees a volume that was just made; one that is gone already is no error.
pub(crate) fn free(host: &Host, volid: &str) -> Result<(), ApiError> {
    let volid = Volid::parse(volid)?;
    let storages = Storages::load(host)?;
    let storage = storages.enabled(&volid.storage)?;
    storage.activate(host)?;
    match free_noted((host, storage), &volid, destroyed::note_own)? {
        Err(VolumeError::Missing(_)) => Ok(()),
        other => Ok(other?),
    }
}

/// Frees a volume, and writes down that it goes if it is there; what comes of it is the caller's to judge.
pub(crate) fn free_noted(
    (host, storage): (&Host, &Storage),
    volid: &Volid,
    note: fn(&Host, Kind, &str) -> std::io::Result<()>,
) -> Result<Result<(), VolumeError>, ApiError> {
    let (images, name) = (storage.images(), image_name(volid)?);
    if images.exists(&name) {
        note(host, Kind::Volume, &volid.to_string())?;
    }
    Ok(images.free(&name))
}

/// Removes a volume of a guest's configuration, if the guest's VMID is in its name (`PVE::LXC::delete_mountpoint_volume`).
/// `say` gets what is said about it.
///
/// # Errors
/// As [`remove_image`]; for a name that makes no sense, also an allocation that was stored as a volume (F41).
pub(crate) fn remove(
    host: &Host,
    vmid: u32,
    volid: &str,
    say: &mut dyn FnMut(String),
) -> Result<(), ApiError> {
    if volid.starts_with('/') {
        return Ok(());
    }
    let parsed = Volid::parse(volid)?;
    let storages = Storages::load(host)?;
    let storage = storages.get(&parsed.storage)?;
    if parsed.parts()?.vmid == Some(vmid) {
        remove_image(host, storage, &parsed, say)
    } else {
        // Unrecorded: LXC.pm:993 of pve-container 6.1.10.
        say(format!("ignore deletion of '{volid}', CT {vmid} isn't the owner!"));
        Ok(())
    }
}

/// Removes a volume whoever uses it (`PVE::Storage::vdisk_free`).
///
/// # Errors
/// A missing one of a btrfs storage; a dir storage only mentions it (F84, rec 2/90, 912).
pub(crate) fn remove_image(
    host: &Host,
    storage: &Storage,
    volid: &Volid,
    say: &mut dyn FnMut(String),
) -> Result<(), ApiError> {
    storage.activate(host)?;
    let (images, name) = (storage.images(), image_name(volid)?);
    match free_noted((host, storage), volid, destroyed::note)? {
        Err(VolumeError::Missing(_)) if storage.kind == StorageKind::Dir => {
            say(format!("disk image '{}' does not exist", storage.shown(&images.tree(&name))));
            Ok(())
        }
        Err(VolumeError::Missing(_)) => {
            let tree = images.tree(&name);
            let place = storage.shown(tree.parent().unwrap_or(&tree));
            Err(ApiError::die(format!(
                "command 'btrfs subvolume delete -- {place}' failed: ERROR: Could not statfs: No such file or directory"
            )))
        }
        other => Ok(other?),
    }
}

/// Writes a volume's real size into a mount point. A missing volume loses its size there, and nobody minds (F41, F84); the answer is
/// what is said about it (rec 2/518).
pub(crate) fn rescan(host: &Host, mount: &mut MountPoint) -> Option<String> {
    let size = || -> Result<Result<u64, String>, ApiError> {
        let storages = Storages::load(host)?;
        let (storage, path) = storages.path_of(&mount.volume)?;
        let images = storage.images();
        let name = image_name(&Volid::parse(&mount.volume)?)?;
        if images.exists(&name) {
            Ok(Ok(images.size(&name)?))
        } else {
            Ok(Err(format!("failed to stat '{}'", storage.shown(&path))))
        }
    };
    match size() {
        Ok(Ok(bytes)) => {
            mount.options.set("size", format_size(bytes));
            None
        }
        Ok(Err(text)) => {
            mount.options.remove("size");
            Some(text)
        }
        // Unrecorded: LXC/Config.pm:1849 of pve-container 6.1.10.
        Err(error) => Some(format!("Could not rescan volume size - {error}")),
    }
}

/// A volume that is to grow.
#[derive(Debug)]
pub(crate) struct Resize {
    mount: MountPoint,
    /// Which.
    pub(crate) volid: Volid,
    old: u64,
    new: u64,
}

impl Resize {
    /// # Errors
    /// 500 for a size that is not larger (rec 165). Unrecorded: `already at specified size`, API2/LXC.pm:2401 of pve-container 6.1.10.
    pub(crate) fn check_size(&self) -> Result<(), ApiError> {
        match self.new.cmp(&self.old) {
            std::cmp::Ordering::Less => Err(ApiError::die("unable to shrink disk size")),
            std::cmp::Ordering::Equal => Err(ApiError::die("disk is already at specified size")),
            std::cmp::Ordering::Greater => Ok(()),
        }
    }
}

/// Finds the volume of a resize, its real size and the wanted one: asked before the task and again in it.
///
/// # Errors
/// 500. Unrecorded: API2/LXC.pm:2370–2395 of pve-container 6.1.10.
pub(crate) fn check_resize(
    host: &Host,
    vmid: u32,
    config: &GuestConfig,
    (disk, size): (&str, &str),
) -> Result<Resize, ApiError> {
    let mount = stored_mount_point(config, disk)?;
    let volid = Volid::parse(&mount.volume)?;
    if let Some(owner) = volid.parts()?.vmid.filter(|owner| *owner != vmid) {
        return Err(ApiError::die(format!("can't resize mount point owned by another container ({owner})")));
    }
    let storages = Storages::load(host)?;
    let storage = storages.enabled(&volid.storage)?;
    storage.activate(host)?;
    let (images, name) = (storage.images(), image_name(&volid)?);
    if !images.exists(&name) {
        return Err(ApiError::die(format!("volume '{volid}' does not exist")));
    }
    let old = images.size(&name)?;
    let asked = parse_size(size.strip_prefix('+').unwrap_or(size)).unwrap_or_default();
    let new = if size.starts_with('+') { old.saturating_add(asked) } else { asked };
    Ok(Resize { mount, volid, old, new })
}

/// A mount point as the configuration has it.
///
/// # Errors
/// 500 `format error` with a text for each key (F8), also if there is none.
pub(crate) fn stored_mount_point(config: &GuestConfig, key: &str) -> Result<MountPoint, ApiError> {
    let value = config.current.get(key).unwrap_or_default();
    MountPoint::parse(key, value).map_err(|text| {
        let text = text.strip_prefix(&format!("{key}.")).unwrap_or(&text);
        let (name, text) = text.split_once(": ").unwrap_or(("volume", text));
        let errors = [(name.to_owned(), format!("{text}\n"))].into();
        ApiError { errors, ..ApiError::die("format error") }
    })
}

/// The `resize` task.
pub(crate) fn resize(worker: &mut Worker, vmid: u32, disk: &str, size: &str) -> Result<(), ApiError> {
    let host = worker.host.clone();
    let _held = power::lock(worker, vmid)?;
    let mut config = guests::load(&host, vmid)?;
    guests::check_lock(&config)?;
    let mut found = check_resize(&host, vmid, &config, (disk, size))?;
    found.check_size()?;
    let storages = Storages::load(&host)?;
    let storage = storages.get(&found.volid.storage)?;
    let (images, name) = (storage.images(), image_name(&found.volid)?);
    images.set_size(&name, found.new)?;
    worker.say("Image resized.");
    worker.phase("resized")?;
    found.mount.options.set("size", format_size(found.new));
    config.current.set(disk, found.mount.to_text(disk));
    guests::save(&host, vmid, &config)?;
    if machine::running(&host, vmid).is_none() {
        say_resized(worker, storage, &name, &found);
    }
    Ok(())
}

/// What `e2fsck` and `resize2fs` print for a stopped guest's volume (rec 2/564, 573).
fn say_resized(worker: &mut Worker, storage: &Storage, name: &VolumeName, found: &Resize) {
    let images = storage.images();
    let tree = images.tree(name);
    // Growing does not change the size of a block (rec 975).
    let Ext4 { block, blocks, inodes } = Ext4::of(found.old);
    let used = images.used(name) / block;
    let (path, files) = (storage.shown(&tree), Entries::of(&tree).total());
    worker.say("e2fsck 1.47.2 (1-Jan-2025)");
    let passes = ["inodes, blocks, and sizes", "directory structure", "directory connectivity"];
    for (pass, what) in passes.iter().enumerate() {
        worker.say(format!("Pass {}: Checking {what}", pass + 1));
    }
    worker.say("Pass 4: Checking reference counts");
    worker.say("Pass 5: Checking group summary information");
    worker.say(format!("{path}: {files}/{inodes} files (0.0% non-contiguous), {used}/{blocks} blocks"));
    worker.say("resize2fs 1.47.2 (1-Jan-2025)");
    let (blocks, kib) = (found.new / block, block / 1024);
    worker.say(format!("Resizing the filesystem on {path} to {blocks} ({kib}k) blocks."));
    worker.say(format!("The filesystem on {path} is now {blocks} ({kib}k) blocks long."));
    worker.say("");
}

/// How many of what a tree holds.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// Everything that is neither of the others.
    pub(crate) files: u64,
    /// The tree's own included.
    pub(crate) directories: u64,
    /// Symbolic links.
    pub(crate) links: u64,
}

impl Entries {
    /// Counts a tree.
    pub(crate) fn of(tree: &Path) -> Self {
        let mut all = Self { directories: 1, ..Self::default() };
        for entry in fs::read_dir(tree).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    let inside = Self::of(&entry.path());
                    all.files += inside.files;
                    all.directories += inside.directories;
                    all.links += inside.links;
                }
                Ok(kind) if kind.is_symlink() => all.links += 1,
                _ => all.files += 1,
            }
        }
        all
    }

    fn total(&self) -> u64 {
        self.files + self.directories + self.links
    }
}

/// The `imgdel` task (F64): a missing archive is no error, a protected one is.
pub(crate) fn delete_volume(worker: &mut Worker, text: &str) -> Result<(), ApiError> {
    let volid = Volid::parse(text)?;
    let storages = Storages::load(&worker.host)?;
    let storage = storages.enabled(&volid.storage)?;
    storage.activate(&worker.host)?;
    let path = storage.path_of(&volid)?;
    match volid.parts()?.kind {
        VolumeKind::Images => {
            let host = worker.host.clone();
            remove_image(&host, storage, &volid, &mut |text| worker.say(text))?;
        }
        VolumeKind::Backup => {
            if protected_path(&path).exists() {
                return Err(ApiError::die(format!(
                    "cannot remove protected volume '{}' on '{}'",
                    volid.name, volid.storage
                )));
            }
            remove_archive(&worker.host, &path)?;
            worker.phase("removed")?;
            remove_side_files(&path)?;
        }
        VolumeKind::Template | VolumeKind::Iso | VolumeKind::Snippet => {
            destroyed::note_file(&worker.host, &path)?;
            unlink(&path)?;
        }
    }
    worker.say(format!("Removed volume '{text}'"));
    Ok(())
}

/// Removes an archive. A missing file is no error.
pub(crate) fn remove_archive(host: &Host, path: &Path) -> Result<(), ApiError> {
    destroyed::note_file(host, path)?;
    unlink(path)
}

/// Removes what lies beside a removed archive (Unrecorded in its order: src/PVE/Storage.pm:1842 of pve-storage).
pub(crate) fn remove_side_files(path: &Path) -> Result<(), ApiError> {
    [log_path(path), notes_path(path)].iter().try_for_each(|file| unlink(file))
}

fn unlink(path: &Path) -> Result<(), ApiError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
