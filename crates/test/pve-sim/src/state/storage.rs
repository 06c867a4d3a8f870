//! `storage.cfg`: which storages there are, where a volume of theirs lies, and how full they are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

pub(crate) use super::disk::Capacity;
use super::disk::{Disk, Disks};
use super::property::{has_newline, parse_boolean};
use super::volid::{Volid, VolumeKind};
use super::{Host, atomic};
use crate::error::ApiError;
use crate::fault;
use crate::http::params::split_list;
use crate::volume::{ImageStore, Layout, VolumeName};

/// Storage types this host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StorageKind {
    /// A directory; it cannot snapshot.
    Dir,
    /// btrfs; it can.
    Btrfs,
    /// Thin volumes of LVM; it can, and holds volumes only. No recording shows one.
    /// Unrecorded: PVE/Storage/LvmThinPlugin.pm:27-58 of libpve-storage-perl 9.1.7 (content, options, volume names).
    LvmThin,
}

impl StorageKind {
    /// As in storage.cfg.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::Btrfs => "btrfs",
            Self::LvmThin => "lvmthin",
        }
    }

    /// By that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Dir, Self::Btrfs, Self::LvmThin].into_iter().find(|kind| kind.name() == name)
    }

    /// Content types that it can hold.
    pub(crate) fn possible_content(self) -> &'static [&'static str] {
        match self {
            Self::Dir | Self::Btrfs => {
                &["backup", "images", "import", "iso", "none", "rootdir", "snippets", "vztmpl"]
            }
            Self::LvmThin => &["images", "rootdir"],
        }
    }
}

/// One storage's definition, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Storage {
    /// Storage id.
    pub(crate) id: String,
    /// Type.
    pub(crate) kind: StorageKind,
    /// Its directory on the node: `path` as written, or `/dev/VGNAME`.
    pub(crate) at: String,
    /// Its directory on this machine.
    pub(crate) path: PathBuf,
    /// Everything else as written: content, prune-backups, disable, is_mountpoint, shared…
    pub(crate) options: BTreeMap<String, String>,
    /// The file system it is on.
    disk: Disk,
    /// What has to be mounted, and is not.
    away: Option<String>,
    offline: bool,
    /// The node, if the definition does not name it.
    elsewhere: Option<String>,
}

impl Storage {
    /// A definition, as yet without a place.
    pub(crate) fn new(id: &str, kind: StorageKind, at: &str, options: BTreeMap<String, String>) -> Self {
        Self {
            id: id.to_owned(),
            kind,
            at: at.to_owned(),
            path: PathBuf::from(at),
            options,
            disk: Disk::default(),
            away: None,
            offline: false,
            elsewhere: None,
        }
    }

    /// Finds its place on a host.
    pub(crate) fn settle(&mut self, host: &Host, disks: &Disks) {
        if self.kind == StorageKind::LvmThin {
            self.at = format!("/dev/{}", self.options.get("vgname").map_or("", String::as_str));
        }
        if !self.at.starts_with('/') {
            return;
        }
        let place = disks.place(host, &self.at);
        (self.path, self.disk, self.offline) = (place.path, place.disk, place.offline);
        let wanted = self.options.get("is_mountpoint").and_then(|text| match parse_boolean(text) {
            Some(true) => Some(self.at.clone()),
            Some(false) => None,
            None => Some(text.clone()),
        });
        self.away = wanted.filter(|path| !disks.mounted(host, path));
        let nodes = self.options.get("nodes");
        let named = nodes.is_none_or(|all| split_list(all).contains(&host.node));
        self.elsewhere = (!named).then(|| host.node.clone());
    }

    /// Content types it may hold; if none are written, what its type holds by itself.
    pub(crate) fn content(&self) -> Vec<&str> {
        match self.options.get("content") {
            Some(content) => content.split(',').collect(),
            None => vec!["images", "rootdir"],
        }
    }

    /// Whether a content type may be put on it.
    pub(crate) fn holds(&self, content: &str) -> bool {
        self.content().contains(&content)
    }

    /// Switched off by its owner.
    pub(crate) fn disabled(&self) -> bool {
        self.options.get("disable").is_some_and(|d| d == "1")
    }

