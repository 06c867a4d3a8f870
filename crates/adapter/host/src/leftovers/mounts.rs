//! Mounts that a dead restore left at a guest's root (F77, rec 2/56), found in `/proc/self/mountinfo`.

use std::fs;
use std::path::PathBuf;

use felhom_model::Vmid;

use super::{problem, refused};
use crate::act::RootAct;
use crate::error::HostError;
use crate::guest::Host;
use crate::mountinfo;

const ACT: RootAct = RootAct::Unmount;

impl Host {
    /// What is mounted at or under a guest's root on the host, in the order of mounting.
    ///
    /// # Errors
    /// [`HostError::File`] if the kernel's list cannot be read.
    pub fn guest_mounts(&self, vmid: Vmid) -> Result<Vec<PathBuf>, HostError> {
        let path = self.roots.proc.join("self/mountinfo");
        let bytes = fs::read(&path).map_err(problem(ACT, "read", &path))?;
        let root = self.roots.rootfs(vmid);
        let points = mountinfo::parse(&bytes).into_iter().map(|mounted| mounted.point);
        Ok(points.filter(|point| point.starts_with(&root)).collect())
    }

    /// Unmounts all of it, last mounted first; loop devices go with their mounts. Only for a guest that does not run and
    /// that nobody has mounted by hand: the caller has seen it stopped and unlocked.
    ///
    /// # Errors
    /// [`HostError::Failed`] if something is in use, [`HostError::Refused`] if something is still mounted afterwards.
    pub async fn unmount_guest(&self, vmid: Vmid) -> Result<Vec<PathBuf>, HostError> {
        let mounts = self.guest_mounts(vmid)?;
        for point in mounts.iter().rev() {
            let target = point.display().to_string();
            let text = point.to_str().ok_or_else(|| refused(ACT, &target, "the path is no UTF-8"))?;
            let mut argv = self.programs.umount.clone();
            argv.extend(["--", text].map(str::to_owned));
            self.run_own(ACT, target, argv).await?;
        }
        match self.guest_mounts(vmid)?.as_slice() {
            [] => Ok(mounts),
            [still, ..] => Err(refused(ACT, still.display(), "it is mounted again")),
        }
    }
}
