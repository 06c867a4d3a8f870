//! Users, groups, tokens, roles, pools and access control list: what `user.cfg` holds. Pure data; evaluated by [`crate::perm`].

use std::collections::{BTreeMap, BTreeSet};

/// All of `user.cfg`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// Users by `name@realm`.
    pub(crate) users: BTreeMap<String, User>,
    /// Groups by name.
    pub(crate) groups: BTreeMap<String, Group>,
    /// Roles that somebody made; the built-in ones are in `builtin_roles`.
    pub(crate) roles: BTreeMap<String, BTreeSet<String>>,
    /// Pools by id.
    pub(crate) pools: BTreeMap<String, Pool>,
    /// Access control list: path, then who.
    pub(crate) acl: BTreeMap<String, AclNode>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Whether it may log in.
    pub(crate) enable: bool,
    /// Seconds since 1970 after which it may not, 0 for never.
    pub(crate) expire: u64,
    /// First name.
    pub(crate) firstname: String,
    /// Last name.
    pub(crate) lastname: String,
    /// Mail address.
    pub(crate) email: String,
    /// Remark.
    pub(crate) comment: String,
    /// Tokens by id.
    pub(crate) tokens: BTreeMap<String, Token>,
}

impl Default for User {
    fn default() -> Self {
        Self {
            enable: true,
            expire: 0,
            firstname: String::new(),
            lastname: String::new(),
            email: String::new(),
            comment: String::new(),
            tokens: BTreeMap::new(),
        }
    }
}

/// An API token; its secret is in [`super::secrets`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Token {
    /// Seconds since 1970, 0 for never.
    pub(crate) expire: u64,
    /// Whether it has only the rights given to it (within its user's).
    pub(crate) privsep: bool,
    /// Remark.
    pub(crate) comment: String,
}

/// A group of users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Members.
    pub(crate) users: BTreeSet<String>,
    /// Remark.
    pub(crate) comment: String,
}

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Remark.
    pub(crate) comment: String,
    /// Member guests.
    pub(crate) vms: BTreeSet<u32>,
    /// Member storages.
    pub(crate) storages: BTreeSet<String>,
}

/// Who has which roles on one path; the value says whether it propagates to deeper paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AclNode {
    /// Roles by user.
    pub(crate) users: BTreeMap<String, BTreeMap<String, bool>>,
    /// Roles by group.
    pub(crate) groups: BTreeMap<String, BTreeMap<String, bool>>,
    /// Roles by full token id.
    pub(crate) tokens: BTreeMap<String, BTreeMap<String, bool>>,
}

impl AclNode {
    /// Whether nobody has a role here.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty() && self.tokens.is_empty()
    }
}

impl Access {
    /// A role's privileges, built-in or not.
    pub(crate) fn role(&self, name: &str) -> Option<BTreeSet<String>> {
        self.roles.get(name).cloned().or_else(|| builtin_role(name))
    }

    /// The token's record.
    pub(crate) fn token(&self, authid: &str) -> Option<&Token> {
        let (user, token) = authid.split_once('!')?;
        self.users.get(user)?.tokens.get(token)
    }

    /// The pool a guest is in.
    pub(crate) fn pool_of(&self, vmid: u32) -> Option<&str> {
        self.pools.iter().find(|(_, p)| p.vms.contains(&vmid)).map(|(id, _)| id.as_str())
    }

    /// Takes a destroyed guest out of ACL and pools, as Proxmox VE does also without purge (F45).
    pub(crate) fn forget_guest(&mut self, vmid: u32) {
        self.acl.remove(&format!("/vms/{vmid}"));
        for pool in self.pools.values_mut() {
            pool.vms.remove(&vmid);
        }
    }

    /// Takes a storage that is not defined any more out of ACL and pools (F87).
    pub(crate) fn forget_storage(&mut self, id: &str) {
        self.acl.remove(&format!("/storage/{id}"));
        for pool in self.pools.values_mut() {
            pool.storages.remove(id);
        }
    }

    /// Takes a user or token out of the ACL.
    pub(crate) fn forget_authid(&mut self, authid: &str) {
        for node in self.acl.values_mut() {
            node.users.remove(authid);
            node.tokens.retain(|id, _| id != authid && !id.starts_with(&format!("{authid}!")));
        }
        self.acl.retain(|_, node| !node.is_empty());
    }
}

/// Every privilege there is.
pub(crate) const PRIVILEGES: [&str; 47] = [
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Group.Allocate",
    "Mapping.Audit",
    "Mapping.Modify",
    "Mapping.Use",
    "Permissions.Modify",
    "Pool.Allocate",
    "Pool.Audit",
    "Realm.Allocate",
    "Realm.AllocateUser",
    "SDN.Allocate",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Syslog",
    "User.Modify",
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.GuestAgent.Unrestricted",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Replicate",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
];

