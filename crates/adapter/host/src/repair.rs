//! Root acts on a guest's configuration and state: bind mounts, a lock, unreferenced volumes, a frozen guest.
//!
//! What takes something off looks first, with `pct config`, whether it is what the caller expects, and refuses otherwise.

use std::path::Path;
use std::time::Duration;

use felhom_model::Vmid;

use crate::act::RootAct;
use crate::error::HostError;
use crate::guest::{Host, SHORT, guest_path};

/// `pct rescan` looks at every storage.
const RESCAN: Duration = Duration::from_secs(300);

/// A directory of the host inside a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// The directory of the host: absolute, no `..`, no comma.
    pub host: String,
    /// Where, inside the guest: absolute, no `..`, no comma.
    pub guest: String,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

impl BindMount {
    fn value(&self) -> String {
        format!("{},mp={}{}", self.host, self.guest, if self.read_only { ",ro=1" } else { "" })
    }
}

/// How taking a lock off ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Unlocked {
    /// The expected lock was there and is gone.
    Taken,
    /// There was no lock.
    NotLocked,
}

/// What of a change was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Changed {
    /// It was made now.
    Now,
    /// It was so before.
    Already,
}

impl Host {
    /// Sets `mpN` to a directory of the host, at once in a running guest. What else the key names is never replaced.
    ///
    /// # Errors
    /// [`HostError::Refused`] for a path that has no form or a key that names something else, [`HostError::Failed`] if `pct`
    /// failed.
    pub async fn set_bind_mount(&self, vmid: Vmid, n: u8, bind: &BindMount) -> Result<Changed, HostError> {
        let act = RootAct::BindMount;
        let target = format!("mp{n} of guest {vmid}");
        for path in [&bind.host, &bind.guest] {
            property_path(act, &target, path)?;
        }
        match self.config_value(act, vmid, &format!("mp{n}")).await? {
            Some(there) if there == bind.value() => return Ok(Changed::Already),
            Some(there) => {
                return Err(refused(act, target, format!("it is {there:?} already; another number is free")));
            }
            None => {}
        }
        self.pct(act, vmid, target, ["set", "ID", &format!("--mp{n}"), &bind.value()]).await?;
        Ok(Changed::Now)
    }

    /// Takes a bind mount away; while the guest runs, at its next stop. A key that names a volume or another directory is
    /// left alone.
    ///
    /// # Errors
    /// As [`Self::set_bind_mount`].
    pub async fn remove_bind_mount(&self, vmid: Vmid, n: u8, host: &Path) -> Result<Changed, HostError> {
        let act = RootAct::BindMount;
        let target = format!("mp{n} of guest {vmid}");
        let Some(there) = self.config_value(act, vmid, &format!("mp{n}")).await? else {
            return Ok(Changed::Already);
        };
        let head = there.split(',').next().unwrap_or_default();
        if !head.starts_with('/') || Path::new(head) != host {
            let reason = format!("it is {head:?}, not the directory {}", host.display());
            return Err(refused(act, target, reason));
        }
        self.pct(act, vmid, target, ["set", "ID", "--delete", &format!("mp{n}")]).await?;
        Ok(Changed::Now)
    }

    /// Takes a lock off, if it is this one. **What a dead restore left becomes an empty configuration** whose destruction
    /// leaves the volumes: [`Self::rescan`] enters them again. A frozen guest stays frozen: [`Self::unfreeze`].
    ///
    /// # Errors
    /// [`HostError::Refused`] for another lock, [`HostError::Failed`] if `pct` failed.
    pub async fn unlock(&self, vmid: Vmid, expected: &str) -> Result<Unlocked, HostError> {
        let act = RootAct::Unlock;
        let target = format!("guest {vmid}");
        match self.config_value(act, vmid, "lock").await? {
            None => return Ok(Unlocked::NotLocked),
            Some(lock) if lock == expected => {}
            Some(lock) => {
                return Err(refused(act, target, format!("its lock is `{lock}`, not `{expected}`")));
            }
        }
        self.pct(act, vmid, target, ["unlock", "ID"]).await?;
        Ok(Unlocked::Taken)
    }

    /// Enters every volume that carries the guest's number and that its configuration does not name, as `unusedN`. A locked
    /// guest is refused by `pct`.
    ///
    /// # Errors
    /// [`HostError::Failed`] if `pct` failed, [`HostError::TimedOut`] after five minutes.
    pub async fn rescan(&self, vmid: Vmid) -> Result<(), HostError> {
        let mut argv = self.programs.pct.clone();
        argv.extend(["rescan", "--vmid"].map(str::to_owned));
        argv.push(vmid.to_string());
        self.run_own_for(RootAct::Rescan, format!("guest {vmid}"), argv, RESCAN).await.map(drop)
    }

    /// Thaws a guest that a dead snapshot left frozen. One that runs is left as it is.
    ///
    /// # Errors
    /// [`HostError::Failed`] also if the guest does not run.
    pub async fn unfreeze(&self, vmid: Vmid) -> Result<(), HostError> {
        let mut argv = self.programs.lxc_unfreeze.clone();
        argv.extend(["-n".to_owned(), vmid.to_string()]);
        self.run_own(RootAct::Unfreeze, format!("guest {vmid}"), argv).await.map(drop)
    }

    /// `pct` with `ID` replaced by the guest's number.
    async fn pct<const N: usize>(
        &self,
        act: RootAct,
        vmid: Vmid,
        target: String,
        words: [&str; N],
    ) -> Result<(), HostError> {
        let mut argv = self.programs.pct.clone();
        argv.extend(words.map(|word| if word == "ID" { vmid.to_string() } else { word.to_owned() }));
        self.run_own_for(act, target, argv, SHORT).await.map(drop)
    }

    /// A value of the configuration as it will be, with pending changes.
    async fn config_value(&self, act: RootAct, vmid: Vmid, key: &str) -> Result<Option<String>, HostError> {
        let mut argv = self.programs.pct.clone();
        argv.extend(["config".to_owned(), vmid.to_string()]);
        let output = self.run_own(act, format!("guest {vmid}"), argv).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        Ok(value.map(|value| value.trim_end().to_owned()))
    }
}

fn refused(act: RootAct, target: String, reason: String) -> HostError {
    HostError::Refused { act, target, reason }
}

/// A path that cannot end the property that it stands in.
fn property_path(act: RootAct, target: &str, path: &str) -> Result<(), HostError> {
    guest_path(act, target, path)?;
    if path.contains([',', '=']) || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let reason = format!("{path:?} has a comma, an equals sign or white space");
        return Err(refused(act, target.to_owned(), reason));
    }
    Ok(())
}
