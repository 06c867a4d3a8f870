//! The facts that the gate is asked with, per operation and stage.

use felhom_gate::{
    BackupFacts, BoxLimits, Concerning, CutoverFacts, DestroyFacts, Facts, ProvisionFacts, PruneFacts,
    ReclaimFacts, ResolveFacts, RestoreFacts, RotationFacts, Seen as Fact, Stage, TargetKind, VmidFact,
};
use felhom_model::operation::{Backup, Prune, Resolve, WayOut};
use felhom_model::{Digest, GuestUuid, Operation, OperationId, Volid};
use felhom_protocol::executor::RotateOperatorsParams;
use felhom_pve::VzdumpDefaults;
use felhom_signing::operators::{OperatorsFile, rotate};
use serde_json::Value;

use crate::marks::to_journal;
use crate::observe::{ObserveError, RealGuest, Seen};
use crate::operations::domain;
use crate::request::Chosen;
use crate::services::Services;

/// What was found out about an archive that is about to be unpacked.
#[derive(Debug, Clone)]
pub struct ArchiveSeen {
    /// Its bytes' SHA-256.
    pub digest: Digest,
    /// Lines of its configuration that are not on the allow-list.
    pub forbidden: Vec<String>,
    /// The guest that its notes name.
    pub notes_guest: Option<GuestUuid>,
    /// The VMID that was chosen.
    pub vmid: VmidFact,
}

/// For which moment, and for which operation.
#[derive(Debug)]
pub struct Asking<'a> {
    /// The operation.
    pub operation: &'a Operation,
    /// Choices that were made for it.
    pub chosen: &'a Chosen,
    /// Its parameters as they were asked for.
    pub params: &'a Value,
    /// Its identity.
    pub within: OperationId,
    /// For an act that unpacks an archive: what was seen of it.
    pub archive: Option<&'a ArchiveSeen>,
    /// Beginning, or right before the act.
    pub stage: Stage,
}

/// Collects the facts from an observation of just now.
///
/// # Errors
/// [`ObserveError`] if a fact cannot be observed.
pub async fn facts(s: &Services, seen: &Seen, ask: &Asking<'_>) -> Result<Facts, ObserveError> {
    // An answer that is cut short for want of a privilege is no fact.
    seen.enough_for(ask.operation.kind(), &s.rights)?;
    facts_of(s, seen, ask).await.map_err(|error| error.explained(&s.rights))
}

async fn facts_of(s: &Services, seen: &Seen, ask: &Asking<'_>) -> Result<Facts, ObserveError> {
    let concerning = match ask.operation {
        Operation::ProvisionGuest(p) => provision(s, ask, p.disk_gib, seen),
        Operation::BackupGuest(backup) => Concerning::Backup(backup_facts(s, seen, backup, ask).await?),
        Operation::RestoreGuest(_) | Operation::RestoreTest(_) => restore(s, ask, made(seen, ask)).await?,
        Operation::DestroyScratch(guest) => Concerning::Destroy(destroy(s, seen, *guest)?),
        Operation::DiscardRestoredCopy(guest) => {
            Concerning::Discard { volumes: destroy(s, seen, *guest)?, served: served(s, seen, *guest)? }
        }
        Operation::CutoverGuest(ask) => Concerning::Cutover(data_of(seen, ask.copy)),
        // Of a pair that has changed places, one was restored from a backup of the guest: this one or, afterwards, the other.
        Operation::ReverseCutoverGuest(guest) => {
            let other = ask.chosen.other.map(|other| data_of(seen, other));
            let own = data_of(seen, *guest);
            Concerning::Cutover(if own.archive_of.is_some() { own } else { other.unwrap_or(own) })
        }
        Operation::ConfigureGuest(_) => Concerning::Grow { storage: s.config.storages.guest.clone() },
        Operation::ReclaimGuest(guest) => Concerning::Reclaim(reclaim(s, seen, *guest)?),
        Operation::PruneBackups(prune) => Concerning::Prune(protected(s, seen, prune).await?),
        Operation::ClearLeftovers(guest) | Operation::ClearStaleLock(guest) => {
            Concerning::Leftovers(crate::operations::leftover_facts(s, seen, *guest, ask.within).await?)
        }
        Operation::ResolveOperation(resolve) => Concerning::Resolve(standing(s, resolve)?),
        Operation::RotateOperators(_) => rotation(s, ask.params)?,
        _ => Concerning::Nothing,
    };
    Ok(Facts {
        observed: seen.observed.clone(),
        limits: limits(s, ask)?,
        now: s.now(),
        within: ask.within,
        stage: ask.stage,
        concerning,
        authorization: s.authorization_facts(ask, seen)?,
    })
}

