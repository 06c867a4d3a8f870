//! Each privilege, at each place, taken away in turn; the table says which operation misses it.

use std::collections::BTreeMap;

use super::operations::{self, NAMES, Outcome};
use super::table;
use super::world::{Right, World};

const TABLE: &str = "privileges";
/// Parts that run at the same time.
const PARTS: usize = 5;
/// Asked for by the test with the executor's client and token.
const BY_THE_CLIENT: [&str; 2] = ["backup in stop mode", "ending its own backup"];
/// Kept although nothing misses it yet.
const LATER: &str = "VM.Snapshot";

#[tokio::test(flavor = "multi_thread")]
async fn with_exactly_the_rights_of_setup_every_operation_does_what_it_should() {
    let world = World::start().await;
    for (name, outcome) in operations::all(&world, 0).await {
        assert_eq!(outcome, Ok(()), "{name}\n{}", world.bench.log());
    }
    let rights = world.rights().await;
    let keys = rights.iter().map(|right| table::key_of(&cell(&right.privilege), &cell(&right.path)));
    table::names(TABLE, &keys.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_privilege_is_missed_by_an_operation_that_names_it_1() {
    part(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_privilege_is_missed_by_an_operation_that_names_it_2() {
    part(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_privilege_is_missed_by_an_operation_that_names_it_3() {
    part(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_privilege_is_missed_by_an_operation_that_names_it_4() {
    part(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_privilege_is_missed_by_an_operation_that_names_it_5() {
    part(4).await;
}

async fn part(n: usize) {
    let world = World::start().await;
    let mine: Vec<Right> = world.rights().await.into_iter().skip(n).step_by(PARTS).collect();
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for (round, right) in mine.iter().enumerate() {
        world.take(right).await;
        let outcomes = operations::all(&world, 1 + u32::try_from(round).unwrap()).await;
        world.give(right).await;
        for (name, message) in failed(&outcomes) {
            problems.extend(not_named(right, name, message));
        }
        let missed = failed(&outcomes).count();
        if (missed == 0) != (right.privilege == LATER) {
            problems.push(format!("{right:?} is missed by {missed} operations"));
        }
        rows.push(row(right, &outcomes));
    }
    table::compare(TABLE, &rows);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn failed(outcomes: &[Outcome]) -> impl Iterator<Item = (&'static str, &String)> {
    outcomes.iter().filter_map(|(name, outcome)| Some((*name, outcome.as_ref().err()?)))
}

/// An operation's error names the privilege, its place, and who grants it. The client alone has Proxmox's words only.
fn not_named(right: &Right, operation: &str, message: &str) -> Option<String> {
    let by_the_client = BY_THE_CLIENT.contains(&operation);
    let mut parts = vec![right.privilege.clone()];
    if !by_the_client {
        parts.push("`felhom-executor setup` grants it".to_owned());
        parts.push(format!("pveum role modify {} --append 1 --privs ", right.role));
        parts.push(format!("pveum acl modify {} --roles {} ", right.path, right.role));
    }
    let missing = parts.into_iter().find(|part| !message.contains(part))?;
    Some(format!("{right:?}, {operation}: `{missing}` is not in: {message}"))
}

/// `| privilege | place | operations: what they say |`.
fn row(right: &Right, outcomes: &[Outcome]) -> String {
    let mut by_words: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, message) in failed(outcomes) {
        by_words.entry(words(message)).or_default().push(name);
    }
    let mut groups: Vec<(String, Vec<&str>)> = by_words.into_iter().collect();
    groups.sort_by_key(|(_, names)| NAMES.iter().position(|name| *name == names[0]));
    let said = |(words, names): &(String, Vec<&str>)| {
        let by_operations = NAMES.iter().filter(|name| !BY_THE_CLIENT.contains(*name));
        let all = by_operations.clone().all(|name| names.contains(name));
        let names = if all { "every operation".to_owned() } else { names.join("; ") };
        format!("{names}: {words}")
    };
    let mut cells = groups.iter().map(said).collect::<Vec<_>>().join("<br>");
    if cells.is_empty() {
        cells = "needed by `clear_leftovers`, for the snapshot that a killed backup left".to_owned();
    }
    format!("| {} | {} | {cells} |", cell(&right.privilege), cell(&right.path))
}

fn cell(text: &str) -> String {
    format!("`{text}`")
}

/// What is Proxmox's own in a message, or what the executor says where Proxmox says nothing.
fn words(message: &str) -> String {
    if let Some(at) = message.find("Permission check failed (") {
        let inside = &message[at..];
        let text = &inside[..inside.find(')').unwrap_or(inside.len() - 1) + 1];
        return format!("`{}`", without_vmid(text).replace('|', "\\|"));
    }
    if message.contains("403 Permission check failed") {
        return "`Permission check failed`, and no more".to_owned();
    }
    let at = message.find("Proxmox would hide").unwrap_or(0);
    let sentence = &message[at..];
    let end = sentence.find(": ").unwrap_or(sentence.len());
    format!("*{}*", &sentence[..end])
}

/// VMIDs of guests that were made on the way say nothing.
fn without_vmid(text: &str) -> String {
    let Some((before, rest)) = text.split_once("/vms/2") else { return text.to_owned() };
    format!("{before}/vms/ID{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}
