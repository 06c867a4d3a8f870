//! Login, users, tokens, roles, access lists, permissions; used by set-up and by the check of rights.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Auth, Endpoint, Pve};
use crate::decode::{flag, list, opt_flag, opt_text, text, u64_or_zero};
use crate::error::Error;
use crate::form::{Form, encode};
use crate::ids::{RoleId, TokenId, UserId};

#[derive(Deserialize)]
struct TicketBody {
    #[serde(default, deserialize_with = "text")]
    ticket: String,
    #[serde(rename = "CSRFPreventionToken", default, deserialize_with = "text")]
    csrf: String,
    #[serde(rename = "NeedTFA", default, deserialize_with = "flag")]
    need_tfa: bool,
}

#[derive(Deserialize)]
struct RoleEntry {
    #[serde(default, deserialize_with = "text")]
    roleid: String,
    #[serde(default, deserialize_with = "list")]
    privs: Vec<String>,
}

/// A user, as far as set-up compares it.
#[derive(Debug, Clone, Deserialize)]
pub struct User {
    /// Whether it may log in.
    #[serde(default, deserialize_with = "opt_flag")]
    pub enable: Option<bool>,
    /// Seconds since 1970, 0 is never.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub expire: u64,
    /// Free text.
    #[serde(default, deserialize_with = "opt_text")]
    pub comment: Option<String>,
}

/// A token without its secret, which PVE tells only once.
#[derive(Debug, Clone, Deserialize)]
pub struct Token {
    /// Whether its rights are the intersection of its own access list and its user's; PVE's default is yes.
    #[serde(default, deserialize_with = "opt_flag")]
    pub privsep: Option<bool>,
    /// Seconds since 1970, 0 is never.
    #[serde(default, deserialize_with = "u64_or_zero")]
    pub expire: u64,
}

#[derive(Deserialize)]
struct TokenCreated {
    #[serde(default, deserialize_with = "text")]
    value: String,
}

#[derive(Deserialize)]
struct TokenEntry {
    #[serde(default, deserialize_with = "text")]
    tokenid: String,
}

/// Who an access list entry is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    /// A user.
    User(UserId),
    /// A token.
    Token(TokenId),
}

impl std::fmt::Display for Grantee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::Token(token) => token.fmt(f),
        }
    }
}

/// One access list entry as PVE lists it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AclEntry {
    /// e.g. `/pool/felhom`.
    #[serde(default, deserialize_with = "text")]
    pub path: String,
    /// `user`, `token` or `group`.
    #[serde(rename = "type", default, deserialize_with = "text")]
    pub kind: String,
    /// Who.
    #[serde(default, deserialize_with = "text")]
    pub ugid: String,
    /// The role.
    #[serde(default, deserialize_with = "text")]
    pub roleid: String,
    /// Whether it reaches deeper paths; PVE's default is yes.
    #[serde(default, deserialize_with = "opt_flag")]
    pub propagate: Option<bool>,
}

impl AclEntry {
    /// Whether the entry is this grantee's.
    #[must_use]
    pub fn is_for(&self, grantee: &Grantee) -> bool {
        let kind = match grantee {
            Grantee::User(_) => "user",
            Grantee::Token(_) => "token",
        };
        self.kind == kind && self.ugid == grantee.to_string()
    }
}

/// One entry to grant or take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// e.g. `/pool/felhom`.
    pub path: String,
    /// The role.
    pub role: RoleId,
    /// Who gets it.
    pub grantee: Grantee,
    /// Whether it reaches deeper paths.
    pub propagate: bool,
}

impl Grant {
    fn form(&self) -> Form {
        let form = Form::new()
            .with("path", &self.path)
            .with("roles", &self.role)
            .with_flag("propagate", self.propagate);
        match &self.grantee {
            Grantee::User(user) => form.with("users", user),
            Grantee::Token(token) => form.with("tokens", token),
        }
    }
}

/// Privileges by path, as PVE computes them for an identity. A value is true where the privilege propagates.
pub type Permissions = BTreeMap<String, BTreeMap<String, bool>>;

