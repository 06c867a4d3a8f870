//! One-time tickets. Only the SHA-256 of a ticket's token is kept.

use felhom_model::Digest;
use jiff::Timestamp;

use super::{Cause, Conn, from_ms, to_ms};

/// A ticket.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    /// For which box.
    pub(crate) box_name: String,
    /// Until when it is good.
    pub(crate) expires: Timestamp,
    /// When it was used, and by which keys.
    pub(crate) used: Option<(Timestamp, String)>,
}

#[derive(sqlx::FromRow)]
struct Raw {
    box_name: String,
    expires: i64,
    used: Option<i64>,
    used_by: Option<String>,
}

impl TryFrom<Raw> for Ticket {
    type Error = Cause;
    fn try_from(raw: Raw) -> Result<Self, Cause> {
        let used = match raw.used {
            Some(time) => Some((from_ms(time)?, raw.used_by.unwrap_or_default())),
            None => None,
        };
        Ok(Self { box_name: raw.box_name, expires: from_ms(raw.expires)?, used })
    }
}

/// Keeps a new ticket.
///
/// # Errors
/// The database's.
pub(crate) async fn add(
    c: &mut Conn,
    token: Digest,
    box_name: &str,
    now: Timestamp,
    expires: Timestamp,
) -> Result<(), Cause> {
    sqlx::query("INSERT INTO tickets (token_hash, box_name, created, expires) VALUES ($1, $2, $3, $4)")
        .bind(token.hex())
        .bind(box_name)
        .bind(to_ms(now))
        .bind(to_ms(expires))
        .execute(c)
        .await?;
    Ok(())
}

/// Removes the box's unused tickets; how many.
///
/// # Errors
/// The database's.
pub(crate) async fn take_back(c: &mut Conn, box_name: &str) -> Result<u64, Cause> {
    let done = sqlx::query("DELETE FROM tickets WHERE box_name = $1 AND used IS NULL")
        .bind(box_name)
        .execute(c)
        .await?;
    Ok(done.rows_affected())
}

/// The ticket with this token.
///
/// # Errors
/// The database's.
pub(crate) async fn by_token(c: &mut Conn, token: Digest) -> Result<Option<Ticket>, Cause> {
    let raw: Option<Raw> =
        sqlx::query_as("SELECT box_name, expires, used, used_by FROM tickets WHERE token_hash = $1")
            .bind(token.hex())
            .fetch_optional(c)
            .await?;
    raw.map(Ticket::try_from).transpose()
}

/// The box's newest ticket.
///
/// # Errors
/// The database's.
pub(crate) async fn newest(c: &mut Conn, box_name: &str) -> Result<Option<Ticket>, Cause> {
    let raw: Option<Raw> = sqlx::query_as(
        "SELECT box_name, expires, used, used_by FROM tickets WHERE box_name = $1 \
         ORDER BY created DESC, token_hash LIMIT 1",
    )
    .bind(box_name)
    .fetch_optional(c)
    .await?;
    raw.map(Ticket::try_from).transpose()
}

/// Marks it as used.
///
/// # Errors
/// The database's.
pub(crate) async fn mark_used(c: &mut Conn, token: Digest, by: &str, now: Timestamp) -> Result<(), Cause> {
    sqlx::query("UPDATE tickets SET used = $2, used_by = $3 WHERE token_hash = $1")
        .bind(token.hex())
        .bind(to_ms(now))
        .bind(by)
        .execute(c)
        .await?;
    Ok(())
}
