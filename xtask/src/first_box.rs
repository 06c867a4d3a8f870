//! `cargo xtask first-box`: walks `docs/operator/first-box.md`, each command as it stands there, in a container whose units a real
//! systemd starts.
//!
//! Steps: build programs and golden archive → boot the container → note what it is like → type the commands, in order; each must
//! succeed and say what the document shows → while the units are there, measure their confinement and kill them with SIGKILL → at the end the container must
//! be as it was noted.

mod document;
mod machine;
mod units;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{golden, run, suite::Count};
use document::{Command, Example, Who};
use machine::{ADDRESS, Machine, PASSWORD};

const DOCUMENT: &str = include_str!("../../docs/operator/first-box.md");

/// What is typed otherwise than it stands in the document: there is one machine, nobody who types a password, no hardware key,
/// and the simulator has other storages than Proxmox's installer makes.
const OTHERWISE: [(&str, &str); 8] = [
    ("192.0.2.20", ADDRESS),
    ("scp root@192.0.2.10:/", "cp /"),
    ("scp operators.json root@192.0.2.10:/", "cp operators.json /"),
    ("ssh-keygen -t ed25519-sk -O verify-required", "mkdir -p ~/.ssh && ssh-keygen -q -t ed25519 -N ''"),
    ("--guest-storage local-zfs", "--guest-storage tank"),
    ("felhom-executor setup", "felhom-executor setup --password-file /root/pve-password"),
    ("felhom-executor teardown", "felhom-executor teardown --password-file /root/pve-password"),
    // The machine that tests has a kernel, a clock and a zone of its own; see `healthy`.
    ("felhom-executor doctor", "felhom-executor doctor || test $? = 1"),
];

/// Words of earlier answers.
const EXAMPLES: [Example; 3] = [
    Example { shown: "sha256:5d5a…ce66", begins: "sha256:" },
    Example { shown: "SHA256:Liho…w8iA", begins: "SHA256:" },
    Example { shown: "felhom1.eyJo…fQ", begins: "felhom1." },
];

/// What the doctor says of the machine that tests, and not of the box.
const OWN: [&str; 4] = ["kernel.", "clock.not_synchronised", "time_zone.", "space."];

/// What the machine is like, as far as any of it is ours to change.
const STATE: &str = "for d in /etc/felhom /opt /usr/local /var/lib/felhom /run/felhom /etc/systemd/system /etc/sysusers.d \
                     /etc/tmpfiles.d; do [ ! -e $d ] || find $d; done | sort; \
                     cut -d: -f1 /etc/passwd /etc/group; sort /etc/pve/user.cfg; pct list; ls /var/lib/vz/dump 2>/dev/null; \
                     pgrep -a felhom; systemctl --failed --no-legend";

/// Commands that only look: they are typed until they say what they should.
const LOOKS: [&str; 5] = [
    "felhom box show",
    "felhom box list",
    "felhom restore-test list",
    "felhom-executor ops",
    "systemctl is-active",
];

/// How long a box may take until it shows what it should.
const PATIENCE: Duration = Duration::from_secs(180);

/// Options of `first-box`.
#[derive(clap::Args)]
#[command(
    after_help = "Needs root, LXC and mmdebstrap, as Debian has them: `cargo xtask test first-box` installs what is missing."
)]
pub(crate) struct Args {}

/// The command.
pub(crate) fn run(root: &Path, _: &Args) -> Result<ExitCode> {
    walk(root, golden::Profile::Dev)?;
    Ok(ExitCode::SUCCESS)
}

/// The group of tests.
pub(crate) fn group(root: &Path) -> Result<Count> {
    let passed = walk(root, golden::Profile::Tests)?;
    Ok(Count { passed, ..Count::default() })
}