/// Privileges by role.
pub type Roles = BTreeMap<String, BTreeSet<String>>;

impl Pve {
    /// Logs in with a password and returns a client that calls with the ticket. Neither is kept anywhere else.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a wrong user or password, else any [`Error`] of the call.
    pub async fn login(endpoint: Endpoint, user: &UserId, password: &SecretString) -> Result<Self, Error> {
        let anonymous = Self::anonymous(endpoint.clone())?;
        let form = Form::new().with("username", user).with("password", password.expose_secret());
        let body: TicketBody = anonymous.post("/access/ticket", &form).await?;
        if body.need_tfa {
            return Err(Error::Configuration {
                what: "login",
                reason: format!(
                    "{user} has a second factor, which is not supported here; use a login without one"
                ),
            });
        }
        if body.ticket.is_empty() {
            return Err(Error::Configuration {
                what: "login",
                reason: "the server gave no ticket".to_owned(),
            });
        }
        let auth = Auth::Ticket { user: user.clone(), ticket: body.ticket.into(), csrf: body.csrf.into() };
        Self::new(endpoint, auth)
    }

    /// All roles with their privileges.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn roles(&self) -> Result<Roles, Error> {
        let entries: Vec<RoleEntry> = self.get("/access/roles", &Form::new()).await?;
        Ok(entries.into_iter().map(|e| (e.roleid, e.privs.into_iter().collect())).collect())
    }

    /// Makes a role.
    ///
    /// # Errors
    /// [`Error::Exists`], else any [`Error`] of the call.
    pub async fn create_role(&self, role: &RoleId, privileges: &BTreeSet<String>) -> Result<(), Error> {
        let form = Form::new().with("roleid", role).with("privs", join(privileges));
        self.post_done("/access/roles", &form).await
    }

    /// Sets a role's privileges to exactly these.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn set_role(&self, role: &RoleId, privileges: &BTreeSet<String>) -> Result<(), Error> {
        let form = Form::new().with("privs", join(privileges)).with_flag("append", false);
        self.put_done(&format!("/access/roles/{}", encode(role.as_str())), &form).await
    }

    /// A user, `None` if there is none of that name.
    ///
    /// # Errors
    /// Any [`Error`] of the call other than "not found".
    pub async fn user(&self, user: &UserId) -> Result<Option<User>, Error> {
        absent_is_none(self.get(&user_path(user), &Form::new()).await)
    }

    /// Makes an enabled user without password.
    ///
    /// # Errors
    /// [`Error::Exists`], else any [`Error`] of the call.
    pub async fn create_user(&self, user: &UserId, comment: &str) -> Result<(), Error> {
        let form = Form::new().with("userid", user).with("comment", comment).with_flag("enable", true);
        self.post_done("/access/users", &form).await
    }

    /// Enables a user and takes its expiry away.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn enable_user(&self, user: &UserId) -> Result<(), Error> {
        self.put_done(&user_path(user), &Form::new().with_flag("enable", true).with("expire", 0)).await
    }

    /// A token, `None` if its user has none of that name.
    ///
    /// # Errors
    /// Any [`Error`] of the call other than "not found".
    pub async fn token(&self, token: &TokenId) -> Result<Option<Token>, Error> {
        absent_is_none(self.get(&token_path(token), &Form::new()).await)
    }

    /// Makes a privilege-separated token that does not expire; its secret is told this once.
    ///
    /// # Errors
    /// [`Error::Exists`], else any [`Error`] of the call.
    pub async fn create_token(&self, token: &TokenId, comment: &str) -> Result<SecretString, Error> {
        let form = Form::new().with_flag("privsep", true).with("comment", comment).with("expire", 0);
        let created: TokenCreated = self.post(&token_path(token), &form).await?;
        Ok(created.value.into())
    }

    /// Names of a user's tokens, without the user's.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn token_names(&self, user: &UserId) -> Result<Vec<String>, Error> {
        let entries: Vec<TokenEntry> = self.get(&format!("{}/token", user_path(user)), &Form::new()).await?;
        Ok(entries.into_iter().map(|entry| entry.tokenid).collect())
    }

    /// Removes a user with its tokens; access list entries go with them. One that is not there is no error (F45).
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn delete_user(&self, user: &UserId) -> Result<(), Error> {
        self.delete_done(&user_path(user), &Form::new()).await
    }

    /// Removes a role. Entries of the access list that name it are worth nothing then.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn delete_role(&self, role: &RoleId) -> Result<(), Error> {
        self.delete_done(&format!("/access/roles/{}", encode(role.as_str())), &Form::new()).await
    }

    /// Makes an existing token privilege-separated and takes its expiry away; its secret stays.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn restrict_token(&self, token: &TokenId) -> Result<(), Error> {
        self.put_done(&token_path(token), &Form::new().with_flag("privsep", true).with("expire", 0)).await
    }

    /// Removes a token; it stops working at once. Its access list entries go with it.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn delete_token(&self, token: &TokenId) -> Result<(), Error> {
        self.delete_done(&token_path(token), &Form::new()).await
    }

    /// The access list. One may see no more of it than one may change.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn acl(&self) -> Result<Vec<AclEntry>, Error> {
        self.get("/access/acl", &Form::new()).await
    }

    /// Grants a role; the same entry twice is one.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn grant(&self, grant: &Grant) -> Result<(), Error> {
        self.put_done("/access/acl", &grant.form()).await
    }

    /// Takes a role away; an absent entry is no error.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn revoke(&self, grant: &Grant) -> Result<(), Error> {
        self.put_done("/access/acl", &grant.form().with_flag("delete", true)).await
    }

    /// The caller's own effective privileges by path.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn own_permissions(&self) -> Result<Permissions, Error> {
        let raw: BTreeMap<String, BTreeMap<String, Value>> =
            self.get("/access/permissions", &Form::new()).await?;
        let truth = |value: &Value| crate::decode::scalar_text(value).is_some_and(|t| t != "0");
        let privileges =
            |map: BTreeMap<String, Value>| map.iter().map(|(k, v)| (k.clone(), truth(v))).collect();
        Ok(raw.into_iter().map(|(path, map)| (path, privileges(map))).collect())
    }
}

