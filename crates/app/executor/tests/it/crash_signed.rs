//! Operations that people signed × each mutating call × dying before it is sent or after it was answered. At the moment of
//! each death the customer's bytes are complete in exactly one place; the next process ends the operation as it should end.

use std::fs;
use std::path::{Path, PathBuf};

use felhom_model::{GuestUuid, OperationState};
use serde_json::{Value, json};

use crate::bench::{Bench, provision};
use crate::crash::nothing_left_over;
use crate::cutover::{bulk, photo};
use crate::people::{People, consent};

const PHOTO: &[u8] = b"the only photo";

/// One run: asks, signs, dies at the call if there are so many, goes on in a new process. Whether it died.
async fn run(
    bench: &mut Bench,
    people: &People,
    (kind, params): (&str, Value),
    (n, when): (u32, &str),
    at_death: impl Fn(&Bench, &str),
) -> bool {
    let what = format!("{kind} dying {when} its call {n}");
    bench.kill();
    bench.serve_crashing(n, when).await;
    let op = bench.ask(&format!("{kind}-{params}-{when}-{n}"), kind, params).await;
    assert_ne!(op.state, OperationState::Refused, "{what}: {}", op.verdict);
    consent(bench, people, op.id).await;
    let dead = bench.died(op.id).await;
    if dead {
        at_death(bench, &what);
    } else {
        bench.kill();
    }
    bench.serve().await;
    let op = bench.end(op.id).await;
    assert_eq!(op.state, OperationState::Done, "{what}: {:?}\n{}", op.reason, bench.log());
    nothing_left_over(bench, &what).await;
    dead
}

/// Every file of this name below a folder.
pub(crate) fn found(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            all.extend(found(&path, name));
        } else if entry.file_name() == name {
            all.push(path);
        }
    }
    all
}

/// Invariant 11: the bulk volume exists once, whole, wherever the move was interrupted.
fn one_whole_photo_album(bench: &Bench, what: &str) {
    let albums = found(&bench.sim.path("pve/mnt/tank/images"), "album.jpg");
    assert_eq!(albums.len(), 1, "{what}: {albums:?}");
    assert_eq!(fs::read(&albums[0]).unwrap(), PHOTO, "{what}");
}

async fn prepared(more: &str) -> (Bench, People, GuestUuid) {
    let mut bench = Bench::start(&format!("grace_s = 0\n{more}")).await;
    let people = People::on(&mut bench, &["anna", "bela"]).await;
    let family = bench.tenant("family").await;
    (bench, people, family)
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_11_changing_places_survives_a_death_at_each_call() {
    let (mut bench, people, family) = prepared("").await;
    let ask = json!({ "guest": family, "target": "local", "quiesced": false });
    bench.done("b", "backup_guest", ask).await;
    bulk(&bench, bench.guest(family).await.vmid, "mp0", "album.jpg", PHOTO);
    let copy = bench.done("r", "restore_guest", json!({ "guest": family })).await.guest.unwrap();
    let mut died = 0;
    // The first one is the cutover, each further one the way back: the same steps.
    let mut ask = ("cutover_guest", json!({ "guest": family, "copy": copy }));
    for when in ["before", "after"] {
        for n in 1.. {
            let places = (bench.guest(family).await.vmid, bench.guest(copy).await.vmid);
            let dead = run(&mut bench, &people, ask, (n, when), one_whole_photo_album).await;
            ask = ("reverse_cutover_guest", json!({ "guest": family }));
            let what = format!("{when} {n}");
            let (now, other) = (bench.guest(family).await, bench.guest(copy).await);
            assert_eq!((now.vmid, other.vmid), (places.1, places.0), "{what}: they changed places once");
            assert_eq!((now.power.as_str(), other.power.as_str()), ("running", "stopped"), "{what}");
            assert_eq!(other.purpose, "tombstone", "{what}");
            assert!(other.protection && !now.protection, "{what}");
            assert_eq!(photo(&bench, now.vmid, "album.jpg"), PHOTO, "{what}");
            assert_eq!(bench.cat(now.vmid, "/data/photo.jpg").unwrap(), b"a photo", "{what}");
            if !dead {
                break;
            }
            died += 1;
        }
    }
    assert!(died >= 18, "{died}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retiring_and_reclaiming_survive_a_death_at_each_call() {
    let (mut bench, people, _) = prepared("max_guests = 50").await;
    let mut died = 0;
    for when in ["before", "after"] {
        for n in 1.. {
            let name = format!("guest-{when}-{n}");
            let guest = bench.done(&name, "provision_guest", provision(&name)).await.guest.unwrap();
            let vmid = bench.guest(guest).await.vmid;
            let stands = |bench: &Bench, what: &str| {
                let volumes = bench.sim.path(&format!("pve/mnt/tank/images/{vmid}"));
                assert_eq!(found(&volumes, "photo.jpg").len(), 1, "{what}");
            };
            let retired =
                run(&mut bench, &people, ("retire_guest", json!({ "guest": guest })), (n, when), stands)
                    .await;
            let tombstone = bench.guest(guest).await;
            assert_eq!((tombstone.purpose.as_str(), tombstone.power.as_str()), ("tombstone", "stopped"));
            assert!(tombstone.protection);
            let ask = json!({ "guest": guest, "target": "local", "quiesced": false });
            bench.done(&format!("b-{when}-{n}"), "backup_guest", ask).await;
            bench.done(&format!("t-{when}-{n}"), "restore_test", json!({ "guest": guest })).await;
            let reclaim = ("reclaim_guest", json!({ "guest": guest }));
            let reclaimed = run(&mut bench, &people, reclaim, (n, when), |_, _| ()).await;
            let seen = bench.client.observation().await.unwrap();
            assert!(!seen.guests.iter().any(|g| g.uuid == Some(guest)), "gone, and only now");
            assert!(seen.archives.iter().any(|a| a.guest == guest && a.present), "its backup stays");
            died += u32::from(retired) + u32::from(reclaimed);
            if !retired && !reclaimed {
                break;
            }
        }
    }
    assert!(died >= 8, "{died}");
}

#[tokio::test(flavor = "multi_thread")]
async fn discarding_a_copy_survives_a_death_at_each_call() {
    let (mut bench, people, family) = prepared("").await;
    let ask = json!({ "guest": family, "target": "local", "quiesced": false });
    bench.done("b", "backup_guest", ask).await;
    let mut died = 0;
    for when in ["before", "after"] {
        for n in 1.. {
            let copy =
                bench.done(&format!("r-{when}-{n}"), "restore_guest", json!({ "guest": family })).await;
            let discard = ("discard_restored_copy", json!({ "guest": copy.guest.unwrap() }));
            let dead = run(&mut bench, &people, discard, (n, when), |_, _| ()).await;
            assert_eq!(bench.guest(family).await.power, "running");
            if !dead {
                break;
            }
            died += 1;
        }
    }
    assert!(died >= 2, "{died}");
}
