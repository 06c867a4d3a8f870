//! The audit log on its way: its head to the hub, and to each guest its own part.

use crate::agent::World;
use crate::executor::{attestation_key, audit_head, tenant, uuid};
use felhom_client::local::LocalApiClient;
use felhom_signing::audit::{Chain, Head, verify};

fn client(world: &World, token: &str) -> LocalApiClient {
    let api = world.executor.lock().local_api.clone().unwrap();
    LocalApiClient::new(&api.url, api.fingerprint, token.to_owned(), None).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_travels_with_the_report_and_a_guest_gets_only_its_own_part() {
    let world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    world.executor.add(tenant(2, "others"));
    let report = world.until("a report", || world.hub.last_report().filter(|r| r.guests.len() == 2)).await;
    assert_eq!(report.audit_head, Some(audit_head(None)));
    for n in [1, 2] {
        let page = client(&world, &format!("token-{n}")).audit(41).await.unwrap();
        assert!(page.more, "the cursor is passed on");
        let head = Head::open(page.head.into(), &attestation_key()).unwrap();
        assert_eq!(verify(&[] as &[Vec<u8>], &head, Chain::Guest(uuid(n))), Ok(vec![]));
    }
    let stranger = client(&world, "token-9").audit(0).await.unwrap_err();
    assert_eq!(stranger.status(), Some(401));
}
