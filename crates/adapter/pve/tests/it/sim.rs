//! One guest's life against the simulated host: every typed module with the executor's own rights.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::process::{Child, Command};

use felhom_pve::{
    AttributeUpdate, Auth, BackupMode, ConfigUpdate, Endpoint, Error, ExitStatus, Grant, Grantee,
    NetInterface, NewVolume, Node, Polling, Pve, RestoreMount, RestoreRequest, RunState, TaskEvent,
    TaskFilter, TaskState, TokenId, Upid, Vmid, Volid, VzdumpRequest,
};
use felhom_rig::Ready;
use tempfile::TempDir;

const ARCHIVE: &str = "vzdump-lxc-1999-2026_01_01-00_00_00.tar.zst";
const CONFIG: &str = "arch: amd64\nfeatures: nesting=1,keyctl=1\nhostname: golden\nmemory: 128\n\
                      mp0: tank:1999/vm-1999-disk-1.raw,mp=/data,backup=1,size=1G\n\
                      net0: name=eth0,bridge=vmbr0,hwaddr=02:11:22:33:44:55,ip=dhcp,type=veth\nonboot: 1\nostype: debian\n\
                      rootfs: tank:1999/vm-1999-disk-0.raw,size=1G\nswap: 0\nunprivileged: 1\n";

pub(crate) struct Sim {
    pub(crate) dir: TempDir,
    url: String,
    fingerprint: String,
    child: Child,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sim {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        fs::write(&password, "root-password\n").unwrap();
        let (child, Ready { url, fingerprint }) = felhom_rig::serve(dir.path(), "127.0.0.1:0", "none");
        let sim = Self { url, fingerprint, dir, child };
        let dump = sim.dir.path().join("pve/var/lib/vz/dump");
        fs::write(dump.join(ARCHIVE), archive()).unwrap();
        sim
    }

    /// Runs `pve-sim PROGRAM --state DIR …` as the host's owner would.
    pub(crate) fn tool(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(felhom_rig::program("pve-sim", "pve-sim"));
        command.arg(program).arg("--state").arg(self.dir.path().join("pve")).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.url, self.fingerprint.parse().unwrap()).unwrap()
    }

    /// The executor's token with the executor's rights.
    async fn executor(&self) -> Pve {
        let root =
            Pve::login(self.endpoint(), &"root@pam".parse().unwrap(), &"root-password".into()).await.unwrap();
        let id: TokenId = "felhom@pve!executor".parse().unwrap();
        root.create_pool(&"felhom".parse().unwrap(), "x").await.unwrap();
        root.create_user(&id.user, "x").await.unwrap();
        let secret = root.create_token(&id, "x").await.unwrap();
        let guests = "VM.Allocate VM.Audit VM.Backup VM.Config.CPU VM.Config.Disk VM.Config.Memory VM.Config.Network \
                      VM.Config.Options VM.PowerMgmt VM.Snapshot Pool.Audit";
        let store = "Datastore.AllocateSpace Datastore.Audit";
        for (role, privileges, paths) in [
            ("Guests", guests, vec!["/pool/felhom"]),
            ("Store", store, vec!["/storage/local", "/storage/tank"]),
            ("Archive", "VM.Backup", vec!["/vms/1999"]),
            ("Net", "SDN.Use", vec!["/sdn/zones/localnetwork/vmbr0"]),
        ] {
            let role = role.parse().unwrap();
            root.create_role(&role, &privileges.split_whitespace().map(str::to_owned).collect())
                .await
                .unwrap();
            for path in paths {
                for grantee in [Grantee::User(id.user.clone()), Grantee::Token(id.clone())] {
                    let grant = Grant { path: path.into(), role: role.clone(), grantee, propagate: false };
                    root.grant(&grant).await.unwrap();
                }
            }
        }
        Pve::new(self.endpoint(), Auth::Token { id, secret }).unwrap()
    }
}

fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    let mut add = |name: &str, kind, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        header.set_cksum();
        tar.append(&header, text.as_bytes()).unwrap();
    };
    add("./etc/vzdump/pct.conf", tar::EntryType::Regular, CONFIG);
    add("./", tar::EntryType::Directory, "");
    add("./sbin/", tar::EntryType::Directory, "");
    add("./sbin/init", tar::EntryType::Regular, "#!/bin/sh\n");
    add("./data/", tar::EntryType::Directory, "");
    add("./data/file", tar::EntryType::Regular, "bytes");
    tar.into_inner().unwrap().finish().unwrap()
}

fn golden() -> Volid {
    format!("local:backup/{ARCHIVE}").parse().unwrap()
}

