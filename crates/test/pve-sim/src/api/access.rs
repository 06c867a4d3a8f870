//! `/version`, `/access/ticket`, `/access/domains`, `/access/users`.

use serde_json::{Map, Value as Json, json};

use super::check::{Check, Groups, known_user};
use super::{Answer, Call, Route, data, formats, nothing, plain, protected, ticket_only};
use crate::clock;
use crate::error::ApiError;
use crate::http::auth;
use crate::http::schema::{Field, Kind, opt, req};
use crate::perm;
use crate::state::access::User;
use crate::state::secrets::SecretFile;
use crate::state::{access_file, secrets};

pub(super) const USERID: Field = req("userid", Kind::Format(formats::user_id)).length(0, 64);

const TICKET: &[Field] = &[
    req("username", Kind::Text(64)),
    req("password", Kind::Text(usize::MAX)),
    opt("realm", Kind::Format(formats::realm)).length(0, 32),
    opt("otp", Kind::Text(usize::MAX)),
    opt("tfa-challenge", Kind::Text(usize::MAX)),
    opt("new-format", Kind::Boolean),
    opt("path", Kind::Text(64)).requires("privs"),
    opt("privs", Kind::List(formats::privilege)).length(0, 64).requires("path"),
];

const USER: &[Field] = &[
    opt("comment", Kind::Text(2048)),
    opt("email", Kind::Format(formats::email_or_nothing)).length(0, 254),
    opt("enable", Kind::Boolean),
    opt("expire", Kind::Integer(0, i64::MAX)),
    opt("firstname", Kind::Text(1024)),
    opt("lastname", Kind::Text(1024)),
    opt("groups", Kind::List(formats::group_id)),
    opt("keys", Kind::Pattern(formats::is_keys)),
];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(("GET", "/version"), &[], Check::All, version),
    plain(("GET", "/access/ticket"), &[], Check::World, |_| nothing()),
    ticket_only(protected(("POST", "/access/ticket"), &[TICKET], Check::World, ticket)),
    plain(("GET", "/access/domains"), &[], Check::World, |_| {
        data(json!([
            {"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"},
            {"realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server"},
        ]))
    }),
    ticket_only(protected(
        ("PUT", "/access/password"),
        &[&[
            USERID,
            req("password", Kind::Text(64)).length(8, 64),
            opt("confirmation-password", Kind::Text(64)).length(5, 64),
        ]],
        Check::Or(&[
            Check::UserSelf,
            Check::And(&[
                Check::UserRealm,
                Check::UserGroup { privs: &["User.Modify"], groups: Groups::Any },
            ]),
        ]),
        set_password,
    )),
    protected(
        ("GET", "/access/users"),
        &[&[opt("enabled", Kind::Boolean), opt("full", Kind::Boolean)]],
        Check::All,
        list,
    ),
    protected(
        ("POST", "/access/users"),
        &[&[USERID, opt("password", Kind::Text(64)).length(8, 64)], USER],
        Check::And(&[Check::UserRealm, Check::UserGroup { privs: &["User.Modify"], groups: Groups::Create }]),
        create,
    ),
    plain(
        ("GET", "/access/users/{userid}"),
        &[&[USERID]],
        Check::UserGroup { privs: &["User.Modify", "Sys.Audit"], groups: Groups::Any },
        show,
    ),
    protected(
        ("PUT", "/access/users/{userid}"),
        &[&[USERID, opt("append", Kind::Boolean).requires("groups")], USER],
        Check::UserGroup { privs: &["User.Modify"], groups: Groups::Update },
        update,
    ),
    protected(
        ("DELETE", "/access/users/{userid}"),
        &[&[USERID]],
        Check::And(&[Check::UserRealm, Check::UserGroup { privs: &["User.Modify"], groups: Groups::Any }]),
        delete,
    ),
];

fn version(_: &Call) -> Answer {
    data(json!({"version": "9.2.11", "release": "9.2", "repoid": "14a22df35955d97d"}))
}

fn ticket(call: &Call) -> Answer {
    let mut user = call.params.need("username")?;
    if let Some(realm) = call.params.get("realm")
        && !user.contains('@')
    {
        user = format!("{user}@{realm}");
    }
    let time = clock::now(call.host());
    let password = call.params.need("password")?;
    // A ticket may stand in for the password, as the web interface renews it.
    let renewed = call.daemon.ticket_key.verify_ticket(&password, time).is_some_and(|owner| owner == user);
    if !(renewed && auth::usable(&call.access, &user, time)) {
        auth::login(call.host(), &call.access, (&user, &password), time)?;
    }
    let mut capabilities = Map::new();
    for (name, path) in
        [("vms", "/vms"), ("storage", "/storage"), ("access", "/access"), ("nodes", "/nodes"), ("dc", "/")]
    {
        let have = perm::privileges(&call.access, &user, path);
        capabilities.insert(name.into(), have.into_keys().map(|p| (p, json!(1))).collect());
    }
    data(json!({
        "username": user,
        "ticket": call.daemon.ticket_key.ticket(&user, time),
        "CSRFPreventionToken": call.daemon.ticket_key.csrf(&user, time),
        "cap": capabilities,
    }))
}

fn set_password(call: &Call) -> Answer {
    let userid = call.params.need("userid")?;
    known_user(call, &userid)?;
    let hash = password_hash(&userid, &call.params.need("password")?)?;
    let _held = call.host().lock_access()?;
    secrets::set(call.host(), SecretFile::Passwords, &userid, &hash)?;
    nothing()
}

