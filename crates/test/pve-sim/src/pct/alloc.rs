//! `pvesm alloc`: a volume that no configuration names, as the node's owner can make one (F86, rec 2/101).

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::error::ApiError;
use crate::state::Host;
use crate::state::property::parse_size;
use crate::state::storage::{StorageKind, Storages};
use crate::volume::VolumeName;

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
    let storages = Storages::load(host)?;
    let storage = storages.enabled(&args.storage)?;
    storage.activate(host)?;
    let bad = || ApiError::die(format!("unable to parse volume filename '{}'", args.filename));
    let name: VolumeName = format!("{}/{}", args.vmid, args.filename).parse().map_err(|_| bad())?;
    let kilobytes = args.size.chars().all(|c| c.is_ascii_digit());
    let size = if kilobytes { format!("{}K", args.size) } else { args.size.clone() };
    let bytes = parse_size(&size).ok_or_else(|| ApiError::param("size", "value is not a valid size"))?;
    let images = storage.images();
    if !images.allocate_as(&name, bytes)? {
        let place = storage.shown(&images.tree(&name));
        return Err(ApiError::die(format!("disk image '{place}' already exists")));
    }
    let formatting = match storage.kind {
        StorageKind::Dir => {
            let place = storage.shown(&images.tree(&name));
            format!("Formatting '{place}', fmt=raw size={bytes} preallocation=off\n")
        }
        _ => String::new(),
    };
    Ok(format!("{formatting}successfully created '{}:{name}'\n", storage.id))
}
