//! Changing a guest's options: at once, or pending until it stops (F41, F42, F95). Volumes are made and freed on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::{disks, machine};
use crate::api::lxc::config::is_live;
use crate::api::lxc::fields::is_mount_point;
use crate::api::lxc::perms::{is_net, new_disk};
use crate::error::ApiError;
use crate::http::params::split_list;
use crate::state::Host;
use crate::state::guest_config::{GuestConfig, Section};
use crate::state::property::{MountPoint, Properties, format_size};
use crate::state::secrets::random_hex;
use crate::state::storage::Storages;
use crate::state::volid::Volid;

/// A change of options.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// New values.
    pub(crate) set: &'a BTreeMap<String, String>,
    /// Options to remove.
    pub(crate) delete: &'a [String],
    /// Whether the guest runs.
    pub(crate) running: bool,
}

/// Options whose removal is pending.
pub(crate) fn pending_deletes(config: &GuestConfig) -> BTreeSet<String> {
    let listed = split_list(config.pending.get("delete").unwrap_or_default());
    listed.into_iter().map(|k| k.trim_start_matches('!').to_owned()).collect()
}

fn set_pending_deletes(config: &mut GuestConfig, keys: &BTreeSet<String>) {
    if keys.is_empty() {
        config.pending.values.remove("delete");
    } else {
        config.pending.set("delete", keys.iter().cloned().collect::<Vec<_>>().join(","));
    }
}

/// Forgets a pending change.
pub(crate) fn revert(config: &mut GuestConfig, key: &str) {
    config.pending.values.remove(key);
    let mut deletes = pending_deletes(config);
    deletes.remove(key);
    set_pending_deletes(config, &deletes);
}

/// Changes `config`; the caller holds the guest's lock and saves.
///
/// # Errors
/// If a volume cannot be made or freed.
pub(crate) fn apply(
    host: &Host,
    vmid: u32,
    config: &mut GuestConfig,
    request: Request<'_>,
) -> Result<(), ApiError> {
    for key in request.delete {
        if config.current.get(key).is_none() {
            continue;
        }
        if request.running && !is_live(key) {
            let mut deletes = pending_deletes(config);
            deletes.insert(key.clone());
            set_pending_deletes(config, &deletes);
        } else {
            remove_now(host, vmid, config, key).map_err(|e| not_applied(key, request.running, &e))?;
        }
    }
    for (key, value) in request.set {
        let new_mount = is_mount_point(key) && config.current.get(key).is_none();
        if request.running && !is_live(key) && !new_mount {
            revert(config, key);
            if config.current.get(key) != Some(value.as_str()) {
                config.pending.set(key, value.clone());
            }
        } else {
            revert(config, key);
            set_now(host, vmid, config, (key, value)).map_err(|e| not_applied(key, request.running, &e))?;
            if request.running
                && new_mount
                && let Some(Ok(mount)) = config.current.get(key).map(|v| MountPoint::parse(key, v))
            {
                machine::plug(host, vmid, (key, &mount))?;
            }
        }
    }
    Ok(())
}

/// Volumes' errors come as those of a parameter. Unrecorded: LXC/Config.pm:1629 and 1752 of pve-container 6.1.10.
fn not_applied(key: &str, running: bool, error: &ApiError) -> ApiError {
    if error.status != 500 || !(is_mount_point(key) || key.starts_with("unused")) {
        return error.clone();
    }
    let what = if running { "unable to hotplug" } else { "unable to apply pending change" };
    let colon = if running { ":" } else { " :" };
    ApiError::param(key, format!("{what} {key}{colon} {error}\n"))
}

/// What waited for the guest to stop: called when it stops and before it starts.
pub(crate) fn apply_pending(host: &Host, vmid: u32, config: &mut GuestConfig) -> Result<bool, ApiError> {
    if config.pending.values.is_empty() {
        return Ok(false);
    }
    let deletes: Vec<String> = pending_deletes(config).into_iter().collect();
    let mut set = std::mem::take(&mut config.pending).values;
    set.remove("delete");
    apply(host, vmid, config, Request { set: &set, delete: &deletes, running: false })?;
    Ok(true)
}

fn remove_now(host: &Host, vmid: u32, config: &mut GuestConfig, key: &str) -> Result<(), ApiError> {
    let Some(old) = config.current.values.remove(key) else { return Ok(()) };
    if is_mount_point(key) {
        keep_unused(config, &old, key)?;
    } else if key.starts_with("unused") && !is_used(config, &old) {
        // F42: this destroys the volume.
        disks::remove(host, vmid, &old, &mut |_| ())?;
    }
    Ok(())
}

