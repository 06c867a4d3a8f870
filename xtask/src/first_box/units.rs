//! What systemd says of the units' confinement, held against `docs/operator/units.md`: the figures, and a reason for each option
//! that is left open.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::run;

const DOCUMENT: &str = include_str!("../../../docs/operator/units.md");
const UNITS: [&str; 3] = ["felhom-agent.service", "felhom-hub.service", "felhom-executor.service"];

/// Asks for each unit; `say` runs a script where the units are.
pub(super) fn check(say: impl Fn(&str) -> Result<String>) -> Result<()> {
    for unit in UNITS {
        let text = say(&format!("systemd-analyze security {unit} --no-pager"))?;
        let exposure = figure(&text).with_context(|| format!("no figure for {unit} in: {text}"))?;
        let json = say(&format!("systemd-analyze security {unit} --no-pager --json=short"))?;
        let open = open(&serde_json::from_str(&json).with_context(|| json.clone())?);
        println!("   {unit}: exposure {exposure}, {} options left open", open.len());
        held(DOCUMENT, unit, exposure, &open)?;
    }
    Ok(())
}

/// Kills each unit with SIGKILL; it has to be there again with another process.
pub(super) fn come_back(say: impl Fn(&str) -> Result<String>) -> Result<()> {
    for unit in UNITS {
        let pid = || say(&format!("systemctl show --property=MainPID --value {unit}"));
        let before = pid()?;
        say(&format!("systemctl kill --signal=KILL {unit}"))?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while pid()? == before || say(&format!("systemctl is-active {unit} || true"))?.trim() != "active" {
            ensure!(Instant::now() < deadline, "{unit} does not come back after SIGKILL");
            run::pause(Duration::from_millis(200));
        }
        println!("   {unit} came back after SIGKILL");
    }
    Ok(())
}

/// From the last line, `→ Overall exposure level for UNIT: 1.1 OK :-)`.
fn figure(text: &str) -> Option<&str> {
    text.lines().rev().find(|line| line.contains("exposure level"))?.rsplit_once(": ")?.1.split(' ').next()
}

/// Names of what counts and is not set.
fn open(table: &Value) -> BTreeSet<String> {
    let counts = |row: &&Value| row["set"] == false && row["exposure"].as_str().is_some_and(|e| e != "0.0");
    let rows = table.as_array().into_iter().flatten().filter(counts);
    rows.filter_map(|row| Some(row["name"].as_str()?.to_owned())).collect()
}

fn held(document: &str, unit: &str, exposure: &str, open: &BTreeSet<String>) -> Result<()> {
    let row = document.lines().find(|line| line.starts_with(&format!("| `{unit}` |")));
    let written =
        row.and_then(|row| row.split(" | ").nth(2)).with_context(|| format!("no row for {unit}"))?;
    ensure!(written == exposure, "docs/operator/units.md says {written} for {unit}, systemd says {exposure}");
    let table = document
        .split_once(&format!("<!-- {unit}: begin -->"))
        .and_then(|(_, rest)| Some(rest.split_once(&format!("<!-- {unit}: end -->"))?.0));
    let table = table.with_context(|| format!("no table for {unit}"))?;
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once("` |")?.0.replace("\\|", "|"));
    let reasons: BTreeSet<String> = table.lines().filter_map(name).collect();
    let missing: Vec<_> = open.difference(&reasons).collect();
    let stale: Vec<_> = reasons.difference(open).collect();
    ensure!(missing.is_empty(), "{unit} leaves open without a reason in docs/operator/units.md: {missing:?}");
    ensure!(
        stale.is_empty(),
        "{unit} does not leave open what docs/operator/units.md gives reasons for: {stale:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "| `felhom-x.service` | root | 6.1 | all |\n<!-- felhom-x.service: begin -->\n| left open | why |\n\
                        | `User=` | root |\n| `Cap=~(A\\|B)` | it |\n<!-- felhom-x.service: end -->\n";

    #[test]
    fn figures_and_reasons_are_held_both_ways() {
        let open = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let both = open(&["User=", "Cap=~(A|B)"]);
        held(TEXT, "felhom-x.service", "6.1", &both).unwrap();
        assert!(held(TEXT, "felhom-x.service", "6.0", &both).is_err());
        assert!(held(TEXT, "felhom-x.service", "6.1", &open(&["User="])).is_err(), "a stale reason");
        assert!(
            held(TEXT, "felhom-x.service", "6.1", &open(&["User=", "Cap=~(A|B)", "C="])).is_err(),
            "no reason"
        );
    }

    #[test]
    fn what_systemd_says_is_read() {
        assert_eq!(figure("x\n→ Overall exposure level for felhom-x.service: 1.1 OK :-)\n"), Some("1.1"));
        let table = serde_json::json!([
            { "set": false, "name": "User=", "exposure": "0.4" },
            { "set": true, "name": "A=", "exposure": null },
            { "set": false, "name": "B=", "exposure": null },
        ]);
        assert_eq!(open(&table), ["User=".to_owned()].into());
    }
}
