//! The nine steps, in order.

mod backup;
mod consent;
mod customer;
mod data;
mod guest;
mod hostile;
mod leftovers;
mod proof;
mod restore;
mod setup;

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use anyhow::Result;
use serde::Serialize;

pub(crate) use guest::desired;
pub(crate) use setup::{OPERATOR, OPERATOR_PASSWORD, write_hub_config};

use super::{
    breaks::Break,
    chaos::Chaos,
    driver::Demo,
    judge::{Archive, Guest, Proof},
};
use crate::golden::Golden;

/// What steps find and later ones need.
#[derive(Default)]
pub(crate) struct Facts {
    /// Where the hub's pages are, and how to log in.
    pub(crate) hub_url: String,
    /// The golden archive.
    pub(crate) golden: Option<Golden>,
    /// The guest.
    pub(crate) guest: Guest,
    /// How long it took to provision.
    pub(crate) provision_ms: u64,
    /// Where its app answers.
    pub(crate) app: Option<SocketAddr>,
    /// What was put into the app.
    pub(crate) data: Data,
    /// The backup.
    pub(crate) archive: Archive,
    /// The operation that made it.
    pub(crate) backup_operation: String,
    /// How long the app did not answer during the backup, seen from outside.
    pub(crate) outside_gap_ms: u64,
    /// The proven restore.
    pub(crate) proof: Proof,
    /// VMID of the restored copy.
    pub(crate) copy: u32,
    /// The backup of the second guest's last state.
    pub(crate) second_archive: String,
    /// VMID of the damaged guest, once the copy took over.
    pub(crate) tombstone: u32,
    /// What the gate answered to the hostile hub.
    pub(crate) refusals: Vec<String>,
    /// Seconds that each step took.
    pub(crate) seconds: BTreeMap<u8, f64>,
}

/// What the app holds: the truth against which everything later is compared.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Data {
    /// Texts of the notes.
    pub(crate) notes: Vec<String>,
    /// SHA-256 of each file, by name.
    pub(crate) files: BTreeMap<String, String>,
    /// Bytes of all files.
    pub(crate) bytes: u64,
}

/// Where and why the demo ended.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The step.
    pub(crate) step: u8,
    /// Its title.
    pub(crate) title: &'static str,
    /// Why.
    pub(crate) error: anyhow::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} ({}): {:#}", self.step, self.title, self.error)
    }
}

type Work = fn(&mut Demo) -> Result<()>;

const STEPS: [(&str, Work); 9] = [
    ("set up and enrol", setup::run),
    ("provision a guest", guest::run),
    ("the app gets data", data::run),
    ("a backup", backup::run),
    ("prove the restore", proof::run),
    ("damage, and restore beside", restore::run),
    ("a hostile hub", hostile::run),
    ("with people's signatures", consent::run),
    ("nothing is left over", leftovers::run),
];

/// Run the steps up to this one. Meddling begins right before the steps that it concerns.
pub(crate) fn run_all(
    demo: &mut Demo,
    to: u8,
    meddle: Option<&'static Break>,
    chaos: bool,
) -> Result<(), Failure> {
    let chaos = chaos.then(|| Chaos::new(demo));
    let mut meddling = Vec::new();
    for (number, (title, work)) in (1..).zip(STEPS).take_while(|(number, _)| *number <= to) {
        demo.screen.say(&format!("step {number}: {title}"));
        let begun = demo.screen.seconds();
        let fail = |error| Failure { step: number, title, error };
        if let Some(broken) = meddle.filter(|broken| broken.begins == number) {
            meddling.push((broken.begin)(demo).map_err(fail)?);
        }
        work(demo).map_err(fail)?;
        if let (1, Some(chaos)) = (number, &chaos) {
            chaos.begin().map_err(fail)?;
        }
        demo.facts.seconds.insert(number, demo.screen.seconds() - begun);
    }
    if let Some(chaos) = chaos.filter(|_| to >= 7) {
        let fail = |error| Failure { step: 9, title: "chaos", error };
        for line in chaos.end().map_err(fail)? {
            demo.screen.say(&format!("  chaos: {line}"));
        }
    }
    drop(meddling);
    Ok(())
}