fn join(privileges: &BTreeSet<String>) -> String {
    privileges.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

fn user_path(user: &UserId) -> String {
    format!("/access/users/{}", encode(user.as_str()))
}

fn token_path(token: &TokenId) -> String {
    format!("{}/token/{}", user_path(&token.user), encode(token.name()))
}

pub(crate) fn absent_is_none<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_tokens_and_acls() {
        let read: Token = serde_json::from_str(r#"{"privsep":1,"expire":0,"comment":"t"}"#).unwrap();
        let written: Token = serde_json::from_str(r#"{"privsep":"0","comment":"t"}"#).unwrap();
        assert_eq!((read.privsep, written.privsep), (Some(true), Some(false)));
        let entry: AclEntry = serde_json::from_str(
            r#"{"roleid":"BackupOp","type":"token","path":"/storage/local","propagate":1,"ugid":"ctl@pve!sep"}"#,
        )
        .unwrap();
        assert!(entry.is_for(&Grantee::Token("ctl@pve!sep".parse().unwrap())));
        assert!(!entry.is_for(&Grantee::User("ctl@pve".parse().unwrap())));
        let role: RoleEntry =
            serde_json::from_str(r#"{"roleid":"NoAccess","special":1,"privs":""}"#).unwrap();
        assert!(role.privs.is_empty());
    }

    #[test]
    fn a_grant_names_user_or_token() {
        let mut grant = Grant {
            path: "/pool/felhom".into(),
            role: "FelhomGuests".parse().unwrap(),
            grantee: Grantee::Token("felhom@pve!executor".parse().unwrap()),
            propagate: false,
        };
        assert_eq!(
            grant.form().encode(),
            "path=%2Fpool%2Ffelhom&roles=FelhomGuests&propagate=0&tokens=felhom%40pve%21executor"
        );
        grant.grantee = Grantee::User("felhom@pve".parse().unwrap());
        assert!(grant.form().encode().ends_with("&users=felhom%40pve"));
    }
}