/// The limits that an operation is judged by. A wish for stricter ones does not reach what was authorized or has begun: it would
/// void what people signed, or leave it half done.
fn limits(s: &Services, ask: &Asking<'_>) -> Result<BoxLimits, ObserveError> {
    let own = s.config.limits();
    match ask.stage {
        Stage::BeforeAct | Stage::Resume => Ok(own),
        Stage::Begin => {
            let limits = s.limits()?;
            let authorized = |op: felhom_journal::Operation| op.authorization.is_some();
            if limits.signatures_per_day == own.signatures_per_day
                || !s.journal.get(to_journal(ask.within))?.is_some_and(authorized)
            {
                return Ok(limits);
            }
            Ok(BoxLimits { signatures_per_day: own.signatures_per_day, ..limits })
        }
    }
}

fn provision(s: &Services, ask: &Asking<'_>, disk_gib: u32, seen: &Seen) -> Concerning {
    let (digest, forbidden_config, vmid) = unpacking(ask.archive);
    let first = seen.rows.iter().find(|row| row.detail.name.is_some() && row.detail.name == ask.chosen.name);
    Concerning::Provision(ProvisionFacts {
        name_first_used_by: first.map(|row| row.made_by),
        // The all-zero digest names no archive, so the gate refuses by name.
        golden: ask.chosen.golden.unwrap_or(Digest::from_bytes([0; 32])),
        digest,
        forbidden_config,
        vmid,
        storage: s.config.storages.guest.clone(),
        projected_bytes: if made(seen, ask) { 0 } else { u64::from(disk_gib) << 30 },
    })
}

/// Whether this very operation has made its guest already: its space is taken then, and not to be counted again.
fn made(seen: &Seen, ask: &Asking<'_>) -> bool {
    seen.rows.iter().any(|row| row.made_by == ask.within && !row.detail.volumes.is_empty())
}

fn unpacking(seen: Option<&ArchiveSeen>) -> (Fact<Digest>, Fact<Vec<String>>, Fact<VmidFact>) {
    match seen {
        None => (Fact::NotYet, Fact::NotYet, Fact::NotYet),
        Some(a) => (Fact::Is(a.digest), Fact::Is(a.forbidden.clone()), Fact::Is(a.vmid)),
    }
}

async fn restore(s: &Services, ask: &Asking<'_>, made: bool) -> Result<Concerning, ObserveError> {
    let Some(archive) = ask.chosen.archive.clone() else { return Ok(Concerning::Nothing) };
    let (digest, forbidden_config, vmid) = unpacking(ask.archive);
    let projected_bytes = match s.node.extract_config(&archive).await {
        Ok(_) if made => 0,
        Ok(text) => archived_bytes(&text),
        Err(e) if e.is_transient() => return Err(e.into()),
        // An archive that cannot be read has no size; the row refuses it or the test of it fails.
        Err(_) => 0,
    };
    Ok(Concerning::Restore(RestoreFacts {
        archive,
        notes_guest: match ask.archive.and_then(|a| a.notes_guest) {
            Some(guest) => Fact::Is(guest),
            None => Fact::NotYet,
        },
        digest,
        forbidden_config,
        vmid,
        storage: s.config.storages.guest.clone(),
        projected_bytes,
    }))
}

/// Sizes of root file system and backed-up mount points in an archive's configuration.
#[must_use]
pub fn archived_bytes(config: &str) -> u64 {
    let Ok(config) = felhom_pve::GuestConfig::from_text(config) else { return 0 };
    let rootfs = config.rootfs().ok().flatten().and_then(|m| m.size_bytes()).unwrap_or(0);
    let mounts = config.mounts().unwrap_or_default();
    let mounted = mounts.values().filter(|m| m.in_backup()).filter_map(|m| m.mount.size_bytes());
    mounted.fold(rootfs, u64::saturating_add)
}

