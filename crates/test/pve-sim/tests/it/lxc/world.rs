//! A simulated host whose guests are containers, with an archive of a small system to restore from.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pve_sim::runtime::lxc::{Container, Network};

use crate::server::{Caller, Server, header};
use crate::support::PVE_SIM;

/// Number of the host among those of this machine; tests of this group run one after the other.
const NET: u8 = 197;
/// The first guest's own address.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 198, NET, 5);
const ARCHIVE: &str = "local:backup/vzdump-lxc-998-2026_01_01-00_00_00.tar.zst";
/// What asks for nothing that a container could not have.
const CONFIG: &str = "arch: amd64\ncores: 1\nfeatures: nesting=1,keyctl=1\nhostname: golden\nmemory: 64\n\
     mp0: tank:998/vm-998-disk-1.raw,mp=/data,backup=1,size=1G\n\
     net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,type=veth\nostype: debian\n\
     rootfs: tank:998/vm-998-disk-0.raw,size=2G\nswap: 32\nunprivileged: 1\n";
/// Configures the network, answers on port 80, and ends when it is told to as LXC tells it.
const INIT: &str = "#!/bin/sh\ntrap 'exit 0' PWR\nip link set lo up\nip addr add 10.198.197.5/24 dev eth0\nip link set eth0 up\n\
     httpd -p 80 -h /www\nwhile :; do sleep 100 & wait $!; done\n";

/// The host.
pub(crate) struct World {
    server: Server,
}

impl Deref for World {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let net = NET.to_string();
        let server = Server::with(&["--runtime", "lxc", "--net", &net, "--auth-delay-ms", "0"]);
        write_archive(&server.dump().join("vzdump-lxc-998-2026_01_01-00_00_00.tar.zst"));
        Self { server }
    }

    /// A restored guest.
    pub(crate) async fn guest(&self, root: &Caller, vmid: u32) {
        let vmid = vmid.to_string();
        let form = [("vmid", vmid.as_str()), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "tank")];
        let upid = root.post("/nodes/pve/lxc", &form).await.upid();
        assert_eq!(root.wait(&upid).await, "OK", "{:?}", root.log(&upid).await);
    }

    /// How a restore ended.
    pub(crate) async fn restore(&self, root: &Caller, vmid: u32, archive: &str) -> String {
        let vmid = vmid.to_string();
        let form = [("vmid", vmid.as_str()), ("ostemplate", archive), ("restore", "1"), ("storage", "tank")];
        root.run("/nodes/pve/lxc", &form).await
    }

    pub(crate) fn container(&self, vmid: u32) -> Container {
        Container::new(&self.state().canonicalize().unwrap(), vmid)
    }

    /// One of the node's own commands.
    pub(crate) fn node(&self, command: &[&str], arguments: &[&str]) -> Output {
        Command::new(PVE_SIM)
            .args(&command[..1])
            .arg("--state")
            .arg(self.state())
            .args(&command[1..])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// `pct exec`: exit code and standard output.
    pub(crate) fn exec(&self, vmid: u32, script: &str) -> (Option<i32>, String) {
        let output = self.node(&["pct", "exec", &vmid.to_string()], &["--", "/bin/sh", "-c", script]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// What a script prints in a guest.
    pub(crate) fn says(&self, vmid: u32, script: &str) -> String {
        let (code, text) = self.exec(vmid, script);
        assert_eq!(code, Some(0), "{script}: {text}");
        text
    }

    /// Tree of a guest's volume on this machine.
    pub(crate) fn tree(&self, vmid: u32, disk: u32) -> PathBuf {
        self.state().join(format!("mnt/tank/images/{vmid}/vm-{vmid}-disk-{disk}/disk.raw"))
    }

    /// What this host has on this machine beside its bridge: interfaces, control groups, mounts, loop devices.
    pub(crate) fn traces(&self) -> Vec<String> {
        let state = self.state().canonicalize().unwrap();
        let network = Network::of(&state, NET);
        let bridge = network.bridge("vmbr0").unwrap();
        let mark = bridge.strip_prefix('v').unwrap().strip_suffix("vmbr0").unwrap();
        let mut found = Vec::new();
        for entry in fs::read_dir("/sys/class/net").unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with(&format!("v{mark}")) && name != bridge {
                found.push(format!("interface {name}"));
            }
        }
        groups(Path::new("/sys/fs/cgroup"), &format!("pve-sim-{mark}"), 0, &mut found);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let state = state.to_str().unwrap();
        found.extend(mounts.lines().filter(|line| line.contains(state)).map(|line| format!("mount {line}")));
        for entry in fs::read_dir("/sys/block").unwrap().flatten() {
            let file = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
            if file.contains(state) {
                found.push(format!("loop device of {file}"));
            }
        }
        found
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let output = self.node(&["reboot"], &["--off"]);
        assert!(output.status.success() || std::thread::panicking(), "{output:?}");
    }
}

/// Groups of guests of this host.
fn groups(dir: &Path, name: &str, depth: u32, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
        let own = entry.file_name().to_str().is_some_and(|n| n == name || n == format!("{name}.monitor"));
        if own {
            let inside = fs::read_dir(entry.path()).unwrap().flatten().filter(|e| e.path().is_dir());
            found.extend(inside.map(|e| format!("group {}", e.path().display())));
        } else if depth < 2 && !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            groups(&entry.path(), name, depth + 1, found);
        }
    }
}

