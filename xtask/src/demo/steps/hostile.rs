//! Step 7: whoever controls the hub removes the guest from desired state and asks for its destruction, by real and by
//! invented names. Nothing is destroyed, and each refusal is visible with its evidence.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, ensure};
use serde_json::Value;

use super::data;
use crate::{
    demo::{
        call, disk,
        driver::{Demo, Look, text, tolerant},
        judge,
        world::{BOX, World},
    },
    run,
};

/// The exit status of `felhom` for a refusal by the box's gate.
const REFUSED: i32 = 3;

pub(super) fn run(demo: &mut Demo) -> Result<()> {
    let before = Possessions::of(&demo.world)?;
    let app = demo.facts.app.context("the app's address is not known")?;
    let empty = demo.world.write("operator/hostile.toml", "schema = \"felhom.desired/v1\"\n")?;
    let set = call::json(&mut demo.felhom(&["desired", "set", BOX, text(&empty), "--message", "hostile"]))?;
    let generation = set["generation"].as_u64().context("no generation")?;
    demo.wait("the box to see the hostile generation", Duration::from_secs(60), || {
        tolerant(demo.shown(), |shown| {
            let observed = shown["box"]["report"]["observed_generation"].as_u64();
            judge::standing(&shown, demo.facts.guest.vmid)?;
            Ok(Look::of((observed >= Some(generation)).then_some(()), "not yet"))
        })
    })?;
    let data_before = data::read(app).map_err(|error| explained(demo, error))?;
    demo.screen
        .say(&format!("  desired state, generation {generation}, has no guest any more: nothing happens"));

    let (uuid, vmid) = (demo.facts.guest.uuid.clone(), demo.facts.guest.vmid.to_string());
    let real = refused(demo, "reclaim_guest", &["tombstone", &uuid, &vmid])?;
    let invented = refused(demo, "destroy_guest", &["destroy_guest"])?;
    for refusal in [&real, &invented] {
        demo.screen.say(&format!("  refused: {refusal}"));
    }
    demo.facts.refusals = vec![real, invented];

    // Two more rounds of the agent: whatever it might still plan, it plans now.
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        demo.services.check()?;
        run::pause(Duration::from_millis(100));
    }
    unchanged(&before, &Possessions::of(&demo.world)?)?;
    ensure!(data::read(app)? == data_before, "the app does not hold what it held before");
    no_other_operations(&demo.operations()?)?;
    demo.screen.say("  guest, copy and archive are untouched, the app serves");
    Ok(())
}

/// The app does not answer: what do the programs say of its guest, once they had time to look?
fn explained(demo: &Demo, error: Error) -> Error {
    let said = demo.wait("what the box says of its guest", Duration::from_secs(15), || {
        tolerant(demo.shown(), |shown| {
            Ok(Look::of(judge::standing(&shown, demo.facts.guest.vmid).err(), "it runs, says the box"))
        })
    });
    match said {
        Ok(said) => said.context(error.to_string()),
        Err(_) => error.context("the box still says that its guest runs"),
    }
}

/// Ask for it as the hub's owner would; it is refused by the box, and shown so by the command line and by the hub.
fn refused(demo: &Demo, kind: &str, words: &[&str]) -> Result<String> {
    let guest = format!("guest={}", demo.facts.guest.uuid);
    let ended = call::end_of(&mut demo.felhom(&["job", "run", BOX, kind, "--param", &guest]))?;
    ensure!(ended.code == Some(REFUSED), "`{kind}` ended with status {:?}: {}", ended.code, ended.errors);
    let operation = ended.errors_or_operation(kind)?;
    let said = judge::refusal(&operation, kind, words)?;
    let reported = demo.reported_operations()?;
    let shown =
        judge::newest(&reported, kind, &[]).with_context(|| format!("the hub does not show `{kind}`"))?;
    judge::refusal(shown, kind, words)?;
    Ok(said)
}

