//! What retention no longer keeps goes above the box's floors; never the last, never a protected one.

use felhom_model::{GuestUuid, OperationState, Volid};
use serde_json::{Value, json};

use crate::audit;
use crate::bench::Bench;
use crate::people::{People, challenge};

async fn backups(bench: &Bench, guest: GuestUuid, n: u32) -> Vec<Volid> {
    for i in 0..n {
        let ask = json!({ "guest": guest, "target": "local", "quiesced": false });
        bench.done(&format!("b{i}"), "backup_guest", ask).await;
    }
    present(bench).await
}

/// Oldest first.
async fn present(bench: &Bench) -> Vec<Volid> {
    let mut all = bench.client.observation().await.unwrap().archives;
    all.retain(|archive| archive.present);
    all.sort_by_key(|archive| archive.taken_at);
    all.into_iter().map(|archive| archive.volid).collect()
}

fn ask(guest: GuestUuid, remove: &[Volid]) -> Value {
    json!({ "guest": guest, "target": "local", "remove": remove })
}

#[tokio::test(flavor = "multi_thread")]
async fn above_the_floors_and_with_a_newer_proven_copy_old_backups_go() {
    let mut bench = Bench::start("keep_spread_h = 0").await;
    let people = People::on(&mut bench, &["anna"]).await;
    let family = bench.tenant("family").await;
    let all = backups(&bench, family, 4).await;
    assert_eq!(all.len(), 4);
    let unproven = bench.ask("p0", "prune_backups", ask(family, &all[..1])).await;
    assert_eq!(unproven.state, OperationState::PendingAuthorization, "no newer one is proven: {unproven:?}");
    bench.done("t", "restore_test", json!({ "guest": family })).await;
    let done = bench.done("p1", "prune_backups", ask(family, &all[..1])).await;
    assert!(done.verdict.starts_with("retention"), "{done:?}");
    assert_eq!(present(&bench).await, all[1..]);
    assert!(!bench.sim.path(&format!("pve/var/lib/vz/dump/{}", file(&all[0]))).exists());

    let last = bench.ask("p2", "prune_backups", ask(family, &all[1..])).await;
    assert!(last.verdict.starts_with("last_backup"), "{last:?}");
    let unknown = bench.ask("p3", "prune_backups", ask(family, &all[..1])).await;
    assert!(unknown.verdict.starts_with("archive_not_in_ledger"), "{unknown:?}");
    // Below the box's count an operator has to agree; then it goes.
    let below = bench.ask("p4", "prune_backups", ask(family, &all[1..3])).await;
    assert_eq!(below.state, OperationState::PendingAuthorization, "{below:?}");
    let (shown, asked) = challenge(&bench, below.id).await;
    assert!(asked.evidence.would_be_lost.iter().any(|line| line.contains(all[1].as_str())), "{asked:?}");
    bench.client.answer(shown.digest, &people.sign("anna", &shown.signed.bytes)).await.unwrap();
    assert_eq!(bench.end(below.id).await.state, OperationState::Done, "{}", bench.log());
    assert_eq!(present(&bench).await, all[3..]);
    let key = bench.client.observation().await.unwrap().attestation_key;
    let written = audit::log(&bench, &key, Some(family)).await;
    for (volid, why) in [(&all[0], "retention"), (&all[1], "consented"), (&all[2], "consented")] {
        let about: Vec<_> = written.iter().filter(|e| e.data["archive"] == json!(volid)).collect();
        let kinds: Vec<&str> = about.iter().map(|e| e.kind.as_str()).collect();
        assert_eq!(kinds, ["deleting_archive", "deleted_archive"], "{volid}: {written:?}");
        assert_eq!(about[1].data["why"], why);
    }
}

fn file(volid: &Volid) -> &str {
    volid.path().strip_prefix("backup/").unwrap()
}
