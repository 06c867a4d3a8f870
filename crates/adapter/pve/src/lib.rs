//! felhom-pve: a thin, typed client of the Proxmox VE REST API.
//!
//! It speaks HTTPS to one server whose certificate is pinned, as one API token (or, for setting up, as one login), and
//! offers the calls that Felhom makes and no others. Start at [`Pve`]; from there [`Node`], [`Guest`], [`Storage`] and
//! [`Task`] are handles that cost nothing.
//!
//! ```text
//! Pve ── node(name) ── guest(vmid)   config, power, destroy, snapshots, moves of volumes
//!  │         ├──────── storage(id)   backups, volumes, attributes
//!  │         ├──────── restore(…), vzdump(…) ─▶ Upid
//!  │         └──────── tasks(filter)
//!  ├─ task(upid) ───── follow(…) ─▶ log lines, then ExitStatus
//!  └─ login, roles, users, tokens, acl, pools
//! ```
//!
//! **Architecture invariant:** an answer of 200 with a UPID is no success; only [`ExitStatus`] is.
//!
//! **Architecture invariant:** `unique`, `skiplock`, `ignore-unpack-errors`, `destroy-unreferenced-disks`, a nested
//! `start=1`, `force` of anything but a snapshot's deletion, a null and an unpinned connection have no expression here.
//!
//! **Architecture invariant:** nothing here decides; the caller does.

mod access;
mod client;
mod decode;
mod denied;
mod error;
mod form;
mod guest;
mod ids;
mod node;
mod pool;
mod props;
mod storage;
mod task;
mod tls;
mod upid;
mod vzdump;

pub use access::{AclEntry, Grant, Grantee, Permissions, Roles, Token, User};
pub use client::{Auth, Endpoint, Hook, Pve};
pub use denied::Denied;
pub use error::{Answer, Call, Error, Refusal, lock_name};
pub use form::{Form, encode};
pub use guest::{
    AttachedVolume, ConfigUpdate, Guest, GuestConfig, GuestStatus, Interface, RestoreMount, RestoreRequest,
    RunState, Setting, Snapshot, VolumeKey, VolumeMove, volume_owner,
};
pub use ids::{
    BridgeName, InvalidId, NodeName, PoolId, RoleId, SnapshotName, StorageId, TokenId, UserId, Vmid, Volid,
};
pub use node::{Node, NodeStatus, NodeTime, Usage, Version};
pub use pool::{Pool, PoolMember};
pub use props::{InvalidProperty, Mount, MountPoint, NetInterface, NewVolume, Source};
pub use storage::{AttributeUpdate, Attributes, Content, Storage, StorageConfig, StorageStatus};
pub use task::{ExitStatus, Follower, ListedTask, LogLine, Polling, Task, TaskEvent, TaskFilter, TaskState};
pub use tls::Fingerprint;
pub use upid::Upid;
pub use vzdump::{BackupMode, VzdumpDefaults, VzdumpRequest};
