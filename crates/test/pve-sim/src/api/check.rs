//! Permission expressions of routes, and their evaluation (`PVE::RPCEnvironment::exec_api2_perm_check`).

use super::Call;
use crate::error::ApiError;
use crate::perm;

/// A permission expression as in the API's own schema.
#[derive(Debug)]
pub(crate) enum Check {
    /// `user => 'world'`: anybody, without a ticket.
    World,
    /// `user => 'all'`: anybody who is known; the handler checks or filters.
    All,
    /// `['perm', PATH, PRIVS]`, `any` of them or all. `{name}` in the path is a parameter.
    Perm {
        /// Path template.
        path: &'static str,
        /// Privileges.
        privs: &'static [&'static str],
        /// Whether one of them is enough.
        any: bool,
    },
    /// `['perm', PATH, PRIVS, require_param => PARAM]`: never if the parameter is missing.
    WithParam {
        /// Path template.
        path: &'static str,
        /// Privileges.
        privs: &'static [&'static str],
        /// Parameter.
        param: &'static str,
    },
    /// `['perm-modify', '{path}']`.
    PermModify,
    /// `['userid-param', 'self']`.
    UserSelf,
    /// `['userid-param', 'Realm.AllocateUser']`: on the realm of parameter `userid`.
    UserRealm,
    /// `['userid-group', PRIVS]`: any of them on all groups, or on groups as [`Groups`] says.
    UserGroup {
        /// Privileges.
        privs: &'static [&'static str],
        /// `groups_param`.
        groups: Groups,
    },
    /// `['and', …]`.
    And(&'static [Check]),
    /// `['or', …]`.
    Or(&'static [Check]),
}

/// Whose rights on groups count for a call about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Groups {
    /// Those on one group of the user.
    Any,
    /// Those on each group that the call names; the user need not exist.
    Create,
    /// Those on each group that the call names, and on one of the user.
    Update,
}

/// `['perm', PATH, [PRIV]]`.
pub(crate) const fn perm(path: &'static str, privs: &'static [&'static str]) -> Check {
    Check::Perm { path, privs, any: false }
}

/// `['perm', PATH, [PRIV, …], any => 1]`.
pub(crate) const fn any(path: &'static str, privs: &'static [&'static str]) -> Check {
    Check::Perm { path, privs, any: true }
}

/// Evaluates an expression for a call.
///
/// # Errors
/// 403 in Proxmox VE's words; 500 for a user who does not exist.
pub(crate) fn verify(check: &Check, call: &Call) -> Result<(), ApiError> {
    match check {
        Check::World | Check::All => Ok(()),
        // Proxmox VE lets root@pam pass before it looks at the expression.
        _ if call.is_root() => Ok(()),
        Check::Perm { path, privs, any } => {
            let path = fill(path, call)?;
            if *any {
                perm::check_any(&call.access, &call.authid, &path, privs)
            } else {
                call.need(&path, privs)
            }
        }
        Check::WithParam { path, privs, param } => match call.params.get(param) {
            Some(_) => call.need(&fill(path, call)?, privs),
            None => Err(ApiError::forbidden("")),
        },
        Check::PermModify => perm::check_modify(&call.access, &call.authid, &call.params.need("path")?),
        Check::UserSelf => {
            let userid = call.params.need("userid")?;
            if call.authid == userid { Ok(()) } else { Err(ApiError::forbidden("")) }
        }
        Check::UserRealm => {
            let userid = call.params.need("userid")?;
            let realm = userid.rsplit_once('@').map_or("", |(_, r)| r);
            call.need(&format!("/access/realm/{realm}"), &["Realm.AllocateUser"])
        }
        Check::UserGroup { privs, groups } => user_group(call, privs, *groups),
        Check::And(all) => all.iter().try_for_each(|c| verify(c, call)),
        Check::Or(all) => {
            if all.iter().any(|c| verify(c, call).is_ok()) {
                Ok(())
            } else {
                Err(ApiError::forbidden(""))
            }
        }
    }
}

/// Unrecorded but for users who do not exist: PVE/RPCEnvironment.pm:493 of pve-access-control.
fn user_group(call: &Call, privs: &[&str], groups: Groups) -> Result<(), ApiError> {
    let userid = call.params.need("userid")?;
    if groups != Groups::Create {
        known_user(call, &userid)?;
    }
    let all = perm::check_any(&call.access, &call.authid, "/access/groups", privs);
    if all.is_ok() {
        return Ok(());
    }
    let on =
        |group: &str| perm::check_any(&call.access, &call.authid, &format!("/access/groups/{group}"), privs);
    if groups != Groups::Any {
        let named = call.params.list("groups");
        if named.is_empty() {
            return all;
        }
        named.iter().try_for_each(|group| on(group))?;
    }
    let of_user = || call.access.groups.iter().filter(|(_, group)| group.users.contains(&userid));
    if groups == Groups::Create || of_user().any(|(id, _)| on(id).is_ok()) {
        Ok(())
    } else {
        Err(ApiError::forbidden(""))
    }
}

/// # Errors
/// 500 `no such user ('nope@pve')` (rec 19).
pub(crate) fn known_user(call: &Call, userid: &str) -> Result<(), ApiError> {
    if call.access.users.contains_key(userid) {
        Ok(())
    } else {
        Err(ApiError::die(format!("no such user ('{userid}')")))
    }
}

fn fill(template: &str, call: &Call) -> Result<String, ApiError> {
    let mut path = String::new();
    for part in template.split('/').skip(1) {
        path.push('/');
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) => path.push_str(&call.params.need(name)?),
            None => path.push_str(part),
        }
    }
    Ok(path)
}
