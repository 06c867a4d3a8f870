//! Guests, trees and stock tools for the tests.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pve_sim::archive::{Compression, Tree, WriteRequest};
use pve_sim::runtime::{Addresses, Guest, Mount, Start, Started};
use pve_sim::volume::owners::Ownership;

/// The program under test.
pub(crate) const PVE_SIM: &str = env!("CARGO_BIN_EXE_pve-sim");

/// Makes a file with its directories.
pub(crate) fn put(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Polls until `condition` holds, at most ten seconds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(3));
    }
}

/// Whether a process lives (a zombie does not).
pub(crate) fn lives(pid: i32) -> bool {
    process_state(pid).is_some_and(|state| state != 'Z')
}

/// The state letter of a process.
pub(crate) fn process_state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

/// An archive request with Proxmox's defaults.
pub(crate) fn request<'a>(
    config: &'a str,
    trees: &'a [Tree],
    not_backed_up: &'a [String],
) -> WriteRequest<'a> {
    WriteRequest {
        config,
        firewall: Some(b""),
        trees,
        not_backed_up,
        exclude_path: &[],
        stdexcludes: true,
        time: 1_700_000_000,
        compression: Compression::Zstd { threads: 2 },
        ownership: Ownership::Table,
    }
}

/// Runs a shell line of stock tools with `$1` set, and returns its output.
pub(crate) fn stock(line: &str, argument: &Path) -> String {
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", line, "bash"])
        .arg(argument)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A simulated host with one guest, stopped again at the end.
pub(crate) struct Box {
    dir: tempfile::TempDir,
    pub(crate) guest: Guest,
}

impl Box {
    /// A guest with VMID 100 whose init is the shell script `init`.
    pub(crate) fn new(init: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let guest = make_guest(dir.path(), 100, init);
        Self { dir, guest }
    }

    pub(crate) fn state(&self) -> &Path {
        self.dir.path()
    }

    /// Another guest on the same host; the test stops it.
    pub(crate) fn another(&self, vmid: u32, init: &str) -> Guest {
        make_guest(self.dir.path(), vmid, init)
    }

    pub(crate) fn start(&self) -> Started {
        self.guest.start(&start(0, &[])).unwrap()
    }

    /// `pve-sim pct --state DIR …`.
    pub(crate) fn pct(&self) -> Command {
        let mut command = Command::new(PVE_SIM);
        command.arg("pct").arg("--state").arg(self.state());
        command
    }

    /// `pct exec 100 -- …`: exit code and output.
    pub(crate) fn exec(&self, argv: &[&str]) -> (Option<i32>, String, String) {
        let output = self.pct().args(["exec", "100", "--"]).args(argv).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        self.guest.stop().unwrap();
    }
}

/// How the guest with number `index` is started.
pub(crate) fn start(index: u32, mounts: &[Mount]) -> Start {
    let addresses = Addresses::new(99, index).unwrap();
    Start {
        hostname: "guest".to_owned(),
        lo: addresses.lo,
        net0: Some(addresses.net0),
        mounts: mounts.to_vec(),
        program: PathBuf::from(PVE_SIM),
    }
}

/// A root file system with a shell and a few tools of this machine, in a merged-usr layout with absolute links.
fn make_guest(state: &Path, vmid: u32, init: &str) -> Guest {
    let rootfs = state.join(format!("images/{vmid}/vm-{vmid}-disk-0.raw"));
    fs::create_dir_all(rootfs.join("usr/bin")).unwrap();
    fs::create_dir_all(rootfs.join("usr/sbin")).unwrap();
    symlink("/usr/bin", rootfs.join("bin")).unwrap();
    symlink("usr/sbin", rootfs.join("sbin")).unwrap();
    for tool in ["sh", "sleep", "cat", "env", "setsid", "pwd", "ls"] {
        let found =
            ["/usr/bin", "/bin"].iter().map(|dir| Path::new(dir).join(tool)).find(|p| p.exists()).unwrap();
        let copied = rootfs.join("usr/bin").join(tool);
        fs::copy(found, &copied).unwrap();
    }
    put(&rootfs.join("usr/sbin/init"), init, 0o755);
    put(&state.join(format!("etc/pve/lxc/{vmid}.conf")), "arch: amd64\n", 0o640);
    Guest::new(state, vmid, &rootfs)
}

/// An init that runs until it is told to end.
pub(crate) const INIT: &str =
    "#!/bin/sh\ntrap 'exit 0' TERM\nenv > env.txt\nwhile :; do sleep 100 & wait $!; done\n";
