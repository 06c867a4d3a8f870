//! Step 5: a restore test runs by itself; its receipt verifies with the pinned key and says L4; nothing of it is left.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::backup;
use crate::demo::{
    call, disk,
    driver::{Demo, Look, tolerant},
    judge::{self, Proof},
    service,
    world::{BOX, World},
};

/// VMIDs of scratch guests.
const SCRATCH: std::ops::RangeInclusive<u32> = 2900..=2999;

pub(super) fn run(demo: &mut Demo) -> Result<()> {
    let archive = demo.facts.archive.clone();
    let guest = demo.facts.guest.uuid.clone();
    let proof = demo.wait("the proof", Duration::from_secs(120), || {
        let listed = call::end_of(&mut demo.felhom(&["restore-test", "list", BOX]));
        tolerant(listed, |ended| {
            // A receipt that does not verify is an exit status of its own; the list says which and why.
            let listed = ended.json.unwrap_or_default();
            ensure!(ended.code != Some(5), "a receipt does not verify: {}", ended.errors);
            let proof = judge::proof(&listed, &archive, &guest)?;
            Ok(Look::of(proof, state(demo)))
        })
    })?;
    own_accord(demo, &proof)?;
    // The programs have spoken; now the bytes.
    backup::holds(demo, &archive, &demo.facts.data)?;
    demo.wait("the scratch guest to be gone", Duration::from_secs(30), || {
        Ok(Look::of(nothing_left(&demo.world).ok(), "the scratch guest is being destroyed"))
    })?;
    nothing_left(&demo.world)?;
    demo.screen.say(&format!(
        "  proven: {} ({} checks) in {} ms, receipt signed by the box; the scratch guest is gone",
        proof.level, proof.checks, proof.took_ms
    ));
    demo.facts.proof = proof;
    Ok(())
}

fn state(demo: &Demo) -> String {
    let operations = demo.operations().unwrap_or_default();
    judge::newest(&operations, "restore_test", &[])
        .map_or_else(|| "no restore test has begun yet".to_owned(), judge::progress)
}

/// Nobody asked for it: the schedule did.
fn own_accord(demo: &Demo, proof: &Proof) -> Result<()> {
    let operations = demo.operations()?;
    let Some(operation) = judge::newest(&operations, "restore_test", &[]) else {
        anyhow::bail!("no restore test is in the journal");
    };
    let (id, by) = (judge::text(operation, "id"), judge::text(operation, "asked_by"));
    ensure!(id == proof.operation, "the receipt is of operation {}, the journal has {id}", proof.operation);
    ensure!(by == "schedule", "the restore test was asked for by `{by}`, not by the schedule");
    ensure!(judge::done(operation)?, "the restore test is {}", judge::text(operation, "state"));
    Ok(())
}

/// No configuration, no volume, no process of a scratch guest.
fn nothing_left(world: &World) -> Result<()> {
    let guests = disk::guests(world)?;
    if let Some(vmid) = guests.keys().find(|vmid| SCRATCH.contains(vmid)) {
        anyhow::bail!("scratch guest {vmid} is still configured");
    }
    for vmid in SCRATCH {
        let volumes = disk::volumes(world, vmid);
        ensure!(!volumes.exists(), "{} is still there", volumes.display());
        // Only where there were volumes there can be processes; looking for each VMID would take long.
    }
    let scratch = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environment| String::from_utf8_lossy(&environment).contains("/images/29"))
    };
    let left: Vec<_> = service::processes_below(&world.dir).into_iter().filter(scratch).collect();
    ensure!(left.is_empty(), "processes {left:?} of a scratch guest still run");
    Ok(())
}
