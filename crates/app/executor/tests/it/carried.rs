//! Answers, vetoes and wishes as the agent carries them: more than once, and for machines without network.

use felhom_model::{Digest, OperationState};
use felhom_signing::consent::{EXPORTED_LIFETIME_MS, LIFETIME_MS};
use serde_json::json;

use crate::bench::Bench;
use crate::people::{People, challenge};

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_issued_anew_to_live_longer_and_what_was_signed_still_counts() {
    let mut bench = Bench::start("grace_s = 3600").await;
    let people = People::on(&mut bench, &["anna", "bela"]).await;
    let family = bench.tenant("family").await;
    let retire = bench.ask("r1", "retire_guest", json!({ "guest": family })).await;
    let (shown, _) = challenge(&bench, retire.id).await;
    let signature = people.sign("anna", &shown.signed.bytes);
    bench.client.answer(shown.digest, &signature).await.unwrap();
    assert_eq!(bench.end(retire.id).await.state, OperationState::Done);
    let counted = bench.client.answers(shown.digest).await.unwrap();
    assert_eq!(counted, [Digest::of(signature.as_bytes())], "whoever carried it can see that it counted");
    let over = bench.client.renew(shown.digest).await.unwrap_err();
    assert_eq!(over.refusal(), Some("challenge_not_open"));

    let reclaim = bench.ask("c1", "reclaim_guest", json!({ "guest": family })).await;
    let (short, asked) = challenge(&bench, reclaim.id).await;
    assert!(short.left_s * 1000 <= LIFETIME_MS);
    bench.client.answer(short.digest, &people.sign("anna", &short.signed.bytes)).await.unwrap();
    let renewed = bench.client.renew(short.digest).await.unwrap();
    let (long, again) = challenge(&bench, reclaim.id).await;
    assert_eq!((renewed.digest, again.operation), (long.digest, asked.operation));
    assert!(long.left_s * 1000 > LIFETIME_MS && long.left_s * 1000 <= EXPORTED_LIFETIME_MS);
    assert!(again.expires_at > asked.expires_at && again.challenge_id != asked.challenge_id);
    assert_eq!(long.consented, ["operator anna"]);
    for digest in [short.digest, long.digest] {
        let same = bench.client.renew(digest).await.unwrap();
        assert_eq!(same.digest, long.digest, "asked for twice, it is the same one");
    }
    let old = bench.client.answer(short.digest, &people.sign("bela", &short.signed.bytes)).await;
    assert_eq!(old.unwrap_err().refusal(), Some("challenge_not_open"));
    bench.client.answer(long.digest, &people.sign("bela", &long.signed.bytes)).await.unwrap();
    assert_eq!(challenge(&bench, reclaim.id).await.0.consented, ["operator anna", "operator bela"]);

    let veto = people.veto("bela", reclaim.id);
    for _ in 0..2 {
        let op = bench.client.veto(reclaim.id, &veto).await.unwrap();
        assert_eq!(op.state, OperationState::Vetoed, "said twice, it is one veto");
    }
    let forged = people.veto("bela", retire.id);
    assert!(bench.client.veto(reclaim.id, &forged).await.is_err(), "also afterwards each is checked");
    let unknown = Digest::of(b"unknown");
    assert_eq!(bench.client.renew(unknown).await.unwrap_err().refusal(), Some("challenge_not_open"));
    assert_eq!(bench.client.answers(unknown).await.unwrap(), []);
}
