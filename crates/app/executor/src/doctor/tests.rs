//! Every finding comes from what it is about, and from nothing else; the document lists exactly these.

use std::collections::BTreeSet;

use felhom_host::{IdRange, Mounted, Space, Survey};
use felhom_pve::{NodeTime, StorageConfig, StorageStatus, VzdumpDefaults};
use serde_json::{Value, json};

use super::facts::{Answers, Facts, Server, Should};
use super::finding::Id;
use super::{Finding, Severity, check};
use crate::setup::{Line, Outcome, SetupConfig, Wanted};

const NOW: u64 = 1_795_433_322;
const PINNED: &str =
    "AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA";

fn should() -> Should {
    let id = |text: &str| text.parse().unwrap();
    let host = SetupConfig {
        url: "https://127.0.0.1:8006".into(),
        fingerprint: Some(PINNED.parse().unwrap()),
        node: "pve".parse().unwrap(),
        pool: "felhom".parse().unwrap(),
        token: "felhom@pve!executor".parse().unwrap(),
        token_file: "/x".into(),
        storages: vec![id("local"), id("tank")],
        bridge: "vmbr0".parse().unwrap(),
        golden_vmid: "1999".parse().unwrap(),
    };
    Should {
        file: "/etc/felhom/executor.toml".into(),
        rights: Wanted::of(&host).unwrap(),
        host,
        guest: id("tank"),
        backup: vec![id("local")],
        golden: id("local"),
        state_dir: "/var/lib/felhom/executor".into(),
        reserve: 2 << 30,
    }
}

fn storage(value: Value) -> StorageConfig {
    serde_json::from_value(value).unwrap()
}

fn status(id: &str) -> StorageStatus {
    let value =
        json!({ "storage": id, "active": 1, "enabled": 1, "avail": 60_u64 << 30, "total": 100_u64 << 30 });
    serde_json::from_value(value).unwrap()
}

fn mounted(point: &str, kind: &str, source: &str) -> Mounted {
    Mounted { point: point.into(), kind: kind.into(), source: source.into() }
}

/// A host as it should be.
fn fine() -> Facts {
    let should = should();
    let mut permissions = felhom_pve::Permissions::new();
    for grant in &should.rights.grants {
        let role = should.rights.roles.iter().find(|role| role.id == grant.role).unwrap();
        let here = permissions.entry(grant.path.clone()).or_default();
        here.extend(role.privileges.iter().map(|p| (p.clone(), false)));
    }
    // What Proxmox lists of a guest in the pool.
    let members = permissions["/pool/felhom"].clone();
    permissions.insert("/vms/2000".into(), members);
    permissions.insert("/".into(), [].into());
    let local = json!({ "storage": "local", "type": "dir", "path": "/var/lib/vz", "content": "backup,iso" });
    let tank = json!({ "storage": "tank", "type": "dir", "path": "/mnt/tank/pve", "content": "rootdir",
                       "is_mountpoint": "/mnt/tank" });
    let defaults: VzdumpDefaults = serde_json::from_value(json!({ "prune-backups": "keep-all=1" })).unwrap();
    let answers = Answers {
        version: "9.2.11".into(),
        nodes: Ok(vec!["pve".into()]),
        permissions: Ok(permissions),
        time: Ok(NodeTime { time: NOW + 1, timezone: "Europe/Budapest".into() }),
        // It took its time to answer.
        asked: (NOW - 20, NOW + 20),
        storages: Ok(vec![status("local"), status("tank")]),
        configs: Ok(vec![storage(local), storage(tank)]),
        defaults: [("local".parse().unwrap(), Ok(defaults))].into(),
    };
    let ids = vec![IdRange { first: 100_000, count: 65_536 }];
    let survey = Survey {
        cgroup2: true,
        overlay: true,
        user_namespaces: Some(1000),
        apparmor: true,
        subuids: ids.clone(),
        subgids: ids,
        name: Some("pve".into()),
        time_zone: Some("Europe/Budapest".into()),
        mounts: vec![mounted("/", "ext4", "/dev/sda1"), mounted("/mnt/tank", "ext4", "/dev/sdb1")],
        fstab: vec!["/".into(), "/mnt/tank".into()],
        certificate: None,
    };
    let space = Space { available: 60 << 30, total: 100 << 30, promised: 10 << 30 };
    Facts {
        should,
        server: Server::Answers(Box::new(answers)),
        survey: Ok(survey),
        certificate: None,
        clock_is_synchronised: Ok(true),
        spaces: [("tank".parse().unwrap(), Ok(space))].into(),
        folders: ["/", "/var/lib/felhom/executor"].map(|folder| (folder.into(), Ok(space))).into(),
        real_paths: [].into(),
        setup: None,
    }
}

