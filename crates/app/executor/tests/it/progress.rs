//! What an operation says of how far it is, while Proxmox's worker says nothing.

use std::time::Duration;

use felhom_model::OperationId;
use felhom_protocol::status::Progress;
use serde_json::json;

use crate::bench::{Bench, within};
use crate::killed::fault;

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
