//! Ends of boxes' audit logs, for good.

use felhom_protocol::SignedBytes;
use felhom_protocol::hub_api::AuditHeadView;
use felhom_signing::PublicKey;
use felhom_signing::audit::Tip;
use jiff::Timestamp;

use super::{Cause, Conn, from_ms, parse, parse_json, to_json, to_ms};
use crate::audit::{Known, Standing};

/// A head with what is wrong with it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// What it says.
    pub(crate) head: Tip,
    /// Why it is an alarm.
    pub(crate) problem: Option<String>,
    /// Entries between it and the one told before.
    pub(crate) unseen: u64,
    /// As it was signed.
    pub(crate) signed: SignedBytes,
}

#[derive(sqlx::FromRow)]
struct Raw {
    seq: i64,
    hash: String,
    attestation_key: String,
    received: i64,
    problem: Option<String>,
    head: String,
    unseen: i64,
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn tip((seq, hash): (i64, String)) -> Result<Tip, Cause> {
    Ok(Tip { seq: seq.unsigned_abs(), hash: parse("a hash", &hash)? })
}

/// What is known when this head comes. Of another attestation key is another log: the box was installed anew.
///
/// # Errors
/// The database's.
pub(crate) async fn known(c: &mut Conn, box_name: &str, key: &PublicKey, head: Tip) -> Result<Known, Cause> {
    let last = last(c, box_name, key).await?;
    let same: Vec<(i64, String)> = sqlx::query_as(
        "SELECT seq, hash FROM audit_heads WHERE box_name = $1 AND attestation_key = $2 AND seq = $3",
    )
    .bind(box_name)
    .bind(key.to_string())
    .bind(number(head.seq))
    .fetch_all(c)
    .await?;
    Ok(Known { last, same_number: same.into_iter().map(tip).collect::<Result<_, _>>()? })
}

/// The end that was told last.
///
/// # Errors
/// The database's.
pub(crate) async fn last(c: &mut Conn, box_name: &str, key: &PublicKey) -> Result<Option<Tip>, Cause> {
    let last: Option<(i64, String)> = sqlx::query_as(
        "SELECT seq, hash FROM audit_heads WHERE box_name = $1 AND attestation_key = $2 ORDER BY n DESC LIMIT 1",
    )
    .bind(box_name)
    .bind(key.to_string())
    .fetch_optional(c)
    .await?;
    last.map(tip).transpose()
}

/// Notes that a report has no good end, and why; the time at which that began stays. Whether that is news.
///
/// # Errors
/// The database's.
pub(crate) async fn set_absent(
    c: &mut Conn,
    box_name: &str,
    key: &PublicKey,
    (now, why): (Timestamp, &str),
) -> Result<bool, Cause> {
    let known: Option<(String, String)> =
        sqlx::query_as("SELECT attestation_key, why FROM audit_absent WHERE box_name = $1")
            .bind(box_name)
            .fetch_optional(&mut *c)
            .await?;
    let is_news = known != Some((key.to_string(), why.to_owned()));
    sqlx::query(
        "INSERT INTO audit_absent (box_name, attestation_key, since, why) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (box_name) DO UPDATE SET why = excluded.why, attestation_key = excluded.attestation_key, \
         since = CASE WHEN audit_absent.attestation_key = excluded.attestation_key THEN audit_absent.since \
                 ELSE excluded.since END",
    )
    .bind(box_name)
    .bind(key.to_string())
    .bind(to_ms(now))
    .bind(why)
    .execute(c)
    .await?;
    Ok(is_news)
}

/// Notes that a report has a good end.
///
/// # Errors
/// The database's.
pub(crate) async fn set_present(c: &mut Conn, box_name: &str) -> Result<(), Cause> {
    sqlx::query("DELETE FROM audit_absent WHERE box_name = $1").bind(box_name).execute(c).await?;
    Ok(())
}

/// What is known of the log that is signed with this key.
///
/// # Errors
/// The database's.
pub(crate) async fn standing(c: &mut Conn, box_name: &str, key: &PublicKey) -> Result<Standing, Cause> {
    let key = key.to_string();
    let problem: Option<String> = sqlx::query_scalar(
        "SELECT problem FROM audit_heads WHERE box_name = $1 AND attestation_key = $2 AND problem IS NOT NULL \
         ORDER BY n DESC LIMIT 1",
    )
    .bind(box_name)
    .bind(&key)
    .fetch_optional(&mut *c)
    .await?;
    let absent: Option<(i64, String)> =
        sqlx::query_as("SELECT since, why FROM audit_absent WHERE box_name = $1 AND attestation_key = $2")
            .bind(box_name)
            .bind(&key)
            .fetch_optional(c)
            .await?;
    Ok(Standing {
        problem,
        absent: absent.map(|(since, why)| from_ms(since).map(|since| (since, why))).transpose()?,
    })
}

/// How many entries of that log there are of which no end was told. Reads a row for each gap.
///
/// # Errors
/// The database's.
pub(crate) async fn unseen(c: &mut Conn, box_name: &str, key: &PublicKey) -> Result<u64, Cause> {
    let sum: Option<i64> = sqlx::query_scalar(
        "SELECT CAST(SUM(unseen) AS BIGINT) FROM audit_heads \
         WHERE box_name = $1 AND attestation_key = $2 AND unseen > 0",
    )
    .bind(box_name)
    .bind(key.to_string())
    .fetch_one(c)
    .await?;
    Ok(sum.unwrap_or_default().unsigned_abs())
}

/// Keeps a head as the last one told; one that was told before keeps the problem that it had.
///
/// # Errors
/// The database's.
pub(crate) async fn put(
    c: &mut Conn,
    box_name: &str,
    key: &PublicKey,
    told: &Told,
    now: Timestamp,
) -> Result<(), Cause> {
    sqlx::query(
        "INSERT INTO audit_heads (box_name, attestation_key, seq, hash, n, received, problem, head, unseen) \
         VALUES ($1, $2, $3, $4, (SELECT coalesce(max(n), 0) + 1 FROM audit_heads WHERE box_name = $1), $5, $6, $7, $8) \
         ON CONFLICT (box_name, attestation_key, seq, hash) DO UPDATE SET n = excluded.n, \
         received = excluded.received, problem = coalesce(excluded.problem, audit_heads.problem)",
    )
    .bind(box_name)
    .bind(key.to_string())
    .bind(number(told.head.seq))
    .bind(told.head.hash.to_string())
    .bind(to_ms(now))
    .bind(told.problem.as_deref())
    .bind(to_json("an audit log's head", &told.signed)?)
    .bind(number(told.unseen))
    .execute(c)
    .await?;
    Ok(())
}

/// The heads of a box, the last one told first; only those with a problem if that is asked for.
///
/// # Errors
/// The database's.
pub(crate) async fn newest(
    c: &mut Conn,
    box_name: &str,
    problems: bool,
    limit: u32,
) -> Result<Vec<AuditHeadView>, Cause> {
    let rows: Vec<Raw> = sqlx::query_as(
        "SELECT seq, hash, attestation_key, received, problem, head, unseen FROM audit_heads WHERE box_name = $1 \
         AND (problem IS NOT NULL OR $2 = 0) ORDER BY n DESC LIMIT $3",
    )
    .bind(box_name)
    .bind(i64::from(problems))
    .bind(i64::from(limit))
    .fetch_all(c)
    .await?;
    rows.into_iter()
        .map(|raw| {
            Ok(AuditHeadView {
                seq: raw.seq.unsigned_abs(),
                hash: parse("a hash", &raw.hash)?,
                attestation_key: parse("an attestation key", &raw.attestation_key)?,
                received: from_ms(raw.received)?,
                problem: raw.problem,
                unseen: raw.unseen.unsigned_abs(),
                head: parse_json("an audit log's head", &raw.head)?,
            })
        })
        .collect()
}
