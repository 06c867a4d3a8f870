//! A privilege that goes while an operation runs, and the backup mode that needs less than one would think.

use std::time::Duration;

use felhom_model::OperationState;
use serde_json::json;

use super::operations::stop_mode;
use super::world::{Right, World, why};
use crate::bench::within;

fn right(role: &str, path: &str, privilege: &str) -> Right {
    Right { role: role.to_owned(), path: path.to_owned(), privilege: privilege.to_owned() }
}

/// PRIVILEGES: vzdump stops and starts the guest by itself, whoever asked for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_in_stop_mode_needs_no_power_management() {
    let world = World::start().await;
    world.take(&right("FelhomGuests", "/pool/felhom", "VM.PowerMgmt")).await;
    let refused = world.run("stop_guest", json!({ "guest": world.tenant })).await.unwrap_err();
    assert!(refused.contains("VM.PowerMgmt"), "{refused}");
    assert_eq!(stop_mode(&world).await, Ok(()));
    let seen = world.bench.guest(world.tenant).await;
    assert_eq!(seen.power, "running", "vzdump started it again");
}

/// The scratch guest stands and cannot be destroyed: that is said, with what grants it, and a person is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_scratch_guest_that_may_not_be_destroyed_any_more_is_named() {
    let world = World::start().await;
    world.faults(&json!([{ "at": "vzstart.begin", "id": "2900", "do": "hold" }]));
    let op = world.ask("restore_test", json!({ "guest": world.tenant, "level": "L3" })).await.unwrap();
    let starting = async || {
        let op = world.bench.client.operation(op.id).await.unwrap();
        op.steps.iter().any(|step| step.name == "start" && step.state == "running")
    };
    assert!(within(Duration::from_secs(60), starting).await);
    // The start's task must be there before the rights go.
    let tasks = felhom_pve::TaskFilter { kind: Some("vzstart".to_owned()), ..Default::default() };
    let held = async || {
        let listed = world.node(&world.root).tasks(&tasks).await.unwrap();
        listed.iter().any(|task| task.upid.id() == "2900")
    };
    assert!(within(Duration::from_secs(60), held).await);
    let allocate = right("FelhomGuests", "/pool/felhom", "VM.Allocate");
    world.take(&allocate).await;
    world.faults(&json!([]));
    let op = world.bench.end(op.id).await;
    assert_eq!(op.state, OperationState::NeedsOperator, "{op:?}");
    for part in ["VM.Allocate on /vms/2900", "`felhom-executor setup` grants it", "pct destroy 2900"] {
        assert!(why(&op).contains(part), "`{part}` is not in: {}", why(&op));
    }
    assert!(world.bench.sim.path("pve/etc/pve/lxc/2900.conf").exists());
}
