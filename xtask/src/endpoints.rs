//! `cargo xtask sim-endpoints`: the table *endpoint → implemented / recorded / tested* in the simulator's README.
//!
//! Steps: ask `pve-sim routes` what there is → count the recorded calls of each endpoint, by the API's own schema → look at which
//! ones the integration tests called, by the access logs they leave in target/tmp → write the table between the markers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value as Json;

use crate::run;

const README: &str = "crates/test/pve-sim/README.md";
const BEGIN: &str = "<!-- endpoints: written by cargo xtask sim-endpoints -->\n";
const END: &str = "<!-- /endpoints -->";

/// Options of `sim-endpoints`.
#[derive(clap::Args, Default)]
#[command(
    after_help = "Examples:\n  cargo nextest run -p pve-sim && cargo xtask sim-endpoints --recordings ../shared/pve"
)]
pub(crate) struct Args {
    /// Folder with the recordings and the API schema.
    #[arg(long, env = "PVE_SIM_RECORDINGS")]
    recordings: PathBuf,
}

/// An endpoint: path template and method.
type Endpoint = (String, String);

#[derive(Default)]
struct Row {
    implemented: &'static str,
    recorded: usize,
    tested: bool,
}

/// The command.
pub(crate) fn run(root: &Path, args: &Args) -> Result<ExitCode> {
    run::check(&mut run::cargo_command(root, &["build", "-p", "pve-sim"]))?;
    let mut rows = implemented(root)?;
    let known: Vec<Endpoint> = schema(&args.recordings)?.into_iter().chain(rows.keys().cloned()).collect();
    for call in recorded(&args.recordings)? {
        if let Some(endpoint) = find(&known, &call) {
            rows.entry(endpoint.clone()).or_default().recorded += 1;
        }
    }
    let own: Vec<Endpoint> = rows.keys().cloned().collect();
    let tested = tested(root)?;
    for call in &tested {
        if let Some(row) = find(&own, call).and_then(|endpoint| rows.get_mut(endpoint)) {
            row.tested |= !row.implemented.is_empty();
        }
    }
    let path = root.join(README);
    let text = fs::read_to_string(&path)?;
    fs::write(&path, replace(&text, &table(&rows))?)?;
    println!("{README}: {} endpoints, {} tested calls", rows.len(), tested.len());
    Ok(ExitCode::SUCCESS)
}

fn implemented(root: &Path) -> Result<BTreeMap<Endpoint, Row>> {
    let output = Command::new(root.join("target/debug/pve-sim")).args(["routes", "--json"]).output()?;
    let routes: Vec<Json> = serde_json::from_slice(&output.stdout).context("pve-sim routes --json")?;
    let row = |route: &Json| {
        let implemented = if route["rights_only"] == 1 { "rights only" } else { "yes" };
        (endpoint(route), Row { implemented, ..Row::default() })
    };
    Ok(routes.iter().map(row).collect())
}

fn endpoint(route: &Json) -> Endpoint {
    let text = |key: &str| route[key].as_str().unwrap_or_default().to_owned();
    (text("path"), text("method"))
}

fn schema(folder: &Path) -> Result<Vec<Endpoint>> {
    let text = fs::read_to_string(folder.join("pve-api-schema.json")).context("pve-api-schema.json")?;
    let mut all = Vec::new();
    walk(&serde_json::from_str(&text)?, &mut all);
    Ok(all)
}

fn walk(node: &Json, all: &mut Vec<Endpoint>) {
    for child in node.as_array().into_iter().flatten() {
        let path = child["path"].as_str().unwrap_or_default();
        all.extend(
            child["info"].as_object().into_iter().flatten().map(|(m, _)| (path.to_owned(), m.clone())),
        );
        walk(&child["children"], all);
    }
}

