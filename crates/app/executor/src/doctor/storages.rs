//! Whether each storage that the configuration names is there, holds what it should, cannot fill another disk by mistake, keeps
//! what is put there, and has room; and whether the host's backup settings are foreign.

use std::path::{Path, PathBuf};

use felhom_host::{Mounted, Space, Survey};
use felhom_model::StorageId;
use felhom_pve::{StorageConfig, StorageStatus, VzdumpDefaults};

use super::facts::Should;
use super::finding::id;
use super::{Answers, Facts, Finding, Server, Severity, unseen};
use crate::facts::{KEEPS_ALL, foreign_settings};

/// Filled to this, an operator should know; in per cent (design: warn at 90, refuse new backups at 95).
const LOW: u64 = 90;
const FULL: u64 = 95;

pub(super) fn check(facts: &Facts, answers: &Answers) -> Vec<Finding> {
    let (statuses, configs) = match (&answers.storages, &answers.configs) {
        (Ok(statuses), Ok(configs)) => (statuses, configs),
        (Err(why), _) | (_, Err(why)) => return vec![unseen("storages", why)],
    };
    let mut findings = Vec::new();
    for id in &facts.should.host.storages {
        let status = statuses.iter().find(|s| s.storage == id.as_str());
        let config = configs.iter().find(|c| c.storage == id.as_str());
        let (Some(status), Some(config)) = (status, config) else {
            findings.push(unknown(facts, id, statuses));
            continue;
        };
        findings.extend(inactive(status, config));
        findings.extend(content(&facts.should, config, configs));
        findings.extend(prune(&facts.should, config));
        if let Ok(survey) = &facts.survey {
            findings.extend(mountpoint(facts, config, survey));
        }
        findings.extend(room(facts, id, status));
    }
    findings.extend(backup_settings(answers, configs));
    findings
}

fn unknown(facts: &Facts, id: &StorageId, statuses: &[StorageStatus]) -> Finding {
    let names: Vec<_> = statuses.iter().map(|s| s.storage.as_str()).collect();
    Finding::danger(id!("storage.unknown"), format!("storage {id}"))
        .seen(format!("the token sees: {}", names.join(", ")))
        .why("the configuration names it under `storages`; it is not there, or the token may not see it")
        .repair(format!("editor {}", facts.should.file.display()))
}

fn inactive(status: &StorageStatus, config: &StorageConfig) -> Option<Finding> {
    let id = &status.storage;
    let finding = Finding::danger(id!("storage.inactive"), format!("storage {id}"))
        .why("nothing can be backed up to it, restored from it, or started from it");
    if config.disable || !status.enabled {
        return Some(finding.seen("it is switched off").repair(format!("pvesm set {id} --disable 0")));
    }
    if status.active {
        return None;
    }
    let path = config.path.as_deref().filter(|_| config.is_mountpoint.is_some());
    Some(match path {
        Some(path) => finding
            .seen(format!("nothing is mounted at {}", expected_mount(config, path)))
            .repair(format!("mount {}", expected_mount(config, path))),
        None => finding.seen("Proxmox cannot use it now").repair(format!("pvesm status --storage {id}")),
    })
}

/// `is_mountpoint` is a yes for `path` itself, or another path.
fn expected_mount<'a>(config: &'a StorageConfig, path: &'a str) -> &'a str {
    config.is_mountpoint.as_deref().filter(|point| point.starts_with('/')).unwrap_or(path)
}

/// Kinds of storages on which there can be no archives, and no guests' volumes (`plugindata` of `PVE::Storage`).
fn can_never_hold(kind: &str, content: &str) -> bool {
    let kinds: &[&str] = match content {
        "backup" => &["zfspool", "zfs", "lvm", "lvmthin", "rbd", "iscsi", "iscsidirect", "esxi"],
        _ => &["pbs", "cephfs", "zfs", "iscsi", "iscsidirect", "esxi"],
    };
    kinds.contains(&kind)
}

fn content(should: &Should, config: &StorageConfig, all: &[StorageConfig]) -> Option<Finding> {
    let id = config.storage.as_str();
    let mut needed = Vec::new();
    if should.guest.as_str() == id {
        needed.push("rootdir");
    }
    if should.holds_archives(id) {
        needed.push("backup");
    }
    needed.retain(|content| !config.content.iter().any(|there| there == content));
    if needed.is_empty() {
        return None;
    }
    if let Some(never) = needed.iter().find(|content| can_never_hold(&config.kind, content)) {
        return Some(wrong_kind(should, config, never, all));
    }
    let mut all: Vec<&str> = config.content.iter().map(String::as_str).collect();
    all.extend(&needed);
    Some(
        Finding::danger(id!("storage.content"), format!("storage {id}"))
            .seen(format!("it takes {}, not {}", config.content.join(", "), needed.join(", ")))
            .why("guests' volumes are `rootdir`, backups and golden archives are `backup`; Proxmox refuses the others")
            .repair(format!("pvesm set {id} --content {}", all.join(","))),
    )
}

