//! Where everything of one demo is: folders, ports, passwords, and the configuration files that a person would write.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::{OpenOptionsExt, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

use super::call;
use crate::golden::Runtime;

/// The name of the demo's box at the hub.
pub(crate) const BOX: &str = "demo-box";
/// The name of its guest.
pub(crate) const GUEST: &str = "kovacs";
/// The name of a second one, which is retired and reclaimed.
pub(crate) const SECOND: &str = "nagy";
/// The app in it.
pub(crate) const APP: &str = "sample";
/// The port that the app publishes.
pub(crate) const APP_PORT: u16 = 8081;
/// The simulated node.
pub(crate) const NODE: &str = "pve";
/// The host's storage with snapshots, for guests, and where it lies in the host's state.
pub(crate) const GUEST_STORE: &str = "tank";
pub(crate) const GUEST_STORE_DIR: &str = "mnt/tank";
/// The host's folder storage, for backups and the golden archive, and where it lies.
pub(crate) const BACKUP_STORE: &str = "local";
pub(crate) const BACKUP_STORE_DIR: &str = "var/lib/vz";

/// Folders and addresses of one demo.
pub(crate) struct World {
    /// The folder of all of it.
    pub(crate) dir: PathBuf,
    /// The programs of this demo.
    pub(crate) programs: PathBuf,
    /// Where the simulated host listens.
    pub(crate) pve: SocketAddr,
    /// How its guests run.
    pub(crate) runtime: Runtime,
    /// Second octet of the guests' addresses, 127.N.x.y; of containers the third, 10.198.N.x.
    pub(crate) net: u8,
    /// Where the hub listens.
    pub(crate) hub: SocketAddr,
    /// Where the agent listens for guests.
    pub(crate) local_api: SocketAddr,
    /// Removes the folder at the end, unless it is kept.
    _temporary: Option<TempDir>,
}

impl World {
    /// A new folder, or the given one, with the named programs of those that cargo built, and free ports.
    pub(crate) fn new(built: &Path, names: &[&str], keep: Option<&Path>) -> Result<Self> {
        Self::with(Runtime::Process, built, names, keep)
    }

    /// The same, with guests that run in this way.
    pub(crate) fn with(runtime: Runtime, built: &Path, names: &[&str], keep: Option<&Path>) -> Result<Self> {
        let (dir, temporary) = match keep {
            Some(dir) => {
                fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
                anyhow::ensure!(
                    fs::read_dir(dir)?.next().is_none(),
                    "{} is not empty; name an empty folder, or remove what an earlier demo left",
                    dir.display()
                );
                (dir.canonicalize()?, None)
            }
            None => {
                // Short: the path of a unix socket may have 107 bytes.
                let temporary = tempfile::Builder::new().prefix("felhom-demo-").tempdir()?;
                (temporary.path().canonicalize()?, Some(temporary))
            }
        };
        let [pve, hub, mut local_api] = free_ports()?;
        let net = match runtime {
            Runtime::Process => free_net()?,
            Runtime::Lxc => free_bridge()?,
        };
        if runtime == Runtime::Lxc {
            // Where the guests' bridge has this machine's address; and a container's root has to get to its files.
            local_api.set_ip(Ipv4Addr::new(10, 198, net, 1).into());
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        }
        let world =
            Self { programs: dir.join("bin"), runtime, net, pve, hub, local_api, dir, _temporary: temporary };
        world.keep_programs(built, names)?;
        for folder in ["log", "etc", "golden", "pve", "hub", "executor", "agent", "operator"] {
            fs::create_dir_all(world.dir.join(folder))?;
        }
        Ok(world)
    }

    /// The programs as they are now: a build that runs beside the demo must not replace them.
    fn keep_programs(&self, built: &Path, names: &[&str]) -> Result<()> {
        fs::create_dir_all(&self.programs)?;
        for name in names {
            let (from, to) = (built.join(name), self.programs.join(name));
            let from = from.canonicalize().with_context(|| format!("there is no {}", from.display()))?;
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(drop))
                .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        }
        Ok(())
    }

    /// A path below the demo's folder.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }

    /// One of the programs.
    pub(crate) fn program(&self, name: &str) -> Command {
        call::program(&self.programs, name)
    }

    /// The executor's unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("executor/x.sock")
    }

    /// Write a file of configuration.
    pub(crate) fn write(&self, relative: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(relative);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Write a secret, readable by its owner only.
    pub(crate) fn write_secret(&self, relative: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(relative);
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// A net in which nobody's first guests listen, so that two demos can run beside each other.
fn free_net() -> Result<u8> {
    let first = u8::try_from(std::process::id() % 150)? + 64;
    let is_free = |net: &u8| {
        let mut addresses = (1..=8).map(|last| Ipv4Addr::new(127, *net, 0, last));
        addresses.all(|address| TcpListener::bind((address, APP_PORT)).is_ok())
    };
    (first..=254).find(is_free).context("no net 127.N.0.0/16 without somebody's app")
}

/// A net of containers in which this machine has no address yet.
fn free_bridge() -> Result<u8> {
    let first = u8::try_from(std::process::id() % 150)? + 40;
    // Whoever has the address can listen on it.
    let is_free = |net: &u8| TcpListener::bind((Ipv4Addr::new(10, 198, *net, 1), 0)).is_err();
    (first..=250).find(is_free).context("no net 10.198.N.0/24 without somebody's bridge")
}

/// Free ports, each another one: all are held until the last is found.
fn free_ports<const N: usize>() -> Result<[SocketAddr; N]> {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        let listener = listener.as_ref().map_err(|e| anyhow!("no free port on 127.0.0.1: {e}"))?;
        *port = listener.local_addr()?;
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn ports_differ() {
        let ports: [SocketAddr; 50] = free_ports().unwrap();
        let different: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(different.len(), ports.len(), "{ports:?}");
    }

    #[test]
    fn a_world_is_new_and_its_secrets_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let keep = dir.path().join("w");
        let world = World::new(Path::new("/bin"), &["sh"], Some(&keep)).unwrap();
        assert!(world.programs.join("sh").is_file());
        let secret = world.write_secret("etc/password", "x").unwrap();
        assert_eq!(fs::metadata(secret).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(World::new(Path::new("/bin"), &[], Some(&keep)).is_err(), "not empty");
        assert!(World::new(Path::new("/bin"), &[], None).unwrap().socket().as_os_str().len() < 100);
    }
}
