//! What setup wants: five roles with the least privileges, and who has them where.
//!
//! Determined on a genuine node by removing each privilege in turn, and held by the tests in `tests/it/rights`: what no
//! operation misses is not here. Every grant is on user **and** token (a
//! privilege-separated token has the intersection), never on `/`, never propagating.

use std::collections::BTreeSet;

use felhom_pve::{Grant, Grantee, PoolId, RoleId, TokenId};

use super::{SetupConfig, SetupError};

/// Guests of the pool: make, configure, start, stop, back up, destroy. VM.Snapshot is for `clear_leftovers`, which comes
/// later: it deletes the snapshot that our own dead backup left.
const GUESTS: &str = "VM.Allocate VM.Audit VM.Backup VM.Config.CPU VM.Config.Disk VM.Config.Memory VM.Config.Network \
                      VM.Config.Options VM.PowerMgmt VM.Snapshot";
/// A storage: make volumes and archives, and see it and its archives.
const STORE: &str = "Datastore.AllocateSpace";
/// An archive whose guest is not in the pool: restore from it.
const ARCHIVE: &str = "VM.Backup";
/// A bridge: put a guest's network on it.
const NET: &str = "SDN.Use";
/// The node: `script` and `tmpdir` of its backup settings, which Proxmox hides otherwise.
const NODE: &str = "Sys.Audit";

/// A role of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) id: RoleId,
    pub(crate) privileges: BTreeSet<String>,
}

/// Everything that has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(super) pool: PoolId,
    pub(super) token: TokenId,
    pub(crate) roles: Vec<Role>,
    pub(crate) grants: Vec<Grant>,
}

impl Wanted {
    pub(crate) fn of(config: &SetupConfig) -> Result<Self, SetupError> {
        let role = |name: &str, privileges: &str| -> Result<Role, SetupError> {
            let id = RoleId::new(name).map_err(|e| SetupError::Config { key: "role", why: e.to_string() })?;
            Ok(Role { id, privileges: privileges.split_whitespace().map(str::to_owned).collect() })
        };
        let guests = role("FelhomGuests", GUESTS)?;
        let store = role("FelhomStore", STORE)?;
        let archive = role("FelhomArchive", ARCHIVE)?;
        let net = role("FelhomNet", NET)?;
        let node = role("FelhomNode", NODE)?;
        let mut places = vec![(format!("/pool/{}", config.pool), &guests)];
        places.extend(config.storages.iter().map(|storage| (format!("/storage/{storage}"), &store)));
        places.push((format!("/sdn/zones/localnetwork/{}", config.bridge), &net));
        places.push((format!("/nodes/{}", config.node), &node));
        places.push((format!("/vms/{}", config.golden_vmid), &archive));
        let who = [Grantee::User(config.token.user.clone()), Grantee::Token(config.token.clone())];
        let grant = |path: &str, role: &Role, grantee: &Grantee| Grant {
            path: path.to_owned(),
            role: role.id.clone(),
            grantee: grantee.clone(),
            propagate: false,
        };
        let grants = places
            .iter()
            .flat_map(|(path, role)| who.iter().map(|grantee| grant(path, role, grantee)))
            .collect();
        Ok(Self {
            pool: config.pool.clone(),
            token: config.token.clone(),
            roles: vec![guests, store, archive, net, node],
            grants,
        })
    }
}
