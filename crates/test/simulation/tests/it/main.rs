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
//! `FELHOM_SEED=N cargo nextest run -p felhom-simulation --no-capture -E 'test(a_seed)'` runs one seed and prints its history;
//! `FELHOM_SOAK=N` runs N seeds.

mod host;
mod judge;
mod network;
mod part;
mod people;
mod random;
mod schedule;
mod world;

use schedule::history;

/// Seeds of the part that runs always.
const SAMPLE: u64 = 3;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn held(seed: u64) -> Vec<String> {
    println!("FELHOM_SEED={seed}");
    history(seed)
}

#[test]
fn a_seed_s_history_ends_well() {
    let seeds = match (number("FELHOM_SEED"), number("FELHOM_SOAK")) {
        (Some(seed), None) => seed..seed + 1,
        (first, Some(many)) => first.unwrap_or(1)..first.unwrap_or(1) + many,
        (None, None) => 1..1 + SAMPLE,
    };
    let begun = std::time::Instant::now();
    let (mut events, many) = (0, seeds.end - seeds.start);
    for seed in seeds {
        events += held(seed).len();
    }
    println!("simulation: {many} seeds, {events} events, {} s", begun.elapsed().as_secs());
}

#[test]
fn the_same_seed_is_the_same_history() {
    let seed = 1000;
    let (first, second) = (held(seed), held(seed));
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