fn request(vmid: Vmid) -> RestoreRequest {
    let volume = |gib| NewVolume { storage: "tank".parse().unwrap(), gib: NonZeroU32::new(gib).unwrap() };
    RestoreRequest {
        vmid,
        archive: golden(),
        pool: "felhom".parse().unwrap(),
        storage: "tank".parse().unwrap(),
        rootfs: volume(1),
        mounts: BTreeMap::from([(0, RestoreMount { volume: volume(1), path: "/data".into(), backup: true })]),
        nets: BTreeMap::from([(0, NetInterface::dhcp("eth0", "vmbr0".parse().unwrap()))]),
        hostname: "alma".into(),
        description: "first; a=b\nsecond %3A ü".into(),
        memory_mib: Some(256),
        swap_mib: None,
        cores: Some(1),
    }
}

pub(crate) async fn done(pve: &Pve, upid: &Upid) -> ExitStatus {
    pve.task(upid).wait(Polling::default()).await.unwrap()
}

pub(crate) async fn restored(sim: &Sim) -> (Pve, Node, Vmid) {
    let pve = sim.executor().await;
    let node = pve.node(&"pve".parse().unwrap());
    let vmid = Vmid::try_from(200).unwrap();
    restore(&pve, &node, vmid).await;
    (pve, node, vmid)
}

/// A guest from the golden archive.
pub(crate) async fn restore(pve: &Pve, node: &Node, vmid: Vmid) {
    assert!(pve.vmid_is_free(vmid).await.unwrap());
    let upid = node.restore(&request(vmid)).await.unwrap();
    assert_eq!(
        (upid.kind(), upid.id(), upid.user(), upid.token()),
        ("vzrestore", vmid.to_string().as_str(), "felhom@pve", Some("executor"))
    );
    assert_eq!(done(pve, &upid).await, ExitStatus::Ok, "{:?}", pve.task(&upid).log().await);
}

