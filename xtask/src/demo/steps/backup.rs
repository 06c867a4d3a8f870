//! Step 4: a backup falls due; the app stands still for a moment only, and says for how long.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};

use super::Data;
use crate::demo::{
    call, disk,
    driver::{Demo, Look, tolerant},
    judge::{self, Archive},
    meter::{Meter, Seen},
    world::{BOX, GUEST},
};

/// What the controller measures and what a user sees may differ by scheduling on a busy machine.
const SLACK_MS: u64 = 400;

pub(super) fn run(demo: &mut Demo) -> Result<()> {
    let app = demo.facts.app.context("the app's address is not known")?;
    let before = judge::ids(&demo.operations()?);
    let meter = Meter::start(app);
    call::json(&mut demo.felhom(&["backup", "run", BOX, GUEST, "--no-wait"]))?;
    let (operation, archive) = finished(demo, &before)?;
    let seen = meter.stop();
    downtime(&archive, seen)?;
    let gap = u64::try_from(seen.longest_gap.as_millis()).unwrap_or(u64::MAX);
    demo.screen.say(&format!(
        "  {} ({} MiB), app frozen for {} ms; a user who never stopped asking waited {gap} ms at most",
        archive.volid,
        archive.bytes >> 20,
        archive.downtime_ms
    ));
    demo.facts.backup_operation = operation;
    demo.facts.archive = archive;
    demo.facts.outside_gap_ms = gap;
    Ok(())
}

fn finished(demo: &Demo, before: &[String]) -> Result<(String, Archive)> {
    let operation = demo.wait("backup_guest", Duration::from_secs(90), || {
        tolerant(demo.operations(), |operations| {
            let Some(operation) = judge::newest(&operations, "backup_guest", before) else {
                return Ok(Look::NotYet("the guest has not asked for its slot yet".to_owned()));
            };
            let id = judge::text(operation, "id").to_owned();
            Ok(Look::of(judge::done(operation)?.then_some(id), judge::progress(operation)))
        })
    })?;
    let archive = demo.wait("the archive to be reported", Duration::from_secs(30), || {
        let archives = call::json(&mut demo.felhom(&["backup", "list", BOX]));
        tolerant(archives, |archives| {
            Ok(Look::of(judge::archive_of(&archives, &operation)?, "the hub does not show it yet"))
        })
    })?;
    Ok((operation, archive))
}

/// The reported downtime is not better than what a user saw, and the app serves again.
fn downtime(archive: &Archive, seen: Seen) -> Result<()> {
    let gap = u64::try_from(seen.longest_gap.as_millis()).unwrap_or(u64::MAX);
    ensure!(seen.answers > 0, "the app never answered during the backup");
    ensure!(archive.downtime_ms > 0, "a freeze of 0 ms was reported: nothing was frozen");
    ensure!(
        gap <= archive.downtime_ms + SLACK_MS,
        "a user saw the app stand still for {gap} ms, but {} ms were reported",
        archive.downtime_ms
    );
    Ok(())
}

/// The archive's bytes have the recorded digest, and hold the app's data.
pub(super) fn holds(demo: &Demo, archive: &Archive, data: &Data) -> Result<()> {
    let path = disk::archive(&demo.world, &archive.volid)?;
    let digest = disk::sha256(&path)?;
    ensure!(
        digest == archive.digest,
        "{} has the digest {digest}, recorded was {}",
        path.display(),
        archive.digest
    );
    ensure!(path.metadata()?.len() == archive.bytes, "the recorded size is not that of the file");
    same_files(&disk::digests_in_archive(&path, disk::APP_DATA)?, data)
        .with_context(|| format!("in {}", path.display()))
}

/// These digests are those of the data, and the database is there.
fn same_files(found: &BTreeMap<String, String>, data: &Data) -> Result<()> {
    ensure!(found.contains_key("notes.db"), "the database is missing");
    let files: BTreeMap<_, _> =
        found.iter().filter_map(|(path, sha256)| Some((path.strip_prefix("files/")?, sha256))).collect();
    for (name, sha256) in &data.files {
        let seen = files.get(name.as_str()).with_context(|| format!("file {name} is missing"))?;
        ensure!(*seen == sha256, "file {name} has other bytes");
    }
    ensure!(files.len() == data.files.len(), "{} files where {} were", files.len(), data.files.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_downtime_that_flatters_is_an_error() {
        let archive = Archive { downtime_ms: 100, ..Archive::default() };
        let seen = |ms| Seen { answers: 9, failures: 0, longest_gap: Duration::from_millis(ms) };
        assert!(downtime(&archive, seen(100 + SLACK_MS)).is_ok());
        assert!(downtime(&archive, seen(101 + SLACK_MS)).is_err());
        assert!(downtime(&Archive::default(), seen(1)).is_err());
        assert!(downtime(&archive, Seen { answers: 0, ..seen(1) }).is_err());
    }

    #[test]
    fn every_file_counts() {
        let data = Data { files: [("a".to_owned(), "1".to_owned())].into(), ..Data::default() };
        let found = |list: &[(&str, &str)]| {
            list.iter().map(|(path, sha256)| ((*path).to_owned(), (*sha256).to_owned())).collect()
        };
        assert!(same_files(&found(&[("notes.db", "x"), ("files/a", "1")]), &data).is_ok());
        assert!(same_files(&found(&[("files/a", "1")]), &data).is_err());
        assert!(same_files(&found(&[("notes.db", "x"), ("files/a", "2")]), &data).is_err());
        assert!(same_files(&found(&[("notes.db", "x")]), &data).is_err());
        assert!(same_files(&found(&[("notes.db", "x"), ("files/a", "1"), ("files/b", "1")]), &data).is_err());
    }
}
