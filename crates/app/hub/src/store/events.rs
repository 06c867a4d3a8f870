//! What happened at the hub with a box: refused requests, enrolments, alarms.

use felhom_protocol::hub_api::BoxEvent;
use jiff::SignedDuration;
use ulid::Ulid;

use super::{Cause, Conn, from_ms, to_ms};

/// How many are kept of a box, and shown.
const KEPT: i64 = 300;
/// The same words within this time are one event: a box that repeats itself must not push out everything else.
const SAME_WITHIN: SignedDuration = SignedDuration::from_mins(5);

/// Writes an event, unless the same one was written a moment ago.
///
/// # Errors
/// The database's.
pub(crate) async fn add(c: &mut Conn, id: Ulid, box_name: &str, event: &BoxEvent) -> Result<(), Cause> {
    if has_recent(c, box_name, event).await? {
        return Ok(());
    }
    sqlx::query("INSERT INTO events (id, box_name, time, kind, message) VALUES ($1, $2, $3, $4, $5)")
        .bind(id.to_string())
        .bind(box_name)
        .bind(to_ms(event.time))
        .bind(&event.kind)
        .bind(&event.message)
        .execute(&mut *c)
        .await?;
    sqlx::query(
        "DELETE FROM events WHERE box_name = $1 AND id NOT IN \
         (SELECT id FROM events WHERE box_name = $1 ORDER BY id DESC LIMIT $2)",
    )
    .bind(box_name)
    .bind(KEPT)
    .execute(c)
    .await?;
    Ok(())
}

/// Whether the same event was written a moment ago.
///
/// # Errors
/// The database's.
pub(crate) async fn has_recent(c: &mut Conn, box_name: &str, event: &BoxEvent) -> Result<bool, Cause> {
    let recent = event.time.checked_sub(SAME_WITHIN).unwrap_or(event.time);
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT time FROM events WHERE box_name = $1 AND kind = $2 AND message = $3 AND time > $4 LIMIT 1",
    )
    .bind(box_name)
    .bind(&event.kind)
    .bind(&event.message)
    .bind(to_ms(recent))
    .fetch_optional(c)
    .await?;
    Ok(found.is_some())
}

/// The box's events, newest first.
///
/// # Errors
/// The database's.
pub(crate) async fn newest(c: &mut Conn, box_name: &str) -> Result<Vec<BoxEvent>, Cause> {
    let rows: Vec<(i64, String, String)> = sqlx::query_as(
        "SELECT time, kind, message FROM events WHERE box_name = $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(box_name)
    .bind(KEPT)
    .fetch_all(c)
    .await?;
    rows.into_iter()
        .map(|(time, kind, message)| Ok(BoxEvent { time: from_ms(time)?, kind, message }))
        .collect()
}
