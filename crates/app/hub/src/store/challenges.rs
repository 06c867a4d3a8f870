//! Challenges of boxes: as they came, for good.

use felhom_model::{BoxId, Digest};
use felhom_protocol::SignedBytes;
use felhom_protocol::hub_api::{AnswerView, ChallengeView, RenewalView};
use felhom_protocol::hub_sync::Said;
use felhom_signing::PublicKey;
use felhom_signing::challenge::Challenge;
use jiff::Timestamp;

use super::{Cause, Conn, from_ms, messages, parse, parse_json, to_json, to_ms};
use crate::challenges::{self, Found, Judged};

/// How many are shown.
const SHOWN: i64 = 200;
/// How many are kept of a box beside the open ones.
const KEPT: i64 = 1000;

#[derive(sqlx::FromRow)]
struct Raw {
    box_name: String,
    digest: String,
    operation: String,
    signed: String,
    attestation_key: String,
    problem: Option<String>,
    consented: String,
    expires: i64,
    is_open: i64,
    box_id: String,
    state: Option<String>,
}

/// Keeps the challenges that are open now; all others of the box are not any more. One that was found good stays as it was.
///
/// # Errors
/// The database's.
pub(crate) async fn put(
    c: &mut Conn,
    box_name: &str,
    key: &PublicKey,
    open: &[Judged],
    now: Timestamp,
) -> Result<(), Cause> {
    let sql = "UPDATE challenges SET is_open = 0 WHERE box_name = $1 AND is_open = 1";
    sqlx::query(sql).bind(box_name).execute(&mut *c).await?;
    for judged in open {
        sqlx::query(
            "INSERT INTO challenges \
             (box_name, digest, operation, signed, attestation_key, problem, consented, received, expires, is_open) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1) ON CONFLICT (box_name, digest) DO UPDATE SET \
             signed = CASE WHEN challenges.problem IS NULL THEN challenges.signed ELSE excluded.signed END, \
             attestation_key = CASE WHEN challenges.problem IS NULL THEN challenges.attestation_key \
                               ELSE excluded.attestation_key END, \
             operation = CASE WHEN challenges.problem IS NULL THEN challenges.operation ELSE excluded.operation END, \
             problem = CASE WHEN challenges.problem IS NULL THEN NULL ELSE excluded.problem END, \
             consented = excluded.consented, expires = excluded.expires, is_open = 1",
        )
        .bind(box_name)
        .bind(judged.digest.to_string())
        .bind(judged.operation.to_string())
        .bind(to_json("a challenge", &judged.told.signed)?)
        .bind(key.to_string())
        .bind(judged.problem.as_deref())
        .bind(to_json("who consented", &judged.told.consented)?)
        .bind(to_ms(now))
        .bind(to_ms(challenges::expires(now, judged.told.left_s)))
        .execute(&mut *c)
        .await?;
    }
    sqlx::query(
        "DELETE FROM challenges WHERE box_name = $1 AND is_open = 0 AND digest NOT IN \
         (SELECT digest FROM challenges WHERE box_name = $1 AND is_open = 0 ORDER BY received DESC LIMIT $2)",
    )
    .bind(box_name)
    .bind(KEPT)
    .execute(c)
    .await?;
    Ok(())
}

/// No challenge of the box can be answered any more; used when it enrols anew.
///
/// # Errors
/// The database's.
pub(crate) async fn void_open(c: &mut Conn, box_name: &str) -> Result<(), Cause> {
    let sql = "UPDATE challenges SET is_open = 0 WHERE box_name = $1";
    sqlx::query(sql).bind(box_name).execute(c).await?;
    Ok(())
}

/// All challenges, or those of one box: open ones first, then newest first.
///
/// # Errors
/// The database's.
pub(crate) async fn all(c: &mut Conn, box_name: Option<&str>, now: Timestamp) -> Result<Vec<Found>, Cause> {
    select(c, box_name, None, now).await
}

/// The challenge with this digest. Where several boxes tell the same bytes, the one whose signature fits.
///
/// # Errors
/// The database's.
pub(crate) async fn by_digest(c: &mut Conn, digest: Digest, now: Timestamp) -> Result<Option<Found>, Cause> {
    let found = select(c, None, Some(digest), now).await?;
    Ok(found.into_iter().min_by_key(|found| found.view.problem.is_some()))
}

async fn select(
    c: &mut Conn,
    box_name: Option<&str>,
    digest: Option<Digest>,
    now: Timestamp,
) -> Result<Vec<Found>, Cause> {
    let rows: Vec<Raw> = sqlx::query_as(
        "SELECT c.*, b.box_id, o.state FROM challenges c JOIN boxes b ON b.name = c.box_name \
         LEFT JOIN operations o ON o.box_name = c.box_name AND o.id = c.operation \
         WHERE ($1 IS NULL OR c.box_name = $1) AND ($2 IS NULL OR c.digest = $2) \
         ORDER BY c.is_open DESC, c.received DESC, c.digest LIMIT $3",
    )
    .bind(box_name)
    .bind(digest.map(|digest| digest.to_string()))
    .bind(SHOWN)
    .fetch_all(&mut *c)
    .await?;
    let mut found = Vec::new();
    for row in rows {
        found.push(read(c, row, now).await?);
    }
    Ok(found)
}

async fn read(c: &mut Conn, raw: Raw, now: Timestamp) -> Result<Found, Cause> {
    let (mut answers, mut renewals): (Vec<AnswerView>, Vec<RenewalView>) = Default::default();
    for kept in messages::all_about(c, &raw.box_name, &raw.digest).await? {
        match kept.said {
            Said::Answer { .. } => answers.push(kept.view.asked),
            Said::Renew { .. } => renewals.push(kept.view),
            Said::Veto { .. } | Said::Unknown => {}
        }
    }
    let signed: SignedBytes = parse_json("a challenge", &raw.signed)?;
    let expires = from_ms(raw.expires)?;
    let operation = raw.state.map(|state| parse_json("a state", &format!("\"{state}\""))).transpose()?;
    let problem = raw.problem.as_deref();
    let state = challenges::state(problem, (raw.is_open == 1, expires, now), &answers, operation);
    let says = Challenge::read(&signed.bytes).ok().filter(|_| problem.is_none());
    let view = ChallengeView {
        digest: parse("a digest", &raw.digest)?,
        box_id: parse::<BoxId>("a box id", &raw.box_id)?,
        box_name: raw.box_name,
        signed,
        attestation_key: parse("an attestation key", &raw.attestation_key)?,
        state,
        answers,
        operation: Some(parse("an operation id", &raw.operation)?),
        consented: parse_json("who consented", &raw.consented)?,
        problem: raw.problem,
        renewals,
    };
    Ok(Found { view, says, expires, operation })
}
