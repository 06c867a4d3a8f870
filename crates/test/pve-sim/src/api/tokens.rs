//! `/access/users/{userid}/token`.

use serde_json::{Map, Value as Json, json};

use super::access::USERID;
use super::check::{Check, Groups, known_user};
use super::{Answer, Call, Route, data, formats, nothing, plain, protected};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::state::access::Token;
use crate::state::secrets::SecretFile;
use crate::state::{access_file, secrets};

const TOKENID: Field = req("tokenid", Kind::Pattern(formats::is_token_id));
const ATTRIBUTES: &[Field] = &[
    opt("comment", Kind::Text(usize::MAX)),
    opt("expire", Kind::Integer(0, i64::MAX)),
    opt("privsep", Kind::Boolean),
];
/// The user itself or whoever may modify it; a token of it is not the user (rec 54).
const CHECK: Check =
    Check::Or(&[Check::UserSelf, Check::UserGroup { privs: &["User.Modify"], groups: Groups::Any }]);

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(("GET", "/access/users/{userid}/token"), &[&[USERID]], CHECK, list),
    plain(("GET", "/access/users/{userid}/token/{tokenid}"), &[&[USERID, TOKENID]], CHECK, show),
    protected(
        ("POST", "/access/users/{userid}/token/{tokenid}"),
        &[&[USERID, TOKENID], ATTRIBUTES],
        CHECK,
        create,
    ),
    protected(
        ("PUT", "/access/users/{userid}/token/{tokenid}"),
        &[
            &[
                USERID,
                TOKENID,
                opt("regenerate", Kind::Boolean),
                opt("delete", Kind::List(formats::config_id)),
            ],
            ATTRIBUTES,
        ],
        CHECK,
        update,
    ),
    protected(("DELETE", "/access/users/{userid}/token/{tokenid}"), &[&[USERID, TOKENID]], CHECK, delete),
];

/// A token's attributes, numbers as numbers.
pub(super) fn shown(token: &Token) -> Json {
    let mut entry = Map::new();
    entry.insert("expire".into(), json!(token.expire));
    entry.insert("privsep".into(), json!(u8::from(token.privsep)));
    if !token.comment.is_empty() {
        entry.insert("comment".into(), json!(token.comment));
    }
    Json::Object(entry)
}

/// The same with its id.
pub(super) fn listed(id: &str, token: &Token) -> Json {
    let mut entry = shown(token);
    entry["tokenid"] = json!(id);
    entry
}

fn names(call: &Call) -> Result<(String, String), ApiError> {
    Ok((call.params.need("userid")?, call.params.need("tokenid")?))
}

fn no_such(userid: &str, tokenid: &str) -> ApiError {
    ApiError::die(format!("no such token '{tokenid}' for user '{userid}'"))
}

fn list(call: &Call) -> Answer {
    let userid = call.params.need("userid")?;
    known_user(call, &userid)?;
    let all: Vec<Json> =
        call.access.users[&userid].tokens.iter().map(|(id, token)| listed(id, token)).collect();
    data(json!(all))
}

fn show(call: &Call) -> Answer {
    let (userid, tokenid) = names(call)?;
    known_user(call, &userid)?;
    match call.access.users[&userid].tokens.get(&tokenid) {
        Some(token) => data(shown(token)),
        None => Err(no_such(&userid, &tokenid)),
    }
}

/// What was just set comes back as it was sent: strings (F16, rec 20, 24, 26).
fn info(call: &Call, token: &Token) -> Json {
    let mut info = Map::new();
    info.insert("privsep".into(), json!(u8::from(token.privsep)));
    for name in ["privsep", "expire", "comment"] {
        if let Some(text) = call.params.get(name) {
            info.insert(name.into(), json!(text));
        }
    }
    Json::Object(info)
}

fn create(call: &Call) -> Answer {
    let (userid, tokenid) = names(call)?;
    known_user(call, &userid)?;
    let full = format!("{userid}!{tokenid}");
    let secret = secrets::random_uuid()?;
    let token = access_file::update(call.host(), |access| {
        let user = access
            .users
            .get_mut(&userid)
            .ok_or_else(|| ApiError::die(format!("no such user ('{userid}')")))?;
        if user.tokens.contains_key(&tokenid) {
            return Err(ApiError::param("tokenid", "Token already exists."));
        }
        let token = Token {
            expire: call.params.number("expire").unwrap_or(user.expire),
            privsep: call.params.get("privsep").is_none_or(|p| p == "1"),
            comment: call.params.get("comment").unwrap_or_default(),
        };
        user.tokens.insert(tokenid.clone(), token.clone());
        secrets::set(call.host(), SecretFile::Tokens, &full, &secret)?;
        Ok(token)
    })?;
    data(json!({"full-tokenid": full, "value": secret, "info": info(call, &token)}))
}

fn update(call: &Call) -> Answer {
    let (userid, tokenid) = names(call)?;
    let full = format!("{userid}!{tokenid}");
    let secret = call.params.flag("regenerate").then(secrets::random_uuid).transpose()?;
    let token = access_file::update(call.host(), |access| {
        let user = access
            .users
            .get_mut(&userid)
            .ok_or_else(|| ApiError::die(format!("no such user ('{userid}')")))?;
        let token = user.tokens.get_mut(&tokenid).ok_or_else(|| no_such(&userid, &tokenid))?;
        if let Some(privsep) = call.params.get("privsep") {
            token.privsep = privsep == "1";
        }
        if let Some(expire) = call.params.number("expire") {
            token.expire = expire;
        }
        if let Some(comment) = call.params.get("comment") {
            token.comment = comment;
        }
        if call.params.list("delete").iter().any(|d| d == "comment") {
            token.comment.clear();
        }
        if let Some(secret) = &secret {
            secrets::set(call.host(), SecretFile::Tokens, &full, secret)?;
        }
        Ok(token.clone())
    })?;
    let mut answer = shown(&token);
    for name in ["privsep", "expire"] {
        if let Some(text) = call.params.get(name) {
            answer[name] = json!(text);
        }
    }
    if let Some(secret) = secret {
        answer["value"] = json!(secret);
        answer["full-tokenid"] = json!(full);
    }
    data(answer)
}

fn delete(call: &Call) -> Answer {
    let (userid, tokenid) = names(call)?;
    let full = format!("{userid}!{tokenid}");
    access_file::update(call.host(), |access| {
        let user = access
            .users
            .get_mut(&userid)
            .ok_or_else(|| ApiError::die(format!("no such user ('{userid}')")))?;
        user.tokens.remove(&tokenid).ok_or_else(|| no_such(&userid, &tokenid))?;
        access.forget_authid(&full);
        secrets::forget(call.host(), SecretFile::Tokens, &full)
    })?;
    nothing()
}
