//! Storages and what lies on them.

use serde::Deserialize;
use serde_json::Value;

use crate::client::Pve;
use crate::decode::{flag, list, opt_flag, opt_text, opt_u64, text, u64_or_zero};
use crate::error::Error;
use crate::form::{Form, encode};
use crate::ids::{StorageId, Vmid, Volid};
use crate::node::Node;
use crate::upid::Upid;

/// A storage's definition, as far as it changes what our calls do.
#[derive(Debug, Clone, Deserialize)]
pub struct StorageConfig {
    /// Its id.
    #[serde(default, deserialize_with = "text")]
    pub storage: String,
    /// `dir`, `btrfs`, `zfspool`, `pbs`, …
    #[serde(rename = "type", default, deserialize_with = "text")]
    pub kind: String,
    /// What may lie on it: `backup`, `rootdir`, `images`, …
    #[serde(default, deserialize_with = "list")]
    pub content: Vec<String>,
    /// The directory of a directory storage.
    #[serde(default, deserialize_with = "opt_text")]
    pub path: Option<String>,
    /// The host owner's prune rule; it applies to our backups as well unless `remove=0` is passed.
    #[serde(rename = "prune-backups", default, deserialize_with = "opt_text")]
    pub prune_backups: Option<String>,
    /// `1`, or a path: the directory counts only while something is mounted there.
    #[serde(default, deserialize_with = "opt_text")]
    pub is_mountpoint: Option<String>,
    /// Whether it is switched off.
    #[serde(default, deserialize_with = "flag")]
    pub disable: bool,
}

/// A storage's state on a node, in bytes.
#[derive(Debug, Clone, Deserialize)]
pub struct StorageStatus {
    /// Its id; absent where one storage was asked for.
    #[serde(default, deserialize_with = "text")]
    pub storage: String,
    /// `dir`, `btrfs`, …
    #[serde(rename = "type", default, deserialize_with = "text")]
    pub kind: String,
    /// What may lie on it.
    #[serde(default, deserialize_with = "list")]
    pub content: Vec<String>,
    /// Whether PVE can use it now.
    #[serde(default, deserialize_with = "flag")]
    pub active: bool,
    /// Whether it is switched on.
    #[serde(default, deserialize_with = "flag")]
    pub enabled: bool,
    /// Free bytes.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub avail: u64,
    /// Bytes in use.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub used: u64,
    /// Bytes altogether.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub total: u64,
}

impl StorageStatus {
    /// Whether this kind of content may lie on it.
    #[must_use]
    pub fn allows(&self, content: &str) -> bool {
        self.content.iter().any(|c| c == content)
    }
}

/// One volume or archive of a listing.
#[derive(Debug, Clone, Deserialize)]
pub struct Content {
    /// Its id.
    pub volid: Volid,
    /// `backup`, `rootdir`, `images`, …
    #[serde(default, deserialize_with = "text")]
    pub content: String,
    /// e.g. `tar.zst`, `raw`.
    #[serde(default, deserialize_with = "text")]
    pub format: String,
    /// Size in bytes.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub size: u64,
    /// Creation in seconds since 1970.
    #[serde(default, deserialize_with = "opt_u64")]
    pub ctime: Option<u64>,
    /// The guest that it belongs to.
    #[serde(default, deserialize_with = "opt_u64")]
    pub vmid: Option<u64>,
    /// First line of the notes only; see [`Storage::attributes`].
    #[serde(default, deserialize_with = "opt_text")]
    pub notes: Option<String>,
    /// Whether it is protected from pruning and deletion.
    #[serde(default, deserialize_with = "flag")]
    pub protected: bool,
}

/// One volume's attributes.
#[derive(Debug, Clone, Deserialize)]
pub struct Attributes {
    /// Where it lies on the host.
    #[serde(default, deserialize_with = "text")]
    pub path: String,
    /// Size in bytes.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub size: u64,
    /// All lines of the notes.
    #[serde(default, deserialize_with = "opt_text")]
    pub notes: Option<String>,
    /// Whether it is protected; absent for volumes.
    #[serde(default, deserialize_with = "opt_flag")]
    pub protected: Option<bool>,
}

/// Attributes to set; what is `None` is left alone.
#[derive(Debug, Clone, Default)]
pub struct AttributeUpdate {
    /// All lines of the notes.
    pub notes: Option<String>,
    /// Whether it is protected. A token without Datastore.Allocate may protect at most five archives of a guest.
    pub protected: Option<bool>,
}

/// A storage at a node.
#[derive(Debug, Clone)]
pub struct Storage {
    node: Node,
    id: StorageId,
}

impl Pve {
    /// The definitions of the storages that the caller may see.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn storage_configs(&self) -> Result<Vec<StorageConfig>, Error> {
        self.get("/storage", &Form::new()).await
    }
}

