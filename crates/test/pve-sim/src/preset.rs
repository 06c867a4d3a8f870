//! What a new state directory holds.

use std::collections::BTreeMap;
use std::fs;

use crate::error::ApiError;
use crate::state::access::Pool;
use crate::state::guest_config::GuestConfig;
use crate::state::storage::{Storage, StorageKind, Storages};
use crate::state::{Host, access_file, guests};
use crate::work::disks;

/// A starting point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Preset {
    /// As after the installation: storage `local` for archives and templates, nothing for guests.
    Empty,
    /// Also storage `tank` (btrfs) for guests.
    Default,
    /// Also fifty stopped guests, 100 to 149, with volumes, tags and five pools.
    Busy,
}

/// Fills what is missing; what is there stays.
pub(crate) fn apply(host: &Host, preset: Preset) -> Result<(), ApiError> {
    let new = !host.dir.storage_config().exists();
    if new {
        let mut all = vec![local()];
        if preset != Preset::Empty {
            all.push(tank());
        }
        Storages(all).save(host)?;
    }
    for storage in &Storages::load(host)?.0 {
        // One that cannot be used now may be later; whoever needs it is told.
        drop(storage.activate(host));
    }
    if !host.dir.user_config().exists() {
        access_file::update(host, |_| Ok(()))?;
    }
    if new && preset == Preset::Busy {
        (100..150).try_for_each(|vmid| guest(host, vmid))?;
    }
    Ok(())
}

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn local() -> Storage {
    let pairs = [("content", "backup,vztmpl,iso"), ("prune-backups", "keep-all=1")];
    Storage::new("local", StorageKind::Dir, "/var/lib/vz", options(&pairs))
}

fn tank() -> Storage {
    Storage::new("tank", StorageKind::Btrfs, "/mnt/tank", options(&[("content", "rootdir,images")]))
}

const POOLS: [&str; 5] = ["web", "database", "mail", "build", "lab"];

/// One of many: a root file system with nothing to start, every third with a data volume.
fn guest(host: &Host, vmid: u32) -> Result<(), ApiError> {
    let number = vmid - 100;
    let pool = POOLS[number as usize % POOLS.len()];
    let mut config = GuestConfig::default();
    let rootfs = disks::allocate(host, "tank", vmid, 8 << 30)?;
    let (_, path) = Storages::load(host)?.path_of(&rootfs)?;
    fs::create_dir_all(path.join("etc"))?;
    fs::write(path.join("etc/hostname"), format!("{pool}-{number}\n"))?;
    let current = &mut config.current;
    for (key, value) in [
        ("arch", "amd64"),
        ("ostype", "debian"),
        ("unprivileged", "1"),
        ("swap", "512"),
        ("features", "nesting=1"),
        ("onboot", if number.is_multiple_of(2) { "1" } else { "0" }),
        ("tags", if number.is_multiple_of(5) { "critical;linux" } else { "linux" }),
    ] {
        current.set(key, value);
    }
    current.set("hostname", format!("{pool}-{number}"));
    current.set("cores", (1 + number % 4).to_string());
    current.set("memory", (512 << (number % 4)).to_string());
    current.set("net0", format!("name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:{number:02X},type=veth"));
    current.set("rootfs", format!("{rootfs},size=8G"));
    if number.is_multiple_of(3) {
        let data = disks::allocate(host, "tank", vmid, 32 << 30)?;
        current.set("mp0", format!("{data},mp=/srv/data,backup=1,size=32G"));
    }
    guests::save(host, vmid, &config)?;
    access_file::update(host, |access| {
        access.pools.entry(pool.to_owned()).or_insert_with(Pool::default).vms.insert(vmid);
        Ok(())
    })
}
