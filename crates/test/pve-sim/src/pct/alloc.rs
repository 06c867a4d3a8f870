//! `pvesm alloc`: a volume that no configuration names, as the node's owner can make one (F86, rec 2/101).

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::api::volumes::{self, Allocated};
use crate::error::ApiError;
use crate::state::Host;

/// `pvesm alloc STORAGE VMID FILENAME SIZE`.
#[derive(Debug, Args)]
pub struct AllocArgs {
    /// The storage identifier.
    pub storage: String,
    /// Owner VM.
    pub vmid: u32,
    /// The name of the file to create: `vm-VMID-disk-N.raw`.
    pub filename: String,
    /// Size in kilobytes, or with a unit (`M`, `G`).
    pub size: String,
    /// Format of the image.
    #[arg(long, default_value = "raw", value_parser = ["raw"])]
    pub format: String,
}

/// Makes the volume.
pub(super) fn run(state: &Path, args: &AllocArgs) -> ExitCode {
    match Host::open(state).map_err(ApiError::from).and_then(|host| allocate(&host, args)) {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(255)
        }
    }
}

fn allocate(host: &Host, args: &AllocArgs) -> Result<String, ApiError> {
    let Allocated { volid, formatting } =
        volumes::allocate(host, &args.storage, args.vmid, (&args.filename, &args.size))?;
    let formatting = formatting.map_or_else(String::new, |line| line + "\n");
    Ok(format!("{formatting}successfully created '{volid}'\n"))
}