/// Whether a mount point of the configuration, of its pending changes or of a snapshot is a volume.
fn is_used(config: &GuestConfig, volid: &str) -> bool {
    let sections = [&config.current, &config.pending].into_iter().chain(config.snapshots.values());
    sections.flat_map(Section::mount_points).any(|(_, mount)| mount.volume == volid)
}

/// F42: a volume that no mount point refers to any more becomes `unusedN`.
fn keep_unused(config: &mut GuestConfig, old: &str, key: &str) -> Result<(), ApiError> {
    let Ok(mount) = MountPoint::parse(key, old) else { return Ok(()) };
    let attached = config.current.mount_points().iter().any(|(_, m)| m.volume == mount.volume);
    if mount.is_volume() && !attached { add_unused(&mut config.current, &mount.volume) } else { Ok(()) }
}

/// Enters a volume under the first free `unusedN`, if it is not there already.
///
/// # Errors
/// If all 256 are taken.
pub(crate) fn add_unused(section: &mut Section, volume: &str) -> Result<(), ApiError> {
    if section.unused().iter().any(|(_, v)| v == volume) {
        return Ok(());
    }
    match (0..256).map(|n| format!("unused{n}")).find(|k| section.get(k).is_none()) {
        Some(slot) => section.set(&slot, volume),
        // Unrecorded: AbstractConfig.pm:441 of pve-guest-common 6.0.2.
        None => return Err(ApiError::die("Too many unused volumes - please delete them first.")),
    }
    Ok(())
}

/// A volume may lie only on a storage that takes guests' volumes.
///
/// # Errors
/// 500, for an unknown storage too. Unrecorded: LXC/Config.pm:1333–1339 of pve-container 6.1.10.
pub(crate) fn check_content(host: &Host, mount: &MountPoint) -> Result<(), ApiError> {
    if !mount.is_volume() {
        return Ok(());
    }
    let id = Volid::parse(&mount.volume)?.storage;
    if Storages::load(host)?.get(&id)?.holds("rootdir") {
        Ok(())
    } else {
        Err(ApiError::die(format!("storage '{id}' does not allow content type 'rootdir' (Container)")))
    }
}

fn set_now(
    host: &Host,
    vmid: u32,
    config: &mut GuestConfig,
    (key, value): (&str, &str),
) -> Result<(), ApiError> {
    let stored = if key == "rootfs" {
        // F41: `rootfs=STORE:2` on an existing guest is stored literally.
        value.to_owned()
    } else if is_mount_point(key) {
        mount_value(host, vmid, key, value)?
    } else if is_net(key) {
        net_value(value)?
    } else {
        value.to_owned()
    };
    if key == "description" && stored.is_empty() {
        config.current.values.remove(key);
        return Ok(());
    }
    let old = config.current.values.insert(key.to_owned(), stored.clone());
    if is_mount_point(key) {
        let volume = MountPoint::parse(key, &stored).map(|m| m.volume).unwrap_or_default();
        config.current.values.retain(|k, v| !(k.starts_with("unused") && *v == volume));
        // F41, rec 139: of a rootfs nothing stays behind, which is why that loses it.
        if let Some(old) = old.filter(|_| key != "rootfs") {
            keep_unused(config, &old, key)?;
        }
    }
    Ok(())
}

/// A new volume is made; an existing one gets its real size written behind it; of a missing one nobody minds (F41).
fn mount_value(host: &Host, vmid: u32, key: &str, value: &str) -> Result<String, ApiError> {
    let mut mount = MountPoint::parse(key, value).map_err(|e| ApiError::param(key, e))?;
    if !mount.is_volume() {
        return Ok(mount.to_text(key));
    }
    if let Some((storage, gigabytes)) = new_disk(&mount.volume) {
        let bytes = disks::bytes(gigabytes);
        mount.volume = disks::allocate(host, storage, vmid, bytes)?;
        mount.options.set("size", format_size(bytes));
    } else {
        let _ = disks::rescan(host, &mut mount);
    }
    Ok(mount.to_text(key))
}

/// F46: a net gets `hwaddr` (a fresh one if none is given) and `type=veth`.
pub(crate) fn net_value(value: &str) -> Result<String, ApiError> {
    let mut net = Properties::parse(value, None)
        .map_err(|e| ApiError::die(format!("unable to parse network options: {e}")))?;
    if net.get("hwaddr").is_none() {
        net.set("hwaddr", random_mac()?);
    }
    let upper = net.get("hwaddr").unwrap_or_default().to_uppercase();
    net.set("hwaddr", upper);
    net.set("type", "veth");
    Ok(net.to_text(Some("name")))
}

/// A random address with Proxmox's prefix.
pub(crate) fn random_mac() -> Result<String, ApiError> {
    let tail = random_hex(3)?.to_uppercase();
    Ok(format!("BC:24:11:{}:{}:{}", &tail[..2], &tail[2..4], &tail[4..]))
}