/// A fine host but for one thing.
fn but(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = fine();
    change(&mut facts);
    facts
}

fn answer(change: impl FnOnce(&mut Answers)) -> Facts {
    but(|facts| match &mut facts.server {
        Server::Answers(answers) => change(answers),
        _ => unreachable!("a fine host answers"),
    })
}

fn config(id: &str, change: impl FnOnce(&mut StorageConfig)) -> Facts {
    answer(|a| change(a.configs.as_mut().unwrap().iter_mut().find(|c| c.storage == id).unwrap()))
}

fn status_of(id: &str, change: impl FnOnce(&mut StorageStatus)) -> Facts {
    answer(|a| change(a.storages.as_mut().unwrap().iter_mut().find(|s| s.storage == id).unwrap()))
}

fn host(change: impl FnOnce(&mut Survey)) -> Facts {
    but(|facts| change(facts.survey.as_mut().unwrap()))
}

fn vzdump(settings: Value) -> Facts {
    answer(|a| {
        a.defaults.insert("local".parse().unwrap(), Ok(serde_json::from_value(settings).unwrap()));
    })
}

fn set_up(outcome: Outcome, command: Option<&str>) -> Facts {
    but(|f| {
        let line = |outcome, command: Option<&str>| Line {
            outcome,
            what: "role FelhomNode".into(),
            detail: "-Sys.Modify".into(),
            command: command.map(str::to_owned),
        };
        f.setup = Some(Ok(vec![line(Outcome::Unchanged, None), line(outcome, command)]));
    })
}

/// One more disk, mounted here, and on it, or on `/` if it holds our storages, this much is used of what the folders lie on.
fn full_folders(point: &str, used: u64) -> Facts {
    let mut facts = fine();
    facts.survey.as_mut().unwrap().mounts.push(mounted(point, "ext4", "/dev/sdc1"));
    if point == "/srv" {
        facts.real_paths.insert("/var/lib/vz".into(), "/srv/vz".into());
        let Server::Answers(answers) = &mut facts.server else { unreachable!("a fine host answers") };
        answers.configs.as_mut().unwrap()[0].is_mountpoint = Some("/srv".into());
    } else {
        // Nothing of ours but the state is there.
        facts.real_paths.insert("/var/lib/vz".into(), "/vz".into());
    }
    for (_, space) in &mut facts.folders {
        space.as_mut().unwrap().available = (100 - used) << 30;
    }
    facts
}

