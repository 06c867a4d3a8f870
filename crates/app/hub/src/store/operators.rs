//! Operators and their sessions. Tokens are kept as SHA-256, passwords as Argon2id.

use felhom_model::Digest;
use jiff::Timestamp;

use super::{Cause, Conn, from_ms, to_ms};

/// An operator.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// Name.
    pub(crate) name: String,
    /// PHC string, if a password was set.
    pub(crate) password_hash: Option<String>,
    /// When the record was made.
    pub(crate) created: Timestamp,
}

/// A session of the pages.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Whose.
    pub(crate) operator: String,
    /// What every form must repeat.
    pub(crate) csrf: String,
    /// Until when.
    pub(crate) expires: Timestamp,
}

type Raw = (String, Option<String>, i64);

fn operator((name, password_hash, created): Raw) -> Result<Operator, Cause> {
    Ok(Operator { name, password_hash, created: from_ms(created)? })
}

/// Makes an operator, or gives an existing one a new token (and password, if one is given).
///
/// # Errors
/// The database's.
pub(crate) async fn put(
    c: &mut Conn,
    name: &str,
    token: Digest,
    password_hash: Option<&str>,
    now: Timestamp,
) -> Result<(), Cause> {
    sqlx::query(
        "INSERT INTO operators (name, token_hash, password_hash, created) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (name) DO UPDATE SET token_hash = excluded.token_hash, \
         password_hash = COALESCE(excluded.password_hash, operators.password_hash)",
    )
    .bind(name)
    .bind(token.hex())
    .bind(password_hash)
    .bind(to_ms(now))
    .execute(&mut *c)
    .await?;
    end_sessions(c, name).await
}

/// Removes an operator and his sessions; `false` if there was none.
///
/// # Errors
/// The database's.
pub(crate) async fn remove(c: &mut Conn, name: &str) -> Result<bool, Cause> {
    end_sessions(c, name).await?;
    let done = sqlx::query("DELETE FROM operators WHERE name = $1").bind(name).execute(c).await?;
    Ok(done.rows_affected() == 1)
}

async fn end_sessions(c: &mut Conn, operator: &str) -> Result<(), Cause> {
    sqlx::query("DELETE FROM sessions WHERE operator = $1").bind(operator).execute(c).await?;
    Ok(())
}

/// All operators by name.
///
/// # Errors
/// The database's.
pub(crate) async fn all(c: &mut Conn) -> Result<Vec<Operator>, Cause> {
    let rows: Vec<Raw> = sqlx::query_as("SELECT name, password_hash, created FROM operators ORDER BY name")
        .fetch_all(c)
        .await?;
    rows.into_iter().map(operator).collect()
}

/// The operator of this name.
///
/// # Errors
/// The database's.
pub(crate) async fn by_name(c: &mut Conn, name: &str) -> Result<Option<Operator>, Cause> {
    let row: Option<Raw> =
        sqlx::query_as("SELECT name, password_hash, created FROM operators WHERE name = $1")
            .bind(name)
            .fetch_optional(c)
            .await?;
    row.map(operator).transpose()
}

/// The operator whose API token has this digest.
///
/// # Errors
/// The database's.
pub(crate) async fn by_token(c: &mut Conn, token: Digest) -> Result<Option<Operator>, Cause> {
    let row: Option<Raw> =
        sqlx::query_as("SELECT name, password_hash, created FROM operators WHERE token_hash = $1")
            .bind(token.hex())
            .fetch_optional(c)
            .await?;
    row.map(operator).transpose()
}

/// Begins a session.
///
/// # Errors
/// The database's.
pub(crate) async fn add_session(
    c: &mut Conn,
    token: Digest,
    session: &Session,
    now: Timestamp,
) -> Result<(), Cause> {
    sqlx::query(
        "INSERT INTO sessions (token_hash, operator, csrf, created, expires) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(token.hex())
    .bind(&session.operator)
    .bind(&session.csrf)
    .bind(to_ms(now))
    .bind(to_ms(session.expires))
    .execute(c)
    .await?;
    Ok(())
}

/// The session of this token, if it is not over.
///
/// # Errors
/// The database's.
pub(crate) async fn session(c: &mut Conn, token: Digest, now: Timestamp) -> Result<Option<Session>, Cause> {
    let row: Option<(String, String, i64)> =
        sqlx::query_as("SELECT operator, csrf, expires FROM sessions WHERE token_hash = $1 AND expires > $2")
            .bind(token.hex())
            .bind(to_ms(now))
            .fetch_optional(c)
            .await?;
    row.map(|(operator, csrf, expires)| Ok(Session { operator, csrf, expires: from_ms(expires)? }))
        .transpose()
}

/// Ends a session.
///
/// # Errors
/// The database's.
pub(crate) async fn end_session(c: &mut Conn, token: Digest) -> Result<(), Cause> {
    sqlx::query("DELETE FROM sessions WHERE token_hash = $1").bind(token.hex()).execute(c).await?;
    Ok(())
}

/// Removes sessions that are over.
///
/// # Errors
/// The database's.
pub(crate) async fn forget_sessions(c: &mut Conn, now: Timestamp) -> Result<(), Cause> {
    sqlx::query("DELETE FROM sessions WHERE expires <= $1").bind(to_ms(now)).execute(c).await?;
    Ok(())
}