    /// Whether it is neither disabled nor restricted to other nodes.
    ///
    /// # Errors
    /// 500 `storage 'x' is disabled`, `… is not available on node 'y'`.
    pub(crate) fn check_enabled(&self) -> Result<(), ApiError> {
        let id = &self.id;
        if self.disabled() {
            return Err(ApiError::die(format!("storage '{id}' is disabled")));
        }
        match &self.elsewhere {
            // Unrecorded: PVE/Storage.pm `storage_check_node` of libpve-storage-perl 9.1.7.
            Some(node) => Err(ApiError::die(format!("storage '{id}' is not available on node '{node}'"))),
            None => Ok(()),
        }
    }

    /// Whether volumes on it can be snapshotted.
    pub(crate) fn snapshots(&self) -> bool {
        self.kind != StorageKind::Dir
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
        let lvm = self.kind == StorageKind::LvmThin;
        if lvm == volid.name.contains('/') {
            let family = if lvm { "lvm" } else { "directory" };
            return Err(ApiError::die(format!("unable to parse {family} volume name '{}'", volid.name)));
        }
        let parts = volid.parts()?;
        Ok(match parts.kind {
            VolumeKind::Backup => self.dump_dir().join(parts.file),
            VolumeKind::Template => self.path.join("template/cache").join(parts.file),
            VolumeKind::Iso => self.path.join("template/iso").join(parts.file),
            VolumeKind::Snippet => self.path.join("snippets").join(parts.file),
            VolumeKind::Images => self.images().tree(&image_name(volid)?),
        })
    }

    /// A path of this machine as the node has it.
    pub(crate) fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.path) {
            Ok(rest) if rest.as_os_str().is_empty() => self.at.clone(),
            Ok(rest) => format!("{}/{}", self.at, rest.display()),
            Err(_) => path.display().to_string(),
        }
    }

    /// The id of a guest's volume on it.
    pub(crate) fn volid(&self, name: &VolumeName) -> String {
        match self.kind {
            StorageKind::LvmThin => format!("{}:{}", self.id, name.stem()),
            StorageKind::Dir | StorageKind::Btrfs => format!("{}:{name}", self.id),
        }
    }

    /// Its guests' volumes.
    pub(crate) fn images(&self) -> ImageStore {
        let layout = if self.snapshots() { Layout::Btrfs } else { Layout::Dir };
        ImageStore::new(&self.path, layout)
    }

    /// Total, available and used bytes of the file system below it.
    pub(crate) fn capacity(&self) -> Capacity {
        self.disk.capacity(&self.path)
    }

    /// How many bytes can still be written to it, if `control/disks.json` limits that.
    pub(crate) fn room(&self) -> Option<u64> {
        self.disk.room()
    }

    /// `activate_storage`: the checks before each use; makes its directories as its definition says (rec2 898, 917–944).
    ///
    /// # Errors
    /// If it is disabled, not mounted, or cannot be reached.
    pub(crate) fn activate(&self, host: &Host) -> Result<(), ApiError> {
        self.check_enabled()?;
        // Unrecorded: what a storage on the network says, activate_storage in src/PVE/Storage.pm of pve-storage.
        if fault::storage_offline(host, &self.id) {
            return Err(ApiError::die(format!("storage '{}' is not online", self.id)));
        }
        let unable =
            |text: String| Err(ApiError::die(format!("unable to activate storage '{}' - {text}", self.id)));
        if let Some(mount_point) = &self.away {
            return unable(format!(
                "directory is expected to be a mount point but is not mounted: '{mount_point}'"
            ));
        }
        let flag = |option: &str| self.options.get(option).map(|text| text != "0");
        let (base, folders, both) = (flag("create-base-path"), flag("create-subdirs"), flag("mkdir"));
        if base.or(both).unwrap_or(true) && !self.offline {
            drop(std::fs::create_dir_all(&self.path));
        }
        if self.offline || !self.path.is_dir() {
            return unable(format!("directory '{}' does not exist or is unreachable", self.at));
        }
        // Unrecorded: src/PVE/Storage/Plugin.pm:2000 of pve-storage.
        if self.kind == StorageKind::LvmThin || (folders != Some(false) && both != Some(false)) {
            self.make_folders()?;
        }
        Ok(())
    }

    fn make_folders(&self) -> Result<(), ApiError> {
        for (content, folder) in FOLDERS {
            if self.holds(content) || (*content == "backup" && self.holds("rootdir")) {
                std::fs::create_dir_all(self.path.join(folder)).map_err(|e| {
                    ApiError::die(format!(
                        "failed to create content directory '{}/{folder}' for content '{content}' - {e}",
                        self.at
                    ))
                })?;
            }
        }
        Ok(())
    }
}

