//! How a restored copy knows what to measure, and that it must be now.
//!
//! The plan of the sample is in the state directory only while a freeze is under way. A snapshot taken in the freeze
//! holds it. Whoever boots and finds it is restored from that snapshot (or lost power in that very moment): it measures
//! the pieces before its apps start and touch them, keeps the result below `/run`, and removes the plan.

use super::sample::SamplePlan;
use crate::{files, paths::Paths};
use felhom_protocol::probe::Sample;
use std::{io, path::PathBuf};

fn plan_file(paths: &Paths) -> PathBuf {
    paths.state().join("freeze-sample.json")
}

fn measured_file(paths: &Paths) -> PathBuf {
    paths.run().join("restored-samples.json")
}

/// Leaves the plan for whoever is restored from the snapshot to come.
///
/// # Errors
/// When it cannot be written.
pub fn leave_plan(paths: &Paths, plan: &SamplePlan) -> io::Result<()> {
    files::write_json(&plan_file(paths), plan)
}

/// Takes it back after the freeze.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_plan(paths: &Paths) -> io::Result<()> {
    files::remove(&plan_file(paths))
}

/// Measures, if this guest was restored from a freeze and has not measured in this boot. To be called before any app is
/// started. Says how many pieces were measured.
///
/// # Errors
/// When plan or result cannot be read or written.
pub fn measure(paths: &Paths) -> io::Result<usize> {
    let Some(plan) = files::read_json::<SamplePlan>(&plan_file(paths))? else {
        return Ok(0);
    };
    let samples = plan.measure(paths);
    files::write_json(&measured_file(paths), &samples)?;
    remove_plan(paths)?;
    Ok(samples.len())
}

/// What was measured at this boot, before the apps started.
///
/// # Errors
/// When it is there and cannot be read.
pub fn measured(paths: &Paths) -> io::Result<Vec<Sample>> {
    Ok(files::read_json(&measured_file(paths))?.unwrap_or_default())
}