/// What is wrong with a host, the finding, and its repair.
fn cases() -> Vec<(Facts, &'static str, String)> {
    let other = "BB".repeat(32).parse().unwrap();
    let pin = format!("sed -i 's/^fingerprint *=.*/fingerprint = \"{other}\"/' /etc/felhom/executor.toml");
    let have = |change: fn(&mut felhom_pve::Permissions)| answer(|a| change(a.permissions.as_mut().unwrap()));
    let setup = "felhom-executor setup";
    let set_zone = "pvesh set /nodes/pve/time --timezone Europe/Budapest";
    let server = |server: Server| but(|f| f.server = server);
    let zone = |name: &str| answer(|a| a.time.as_mut().unwrap().timezone = name.to_owned());
    let list = [
        (server(Server::Away("refused".into())), "server.away", "systemctl restart pveproxy pvedaemon"),
        (server(Server::NoSecret("no file".into())), "token.no_secret", setup),
        (server(Server::Refuses("401".into())), "token.refused", "felhom-executor setup --new-token"),
        (server(Server::Shows(other)), "tls.other_certificate", "pvenode cert info"),
        (
            but(|f| (f.server, f.certificate) = (Server::Shows(other), Some(other))),
            "tls.renewed",
            pin.as_str(),
        ),
        (
            but(|f| (f.server, f.should.host.fingerprint) = (Server::Shows(other), None)),
            "tls.not_pinned",
            "pvenode cert info",
        ),
        (
            but(|f| f.should.host.url = "https://192.168.1.10:8006".into()),
            "server.not_loopback",
            "sed -i 's|^url *=.*|url = \"https://127.0.0.1:8006\"|' /etc/felhom/executor.toml",
        ),
        (answer(|a| a.version = "8.3.5".into()), "pve.too_old", "pveversion --verbose"),
        (answer(|a| a.version = "10.0".into()), "pve.not_tried", "pveversion --verbose"),
        (
            but(|f| {
                f.clone_from(&answer(|a| a.nodes = Ok(vec!["another".into(), "box".into()])));
                f.survey.as_mut().unwrap().name = Some("box".into());
            }),
            "node.unknown",
            "sed -i 's/^node *=.*/node = \"box\"/' /etc/felhom/executor.toml",
        ),
        (answer(|a| a.nodes = Ok(vec!["another".into()])), "node.unknown", "pvesh get /nodes"),
        (
            have(|p| p.get_mut("/pool/felhom").unwrap().retain(|p, _| p != "VM.Audit")),
            "rights.missing",
            setup,
        ),
        (have(|p| drop(p.remove("/nodes/pve"))), "rights.missing", setup),
        (
            have(|p| drop(p.insert("/".into(), [("Sys.Modify".into(), true)].into()))),
            "rights.too_many",
            "pveum acl list",
        ),
        (
            have(|p| p.get_mut("/nodes/pve").unwrap().values_mut().for_each(|propagates| *propagates = true)),
            "rights.too_many",
            "pveum acl list",
        ),
        (
            have(|p| drop(p.insert("/vms/2000".into(), [("VM.Console".into(), false)].into()))),
            "rights.too_many",
            "pveum acl list",
        ),
        (set_up(Outcome::WouldCreate, None), "setup.missing", setup),
        (set_up(Outcome::WouldChange, None), "setup.differs", setup),
        (
            set_up(Outcome::Blocked, Some("felhom-executor setup --new-token")),
            "setup.blocked",
            "felhom-executor setup --new-token",
        ),
        (set_up(Outcome::Extra, Some("pveum acl delete / x")), "setup.extra", "pveum acl delete / x"),
        (
            answer(|a| drop(a.storages.as_mut().unwrap().pop())),
            "storage.unknown",
            "editor /etc/felhom/executor.toml",
        ),
        (config("local", |c| c.disable = true), "storage.inactive", "pvesm set local --disable 0"),
        (status_of("tank", |s| s.active = false), "storage.inactive", "mount /mnt/tank"),
        (status_of("local", |s| s.active = false), "storage.inactive", "pvesm status --storage local"),
        (
            config("local", |c| c.content = vec!["iso".into()]),
            "storage.content",
            "pvesm set local --content iso,backup",
        ),
        (
            config("local", |c| (c.kind, c.content) = ("zfspool".into(), vec!["rootdir".into()])),
            "storage.content",
            "editor /etc/felhom/executor.toml",
        ),
        (
            config("tank", |c| (c.kind, c.content) = ("pbs".into(), vec!["backup".into()])),
            "storage.content",
            "editor /etc/felhom/executor.toml",
        ),
        (config("tank", |c| c.content = vec![]), "storage.content", "pvesm set tank --content rootdir"),
        (
            config("local", |c| c.prune_backups = Some("keep-last=2".into())),
            "storage.prune",
            "pvesm set local --prune-backups keep-all=1",
        ),
        (
            config("tank", |c| c.is_mountpoint = None),
            "storage.mountpoint",
            "pvesm set tank --is_mountpoint /mnt/tank",
        ),
        (
            config("tank", |c| (c.is_mountpoint, c.path) = (Some("0".into()), Some("/mnt/tank".into()))),
            "storage.mountpoint",
            "pvesm set tank --is_mountpoint yes",
        ),
        (
            but(|f| {
                f.clone_from(&config("tank", |c| c.is_mountpoint = None));
                f.survey.as_mut().unwrap().mounts.pop();
            }),
            "storage.mountpoint",
            "pvesm set tank --is_mountpoint /mnt/tank",
        ),
        (status_of("local", |s| s.avail = 4 << 30), "space.full", "pvesm list local --content backup"),
        (status_of("tank", |s| (s.avail, s.total) = (1 << 30, 4 << 30)), "space.full", "pvesm list tank"),
        (status_of("local", |s| s.avail = 9 << 30), "space.low", "pvesm list local --content backup"),
        (full_folders("/srv", 96), "space.full", "du -xhd1 /"),
        (full_folders("/var/lib", 91), "space.low", "du -xhd1 /var/lib/felhom/executor"),
        (
            but(|f| {
                f.clone_from(&config("tank", |c| {
                    (c.path, c.is_mountpoint) = (Some("/backups".into()), None)
                }));
                f.real_paths.insert("/backups".into(), "/mnt/tank/pve".into());
            }),
            "storage.mountpoint",
            "pvesm set tank --is_mountpoint /mnt/tank",
        ),
        (
            but(|f| f.spaces.values_mut().for_each(|s| s.as_mut().unwrap().promised = 61 << 30)),
            "space.promised",
            "pvesm list tank --content rootdir",
        ),
        (
            vzdump(json!({ "exclude-path": "/root/*" })),
            "vzdump.exclude_path",
            "sed -i 's/^exclude-path:/#&/' /etc/vzdump.conf",
        ),
        (
            vzdump(json!({ "script": "/root/hook.sh" })),
            "vzdump.script",
            "sed -i 's/^script:/#&/' /etc/vzdump.conf",
        ),
        (vzdump(json!({ "tmpdir": "/tmp" })), "vzdump.tmpdir", "sed -i 's/^tmpdir:/#&/' /etc/vzdump.conf"),
        (
            vzdump(json!({ "prune-backups": "keep-last=1" })),
            "vzdump.prune",
            "sed -i 's/^prune-backups:/#&/' /etc/vzdump.conf",
        ),
        (but(|f| f.clock_is_synchronised = Ok(false)), "clock.not_synchronised", "timedatectl set-ntp true"),
        (answer(|a| a.asked = (NOW + 3600, NOW + 3600)), "clock.differs", "editor /etc/felhom/executor.toml"),
        (zone("Europe/Nowhere"), "time_zone.unknown", set_zone),
        (zone("Europe/Berlin"), "time_zone.differs", set_zone),
        (
            but(|f| {
                f.clone_from(&zone("Etc/UTC"));
                f.survey.as_mut().unwrap().time_zone = Some("UTC".into());
            }),
            "time_zone.utc",
            set_zone,
        ),
        (
            host(|s| s.cgroup2 = false),
            "kernel.cgroup",
            "for file in /etc/default/grub /etc/kernel/cmdline; do [ ! -e $file ] || sed -i \
             's/systemd.unified_cgroup_hierarchy=0//' $file; done; update-grub; proxmox-boot-tool refresh",
        ),
        (host(|s| s.overlay = false), "kernel.overlay", "apt-get install --reinstall proxmox-default-kernel"),
        (
            host(|s| s.user_namespaces = Some(0)),
            "kernel.user_namespaces",
            "echo user.max_user_namespaces=100000 > /etc/sysctl.d/90-felhom.conf && sysctl -p /etc/sysctl.d/90-felhom.conf",
        ),
        (
            host(|s| s.user_namespaces = None),
            "kernel.user_namespaces",
            "apt-get install --reinstall proxmox-default-kernel",
        ),
        (host(|s| s.subuids.clear()), "ids.subuid", "usermod --add-subuids 100000-165535 root"),
        (host(|s| s.subgids[0].count = 1000), "ids.subgid", "usermod --add-subgids 100000-165535 root"),
        (host(|s| s.apparmor = false), "kernel.apparmor", "apt-get install --reinstall apparmor lxc-pve"),
        (answer(|a| a.permissions = Err("403".into())), "not_checked", setup),
        (but(|f| f.clock_is_synchronised = Err("no bus".into())), "not_checked", "timedatectl"),
        (but(|f| f.survey = Err("no /proc".into())), "not_checked", "findmnt"),
        (but(|f| f.setup = Some(Err("wrong password".into()))), "not_checked", setup),
        (
            but(|f| f.spaces.values_mut().for_each(|s| *s = Err("gone".into()))),
            "not_checked",
            "pvesm status --storage tank",
        ),
    ];
    list.into_iter().map(|(facts, id, repair)| (facts, id, repair.to_owned())).collect()
}

