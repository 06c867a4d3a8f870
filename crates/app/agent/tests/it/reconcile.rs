//! From desired state to operations, through kills, with the hub away.

use crate::agent::World;
use crate::executor::tenant;
use felhom_model::OperationState;
use felhom_model::desired::Tightening;
use felhom_protocol::executor::ProvisionParams;

const GUEST: &str = "[[guest]]\nname = \"family\"\ncores = 2\nmemory_mib = 512\napps = [\"notes\"]";

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_asked_for_once_and_told_of() {
    let world = World::ready("").await;
    world.until("nothing said", || world.hub.told("Converged", "NoDesiredState")).await;
    world.hub.desire(GUEST);
    let asked = world.until("a request", || world.executor.asked("provision_guest").pop()).await;
    assert_eq!(asked.asked_by, "desired_state");
    assert!(asked.reason.contains("generation 1: guest `family` is missing"), "{}", asked.reason);
    let params: ProvisionParams = serde_json::from_value(asked.params).unwrap();
    assert_eq!((params.cores, params.disk_gib), (2, 8));
    world.until("converged", || world.hub.told("Converged", "AsDesired")).await;
    let report = world.hub.last_report().unwrap();
    assert_eq!(report.observed_generation.0, 1);
    assert_eq!((report.guests.len(), report.operations.len()), (1, 1));
    assert_eq!(report.guests[0].token_digest, None, "no use for the hub");
    assert_eq!(world.executor.asked("provision_guest").len(), 1);
    assert_eq!(world.executor.lock().local_api.as_ref().unwrap().url.split(':').next(), Some("https"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_asks_for_nothing_twice() {
    let mut world = World::ready("").await;
    world.executor.lock().slow = vec!["provision_guest"];
    world.hub.desire(GUEST);
    world.until("a request", || world.executor.asked("provision_guest").pop()).await;
    world.kill();
    world.start();
    let seen = world.hub.lock().syncs;
    world.until("syncs", || (world.hub.lock().syncs > seen + 2).then_some(())).await;
    assert_eq!(world.executor.asked("provision_guest").len(), 1);
    world.until("in progress", || world.hub.told("GuestConverged/family", "InProgress")).await;
    // It fails while the agent is down; the next try has a new key, and waits.
    world.kill();
    let id = *world.executor.lock().operations.keys().next().unwrap();
    world.executor.end(id, OperationState::RolledBack);
    world.start();
    world.until("held back", || world.hub.told("GuestConverged/family", "HeldBack")).await;
    assert_eq!(world.executor.asked("provision_guest").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_document_that_forgets_a_guest_changes_nothing() {
    let world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    world.hub.desire(GUEST);
    world.until("converged", || world.hub.told("Converged", "AsDesired")).await;
    world.hub.desire("");
    world.until("kept", || world.hub.told("GuestKept/family", "AbsentFromDesiredState")).await;
    world.hub.desire("[[guest]]\nname = \"family\"\nstate = \"retired\"");
    world.until("needs", || world.hub.told("GuestConverged/family", "NeedsAuthorization")).await;
    assert_eq!(world.executor.lock().requests, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_never_was_is_taken_back_by_leaving_it_out() {
    let world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    world.hub.desire(&format!("{GUEST}\n[[guest]]\nname = \"evil\"\napps = [\"nope\"]"));
    world.until("hindered", || world.hub.told("GuestConverged/evil", "AppNotInGolden")).await;
    world.hub.desire("");
    world.until("kept", || world.hub.told("GuestKept/family", "AbsentFromDesiredState")).await;
    world.until("converged", || world.hub.told("Converged", "AsDesired")).await;
    let conditions = world.hub.last_report().unwrap().conditions;
    assert!(conditions.iter().all(|condition| !condition.kind.contains("evil")), "{conditions:?}");
    world.hub.desire("");
    world.until("held", || (world.hub.last_report()?.observed_generation.0 == 3).then_some(())).await;
    assert!(world.hub.told("GuestConverged/family", "AsDesired").is_some());
    assert_eq!(world.executor.lock().requests, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_hub_the_box_goes_on() {
    let mut world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    world.hub.desire(GUEST);
    world.until("converged", || world.hub.told("Converged", "AsDesired")).await;
    world.hub.stop();
    world.kill();
    world.start();
    world.executor.lock().guests[0].power = "stopped".to_owned();
    world.until("started", || world.executor.asked("start_guest").pop()).await;
    let syncs = world.hub.lock().syncs;
    let _hub = world.hub.again();
    world.until("a sync", || (world.hub.lock().syncs > syncs).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_proxmox_is_silent_nothing_is_planned() {
    let world = World::ready("").await;
    world.executor.lock().pve_reachable = false;
    world.hub.desire(GUEST);
    world.until("told", || world.hub.told("ProxmoxReachable", "NoAnswer")).await;
    world.until("accepted", || world.hub.told("DesiredStateValid", "Accepted")).await;
    assert_eq!(world.executor.lock().requests, vec![]);
    world.executor.lock().pve_reachable = true;
    world.until("a request", || world.executor.asked("provision_guest").pop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_the_operator_wishes_reach_the_executor_and_stay() {
    let world = World::ready("").await;
    let wished = async |what: &'static str, wish: Tightening| {
        world.until(what, || (world.executor.lock().wished_limits == wish).then_some(())).await;
    };
    world.hub.desire("[limits]\nmax_guests = 2\nkeep_backups = 5");
    let first = Tightening { max_guests: Some(2), keep_backups: Some(5), ..Tightening::default() };
    wished("the first wish", first).await;
    world.hub.desire("[limits]\nkeep_backups = 4");
    wished("what is not named stays", Tightening { keep_backups: Some(4), ..first }).await;
    world.hub.desire("");
    world.until("held", || (world.hub.last_report()?.observed_generation.0 == 3).then_some(())).await;
    // An executor whose database is a new one is told again.
    world.executor.lock().wished_limits = Tightening::default();
    wished("told again", Tightening { keep_backups: Some(4), ..first }).await;
}
