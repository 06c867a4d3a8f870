//! The simulated host's disk, read as root could read a real one: guests' configurations, volumes, archives. What the
//! programs say is held against these bytes.

use std::{
    collections::BTreeMap,
    fs,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::world::{BACKUP_STORE, BACKUP_STORE_DIR, GUEST_STORE, GUEST_STORE_DIR, World};

/// A guest's configuration: `key: value` lines before the first section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GuestConfig {
    /// Values by key.
    pub(crate) values: BTreeMap<String, String>,
    /// The description: lines that begin with `#`, decoded.
    pub(crate) description: String,
}

impl GuestConfig {
    /// Read a configuration file's text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut config = Self::default();
        for line in text.lines() {
            if line.starts_with('[') {
                break;
            }
            if let Some(comment) = line.strip_prefix('#') {
                config.description.push_str(&percent_decoded(comment));
                config.description.push('\n');
            } else if let Some((key, value)) = line.split_once(':') {
                config.values.insert(key.trim().to_owned(), value.trim().to_owned());
            }
        }
        config
    }

    /// A value.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Whether a network interface's link is taken away, or there is no interface at all.
    pub(crate) fn link_is_down(&self) -> bool {
        self.get("net0").is_none_or(|net| net.split(',').any(|part| part == "link_down=1"))
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, code.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The guests that have a configuration file, by VMID.
pub(crate) fn guests(world: &World) -> Result<BTreeMap<u32, GuestConfig>> {
    let folder = world.path("pve/etc/pve/lxc");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let vmid = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(vmid) = vmid.filter(|_| path.extension().is_some_and(|extension| extension == "conf")) {
            found.insert(vmid, GuestConfig::parse(&fs::read_to_string(&path)?));
        }
    }
    Ok(found)
}

/// A guest's configuration file.
pub(crate) fn guest_config(world: &World, vmid: u32) -> PathBuf {
    world.path("pve/etc/pve/lxc").join(format!("{vmid}.conf"))
}

/// The folder of a storage.
pub(crate) fn storage(world: &World, storage: &str) -> PathBuf {
    let folder = if storage == GUEST_STORE { GUEST_STORE_DIR } else { BACKUP_STORE_DIR };
    world.path("pve").join(folder)
}

/// The volumes' folder of a guest, which exists while it has any volume.
pub(crate) fn volumes(world: &World, vmid: u32) -> PathBuf {
    storage(world, GUEST_STORE).join("images").join(vmid.to_string())
}

/// The tree of a guest's root volume.
pub(crate) fn rootfs(world: &World, vmid: u32) -> PathBuf {
    volumes(world, vmid).join(format!("vm-{vmid}-disk-0/disk.raw"))
}

/// The app's data in a guest's tree.
pub(crate) fn app_data(rootfs: &Path) -> PathBuf {
    rootfs.join(APP_DATA)
}

/// Where the app's data is, from a guest's root.
pub(crate) const APP_DATA: &str = "var/lib/felhom/volumes/sample_data";

/// The file of an archive by its volid, `STORE:backup/NAME`.
pub(crate) fn archive(world: &World, volid: &str) -> Result<PathBuf> {
    let (store, rest) = volid.split_once(':').with_context(|| format!("`{volid}` is no volid"))?;
    let name = rest.strip_prefix("backup/").with_context(|| format!("`{volid}` is no backup"))?;
    anyhow::ensure!(store == BACKUP_STORE, "`{volid}` is not in the backup storage");
    Ok(storage(world, store).join("dump").join(name))
}

/// Names of all archives of guests in the backup storage.
pub(crate) fn archives(world: &World) -> Result<Vec<String>> {
    let folder = storage(world, BACKUP_STORE).join("dump");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("vzdump-lxc-2") && name.ends_with(".tar.zst") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// SHA-256 of a file.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    hash(&mut file).with_context(|| format!("cannot read {}", path.display()))
}

fn hash(from: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Digests of the regular files below a folder, by path relative to it.
pub(crate) fn digests(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() {
                let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
                found.insert(name, sha256(&path)?);
            }
        }
    }
    Ok(found)
}

/// Digests of the files below a folder of an archive's tree, by path relative to it.
pub(crate) fn digests_in_archive(archive: &Path, below: &str) -> Result<BTreeMap<String, String>> {
    let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    let mut tar = tar::Archive::new(zstd::Decoder::new(file)?);
    let prefix = format!("{}/", below.trim_end_matches('/'));
    let mut found = BTreeMap::new();
    for entry in tar.entries()? {
        let mut entry = entry.with_context(|| format!("{} is damaged", archive.display()))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.trim_start_matches("./");
        if let Some(rest) = name.strip_prefix(&prefix).filter(|_| entry.header().entry_type().is_file()) {
            found.insert(rest.to_owned(), hash(&mut entry)?);
        }
    }
    Ok(found)
}

/// Turn one byte in the middle of a file into another one.
pub(crate) fn flip_byte(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let middle = bytes.len() / 2;
    let byte = bytes.get_mut(middle).with_context(|| format!("{} is empty", path.display()))?;
    *byte ^= 0x01;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_up_to_its_first_section() {
        let config = GuestConfig::parse(
            "#felhom%3A1 guest=a\narch: amd64\nnet0: name=eth0,bridge=vmbr0,link_down=1\n[vzdump]\nonboot: 1\n",
        );
        assert_eq!(config.description, "felhom:1 guest=a\n");
        assert_eq!((config.get("arch"), config.get("onboot")), (Some("amd64"), None));
        assert!(config.link_is_down());
        assert!(!GuestConfig::parse("net0: name=eth0,bridge=vmbr0\n").link_is_down());
        assert!(GuestConfig::parse("arch: amd64\n").link_is_down());
    }

    #[test]
    fn digests_of_a_folder_and_of_the_same_in_an_archive_are_equal() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("data/files")).unwrap();
        fs::write(tree.join("data/notes.db"), b"one").unwrap();
        fs::write(tree.join("data/files/a"), b"two").unwrap();
        let archive = dir.path().join("a.tar.zst");
        let mut tar = tar::Builder::new(zstd::Encoder::new(File::create(&archive).unwrap(), 1).unwrap());
        tar.append_dir_all(".", &tree).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        let before = digests(&tree.join("data")).unwrap();
        assert_eq!(before.len(), 2);
        assert_eq!(digests_in_archive(&archive, "data").unwrap(), before);
        flip_byte(&tree.join("data/files/a")).unwrap();
        assert_ne!(digests(&tree.join("data")).unwrap(), before);
    }
}