#[test]
fn a_host_as_it_should_be_has_no_findings() {
    assert_eq!(check(&fine()), []);
}

#[test]
fn each_trouble_is_one_finding_with_its_reason_and_its_repair() {
    for (facts, id, repair) in cases() {
        let findings = check(&facts);
        let [Finding { seen, why, .. }] = findings.as_slice() else { panic!("{id}: {findings:#?}") };
        assert_eq!((findings[0].id, &findings[0].repair), (id, &repair));
        assert!(!seen.is_empty() && !why.is_empty(), "{id}");
    }
}

#[test]
fn what_other_parts_of_ours_grant_and_what_lies_on_the_same_disk_is_no_finding() {
    let granted = answer(|a| {
        let have = a.permissions.as_mut().unwrap();
        have.insert("/vms/2004".into(), [("VM.Backup".into(), false)].into());
        have.insert("/storage/felhom-offsite".into(), [("Datastore.AllocateSpace".into(), false)].into());
    });
    assert_eq!(check(&granted), []);
    let one_pool = but(|f| {
        f.clone_from(&config("local", |c| c.path = Some("/var/lib/vz".into())));
        let survey = f.survey.as_mut().unwrap();
        survey.mounts[0] = mounted("/", "zfs", "rpool/ROOT/pve-1");
        survey.mounts.push(mounted("/var/lib/vz", "zfs", "rpool/var-lib-vz"));
    });
    assert_eq!(check(&one_pool), []);
    let keeps = config("local", |c| c.prune_backups = Some("keep-all=1".into()));
    assert_eq!(check(&keeps), []);
    let guests_rule = config("tank", |c| c.prune_backups = Some("keep-last=1".into()));
    assert_eq!(check(&guests_rule), [], "no archive is put there");
}

