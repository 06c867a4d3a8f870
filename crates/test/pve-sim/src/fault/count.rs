//! How often a rule's place was reached, over all processes of the simulator: one file a rule, one line an arrival, each of the
//! same length.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use crate::error::ApiError;
use crate::state::{Host, lock};

/// Bytes of a line, its end counted.
const LINE: usize = 64;

/// Counts an arrival, at `what`, and answers its number; the first is 1.
pub(super) fn arrival(host: &Host, key: &str, what: &str) -> Result<u64, ApiError> {
    let _held = host.lock("faults", lock::GUEST_TIMEOUT, &mut || ())?;
    let dir = host.dir.fault_counts();
    fs::create_dir_all(&dir)?;
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join(key))?;
    let what: String = what.chars().filter(|c| matches!(c, ' '..='~')).take(LINE - 1).collect();
    file.write_all(format!("{what:width$}\n", width = LINE - 1).as_bytes())?;
    Ok(file.metadata()?.len() / LINE as u64)
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