impl call::Ended {
    /// The operation in a job's answer: the first JSON line that holds one.
    fn errors_or_operation(&self, kind: &str) -> Result<Value> {
        let lines = self.output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut operations = lines.map(|line| line["operation"].clone()).filter(|op| !op.is_null());
        operations.next().with_context(|| format!("`{kind}`: no operation in the answer {}", self.output))
    }
}

/// No operation that the journal holds beyond what the demo asked for has run.
fn no_other_operations(operations: &Value) -> Result<()> {
    const KNOWN: [&str; 5] =
        ["provision_guest", "backup_guest", "restore_test", "restore_guest", "destroy_scratch"];
    for operation in operations.as_array().into_iter().flatten() {
        let (kind, state) = (judge::text(operation, "kind"), judge::text(operation, "state"));
        ensure!(
            KNOWN.contains(&kind) || state == "refused",
            "`{kind}` is {state}; nobody should have let it"
        );
    }
    Ok(())
}

/// Everything of the customer's that the host's disk holds.
#[derive(Debug, PartialEq, Eq)]
struct Possessions {
    guests: BTreeMap<u32, disk::GuestConfig>,
    volumes: Vec<u32>,
    archives: BTreeMap<String, String>,
}

impl Possessions {
    fn of(world: &World) -> Result<Self> {
        let guests = disk::guests(world)?;
        let volumes = guests.keys().copied().filter(|vmid| disk::rootfs(world, *vmid).is_dir()).collect();
        let mut archives = BTreeMap::new();
        for name in disk::archives(world)? {
            let path = disk::storage(world, crate::demo::world::BACKUP_STORE).join("dump").join(&name);
            archives.insert(name, disk::sha256(&path)?);
        }
        Ok(Self { guests, volumes, archives })
    }
}

fn unchanged(before: &Possessions, after: &Possessions) -> Result<()> {
    for (vmid, config) in &before.guests {
        let now = after.guests.get(vmid).with_context(|| format!("guest {vmid} is gone"))?;
        ensure!(now == config, "guest {vmid} was changed from {config:?} to {now:?}");
    }
    ensure!(before.guests.len() == after.guests.len(), "there are other guests: {:?}", after.guests.keys());
    for vmid in &before.volumes {
        ensure!(after.volumes.contains(vmid), "the root volume of guest {vmid} is gone");
    }
    for (name, digest) in &before.archives {
        ensure!(after.archives.get(name) == Some(digest), "archive {name} is gone or was changed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn possessions() -> Possessions {
        Possessions {
            guests: [(2000, disk::GuestConfig::parse("arch: amd64\n"))].into(),
            volumes: vec![2000],
            archives: [("a".to_owned(), "1".to_owned())].into(),
        }
    }

    #[test]
    fn each_loss_is_found() {
        assert!(unchanged(&possessions(), &possessions()).is_ok());
        let losses: [fn(&mut Possessions); 5] = [
            |p| p.guests.clear(),
            |p| p.volumes.clear(),
            |p| p.archives.clear(),
            |p| drop(p.archives.insert("a".into(), "2".into())),
            |p| drop(p.guests.insert(2000, disk::GuestConfig::parse("arch: arm64\n"))),
        ];
        for loss in losses {
            let mut after = possessions();
            loss(&mut after);
            assert!(unchanged(&possessions(), &after).is_err(), "{after:?}");
        }
    }

    #[test]
    fn an_operation_that_nobody_asked_for_is_found() {
        let list = |kind, state| json!([{ "kind": kind, "state": state }]);
        assert!(no_other_operations(&list("backup_guest", "done")).is_ok());
        assert!(no_other_operations(&list("reclaim_guest", "refused")).is_ok());
        assert!(no_other_operations(&list("reclaim_guest", "running")).is_err());
        assert!(no_other_operations(&list("retire_guest", "pending_authorization")).is_err());
    }
}