#[tokio::test]
async fn a_restore_says_what_was_passed_and_brings_the_rest_along() {
    let sim = Sim::start();
    let (pve, node, vmid) = restored(&sim).await;
    assert!(!pve.vmid_is_free(vmid).await.unwrap());
    assert_eq!(node.extract_config(&golden()).await.unwrap().lines().next(), Some("arch: amd64"));
    let config = node.guest(vmid).config().await.unwrap();
    assert_eq!(config.description(), "first; a=b\nsecond %3A ü");
    assert_eq!((config.hostname(), config.memory_mib(), config.cores()), (Some("alma"), Some(256), Some(1)));
    assert_eq!((config.onboot(), config.protection(), config.unprivileged()), (false, false, true));
    assert_eq!(config.get("features"), Some("nesting=1,keyctl=1"), "carried over from the archive");
    let net = config.nets().unwrap().remove(&0).unwrap();
    assert!(net.hwaddr.is_some_and(|mac| mac != "02:11:22:33:44:55"), "a fresh address");
    let point = config.mounts().unwrap().remove(&0).unwrap();
    assert!(point.in_backup() && point.path == "/data");
    assert_eq!(config.volumes().unwrap().len(), 2);
    let volumes = node.storage(&"tank".parse().unwrap()).volumes(Some(vmid)).await.unwrap();
    assert_eq!(volumes.len(), 2);
    let pool = pve.pool(&"felhom".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(pool.members.iter().filter_map(|m| m.vmid).collect::<Vec<_>>(), [200]);
    let taken = node.restore(&request(vmid)).await.unwrap_err();
    assert!(matches!(taken, Error::Exists(_)), "{taken}");
}

#[tokio::test]
async fn power_configuration_and_destruction() {
    let sim = Sim::start();
    let (pve, node, vmid) = restored(&sim).await;
    let guest = node.guest(vmid);
    let update = ConfigUpdate {
        tags: Some(vec!["Felhom".into(), "b".into()]),
        protection: Some(true),
        digest: guest.config().await.unwrap().digest().map(str::to_owned),
        ..ConfigUpdate::default()
    };
    guest.set_config(&update).await.unwrap();
    let stale = guest.set_config(&update).await.unwrap_err();
    assert!(stale.to_string().contains("detected modified configuration"), "{stale}");
    assert_eq!(guest.config().await.unwrap().tags(), ["b", "felhom"]);

    assert!(done(&pve, &guest.start().await.unwrap()).await.is_success());
    let status = guest.status().await.unwrap();
    assert_eq!((status.state(), status.vmid(), status.lock), (RunState::Running, Some(vmid), None));
    assert_eq!(node.guests().await.unwrap().len(), 1);
    let protected = guest.destroy(true).await.unwrap_err();
    assert!(protected.to_string().contains("protection mode enabled"), "{protected}");
    assert!(done(&pve, &guest.stop().await.unwrap()).await.is_success());
    guest.set_config(&ConfigUpdate { protection: Some(false), ..ConfigUpdate::default() }).await.unwrap();
    assert!(done(&pve, &guest.destroy(true).await.unwrap()).await.is_success());
    let gone = guest.status().await.unwrap_err();
    assert!(matches!(gone, Error::NotFound(_) | Error::Forbidden(_)), "{gone}");
    assert!(pve.vmid_is_free(vmid).await.unwrap());
    let kinds: Vec<_> = node.tasks(&TaskFilter { vmid: Some(vmid), ..TaskFilter::default() }).await.unwrap();
    let mut kinds: Vec<_> = kinds.iter().map(|task| task.upid.kind()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["vzdestroy", "vzrestore", "vzstart", "vzstop"]);
}

#[tokio::test]
async fn a_backup_is_followed_line_by_line_and_its_archive_kept() {
    let sim = Sim::start();
    let (pve, node, vmid) = restored(&sim).await;
    done(&pve, &node.guest(vmid).start().await.unwrap()).await;
    let target = "local".parse().unwrap();
    assert!(node.vzdump_defaults(&target).await.unwrap().exclude_paths().is_empty());
    let backup = VzdumpRequest {
        vmid,
        storage: target.clone(),
        mode: BackupMode::Snapshot,
        lockwait: 0,
        notes_template: Some("felhom;a=b".into()),
        protected: true,
        zstd_threads: None,
    };
    let upid = node.vzdump(&backup).await.unwrap();
    let mut follower = pve.task(&upid).follow(Polling::default(), 0);
    let mut lines = Vec::new();
    let exit = loop {
        match follower.next().await.unwrap() {
            TaskEvent::Lines(new) => lines.extend(new.into_iter().map(|line| line.t)),
            TaskEvent::Stopped(exit) => break exit,
        }
    };
    assert_eq!(exit, ExitStatus::Ok, "{lines:#?}");
    let at = |text: &str| {
        lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {lines:#?}"))
    };
    assert!(at("create storage snapshot") < at("creating vzdump archive"));
    assert_eq!(lines.last().map(String::as_str), Some("TASK OK"));

    let storage = node.storage(&target);
    let archive = storage.backups(Some(vmid)).await.unwrap().remove(0);
    assert!(archive.protected && archive.size > 0);
    assert_eq!(archive.notes.as_deref(), Some("felhom;a=b"));
    storage
        .set_attributes(
            &archive.volid,
            &AttributeUpdate { notes: Some("one\ntwo".into()), protected: Some(false) },
        )
        .await
        .unwrap();
    let attributes = storage.attributes(&archive.volid).await.unwrap();
    assert_eq!((attributes.notes.as_deref(), attributes.protected), (Some("one\ntwo"), Some(false)));
    // A path of the node, whose root file system is the state directory.
    assert!(
        sim.dir.path().join("pve").join(attributes.path.trim_start_matches('/')).exists(),
        "{}",
        attributes.path
    );
    let deletion = storage.delete(&archive.volid).await.unwrap().unwrap();
    assert!(done(&pve, &deletion).await.is_success());
    assert!(storage.backups(Some(vmid)).await.unwrap().is_empty());
}

#[tokio::test]
async fn missing_rights_and_failures_in_a_task_are_told_apart() {
    let sim = Sim::start();
    let (pve, node, vmid) = restored(&sim).await;
    let forbidden = pve.create_pool(&"other".parse().unwrap(), "x").await.unwrap_err();
    assert!(matches!(forbidden, Error::Forbidden(_)), "{forbidden}");
    assert!(matches!(node.status().await, Err(Error::Forbidden(_))), "Sys.Audit was not granted");
    let backup = VzdumpRequest {
        vmid,
        storage: "nosuch".parse().unwrap(),
        mode: BackupMode::Snapshot,
        lockwait: 0,
        notes_template: None,
        protected: false,
        zstd_threads: None,
    };
    // A 403 for the storage, or a UPID whose task fails: no success in either way.
    match node.vzdump(&backup).await {
        Ok(upid) => assert!(!done(&pve, &upid).await.is_success()),
        Err(error) => assert!(error.refusal().is_some(), "{error}"),
    }
    let snapshot = node.guest(vmid).delete_snapshot(&"none".parse().unwrap()).await.unwrap();
    assert!(matches!(done(&pve, &snapshot).await, ExitStatus::Failed(_)));
    assert!(matches!(pve.task(&snapshot).state().await.unwrap(), TaskState::Stopped(_)));
    let unknown: Upid =
        "UPID:pve:00000001:00000001:5F000000:vzdump:100:felhom@pve!executor:".parse().unwrap();
    assert!(matches!(pve.task(&unknown).state().await, Err(Error::NotFound(_))));
}
