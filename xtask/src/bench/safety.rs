//! What safety costs, and what a box costs that rests: the gate's own measurement, and a whole system's.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};

use super::machine;
use crate::{
    demo::{Exchange, Figures, Resident, Rest},
    run,
};

/// Nanoseconds by name, as the gate's measurement prints them.
pub(super) type Costs = BTreeMap<String, u64>;

/// Runs the gate's measurement.
pub(super) fn gate(root: &Path) -> Result<Costs> {
    let args = ["bench", "--locked", "--quiet", "-p", "felhom-gate", "--bench", "cost"];
    let output = run::output(&mut run::cargo_command(root, &args))?;
    let text = String::from_utf8_lossy(&output).into_owned();
    let line =
        text.lines().rfind(|line| line.starts_with('{')).context("the gate's measurement said nothing")?;
    serde_json::from_str(line).with_context(|| line.to_owned())
}

/// Name and nanoseconds of the costliest whose name begins with this.
fn worst<'a>(costs: &'a Costs, of: &str) -> Result<(&'a str, u64)> {
    let named = costs.iter().filter_map(|(name, ns)| Some((name.strip_prefix(of)?, *ns)));
    named.max_by_key(|(_, ns)| *ns).with_context(|| format!("nothing was measured of `{of}`"))
}

/// Of the table *safety*.
pub(super) fn line(costs: &Costs, figures: &Figures, build: &str) -> Result<String> {
    let (row, decision) = worst(costs, "decide ")?;
    let (answer, check) = worst(costs, "authorize ")?;
    let flushes = match &figures.flushes {
        Some(flushes) => {
            let files = flushes.files.iter().map(|(name, count)| format!("`{name}` {count}"));
            let files = files.collect::<Vec<_>>().join(", ");
            format!("{:.1} ({} steps: {files})", flushes.per_step(), flushes.steps)
        }
        None => "not measured: no `strace`".to_owned(),
    };
    let slowest = figures.resumed_ms.last().context("nothing was resumed")?;
    Ok(format!(
        "| {} | {build} | {:.2} µs (`{row}`) | {:.0} µs ({}) | {flushes} | {:.0} ms, at most {slowest:.0} ms |",
        machine()?,
        decision as f64 / 1000.0,
        check as f64 / 1000.0,
        answer.replace('_', " "),
        middle(&figures.resumed_ms)?,
    ))
}

/// Of the table *rest*.
pub(super) fn rest_line(rest: &Rest, build: &str) -> Result<String> {
    let Rest { guests, calls, passes_ms, syncs, agent, executor } = rest;
    let resident =
        |one: &Resident| format!("{:.1} MB, {:.2} %", one.kib as f64 * 1.024 / 1000.0, one.cpu_percent);
    Ok(format!(
        "| {} | {build} | {guests} | {} lists, {} permissions, {} others | {:.0} ms of {} | {} | {} | {} |",
        machine()?,
        calls.lists,
        calls.permissions,
        calls.all - calls.lists - calls.permissions,
        middle(passes_ms)?,
        passes_ms.len(),
        sync(syncs)?,
        resident(agent),
        resident(executor),
    ))
}

/// The largest sync: bytes up and down, and whether all went through one connection.
fn sync(syncs: &[Exchange]) -> Result<String> {
    let largest = syncs.iter().max_by_key(|sync| sync.up + sync.down).context("no sync")?;
    let one = syncs.iter().all(|sync| sync.connection == largest.connection);
    let kept = if one { "one connection" } else { "several connections" };
    let (up, down) = (largest.up, largest.down);
    Ok(format!("{} bytes ({up} up, {down} down), {} in {kept}", up + down, syncs.len()))
}

fn middle(sorted: &[f64]) -> Result<f64> {
    ensure!(sorted.is_sorted(), "not sorted");
    sorted.get(sorted.len() / 2).copied().context("nothing was measured")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{Calls, Flushes};

    #[test]
    fn the_costliest_counts_and_all_is_said() {
        let costs: Costs = [("decide a", 900), ("decide b", 1500), ("authorize by_two", 250_000)]
            .map(|(name, ns)| (name.to_owned(), ns))
            .into();
        let exchange = |up| Exchange { path: "/s".into(), up, down: 300, connection: 1 };
        let figures = Figures {
            flushes: Some(Flushes { files: [("db-wal".to_owned(), 9)].into(), steps: 3 }),
            resumed_ms: vec![10.0, 20.0, 30.0],
            rests: Vec::new(),
        };
        let rest = Rest {
            guests: 50,
            calls: Calls { all: 9, lists: 3, permissions: 1 },
            passes_ms: vec![4.0],
            syncs: vec![exchange(400), exchange(401)],
            agent: Resident { kib: 1000, cpu_percent: 0.1 },
            executor: Resident { kib: 2000, cpu_percent: 0.25 },
        };
        let text = line(&costs, &figures, "release").unwrap();
        let said = "| 1.50 µs (`b`) | 250 µs (by two) | 3.0 (3 steps: `db-wal` 9) | 20 ms, at most 30 ms |";
        assert!(text.ends_with(said), "{text}");
        let text = rest_line(&rest, "release").unwrap();
        let said = "| 3 lists, 1 permissions, 5 others | 4 ms of 1 | 701 bytes (401 up, 300 down), 2 in one connection | 1.0 MB, 0.10 % | 2.0 MB, 0.25 % |";
        assert!(text.ends_with(said), "{text}");
        assert!(worst(&costs, "judge ").is_err());
    }
}
