//! Rows of the tables, there and back.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};
use ulid::Ulid;

use crate::event::{Event, Recorded};
use crate::state::{Operation, StepView};
use crate::store::{Body, Envelope, NewOperation, OperationId};

/// What this program writes. Version 1 knew no grace period in seconds (and never wrote one), no consent, cancelling or
/// resolving; all else is as it was, and read as it is.
const EVENT_VERSION: i64 = 2;

/// Why a transaction is rolled back.
pub(super) enum Refused {
    /// The token was used before.
    Consumed(String),
    /// SQLite failed.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sqlite(e)
    }
}

/// Writes events and what they lead to; the error of a token that was used before undoes it all.
pub(super) fn write_events(
    tx: &Transaction<'_>,
    events: &[Event],
    after: &Operation,
) -> Result<Vec<u64>, Refused> {
    let id = after.id().to_string();
    let at = after.updated_at.to_string();
    let mut numbers = Vec::with_capacity(events.len());
    for event in events {
        tx.execute(
            "INSERT INTO event (operation, at, version, body) VALUES (?1,?2,?3,?4)",
            params![id, at, EVENT_VERSION, to_json(event)?],
        )?;
        numbers.push(u64::try_from(tx.last_insert_rowid()).unwrap_or_default());
        write_effects(tx, &id, event)?;
    }
    tx.execute(
        "UPDATE operation SET state = ?2, active = ?3, reason = ?4, updated_at = ?5, authorization = ?6 WHERE id = ?1",
        params![id, after.state.as_str(), after.state.is_active(), after.reason, at, text(&after.authorization)],
    )?;
    for (n, step) in after.steps.iter().enumerate() {
        write_step(tx, &id, n, step)?;
    }
    Ok(numbers)
}

/// What an event puts into tables of its own.
fn write_effects(tx: &Transaction<'_>, id: &str, event: &Event) -> Result<(), Refused> {
    if let Event::StepIntended { owns, .. } = event {
        for resource in owns {
            tx.execute(
                "INSERT OR IGNORE INTO owned (operation, resource) VALUES (?1,?2)",
                params![id, resource],
            )?;
        }
    }
    if let Event::Authorized { consumes, .. } = event {
        for token in consumes {
            let sql = "INSERT INTO consumed (token, operation) VALUES (?1,?2) ON CONFLICT (token) DO NOTHING";
            if tx.execute(sql, params![token, id])? == 0 {
                return Err(Refused::Consumed(token.clone()));
            }
        }
    }
    Ok(())
}

fn text(value: &Option<serde_json::Value>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

fn write_step(tx: &Transaction<'_>, id: &str, n: usize, step: &StepView) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO step (operation, n, name, state, intent, handle, outcome) VALUES (?1,?2,?3,?4,?5,?6,?7)
         ON CONFLICT (operation, n) DO UPDATE SET state = ?4, intent = ?5, handle = ?6, outcome = ?7
         WHERE state <> ?4 OR handle IS NOT ?6",
        params![
            id,
            index(n),
            step.name,
            step.state.as_str(),
            text(&step.intent),
            text(&step.handle),
            text(&step.outcome)
        ],
    )
    .map(drop)
}

pub(super) fn read_operation(
    tx: &Transaction<'_>,
    id: OperationId,
) -> rusqlite::Result<Option<NewOperation>> {
    tx.query_row(
        "SELECT request_key, requested_by, created_boot, kind, kind_version, params, claims, created_at
           FROM operation WHERE id = ?1",
        [id.to_string()],
        |r| {
            Ok(NewOperation {
                envelope: Envelope { id, request_key: r.get(0)?, requested_by: r.get(1)?, boot: r.get(2)? },
                body: Body {
                    kind: r.get(3)?,
                    kind_version: r.get(4)?,
                    params: json(r, 5)?,
                    claims: json(r, 6)?,
                },
                created_at: timestamp(r, 7)?,
            })
        },
    )
    .optional()
}

pub(super) fn recorded(r: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Recorded> {
    let version: i64 = r.get(first + 2)?;
    if !(1..=EVENT_VERSION).contains(&version) {
        return Err(broken(first + 2, format!("event version {version} is unknown")));
    }
    Ok(Recorded {
        seq: u64::try_from(r.get::<_, i64>(first)?).unwrap_or_default(),
        at: timestamp(r, first + 1)?,
        event: json(r, first + 3)?,
    })
}

pub(super) fn index(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

pub(super) fn json<T: serde::de::DeserializeOwned>(
    r: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    serde_json::from_str(&r.get::<_, String>(column)?).map_err(|e| broken(column, e.to_string()))
}

fn timestamp(r: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    r.get::<_, String>(column)?.parse().map_err(|e: jiff::Error| broken(column, e.to_string()))
}

pub(super) fn operation_id(r: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<OperationId> {
    Ulid::from_string(&r.get::<_, String>(column)?)
        .map(OperationId)
        .map_err(|e| broken(column, e.to_string()))
}

fn broken(column: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.into())
}