fn list(call: &Call) -> Answer {
    let all =
        perm::check_any(&call.access, &call.authid, "/access/groups", &["User.Modify", "Sys.Audit"]).is_ok();
    let wanted = call.params.get("enabled").map(|e| e == "1");
    let mut users = Vec::new();
    for (id, user) in &call.access.users {
        if !(all || *id == call.authid) || wanted.is_some_and(|w| w != user.enable) {
            continue;
        }
        let mut entry = fields(user);
        entry.insert("userid".into(), json!(id));
        entry.insert("realm-type".into(), json!(if id.ends_with("@pam") { "pam" } else { "pve" }));
        if call.params.flag("full") {
            let tokens: Vec<Json> =
                user.tokens.iter().map(|(t, token)| super::tokens::listed(t, token)).collect();
            entry.insert("tokens".into(), json!(tokens));
        }
        users.push(Json::Object(entry));
    }
    data(json!(users))
}

fn fields(user: &User) -> Map<String, Json> {
    let mut entry = Map::new();
    entry.insert("enable".into(), json!(u8::from(user.enable)));
    entry.insert("expire".into(), json!(user.expire));
    for (name, text) in [
        ("comment", &user.comment),
        ("firstname", &user.firstname),
        ("lastname", &user.lastname),
        ("email", &user.email),
    ] {
        if !text.is_empty() {
            entry.insert(name.into(), json!(text));
        }
    }
    // The file's fields end with the last one that is filled, and the comment comes after the address (rec 18, 672).
    if !user.comment.is_empty() {
        entry.entry("email").or_insert_with(|| json!(""));
    }
    entry
}

fn show(call: &Call) -> Answer {
    let userid = call.params.need("userid")?;
    known_user(call, &userid)?;
    let user = &call.access.users[&userid];
    let mut entry = fields(user);
    let groups: Vec<&String> =
        call.access.groups.iter().filter(|(_, g)| g.users.contains(&userid)).map(|(id, _)| id).collect();
    entry.insert("groups".into(), json!(groups));
    let tokens: Map<String, Json> =
        user.tokens.iter().map(|(id, t)| (id.clone(), super::tokens::shown(t))).collect();
    entry.insert("tokens".into(), if tokens.is_empty() { Json::Null } else { Json::Object(tokens) });
    data(Json::Object(entry))
}

fn change(user: &mut User, call: &Call) {
    let params = &call.params;
    if params.get("enable").is_some() {
        user.enable = params.flag("enable");
    }
    if let Some(expire) = params.number("expire") {
        user.expire = expire;
    }
    let texts = [
        ("comment", &mut user.comment),
        ("firstname", &mut user.firstname),
        ("lastname", &mut user.lastname),
        ("email", &mut user.email),
    ];
    for (name, field) in texts {
        if let Some(text) = params.get(name) {
            *field = text;
        }
    }
}

fn create(call: &Call) -> Answer {
    let userid = call.params.need("userid")?;
    let password = call.params.get("password").map(|p| password_hash(&userid, &p)).transpose()?;
    access_file::update(call.host(), |access| {
        if access.users.contains_key(&userid) {
            return Err(ApiError::die(format!("create user failed: user '{userid}' already exists")));
        }
        let mut user = User::default();
        change(&mut user, call);
        join_groups(access, &userid, &call.params.list("groups"))?;
        access.users.insert(userid.clone(), user);
        match password {
            Some(hash) => secrets::set(call.host(), SecretFile::Passwords, &userid, &hash),
            None => Ok(()),
        }
    })?;
    nothing()
}

fn join_groups(
    access: &mut crate::state::access::Access,
    userid: &str,
    groups: &[String],
) -> Result<(), ApiError> {
    for name in groups {
        let group = access
            .groups
            .get_mut(name)
            .ok_or_else(|| ApiError::die(format!("group '{name}' does not exist")))?;
        group.users.insert(userid.to_owned());
    }
    Ok(())
}

fn password_hash(userid: &str, password: &str) -> Result<String, ApiError> {
    if !userid.ends_with("@pve") {
        return Err(ApiError::die("can't set password on auth type 'pam'"));
    }
    secrets::hash_password(password)
}

fn update(call: &Call) -> Answer {
    let userid = call.params.need("userid")?;
    access_file::update(call.host(), |access| {
        let user = access
            .users
            .get_mut(&userid)
            .ok_or_else(|| ApiError::die(format!("update user failed: no such user ('{userid}')")))?;
        change(user, call);
        if call.params.get("groups").is_some() {
            if !call.params.flag("append") {
                access.groups.values_mut().for_each(|g| {
                    g.users.remove(&userid);
                });
            }
            join_groups(access, &userid, &call.params.list("groups"))?;
        }
        Ok(())
    })?;
    nothing()
}

/// F45, rec 537: deleting an unknown user is 200 (for root@pam, whom no expression stops).
fn delete(call: &Call) -> Answer {
    let userid = call.params.need("userid")?;
    if userid == "root@pam" {
        return Err(ApiError::die("delete user failed: unable to delete user 'root@pam'"));
    }
    access_file::update(call.host(), |access| {
        access.users.remove(&userid);
        access.groups.values_mut().for_each(|g| {
            g.users.remove(&userid);
        });
        access.forget_authid(&userid);
        secrets::forget(call.host(), SecretFile::Passwords, &userid)?;
        secrets::forget(call.host(), SecretFile::Tokens, &userid)
    })?;
    nothing()
}
