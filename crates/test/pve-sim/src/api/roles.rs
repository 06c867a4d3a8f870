//! `/access/roles`.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::check::{Check, perm};
use super::{Answer, Call, Route, data, formats, nothing, plain, protected};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::state::access::{BUILTIN_ROLES, builtin_role};
use crate::state::access_file;

const ROLEID: Field = req("roleid", Kind::Format(formats::role_id));
const PRIVS: Field = opt("privs", Kind::List(formats::privilege));
const MODIFY: Check = perm("/access", &["Sys.Modify"]);

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(("GET", "/access/roles"), &[], Check::All, list),
    protected(("POST", "/access/roles"), &[&[ROLEID, PRIVS]], MODIFY, create),
    plain(("GET", "/access/roles/{roleid}"), &[&[ROLEID]], Check::All, show),
    protected(
        ("PUT", "/access/roles/{roleid}"),
        &[&[ROLEID, PRIVS, opt("append", Kind::Boolean).requires("privs")]],
        MODIFY,
        update,
    ),
    protected(("DELETE", "/access/roles/{roleid}"), &[&[ROLEID]], MODIFY, delete),
];

fn list(call: &Call) -> Answer {
    let text = |privs: &BTreeSet<String>| privs.iter().cloned().collect::<Vec<_>>().join(",");
    let builtin =
        BUILTIN_ROLES.iter().filter_map(|(name, _)| Some(((*name).to_owned(), builtin_role(name)?, 1)));
    let made = call.access.roles.iter().map(|(name, privs)| (name.clone(), privs.clone(), 0));
    let all: Vec<Json> = builtin
        .chain(made)
        .map(|(id, privs, special)| json!({"roleid": id, "privs": text(&privs), "special": special}))
        .collect();
    data(json!(all))
}

fn show(call: &Call) -> Answer {
    let id = call.params.need("roleid")?;
    let role = call.access.role(&id).ok_or_else(|| ApiError::die(format!("role '{id}' does not exist")))?;
    data(Json::Object(role.into_iter().map(|p| (p, json!(1))).collect::<Map<_, _>>()))
}

fn create(call: &Call) -> Answer {
    let id = call.params.need("roleid")?;
    if id.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("PVE")) {
        // Unrecorded: PVE/API2/Role.pm of pve-access-control 8.
        let text = "cannot use role ID starting with the (case-insensitive) 'PVE' namespace";
        return Err(ApiError::param("roleid", text));
    }
    access_file::update(call.host(), |access| {
        if access.role(&id).is_some() {
            return Err(ApiError::die(format!("create role failed: role '{id}' already exists")));
        }
        access.roles.insert(id.clone(), call.params.list("privs").into_iter().collect());
        Ok(())
    })?;
    nothing()
}

fn update(call: &Call) -> Answer {
    let id = call.params.need("roleid")?;
    if builtin_role(&id).is_some() {
        return Err(ApiError::die(format!("auto-generated role '{id}' cannot be modified")));
    }
    access_file::update(call.host(), |access| {
        let role = access
            .roles
            .get_mut(&id)
            .ok_or_else(|| ApiError::die(format!("update role failed: role '{id}' does not exist")))?;
        if !call.params.flag("append") {
            role.clear();
        }
        role.extend(call.params.list("privs"));
        Ok(())
    })?;
    nothing()
}

fn delete(call: &Call) -> Answer {
    let id = call.params.need("roleid")?;
    if builtin_role(&id).is_some() {
        return Err(ApiError::die(format!("auto-generated role '{id}' cannot be deleted")));
    }
    access_file::update(call.host(), |access| {
        if access.roles.remove(&id).is_none() {
            return Err(ApiError::die(format!("delete role failed: role '{id}' does not exist")));
        }
        // Its entries in the ACL stay on a real host until they are read again; there they are dropped with a warning.
        for node in access.acl.values_mut() {
            for who in [&mut node.users, &mut node.groups, &mut node.tokens] {
                who.values_mut().for_each(|roles| {
                    roles.remove(&id);
                });
                who.retain(|_, roles| !roles.is_empty());
            }
        }
        access.acl.retain(|_, node| !node.is_empty());
        Ok(())
    })?;
    nothing()
}
