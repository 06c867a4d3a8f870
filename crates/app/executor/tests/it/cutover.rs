//! A restored copy takes over, and the old guest comes back; at no time is a byte destroyed.

use std::fs;

use felhom_model::{OperationState, Vmid};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::people::{People, challenge, confirmation};

const PHOTO: &[u8] = b"the only photo";

fn config(bench: &Bench, vmid: Vmid) -> String {
    fs::read_to_string(bench.sim.path(&format!("pve/etc/pve/lxc/{vmid}.conf"))).unwrap()
}

/// A line's value of the guest's configuration, or of one option within it.
fn option(config: &str, key: &str, part: &str) -> String {
    let line = config.lines().find_map(|l| l.strip_prefix(&format!("{key}: "))).unwrap_or_default();
    let found = line.split(',').find_map(|p| p.strip_prefix(&format!("{part}=")));
    found.unwrap_or_default().to_owned()
}

/// Asks for it, lets anna sign, and expects it done.
async fn signed(bench: &Bench, people: &People, key: &str, (kind, params): (&str, Value)) {
    let op = bench.ask(key, kind, params).await;
    assert_eq!(op.state, OperationState::PendingAuthorization, "{op:?}");
    let (shown, _) = challenge(bench, op.id).await;
    bench.client.answer(shown.digest, &people.sign("anna", &shown.signed.bytes)).await.unwrap();
    let op = bench.end(op.id).await;
    assert_eq!(op.state, OperationState::Done, "{op:?}\n{}", bench.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_takes_over_and_the_old_guest_comes_back() {
    let mut bench = Bench::start("").await;
    let people = People::on(&mut bench, &["anna"]).await;
    let family = bench.tenant("family").await;
    let old = bench.guest(family).await;
    let mac = option(&config(&bench, old.vmid), "net0", "hwaddr");
    let token = bench.cat(old.vmid, "/run/felhom/token").unwrap();
    bench.done("b1", "backup_guest", json!({ "guest": family, "target": "local" })).await;
    // What no backup holds: a volume of photos, and a directory of the host.
    bulk(&bench, old.vmid, "mp0", "photo.jpg", PHOTO);
    let share = bench.sim.path("share");
    fs::create_dir(&share).unwrap();
    let bind = format!("{},mp=/share", share.display());
    let set = bench.pct(&["set", &old.vmid.to_string(), "--mp7", &bind]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    let restored = bench.done("r1", "restore_guest", json!({ "guest": family })).await;
    let copy = restored.guest.unwrap();
    let new = bench.guest(copy).await.vmid;

    let cutover = bench.ask("c1", "cutover_guest", json!({ "guest": family, "copy": copy })).await;
    let (shown, asked) = challenge(&bench, cutover.id).await;
    assert_eq!(asked.targets.len(), 2, "both guests are named");
    // The customer alone suffices.
    bench.client.confirm(shown.digest, &confirmation(&shown, &asked, family)).await.unwrap();
    let done = bench.end(cutover.id).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}\n{}", bench.log());

    let now = bench.guest(family).await;
    assert_eq!((now.vmid, now.purpose.as_str(), now.power.as_str()), (new, "tenant", "running"));
    assert_eq!(now.provenance, "proven");
    let tombstone = bench.guest(copy).await;
    assert_eq!(
        (tombstone.vmid, tombstone.purpose.as_str(), tombstone.power.as_str()),
        (old.vmid, "tombstone", "stopped")
    );
    assert_eq!((tombstone.provenance.as_str(), tombstone.succeeded_by), ("proven", Some(family)));
    let (was, is) = (config(&bench, old.vmid), config(&bench, new));
    assert_eq!(option(&is, "net0", "hwaddr"), mac, "the MAC address goes along");
    assert!(!is.contains("link_down=1") && was.contains("link_down=1"), "{is}\n{was}");
    assert!(is.contains("onboot: 1") && was.contains("protection: 1"), "{is}\n{was}");
    assert_eq!(bench.cat(new, "/run/felhom/token").unwrap(), token, "the token goes along");
    assert!(is.contains(&format!("mp0: tank:{new}/vm-{new}-disk-")), "moved, not copied: {is}");
    assert!(is.contains("mp7: /") && !was.contains("mp0:") && !was.contains("mp7:"), "{is}\n{was}");
    assert_eq!(photo(&bench, new, "photo.jpg"), PHOTO);
    let names = |text: &str| text.lines().find_map(|l| l.strip_prefix("hostname: ").map(str::to_owned));
    assert_eq!(names(&is).as_deref(), Some("family"));

    // The copy is one no more: it is not discarded, and one tombstone is enough.
    let discard = bench.ask("d1", "discard_restored_copy", json!({ "guest": copy })).await;
    assert!(discard.verdict.contains("not_a_copy"), "{discard:?}");

    signed(&bench, &people, "v1", ("reverse_cutover_guest", json!({ "guest": family }))).await;
    let back = bench.guest(family).await;
    assert_eq!((back.vmid, back.purpose.as_str(), back.power.as_str()), (old.vmid, "tenant", "running"));
    assert_eq!(bench.guest(copy).await.vmid, new);
    assert_eq!(photo(&bench, old.vmid, "photo.jpg"), PHOTO);
    assert!(config(&bench, new).contains("protection: 1"));
}

/// Adds a volume that is in no backup, with one file on it.
pub(crate) fn bulk(bench: &Bench, vmid: Vmid, key: &str, file: &str, bytes: &[u8]) {
    let path = bench.sim.path(&format!("pve/etc/pve/lxc/{vmid}.conf"));
    let alloc = std::process::Command::new(crate::sim::simulator())
        .args(["pvesm", "--state"])
        .arg(bench.sim.path("pve"))
        .args(["alloc", "tank", &vmid.to_string(), &format!("vm-{vmid}-disk-5.raw"), "1G"])
        .output()
        .unwrap();
    assert!(alloc.status.success(), "{}", String::from_utf8_lossy(&alloc.stderr));
    let text = fs::read_to_string(&path).unwrap();
    let line = format!("{key}: tank:{vmid}/vm-{vmid}-disk-5.raw,mp=/photos,backup=0,size=1G\n");
    fs::write(&path, format!("{text}{line}")).unwrap();
    let volume = volume(bench, vmid);
    fs::write(volume.join(file), bytes).unwrap();
}

/// The directory that stands for the bulk volume of a guest.
fn volume(bench: &Bench, vmid: Vmid) -> std::path::PathBuf {
    let volid = option_head(&config(bench, vmid), "mp0");
    let output = std::process::Command::new(crate::sim::simulator())
        .args(["pvesm", "--state"])
        .arg(bench.sim.path("pve"))
        .args(["path", &volid])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}

fn option_head(config: &str, key: &str) -> String {
    let line = config.lines().find_map(|l| l.strip_prefix(&format!("{key}: "))).unwrap();
    line.split(',').next().unwrap().to_owned()
}

/// A file of the guest's bulk volume.
pub(crate) fn photo(bench: &Bench, vmid: Vmid, file: &str) -> Vec<u8> {
    fs::read(volume(bench, vmid).join(file)).unwrap()
}
