//! What an operation concerns, as it is observed now: it stands in the challenge, and is compared before each act.

use felhom_model::observed::Purpose;
use felhom_model::{Digest, GuestUuid, Operation};
use felhom_pve::GuestConfig;
use felhom_signing::challenge::Target;

use crate::ledger::GuestRow;
use crate::observe::{RealGuest, Seen};
use crate::request::Chosen;

/// Options that the operations which need consent change themselves, or that say nothing about the data.
const OWN_CHANGES: [&str; 5] = ["digest", "lock", "onboot", "protection", "tags"];

/// The targets of an operation, in a fixed order.
#[must_use]
pub fn targets(operation: &Operation, chosen: &Chosen, seen: &Seen) -> Vec<Target> {
    let other = match operation {
        Operation::CutoverGuest(ask) => Some(ask.copy),
        _ => chosen.other,
    };
    let guests = operation.guest().into_iter().chain(other);
    let mut targets: Vec<Target> = guests.filter_map(|guest| of_guest(guest, seen)).collect();
    if let Operation::ReclaimGuest(guest) = operation {
        targets.extend(heir(*guest, seen));
    }
    if let Operation::PruneBackups(ask) = operation {
        targets.extend(ask.remove.iter().filter_map(|volid| {
            let (row, _) = seen.archives.iter().find(|(row, there)| *there && row.volid == *volid)?;
            Some(Target {
                uuid: Some(row.guest),
                vmid: None,
                volids: vec![row.volid.clone()],
                durable_id: None,
                bytes: row.detail.bytes,
                label: row.volid.to_string(),
                config_digest: Some(row.detail.digest),
            })
        }));
    }
    targets
}

fn of_guest(guest: GuestUuid, seen: &Seen) -> Option<Target> {
    let row = seen.rows.iter().find(|row| row.uuid == guest)?;
    let real = seen.real.get(&row.vmid)?;
    let mut volids = crate::facts::referenced(real);
    volids.sort();
    Some(Target {
        uuid: Some(guest),
        vmid: Some(row.vmid),
        volids,
        durable_id: None,
        bytes: bytes(&real.config),
        label: label(row, &seen.rows),
        config_digest: Some(config_digest(real)),
    })
}

/// The guest that took over from a tombstone, whose customer answers for it. Nothing of it is touched, so nothing of it but
/// its name is compared.
fn heir(tombstone: GuestUuid, seen: &Seen) -> Option<Target> {
    let row = seen.rows.iter().find(|row| row.uuid == tombstone)?;
    let successor = row.detail.succeeded_by?;
    let row = seen.rows.iter().find(|row| row.uuid == successor)?;
    Some(Target {
        uuid: Some(successor),
        vmid: None,
        volids: Vec::new(),
        durable_id: None,
        bytes: 0,
        label: label(row, &seen.rows),
        config_digest: None,
    })
}

/// A guest's name; a tombstone's is that of the guest that took over from it.
#[must_use]
pub fn label(row: &GuestRow, rows: &[GuestRow]) -> String {
    let name = |row: &GuestRow| row.detail.name.as_ref().map(ToString::to_string);
    let successor = || {
        let uuid = row.detail.succeeded_by?;
        name(rows.iter().find(|row| row.uuid == uuid)?)
    };
    let original = || {
        let uuid = row.detail.restored_from.filter(|_| row.purpose == Purpose::Copy)?;
        name(rows.iter().find(|row| row.uuid == uuid)?)
    };
    let known = name(row).or_else(successor).or_else(original);
    known.unwrap_or_else(|| format!("{}-{}", row.purpose.name(), row.vmid))
}

/// Sizes of its volumes as Proxmox has them configured.
fn bytes(config: &GuestConfig) -> u64 {
    let rootfs = config.rootfs().ok().flatten().and_then(|mount| mount.size_bytes()).unwrap_or(0);
    let mounts = config.mounts().unwrap_or_default();
    mounts.values().filter_map(|point| point.mount.size_bytes()).fold(rootfs, u64::saturating_add)
}

fn config_digest(real: &RealGuest) -> Digest {
    let entries = real.config.entries().filter(|(key, _)| !OWN_CHANGES.contains(key));
    let mut lines: Vec<String> = entries.map(|(key, value)| format!("{key}: {value}\n")).collect();
    lines.extend(real.config.raw_lxc().iter().map(|(key, value)| format!("{key}: {value}\n")));
    lines.sort();
    Digest::of(lines.concat().as_bytes())
}