/// What the guest at an address answers on port 80; nothing if it cannot be reached.
pub(crate) fn page(address: Ipv4Addr) -> Option<String> {
    let target = SocketAddr::from((address, 80));
    let mut stream = TcpStream::connect_timeout(&target, Duration::from_millis(500)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not so after 20 seconds");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A system of one static program, with owners, modes and attributes that must survive.
fn write_archive(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let out = zstd::Encoder::new(File::create(path).unwrap(), 1).unwrap().auto_finish();
    let mut archive = Writer { tar: tar::Builder::new(out) };
    archive.file("./etc/vzdump/pct.conf", CONFIG.as_bytes(), (0, 0o644));
    for dir in
        [".", "./bin", "./data", "./dev", "./etc", "./etc/network", "./proc", "./run", "./sbin", "./sys"]
    {
        archive.put((tar::EntryType::Directory, dir), &[], (0, 0o755));
    }
    archive.put((tar::EntryType::Directory, "./tmp"), &[], (0, 0o1777));
    archive.put((tar::EntryType::Directory, "./www"), &[], (0, 0o755));
    let busybox = fs::read("/bin/busybox").expect("busybox-static is installed");
    archive.file("./bin/busybox", &busybox, (0, 0o755));
    for tool in
        ["sh", "sleep", "ip", "httpd", "cat", "id", "stat", "ls", "hostname", "mount", "dd", "rm", "mkdir"]
    {
        archive.link(&format!("./bin/{tool}"), "busybox");
    }
    archive.file("./sbin/init", INIT.as_bytes(), (0, 0o755));
    archive.file("./etc/debian_version", b"13.1\n", (0, 0o644));
    archive.file("./etc/hostname", b"golden\n", (0, 0o644));
    archive.file("./etc/passwd", b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n", (0, 0o644));
    archive.file("./etc/group", b"root:x:0:\napp:x:1000:\n", (0, 0o644));
    archive.file("./www/index.html", b"here I am\n", (0, 0o644));
    archive.file("./data/file", b"v1\n", (1000, 0o640));
    archive.file("./data/set-id", b"x", (1000, 0o4755));
    // The number counts itself.
    archive.put((tar::EntryType::XHeader, "././@PaxHeader"), b"25 SCHILY.xattr.user.a=b\n", (0, 0o644));
    archive.file("./data/attribute", b"x", (0, 0o600));
    archive.put((tar::EntryType::Char, "./data/whiteout"), &[], (0, 0o000));
    archive.tar.into_inner().unwrap();
}

struct Writer<W: std::io::Write> {
    tar: tar::Builder<W>,
}

impl<W: std::io::Write> Writer<W> {
    fn file(&mut self, name: &str, bytes: &[u8], owner: (u64, u32)) {
        self.put((tar::EntryType::Regular, name), bytes, owner);
    }

    fn link(&mut self, name: &str, target: &str) {
        let mut header = header(tar::EntryType::Symlink, name, 0, (0, 0o777));
        header.set_link_name(target).unwrap();
        header.set_cksum();
        self.tar.append(&header, std::io::empty()).unwrap();
    }

    fn put(&mut self, (kind, name): (tar::EntryType, &str), bytes: &[u8], owner: (u64, u32)) {
        self.tar.append(&header(kind, name, bytes.len() as u64, owner), bytes).unwrap();
    }
}