/// No setting makes it hold them: another one has to be named.
fn wrong_kind(should: &Should, config: &StorageConfig, content: &str, all: &[StorageConfig]) -> Finding {
    let others = all.iter().filter(|other| other.content.iter().any(|there| there == content));
    let others: Vec<_> = others.map(|other| other.storage.as_str()).collect();
    let others = if others.is_empty() { "there is none yet".to_owned() } else { others.join(", ") };
    let (what, keys) = match content {
        "backup" => ("archives", "`backup` and `golden`"),
        _ => ("guests' volumes", "`guest`"),
    };
    Finding::danger(id!("storage.content"), format!("storage {}", config.storage))
        .seen(format!("it is of the kind {}, which never holds {what}", config.kind))
        .why(format!(
            "another storage has to be named under `storages`, {keys}; those that take `{content}`: {others}"
        ))
        .repair(format!("editor {}", should.file.display()))
}

fn prune(should: &Should, config: &StorageConfig) -> Option<Finding> {
    let id = config.storage.as_str();
    let rule = config.prune_backups.as_deref()?.trim();
    if !should.holds_archives(id) || KEEPS_ALL.contains(&rule) {
        return None;
    }
    Some(
        Finding::danger(id!("storage.prune"), format!("storage {id}"))
            .seen(format!("prune-backups is {rule}"))
            .why("at its limit our backups fail, and the owner's next backup removes ours; the executor refuses to back up there")
            .repair(format!("pvesm set {id} --prune-backups keep-all=1")),
    )
}

/// A directory on another disk than `/`: with the disk away Proxmox writes to `/` and says OK (F93).
fn mountpoint(facts: &Facts, config: &StorageConfig, survey: &Survey) -> Option<Finding> {
    let path = Path::new(config.path.as_deref()?);
    let known = matches!(config.kind.as_str(), "dir" | "btrfs");
    if !known || config.is_mountpoint.as_deref().is_some_and(|point| !matches!(point, "0" | "no" | "")) {
        return None;
    }
    // Proxmox follows links.
    let point = other_disk(facts.real_path(path), survey)?;
    let id = &config.storage;
    let value = if point == path { "yes".to_owned() } else { point.display().to_string() };
    Some(
        Finding::danger(id!("storage.mountpoint"), format!("storage {id}"))
            .seen(format!(
                "{} lies on the disk at {}, and `is_mountpoint` is not set",
                path.display(),
                point.display()
            ))
            .why("with that disk away, backups and restores fill the root file system, and Proxmox says OK")
            .repair(format!("pvesm set {id} --is_mountpoint {value}")),
    )
}

/// Where the disk is, or would be, mounted that a directory lies on; `None` if it is the one of `/`.
fn other_disk(path: &Path, survey: &Survey) -> Option<PathBuf> {
    let (mounted, root) = (holding(path, survey), holding(Path::new("/"), survey));
    if let Some(mounted) = mounted.filter(|m| m.point != Path::new("/")) {
        let same = root.is_some_and(|root| disk(root) == disk(mounted));
        return (!same).then(|| mounted.point.clone());
    }
    // Not mounted now, but meant to be.
    let meant = path.ancestors().find(|point| survey.fstab.iter().any(|other| other == point));
    meant.filter(|point| *point != Path::new("/")).map(Path::to_owned)
}

/// What is mounted where a path lies.
fn holding<'a>(path: &Path, survey: &'a Survey) -> Option<&'a Mounted> {
    // The last of those mounted over each other counts.
    path.ancestors().find_map(|point| survey.mounts.iter().rev().find(|m| m.point == point))
}

/// Room where the executor and the host itself write, where no storage in use tells of it.
pub(super) fn folders(facts: &Facts) -> Vec<Finding> {
    let on = |path: &Path| holding(path, facts.survey.as_ref().ok()?).map(disk);
    let mut told: Vec<&str> = match &facts.server {
        Server::Answers(answers) => {
            in_use(facts, answers).filter_map(|path| on(facts.real_path(path))).collect()
        }
        _ => Vec::new(),
    };
    let mut findings = Vec::new();
    for (folder, space) in &facts.folders {
        if let Some(disk) = on(folder) {
            if told.contains(&disk) {
                continue;
            }
            told.push(disk);
        }
        findings.extend(match space {
            Ok(space) => folder_room(folder, space),
            Err(why) => {
                Some(unseen(&format!("the file system below {}", folder.display()), why).repair("df -h"))
            }
        });
    }
    findings
}

/// Directories of active storages that are configured.
fn in_use<'a>(facts: &'a Facts, answers: &'a Answers) -> impl Iterator<Item = &'a Path> {
    let active = answers.storages.iter().flatten().filter(|status| status.active);
    let ours = active.filter(|s| facts.should.host.storages.iter().any(|id| id.as_str() == s.storage));
    let config = |id: &str| answers.configs.iter().flatten().find(|config| config.storage == id);
    ours.filter_map(move |status| config(&status.storage)?.path.as_deref().map(Path::new))
}

