//! How often a rule's place was reached, over all processes of the simulator: one file a rule, one byte an arrival.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use crate::error::ApiError;
use crate::state::{Host, lock};

/// Counts an arrival and answers its number; the first is 1.
pub(super) fn arrival(host: &Host, key: &str) -> Result<u64, ApiError> {
    let _held = host.lock("faults", lock::GUEST_TIMEOUT, &mut || ())?;
    let dir = host.dir.fault_counts();
    fs::create_dir_all(&dir)?;
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join(key))?;
    file.write_all(b".")?;
    Ok(file.metadata()?.len())
}

/// Begins anew for one rule.
pub(super) fn forget(host: &Host, key: &str) -> Result<(), ApiError> {
    remove(fs::remove_file(host.dir.fault_counts().join(key)))
}

/// Begins anew for all.
pub(super) fn forget_all(host: &Host) -> Result<(), ApiError> {
    remove(fs::remove_dir_all(host.dir.fault_counts()))
}

fn remove(done: std::io::Result<()>) -> Result<(), ApiError> {
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
