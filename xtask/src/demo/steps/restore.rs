//! Step 6: the live guest's data is damaged; its backup is restored beside it, and holds what step 4 saved.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::{Data, data};
use crate::demo::{
    call, disk,
    driver::{Demo, Look, tolerant},
    http, judge,
    world::{BOX, GUEST},
};

const PATIENCE: Duration = Duration::from_secs(10);
const DAMAGE: &str = "everything is lost";

pub(super) fn run(demo: &mut Demo) -> Result<()> {
    let app = demo.facts.app.context("the app's address is not known")?;
    damage(demo, app)?;
    let damaged = data::read(app)?;
    ensure!(damaged.1 != demo.facts.data.files, "the damage did no harm");
    demo.screen.say("  the live guest's data is damaged");

    let before = judge::ids(&demo.operations()?);
    let archive = demo.facts.archive.volid.clone();
    call::json(&mut demo.felhom(&["restore", "run", BOX, GUEST, "--archive", &archive, "--no-wait"]))?;
    restored(demo, &before)?;
    let copy = demo.wait("the copy to be reported", Duration::from_secs(30), || {
        tolerant(demo.shown(), |shown| {
            let copies = judge::vmids(&shown, "copy");
            ensure!(copies.len() <= 1, "copies {copies:?} where one was asked for");
            Ok(Look::of(copies.first().copied(), "the hub does not show it yet"))
        })
    })?;
    beside(demo, copy)?;
    same_in_guest(demo, copy)?;
    ensure!(data::read(app)? == damaged, "the live guest was changed by a restore beside it");
    demo.screen
        .say(&format!("  VMID {copy}, link down, holds what was saved; the damaged guest was not touched"));
    demo.facts.copy = copy;
    Ok(())
}

/// As a virus or a slip would: files overwritten, one removed, a note that says so.
fn damage(demo: &Demo, app: SocketAddr) -> Result<()> {
    let names: Vec<_> = demo.facts.data.files.keys().cloned().collect();
    for name in &names[..names.len() - 1] {
        http::ask(app, "PUT", &format!("/files/{name}"), DAMAGE.as_bytes(), PATIENCE)?.ok()?;
    }
    let note = serde_json::json!({ "text": DAMAGE }).to_string();
    http::ask(app, "POST", "/notes", note.as_bytes(), PATIENCE)?.ok()?;
    let folder = disk::app_data(&disk::rootfs(&demo.world, demo.facts.guest.vmid));
    let last = folder.join("files").join(&names[names.len() - 1]);
    std::fs::remove_file(&last).with_context(|| format!("cannot remove {}", last.display()))
}

fn restored(demo: &Demo, before: &[String]) -> Result<()> {
    demo.wait("restore_guest", Duration::from_secs(90), || {
        tolerant(demo.operations(), |operations| {
            let Some(operation) = judge::newest(&operations, "restore_guest", before) else {
                return Ok(Look::NotYet("the agent has not asked yet".to_owned()));
            };
            Ok(Look::of(judge::done(operation)?.then_some(()), judge::progress(operation)))
        })
    })
}

/// A VMID of its own, without a link, and the live guest still there.
fn beside(demo: &Demo, copy: u32) -> Result<()> {
    let guests = disk::guests(&demo.world)?;
    let config = guests.get(&copy).with_context(|| format!("the host has no guest {copy}"))?;
    ensure!((2800..2900).contains(&copy), "VMID {copy} is not a copy's");
    ensure!(config.link_is_down(), "the copy's link is up: {:?}", config.get("net0"));
    ensure!(config.get("onboot") != Some("1"), "the copy would start with the host");
    ensure!(guests.contains_key(&demo.facts.guest.vmid), "the live guest is gone");
    Ok(())
}

/// The copy's data, read through `pct exec`, is what was saved.
fn same_in_guest(demo: &Demo, copy: u32) -> Result<()> {
    let data = &demo.facts.data;
    let vmid = copy.to_string();
    let cat = |path: &str| -> Result<Vec<u8>> {
        let path = format!("/{}/{path}", disk::APP_DATA);
        let out = demo.pct(&["exec", &vmid, "--", "/bin/cat", &path]).output()?;
        ensure!(out.status.success(), "pct exec {vmid} cat {path}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(out.stdout)
    };
    let mut found = BTreeMap::new();
    for name in data.files.keys() {
        found.insert(name.clone(), hex::encode(Sha256::digest(cat(&format!("files/{name}"))?)));
    }
    let mut database = cat("notes.db")?;
    // Without the file there is nothing in it.
    database.extend(cat("notes.db-wal").unwrap_or_default());
    same(data, &found, &database)
}

fn same(data: &Data, files: &BTreeMap<String, String>, database: &[u8]) -> Result<()> {
    for (name, sha256) in &data.files {
        ensure!(files.get(name) == Some(sha256), "file {name} of the copy has other bytes than were saved");
    }
    let holds = |text: &str| database.windows(text.len()).any(|window| window == text.as_bytes());
    for note in &data.notes {
        ensure!(holds(note), "the copy's database does not hold `{note}`");
    }
    ensure!(!holds(DAMAGE), "the copy holds the damage");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_with_the_damage_or_without_a_note_is_not_the_same() {
        let data = Data {
            notes: vec!["one".into(), "two".into()],
            files: [("a".to_owned(), "1".to_owned())].into(),
            bytes: 1,
        };
        let files: BTreeMap<_, _> = data.files.clone();
        assert!(same(&data, &files, b"..one..two..").is_ok());
        assert!(same(&data, &files, b"..one..").is_err());
        assert!(same(&data, &files, format!("one two {DAMAGE}").as_bytes()).is_err());
        assert!(same(&data, &BTreeMap::new(), b"one two").is_err());
    }
}
