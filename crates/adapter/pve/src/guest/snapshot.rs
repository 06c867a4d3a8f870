//! Snapshots: seen and deleted, never made or rolled back to by us.

use serde::Deserialize;

use super::Guest;
use crate::decode::{opt_text, opt_u64, text};
use crate::error::Error;
use crate::form::{Form, encode};
use crate::ids::SnapshotName;
use crate::upid::Upid;

/// A snapshot of a guest.
#[derive(Debug, Clone, Deserialize)]
pub struct Snapshot {
    /// Its name; `vzdump` is a backup's own.
    #[serde(default, deserialize_with = "text")]
    pub name: String,
    /// When, in seconds since 1970.
    #[serde(default, deserialize_with = "opt_u64")]
    pub snaptime: Option<u64>,
    /// The snapshot before it.
    #[serde(default, deserialize_with = "opt_text")]
    pub parent: Option<String>,
    /// `prepare` or `delete` where one was left half made.
    #[serde(default, deserialize_with = "opt_text")]
    pub snapstate: Option<String>,
}

impl Guest {
    /// Its snapshots, without PVE's pseudo entry `current`.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>, Error> {
        let mut list: Vec<Snapshot> = self.node.pve.get(&self.path("/snapshot"), &Form::new()).await?;
        list.retain(|snapshot| snapshot.name != "current");
        Ok(list)
    }

    /// Deletes a snapshot. An unknown one fails in the task.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn delete_snapshot(&self, name: &SnapshotName) -> Result<Upid, Error> {
        self.node.pve.delete(&self.snapshot_path(name), &Form::new()).await
    }

    /// Deletes a snapshot also if a storage snapshot of it is missing: the way for one that was left half made, on which
    /// [`Self::delete_snapshot`] fails and leaves the lock `snapshot-delete`. It breaks no lock.
    ///
    /// # Errors
    /// Any [`Error`] of the call; a lock fails in the task.
    pub async fn force_delete_snapshot(&self, name: &SnapshotName) -> Result<Upid, Error> {
        self.node.pve.delete(&self.snapshot_path(name), &Form::new().with_flag("force", true)).await
    }

    fn snapshot_path(&self, name: &SnapshotName) -> String {
        self.path(&format!("/snapshot/{}", encode(name.as_str())))
    }
}