#[test]
fn an_own_rule_of_the_storage_is_told_once_and_the_worst_comes_first() {
    let mut facts = config("local", |c| c.prune_backups = Some("keep-last=2".into()));
    facts.clock_is_synchronised = Ok(false);
    let Server::Answers(answers) = &mut facts.server else { panic!() };
    let effective: VzdumpDefaults =
        serde_json::from_value(json!({ "prune-backups": "keep-last=2" })).unwrap();
    answers.defaults.insert("local".parse().unwrap(), Ok(effective));
    let ids: Vec<_> = check(&facts).iter().map(|f| (f.severity, f.id)).collect();
    assert_eq!(ids, [(Severity::Danger, "storage.prune"), (Severity::Warning, "clock.not_synchronised")]);
}

#[test]
fn a_certificate_of_nobody_is_pinned_by_the_hosts_own_file_only() {
    let seen = "BB".repeat(32).parse().unwrap();
    let mut facts = but(|f| (f.server, f.should.host.fingerprint) = (Server::Shows(seen), None));
    facts.certificate = Some(seen);
    let findings = check(&facts);
    assert!(
        findings[0].repair.starts_with("sed -i 's/^fingerprint *=.*/fingerprint = \"BB:BB:"),
        "{findings:?}"
    );
}

#[test]
fn the_document_lists_exactly_these_findings() {
    let text = include_str!("../../../../../docs/operator/doctor.md");
    let row = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let listed: BTreeSet<String> = text.lines().filter_map(row).collect();
    let all: BTreeSet<String> = Id::ALL.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!(listed, all);
    let mut tested: BTreeSet<String> = cases().iter().map(|(_, id, _)| (*id).to_owned()).collect();
    // No host has one yet; see below.
    assert!(tested.insert("vzdump.foreign".to_owned()));
    assert_eq!(tested, all);
    for (facts, id, _) in cases() {
        let severity = check(&facts)[0].severity.word();
        let row = text.lines().find(|line| line.starts_with(&format!("| `{id}` "))).unwrap();
        assert!(row.contains(&format!("| {severity} |")), "{row}: {severity}");
    }
}

