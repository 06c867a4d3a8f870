//! What boxes tell: the newest report whole, operations and receipts for good.

use std::collections::{BTreeMap, HashMap};

use felhom_model::{Digest, GuestUuid};
use felhom_protocol::hub_sync::Report;
use felhom_protocol::receipt::SignedReceipt;
use felhom_protocol::status::Operation;
use jiff::Timestamp;

use super::{Cause, Conn, from_ms, parse, parse_json, to_json, to_ms};
use crate::facts::Facts;
use crate::receipts::Judged;

/// How many operations and receipts are shown.
const SHOWN: i64 = 200;

/// The newest report.
#[derive(Debug, Clone)]
pub(crate) struct StoredReport {
    /// When it came in, by the hub's clock.
    pub(crate) received: Timestamp,
    /// The whole of it.
    pub(crate) report: Report,
}

/// Keeps the report in place of the one before.
///
/// # Errors
/// The database's.
pub(crate) async fn put(
    c: &mut Conn,
    box_name: &str,
    received: Timestamp,
    report: &Report,
    facts: &Facts,
) -> Result<(), Cause> {
    sqlx::query(
        "INSERT INTO reports (box_name, received, body, facts) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (box_name) DO UPDATE SET received = excluded.received, body = excluded.body, \
         facts = excluded.facts",
    )
    .bind(box_name)
    .bind(to_ms(received))
    .bind(to_json("a report", report)?)
    .bind(to_json("the facts of a report", facts)?)
    .execute(c)
    .await?;
    Ok(())
}

/// The box's newest report.
///
/// # Errors
/// The database's.
pub(crate) async fn get(c: &mut Conn, box_name: &str) -> Result<Option<StoredReport>, Cause> {
    let row: Option<(i64, String)> = sqlx::query_as("SELECT received, body FROM reports WHERE box_name = $1")
        .bind(box_name)
        .fetch_optional(c)
        .await?;
    row.map(|(received, body)| {
        Ok(StoredReport { received: from_ms(received)?, report: parse_json("a report", &body)? })
    })
    .transpose()
}

/// What the fleet page needs of the box's newest report.
///
/// # Errors
/// The database's.
pub(crate) async fn facts(c: &mut Conn, box_name: &str) -> Result<Option<Facts>, Cause> {
    let text: Option<String> = sqlx::query_scalar("SELECT facts FROM reports WHERE box_name = $1")
        .bind(box_name)
        .fetch_optional(c)
        .await?;
    text.map(|text| parse_json("the facts of a report", &text)).transpose()
}

/// Writes the operations that differ from what is kept.
///
/// # Errors
/// The database's.
pub(crate) async fn put_operations(
    c: &mut Conn,
    box_name: &str,
    operations: &[Operation],
) -> Result<(), Cause> {
    let Some(oldest) = operations.iter().map(|operation| operation.id).min() else { return Ok(()) };
    let kept: Vec<(String, String)> =
        sqlx::query_as("SELECT id, body FROM operations WHERE box_name = $1 AND id >= $2")
            .bind(box_name)
            .bind(oldest.to_string())
            .fetch_all(&mut *c)
            .await?;
    let kept: HashMap<String, String> = kept.into_iter().collect();
    for operation in operations {
        let body = to_json("an operation", operation)?;
        if kept.get(&operation.id.to_string()) != Some(&body) {
            put_operation(c, box_name, operation, &body).await?;
        }
    }
    Ok(())
}

async fn put_operation(c: &mut Conn, box_name: &str, operation: &Operation, body: &str) -> Result<(), Cause> {
    sqlx::query(
        "INSERT INTO operations (box_name, id, kind, state, body) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (box_name, id) DO UPDATE SET state = excluded.state, body = excluded.body",
    )
    .bind(box_name)
    .bind(operation.id.to_string())
    .bind(&operation.kind)
    .bind(operation.state.name())
    .bind(body)
    .execute(c)
    .await?;
    Ok(())
}

/// The box's operations, newest first; also those that its report no longer lists.
///
/// # Errors
/// The database's.
pub(crate) async fn operations(c: &mut Conn, box_name: &str) -> Result<Vec<Operation>, Cause> {
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT body FROM operations WHERE box_name = $1 ORDER BY id DESC LIMIT $2")
            .bind(box_name)
            .bind(SHOWN)
            .fetch_all(c)
            .await?;
    rows.iter().map(|text| parse_json("an operation", text)).collect()
}

