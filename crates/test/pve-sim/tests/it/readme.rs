//! The README's table of endpoints against the program.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value as Json;

use crate::support::PVE_SIM;

const README: &str = include_str!("../../README.md");

/// `cargo xtask sim-endpoints` writes the table; what it calls implemented has to be what `pve-sim routes` names.
#[test]
fn the_table_of_endpoints_is_up_to_date() {
    let output = Command::new(PVE_SIM).args(["routes", "--json"]).output().unwrap();
    let routes: Vec<Json> = serde_json::from_slice(&output.stdout).unwrap();
    let of = |route: &Json| {
        let state = if route["rights_only"] == 1 { "rights only" } else { "yes" };
        format!("{} {} {state}", route["method"].as_str().unwrap(), route["path"].as_str().unwrap())
    };
    let program: BTreeSet<String> = routes.iter().map(of).collect();
    let table = README.split("<!-- endpoints").nth(1).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let listed = rows.map(|(endpoint, rest)| (endpoint, rest.split(" | ").next().unwrap()));
    let table: BTreeSet<String> = listed
        .filter(|(_, state)| *state != "–")
        .map(|(endpoint, state)| format!("{endpoint} {state}"))
        .collect();
    let missing: Vec<_> = program.symmetric_difference(&table).collect();
    assert!(missing.is_empty(), "run `cargo xtask sim-endpoints`: {missing:#?}");
}

/// The examples of the README and of `--help` name only what there is.
#[test]
fn help_names_presets_runtimes_and_examples() {
    let help = |arguments: &[&str]| {
        let output = Command::new(PVE_SIM).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let serve = help(&["serve", "--help"]);
    for preset in ["empty", "default", "busy"] {
        assert!(serve.contains(preset) && README.contains(&format!("| `{preset}` |")), "{preset}");
    }
    for runtime in ["process", "lxc", "none"] {
        assert!(serve.contains(runtime) && README.contains(&format!("`--runtime {runtime}`")), "{runtime}");
    }
    assert!(help(&["--help"]).contains("pve-sim --state ./state --listen 127.0.0.1:8006"));
    assert!(help(&["fault", "--help"]).contains("drop_after"));
    // Without a command it serves: the error is about serving, not about an unknown command.
    let output =
        Command::new(PVE_SIM).args(["--state", "/dev/null/x", "--listen", "127.0.0.1:0"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("pve-sim serve: state directory"), "{output:?}");
}