impl Node {
    /// All storages with their state on this node.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn storages(&self) -> Result<Vec<StorageStatus>, Error> {
        self.pve.get(&self.path("/storage"), &Form::new()).await
    }

    /// A handle on a storage; nothing is sent.
    #[must_use]
    pub fn storage(&self, id: &StorageId) -> Storage {
        Storage { node: self.clone(), id: id.clone() }
    }
}

impl Storage {
    /// The storage's id.
    #[must_use]
    pub fn id(&self) -> &StorageId {
        &self.id
    }

    fn path(&self, rest: &str) -> String {
        self.node.path(&format!("/storage/{}{rest}", encode(self.id.as_str())))
    }

    fn content_path(&self, volid: &Volid) -> String {
        self.path(&format!("/content/{}", encode(&volid.to_string())))
    }

    /// Its state.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without rights on it, else any [`Error`] of the call.
    pub async fn status(&self) -> Result<StorageStatus, Error> {
        self.node.pve.get(&self.path("/status"), &Form::new()).await
    }

    /// The backups on it that the caller may see, of one guest or of all. **Missing rights show as an empty list**, and so
    /// does an unmounted directory without `is_mountpoint`.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn backups(&self, vmid: Option<Vmid>) -> Result<Vec<Content>, Error> {
        self.content("backup", vmid).await
    }

    /// The guests' volumes on it; needs Datastore.Audit on the storage and VM.Config.Disk on the guest.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn volumes(&self, vmid: Option<Vmid>) -> Result<Vec<Content>, Error> {
        self.content("rootdir", vmid).await
    }

    async fn content(&self, content: &str, vmid: Option<Vmid>) -> Result<Vec<Content>, Error> {
        let query = Form::new().with("content", content).with_opt("vmid", vmid);
        self.node.pve.get(&self.path("/content"), &query).await
    }

    /// One volume's or archive's attributes.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Refused`] if it is not there, else any [`Error`] of the call.
    pub async fn attributes(&self, volid: &Volid) -> Result<Attributes, Error> {
        self.node.pve.get(&self.content_path(volid), &Form::new()).await
    }

    /// Sets notes and protection.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn set_attributes(&self, volid: &Volid, update: &AttributeUpdate) -> Result<(), Error> {
        let form = Form::new()
            .with_opt("notes", update.notes.as_deref())
            .with_opt_flag("protected", update.protected);
        self.node.pve.put_done(&self.content_path(volid), &form).await
    }

    /// Makes an empty image of a guest under this name, on a storage of files; needs Datastore.AllocateSpace (rec 661). One that is
    /// there is an error.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn allocate(&self, vmid: Vmid, volid: &Volid, mib: u64) -> Result<(), Error> {
        let name = volid.path().rsplit('/').next().unwrap_or_default();
        let form = Form::new().with("vmid", vmid).with("filename", name).with("size", format!("{mib}M"));
        self.node.pve.post_done(&self.path("/content"), &form).await
    }

    /// Deletes an archive or volume. A deletion of what is not there succeeds; a protected archive fails in the task.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn delete(&self, volid: &Volid) -> Result<Option<Upid>, Error> {
        let answer: Value = self.node.pve.delete(&self.content_path(volid), &Form::new()).await?;
        Ok(answer.as_str().and_then(|text| text.parse().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_listings() {
        let archive: Content = serde_json::from_str(
            r#"{"size":3212362,"subtype":"lxc","content":"backup","notes":"ct110 on pve (110) snapshot","volid":"local:backup/vzdump-lxc-110-2026_11_23-11_28_42.tar.zst","vmid":110,"format":"tar.zst","ctime":1795433322}"#,
        )
        .unwrap();
        assert_eq!((archive.vmid, archive.protected, archive.size), (Some(110), false, 3_212_362));
        let volume: Content = serde_json::from_str(
            r#"{"volid":"btr:170/vm-170-disk-0.raw","used":13189120,"content":"rootdir","size":321912832,"ctime":1795433465,"format":"raw","parent":null,"vmid":"170"}"#,
        )
        .unwrap();
        assert_eq!(volume.vmid, Some(170));
        let config: StorageConfig = serde_json::from_str(
            r#"{"digest":"b2","path":"/mnt/small","content":"images,backup,rootdir","type":"dir","storage":"small","is_mountpoint":"1"}"#,
        )
        .unwrap();
        assert_eq!(config.is_mountpoint.as_deref(), Some("1"));
        let status: StorageStatus = serde_json::from_str(
            r#"{"active":1,"type":"dir","shared":0,"enabled":1,"used":17408,"avail":186558464,"content":"images,rootdir,backup","total":190770176}"#,
        )
        .unwrap();
        assert!(status.active && status.allows("backup") && !status.allows("iso"));
        let attributes: Attributes = serde_json::from_str(
            r#"{"used":3215360,"notes":"my note\nline2","protected":1,"path":"/var/lib/vz/dump/x.tar.zst","size":3212800,"format":"raw"}"#,
        )
        .unwrap();
        assert_eq!((attributes.notes.as_deref(), attributes.protected), (Some("my note\nline2"), Some(true)));
    }
}
