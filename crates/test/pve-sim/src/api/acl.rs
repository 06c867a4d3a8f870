//! `/access/acl` and `/access/permissions`.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::check::{Check, known_user};
use super::{Answer, Call, Route, data, formats, nothing, plain, protected};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::perm;
use crate::state::access::Access;
use crate::state::access_file;

const UPDATE: &[Field] = &[
    req("path", Kind::Text(usize::MAX)),
    req("roles", Kind::List(formats::role_id)),
    opt("users", Kind::List(formats::user_id)),
    opt("groups", Kind::List(formats::group_id)),
    opt("tokens", Kind::List(formats::full_token_id)),
    opt("propagate", Kind::Boolean),
    opt("delete", Kind::Boolean),
];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(("GET", "/access/acl"), &[], Check::All, list),
    protected(("PUT", "/access/acl"), &[UPDATE], Check::PermModify, update),
    plain(
        ("GET", "/access/permissions"),
        &[&[opt("path", Kind::Text(usize::MAX)), opt("userid", Kind::Pattern(formats::is_user_or_token))]],
        Check::All,
        permissions,
    ),
];

fn list(call: &Call) -> Answer {
    let mut all = Vec::new();
    let everything =
        perm::check_any(&call.access, &call.authid, "/access", &["Sys.Audit", "Permissions.Modify"]).is_ok();
    for (path, node) in &call.access.acl {
        if !everything && perm::check_modify(&call.access, &call.authid, path).is_err() {
            continue;
        }
        for (kind, who) in [("user", &node.users), ("group", &node.groups), ("token", &node.tokens)] {
            for (ugid, roles) in who {
                for (role, propagate) in roles {
                    let propagate = u8::from(*propagate);
                    all.push(json!({"path": path, "type": kind, "ugid": ugid, "roleid": role, "propagate": propagate}));
                }
            }
        }
    }
    data(json!(all))
}

/// Which paths there can be: `PVE::AccessControl::check_path`.
fn valid_path(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let word = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    match parts.as_slice() {
        [""] | ["access" | "nodes" | "pool" | "sdn" | "storage" | "vms" | "mapping"] => path.starts_with('/'),
        ["access", "groups" | "realm"] | ["sdn", "zones" | "controllers" | "dns" | "ipams" | "fabrics"] => {
            true
        }
        ["mapping", "pci" | "usb" | "dir"] | ["mapping", "notifications"] => true,
        ["access", "groups" | "realm", name] | ["nodes" | "storage", name] => word(name),
        ["pool", first, rest @ ..] => rest.len() < 3 && word(first) && rest.iter().all(|p| word(p)),
        ["sdn", _, name] | ["mapping", _, name] => word(name),
        ["sdn", "zones", zone, rest @ ..] => rest.len() < 3 && word(zone) && rest.iter().all(|p| word(p)),
        ["vms", id] => id.parse::<u32>().is_ok_and(|n| n >= 100),
        _ => false,
    }
}

fn update(call: &Call) -> Answer {
    if !["users", "groups", "tokens"]
        .iter()
        .any(|who| call.params.get(who).is_some_and(|list| !list.is_empty()))
    {
        let text = "either 'users', 'groups' or 'tokens' is required.".to_owned();
        return Err(ApiError::params(
            ["users", "groups", "tokens"].map(|who| (who.to_owned(), text.clone())).into_iter().collect(),
        ));
    }
    let mut path = call.params.need("path")?;
    while path.len() > 1 && path.ends_with('/') {
        path.pop();
    }
    if !valid_path(&path) {
        return Err(ApiError::param("path", format!("invalid ACL path '{path}'")));
    }
    let failed = |e: ApiError| {
        if e.status == 403 { e } else { ApiError::die(format!("ACL update failed: {}", e.message)) }
    };
    access_file::update(call.host(), |access| change(access, call, &path).map_err(failed))?;
    nothing()
}

fn change(access: &mut Access, call: &Call, path: &str) -> Result<(), ApiError> {
    let propagate = call.params.get("propagate").is_none_or(|p| p == "1");
    let delete = call.params.flag("delete");
    let who = recipients(access, call)?;
    for role in call.params.list("roles") {
        let Some(privileges) = access.role(&role) else {
            return Err(ApiError::die(format!("role '{role}' does not exist")));
        };
        check_superset(access, call, path, (&role, &privileges), (propagate, delete))?;
        let node = access.acl.entry(path.to_owned()).or_default();
        for who in &who {
            let entry = access_file::entry(node, who);
            if delete {
                entry.remove(&role);
            } else {
                entry.insert(role.clone(), propagate);
            }
        }
        for map in [&mut node.users, &mut node.groups, &mut node.tokens] {
            map.retain(|_, roles| !roles.is_empty());
        }
    }
    access.acl.retain(|_, node| !node.is_empty());
    Ok(())
}

