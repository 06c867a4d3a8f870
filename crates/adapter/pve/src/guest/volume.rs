//! Volumes of a guest: moved to another guest, attached again by name.
//!
//! ```text
//! move:   rename the volume → take the key out of the source's configuration → write the target's
//! attach: PUT mpN=STORE:ID/vm-ID-disk-N.raw on the guest whose number the name carries
//! ```
//! **A move is not atomic.** What ends it between its two writes leaves a volume that is in nobody's configuration and that
//! the token cannot list; [`AttachedVolume`] brings it back.

use std::fmt;
use std::str::FromStr;

use super::Guest;
use crate::error::Error;
use crate::form::Form;
use crate::ids::{InvalidId, Vmid, Volid};
use crate::props::{InvalidProperty, MountPoint};
use crate::upid::Upid;

/// A key of a configuration whose volume can move. PVE refuses `rootfs` on either side, and it does not exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeKey {
    /// `mpN`.
    Mount(u8),
    /// `unusedN`.
    Unused(u8),
}

impl fmt::Display for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(n) => write!(f, "mp{n}"),
            Self::Unused(n) => write!(f, "unused{n}"),
        }
    }
}

impl FromStr for VolumeKey {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let number = |prefix: &str| text.strip_prefix(prefix)?.parse::<u8>().ok();
        let key = number("mp").map(Self::Mount).or_else(|| number("unused").map(Self::Unused));
        // `mp007` and `mp+7` are numbers, but no keys.
        key.filter(|key| key.to_string() == text).ok_or_else(|| InvalidId {
            kind: "volume key",
            text: text.to_owned(),
            rule: "`mpN` or `unusedN`, N from 0 to 255",
        })
    }
}

/// A move of a volume to another guest; all its options go along. Check before it, with fresh configurations, that the
/// target is **not protected** (PVE checks only between the two writes, and the volume is lost from both) and that the
/// volume **exists** (on btrfs PVE moves one that is missing, and says OK).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMove {
    /// The key at the source.
    pub key: VolumeKey,
    /// The guest that gets it.
    pub target: Vmid,
    /// The key that it gets there; must be free. An unused volume stays an unused one.
    pub target_key: VolumeKey,
    /// The source's digest: moves only if its configuration is still that.
    pub digest: Option<String>,
    /// The target's digest: as above.
    pub target_digest: Option<String>,
}

impl VolumeMove {
    fn form(&self) -> Form {
        Form::new()
            .with("volume", self.key)
            .with("target-vmid", self.target)
            .with("target-volume", self.target_key)
            .with_opt("digest", self.digest.as_deref())
            .with_opt("target-digest", self.target_digest.as_deref())
    }

    /// The id that the task has: the task list finds a move by its type `move_volume` and this, not by VMID.
    #[must_use]
    pub fn task_id(&self, source: Vmid) -> String {
        format!("{source}-{}>{}-{}", self.key, self.target, self.target_key)
    }
}

/// An `mpN` whose volume exists already. A new volume (`STORE:GIB`) and a directory of the host have no expression here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedVolume {
    point: MountPoint,
    owner: Vmid,
}

impl AttachedVolume {
    /// The guest whose number the volume's name carries: the one to attach it to. PVE refuses any other one only to a token
    /// that has no Datastore.Audit on the storage.
    #[must_use]
    pub fn owner(&self) -> Vmid {
        self.owner
    }

    /// The mount point.
    #[must_use]
    pub fn point(&self) -> &MountPoint {
        &self.point
    }
}

impl TryFrom<MountPoint> for AttachedVolume {
    type Error = InvalidProperty;
    fn try_from(point: MountPoint) -> Result<Self, InvalidProperty> {
        let wrong = |reason| InvalidProperty::new("attached volume", &point.to_string(), reason);
        let volume = point.mount.volume().ok_or_else(|| wrong("a directory or device of the host"))?;
        let owner = volume_owner(volume).ok_or_else(|| wrong("the name carries no guest's number"))?;
        Ok(Self { point, owner })
    }
}

