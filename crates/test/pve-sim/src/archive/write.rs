//! Writing an archive.

use std::io::Write;

use super::{ArchiveError, Tree};

/// How the archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `.tar`.
    None,
    /// `.tar.zst`, level 3 with checksum; `threads` = 0 means one a core.
    Zstd {
        /// Compression threads.
        threads: u32,
    },
}

/// What is to be archived.
#[derive(Debug)]
pub struct WriteRequest<'a> {
    /// Text of `./etc/vzdump/pct.conf`.
    pub config: &'a str,
    /// Bytes of `./etc/vzdump/pct.fw`; Proxmox writes an empty one if the guest has no firewall file.
    pub firewall: Option<&'a [u8]>,
    /// What is backed up: `/` and the mount points with `backup=1`.
    pub trees: &'a [Tree],
    /// Mount paths of mount points that are not backed up: an empty directory each, whatever stands there.
    pub not_backed_up: &'a [String],
    /// `exclude-path` patterns.
    pub exclude_path: &'a [String],
    /// `stdexcludes` (Proxmox's default is true).
    pub stdexcludes: bool,
    /// Compression.
    pub compression: Compression,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the tar stream (`Total bytes written`), before compression.
    pub tar_bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Lines in tar's words, such as a file that changed while it was read.
    pub warnings: Vec<String>,
}

/// Writes an archive to `out`. `progress` gets the bytes of the tar stream so far, after each entry and each MiB.
///
/// # Errors
/// [`ArchiveError`]; what was written until then is for the caller to remove.
pub fn write<W: Write>(
    request: &WriteRequest<'_>,
    out: W,
    progress: &mut dyn FnMut(u64),
) -> Result<Written, ArchiveError> {
    let _ = (request, out, progress);
    Err(ArchiveError::BadMounts("not built yet".to_owned()))
}
