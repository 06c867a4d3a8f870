//! Agent, executor and hub in the hands of one scheduler with a seed: what happens next, and what goes wrong with it, is a number of
//! that seed.
//!
//! ```text
//!   seed ─▶ schedule ─▶ a round of the agent, a request's fate in the network, a point of the executor,
//!              │        a kill, a jump of a clock, an act of the operator
//!              ▼
//!            world: hub ◀─ network ◀─ agent ─▶ executor ─▶ simulated Proxmox        judge: after each event, and at the end
//! ```
//! Each part is the program as it is, in a process of its own (`felhom-part`). Only one of them moves at a time, and the next event
//! is drawn when it stands again, so the same seed gives the same history.
//!
//! Each seed prints the command that runs it again; `FELHOM_SOAK=1` runs a hundred, from `FELHOM_SEED` on.

#![allow(clippy::unwrap_used, reason = "test helpers may panic; the lint spares test functions only")]

mod host;
mod judge;
mod liar;
mod network;
mod operator;
mod part;
mod people;
mod schedule;
mod world;

use schedule::{history, in_other_hands};

/// Seeds of the part that runs always, and of the whole.
const SAMPLE: u64 = 2;
const WHOLE: u64 = 100;
/// Events of a seed in the whole, and where time counts.
const EVENTS: u64 = 90;
const FEW: u64 = 45;

/// Answers of a hub in other hands, where time counts, and of each seed in the whole.
const FEW_LIES: u64 = 60;
const LIES: u64 = 500;
const SEEDS_OF_LIES: u64 = 20;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn held(seed: u64, events: u64) -> Vec<String> {
    println!(
        "FELHOM_SEED={seed} FELHOM_EVENTS={events} cargo nextest run -p felhom-simulation --no-capture -E 'test(a_seed)'"
    );
    history(seed, events)
}

#[test]
fn a_seed_s_history_ends_well() {
    let first = number("FELHOM_SEED");
    let many = match (first, number("FELHOM_SOAK")) {
        (_, Some(1)) => WHOLE,
        (_, Some(many)) => many,
        (Some(_), None) => 1,
        (None, None) => SAMPLE,
    };
    let seeds = first.unwrap_or(1)..first.unwrap_or(1) + many;
    let begun = std::time::Instant::now();
    let mut events = 0;
    let is_whole = number("FELHOM_SOAK").is_some();
    let each = number("FELHOM_EVENTS").unwrap_or(if is_whole { EVENTS } else { FEW });
    for seed in seeds {
        events += held(seed, each).len();
    }
    println!("simulation: {many} seeds, {events} events, {} s", begun.elapsed().as_secs());
}

/// Invariant 1, from the hub's side: whoever has only the hub destroys nothing, whatever it says in the hub's name.
#[test]
fn a_hub_in_other_hands_destroys_nothing() {
    let seed = number("FELHOM_SEED").unwrap_or(1);
    let (seeds, lies) = if number("FELHOM_SOAK").is_some() { (SEEDS_OF_LIES, LIES) } else { (1, FEW_LIES) };
    let mut begun = 0;
    for seed in seed..seed + seeds {
        println!(
            "FELHOM_SEED={seed} cargo nextest run -p felhom-simulation --no-capture -E 'test(a_hub_in_other)'"
        );
        begun += in_other_hands(seed, FEW, lies);
    }
    println!("hostile hub: {} lies, {begun} operations begun of them", seeds * lies);
    assert!(begun > 0, "no box believed any of it: the suite shows nothing");
}

#[test]
fn the_same_seed_is_the_same_history() {
    let seed = 1000;
    let (first, second) = (held(seed, FEW), held(seed, FEW));
    let differ = first.iter().zip(&second).position(|(one, other)| one != other);
    assert_eq!(
        differ,
        None,
        "from there on:\n{:#?}\n{:#?}",
        differ.map(|n| &first[n..]),
        differ.map(|n| &second[n..])
    );
    assert_eq!(first.len(), second.len());
}