/// Answers how many commands were run.
fn walk(root: &Path, profile: golden::Profile) -> Result<usize> {
    let programs = golden::build_programs(root, profile)?;
    let folder = tempfile::tempdir()?;
    let machine = Machine::boot(root, &programs.join("pve-sim"), &release(&programs, folder.path())?)?;
    let before = machine.quietly(STATE)?;
    let all = document::commands(DOCUMENT);
    let mut answers = String::new();
    let mut measured = false;
    for command in &all {
        if is_way_back(command) && !measured {
            units::check(|script| machine.quietly(script))?;
            units::come_back(|script| machine.quietly(script))?;
            measured = true;
        }
        let said = typed(&machine, command, &answers).with_context(|| {
            format!("docs/operator/first-box.md, line {}: {}", command.line, command.text)
        })?;
        answers.push_str(&said);
        if command.text.contains("felhom-executor doctor") {
            healthy(&machine)?;
        }
    }
    ensure!(measured, "the document has no way back");
    let after = machine.quietly(STATE)?;
    ensure!(before == after, "something is left.\nbefore:\n{before}\nafter:\n{after}");
    println!("   {} commands, and the machine is as it was before", all.len());
    Ok(all.len())
}

fn is_way_back(command: &Command) -> bool {
    command.who == Who::Box && command.text.starts_with("systemctl disable --now felhom-agent")
}

/// Programs and the golden archive for guests that are processes, with its signed release.
fn release(programs: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let golden = golden::build(programs, folder, 0)?;
    let names = ["felhom-executor", "felhom-agent", "felhom-hub", "felhom"];
    let mut files: Vec<PathBuf> = names.iter().map(|name| programs.join(name)).collect();
    let key = folder.join("release-key.pub");
    if golden.public_key != key {
        fs::copy(&golden.public_key, &key)?;
    }
    files.extend([golden.archive, golden.release, golden.signature, key]);
    Ok(files)
}

/// Types a command and answers what it said. What only looks is typed again until the box has come so far.
fn typed(machine: &Machine, command: &Command, answers: &str) -> Result<String> {
    let text = otherwise(&command.text, answers)?;
    println!("   {}", text.lines().next().unwrap_or_default());
    let looks = LOOKS.iter().any(|look| text.starts_with(look));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = machine.typed(command.who, &text)?;
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said += &String::from_utf8_lossy(&output.stderr);
        let mut unsaid = Vec::new();
        for expected in &command.says {
            let expected = otherwise(expected, &format!("{answers}{said}"))?;
            if !document::is_said(&expected, &said) {
                unsaid.push(expected);
            }
        }
        if output.status.success() && unsaid.is_empty() {
            return Ok(said);
        }
        if !looks || Instant::now() > deadline {
            bail!("{}; it said:\n{said}\nbut not: {unsaid:#?}", output.status);
        }
        run::pause(Duration::from_millis(500));
    }
}

/// The text as it is typed here.
fn otherwise(text: &str, answers: &str) -> Result<String> {
    let mut text = text.to_owned();
    for (theirs, ours) in OTHERWISE {
        text = text.replace(theirs, ours);
    }
    for example in EXAMPLES {
        if text.contains(example.shown) {
            let value = example.value(answers);
            let value = value.with_context(|| format!("nothing said what stands for {}", example.shown))?;
            text = text.replace(example.shown, value);
        }
    }
    Ok(text)
}

/// The doctor finds nothing on the box but what is the testing machine's own.
fn healthy(machine: &Machine) -> Result<()> {
    let doctor =
        format!("felhom-executor doctor --json --password-file {PASSWORD} 2>/dev/null || test $? = 1");
    let said = machine.quietly(&doctor)?;
    let report: serde_json::Value = serde_json::from_str(said.trim()).with_context(|| said.clone())?;
    let findings = report["findings"].as_array().context("no findings")?;
    let id = |finding: &serde_json::Value| finding["id"].as_str().unwrap_or_default().to_owned();
    let found: Vec<_> =
        findings.iter().map(id).filter(|id| !OWN.iter().any(|own| id.starts_with(own))).collect();
    ensure!(found.is_empty(), "the doctor finds {found:?} on a box that was just set up");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_that_is_typed_otherwise_stands_in_the_document() {
        let commands = document::commands(DOCUMENT);
        assert!(commands.len() > 30, "{}", commands.len());
        let mut text: String =
            commands.iter().map(|c| format!("{}\n{}\n", c.text, c.says.join("\n"))).collect();
        for (theirs, ours) in OTHERWISE {
            assert!(text.contains(theirs), "{theirs}");
            text = text.replace(theirs, ours);
        }
        for example in EXAMPLES {
            assert!(text.contains(example.shown), "{}", example.shown);
        }
        assert!(commands.iter().any(is_way_back));
    }
}
