//! `pct rescan`: volumes that carry a guest's VMID but are not in its configuration become `unusedN`, and recorded sizes are corrected
//! (F78, rec 2/146). Source: `PVE::LXC::rescan`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::settings;
use crate::error::ApiError;
use crate::state::property::format_size;
use crate::state::storage::Storages;
use crate::state::{Host, guests};

/// A volume on a storage.
#[derive(Debug)]
struct Volume {
    path: PathBuf,
    size: u64,
    vmid: u32,
}

/// Rescans one guest or all; `say` gets each line of output.
///
/// # Errors
/// A guest that does not exist or is locked.
pub(crate) fn run(
    host: &Host,
    vmid: Option<u32>,
    dry: bool,
    say: &mut dyn FnMut(&str),
) -> Result<(), ApiError> {
    if dry {
        say("NOTE: running in dry-run mode, won't write changes out!");
    }
    say("rescan volumes...");
    let volumes = scan(host, vmid, say)?;
    let wanted = match vmid {
        Some(vmid) => vec![vmid],
        None => guests::list(host)?,
    };
    for vmid in wanted {
        let _held = host.lock_guest(vmid)?;
        let mut config = guests::load(host, vmid)?;
        guests::check_lock(&config)?;
        let mut changed = false;
        for volid in unreferenced(&config, vmid, &volumes) {
            let before = config.current.unused();
            settings::add_unused(&mut config.current, &volid)?;
            let after = config.current.unused();
            if let Some((key, _)) = after.iter().find(|entry| !before.contains(entry)) {
                say(&format!("CT {vmid}: add unreferenced volume '{volid}' as '{key}' to config."));
                changed = true;
            }
        }
        for (key, mut mount) in config.current.mount_points() {
            let Some(volume) = volumes.get(&mount.volume).filter(|v| v.vmid == vmid) else { continue };
            if mount.size() != Some(volume.size) {
                say(&format!("CT {vmid}: updated volume size of '{}' in config.", mount.volume));
                mount.options.set("size", format_size(volume.size));
                config.current.set(&key, mount.to_text(&key));
                changed = true;
            }
        }
        if changed && !dry {
            guests::save(host, vmid, &config)?;
        }
    }
    Ok(())
}

/// By volume id, on every storage that takes guests' volumes. One that cannot be used is only mentioned.
fn scan(
    host: &Host,
    vmid: Option<u32>,
    say: &mut dyn FnMut(&str),
) -> Result<BTreeMap<String, Volume>, ApiError> {
    let mut all = BTreeMap::new();
    for storage in Storages::load(host)?.0.iter().filter(|s| s.holds("rootdir") && !s.disabled()) {
        if let Err(error) = storage.activate(host) {
            say(&error.to_string());
            continue;
        }
        let images = storage.images();
        for info in images.list(vmid)? {
            let volume = Volume { path: images.tree(&info.name), size: info.size, vmid: info.name.vmid };
            all.insert(format!("{}:{}", storage.id, info.name), volume);
        }
    }
    Ok(all)
}

/// Volumes of a guest that its configuration does not name. Two storages may be one directory, so paths count too.
fn unreferenced(
    config: &crate::state::guest_config::GuestConfig,
    vmid: u32,
    volumes: &BTreeMap<String, Volume>,
) -> Vec<String> {
    let own = || volumes.iter().filter(|(_, volume)| volume.vmid == vmid);
    let named = config.current.volids();
    let mut seen: Vec<&PathBuf> = own().filter(|(id, _)| named.contains(id)).map(|(_, v)| &v.path).collect();
    let mut found = Vec::new();
    for (volid, volume) in own() {
        if !seen.contains(&&volume.path) {
            seen.push(&volume.path);
            found.push(volid.clone());
        }
    }
    found
}
