//! A volume's name within its storage: `VMID/vm-VMID-disk-N.raw`, or `VMID/base-VMID-disk-N.raw` for a template's.

use std::fmt;
use std::str::FromStr;

use super::VolumeError;

/// `VMID/vm-VMID-disk-N.raw` or `VMID/base-VMID-disk-N.raw`, the part of a volid after the colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName {
    /// Owner by name; the volume belongs to the guest with this VMID.
    pub vmid: u32,
    /// Disk number.
    pub disk: u32,
    /// A template's volume (`base-…`).
    pub base: bool,
}

impl VolumeName {
    /// A guest's volume with this number.
    #[must_use]
    pub fn new(vmid: u32, disk: u32) -> Self {
        Self { vmid, disk, base: false }
    }

    /// The same volume as a template has it.
    #[must_use]
    pub fn as_base(self) -> Self {
        Self { base: true, ..self }
    }

    /// Name without folder and suffix: `vm-260-disk-1`.
    #[must_use]
    pub fn stem(&self) -> String {
        format!("{}-{}-disk-{}", if self.base { "base" } else { "vm" }, self.vmid, self.disk)
    }

    /// Parses `vm-260-disk-1` (no folder, no suffix).
    pub(crate) fn from_stem(stem: &str) -> Option<Self> {
        let (kind, rest) = stem.split_once('-')?;
        let (vmid, disk) = rest.split_once("-disk-")?;
        let name = Self { vmid: vmid.parse().ok()?, disk: disk.parse().ok()?, base: kind == "base" };
        (name.stem() == stem).then_some(name)
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.raw", self.vmid, self.stem())
    }
}

impl FromStr for VolumeName {
    type Err = VolumeError;

    /// # Errors
    /// [`VolumeError::BadName`] unless the text is exactly what [`fmt::Display`] prints.
    fn from_str(text: &str) -> Result<Self, VolumeError> {
        let bad = || VolumeError::BadName(text.to_owned());
        let (_, file) = text.split_once('/').ok_or_else(bad)?;
        let name = file.strip_suffix(".raw").and_then(Self::from_stem).ok_or_else(bad)?;
        if name.to_string() == text { Ok(name) } else { Err(bad()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_as_it_was_printed() {
        let name: VolumeName = "260/vm-260-disk-1.raw".parse().unwrap();
        assert_eq!(name, VolumeName::new(260, 1));
        assert_eq!(name.to_string(), "260/vm-260-disk-1.raw");
        let base: VolumeName = "260/base-260-disk-1.raw".parse().unwrap();
        assert_eq!((base, base.to_string().as_str()), (name.as_base(), "260/base-260-disk-1.raw"));
    }

    #[test]
    fn other_spellings_and_traversal_are_refused() {
        for text in [
            "260/vm-261-disk-1.raw",
            "vm-260-disk-1.raw",
            "260/vm-260-disk-01.raw",
            "260/../260/vm-260-disk-1.raw",
            "260/vm-260-disk-1",
            "../x",
            "",
        ] {
            assert!(text.parse::<VolumeName>().is_err(), "{text}");
        }
    }
}
