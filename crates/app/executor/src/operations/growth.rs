//! How far Proxmox's archiver is. Its log says nothing before the end, so what grows is looked at: the archive that it writes, or
//! the image that it unpacks into.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use felhom_journal::{StepContext, StepError};
use felhom_model::{StorageId, Vmid, Volid};
use tokio::sync::OnceCell;

use crate::services::Services;

const EVERY: Duration = Duration::from_secs(1);
/// Of a block in a file's metadata, bytes.
const BLOCK: u64 = 512;

/// What grows.
#[derive(Debug)]
pub(super) enum Growing {
    /// An archive on a directory storage; its name is known once the task's log tells it. Proxmox writes it with the ending `.dat`
    /// in the place of the last one, and renames it.
    Archive {
        /// The storage.
        target: StorageId,
        /// The archive's final file name.
        file: OnceLock<String>,
        /// Where it lies, asked for once.
        path: OnceCell<PathBuf>,
    },
    /// The root file system of a guest that is being made, as an image on a storage of files. Until the guest is whole its
    /// configuration does not name it; it gets the first name that is free.
    RootImage {
        /// The storage.
        storage: StorageId,
        /// The guest.
        vmid: Vmid,
        /// Where it lies, asked for once.
        path: OnceCell<PathBuf>,
    },
}

impl Growing {
    pub(super) fn archive(target: StorageId) -> Self {
        Self::Archive { target, file: OnceLock::new(), path: OnceCell::new() }
    }

    pub(super) fn root_image(storage: StorageId, vmid: Vmid) -> Self {
        Self::RootImage { storage, vmid, path: OnceCell::new() }
    }

    /// The task's log told the archive's name.
    pub(super) fn named(&self, name: &str) {
        if let Self::Archive { file, .. } = self {
            let _ = file.set(name.to_owned());
        }
    }

    /// Bytes that it has on the disk by now; `None` while it is not there, or cannot be asked for.
    async fn bytes(&self, s: &Services) -> Option<u64> {
        let path = match self {
            Self::Archive { target, file, path } => {
                let volid: Volid = format!("{target}:backup/{}", file.get()?).parse().ok()?;
                let path = path.get_or_try_init(|| s.host.volume_path(&volid)).await.ok()?;
                let written = path.with_extension("dat");
                if written.exists() { written } else { path.clone() }
            }
            Self::RootImage { storage, vmid, path } => {
                let volid: Volid = format!("{storage}:{vmid}/vm-{vmid}-disk-0.raw").parse().ok()?;
                path.get_or_try_init(|| s.host.volume_path(&volid)).await.ok()?.clone()
            }
        };
        Some(std::fs::metadata(path).ok()?.blocks() * BLOCK)
    }

    /// Does the work, and says once a second how far it is; `total` is about how much it will be, in bytes.
    ///
    /// # Errors
    /// What the work says.
    pub(super) async fn shown<T>(
        &self,
        (s, cx): (&Services, &StepContext),
        total: Option<u64>,
        work: impl Future<Output = Result<T, StepError>>,
    ) -> Result<T, StepError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Some(bytes) = self.bytes(s).await {
                // An estimate that is overtaken is none.
                let _ = cx.progress(bytes, total.filter(|total| *total > bytes), "bytes");
            }
        }
    }
}
