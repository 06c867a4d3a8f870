//! Reading and writing guests' configuration files.

use std::fs;

use super::guest_config::GuestConfig;
use super::{Host, atomic};
use crate::error::ApiError;

/// All VMIDs that have a configuration file, ascending.
pub(crate) fn list(host: &Host) -> Result<Vec<u32>, ApiError> {
    let mut ids: Vec<u32> = fs::read_dir(host.dir.guests())?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".conf")?.parse().ok())
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Whether a VMID is taken.
pub(crate) fn exists(host: &Host, vmid: u32) -> bool {
    host.dir.guest_config(vmid).exists()
}

/// A guest's configuration.
///
/// # Errors
/// 500 `Configuration file 'nodes/pve/lxc/100.conf' does not exist` (F6, rec 67).
pub(crate) fn load(host: &Host, vmid: u32) -> Result<GuestConfig, ApiError> {
    match atomic::read_optional(&host.dir.guest_config(vmid))? {
        Some(text) => Ok(GuestConfig::parse(&text)),
        None => Err(ApiError::die(format!(
            "Configuration file 'nodes/{}/lxc/{vmid}.conf' does not exist",
            host.node
        ))),
    }
}

/// Values of some keys, without reading the rest: the list of resources asks this of every guest.
pub(crate) fn properties<'a>(host: &Host, vmid: u32, keys: &[&'a str]) -> Vec<(&'a str, String)> {
    let Ok(Some(text)) = atomic::read_optional(&host.dir.guest_config(vmid)) else { return Vec::new() };
    let pairs =
        text.lines().take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once(": "));
    let wanted = pairs.filter_map(|(key, value)| {
        keys.iter().find(|wanted| **wanted == key).map(|key| (*key, value.trim().to_owned()))
    });
    wanted.collect()
}

/// Replaces a guest's configuration. The caller holds its lock.
///
/// # Errors
/// A value that would not stay on its line. Unrecorded: write_pct_config in PVE/LXC/Config.pm of pve-container.
pub(crate) fn save(host: &Host, vmid: u32, config: &GuestConfig) -> Result<(), ApiError> {
    let mut config = config.clone();
    config.current.drop_used();
    if let Some(key) = config.broken_line() {
        return Err(ApiError::die(format!("detected invalid newline inside property '{key}'")));
    }
    Ok(atomic::write(&host.dir.guest_config(vmid), config.to_text().as_bytes())?)
}

/// Removes a guest's configuration file.
pub(crate) fn remove(host: &Host, vmid: u32) -> Result<(), ApiError> {
    match fs::remove_file(host.dir.guest_config(vmid)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Removes a guest's firewall file. No error if there is none.
pub(crate) fn remove_firewall(host: &Host, vmid: u32) -> Result<(), ApiError> {
    match fs::remove_file(host.dir.guest_firewall(vmid)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Refuses a guest that holds a lock.
///
/// # Errors
/// 500 `CT is locked (backup)`.
pub(crate) fn check_lock(config: &GuestConfig) -> Result<(), ApiError> {
    match config.current.get("lock") {
        Some(lock) => Err(ApiError::die(format!("CT is locked ({lock})"))),
        None => Ok(()),
    }
}

/// Sets the `lock` key.
///
/// # Errors
/// If another one stands.
pub(crate) fn set_lock(host: &Host, vmid: u32, lock: &str) -> Result<GuestConfig, ApiError> {
    let _held = host.lock_guest(vmid)?;
    let mut config = load(host, vmid)?;
    check_lock(&config)?;
    config.current.set("lock", lock);
    save(host, vmid, &config)?;
    Ok(config)
}

/// Removes the `lock` key, whatever it holds (`None`) or only if it holds the given one.
///
/// # Errors
/// `no lock found trying to remove 'x' lock`, or that another one stands.
pub(crate) fn clear_lock(host: &Host, vmid: u32, expected: Option<&str>) -> Result<(), ApiError> {
    let _held = host.lock_guest(vmid)?;
    let mut config = load(host, vmid)?;
    let held = config.current.values.remove("lock");
    match (held.as_deref(), expected) {
        (None, Some(wanted)) => {
            return Err(ApiError::die(format!("no lock found trying to remove '{wanted}'  lock")));
        }
        (Some(held), Some(wanted)) if held != wanted => {
            return Err(ApiError::die(format!("found lock '{held}' trying to remove '{wanted}' lock")));
        }
        _ => {}
    }
    save(host, vmid, &config)
}
