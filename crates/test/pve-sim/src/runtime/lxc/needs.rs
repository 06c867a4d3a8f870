//! What this machine must have so that guests can be containers of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::program::PATH;

/// Programs that are called, and Debian's package of each.
const PROGRAMS: [(&str, &str); 8] = [
    ("lxc-start", "lxc"),
    ("lxc-stop", "lxc"),
    ("lxc-info", "lxc"),
    ("lxc-attach", "lxc"),
    ("lxc-freeze", "lxc"),
    ("dnsmasq", "dnsmasq-base"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
];
/// Which ids of this machine root may give to containers.
const IDS: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
const OWN_IDS: &str = "root:100000:65536";

/// Says what is missing, and how it is repaired.
///
/// # Errors
/// The first thing that is missing.
pub fn check(state: &Path) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("containers need root; start pve-sim as root, or with --runtime process".into());
    }
    let there = |name: &str| PATH.split(':').any(|dir| Path::new(dir).join(name).is_file());
    if let Some((program, package)) = PROGRAMS.iter().find(|(name, _)| !there(name)) {
        return Err(format!("the program {program} is missing; `apt-get install {package}` brings it"));
    }
    for file in IDS {
        let text = fs::read_to_string(file).unwrap_or_default();
        if !text.lines().any(|line| line == OWN_IDS) {
            return Err(format!(
                "root has no ids for containers in {file}; `echo {OWN_IDS} >>{file}` gives them as Proxmox VE does"
            ));
        }
    }
    searchable(state)
}

/// A container's root is nobody here, and its files lie below the state directory.
fn searchable(state: &Path) -> Result<(), String> {
    for folder in state.ancestors() {
        let found = fs::metadata(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        if found.permissions().mode() & 0o001 == 0 {
            let folder = folder.display();
            return Err(format!(
                "containers cannot reach their files through {folder}; `chmod o+x {folder}` lets them"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_cannot_search_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (closed, state) = (dir.path().join("closed"), dir.path().join("closed/state"));
        fs::create_dir_all(&state).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let said = searchable(&state).unwrap_err();
        assert!(said.contains(&format!("`chmod o+x {}`", closed.display())), "{said}");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).unwrap();
        searchable(&state).unwrap();
    }
}
