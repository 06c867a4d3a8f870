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
    /// `pct set` of a bind mount, or of its absence.
    BindMount,
    /// `pct unlock`.
    Unlock,
    /// `pct rescan` of one guest.
    Rescan,
    /// `lxc-unfreeze`.
    Unfreeze,
    /// `pveum acl modify`.
    GrantRole,
    /// Ending what a dead task's worker started and left running.
    EndProcesses,
    /// Unmounting what a dead task left mounted for a guest that does not run.
    Unmount,
    /// Removing the temporary files of a dead backup.
    RemoveDumpFiles,
    /// Reading the host's own settings and what its kernel can do.
    ReadHost,
    /// `timedatectl show`.
    ClockState,
    /// Writing or removing a program, unit or setting of ours.
    InstallFile,
    /// `systemd-sysusers`.
    MakeUsers,
    /// `systemd-tmpfiles`.
    MakeDirectories,
    /// `systemctl` for units of ours.
    ManageUnits,
    /// `userdel` for users of ours.
    RemoveUser,
}

/// Sees every act that changes something, before it is done and after it was. Crash points live in such a hook.
pub trait Hook: fmt::Debug + Send + Sync {
    /// The act is about to be done on this guest, volume or file.
    ///
    /// # Errors
    /// Whatever should come of the act instead of doing it.
    fn before_act(&self, act: RootAct, target: &str) -> std::io::Result<()>;
    /// It was done, well or not; the caller does not know it yet.
    fn after_act(&self, _act: RootAct, _target: &str) {}
}

impl RootAct {
    /// Whether it can change something of the host or of a guest.
    #[must_use]
    pub fn changes(self) -> bool {
        match self {
            Self::VolumePath | Self::DigestFile | Self::ReadHost | Self::ClockState => false,
            Self::GuestExec
            | Self::GuestPush
            | Self::PlaceArchive
            | Self::BindMount
            | Self::Unlock
            | Self::Rescan
            | Self::Unfreeze
            | Self::GrantRole
            | Self::EndProcesses
            | Self::Unmount
            | Self::RemoveDumpFiles
            | Self::InstallFile
            | Self::MakeUsers
            | Self::MakeDirectories
            | Self::ManageUnits
            | Self::RemoveUser => true,
        }
    }

    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::GuestExec,
        Self::GuestPush,
        Self::VolumePath,
        Self::DigestFile,
        Self::PlaceArchive,
        Self::BindMount,
        Self::Unlock,
        Self::Rescan,
        Self::Unfreeze,
        Self::GrantRole,
        Self::EndProcesses,
        Self::Unmount,
        Self::RemoveDumpFiles,
        Self::ReadHost,
        Self::ClockState,
        Self::InstallFile,
        Self::MakeUsers,
        Self::MakeDirectories,
        Self::ManageUnits,
        Self::RemoveUser,
    ];

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
            Self::BindMount => "a disk's folder into its guest; Proxmox lets only root@pam set a bind mount",
            Self::Unlock => "the lock that our own dead task left; no call of the API takes one off",
            Self::Rescan => {
                "volumes that our own dead restore left in no configuration; a token neither sees nor enters them"
            }
            Self::Unfreeze => {
                "a guest that our own dead snapshot left frozen; Proxmox calls it running and refuses to resume it"
            }
            Self::GrantRole => {
                "rights on a guest that our own dead restore left outside the pool, on backups whose guest is gone, and \
                 on storages of ours; a token cannot give rights that it does not have"
            }
            Self::EndProcesses => {
                "our own dead task's tar that goes on; the task is over for Proxmox, and no call ends it"
            }
            Self::Unmount => {
                "volumes that our own dead restore left mounted; Proxmox destroys them without unmounting"
            }
            Self::RemoveDumpFiles => {
                "the half-written archive of our own dead backup; no listing of Proxmox shows it and no call removes it"
            }
            Self::ReadHost => {
                "what the kernel can do, ranges of ids, mounts, sparse images; Proxmox's API shows none of them"
            }
            Self::ClockState => {
                "whether something keeps the clock right; Proxmox's API tells the time, and not that"
            }
            Self::InstallFile => "our programs, units and settings; they are the host's, not Proxmox's",
            Self::MakeUsers => "the users that agent and hub run as; they are the host's, not Proxmox's",
            Self::MakeDirectories => "our directories with owner and mode, also after each boot",
            Self::ManageUnits => "systemd reads our units anew, stops and disables them",
            Self::RemoveUser => "the users go once nothing of theirs is left",
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
            Self::BindMount => "pct set of a bind mount",
            Self::Unlock => "pct unlock",
            Self::Rescan => "pct rescan",
            Self::Unfreeze => "lxc-unfreeze",
            Self::GrantRole => "pveum acl modify",
            Self::EndProcesses => "ending a dead task's processes",
            Self::Unmount => "unmounting a guest's root",
            Self::RemoveDumpFiles => "removing a dead backup's files",
            Self::ReadHost => "reading the host's settings",
            Self::ClockState => "timedatectl show",
            Self::InstallFile => "placing and removing our own files",
            Self::MakeUsers => "systemd-sysusers",
            Self::MakeDirectories => "systemd-tmpfiles",
            Self::ManageUnits => "systemctl for our units",
            Self::RemoveUser => "userdel for our users",
        })
    }
}
