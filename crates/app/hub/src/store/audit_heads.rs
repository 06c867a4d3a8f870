//! Ends of boxes' audit logs, for good.

use felhom_protocol::SignedBytes;
use felhom_protocol::hub_api::AuditHeadView;
use felhom_signing::PublicKey;
use felhom_signing::audit::Tip;
use jiff::Timestamp;

use super::{Cause, Conn, from_ms, parse, parse_json, to_json, to_ms};
use crate::audit::Known;

/// A head with what is wrong with it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// What it says.
    pub(crate) head: Tip,
    /// Why it is an alarm.
    pub(crate) problem: Option<String>,
    /// As it was signed.
    pub(crate) signed: SignedBytes,
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
    let last: Option<(i64, String)> = sqlx::query_as(
        "SELECT seq, hash FROM audit_heads WHERE box_name = $1 AND attestation_key = $2 ORDER BY n DESC LIMIT 1",
    )
    .bind(box_name)
    .bind(key.to_string())
    .fetch_optional(&mut *c)
    .await?;
    let same: Vec<(i64, String)> = sqlx::query_as(
        "SELECT seq, hash FROM audit_heads WHERE box_name = $1 AND attestation_key = $2 AND seq = $3",
    )
    .bind(box_name)
    .bind(key.to_string())
    .bind(number(head.seq))
    .fetch_all(c)
    .await?;
    Ok(Known {
        last: last.map(tip).transpose()?,
        same_number: same.into_iter().map(tip).collect::<Result<_, _>>()?,
    })
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
        "INSERT INTO audit_heads (box_name, attestation_key, seq, hash, n, received, problem, head) \
         VALUES ($1, $2, $3, $4, (SELECT coalesce(max(n), 0) + 1 FROM audit_heads WHERE box_name = $1), $5, $6, $7) \
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
    let rows: Vec<(i64, String, String, i64, Option<String>, String)> = sqlx::query_as(
        "SELECT seq, hash, attestation_key, received, problem, head FROM audit_heads WHERE box_name = $1 \
         AND (problem IS NOT NULL OR $2 = 0) ORDER BY n DESC LIMIT $3",
    )
    .bind(box_name)
    .bind(i64::from(problems))
    .bind(i64::from(limit))
    .fetch_all(c)
    .await?;
    rows.into_iter()
        .map(|(seq, hash, key, received, problem, head)| {
            Ok(AuditHeadView {
                seq: seq.unsigned_abs(),
                hash: parse("a hash", &hash)?,
                attestation_key: parse("an attestation key", &key)?,
                received: from_ms(received)?,
                problem,
                head: parse_json("an audit log's head", &head)?,
            })
        })
        .collect()
}