async fn backup_facts(
    s: &Services,
    seen: &Seen,
    backup: &Backup,
    ask: &Asking<'_>,
) -> Result<BackupFacts, ObserveError> {
    let earlier = seen.archives.iter().map(|(row, _)| row).filter(|row| {
        row.guest == backup.guest && row.detail.target == backup.target && row.detail.operation != ask.within
    });
    let (last_success, largest) = earlier.fold((None, None), |(last, largest), row| {
        (last.max(Some(row.taken_at)), largest.max(Some(row.detail.bytes)))
    });
    let row = seen.rows.iter().find(|row| row.uuid == backup.guest);
    let known = seen.observed.storages.iter().any(|st| st.id == backup.target && st.active && st.is_target);
    let (kind, foreign_settings) = if known {
        let storage = backup.target.clone();
        let listed = s.node.storage(&storage).status().await?;
        let off_the_box = listed.kind == "pbs";
        (off_the_box, Fact::Is(foreign_settings(&s.node.vzdump_defaults(&storage).await?)))
    } else {
        (false, Fact::NotYet)
    };
    // Of a guest that was never backed up there it is not known how well its data can be compressed.
    let used = row.and_then(|row| seen.real.get(&row.vmid)).map_or(0, |guest| guest.status.disk);
    Ok(BackupFacts {
        target_kind: if kind { TargetKind::OffTheBox } else { TargetKind::Directory },
        last_success,
        last_stopped: row.and_then(|row| row.detail.last_stopped),
        foreign_settings,
        projected_bytes: largest.unwrap_or(used),
    })
}

/// Settings of the host that would change, carry away or remove our archives without a line in their log, each as the line
/// to change. Mode, compression, notes and `remove` are not among them: the request passes its own. A prune rule is, even
/// though `remove=0` keeps *our* backup from pruning: at its limit that backup fails, and the next one that the host's owner
/// makes of the guest removes ours (F67).
#[must_use]
pub fn foreign_settings(defaults: &VzdumpDefaults) -> Vec<String> {
    const FILE: &str = "in /etc/vzdump.conf";
    let excluded = defaults.exclude_paths().into_iter().map(|path| format!("exclude-path: {path}, {FILE}"));
    let mut lines: Vec<String> = excluded.collect();
    lines.extend(defaults.script.as_ref().map(|script| format!("script: {script}, {FILE}")));
    lines.extend(defaults.tmpdir.as_ref().map(|dir| format!("tmpdir: {dir}, {FILE}")));
    let rule = defaults.prune_backups.as_ref().filter(|rule| !KEEPS_ALL.contains(&rule.trim()));
    lines.extend(rule.map(|rule| format!("prune-backups: {rule}, of the storage or {FILE}")));
    lines
}

/// Prune rules that remove nothing.
pub(crate) const KEEPS_ALL: [&str; 3] = ["keep-all=1", "keep-all=true", ""];

fn destroy(s: &Services, seen: &Seen, guest: GuestUuid) -> Result<DestroyFacts, ObserveError> {
    let row = s.ledger.guest(guest)?;
    let real = row.as_ref().and_then(|row| seen.real.get(&row.vmid));
    Ok(DestroyFacts {
        referenced: real.map(referenced).unwrap_or_default(),
        made: row.map(|row| row.detail.volumes).unwrap_or_default(),
    })
}

/// Whether a copy was handed to somebody, at any time or now.
fn served(s: &Services, seen: &Seen, guest: GuestUuid) -> Result<bool, ObserveError> {
    let Some(row) = s.ledger.guest(guest)? else { return Ok(false) };
    let nets = seen.real.get(&row.vmid).map(|real| real.config.nets());
    let up = match nets {
        Some(Ok(nets)) => nets.values().any(|net| net.link_down != Some(true)),
        // What cannot be read may be up.
        Some(Err(_)) => true,
        None => false,
    };
    Ok(up || row.detail.served || row.detail.token.is_some())
}

/// Whose data a guest holds that was restored: by the ledger's row of its archive.
fn data_of(seen: &Seen, guest: GuestUuid) -> CutoverFacts {
    let row = seen.rows.iter().find(|row| row.uuid == guest);
    let archive = row.and_then(|row| row.detail.archive.as_ref());
    let of = seen.archives.iter().map(|(row, _)| row).find(|row| Some(&row.volid) == archive);
    CutoverFacts { archive_of: of.map(|row| row.guest) }
}