/// Keeps a receipt with what it counts for; one that is there stays as it was judged then.
///
/// # Errors
/// The database's.
pub(crate) async fn add_receipt(c: &mut Conn, box_name: &str, judged: &Judged) -> Result<(), Cause> {
    let receipt = judged.receipt.as_ref();
    sqlx::query(
        "INSERT INTO receipts (box_name, digest, guest, taken_at, started, proven, problem, body) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (box_name, digest) DO NOTHING",
    )
    .bind(box_name)
    .bind(digest_of(&judged.signed)?.hex())
    .bind(receipt.map(|receipt| receipt.guest.to_string()))
    .bind(receipt.map(|receipt| to_ms(receipt.taken_at)))
    .bind(receipt.map(|receipt| to_ms(receipt.started)))
    .bind(i64::from(judged.problem.is_none()))
    .bind(judged.problem.as_deref())
    .bind(to_json("a receipt", &judged.signed)?)
    .execute(c)
    .await?;
    Ok(())
}

/// Over document *and* signature: an altered copy must not hide behind the real one, nor the real one behind it.
fn digest_of(signed: &SignedReceipt) -> Result<Digest, Cause> {
    Ok(Digest::of(to_json("a receipt", signed)?.as_bytes()))
}

/// The box's receipts with what they count for, newest first.
///
/// # Errors
/// The database's.
pub(crate) async fn receipts(c: &mut Conn, box_name: &str) -> Result<Vec<Judged>, Cause> {
    let rows: Vec<(Option<String>, String)> = sqlx::query_as(
        "SELECT problem, body FROM receipts WHERE box_name = $1 ORDER BY started DESC, digest LIMIT $2",
    )
    .bind(box_name)
    .bind(SHOWN)
    .fetch_all(c)
    .await?;
    rows.into_iter()
        .map(|(problem, body)| {
            let signed: SignedReceipt = parse_json("a receipt", &body)?;
            let receipt = serde_json::from_str(&signed.document).ok();
            Ok(Judged { signed, receipt, problem })
        })
        .collect()
}

/// When the newest proven backup of each guest was taken.
///
/// # Errors
/// The database's.
pub(crate) async fn proven_backups(
    c: &mut Conn,
    box_name: &str,
) -> Result<BTreeMap<GuestUuid, Timestamp>, Cause> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT guest, MAX(taken_at) FROM receipts WHERE box_name = $1 AND proven = 1 GROUP BY guest",
    )
    .bind(box_name)
    .fetch_all(c)
    .await?;
    rows.iter().map(|(guest, taken_at)| Ok((parse("a guest uuid", guest)?, from_ms(*taken_at)?))).collect()
}

/// Why the newest restore test of each guest proves nothing, where that is so.
///
/// # Errors
/// The database's.
pub(crate) async fn failed_proofs(
    c: &mut Conn,
    box_name: &str,
) -> Result<BTreeMap<GuestUuid, String>, Cause> {
    let rows: Vec<(String, Option<String>)> = sqlx::query_as(
        "SELECT r.guest, r.problem FROM receipts r WHERE r.box_name = $1 AND r.guest IS NOT NULL \
         AND r.started = (SELECT MAX(n.started) FROM receipts n \
                          WHERE n.box_name = r.box_name AND n.guest = r.guest)",
    )
    .bind(box_name)
    .fetch_all(c)
    .await?;
    rows.into_iter()
        .filter_map(|(guest, problem)| problem.map(|why| (guest, why)))
        .map(|(guest, why)| Ok((parse("a guest uuid", &guest)?, why)))
        .collect()
}

/// Why the newest restore test of each archive proves nothing, where that is so; an archive is named by its guest and the
/// time (in whole milliseconds) at which its data was frozen.
///
/// # Errors
/// The database's.
pub(crate) async fn unproven_archives(
    c: &mut Conn,
    box_name: &str,
) -> Result<BTreeMap<(GuestUuid, Timestamp), String>, Cause> {
    let rows: Vec<(String, i64, Option<String>)> = sqlx::query_as(
        "SELECT r.guest, r.taken_at, r.problem FROM receipts r WHERE r.box_name = $1 AND r.guest IS NOT NULL \
         AND r.started = (SELECT MAX(n.started) FROM receipts n WHERE n.box_name = r.box_name \
                          AND n.guest = r.guest AND n.taken_at = r.taken_at)",
    )
    .bind(box_name)
    .fetch_all(c)
    .await?;
    rows.into_iter()
        .filter_map(|(guest, taken_at, problem)| problem.map(|why| (guest, taken_at, why)))
        .map(|(guest, taken_at, why)| Ok(((parse("a guest uuid", &guest)?, from_ms(taken_at)?), why)))
        .collect()
}