/// Built-in roles and their privileges (rec 14).
pub(crate) const BUILTIN_ROLES: [(&str, &[&str]); 17] = [
    ("Administrator", &PRIVILEGES),
    ("NoAccess", &[]),
    (
        "PVEAdmin",
        &[
            "Datastore.Allocate",
            "Datastore.AllocateSpace",
            "Datastore.AllocateTemplate",
            "Datastore.Audit",
            "Group.Allocate",
            "Mapping.Audit",
            "Mapping.Use",
            "Pool.Allocate",
            "Pool.Audit",
            "Realm.AllocateUser",
            "SDN.Allocate",
            "SDN.Audit",
            "SDN.Use",
            "Sys.Audit",
            "Sys.Console",
            "Sys.Syslog",
            "User.Modify",
            "VM.Allocate",
            "VM.Audit",
            "VM.Backup",
            "VM.Clone",
            "VM.Config.CDROM",
            "VM.Config.CPU",
            "VM.Config.Cloudinit",
            "VM.Config.Disk",
            "VM.Config.HWType",
            "VM.Config.Memory",
            "VM.Config.Network",
            "VM.Config.Options",
            "VM.Console",
            "VM.GuestAgent.Audit",
            "VM.GuestAgent.FileRead",
            "VM.GuestAgent.FileSystemMgmt",
            "VM.GuestAgent.FileWrite",
            "VM.GuestAgent.Unrestricted",
            "VM.Migrate",
            "VM.PowerMgmt",
            "VM.Replicate",
            "VM.Snapshot",
            "VM.Snapshot.Rollback",
        ],
    ),
    (
        "PVEAuditor",
        &[
            "Datastore.Audit",
            "Mapping.Audit",
            "Pool.Audit",
            "SDN.Audit",
            "Sys.Audit",
            "VM.Audit",
            "VM.GuestAgent.Audit",
        ],
    ),
    (
        "PVEDatastoreAdmin",
        &["Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"],
    ),
    ("PVEDatastoreUser", &["Datastore.AllocateSpace", "Datastore.Audit"]),
    ("PVEMappingAdmin", &["Mapping.Audit", "Mapping.Modify", "Mapping.Use"]),
    ("PVEMappingUser", &["Mapping.Audit", "Mapping.Use"]),
    ("PVEPoolAdmin", &["Pool.Allocate", "Pool.Audit"]),
    ("PVEPoolUser", &["Pool.Audit"]),
    ("PVESDNAdmin", &["SDN.Allocate", "SDN.Audit", "SDN.Use"]),
    ("PVESDNUser", &["SDN.Audit", "SDN.Use"]),
    ("PVESysAdmin", &["Sys.Audit", "Sys.Console", "Sys.Syslog"]),
    ("PVETemplateUser", &["VM.Audit", "VM.Clone"]),
    ("PVEUserAdmin", &["Group.Allocate", "Realm.AllocateUser", "User.Modify"]),
    (
        "PVEVMAdmin",
        &[
            "VM.Allocate",
            "VM.Audit",
            "VM.Backup",
            "VM.Clone",
            "VM.Config.CDROM",
            "VM.Config.CPU",
            "VM.Config.Cloudinit",
            "VM.Config.Disk",
            "VM.Config.HWType",
            "VM.Config.Memory",
            "VM.Config.Network",
            "VM.Config.Options",
            "VM.Console",
            "VM.GuestAgent.Audit",
            "VM.GuestAgent.FileRead",
            "VM.GuestAgent.FileSystemMgmt",
            "VM.GuestAgent.FileWrite",
            "VM.GuestAgent.Unrestricted",
            "VM.Migrate",
            "VM.PowerMgmt",
            "VM.Replicate",
            "VM.Snapshot",
            "VM.Snapshot.Rollback",
        ],
    ),
    (
        "PVEVMUser",
        &[
            "VM.Audit",
            "VM.Backup",
            "VM.Config.CDROM",
            "VM.Config.Cloudinit",
            "VM.Console",
            "VM.GuestAgent.Audit",
            "VM.GuestAgent.FileRead",
            "VM.GuestAgent.FileSystemMgmt",
            "VM.GuestAgent.FileWrite",
            "VM.PowerMgmt",
        ],
    ),
];

/// A built-in role's privileges.
pub(crate) fn builtin_role(name: &str) -> Option<BTreeSet<String>> {
    let (_, privileges) = BUILTIN_ROLES.iter().find(|(role, _)| *role == name)?;
    Some(privileges.iter().map(|p| (*p).to_owned()).collect())
}
