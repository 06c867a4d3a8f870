//! Backups: the request that cannot prune, the effective defaults, an archive's configuration.

use serde::Deserialize;
use serde_json::Value;

use crate::decode::{flag, opt_text, scalar_text};
use crate::error::Error;
use crate::form::Form;
use crate::ids::{StorageId, Vmid, Volid};
use crate::node::Node;
use crate::upid::Upid;

/// How the guest is treated while its data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupMode {
    /// Storage snapshot; falls back to suspend **silently** where the storage cannot snapshot: read the log's mode line.
    Snapshot,
    /// Copied twice, the second time with the guest paused.
    Suspend,
    /// Guest stopped, read, started again.
    Stop,
}

impl BackupMode {
    /// PVE's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Suspend => "suspend",
            Self::Stop => "stop",
        }
    }
}

/// A backup of one guest to one storage, compressed with zstd. It always sends `remove=0`: without it PVE prunes older
/// archives by the host's rules at its end, although the token may not prune.
#[derive(Debug, Clone)]
pub struct VzdumpRequest {
    /// The guest.
    pub vmid: Vmid,
    /// Where to.
    pub storage: StorageId,
    /// How.
    pub mode: BackupMode,
    /// Minutes to wait for the node's global backup lock; 0 fails at once. PVE's default would be 180.
    pub lockwait: u32,
    /// Notes; `{{…}}` is expanded by PVE, so what is not a template must hold none.
    pub notes_template: Option<String>,
    /// Protect the archive from every prune and deletion.
    pub protected: bool,
    /// zstd threads; PVE's default is 1, 0 is half of the cores.
    pub zstd_threads: Option<u32>,
}

impl VzdumpRequest {
    pub(crate) fn form(&self) -> Form {
        Form::new()
            .with("vmid", self.vmid)
            .with("storage", &self.storage)
            .with("mode", self.mode.as_str())
            .with("compress", "zstd")
            .with_flag("remove", false)
            .with("lockwait", self.lockwait)
            .with_flag("protected", self.protected)
            .with_opt("notes-template", self.notes_template.as_deref())
            .with_opt("zstd", self.zstd_threads)
    }
}

/// What applies to a backup that does not say otherwise; the host's `/etc/vzdump.conf` and the storage's rules are in it.
#[derive(Debug, Clone, Deserialize)]
pub struct VzdumpDefaults {
    /// Added to ours, cannot be switched off by a parameter, and no log line names it. A list or a text.
    #[serde(rename = "exclude-path", default)]
    exclude_path: Value,
    /// The host's default mode.
    #[serde(default, deserialize_with = "opt_text")]
    pub mode: Option<String>,
    /// The effective prune rule, e.g. `keep-all=1`.
    #[serde(rename = "prune-backups", default, deserialize_with = "opt_text")]
    pub prune_backups: Option<String>,
    /// A hook script that runs as root; shown only with Sys.Audit on the node.
    #[serde(default, deserialize_with = "opt_text")]
    pub script: Option<String>,
    /// Where temporary files go; shown only with Sys.Audit on the node.
    #[serde(default, deserialize_with = "opt_text")]
    pub tmpdir: Option<String>,
    /// Where archives are written.
    #[serde(default, deserialize_with = "opt_text")]
    pub dumpdir: Option<String>,
    /// Whether contents of /tmp and /var/tmp are left out.
    #[serde(default, deserialize_with = "flag")]
    pub stdexcludes: bool,
}

impl VzdumpDefaults {
    /// Paths that the host excludes from every backup.
    #[must_use]
    pub fn exclude_paths(&self) -> Vec<String> {
        match &self.exclude_path {
            Value::Array(paths) => paths.iter().filter_map(scalar_text).collect(),
            other => {
                scalar_text(other).into_iter().flat_map(|text| crate::decode::split_list(&text)).collect()
            }
        }
    }
}

impl Node {
    /// Starts a backup. **The UPID means almost nothing**: wait for the task.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn vzdump(&self, request: &VzdumpRequest) -> Result<Upid, Error> {
        self.pve.post(&self.path("/vzdump"), &request.form()).await
    }

    /// What applies to a backup to this storage that does not say otherwise.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn vzdump_defaults(&self, storage: &StorageId) -> Result<VzdumpDefaults, Error> {
        self.pve.get(&self.path("/vzdump/defaults"), &Form::new().with("storage", storage)).await
    }

    /// The guest configuration inside an archive, as text. Read it before every restore: what a restore does not pass
    /// comes from here.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an archive of a guest that the token has no VM.Backup on, else any [`Error`] of the call.
    pub async fn extract_config(&self, archive: &Volid) -> Result<String, Error> {
        self.pve.get(&self.path("/vzdump/extractconfig"), &Form::new().with("volume", archive)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_never_prunes() {
        let request = VzdumpRequest {
            vmid: "110".parse().unwrap(),
            storage: "local".parse().unwrap(),
            mode: BackupMode::Snapshot,
            lockwait: 0,
            notes_template: Some("felhom=1;x".into()),
            protected: false,
            zstd_threads: None,
        };
        assert_eq!(
            request.form().encode(),
            "vmid=110&storage=local&mode=snapshot&compress=zstd&remove=0&lockwait=0&protected=0&notes-template=felhom%3D1%3Bx"
        );
    }

    #[test]
    fn recorded_defaults() {
        let plain: VzdumpDefaults = serde_json::from_str(
            r#"{"bwlimit":0,"storage":"local","remove":1,"dumpdir":"/var/lib/vz/dump","performance":{"pbs-entries-max":1048576,"max-workers":16},"mode":"snapshot","stdexcludes":1,"prune-backups":"keep-all=1","fleecing":{"enabled":0},"compress":"0"}"#,
        )
        .unwrap();
        assert!(plain.exclude_paths().is_empty() && plain.stdexcludes);
        let owner: VzdumpDefaults =
            serde_json::from_str(r#"{"exclude-path":"/root/*","script":"/root/vh.sh","mode":"snapshot"}"#)
                .unwrap();
        assert_eq!(
            (owner.exclude_paths(), owner.script.as_deref()),
            (vec!["/root/*".to_owned()], Some("/root/vh.sh"))
        );
        let list: VzdumpDefaults = serde_json::from_str(r#"{"exclude-path":["/a","/b"]}"#).unwrap();
        assert_eq!(list.exclude_paths().len(), 2);
    }
}
