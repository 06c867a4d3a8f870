//! Who is calling: a ticket in the cookie (tried first, F3) or an API token in the Authorization header.

use super::ticket::TicketKey;
use super::wire::Headers;
use crate::error::ApiError;
use crate::perm::user_of;
use crate::state::access::Access;
use crate::state::property::decode_text;
use crate::state::{Host, secrets};

/// Why nobody is let in: the reason phrase of an otherwise empty 401 (F1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected(pub(crate) &'static str);

const FAILED: Rejected = Rejected("Authentication failed!");

/// The caller's authentication id: `user@realm` or `user@realm!token`.
///
/// # Errors
/// [`Rejected`]. Unknown token, wrong secret, expired token, disabled and deleted user all look alike (F2).
pub(crate) fn authenticate(
    host: &Host,
    access: &Access,
    key: &TicketKey,
    (method, headers): (&str, &Headers),
    now: u64,
) -> Result<String, Rejected> {
    if let Some(ticket) = cookie(headers) {
        let user = key.verify_ticket(&ticket, now).ok_or(FAILED)?;
        if !usable(access, &user, now) {
            return Err(FAILED);
        }
        let csrf = headers.get("CSRFPreventionToken").unwrap_or_default();
        if method != "GET" && !key.verify_csrf(&csrf, &user, now) {
            return Err(Rejected("Permission denied - invalid csrf token"));
        }
        return Ok(user);
    }
    let (authid, secret) = token(headers)?;
    let known = access.token(&authid).ok_or(FAILED)?;
    if !usable(access, user_of(&authid), now) || (known.expire != 0 && known.expire <= now) {
        return Err(FAILED);
    }
    match secrets::token_matches(host, &authid, &secret) {
        Ok(true) => Ok(authid),
        _ => Err(FAILED),
    }
}

/// A user who exists, is enabled and has not expired.
pub(crate) fn usable(access: &Access, user: &str, now: u64) -> bool {
    access.users.get(user).is_some_and(|u| u.enable && (u.expire == 0 || u.expire > now))
}

/// Checks a password and answers the user.
///
/// # Errors
/// 401 `authentication failure`, with a JSON body (F1).
pub(crate) fn login(
    host: &Host,
    access: &Access,
    (user, password): (&str, &str),
    now: u64,
) -> Result<(), ApiError> {
    let ok = usable(access, user, now) && secrets::password_matches(host, user, password)?;
    if ok { Ok(()) } else { Err(ApiError { status: 401, ..ApiError::die("authentication failure") }) }
}

fn cookie(headers: &Headers) -> Option<String> {
    let all = headers.get("cookie")?;
    let mut pairs = all.split(';').filter_map(|p| p.trim().split_once('='));
    pairs.find(|(name, _)| *name == "PVEAuthCookie").map(|(_, value)| decode_text(value))
}

/// `PVEAPIToken=ID=SECRET`, with `=` or a blank after the scheme, which is case-sensitive (F4).
fn token(headers: &Headers) -> Result<(String, String), Rejected> {
    let none = Rejected("No ticket");
    let header = headers.get("authorization").ok_or_else(|| none.clone())?;
    let value = header.strip_prefix("PVEAPIToken").and_then(|v| v.strip_prefix(['=', ' '])).ok_or(none)?;
    let value = decode_text(value);
    let (id, secret) = value.split_once('=').ok_or(FAILED)?;
    if id.contains('!') { Ok((id.to_owned(), secret.to_owned())) } else { Err(FAILED) }
}
