//! When a box was last seen, what generation it holds, and whose turn it is.

use felhom_model::{Digest, Generation};
use felhom_protocol::hub_sync::Turn;
use jiff::Timestamp;

use super::{Cause, Conn, from_ms, parse, to_ms};

/// What a box said of itself in its last accepted sync.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    /// When, by the hub's clock.
    pub(crate) last_seen: Timestamp,
    /// The generation that it holds.
    pub(crate) generation: Generation,
    /// Digest of that document.
    pub(crate) document_digest: Option<Digest>,
}

/// Takes a request's turn; `false` if it, a later one, or one of a later run was taken already.
///
/// # Errors
/// The database's.
pub(crate) async fn take_turn(
    c: &mut Conn,
    box_name: &str,
    turn: &Turn,
    now: Timestamp,
) -> Result<bool, Cause> {
    let count = i64::try_from(turn.count).unwrap_or(i64::MAX);
    let newest: Option<(String, i64)> =
        sqlx::query_as("SELECT run, began FROM runs WHERE box_name = $1 ORDER BY began DESC LIMIT 1")
            .bind(box_name)
            .fetch_optional(&mut *c)
            .await?;
    let done = match newest {
        Some((run, _)) if run == turn.run => {
            let sql = "UPDATE runs SET taken = $1, seen = $2 WHERE box_name = $3 AND run = $4 AND taken < $1";
            sqlx::query(sql).bind(count).bind(to_ms(now)).bind(box_name).bind(&turn.run).execute(c).await?
        }
        other => {
            sqlx::query(
                "INSERT INTO runs (box_name, run, began, taken, seen) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(box_name)
            .bind(&turn.run)
            .bind(other.map_or(1, |(_, began)| began.saturating_add(1)))
            .bind(count)
            .bind(to_ms(now))
            .execute(c)
            .await?
        }
    };
    Ok(done.rows_affected() == 1)
}

/// Forgets runs of which no request could be accepted any more; a box's newest one stays, whatever the clock did.
///
/// # Errors
/// The database's.
pub(crate) async fn forget_runs(c: &mut Conn, seen_before: Timestamp) -> Result<(), Cause> {
    let sql = "DELETE FROM runs WHERE seen < $1 AND began < \
               (SELECT MAX(newest.began) FROM runs AS newest WHERE newest.box_name = runs.box_name)";
    sqlx::query(sql).bind(to_ms(seen_before)).execute(c).await?;
    Ok(())
}

/// Writes the sighting.
///
/// # Errors
/// The database's.
pub(crate) async fn set(c: &mut Conn, box_name: &str, sighting: &Sighting) -> Result<(), Cause> {
    sqlx::query(
        "INSERT INTO sightings (box_name, last_seen, generation, document_digest) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (box_name) DO UPDATE SET last_seen = excluded.last_seen, \
         generation = excluded.generation, document_digest = excluded.document_digest",
    )
    .bind(box_name)
    .bind(to_ms(sighting.last_seen))
    .bind(i64::try_from(sighting.generation.0).unwrap_or(i64::MAX))
    .bind(sighting.document_digest.map(|digest| digest.to_string()))
    .execute(c)
    .await?;
    Ok(())
}

/// The box's sighting, if it was ever seen.
///
/// # Errors
/// The database's.
pub(crate) async fn get(c: &mut Conn, box_name: &str) -> Result<Option<Sighting>, Cause> {
    let raw: Option<(i64, i64, Option<String>)> =
        sqlx::query_as("SELECT last_seen, generation, document_digest FROM sightings WHERE box_name = $1")
            .bind(box_name)
            .fetch_optional(c)
            .await?;
    let Some((last_seen, generation, digest)) = raw else { return Ok(None) };
    Ok(Some(Sighting {
        last_seen: from_ms(last_seen)?,
        generation: Generation(generation.unsigned_abs()),
        document_digest: digest.map(|text| parse("a digest", &text)).transpose()?,
    }))
}