/// Options that are booleans.
pub(crate) const BOOLEANS: &[&str] = &[
    "create-base-path",
    "create-subdirs",
    "disable",
    "mkdir",
    "nocow",
    "shared",
    "snapshot-as-volume-chain",
];

/// A value of the file: a boolean without one is 1, and what is no boolean, or nothing, is passed over (Unrecorded:
/// src/PVE/SectionConfig.pm:1168 of pve-common).
fn checked<'a>(key: &str, value: &'a str) -> Option<&'a str> {
    match (BOOLEANS.contains(&key), value) {
        (true, "") => Some("1"),
        (true, value) => Some(value).filter(|value| ["0", "1"].contains(value)),
        (false, value) => Some(value).filter(|value| !value.is_empty()),
    }
}

/// Content types and their folders.
const FOLDERS: &[(&str, &str)] = &[
    ("backup", "dump"),
    ("images", "images"),
    ("import", "import"),
    ("iso", "template/iso"),
    ("rootdir", "private"),
    ("snippets", "snippets"),
    ("vztmpl", "template/cache"),
];

/// The name of a guest's volume in its storage.
///
/// # Errors
/// 500 `unable to parse directory volume name '…'`.
pub(crate) fn image_name(volid: &Volid) -> Result<VolumeName, ApiError> {
    let thin = || VolumeName::from_stem(&volid.name);
    volid
        .name
        .parse()
        .ok()
        .or_else(thin)
        .ok_or_else(|| ApiError::die(format!("unable to parse directory volume name '{}'", volid.name)))
}

/// All storages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Storages(pub(crate) Vec<Storage>);

impl Storages {
    /// Reads `storage.cfg`.
    pub(crate) fn load(host: &Host) -> Result<Self, ApiError> {
        let mut all = Self::parse(&atomic::read_optional(&host.dir.storage_config())?.unwrap_or_default());
        let disks = Disks::load(host)?;
        all.0.iter_mut().for_each(|storage| storage.settle(host, &disks));
        Ok(all)
    }

    /// Writes `storage.cfg`.
    pub(crate) fn save(&self, host: &Host) -> Result<(), ApiError> {
        for storage in &self.0 {
            let mut options = storage.options.iter();
            if has_newline(&storage.at) || options.any(|(_, value)| has_newline(value)) {
                let id = &storage.id;
                return Err(ApiError::die(format!(
                    "detected invalid newline inside an option of storage '{id}'"
                )));
            }
        }
        Ok(atomic::write(&host.dir.storage_config(), self.to_text().as_bytes())?)
    }

    /// Parses the file's text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut all: Vec<Storage> = Vec::new();
        for line in text.lines() {
            if let Some(option) = line.strip_prefix(['\t', ' ']) {
                let option = option.trim();
                let (key, value) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
                if let (Some(storage), Some(value)) = (all.last_mut(), checked(key, value.trim())) {
                    if key == "path" {
                        storage.at = value.to_owned();
                        storage.path = PathBuf::from(&storage.at);
                    } else {
                        storage.options.entry(key.to_owned()).or_insert_with(|| value.to_owned());
                    }
                }
            } else if let Some((kind, id)) = line.split_once(':')
                && let Some(kind) = StorageKind::parse(kind)
            {
                all.push(Storage::new(id.trim(), kind, "", BTreeMap::new()));
            }
        }
        Self(all)
    }

    /// The file's text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for storage in &self.0 {
            let _ = writeln!(text, "{}: {}", storage.kind.name(), storage.id);
            if storage.kind != StorageKind::LvmThin {
                let _ = writeln!(text, "\tpath {}", storage.at);
            }
            for (key, value) in storage.options.iter().filter(|(_, value)| !value.is_empty()) {
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
        storage.check_enabled().map(|()| storage)
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

    /// The file system that a directory on one of them is on, if it is limited: the directory, its name, bytes left.
    pub(crate) fn below(&self, tree: &Path) -> Option<(PathBuf, String, u64)> {
        let storage = self.0.iter().find(|storage| tree.starts_with(&storage.path))?;
        Some((tree.to_owned(), storage.disk.at.clone(), storage.room()?))
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
        let text =
            "dir: local\n\tpath /srv/vz\n\tdisable\n\tnodes\n\tshared yes\n\tcontent iso\n\tcontent backup\n";
        let settled = "dir: local\n\tpath /srv/vz\n\tcontent iso\n\tdisable 1\n\n";
        assert_eq!(Storages::parse(text).to_text(), settled);
        assert_eq!(path, PathBuf::from("/srv/tank/images/101/vm-101-disk-0/disk.raw"));
    }
}
