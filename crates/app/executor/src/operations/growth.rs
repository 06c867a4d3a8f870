//! How far Proxmox's archiver is. Its log says nothing before the end, which may be hours away, so what grows is looked at: the
//! archive that it writes, or the image that it unpacks into. A look never holds the work up: what hangs may be the very disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use felhom_journal::{StepContext, StepError};
use felhom_model::{StorageId, Vmid, Volid};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use crate::services::Services;

const EVERY: Duration = Duration::from_secs(1);
/// What a look may take; a disk that takes longer is not looked at again.
const LOOK: Duration = Duration::from_secs(5);
/// Of a block in a file's metadata, bytes.
const BLOCK: u64 = 512;

/// What grows.
#[derive(Debug)]
enum What {
    /// An archive on a directory storage; its name is known once the task's log tells it. Proxmox writes it with the ending `.dat`
    /// in the place of the last one, and renames it.
    Archive { target: StorageId, file: OnceLock<String> },
    /// The root file system of a guest that is being made, as an image on a storage of files. Until the guest is whole its
    /// configuration does not name it; it gets the first name that is free.
    RootImage { storage: StorageId, vmid: Vmid },
}

/// Something that grows, and when it was seen to.
#[derive(Debug)]
pub(super) struct Growing {
    what: What,
    /// Where it lies, asked for once; nothing where it is no file.
    path: OnceCell<Option<PathBuf>>,
    /// Its bytes, and when they became so many.
    grown: Mutex<Option<(u64, Instant)>>,
}

impl Growing {
    pub(super) fn archive(target: StorageId) -> Self {
        Self::of(What::Archive { target, file: OnceLock::new() })
    }

    pub(super) fn root_image(storage: StorageId, vmid: Vmid) -> Self {
        Self::of(What::RootImage { storage, vmid })
    }

    fn of(what: What) -> Self {
        Self { what, path: OnceCell::new(), grown: Mutex::new(None) }
    }

    /// The task's log told the archive's name: it is begun.
    pub(super) fn named(&self, name: &str) {
        if let What::Archive { file, .. } = &self.what
            && file.set(name.to_owned()).is_ok()
        {
            self.is(0);
        }
    }

    /// Since when nothing was seen to grow; `None` while it is not begun, so that nothing has to.
    pub(super) fn still_since(&self) -> Option<Instant> {
        self.grown().map(|(_, at)| at)
    }

    fn grown(&self) -> MutexGuard<'_, Option<(u64, Instant)>> {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, bytes: u64) {
        let mut grown = self.grown();
        if grown.is_none_or(|(before, _)| before != bytes) {
            *grown = Some((bytes, Instant::now()));
        }
    }

    fn volid(&self) -> Option<Volid> {
        match &self.what {
            What::Archive { target, file } => format!("{target}:backup/{}", file.get()?).parse().ok(),
            What::RootImage { storage, vmid } => {
                format!("{storage}:{vmid}/vm-{vmid}-disk-0.raw").parse().ok()
            }
        }
    }

    /// Bytes that it has on the disk by now; `None` while it is not there.
    async fn bytes(&self, s: &Services) -> Option<u64> {
        let volid = self.volid()?;
        let asked =
            || async { s.host.volume_path(&volid).await.ok().filter(|path| !path.starts_with("/dev")) };
        let path = self.path.get_or_init(asked).await.as_deref()?;
        match &self.what {
            What::RootImage { .. } => on_disk(path).await,
            What::Archive { .. } => match on_disk(&path.with_extension("dat")).await {
                None => on_disk(path).await,
                written => written,
            },
        }
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
        let looks = async {
            loop {
                sleep(EVERY).await;
                match timeout(LOOK, self.bytes(s)).await {
                    Ok(Some(bytes)) => {
                        self.is(bytes);
                        // An estimate that is overtaken is none.
                        let _ = cx.progress(bytes, total.filter(|total| *total > bytes), "bytes");
                    }
                    Ok(None) => {}
                    Err(_) => return std::future::pending().await,
                }
            }
        };
        let (work, looks) = (pin!(work), pin!(looks));
        tokio::select! {
            biased;
            done = work => done,
            never = looks => never,
        }
    }
}

async fn on_disk(path: &Path) -> Option<u64> {
    Some(tokio::fs::metadata(path).await.ok()?.blocks() * BLOCK)
}