fn folder_room(folder: &Path, space: &Space) -> Option<Finding> {
    let used = (space.total - space.available.min(space.total)).saturating_mul(100) / space.total.max(1);
    let (id, severity) = match used {
        FULL.. => (id!("space.full"), Severity::Danger),
        LOW.. => (id!("space.low"), Severity::Warning),
        _ => return None,
    };
    let folder = folder.display();
    Some(
        Finding::new(id, severity, format!("file system of {folder}"))
            .seen(format!("{used} % used, {} of {} free", bytes(space.available), bytes(space.total)))
            .why("when it is full, the executor cannot note what it does and so does nothing; Proxmox fails as well")
            .repair(format!("du -xhd1 {folder}")),
    )
}

/// Data sets of one zfs pool lie on the same disks.
fn disk(mounted: &Mounted) -> &str {
    match mounted.kind.as_str() {
        "zfs" => mounted.source.split('/').next().unwrap_or_default(),
        _ => &mounted.source,
    }
}

fn room(facts: &Facts, id: &StorageId, status: &StorageStatus) -> Vec<Finding> {
    let subject = format!("storage {id}");
    let mut findings = Vec::new();
    let used = (status.total - status.avail.min(status.total)).saturating_mul(100) / status.total.max(1);
    let seen = format!("{used} % used, {} of {} free", bytes(status.avail), bytes(status.total));
    let backups = facts.should.holds_archives(id.as_str());
    let show = format!("pvesm list {id}{}", if backups { " --content backup" } else { "" });
    if status.active && (used >= FULL || status.avail < facts.should.reserve) {
        let why = format!(
            "at {FULL} % or below the reserve of {} nothing new is put there, no backup either",
            bytes(facts.should.reserve)
        );
        findings.push(Finding::danger(id!("space.full"), &subject).seen(seen).why(why).repair(&show));
    } else if status.active && used >= LOW {
        let why = format!("at {FULL} % nothing new is put there, no backup either");
        findings.push(Finding::warning(id!("space.low"), &subject).seen(seen).why(why).repair(&show));
    }
    match facts.spaces.get(id) {
        Some(Ok(space)) if space.promised > space.available => findings.push(
            Finding::new(id!("space.promised"), Severity::Warning, &subject)
                .seen(format!(
                    "its sparse images may still grow by {}, and {} are free below them",
                    bytes(space.promised),
                    bytes(space.available)
                ))
                .why("a write into an image without room below it damages the guest's file system, and a restore ends OK with one")
                .repair(format!("pvesm list {id} --content rootdir")),
        ),
        Some(Err(why)) if status.active => findings.push(
            unseen(&format!("the file system below {subject}"), why).repair(format!("pvesm status --storage {id}")),
        ),
        _ => {}
    }
    findings
}

fn bytes(n: u64) -> String {
    if n >= 10 << 30 { format!("{} GiB", n >> 30) } else { format!("{} MiB", n >> 20) }
}

/// Settings of `/etc/vzdump.conf`; a storage's own prune rule has been told already.
fn backup_settings(answers: &Answers, configs: &[StorageConfig]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (id, defaults) in &answers.defaults {
        match defaults {
            Err(why) => findings.push(unseen(&format!("backup settings for storage {id}"), why)),
            Ok(defaults) => {
                let config = configs.iter().find(|c| c.storage == id.as_str());
                let own_rule = config.is_some_and(|c| c.prune_backups.is_some());
                findings.extend(foreign(defaults, own_rule));
            }
        }
    }
    // One file for all storages.
    findings.sort_by(|a, b| a.seen.cmp(&b.seen));
    findings.dedup();
    findings
}

fn foreign(defaults: &VzdumpDefaults, own_rule: bool) -> Vec<Finding> {
    foreign_settings(defaults).iter().filter_map(|line| setting(line, own_rule)).collect()
}

/// A line of [`foreign_settings`].
pub(super) fn setting(line: &str, own_rule: bool) -> Option<Finding> {
    let (key, rest) = line.split_once(": ")?;
    let value = rest.rsplit_once(", ").map_or(rest, |(value, _)| value);
    let (id, why) = match key {
        "exclude-path" => {
            (id!("vzdump.exclude_path"), "files are left out of every backup, and no log says so")
        }
        "script" => (
            id!("vzdump.script"),
            "a hook runs as root in every backup and can change or carry away what is in it",
        ),
        "tmpdir" => (id!("vzdump.tmpdir"), "guests' data would lie there for a while"),
        "prune-backups" if own_rule => return None,
        "prune-backups" => {
            (id!("vzdump.prune"), "at its limit our backups fail, and other backups remove ours")
        }
        _ => (id!("vzdump.foreign"), "it changes what our backups are"),
    };
    Some(
        Finding::danger(id, "/etc/vzdump.conf")
            .seen(format!("{key}: {value}"))
            .why(format!("{why}; the executor refuses to back up with it"))
            .repair(format!("sed -i 's/^{key}:/#&/' /etc/vzdump.conf")),
    )
}
