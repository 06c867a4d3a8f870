//! The root acts of `felhom_host` against what dead workers of the simulated host really leave.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use felhom_executor::config::Config;
use felhom_host::{AclGrant, AclPlace, BindMount, Changed, DeadBackup, DeadWorker, DumpName, Host, Unlocked};
use felhom_model::Vmid;
use felhom_pve::{
    BackupMode, Endpoint, Error, ExitStatus, Guest, NewVolume, Node, Polling, Pve, RestoreRequest, TaskState,
    Upid, VzdumpRequest,
};

use crate::bench::{CONFIG, golden_of};
use crate::sim::{PASSWORD, Sim, simulator};

const ARCHIVE: &str = "vzdump-lxc-1999-2026_01_01-00_00_00.tar.zst";

/// A simulated host with an archive, root's client, and the executor's own hands on it.
struct World {
    sim: Sim,
    root: Pve,
    node: Node,
    host: Host,
}

fn vmid() -> Vmid {
    "2000".parse().unwrap()
}

fn request() -> RestoreRequest {
    RestoreRequest {
        vmid: vmid(),
        archive: format!("local:backup/{ARCHIVE}").parse().unwrap(),
        pool: "felhom".parse().unwrap(),
        storage: "tank".parse().unwrap(),
        rootfs: NewVolume { storage: "tank".parse().unwrap(), gib: NonZeroU32::MIN },
        mounts: BTreeMap::new(),
        nets: BTreeMap::new(),
        hostname: "alma".into(),
        description: "left".into(),
        memory_mib: None,
        swap_mib: None,
        cores: None,
    }
}

/// Bytes that do not get shorter.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

