//! The server and its node: version, load, free VMIDs.

use serde::Deserialize;
use serde_json::Value;

use crate::client::Pve;
use crate::decode::{text, u64_or_zero};
use crate::error::Error;
use crate::form::{Form, encode};
use crate::ids::{NodeName, Vmid};

/// The server's version.
#[derive(Debug, Clone, Deserialize)]
pub struct Version {
    /// e.g. `9.2.11`.
    #[serde(default, deserialize_with = "text")]
    pub version: String,
    /// e.g. `9.2`.
    #[serde(default, deserialize_with = "text")]
    pub release: String,
}

impl Version {
    /// The major number, if the text starts with one.
    #[must_use]
    pub fn major(&self) -> Option<u32> {
        self.version.split('.').next()?.parse().ok()
    }
}

/// Used and whole, in bytes.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Usage {
    /// Bytes in use.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub used: u64,
    /// Bytes altogether.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub total: u64,
}

/// A node's load; needs Sys.Audit on `/nodes/NODE`.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeStatus {
    /// Seconds since boot.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub uptime: u64,
    /// Main memory.
    #[serde(default)]
    pub memory: Usage,
    /// The root file system.
    #[serde(default)]
    pub rootfs: Usage,
    /// e.g. `pve-manager/9.2.11/14a22df35955d97d`.
    #[serde(default, deserialize_with = "text")]
    pub pveversion: String,
}

/// A node's clock; needs Sys.Audit on `/nodes/NODE`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeTime {
    /// Seconds since 1970.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub time: u64,
    /// e.g. `Europe/Budapest`, from the node's `/etc/timezone`.
    #[serde(default, deserialize_with = "text")]
    pub timezone: String,
}

/// A node by name.
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) pve: Pve,
    pub(crate) name: NodeName,
}

#[derive(Deserialize)]
struct NodeEntry {
    #[serde(default, deserialize_with = "text")]
    node: String,
}

impl Pve {
    /// The server's version; every valid identity may ask.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn version(&self) -> Result<Version, Error> {
        self.get("/version", &Form::new()).await
    }

    /// Names of the nodes; every valid identity may ask.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn node_names(&self) -> Result<Vec<String>, Error> {
        let entries: Vec<NodeEntry> = self.get("/nodes", &Form::new()).await?;
        Ok(entries.into_iter().map(|entry| entry.node).collect())
    }

    /// Whether no guest of the cluster has this VMID now. Reserves nothing.
    ///
    /// # Errors
    /// Any [`Error`] of the call other than "exists".
    pub async fn vmid_is_free(&self, vmid: Vmid) -> Result<bool, Error> {
        match self.get::<Value>("/cluster/nextid", &Form::new().with("vmid", vmid)).await {
            Ok(_) => Ok(true),
            Err(Error::Exists(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A handle on a node; nothing is sent.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Node {
        Node { pve: self.clone(), name: name.clone() }
    }
}

impl Node {
    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/nodes/{}{rest}", encode(self.name.as_str()))
    }

    /// The node's load.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without Sys.Audit, else any [`Error`] of the call.
    pub async fn status(&self) -> Result<NodeStatus, Error> {
        self.pve.get(&self.path("/status"), &Form::new()).await
    }

    /// The node's clock.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without Sys.Audit, else any [`Error`] of the call.
    pub async fn time(&self) -> Result<NodeTime, Error> {
        self.pve.get(&self.path("/time"), &Form::new()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_status_and_version() {
        let version: Version =
            serde_json::from_str(r#"{"repoid":"14a22df35955d97d","version":"9.2.11","release":"9.2"}"#)
                .unwrap();
        assert_eq!(version.major(), Some(9));
        let status: NodeStatus = serde_json::from_str(
            r#"{"uptime":4904,"wait":0,"loadavg":["0.33","2.07","3.72"],"cpu":0,"swap":{"free":0,"used":0,"total":0},"pveversion":"pve-manager/9.2.11/14a22df35955d97d"}"#,
        )
        .unwrap();
        let time: NodeTime = serde_json::from_str(
            r#"{"time":1795433322,"localtime":1795436922,"timezone":"Europe/Budapest"}"#,
        )
        .unwrap();
        assert_eq!((time.time, time.timezone.as_str()), (1_795_433_322, "Europe/Budapest"));
        assert_eq!((status.uptime, status.memory.total), (4904, 0));
    }
}
