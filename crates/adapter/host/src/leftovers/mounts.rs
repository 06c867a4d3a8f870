//! Mounts that a dead restore left at a guest's root (F77, rec 2/56), found in `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use felhom_model::Vmid;

use super::{problem, refused};
use crate::act::RootAct;
use crate::error::HostError;
use crate::guest::Host;

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
        let points = bytes.split(|b| *b == b'\n').filter_map(mount_point);
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

/// The fifth field, with `\040` and the like for what would end it.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|b| *b == b' ').nth(4)?;
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match (first, tail.get(..3).and_then(octal)) {
            (b'\\', Some(byte)) => {
                path.push(byte);
                rest = &tail[3..];
            }
            _ => {
                path.push(*first);
                rest = tail;
            }
        }
    }
    Some(PathBuf::from(OsString::from_vec(path))).filter(|path| path.as_os_str().as_bytes().starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_decoded() {
        let point = |line: &str| mount_point(line.as_bytes()).map(|p| p.to_str().unwrap().to_owned());
        let line =
            r"97 28 7:4 / /var/lib/lxc/211/rootfs/my\040data rw,relatime shared:53 - ext4 /dev/loop4 rw";
        assert_eq!(point(line).as_deref(), Some("/var/lib/lxc/211/rootfs/my data"));
        assert_eq!(point(r"1 2 0:3 / /a\134b rw - x y z").as_deref(), Some(r"/a\b"));
        assert_eq!(point("1 2 0:3"), None);
        assert_eq!(point(""), None);
    }
}