impl World {
    async fn start(bytes: &[u8]) -> Self {
        let sim = Sim::start();
        let done = sim.setup(&[]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        fs::write(sim.path("pve/var/lib/vz/dump").join(ARCHIVE), golden_of(CONFIG, bytes)).unwrap();
        let endpoint = Endpoint::new(&sim.url, sim.fingerprint.parse().unwrap()).unwrap();
        let root = Pve::login(endpoint, &"root@pam".parse().unwrap(), &PASSWORD.into()).await.unwrap();
        let node = root.node(&"pve".parse().unwrap());
        let config = Config::load(&sim.path("executor.toml"), std::iter::empty()).unwrap();
        let private = sim.path("private");
        fs::create_dir(&private).unwrap();
        let host = config.host(private);
        Self { sim, root, node, host }
    }

    fn fault(&self, arguments: &[&str]) {
        let mut command = Command::new(simulator());
        let done =
            command.args(["fault", "--state"]).arg(self.sim.path("pve")).args(arguments).status().unwrap();
        assert!(done.success());
    }

    fn guest(&self) -> Guest {
        self.node.guest(vmid())
    }

    fn volume(&self) -> PathBuf {
        self.sim.path("pve/mnt/tank/images/2000/vm-2000-disk-0")
    }

    /// Starts a restore; the host's owner allows so many KiB a second, 0 is no limit.
    async fn restore(&self, limit: u32) -> Upid {
        fs::write(self.sim.path("pve/etc/pve/datacenter.cfg"), format!("bwlimit: restore={limit}\n"))
            .unwrap();
        self.node.restore(&request()).await.unwrap()
    }

    /// Follows a task until a fault killed its worker.
    async fn dead(&self, upid: &Upid) -> DeadWorker {
        let exit = self.root.task(upid).wait(Polling::default()).await.unwrap();
        assert_eq!(exit, ExitStatus::Aborted);
        self.fault(&["clear"]);
        DeadWorker { pid: u32::try_from(upid.pid()).unwrap(), started: upid.pstart() }
    }
}

async fn ended(world: &World, upid: &Upid) -> ExitStatus {
    world.root.task(upid).wait(Polling::default()).await.unwrap()
}

/// F77, F78: everything that a killed restore leaves, cleared in the order of 03 section 6.
#[tokio::test]
async fn a_killed_restore_is_cleared() {
    let world = World::start(&noise(4 << 20)).await;
    world.fault(&["set", r#"{"at": "vzrestore.tar", "do": "kill"}"#]);
    let worker = world.dead(&world.restore(64).await).await;
    let volumes = [world.volume()];
    let left = world.host.left_processes(vmid(), worker, &volumes).unwrap();
    assert!(!left.is_empty(), "tar goes on");
    let other = [world.sim.path("pve/mnt/tank/images/2001")];
    assert!(world.host.end_processes(vmid(), worker, &other).await.is_err(), "not at that guest's volumes");
    assert_eq!(world.host.end_processes(vmid(), worker, &volumes).await.unwrap(), left);
    assert!(world.host.left_processes(vmid(), worker, &volumes).unwrap().is_empty());
    assert!(world.host.unmount_guest(vmid()).await.unwrap().is_empty(), "volumes are directories here");

    assert!(matches!(world.guest().destroy(false).await, Err(Error::Locked { .. })));
    assert!(world.host.unlock(vmid(), "backup").await.is_err());
    assert_eq!(world.host.unlock(vmid(), "create").await.unwrap(), Unlocked::Taken);
    assert_eq!(world.host.unlock(vmid(), "create").await.unwrap(), Unlocked::NotLocked);
    assert!(world.guest().config().await.unwrap().volumes().unwrap().is_empty(), "an empty configuration");
    world.host.rescan(vmid()).await.unwrap();
    let found = world.guest().config().await.unwrap();
    assert_eq!(found.unused().unwrap()[&0].volume().unwrap().as_str(), "tank:2000/vm-2000-disk-0.raw");
    let upid = world.guest().destroy(false).await.unwrap();
    assert_eq!(ended(&world, &upid).await, ExitStatus::Ok);
    assert!(!world.volume().exists());
}

/// F91: a killed backup's archiver, its half-written archive and its lock.
#[tokio::test]
async fn a_killed_backup_is_cleared() {
    let world = World::start(&noise(1 << 20)).await;
    assert_eq!(ended(&world, &world.restore(0).await).await, ExitStatus::Ok);
    fs::write(world.sim.path("pve/etc/vzdump.conf"), "bwlimit: 64\n").unwrap();
    world.fault(&["set", r#"{"at": "vzdump.archive", "do": "kill"}"#]);
    let request = VzdumpRequest {
        vmid: vmid(),
        storage: "local".parse().unwrap(),
        mode: BackupMode::Snapshot,
        lockwait: 0,
        notes_template: None,
        protected: false,
        zstd_threads: None,
    };
    let upid = world.node.vzdump(&request).await.unwrap();
    let worker = world.dead(&upid).await;
    let dump_dir = world.sim.path("pve/var/lib/vz/dump");
    let name = half_written(&dump_dir);
    assert_eq!(name.vmid(), vmid());
    let backup = DeadBackup { worker, dump_dir: dump_dir.clone(), name };
    let busy = world.host.remove_dump_files(&backup).await.unwrap_err();
    assert!(busy.to_string().contains("uses it"), "{busy}");
    let ended = world.host.end_processes(vmid(), worker, &[]).await.unwrap();
    assert!(!ended.is_empty(), "by the archive that it writes");
    assert_eq!(world.host.remove_dump_files(&backup).await.unwrap().len(), 2);
    let names = fs::read_dir(&dump_dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), [ARCHIVE], "a killed backup has no log");
    assert_eq!(world.host.unlock(vmid(), "backup").await.unwrap(), Unlocked::Taken);
    fs::remove_file(world.sim.path("pve/etc/vzdump.conf")).unwrap();
    let upid = world.node.vzdump(&request).await.unwrap();
    assert_eq!(self::ended(&world, &upid).await, ExitStatus::Ok, "{:?}", world.root.task(&upid).log().await);
}

fn half_written(dump_dir: &Path) -> DumpName {
    let since = Instant::now();
    loop {
        let found = fs::read_dir(dump_dir).unwrap().map(|e| e.unwrap().path());
        let found = found.filter(|path| path.extension().is_some_and(|end| end == "dat")).last();
        if let Some(path) = found {
            return DumpName::of_archive(&path).unwrap();
        }
        assert!(since.elapsed() < Duration::from_secs(20), "no half-written archive");
        std::thread::yield_now();
    }
}

/// F80: a worker that lives is no dead one.
#[tokio::test]
async fn a_running_restore_is_left_alone() {
    let world = World::start(&noise(4 << 20)).await;
    let upid = world.restore(64).await;
    let worker = DeadWorker { pid: u32::try_from(upid.pid()).unwrap(), started: upid.pstart() };
    let refused = world.host.end_processes(vmid(), worker, &[world.volume()]).await.unwrap_err();
    assert!(refused.to_string().contains("lives; end its task by the API"), "{refused}");
    assert_eq!(world.root.task(&upid).state().await.unwrap(), TaskState::Running);
    world.root.task(&upid).stop().await.unwrap();
    ended(&world, &upid).await;
    assert!(world.host.left_processes(vmid(), worker, &[]).unwrap().is_empty(), "it cleaned up by itself");
}

/// F96, F99: bind mounts, thawing, and rights on one guest, by the host's own programs.
#[tokio::test]
async fn bind_mounts_thawing_and_roles_on_one_guest() {
    let world = World::start(b"a program").await;
    assert_eq!(ended(&world, &world.restore(0).await).await, ExitStatus::Ok);
    let disk = world.sim.path("disk");
    fs::create_dir(&disk).unwrap();
    let text = disk.to_str().unwrap().to_owned();
    let bind = BindMount { host: text.clone(), guest: "/photos".into(), read_only: false };
    assert_eq!(world.host.set_bind_mount(vmid(), 7, &bind).await.unwrap(), Changed::Now);
    assert_eq!(world.host.set_bind_mount(vmid(), 7, &bind).await.unwrap(), Changed::Already);
    assert_eq!(world.guest().config().await.unwrap().get("mp7"), Some(format!("{text},mp=/photos").as_str()));
    assert_eq!(world.host.remove_bind_mount(vmid(), 7, &disk).await.unwrap(), Changed::Now);
    assert_eq!(world.host.remove_bind_mount(vmid(), 7, &disk).await.unwrap(), Changed::Already);
    assert!(world.host.unfreeze(vmid()).await.unwrap_err().to_string().contains("is not running"));
    assert_eq!(ended(&world, &world.guest().start().await.unwrap()).await, ExitStatus::Ok);
    world.host.unfreeze(vmid()).await.unwrap();

    let token = "felhom@pve!executor";
    let grant = AclGrant { place: AclPlace::Guest(vmid()), role: "FelhomGuests".into(), token: token.into() };
    let granted = async || {
        let all = world.root.acl().await.unwrap();
        all.into_iter().filter(|entry| entry.path == "/vms/2000" && entry.propagate == Some(false)).count()
    };
    world.host.grant(&grant).await.unwrap();
    world.host.grant(&grant).await.unwrap();
    assert_eq!(granted().await, 2, "user and token");
    world.host.revoke(&grant).await.unwrap();
    world.host.revoke(&grant).await.unwrap();
    assert_eq!(granted().await, 0);
}
