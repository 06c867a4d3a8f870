//! The configuration that `lxc-start` gets. Pure.
//!
//! What it says is what a real node says (PVE/LXC.pm of pve-container 6), but for names that carry this host's mark, volumes that
//! are directories here, and AppArmor, which this machine may not have. Not there: `cores` and other limits of processors, devices.

use std::fmt::Write as _;
use std::path::Path;

use super::cgroup::{Groups, Memory};
use super::network::Wire;
use crate::runtime::Mount;

/// Debian's own files of settings.
const INCLUDES: &str = "/usr/share/lxc/config";
/// Ids of an unprivileged container.
const IDS: &str = "0 100000 65536";

/// What a container is started with.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) hostname: &'a str,
    pub(super) rootfs: &'a Path,
    pub(super) mounts: &'a [Mount],
    pub(super) wires: &'a [Wire],
    pub(super) nesting: bool,
    /// MiB, and MiB of swap.
    pub(super) memory: (u64, u64),
    pub(super) limits: Memory,
    pub(super) groups: &'a Groups,
}

/// The text, or why there can be none.
pub(super) fn text(parts: &Parts<'_>) -> Result<String, String> {
    let mut text = String::new();
    let mut set = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} = {value}");
    };
    set("lxc.cgroup.relative", "0");
    set("lxc.cgroup.dir.monitor", &parts.groups.monitor);
    set("lxc.cgroup.dir.container", &parts.groups.payload);
    set("lxc.cgroup.dir.container.inner", "ns");
    set("lxc.arch", "amd64");
    let includes = ["common.conf", "userns.conf"].into_iter().chain(parts.nesting.then_some("nesting.conf"));
    for name in includes {
        set("lxc.include", &format!("{INCLUDES}/{name}"));
    }
    set("lxc.apparmor.profile", "unconfined");
    set("lxc.monitor.unshare", "1");
    for kind in ["u", "g"] {
        set("lxc.idmap", &format!("{kind} {IDS}"));
    }
    set("lxc.console.path", "none");
    set("lxc.tty.max", "2");
    set("lxc.environment", "TERM=linux");
    set("lxc.uts.name", parts.hostname);
    for (key, value) in limits(parts.limits, parts.memory) {
        set(key, &value.to_string());
    }
    set("lxc.rootfs.path", &format!("dir:{}", plain(parts.rootfs)?));
    let mut mounts: Vec<&Mount> = parts.mounts.iter().collect();
    mounts.sort_by(|a, b| a.path.cmp(&b.path));
    for mount in mounts {
        let (source, inside) = (escaped(plain(&mount.source)?), escaped(inside(&mount.path)?));
        set("lxc.mount.entry", &format!("{source} {inside} none rbind,create=dir 0 0"));
    }
    for wire in parts.wires {
        let n = wire.number;
        set(&format!("lxc.net.{n}.type"), "veth");
        set(&format!("lxc.net.{n}.veth.pair"), &wire.outside);
        if wire.up {
            set(&format!("lxc.net.{n}.link"), &wire.bridge);
        }
        set(&format!("lxc.net.{n}.name"), &wire.inside);
        if let Some(mac) = &wire.mac {
            set(&format!("lxc.net.{n}.hwaddr"), mac);
        }
    }
    Ok(text)
}

fn limits(version: Memory, (memory, swap): (u64, u64)) -> Vec<(&'static str, u64)> {
    let (memory, swap) = (memory << 20, swap << 20);
    match version {
        // `memory.high` is 1016/1024 of it on a real node.
        Memory::Second => vec![
            ("lxc.cgroup2.memory.max", memory),
            ("lxc.cgroup2.memory.high", memory / 1024 * 1016),
            ("lxc.cgroup2.memory.swap.max", swap),
        ],
        Memory::First => vec![
            ("lxc.cgroup.memory.limit_in_bytes", memory),
            ("lxc.cgroup.memory.memsw.limit_in_bytes", memory + swap),
        ],
        Memory::Nobody => Vec::new(),
    }
}

/// A line of this file ends at the end of the line.
fn plain(path: &Path) -> Result<&str, String> {
    let text = path.to_str().filter(|text| !text.contains('\n'));
    text.ok_or_else(|| format!("'{}' cannot be in LXC's configuration", path.display()))
}

/// `/srv/x` as `srv/x`.
fn inside(path: &str) -> Result<&str, String> {
    let path = path.trim_matches('/');
    let odd = path.contains('\n') || path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if odd { Err(format!("'/{path}' is no path for a mount point")) } else { Ok(path) }
}

/// As in fstab(5).
fn escaped(text: &str) -> String {
    text.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mounts: &[Mount], limits: Memory) -> Result<String, String> {
        let wire = Wire {
            number: 0,
            outside: "vabcd100i0".into(),
            bridge: "vabcdvmbr0".into(),
            inside: "eth0".into(),
            mac: Some("BC:24:11:00:00:01".into()),
            up: true,
        };
        text(&Parts {
            hostname: "box",
            rootfs: Path::new("/s/disk.raw"),
            mounts,
            wires: &[wire],
            nesting: true,
            memory: (512, 256),
            limits,
            groups: &Groups::of("abcd", 100),
        })
    }

    #[test]
    fn a_container_is_unprivileged_and_has_its_volumes_network_and_limits() {
        let mount =
            |path: &str, source: &str| Mount { path: path.into(), source: source.into(), volume: true };
        let text = shown(&[mount("/b/c", "/s/x y"), mount("/b", "/s/b")], Memory::First).unwrap();
        for line in [
            "lxc.idmap = u 0 100000 65536",
            "lxc.idmap = g 0 100000 65536",
            "lxc.include = /usr/share/lxc/config/nesting.conf",
            "lxc.cgroup.dir.container = pve-sim-abcd/100",
            "lxc.cgroup.memory.limit_in_bytes = 536870912",
            "lxc.cgroup.memory.memsw.limit_in_bytes = 805306368",
            "lxc.net.0.link = vabcdvmbr0",
            "lxc.net.0.hwaddr = BC:24:11:00:00:01",
            "lxc.rootfs.path = dir:/s/disk.raw",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        // The outer one first.
        let entries: Vec<&str> = text.lines().filter(|line| line.starts_with("lxc.mount.entry")).collect();
        assert_eq!(
            entries,
            [
                "lxc.mount.entry = /s/b b none rbind,create=dir 0 0",
                "lxc.mount.entry = /s/x\\040y b/c none rbind,create=dir 0 0",
            ]
        );
        assert!(shown(&[], Memory::Second).unwrap().contains("lxc.cgroup2.memory.max = 536870912\n"));
        assert!(!shown(&[], Memory::Nobody).unwrap().contains("memory"));
    }

    #[test]
    fn nothing_that_could_be_a_line_of_its_own_gets_in() {
        let mount = |path: &str| Mount { path: path.into(), source: "/s/b".into(), volume: true };
        for path in ["/a\nlxc.hook.start = /bin/sh", "/a/../../etc", "/", ""] {
            assert!(shown(&[mount(path)], Memory::First).is_err(), "{path:?}");
        }
        let source = Mount { path: "/a".into(), source: "/s\nlxc.x = y".into(), volume: true };
        assert!(shown(&[source], Memory::First).is_err());
    }
}
