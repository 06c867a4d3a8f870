//! `rootfs` and `mpN` of a container: existing ones, and new ones for a restore.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::{InvalidProperty, Pairs, digit, write_pairs};
use crate::ids::{StorageId, Volid};

const KIND: &str = "mount";

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A volume of a storage.
    Volume(Volid),
    /// A directory or device of the host, never in a backup.
    Host(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(volid) => volid.fmt(f),
            Self::Host(path) => f.write_str(path),
        }
    }
}

/// What `rootfs` and `mpN` have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: Source,
    /// PVE's size text, e.g. `4G`, `307M`.
    pub size: Option<String>,
    /// Everything else, in its order.
    pub other: Vec<(String, String)>,
}

impl Mount {
    fn from_pairs(text: &str, mut pairs: Pairs) -> Result<Self, InvalidProperty> {
        // PVE's default key is `volume`, which may also be written out.
        let head = pairs.head.take().or_else(|| pairs.take("volume"));
        let head = head.ok_or_else(|| InvalidProperty::new(KIND, text, "no volume"))?;
        let source = if head.starts_with('/') {
            Source::Host(head)
        } else {
            Source::Volume(head.parse().map_err(|e| InvalidProperty::new(KIND, text, e))?)
        };
        Ok(Self { source, size: pairs.take("size"), other: pairs.pairs })
    }

    /// The size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        let text = self.size.as_deref()?;
        let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
        let factor = match &text[digits.len()..] {
            "" => 1,
            "K" => 1 << 10,
            "M" => 1 << 20,
            "G" => 1 << 30,
            "T" => 1 << 40,
            _ => return None,
        };
        digits.parse::<u64>().ok()?.checked_mul(factor)
    }

    /// The volume, unless it is a directory or device of the host.
    #[must_use]
    pub fn volume(&self) -> Option<&Volid> {
        match &self.source {
            Source::Volume(volid) => Some(volid),
            Source::Host(_) => None,
        }
    }
}

impl FromStr for Mount {
    type Err = InvalidProperty;
    fn from_str(text: &str) -> Result<Self, InvalidProperty> {
        Self::from_pairs(text, Pairs::parse(KIND, text)?)
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)?;
        write_pairs(f, self.other.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
        write_pairs(f, self.size.as_deref().map(|size| ("size", size)))
    }
}

/// An `mpN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// What is mounted.
    pub mount: Mount,
    /// Where, inside the guest.
    pub path: String,
    /// Whether a backup holds it; absent means no.
    pub backup: Option<bool>,
}

impl MountPoint {
    /// Whether a backup holds it: only volumes with `backup=1`.
    #[must_use]
    pub fn in_backup(&self) -> bool {
        self.backup == Some(true) && self.mount.volume().is_some()
    }
}

impl FromStr for MountPoint {
    type Err = InvalidProperty;
    fn from_str(text: &str) -> Result<Self, InvalidProperty> {
        let mut pairs = Pairs::parse(KIND, text)?;
        let path = pairs.take("mp").ok_or_else(|| InvalidProperty::new(KIND, text, "no `mp`"))?;
        let backup = pairs.take_flag(KIND, text, "backup")?;
        Ok(Self { mount: Mount::from_pairs(text, pairs)?, path, backup })
    }
}

impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},mp={}", self.mount.source, self.path)?;
        write_pairs(f, self.backup.map(|flag| ("backup", digit(flag))))?;
        write_pairs(f, self.mount.other.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
        write_pairs(f, self.mount.size.as_deref().map(|size| ("size", size)))
    }
}

/// A new volume of a size: PVE's `STORAGE:GIB`. Zero would make a subvolume on btrfs, which cannot be backed up in
/// snapshot mode, and does not exist in this type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume {
    /// Where it is made.
    pub storage: StorageId,
    /// Its size in GiB.
    pub gib: NonZeroU32,
}

impl fmt::Display for NewVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.storage, self.gib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn recorded_values() {
        let point: MountPoint =
            "btr:101/vm-101-disk-1.raw,mp=/data,acl=1,backup=1,mountoptions=noatime,size=1G".parse().unwrap();
        assert!(point.in_backup());
        assert_eq!(point.mount.size_bytes(), Some(1 << 30));
        assert_eq!(point.to_string().parse::<MountPoint>().unwrap(), point);
        let bind: MountPoint = "/srv/shared,mp=/bind".parse().unwrap();
        assert_eq!((bind.in_backup(), bind.mount.volume()), (false, None));
        let root: Mount = "btr:101/vm-101-disk-0.raw,size=1536M".parse().unwrap();
        assert_eq!(root.size_bytes(), Some(1536 << 20));
        let written: Mount = "volume=local:1/vm-1-disk-0.raw".parse().unwrap();
        assert_eq!(written.to_string(), "local:1/vm-1-disk-0.raw");
        let new = NewVolume { storage: "btr".parse().unwrap(), gib: NonZeroU32::new(4).unwrap() };
        assert_eq!(new.to_string(), "btr:4");
    }

    #[test]
    fn refuses_what_has_no_form() {
        for text in ["", "mp=/data", "btr:1/x", "btr:../x,mp=/d", "btr:1/x,mp=/d,backup=perhaps"] {
            assert!(text.parse::<MountPoint>().is_err(), "{text}");
        }
    }

    prop_compose! {
        fn any_point()(
            source in prop_oneof![
                "[a-z]{2,6}:[0-9]{3}/vm-[0-9]{3}-disk-[0-9]\\.raw".prop_map(|v| Source::Volume(v.parse().unwrap())),
                "/[a-z]{1,8}(/[a-z]{1,8})?".prop_map(Source::Host),
            ],
            path in "/[a-z]{1,8}",
            backup in any::<Option<bool>>(),
            size in proptest::option::of("[1-9][0-9]{0,3}[KMGT]?"),
            acl in proptest::option::of("[01]"),
        ) -> MountPoint {
            let other = acl.map(|v| ("acl".to_owned(), v)).into_iter().collect();
            MountPoint { mount: Mount { source, size, other }, path, backup }
        }
    }

    proptest! {
        #[test]
        fn renders_and_reads_back(point in any_point()) {
            prop_assert_eq!(point.to_string().parse::<MountPoint>().unwrap(), point.clone());
            let root = point.mount;
            prop_assert_eq!(root.to_string().parse::<Mount>().unwrap(), root);
        }

        #[test]
        fn never_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<MountPoint>().map(|p| p.mount.size_bytes());
        }
    }
}
