//! Box records and their identity.

use felhom_model::BoxId;
use felhom_signing::PublicKey;
use jiff::Timestamp;

use super::{Cause, Conn, from_ms, parse, to_ms};

/// What the hub knows of a box by itself.
#[derive(Debug, Clone)]
pub(crate) struct BoxRow {
    /// DNS label, the key of everything else.
    pub(crate) name: String,
    /// As it told at enrolment.
    pub(crate) hostname: Option<String>,
    /// Absent until it enrolled.
    pub(crate) identity: Option<BoxIdentity>,
}

/// What enrolment gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BoxIdentity {
    /// Its id.
    pub(crate) id: BoxId,
    /// How often it enrolled.
    pub(crate) epoch: u64,
    /// Signs its requests.
    pub(crate) device_key: PublicKey,
    /// Signs its receipts.
    pub(crate) attestation_key: PublicKey,
    /// When it enrolled last.
    pub(crate) enrolled: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Raw {
    name: String,
    box_id: Option<String>,
    epoch: i64,
    device_key: Option<String>,
    attestation_key: Option<String>,
    hostname: Option<String>,
    enrolled: Option<i64>,
}

impl TryFrom<Raw> for BoxRow {
    type Error = Cause;
    fn try_from(raw: Raw) -> Result<Self, Cause> {
        let identity = match (raw.box_id, raw.device_key, raw.attestation_key, raw.enrolled) {
            (Some(id), Some(device), Some(attestation), Some(enrolled)) => Some(BoxIdentity {
                id: parse("a box id", &id)?,
                epoch: raw.epoch.unsigned_abs(),
                device_key: parse("a device key", &device)?,
                attestation_key: parse("an attestation key", &attestation)?,
                enrolled: from_ms(enrolled)?,
            }),
            _ => None,
        };
        Ok(Self { name: raw.name, hostname: raw.hostname, identity })
    }
}

/// Makes a record; `false` if the name is taken.
///
/// # Errors
/// The database's.
pub(crate) async fn add(c: &mut Conn, name: &str, now: Timestamp) -> Result<bool, Cause> {
    let done = sqlx::query(
        "INSERT INTO boxes (name, epoch, created) VALUES ($1, 0, $2) ON CONFLICT (name) DO NOTHING",
    )
    .bind(name)
    .bind(to_ms(now))
    .execute(c)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes what enrolment gave; the epoch rises.
///
/// # Errors
/// The database's.
pub(crate) async fn set_identity(
    c: &mut Conn,
    name: &str,
    hostname: &str,
    identity: &BoxIdentity,
) -> Result<(), Cause> {
    sqlx::query(
        "UPDATE boxes SET box_id = $2, epoch = $3, device_key = $4, attestation_key = $5, hostname = $6, \
         enrolled = $7 WHERE name = $1",
    )
    .bind(name)
    .bind(identity.id.to_string())
    .bind(i64::try_from(identity.epoch).unwrap_or(i64::MAX))
    .bind(identity.device_key.to_string())
    .bind(identity.attestation_key.to_string())
    .bind(hostname)
    .bind(to_ms(identity.enrolled))
    .execute(c)
    .await?;
    Ok(())
}

/// The record of this name.
///
/// # Errors
/// The database's.
pub(crate) async fn by_name(c: &mut Conn, name: &str) -> Result<Option<BoxRow>, Cause> {
    let raw: Option<Raw> =
        sqlx::query_as("SELECT * FROM boxes WHERE name = $1").bind(name).fetch_optional(c).await?;
    raw.map(BoxRow::try_from).transpose()
}

/// The record of this box id.
///
/// # Errors
/// The database's.
pub(crate) async fn by_id(c: &mut Conn, id: BoxId) -> Result<Option<BoxRow>, Cause> {
    let raw: Option<Raw> = sqlx::query_as("SELECT * FROM boxes WHERE box_id = $1")
        .bind(id.to_string())
        .fetch_optional(c)
        .await?;
    raw.map(BoxRow::try_from).transpose()
}

/// All records by name.
///
/// # Errors
/// The database's.
pub(crate) async fn all(c: &mut Conn) -> Result<Vec<BoxRow>, Cause> {
    let rows: Vec<Raw> = sqlx::query_as("SELECT * FROM boxes ORDER BY name").fetch_all(c).await?;
    rows.into_iter().map(BoxRow::try_from).collect()
}
