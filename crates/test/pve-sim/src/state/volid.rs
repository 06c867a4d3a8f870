//! Volume ids: `STORE:backup/vzdump-lxc-101-….tar.zst`, `STORE:vztmpl/…`, `STORE:101/vm-101-disk-0.raw`. Pure.

use std::fmt;

use crate::error::ApiError;
use crate::volume::VolumeName;

/// What a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VolumeKind {
    /// An archive.
    Backup,
    /// A container template.
    Template,
    /// An ISO image.
    Iso,
    /// A script that runs on the host.
    Snippet,
    /// A guest's volume. (Proxmox VE says `images` for a `.raw` file, also where it means a container's.)
    Images,
}

impl VolumeKind {
    /// The content type's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Template => "vztmpl",
            Self::Iso => "iso",
            Self::Snippet => "snippets",
            Self::Images => "images",
        }
    }
}

/// `STORE:NAME`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volid {
    /// Storage id.
    pub(crate) storage: String,
    /// What stands behind the colon.
    pub(crate) name: String,
}

impl Volid {
    /// Splits at the first colon.
    ///
    /// # Errors
    /// 500 `unable to parse volume ID '…'`.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        match text.split_once(':') {
            Some((storage, name)) if valid_storage_id(storage) && !name.is_empty() => {
                Ok(Self { storage: storage.to_owned(), name: name.to_owned() })
            }
            _ => Err(ApiError::die(format!("unable to parse volume ID '{text}'"))),
        }
    }

    /// What it is and whose.
    ///
    /// # Errors
    /// 500 `unable to parse directory volume name '…'`.
    pub(crate) fn parts(&self) -> Result<VolumeParts, ApiError> {
        VolumeParts::parse(&self.name)
    }
}

impl fmt::Display for Volid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.storage, self.name)
    }
}

/// A volume name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeParts {
    /// Content type.
    pub(crate) kind: VolumeKind,
    /// File name.
    pub(crate) file: String,
    /// The guest it belongs to.
    pub(crate) vmid: Option<u32>,
}

impl VolumeParts {
    fn parse(name: &str) -> Result<Self, ApiError> {
        let bad = || ApiError::die(format!("unable to parse directory volume name '{name}'"));
        if let Some(image) = VolumeName::from_stem(name) {
            // A thin volume of LVM has neither folder nor suffix.
            return Ok(Self { kind: VolumeKind::Images, file: name.to_owned(), vmid: Some(image.vmid) });
        }
        let (folder, file) = name.split_once('/').ok_or_else(bad)?;
        if file.is_empty() || file.contains('/') || file.starts_with('.') {
            return Err(bad());
        }
        let file = file.to_owned();
        match folder {
            "backup" if is_archive(&file) => {
                Ok(Self { kind: VolumeKind::Backup, vmid: archive_vmid(&file), file })
            }
            "vztmpl" => Ok(Self { kind: VolumeKind::Template, vmid: None, file }),
            "iso" => Ok(Self { kind: VolumeKind::Iso, vmid: None, file }),
            "snippets" => Ok(Self { kind: VolumeKind::Snippet, vmid: None, file }),
            _ => {
                let vmid = folder.parse().map_err(|_| bad())?;
                let owned =
                    file.starts_with(&format!("vm-{vmid}-")) || file.starts_with(&format!("base-{vmid}-"));
                if owned && file.ends_with(".raw") {
                    Ok(Self { kind: VolumeKind::Images, vmid: Some(vmid), file })
                } else {
                    Err(bad())
                }
            }
        }
    }
}

/// Letters, digits, `-_.`, beginning with a letter and not ending in a separator; at least two characters.
pub(crate) fn valid_storage_id(id: &str) -> bool {
    id.len() >= 2
        && id.starts_with(|c: char| c.is_ascii_alphabetic())
        && id.ends_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Extensions of finished archives, longest first.
pub(crate) const ARCHIVE_EXTENSIONS: [&str; 5] = [".tar.zst", ".tar.gz", ".tar.lzo", ".tar.bz2", ".tar"];

fn is_archive(file: &str) -> bool {
    ARCHIVE_EXTENSIONS.iter().any(|e| file.ends_with(e))
}

/// The guest in `vzdump-lxc-ID-….tar.zst`; archives with other names belong to nobody.
pub(crate) fn archive_vmid(file: &str) -> Option<u32> {
    let rest = file.strip_prefix("vzdump-lxc-").or_else(|| file.strip_prefix("vzdump-qemu-"))?;
    let (vmid, stamp) = rest.split_once('-')?;
    stamp.starts_with(|c: char| c.is_ascii_digit()).then(|| vmid.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let backup =
            Volid::parse("local:backup/vzdump-lxc-110-2026_11_23-11_28_42.tar.zst").unwrap().parts().unwrap();
        assert_eq!((backup.kind, backup.vmid), (VolumeKind::Backup, Some(110)));
        let disk = Volid::parse("tank:101/vm-101-disk-0.raw").unwrap().parts().unwrap();
        assert_eq!((disk.kind, disk.vmid), (VolumeKind::Images, Some(101)));
        // F41, rec 143: what a config PUT with `rootfs=store:2` leaves behind.
        let error = Volid::parse("tank:2").unwrap().parts().unwrap_err();
        assert_eq!(error.message, "unable to parse directory volume name '2'");
        for bad in ["tank:101/vm-102-disk-0.raw", "tank:101/../x.raw", "tank:backup/x.txt"] {
            assert!(Volid::parse(bad).unwrap().parts().is_err(), "{bad}");
        }
    }
}
