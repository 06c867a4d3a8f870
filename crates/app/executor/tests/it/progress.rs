//! What an operation says of how far it is, while Proxmox's worker says nothing.

use std::time::Duration;

use felhom_model::{OperationId, OperationState};
use felhom_protocol::status::Progress;
use serde_json::json;

use crate::bench::{Bench, within};
use crate::killed::fault;
use crate::random::Random;

/// What it says once it says anything.
async fn told(bench: &Bench, id: OperationId) -> Progress {
    let said = async || bench.client.operation(id).await.unwrap().progress.is_some();
    assert!(within(Duration::from_secs(30), said).await, "{}", bench.log());
    bench.client.operation(id).await.unwrap().progress.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_and_a_restore_say_how_many_bytes_are_written() {
    let bench = Bench::start("").await;
    let uuid = bench.tenant("family").await;
    let hold = |at: &str| fault(&bench, &["set", &json!({ "at": at, "do": "hold" }).to_string()]);
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": false });

    hold("vzdump.archive");
    let first = bench.ask("b1", "backup_guest", ask.clone()).await;
    let progress = told(&bench, first.id).await;
    assert_eq!((progress.unit.as_str(), progress.total), ("bytes", None), "nobody knows how much it will be");
    assert!(progress.done > 1_000, "{progress:?}");
    fault(&bench, &["clear"]);
    bench.end(first.id).await;
    let archive = bench.client.observation().await.unwrap().archives.remove(0);

    // The stub has grown by less than a block since: what is written is all, or more than, there was.
    hold("vzdump.archive");
    let second = bench.ask("b2", "backup_guest", ask).await;
    let progress = told(&bench, second.id).await;
    assert!(progress.done.abs_diff(archive.bytes) < 64 << 10, "{progress:?}, {archive:?}");
    fault(&bench, &["clear"]);
    bench.end(second.id).await;

    hold("vzrestore.unpack");
    let restore = bench.ask("r", "restore_guest", json!({ "guest": uuid })).await;
    let progress = told(&bench, restore.id).await;
    let total = progress.total.expect("the backup told how much was archived");
    assert!(progress.done < total && total > archive.bytes, "{progress:?}, {archive:?}");
    fault(&bench, &["clear"]);
    bench.end(restore.id).await;
}

/// Proxmox says nothing while it archives, for hours where there is much: what counts is whether the archive grows.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_archive_goes_on_and_one_that_stands_still_is_ended() {
    let bench = Bench::start("timeouts.archive_stalled_s = 4").await;
    let uuid = bench.tenant("family").await;
    let ask = json!({ "guest": uuid, "target": "local", "quiesced": false });
    // The compressor lets go of some eight megabytes at a time.
    let vmid = bench.guest(uuid).await.vmid;
    let album = bench.sim.path(&format!("pve/mnt/tank/images/{vmid}/vm-{vmid}-disk-0/disk.raw/data/album"));
    let mut random = Random::of(1, "photos do not shrink");
    let bytes: Vec<u8> = (0..5 << 20).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect();
    std::fs::write(album, bytes).unwrap();
    let limit = bench.sim.path("pve/etc/vzdump.conf");
    std::fs::write(&limit, "bwlimit: 6144\n").unwrap();
    let begun = std::time::Instant::now();
    bench.done("slow", "backup_guest", ask.clone()).await;
    assert!(begun.elapsed() > Duration::from_secs(6), "{:?} is not slow", begun.elapsed());
    std::fs::remove_file(limit).unwrap();

    fault(&bench, &["set", &json!({ "at": "vzdump.archive", "do": "hold" }).to_string()]);
    let op = bench.ask("still", "backup_guest", ask).await;
    let op = bench.end(op.id).await;
    assert_eq!(op.state, OperationState::RolledBack, "{op:?}");
    assert!(bench.log().contains("neither its log nor its archive has moved"), "{}", bench.log());
}
