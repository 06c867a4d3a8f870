//! Volumes that a configuration names and that are not there (F84).

use felhom_journal::StepError;
use felhom_model::{Vmid, Volid};
use felhom_pve::{GuestConfig, volume_owner};

use crate::services::{Services, step_error};

/// Size of a volume that only stands for one that is gone.
const EMPTY_MIB: u64 = 4;

/// Whether a volume is there. Proxmox is not asked: on btrfs it moves what is missing, and says OK.
///
/// # Errors
/// [`StepError`] if its path is not told.
pub(super) async fn is_there(s: &Services, volid: &Volid) -> Result<bool, StepError> {
    let path = s.host.volume_path(volid).await.map_err(|e| StepError::Transient(e.to_string()))?;
    if !path.starts_with("/dev") {
        return Ok(tokio::fs::try_exists(&path).await.unwrap_or(false));
    }
    // A logical volume has its device only while it is active; the storage lists it always.
    let storage = s.node.storage(&volid.storage().parse().map_err(StepError::failed)?);
    let listed = storage.volumes(volume_owner(volid)).await.map_err(|e| step_error(&e))?;
    Ok(listed.iter().any(|content| content.volid == *volid))
}

/// On btrfs no call destroys a guest of which a volume is missing: a worker that is killed while it frees volumes leaves one that
/// stands for ever. An empty volume takes the place of each that is gone, and the guest can be destroyed. Other storages pass
/// over what is missing (F84), so nothing is made there. Only for a guest that this very operation was let destroy, and began to.
///
/// # Errors
/// [`StepError::Unclear`] if the storage shows no other volume of ours: its disk may be away, and the volume with it.
pub(super) async fn stand_in(s: &Services, vmid: Vmid, config: &GuestConfig) -> Result<(), StepError> {
    for volid in config.volumes().map_err(StepError::failed)? {
        let own = volume_owner(&volid) == Some(vmid);
        if !own || !is_on(s, &volid, "btrfs").await? || is_there(s, &volid).await? {
            continue;
        }
        if !shows_others(s, vmid, &volid).await? {
            return Err(StepError::Unclear(format!(
                "the volume {volid} of guest {vmid} is not there, nor is any other of ours on `{}`: its disk may be away",
                volid.storage()
            )));
        }
        tracing::warn!(%vmid, %volid, "a killed destroy freed it; an empty one takes its place so that the rest can go");
        let storage = s.node.storage(&volid.storage().parse().map_err(StepError::failed)?);
        storage.allocate(vmid, &volid, EMPTY_MIB).await.map_err(|e| step_error(&e))?;
    }
    Ok(())
}

/// Whether its storage is of this kind.
async fn is_on(s: &Services, volid: &Volid, kind: &str) -> Result<bool, StepError> {
    let all = s.node.storages().await.map_err(|e| step_error(&e))?;
    Ok(all.iter().any(|storage| storage.storage == volid.storage() && storage.kind == kind))
}

/// Whether a volume of another guest of ours is on the same storage.
async fn shows_others(s: &Services, vmid: Vmid, volid: &Volid) -> Result<bool, StepError> {
    for row in s.ledger.guests().map_err(StepError::failed)? {
        if row.vmid == vmid {
            continue;
        }
        let Ok(config) = s.node.guest(row.vmid).config().await else { continue };
        for other in config.volumes().map_err(StepError::failed)? {
            if other.storage() == volid.storage() && is_there(s, &other).await? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