/// Recorded calls that reached the API: path and method.
fn recorded(folder: &Path) -> Result<Vec<Endpoint>> {
    let mut all = Vec::new();
    for name in ["recordings.jsonl", "recordings-2.jsonl"] {
        let text = fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())?;
        for line in text.lines() {
            let entry: Json = serde_json::from_str(line)?;
            let request = &entry["request"];
            if let (Some(path), Some(method)) = (request["path"].as_str(), request["method"].as_str()) {
                all.push((path.to_owned(), method.to_owned()));
            }
        }
    }
    Ok(all)
}

/// Calls of the integration tests: `METHOD PATH` a line.
fn tested(root: &Path) -> Result<BTreeSet<Endpoint>> {
    let folder = root.join("target/tmp/pve-sim-calls");
    if !folder.is_dir() {
        bail!("{} is missing; run `cargo nextest run -p pve-sim` first", folder.display());
    }
    let mut all = BTreeSet::new();
    for file in fs::read_dir(folder)? {
        for line in fs::read_to_string(file?.path())?.lines() {
            if let Some((method, path)) = line.split_once(' ') {
                all.insert((path.to_owned(), method.to_owned()));
            }
        }
    }
    Ok(all)
}

/// The endpoint that a call means: the one with the most literal segments.
fn find<'a>(known: &'a [Endpoint], (path, method): &Endpoint) -> Option<&'a Endpoint> {
    let path = path.split('?').next().unwrap_or_default();
    let path = ["/api2/json", "/api2/extjs"].iter().find_map(|p| path.strip_prefix(p)).unwrap_or(path);
    let path = path.trim_end_matches('/');
    let fitting = known.iter().filter(|(p, m)| m == method && fits(p, path));
    fitting.max_by_key(|(p, _)| p.split('/').filter(|s| !s.starts_with('{')).count())
}

fn fits(pattern: &str, path: &str) -> bool {
    let mut rest = path.split('/').skip(1);
    for part in pattern.trim_end_matches('/').split('/').skip(1) {
        if part == "{volume}" {
            return rest.next().is_some();
        }
        match rest.next() {
            Some(here) if !here.is_empty() && (part.starts_with('{') || part == here) => {}
            _ => return false,
        }
    }
    rest.next().is_none()
}

fn table(rows: &BTreeMap<Endpoint, Row>) -> String {
    let mut text = String::from("| endpoint | implemented | recorded | tested |\n|---|---|---|---|\n");
    for ((path, method), row) in rows {
        let recorded = if row.recorded == 0 { "–".to_owned() } else { row.recorded.to_string() };
        let implemented = if row.implemented.is_empty() { "–" } else { row.implemented };
        let tested = if row.tested { "yes" } else { "–" };
        let _ = writeln!(text, "| `{method} {path}` | {implemented} | {recorded} | {tested} |");
    }
    text
}

fn replace(readme: &str, table: &str) -> Result<String> {
    let (before, rest) = readme.split_once(BEGIN).context("no begin marker in the README")?;
    let (_, after) = rest.split_once(END).context("no end marker in the README")?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_means_the_most_literal_endpoint() {
        let known: Vec<Endpoint> =
            ["/", "/nodes/{node}/lxc/{vmid}", "/nodes/{node}/storage/{storage}/content/{volume}"]
                .iter()
                .map(|p| ((*p).to_owned(), "GET".to_owned()))
                .collect();
        let found = |path: &str| find(&known, &(path.to_owned(), "GET".to_owned())).map(|(p, _)| p.as_str());
        assert_eq!(found("/api2/json/"), Some("/"));
        assert_eq!(found("/api2/json"), Some("/"));
        assert_eq!(found("/api2/json/nodes/pve/lxc/100?x=1"), Some("/nodes/{node}/lxc/{vmid}"));
        assert_eq!(found("/api2/json/nodes/pve/storage/l/content/l:backup/x.tar"), Some(known[2].0.as_str()));
        assert_eq!(found("/api2/json/nodes/pve/lxc/100/config"), None);
    }
}
