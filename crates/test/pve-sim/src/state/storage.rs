//! `storage.cfg`: which storages there are, where a volume of theirs lies, and how full they are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use super::volid::{Volid, VolumeKind};
use super::{Host, atomic};
use crate::error::ApiError;
use crate::fault;
use crate::volume::{ImageStore, Layout, VolumeName};

/// Storage types this host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StorageKind {
    /// A directory; it cannot snapshot.
    Dir,
    /// btrfs; it can.
    Btrfs,
}

impl StorageKind {
    /// As in storage.cfg.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::Btrfs => "btrfs",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        match name {
            "dir" => Some(Self::Dir),
            "btrfs" => Some(Self::Btrfs),
            _ => None,
        }
    }
}

/// One storage's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Storage {
    /// Storage id.
    pub(crate) id: String,
    /// Type.
    pub(crate) kind: StorageKind,
    /// Its directory on this machine.
    pub(crate) path: PathBuf,
    /// Everything else as written: content, prune-backups, disable, is_mountpoint, shared…
    pub(crate) options: BTreeMap<String, String>,
}

impl Storage {
    /// Content types it may hold.
    pub(crate) fn content(&self) -> Vec<&str> {
        self.options.get("content").map(|c| c.split(',').collect()).unwrap_or_default()
    }

    /// Whether a content type may be put on it.
    pub(crate) fn holds(&self, content: &str) -> bool {
        self.content().contains(&content)
    }

    /// Switched off by its owner.
    pub(crate) fn disabled(&self) -> bool {
        self.options.get("disable").is_some_and(|d| d == "1")
    }

    /// Whether volumes on it can be snapshotted.
    pub(crate) fn snapshots(&self) -> bool {
        self.kind == StorageKind::Btrfs
    }

    /// `dump`, where archives lie.
    pub(crate) fn dump_dir(&self) -> PathBuf {
        self.path.join("dump")
    }

    /// Where a volume lies: a file for archives, templates and images, a directory for a guest's volume.
    ///
    /// # Errors
    /// If the name makes no sense.
    pub(crate) fn path_of(&self, volid: &Volid) -> Result<PathBuf, ApiError> {
        let parts = volid.parts()?;
        Ok(match parts.kind {
            VolumeKind::Backup => self.dump_dir().join(parts.file),
            VolumeKind::Template => self.path.join("template/cache").join(parts.file),
            VolumeKind::Iso => self.path.join("template/iso").join(parts.file),
            VolumeKind::Images => self.images().tree(&image_name(volid)?),
        })
    }

    /// Its guests' volumes.
    pub(crate) fn images(&self) -> ImageStore {
        let layout = if self.snapshots() { Layout::Btrfs } else { Layout::Dir };
        ImageStore::new(&self.path, layout)
    }

    /// Total, available and used bytes of the file system below it.
    pub(crate) fn capacity(&self) -> Capacity {
        let Ok(fs) = rustix::fs::statvfs(&self.path) else { return Capacity::default() };
        let (total, avail) = (fs.f_blocks * fs.f_frsize, fs.f_bavail * fs.f_frsize);
        Capacity { total, avail, used: (fs.f_blocks - fs.f_bfree) * fs.f_frsize }
    }

    /// `can't use`: the checks before each use.
    ///
    /// # Errors
    /// If it is disabled, or its directory cannot be made.
    pub(crate) fn activate(&self, host: &Host) -> Result<(), ApiError> {
        if self.disabled() {
            return Err(ApiError::die(format!("storage '{}' is disabled", self.id)));
        }
        // Unrecorded: what a storage on the network says, activate_storage in src/PVE/Storage.pm of pve-storage.
        if fault::storage_offline(host, &self.id) {
            return Err(ApiError::die(format!("storage '{}' is not online", self.id)));
        }
        for sub in ["dump", "images", "template/cache", "template/iso"] {
            std::fs::create_dir_all(self.path.join(sub)).map_err(|e| {
                ApiError::die(format!(
                    "unable to activate storage '{}' - {}: {e}",
                    self.id,
                    self.path.display()
                ))
            })?;
        }
        Ok(())
    }
}

