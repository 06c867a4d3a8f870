//! Jobs: each reaches the gate by its name, and its end reaches the hub.

use crate::agent::World;
use crate::executor::{tenant, uuid};
use felhom_model::OperationState;
use felhom_protocol::status::ConditionStatus;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn refusals_come_back_with_their_evidence() {
    let world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    let unknown = world.hub.job(1, "destroy_guest", json!({ "guest": "family" }));
    let reclaim = world.hub.job(2, "reclaim_guest", json!({ "guest": "family" }));
    let wrong = world.hub.job(3, "stop_guest", json!({ "guest": "family", "force": true }));
    let end = async |id| world.until("the end of a job", || world.hub.finished(id)).await;
    let (unknown, reclaim, wrong) = (end(unknown).await, end(reclaim).await, end(wrong).await);
    assert_eq!([&*unknown.state, &*reclaim.state, &*wrong.state], ["refused"; 3]);
    assert!(unknown.message.contains("destroy_guest"), "{}", unknown.message);
    assert!(reclaim.message.contains("not_a_tombstone"), "{}", reclaim.message);
    assert!(
        reclaim.message.contains(&uuid(1).to_string()) && reclaim.message.contains("2001"),
        "{}",
        reclaim.message
    );
    assert!(wrong.message.contains("force"), "{}", wrong.message);
    let nobody = end(world.hub.job(4, "stop_guest", json!({ "guest": "nobody" }))).await;
    assert_eq!(nobody.state, "refused");
    assert_eq!(nobody.message, "this box has no guest `nobody`; its guests: family");
    assert!(reclaim.operation.is_some());
    let asked = world.executor.asked("reclaim_guest");
    assert_eq!(asked[0].params["guest"], uuid(1).to_string(), "a name is turned into the uuid");
    let gone = || world.hub.last_report().is_some_and(|report| report.jobs.is_empty()).then_some(());
    world.until("jobs that the hub knows are forgotten", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_one_operation_through_kills() {
    let mut world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    world.executor.lock().slow = vec!["stop_guest"];
    let id = world.hub.job(1, "stop_guest", json!({ "guest": "family" }));
    world.until("asked", || world.executor.asked("stop_guest").pop()).await;
    world.kill();
    world.start();
    let running =
        || world.hub.last_report()?.jobs.into_iter().find(|job| job.id == id && job.state == "running");
    let job = world.until("running", running).await;
    world.executor.end(job.operation.unwrap(), OperationState::Done);
    let end = world.until("done", || world.hub.finished(id)).await;
    assert_eq!(end.state, "done");
    assert_eq!(world.executor.asked("stop_guest").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_after_its_deadline_is_not_begun() {
    let world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    let id = world.hub.job(1, "stop_guest", json!({ "guest": "family" }));
    world.hub.lock().jobs[0].deadline = "2020-01-01T00:00:00Z".parse().unwrap();
    let end = world.until("expired", || world.hub.finished(id)).await;
    assert_eq!(end.state, "expired");
    assert_eq!(world.executor.lock().requests, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_whose_controller_is_silent_is_made_without_it() {
    let world = World::ready("quiesce_wait_s = 1").await;
    world.executor.add(tenant(1, "family"));
    let id = world.hub.job(1, "backup_guest", json!({ "guest": "family" }));
    let end = world.until("done", || world.hub.finished(id)).await;
    assert_eq!(end.state, "done");
    let asked = world.executor.asked("backup_guest");
    assert_eq!((asked.len(), &asked[0].params["quiesced"]), (1, &json!(false)));
    assert_eq!(asked[0].params["target"], "local", "the first target that the box knows");
    assert_eq!(asked[0].request_id, format!("job:{id}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_proxmox_is_silent_jobs_wait_and_say_why() {
    let world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    world.hub.desire("[[guest]]\nname = \"family\"");
    world.until("converged", || world.hub.told("Converged", "AsDesired")).await;
    world.executor.lock().pve_reachable = false;
    let why = "Proxmox does not answer: connection refused";
    let message = world.until("unknown", || world.hub.told("Converged", "ProxmoxUnreachable")).await;
    assert!(message.starts_with(why), "{message}");
    let report = world.hub.last_report().unwrap();
    let converged = report.conditions.iter().find(|condition| condition.kind == "Converged").unwrap();
    assert_eq!(converged.status, ConditionStatus::Unknown);
    let ids = [
        world.hub.job(1, "stop_guest", json!({ "guest": "family" })),
        world.hub.job(2, "backup_guest", json!({ "guest": "family" })),
        world.hub.job(3, "stop_guest", json!({ "guest": "not-seen-yet" })),
    ];
    for id in ids {
        let says_why = || {
            let jobs = world.hub.last_report()?.jobs;
            jobs.into_iter().find(|job| job.id == id && job.message.starts_with(why))
        };
        assert_eq!(world.until("why it waits", says_why).await.state, "accepted");
    }
    world.executor.lock().pve_reachable = true;
    assert_eq!(world.until("done", || world.hub.finished(ids[0])).await.state, "done");
    assert_eq!(world.until("refused", || world.hub.finished(ids[2])).await.state, "refused");
    world.until("converged again", || world.hub.told("Converged", "AsDesired")).await;
}

/// Killed at each instant that the outside can see: a request came, a sync came.
#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_each_job_is_done_once() {
    let mut world = World::ready("").await;
    world.executor.add(tenant(1, "family"));
    let kinds = ["reboot_guest", "restore_guest", "restore_test", "stop_guest"];
    let ids: Vec<_> =
        (1..).zip(kinds).map(|(n, kind)| world.hub.job(n, kind, json!({ "guest": "family" }))).collect();
    let counts = |world: &World| (world.executor.lock().requests.len(), world.hub.lock().syncs);
    for round in 0..12 {
        let seen = counts(&world);
        let moved = || {
            (if round % 2 == 0 { counts(&world).1 > seen.1 } else { counts(&world) != seen }).then_some(())
        };
        world.until("something happens", moved).await;
        world.kill();
        world.start();
    }
    for id in ids {
        let end = world.until("the end of a job", || world.hub.finished(id)).await;
        assert_eq!(end.state, "done", "{}", end.message);
    }
    for kind in kinds {
        assert_eq!(world.executor.asked(kind).len(), 1, "{kind}");
    }
}

/// On `family` something waits for people, perhaps for days; its backup waits, everybody else's is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_guest_holds_up_nobody_else() {
    let world = World::ready("quiesce_wait_s = 1").await;
    world.executor.add(tenant(1, "family"));
    world.executor.add(tenant(2, "office"));
    world.executor.lock().busy.push(uuid(1));
    let jobs = [("backup_guest", "family"), ("stop_guest", "family"), ("backup_guest", "office")];
    let ask =
        |(n, (kind, guest)): (usize, (&str, &str))| world.hub.job(n as u64, kind, json!({ "guest": guest }));
    let [family, stop, office] =
        <[_; 3]>::try_from(jobs.into_iter().enumerate().map(ask).collect::<Vec<_>>()).unwrap();
    let end = async |id| world.until("the end of a job", || world.hub.finished(id)).await;
    assert_eq!(end(office).await.state, "done");
    let waits =
        |id| world.hub.last_report()?.jobs.into_iter().find(|job| job.id == id && job.state == "accepted");
    let why =
        world.until("it waits", || waits(stop).filter(|job| job.message.contains("is active on"))).await;
    assert!(why.operation.is_none(), "{why:?}");
    assert!(world.hub.finished(family).is_none());
    world.executor.lock().busy.clear();
    assert_eq!([end(family).await.state, end(stop).await.state], ["done", "done"]);
}
