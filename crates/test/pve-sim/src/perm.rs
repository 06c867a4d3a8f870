//! Who may do what: Proxmox VE's evaluation of its access control list. Pure.
//!
//! 1. roles of a user or token on a path: walk the path from `/` down; an entry nearer to the object replaces the ones above (F24),
//!    entries for the token or user itself go before those of its groups, and count deeper down only if they propagate;
//! 2. roles on the pool of a guest or storage count on the object itself, never trumping its own `NoAccess`;
//! 3. a privilege-separated token has what is given to it **and** to its user (F23); another token has all of its user's;
//! 4. `root@pam` has everything, `root@pam!token` only by rule 3.
//!
//! Source: `PVE/AccessControl.pm` `roles`, `PVE/RPCEnvironment.pm` `compile_acl_path`, `permissions`, `check`.

use std::collections::BTreeMap;

use crate::error::ApiError;
use crate::state::access::{Access, AclNode, PRIVILEGES};

/// Privileges on a path; the value says whether it would propagate deeper.
pub(crate) type Privileges = BTreeMap<String, bool>;

/// The user behind an authentication id: `ctl@pve!full` → `ctl@pve`.
pub(crate) fn user_of(authid: &str) -> &str {
    authid.split_once('!').map_or(authid, |(user, _)| user)
}

/// Privileges of `authid` on `path`.
pub(crate) fn privileges(access: &Access, authid: &str, path: &str) -> Privileges {
    if authid == "root@pam" {
        return PRIVILEGES.iter().map(|p| ((*p).to_owned(), true)).collect();
    }
    if !authid.contains('!') {
        return compile(access, authid, path);
    }
    let Some(token) = access.token(authid) else { return Privileges::new() };
    let user = privileges(access, user_of(authid), path);
    if !token.privsep {
        return user;
    }
    let own = compile(access, authid, path);
    own.into_iter().filter_map(|(p, propagate)| user.get(&p).map(|u| (p, *u && propagate))).collect()
}

/// Whether `authid` has a privilege on `path`.
pub(crate) fn has(access: &Access, authid: &str, path: &str, privilege: &str) -> bool {
    authid == "root@pam" || privileges(access, authid, path).contains_key(privilege)
}

/// All of `wanted`.
///
/// # Errors
/// 403 `Permission check failed (PATH, PRIV)`, naming the first one missing.
pub(crate) fn check(access: &Access, authid: &str, path: &str, wanted: &[&str]) -> Result<(), ApiError> {
    if authid == "root@pam" {
        return Ok(());
    }
    let have = privileges(access, authid, path);
    match wanted.iter().find(|p| !have.contains_key(**p)) {
        Some(missing) => Err(ApiError::forbidden(&format!("{path}, {missing}"))),
        None => Ok(()),
    }
}

/// Any of `wanted`.
///
/// # Errors
/// 403 `Permission check failed (PATH, A|B)`.
pub(crate) fn check_any(access: &Access, authid: &str, path: &str, wanted: &[&str]) -> Result<(), ApiError> {
    if authid == "root@pam" {
        return Ok(());
    }
    let have = privileges(access, authid, path);
    if wanted.iter().any(|p| have.contains_key(*p)) {
        return Ok(());
    }
    Err(ApiError::forbidden(&format!("{path}, {}", wanted.join("|"))))
}

/// On the pool that is being used, or else on the guest.
///
/// # Errors
/// As [`check`], for the guest's path.
pub(crate) fn check_guest(
    access: &Access,
    authid: &str,
    vmid: u32,
    pool: Option<&str>,
    wanted: &str,
) -> Result<(), ApiError> {
    match pool {
        Some(pool) if has(access, authid, &format!("/pool/{pool}"), wanted) => Ok(()),
        _ => check(access, authid, &format!("/vms/{vmid}"), &[wanted]),
    }
}

/// The privilege that lets somebody else than a holder of Permissions.Modify change the ACL of a path (F25).
///
/// # Errors
/// 403 in the words of the path's own privilege.
pub(crate) fn check_modify(access: &Access, authid: &str, path: &str) -> Result<(), ApiError> {
    if authid == "root@pam" {
        return Ok(());
    }
    let mut wanted = vec!["Permissions.Modify"];
    for (prefix, privilege) in
        [("/storage/", "Datastore.Allocate"), ("/vms/", "VM.Allocate"), ("/pool/", "Pool.Allocate")]
    {
        // Only what is below: `/vms/` is another spelling of `/vms`.
        if path.strip_prefix(prefix).is_some_and(|below| !below.trim_matches('/').is_empty()) {
            wanted.push(privilege);
        }
    }
    check_any(access, authid, path, &wanted)
}

fn compile(access: &Access, authid: &str, path: &str) -> Privileges {
    let mut roles = roles(access, authid, path);
    if !roles.contains_key("NoAccess") {
        let from_pool = pool_roles(access, authid, path);
        if from_pool.contains(&"NoAccess".to_owned()) {
            roles = BTreeMap::from([("NoAccess".to_owned(), false)]);
        } else {
            for role in from_pool {
                roles.entry(role).or_insert(false);
            }
        }
    }
    let mut result = Privileges::new();
    for (role, propagate) in roles {
        for privilege in access.role(&role).unwrap_or_default() {
            let most = result.entry(privilege).or_insert(false);
            *most = *most || propagate;
        }
    }
    result
}

fn pool_roles(access: &Access, authid: &str, path: &str) -> Vec<String> {
    let vmid = path.strip_prefix("/vms/").and_then(|v| v.parse::<u32>().ok());
    let storage = path.strip_prefix("/storage/");
    let member = |pool: &crate::state::access::Pool| {
        vmid.is_some_and(|v| pool.vms.contains(&v)) || storage.is_some_and(|s| pool.storages.contains(s))
    };
    let pools = access.pools.iter().filter(|(_, pool)| member(pool));
    pools.flat_map(|(id, _)| roles(access, authid, &format!("/pool/{id}")).into_keys()).collect()
}

/// Roles on a path, without pools and without the intersection of rule 3.
fn roles(access: &Access, authid: &str, path: &str) -> BTreeMap<String, bool> {
    let mut roles = BTreeMap::new();
    let mut walked = String::new();
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    for depth in 0..=parts.len() {
        if depth > 0 {
            walked.push('/');
            walked.push_str(parts[depth - 1]);
        }
        let here = if depth == 0 { "/" } else { &walked };
        if let Some(found) =
            access.acl.get(here).and_then(|node| at_node(access, node, authid, depth == parts.len()))
        {
            roles = found;
        }
    }
    match roles.get("NoAccess") {
        Some(propagate) => BTreeMap::from([("NoAccess".to_owned(), *propagate)]),
        None => roles,
    }
}

fn at_node(access: &Access, node: &AclNode, authid: &str, last: bool) -> Option<BTreeMap<String, bool>> {
    let counting = |roles: &BTreeMap<String, bool>| -> Option<BTreeMap<String, bool>> {
        let found: BTreeMap<String, bool> =
            roles.iter().filter(|(_, p)| last || **p).map(|(r, p)| (r.clone(), *p)).collect();
        (!found.is_empty()).then_some(found)
    };
    if authid.contains('!') {
        return node.tokens.get(authid).and_then(counting);
    }
    if let Some(found) = node.users.get(authid).and_then(counting) {
        return Some(found);
    }
    let mut found = BTreeMap::new();
    for (group, roles) in &node.groups {
        if access.groups.get(group).is_some_and(|g| g.users.contains(authid)) {
            found.extend(counting(roles).unwrap_or_default());
        }
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
#[path = "perm_tests.rs"]
mod tests;