/// The name of a guest's volume in its storage.
///
/// # Errors
/// 500 `unable to parse directory volume name '…'`.
pub(crate) fn image_name(volid: &Volid) -> Result<VolumeName, ApiError> {
    volid
        .name
        .parse()
        .map_err(|_| ApiError::die(format!("unable to parse directory volume name '{}'", volid.name)))
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Size of the file system.
    pub(crate) total: u64,
    /// Free for use.
    pub(crate) avail: u64,
    /// In use.
    pub(crate) used: u64,
}

/// All storages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Storages(pub(crate) Vec<Storage>);

impl Storages {
    /// Reads `storage.cfg`.
    pub(crate) fn load(host: &Host) -> Result<Self, ApiError> {
        Ok(Self::parse(&atomic::read_optional(&host.dir.storage_config())?.unwrap_or_default()))
    }

    /// Writes `storage.cfg`.
    pub(crate) fn save(&self, host: &Host) -> Result<(), ApiError> {
        Ok(atomic::write(&host.dir.storage_config(), self.to_text().as_bytes())?)
    }

    /// Parses the file's text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut all: Vec<Storage> = Vec::new();
        for line in text.lines() {
            if let Some(option) = line.strip_prefix(['\t', ' ']) {
                let (key, value) =
                    option.trim().split_once(char::is_whitespace).unwrap_or((option.trim(), "1"));
                if let Some(storage) = all.last_mut() {
                    if key == "path" {
                        storage.path = PathBuf::from(value.trim());
                    } else {
                        storage.options.insert(key.to_owned(), value.trim().to_owned());
                    }
                }
            } else if let Some((kind, id)) = line.split_once(':')
                && let Some(kind) = StorageKind::parse(kind)
            {
                all.push(Storage {
                    id: id.trim().to_owned(),
                    kind,
                    path: PathBuf::new(),
                    options: BTreeMap::new(),
                });
            }
        }
        Self(all)
    }

    /// The file's text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for storage in &self.0 {
            let _ =
                write!(text, "{}: {}\n\tpath {}\n", storage.kind.name(), storage.id, storage.path.display());
            for (key, value) in &storage.options {
                let _ = writeln!(text, "\t{key} {value}");
            }
            text.push('\n');
        }
        text
    }

    /// A storage by id.
    ///
    /// # Errors
    /// 500 `storage 'x' does not exist` (F6).
    pub(crate) fn get(&self, id: &str) -> Result<&Storage, ApiError> {
        self.0
            .iter()
            .find(|s| s.id == id)
            .ok_or_else(|| ApiError::die(format!("storage '{id}' does not exist")))
    }

    /// A storage that may be used now.
    ///
    /// # Errors
    /// If it does not exist or is disabled.
    pub(crate) fn enabled(&self, id: &str) -> Result<&Storage, ApiError> {
        let storage = self.get(id)?;
        if storage.disabled() {
            Err(ApiError::die(format!("storage '{id}' is disabled")))
        } else {
            Ok(storage)
        }
    }

    /// Where a volume lies, and on which storage.
    ///
    /// # Errors
    /// For an id or a name that makes no sense, or an unknown storage.
    pub(crate) fn path_of(&self, volid: &str) -> Result<(&Storage, PathBuf), ApiError> {
        let volid = Volid::parse(volid)?;
        let storage = self.get(&volid.storage)?;
        let path = storage.path_of(&volid)?;
        Ok((storage, path))
    }

    /// 40 hexadecimal digits over the file's text.
    pub(crate) fn digest(&self) -> String {
        use sha2::{Digest, Sha256};
        hex::encode(&Sha256::digest(self.to_text().as_bytes())[..20])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_written_back() {
        let text = "dir: local\n\tpath /srv/vz\n\tcontent backup,iso,vztmpl\n\tprune-backups keep-all=1\n\n\
                    btrfs: tank\n\tpath /srv/tank\n\tcontent images,rootdir\n\n";
        let storages = Storages::parse(text);
        assert_eq!(storages.to_text(), text);
        let (storage, path) = storages.path_of("tank:101/vm-101-disk-0.raw").unwrap();
        assert!(storage.snapshots());
        assert_eq!(path, PathBuf::from("/srv/tank/images/101/vm-101-disk-0/disk.raw"));
    }
}
