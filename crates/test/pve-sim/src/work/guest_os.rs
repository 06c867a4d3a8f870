//! What a node does inside a container's own files when it sets it up: the release is looked at, host keys are made
//! (PVE/LXC/Setup.pm and PVE/LXC/Setup/Debian.pm of pve-container).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::ApiError;
use crate::state::guest_config::Section;
use crate::state::storage::Storages;
use crate::task::worker::Worker;
use crate::volume::owners::Owner;

/// The newest release that the node knows of.
const TESTED: u32 = 14;
/// Host keys of a container, one a type.
const KEY_TYPES: [&str; 3] = ["rsa", "ecdsa", "ed25519"];

/// Warns of a release that is newer than the node; before each start too (rec 1004, 1011).
pub(crate) fn warn_of_release(worker: &mut Worker, rootfs: &Path) {
    let text = folder(rootfs, &["etc"]).and_then(|etc| plain_text(&etc.join("debian_version")));
    let major = text.and_then(|text| text.split(['.', '\n']).next().and_then(|major| major.parse().ok()));
    if let Some(major) = major.filter(|major: &u32| *major > TESTED) {
        worker.warn(&format!(
            "The container's Debian version '{major}' is newer than the tested version '{TESTED}'. While everything may work \
             fine, full compatibility cannot be guaranteed. Please check for PVE system updates."
        ));
    }
}

/// The directory of a guest's root file system, if there is one.
pub(crate) fn rootfs(worker: &Worker, config: &Section) -> Option<PathBuf> {
    let (_, mount) = config.mount_points().into_iter().find(|(key, _)| key == "rootfs")?;
    let (_, path) = Storages::load(&worker.host).ok()?.path_of(&mount.volume).ok()?;
    path.is_dir().then_some(path)
}

/// New SSH host keys for a container made from a template, if it has a place for them (rec 113, 121).
///
/// # Errors
/// `ssh-keygen` is missing or fails; a key cannot be written.
pub(super) fn make_host_keys(worker: &mut Worker, rootfs: &Path, hostname: &str) -> Result<(), ApiError> {
    let Some(ssh) = folder(rootfs, &["etc", "ssh"]) else { return Ok(()) };
    let comment = format!("root@{}", hostname.split('.').next().unwrap_or_default());
    let scratch = worker.host.dir.root().join("tmp");
    fs::create_dir_all(&scratch)?;
    for kind in KEY_TYPES {
        let name = format!("ssh_host_{kind}_key");
        worker.say(format!("Creating SSH host key '{name}' - this may take some time ..."));
        let key = scratch.join(format!("{}.{name}", std::process::id()));
        let public = key.with_extension(format!("{name}.pub"));
        let printed = keygen(&key, kind, &comment)?;
        printed
            .lines()
            .filter(|line| line.starts_with("SHA256:"))
            .for_each(|l| worker.say(format!("done: {l}")));
        for (from, to, mode) in [(&key, name.clone(), 0o600), (&public, format!("{name}.pub"), 0o644)] {
            let place = ssh.join(to);
            let _ = fs::remove_file(&place);
            fs::copy(from, &place)?;
            fs::set_permissions(&place, fs::Permissions::from_mode(mode))?;
            worker.host.ownership().give(&place, Owner { uid: 0, gid: 0, mode })?;
            fs::remove_file(from)?;
        }
    }
    Ok(())
}

fn keygen(key: &Path, kind: &str, comment: &str) -> Result<String, ApiError> {
    let mut command = Command::new("ssh-keygen");
    command.arg("-f").arg(key).args(["-t", kind, "-N", "", "-E", "sha256", "-C", comment]);
    let output = command.output().map_err(|e| ApiError::die(format!("unable to exec 'ssh-keygen': {e}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(ApiError::die(format!("command 'ssh-keygen -t {kind}' failed: {}", text.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A folder of the container that is reached without a link: nothing outside of it is read or written.
fn folder(rootfs: &Path, parts: &[&str]) -> Option<PathBuf> {
    let mut path = rootfs.to_path_buf();
    for part in parts {
        path.push(part);
        path.symlink_metadata().ok().filter(fs::Metadata::is_dir)?;
    }
    Some(path)
}

fn plain_text(path: &Path) -> Option<String> {
    path.symlink_metadata().ok().filter(fs::Metadata::is_file)?;
    fs::read_to_string(path).ok()
}
