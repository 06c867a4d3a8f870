//! What a node writes into a container's own files before each start: its name, its interfaces (PVE/LXC/Setup/Debian.pm and Base.pm
//! of pve-container). Only for Debian and what comes of it; other systems keep what they have.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use super::container::Address;
use crate::runtime::{GuestTree, RuntimeError};
use crate::volume::owners::{Owner, Ownership};

const BEGIN: &str = "# --- BEGIN PVE ---";
const END: &str = "# --- END PVE ---";

/// Writes them.
pub(super) fn write(rootfs: &Path, hostname: &str, addresses: &[Address]) -> Result<(), RuntimeError> {
    let tree = GuestTree::new(rootfs, &[]);
    if !tree.resolve(OsStr::new("/etc/debian_version"), true).is_ok_and(|found| found.exists) {
        return Ok(());
    }
    let short = hostname.split('.').next().unwrap_or(hostname);
    change(&tree, "/etc/hostname", |_| format!("{short}\n"))?;
    change(&tree, "/etc/hosts", |old| hosts(old, hostname))?;
    if !addresses.is_empty() && tree.resolve(OsStr::new("/etc/network"), true).is_ok_and(|found| found.exists)
    {
        change(&tree, "/etc/network/interfaces", |old| interfaces(old, addresses))?;
    }
    Ok(())
}

/// A file of the guest, by the guest's own links and never outside of it.
fn change(tree: &GuestTree, path: &str, to: impl FnOnce(&str) -> String) -> Result<(), RuntimeError> {
    let place = tree.resolve(OsStr::new(path), true)?.host;
    let old = match fs::read_to_string(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.map_err(RuntimeError::io("read", &place))?,
    };
    let new = to(&old);
    if new == old {
        return Ok(());
    }
    fs::write(&place, new).map_err(RuntimeError::io("write", &place))?;
    let owner = Owner { uid: 0, gid: 0, mode: 0o644 };
    Ownership::CONTAINER.give(&place, owner).map_err(RuntimeError::io("set owner of", &place))
}

/// `/etc/hosts` with the guest's own name in a section of the node's.
fn hosts(old: &str, hostname: &str) -> String {
    let (mut kept, mut own) = (String::new(), false);
    for line in old.lines() {
        match line {
            BEGIN => own = true,
            END => own = false,
            _ if own => {}
            line => kept += &format!("{line}\n"),
        }
    }
    let missing = |address: &str| !kept.lines().any(|l| l.split_ascii_whitespace().next() == Some(address));
    let local = ["127.0.0.1", "::1"].into_iter().filter(|address| missing(address));
    let local: String = local.map(|address| format!("{address} localhost.localnet localhost\n")).collect();
    let short = hostname.split('.').next().unwrap_or(hostname);
    let names = if short == hostname { short.to_owned() } else { format!("{hostname} {short}") };
    format!("{BEGIN}\n{local}127.0.1.1 {names}\n{END}\n{kept}")
}

/// `/etc/network/interfaces`: the node's interfaces are written anew, others stay as they are.
fn interfaces(old: &str, addresses: &[Address]) -> String {
    let of_the_node = |name: &str| name == "lo" || addresses.iter().any(|a| a.interface == name);
    let mut kept = String::new();
    let mut ours = false;
    for line in old.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        ours = match words[..] {
            ["auto", name] | ["iface", name, ..] => of_the_node(name),
            // What is set back belongs to the stanza above it.
            [_, ..] if line.starts_with([' ', '\t']) => ours,
            _ => false,
        };
        if !ours && !words.is_empty() {
            kept += &format!("{line}\n");
        }
    }
    let mut text = "auto lo\niface lo inet loopback\n\n".to_owned();
    for address in addresses {
        text += &format!("auto {}\n", address.interface);
        text += &match address.ip.as_str() {
            "dhcp" | "manual" => format!("iface {} inet {}\n", address.interface, address.ip),
            ip => format!("iface {} inet static\n\taddress {ip}\n", address.interface),
        };
        if let Some(gateway) = &address.gateway {
            text += &format!("\tgateway {gateway}\n");
        }
        text.push('\n');
    }
    text + &kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ip: &str, gateway: Option<&str>) -> Address {
        Address { interface: "eth0".into(), ip: ip.into(), gateway: gateway.map(str::to_owned) }
    }

    #[test]
    fn hosts_gets_the_name_once_whatever_it_was_before() {
        let first = hosts("127.0.0.1 localhost\n10.0.0.9 printer\n", "old");
        let second = hosts(&first, "box.example.org");
        assert_eq!(
            second,
            format!(
                "{BEGIN}\n::1 localhost.localnet localhost\n127.0.1.1 box.example.org box\n{END}\n127.0.0.1 localhost\n\
                 10.0.0.9 printer\n"
            )
        );
        assert_eq!(hosts(&second, "box.example.org"), second);
    }

    #[test]
    fn interfaces_of_the_node_are_written_anew_and_others_stay() {
        let old = "# mine\nauto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n\taddress 1.2.3.4/8\n\n\
                   auto wg0\niface wg0 inet manual\n\tmtu 1400\n";
        let new = interfaces(old, &[address("dhcp", None)]);
        assert!(new.contains("auto eth0\niface eth0 inet dhcp\n"), "{new}");
        assert!(new.contains("# mine\n") && new.contains("iface wg0 inet manual\n\tmtu 1400\n"), "{new}");
        assert!(!new.contains("1.2.3.4"), "{new}");
        assert_eq!(interfaces(&new, &[address("dhcp", None)]), new);
        let fixed = interfaces(&new, &[address("10.198.1.7/24", Some("10.198.1.1"))]);
        assert!(fixed.contains("inet static\n\taddress 10.198.1.7/24\n\tgateway 10.198.1.1\n"), "{fixed}");
    }

    #[test]
    fn nothing_outside_the_guest_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/debian_version"), "13.1\n").unwrap();
        fs::write(&outside, "untouched").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("etc/hostname")).unwrap();
        assert!(write(&root, "box", &[]).is_err());
        assert_eq!(fs::read_to_string(outside).unwrap(), "untouched");
    }
}