fn reclaim(s: &Services, seen: &Seen, guest: GuestUuid) -> Result<ReclaimFacts, ObserveError> {
    let row = s.ledger.guest(guest)?;
    let real = row.as_ref().and_then(|row| seen.real.get(&row.vmid));
    let bulk = match real.map(|real| real.config.mounts()) {
        None => Vec::new(),
        Some(Ok(points)) => {
            points.iter().filter(|(_, p)| !p.in_backup()).map(|(n, _)| format!("mp{n}")).collect()
        }
        Some(Err(_)) => vec!["a mount point that cannot be read".to_owned()],
    };
    Ok(ReclaimFacts {
        volumes: destroy(s, seen, guest)?,
        bulk,
        stopped_at: row.and_then(|row| row.detail.last_stopped),
        unanswered_days: crate::notices::unanswered_days(s, guest)?,
    })
}

/// Which of the backups carry Proxmox's mark. A target that Proxmox cannot use now is left to the gate's own check.
async fn protected(s: &Services, seen: &Seen, prune: &Prune) -> Result<PruneFacts, ObserveError> {
    let usable = seen.observed.storages.iter().any(|st| st.id == prune.target && st.active && st.is_target);
    let listed = if usable { s.node.storage(&prune.target).backups(None).await? } else { Vec::new() };
    let marked = listed.into_iter().filter(|content| content.protected).map(|content| content.volid);
    // How much of a guest changes between two backups is not measured yet.
    Ok(PruneFacts { protected: marked.collect(), churned: false })
}

/// Which ways lead on from an operation that stands.
fn standing(s: &Services, resolve: &Resolve) -> Result<ResolveFacts, ObserveError> {
    let op = s.journal.get(to_journal(resolve.operation))?;
    let offered = op.as_ref().map(felhom_journal::Operation::ways_out).unwrap_or_default();
    let ways = WayOut::ALL.into_iter().filter(|way| offered.iter().any(|o| o.as_str() == way.name()));
    let chosen = op.as_ref().and_then(|op| domain(op).ok());
    let name = chosen.as_ref().and_then(|(_, chosen)| chosen.name.as_ref());
    let of = name.map(|name| format!(" of {name}")).unwrap_or_default();
    Ok(ResolveFacts {
        offered: ways.collect(),
        what: op.as_ref().map(|op| format!("{}{of}", op.new.body.kind)),
        reason: op
            .as_ref()
            .filter(|op| op.state == felhom_journal::State::NeedsOperator)
            .and_then(|op| op.reason.clone()),
        guest: chosen.and_then(|(operation, _)| operation.guest()),
    })
}

/// The new operators' file, held against the one in force. Without one in force nothing can be rotated.
fn rotation(s: &Services, params: &Value) -> Result<Concerning, ObserveError> {
    let Ok(asked) = serde_json::from_value::<RotateOperatorsParams>(params.clone()) else {
        return Ok(Concerning::Nothing);
    };
    let Some(current) = s.operators()? else { return Ok(Concerning::Nothing) };
    let next = OperatorsFile::parse(&asked.document).ok();
    Ok(Concerning::Rotation(RotationFacts {
        current: current.version(),
        document: Digest::of(&asked.document),
        version: next.map_or(0, |file| file.version()),
        signed: rotate(&current, &asked.document, &asked.signatures).is_ok(),
    }))
}

/// Volumes that a real guest's configuration names. What cannot be read counts as a volume that nobody made.
#[must_use]
pub fn referenced(real: &RealGuest) -> Vec<Volid> {
    real.config.volumes().unwrap_or_else(|_| "unreadable:configuration".parse().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_host_that_are_not_ours_are_named_by_their_line() {
        let lines = |text: &str| foreign_settings(&serde_json::from_str(text).unwrap());
        let plain = r#"{"mode":"stop","compress":"0","remove":1,"bwlimit":0,"stdexcludes":1,"dumpdir":"/var/lib/vz/dump",
            "notes-template":"HOST {{guestname}}","prune-backups":"keep-all=1"}"#;
        assert!(lines(plain).is_empty(), "{:?}", lines(plain));
        let all = r#"{"exclude-path":"/root/* /srv","script":"/root/vh.sh","tmpdir":"/tmp","prune-backups":"keep-last=2"}"#;
        assert_eq!(
            lines(all),
            [
                "exclude-path: /root/*, in /etc/vzdump.conf",
                "exclude-path: /srv, in /etc/vzdump.conf",
                "script: /root/vh.sh, in /etc/vzdump.conf",
                "tmpdir: /tmp, in /etc/vzdump.conf",
                "prune-backups: keep-last=2, of the storage or in /etc/vzdump.conf",
            ]
        );
    }
}