impl fmt::Display for AttachedVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.point.fmt(f)
    }
}

/// The guest whose number a volume's name carries: `STORE:220/vm-220-disk-1.raw`, `STORE:vm-220-disk-1`,
/// `STORE:subvol-220-disk-1`. `None` for archives, templates, base images and sizes.
#[must_use]
pub fn volume_owner(volume: &Volid) -> Option<Vmid> {
    let (folder, name) = match volume.path().split_once('/') {
        Some((folder, name)) => (Some(folder), name),
        None => (None, volume.path()),
    };
    let rest = name.strip_prefix("vm-").or_else(|| name.strip_prefix("subvol-"))?;
    let (number, disk) = rest.split_once('-')?;
    let same = folder.is_none_or(|folder| folder == number);
    (same && !disk.is_empty() && !disk.contains('/')).then(|| number.parse().ok()).flatten()
}

impl Guest {
    /// Moves a volume of this guest to another one. **The UPID means almost nothing**: wait for the task, then read both
    /// configurations. Needs VM.Config.Disk on both guests.
    ///
    /// # Errors
    /// [`Error::Locked`] if either guest is locked, [`Error::Refused`] if the source runs or a snapshot holds the volume,
    /// if a digest is another one, or the target's key is taken; else any [`Error`] of the call.
    pub async fn move_volume(&self, request: &VolumeMove) -> Result<Upid, Error> {
        self.node.pve.post(&self.path("/move_volume"), &request.form()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_pve_writes() {
        for text in ["mp0", "mp255", "unused0", "unused17"] {
            assert_eq!(text.parse::<VolumeKey>().unwrap().to_string(), text);
        }
        for text in ["rootfs", "mp", "mp256", "mp07", "mp+7", "unused", "unused-1", "net0"] {
            assert!(text.parse::<VolumeKey>().is_err(), "{text}");
        }
    }

    /// F82, rec 2/311 and 2/317.
    #[test]
    fn a_move_as_recorded() {
        let mut request = VolumeMove {
            key: VolumeKey::Mount(1),
            target: "221".parse().unwrap(),
            target_key: VolumeKey::Mount(5),
            digest: None,
            target_digest: None,
        };
        assert_eq!(request.form().encode(), "volume=mp1&target-vmid=221&target-volume=mp5");
        assert_eq!(request.task_id("220".parse().unwrap()), "220-mp1>221-mp5");
        request.digest = Some("aa".into());
        request.target_digest = Some("bb".into());
        assert!(request.form().encode().ends_with("&digest=aa&target-digest=bb"));
    }

    #[test]
    fn the_owner_is_in_the_name() {
        let owner = |text: &str| volume_owner(&text.parse().unwrap()).map(u32::from);
        for text in ["btr:220/vm-220-disk-1.raw", "lvm:vm-220-disk-1", "zfs:subvol-220-disk-0"] {
            assert_eq!(owner(text), Some(220), "{text}");
        }
        for text in [
            "btr:2",
            "btr:0.5",
            "btr:220/vm-221-disk-1.raw",
            "btr:220/x/vm-220-disk-1.raw",
            "btr:220/vm-220-",
            "btr:vm-99-disk-0",
            "local:backup/vzdump-lxc-220-2026_11_23-11_28_42.tar.zst",
            "btr:220/base-220-disk-0.raw",
        ] {
            assert_eq!(owner(text), None, "{text}");
        }
    }

    /// F83, rec 2/393; the size that PVE adds is rec 2/394.
    #[test]
    fn only_what_exists_is_attached() {
        let attach = |text: &str| AttachedVolume::try_from(text.parse::<MountPoint>().unwrap());
        let recorded = "btr:220/vm-220-disk-1.raw,mp=/data,backup=1";
        let attached = attach(recorded).unwrap();
        assert_eq!((attached.to_string().as_str(), u32::from(attached.owner())), (recorded, 220));
        for text in ["btr:2,mp=/data", "/srv/x,mp=/data"] {
            assert!(attach(text).is_err(), "{text}");
        }
    }
}