#[test]
fn a_setting_that_is_not_known_here_is_told_as_foreign() {
    let found = super::storages::setting("pigz: 1, in /etc/vzdump.conf", false).unwrap();
    assert_eq!(
        (found.id, found.severity, found.seen.as_str()),
        ("vzdump.foreign", Severity::Danger, "pigz: 1")
    );
    assert_eq!(found.repair, "sed -i 's/^pigz:/#&/' /etc/vzdump.conf");
}

#[test]
fn too_many_rights_are_taken_back_by_the_entrys_own_command_where_it_is_known() {
    let line = |path: &str| Line {
        outcome: Outcome::Extra,
        what: format!("PVEAdmin for felhom@pve on {path}"),
        detail: String::new(),
        command: Some(format!("pveum acl delete {path}")),
    };
    let mut facts = answer(|a| {
        a.permissions.as_mut().unwrap().insert("/vms".into(), [("VM.Console".into(), false)].into());
    });
    let repair = |facts: &Facts| {
        let all = check(facts);
        all.into_iter().find(|f| f.id == "rights.too_many").unwrap().repair
    };
    facts.setup = Some(Ok(vec![line("/nodes/vms")]));
    assert_eq!(repair(&facts), "pveum acl list", "another path's");
    facts.setup = Some(Ok(vec![line("/nodes/vms"), line("/vms")]));
    assert_eq!(repair(&facts), "pveum acl delete /vms");
}

#[test]
fn the_repair_of_control_groups_works_with_one_of_the_two_files() {
    let dir = tempfile::tempdir().unwrap();
    let command = check(&host(|s| s.cgroup2 = false)).remove(0).repair;
    let (grub, cmdline) = (dir.path().join("grub"), dir.path().join("cmdline"));
    std::fs::write(&grub, "quiet systemd.unified_cgroup_hierarchy=0\n").unwrap();
    let script = command
        .replace("/etc/default/grub", grub.to_str().unwrap())
        .replace("/etc/kernel/cmdline", cmdline.to_str().unwrap());
    let tools =
        format!("update-grub() {{ :; }}; proxmox-boot-tool() {{ touch {:?}; }}; ", dir.path().join("told"));
    let done = std::process::Command::new("/bin/bash").args(["-c", &(tools + &script)]).output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    assert_eq!(std::fs::read_to_string(&grub).unwrap(), "quiet \n");
    assert!(dir.path().join("told").exists() && !cmdline.exists());
}
