//! What pvestatd does every ten seconds: notes each guest's status for `/cluster/resources` and pool members (F48) and drops dead
//! workers from the list of active tasks (F90). The serving process does it by itself; `pve-sim pvestatd` does one round at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value as Json;

use crate::api::lxc::status;
use crate::error::ApiError;
use crate::fault;
use crate::state::{Host, atomic, guests};
use crate::task::index;

/// `pve-sim pvestatd --state DIR`.
#[derive(Debug, Args)]
pub(crate) struct PvestatdArgs {
    /// State directory.
    #[arg(long, env = "PVE_SIM_STATE")]
    state: PathBuf,
}

/// Runs it.
///
/// # Errors
/// A state directory that was never served or cannot be written.
pub(crate) fn run(args: &PvestatdArgs) -> Result<(), ApiError> {
    let host = Host::open(&args.state)?;
    round(&host)?;
    index::refresh(&host)
}

/// Notes each guest's status. What is shown stays as it is while the place `pvestatd.round` is held.
///
/// # Errors
/// A state directory that cannot be written.
pub(crate) fn round(host: &Host) -> Result<(), ApiError> {
    fault::point(host, "pvestatd.round", "", || false)?;
    let mut found: BTreeMap<u32, Json> = BTreeMap::new();
    for vmid in guests::list(host)? {
        if let Ok(config) = guests::load(host, vmid) {
            found.insert(vmid, status::of(host, vmid, &config));
        }
    }
    atomic::write(&host.dir.statistics(), &serde_json::to_vec(&found).map_err(std::io::Error::other)?)?;
    Ok(())
}

/// What the last round noted of each guest, up to ten seconds old (F48).
pub(crate) fn statistics(host: &Host) -> BTreeMap<u32, Json> {
    let bytes = fs::read(host.dir.statistics()).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Forgets everything, as at boot.
pub(crate) fn forget(host: &Host) {
    let _ = fs::remove_file(host.dir.statistics());
}