fn recipients(access: &Access, call: &Call) -> Result<Vec<String>, ApiError> {
    let mut who = Vec::new();
    for user in call.params.list("users") {
        known(access.users.contains_key(&user), &format!("user '{user}' does not exist"))?;
        who.push(user);
    }
    for group in call.params.list("groups") {
        known(access.groups.contains_key(&group), &format!("group '{group}' does not exist"))?;
        who.push(format!("@{group}"));
    }
    for token in call.params.list("tokens") {
        let (user, id) = token.split_once('!').unwrap_or((&token, ""));
        known(access.users.contains_key(user), &format!("no such user ('{user}')"))?;
        known(access.token(&token).is_some(), &format!("no such token '{id}' for user '{user}'"))?;
        who.push(token);
    }
    Ok(who)
}

fn known(yes: bool, message: &str) -> Result<(), ApiError> {
    if yes { Ok(()) } else { Err(ApiError::die(message)) }
}

/// Without Permissions.Modify only roles can be given whose privileges one holds oneself, and passed on only as one holds them (F25,
/// rec 1036). Propagation and NoAccess are unrecorded: PVE/API2/ACL.pm of pve-access-control 8.
fn check_superset(
    access: &Access,
    call: &Call,
    path: &str,
    (role, privileges): (&str, &BTreeSet<String>),
    (propagate, delete): (bool, bool),
) -> Result<(), ApiError> {
    let have = perm::privileges(access, &call.authid, path);
    if have.contains_key("Permissions.Modify") {
        return Ok(());
    }
    let missing = if privileges.iter().any(|p| !have.contains_key(p)) {
        "' - requires 'Permissions.Modify' or superset of privileges."
    } else if propagate && !delete && privileges.iter().any(|p| have.get(p) == Some(&false)) {
        "' with propagation - requires 'Permissions.Modify' or propagated superset of privileges."
    } else if role == "NoAccess" {
        "' - requires 'Permissions.Modify'"
    } else {
        return Ok(());
    };
    let verb = if delete { "remove" } else { "add" };
    Err(ApiError::die(format!(
        "400 Parameter verification failed.\nrole: Cannot {verb} role '{role}{missing}"
    )))
}

/// Paths whose permissions are shown without being asked for.
const COMMON_PATHS: [&str; 8] =
    ["/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"];

/// A path of the ACL's tree and those above it, which the tree has, too (rec 2/1013).
fn with_parents(path: &str) -> Vec<String> {
    let ends = path.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(at, _)| at);
    ends.chain([path.len()]).map(|end| path[..end].to_owned()).collect()
}

fn permissions(call: &Call) -> Answer {
    let wanted = match call.params.get("userid") {
        None => call.authid.clone(),
        Some(userid) => {
            let own = userid == call.authid || perm::user_of(&userid) == call.authid;
            if !own {
                call.need("/access", &["Sys.Audit"])?;
            }
            known_user(call, perm::user_of(&userid))?;
            userid
        }
    };
    let mut answer = Map::new();
    let shown = |path: &str| -> Json {
        let privileges = perm::privileges(&call.access, &wanted, path);
        Json::Object(privileges.into_iter().map(|(p, propagate)| (p, json!(u8::from(propagate)))).collect())
    };
    if let Some(path) = call.params.get("path") {
        answer.insert(path.clone(), shown(&path));
        return data(Json::Object(answer));
    }
    let pools = call.access.pools.iter();
    let members = pools.flat_map(|(id, pool)| {
        let vms = pool.vms.iter().map(|v| format!("/vms/{v}"));
        let storages = pool.storages.iter().map(|s| format!("/storage/{s}"));
        std::iter::once(format!("/pool/{id}")).chain(vms).chain(storages).collect::<Vec<_>>()
    });
    let paths: BTreeSet<String> = COMMON_PATHS
        .iter()
        .map(|p| (*p).to_owned())
        .chain(call.access.acl.keys().flat_map(|path| with_parents(path)))
        .chain(members)
        .collect();
    for path in paths {
        let entry = shown(&path);
        if entry.as_object().is_some_and(|e| !e.is_empty()) {
            answer.insert(path, entry);
        }
    }
    data(Json::Object(answer))
}
