//! The list of root acts with the reason for each.

use std::fmt;

/// One kind of root act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RootAct {
    /// `pct exec`.
    GuestExec,
    /// `pct push`.
    GuestPush,
    /// `pvesm path`.
    VolumePath,
    /// Reading a file of the host for its SHA-256.
    DigestFile,
    /// Writing an archive into a directory storage's `dump/`.
    PlaceArchive,
}

impl RootAct {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::GuestExec, Self::GuestPush, Self::VolumePath, Self::DigestFile, Self::PlaceArchive];

    /// Why the API cannot do it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::GuestExec => {
                "bootstrap and health probes; Proxmox has no call that runs a program in a container"
            }
            Self::GuestPush => {
                "token and notices into a guest; Proxmox has no call that writes a file in a container"
            }
            Self::VolumePath => {
                "where an archive lies, for its digest; the API's path needs rights on the archive's guest"
            }
            Self::DigestFile => "the digest that makes an archive ours; Proxmox has no download of backups",
            Self::PlaceArchive => "a golden archive is a backup, and Proxmox has no upload of backups",
        }
    }
}

impl fmt::Display for RootAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GuestExec => "pct exec",
            Self::GuestPush => "pct push",
            Self::VolumePath => "pvesm path",
            Self::DigestFile => "digest of a file",
            Self::PlaceArchive => "placing an archive",
        })
    }
}
