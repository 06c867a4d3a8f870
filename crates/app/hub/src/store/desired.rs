//! Desired state with its history. A document and its signature are kept byte for byte as they were signed.

use felhom_model::{Digest, Generation};
use felhom_protocol::desired::Spec;
use felhom_protocol::hub_api::DesiredVersion;
use felhom_signing::{Signature, Signed};

use super::{Cause, Conn, from_ms, parse, parse_json, to_json, to_ms};

/// How many are shown.
const SHOWN: i64 = 500;

/// One generation.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    /// As people see it.
    pub(crate) view: DesiredVersion,
    /// Digest of the document before it, where that is not the previous row's: a box was ahead of this database.
    pub(crate) prev_hash: Option<Digest>,
    /// The signed document; absent until the box enrolled.
    pub(crate) signed: Option<Signed>,
}

#[derive(sqlx::FromRow)]
struct Raw {
    generation: i64,
    author: String,
    time: i64,
    message: String,
    spec: String,
    prev_hash: Option<String>,
    document: Option<String>,
    signature: Option<String>,
}

impl TryFrom<Raw> for Version {
    type Error = Cause;
    fn try_from(raw: Raw) -> Result<Self, Cause> {
        let signed = match (raw.document, raw.signature) {
            (Some(document), Some(signature)) => Some(Signed {
                bytes: document.into_bytes(),
                signature: parse::<Signature>("a signature", &signature)?,
            }),
            _ => None,
        };
        let spec: Spec = parse_json("a desired state", &raw.spec)?;
        Ok(Self {
            view: DesiredVersion {
                generation: Generation(raw.generation.unsigned_abs()),
                document_digest: signed.as_ref().map(|signed| Digest::of(&signed.bytes)),
                author: raw.author,
                time: from_ms(raw.time)?,
                message: raw.message,
                spec,
            },
            prev_hash: raw.prev_hash.map(|text| parse("a digest", &text)).transpose()?,
            signed,
        })
    }
}

fn as_number(generation: Generation) -> i64 {
    i64::try_from(generation.0).unwrap_or(i64::MAX)
}

/// Keeps a new generation.
///
/// # Errors
/// The database's; also if this generation is taken.
pub(crate) async fn add(c: &mut Conn, box_name: &str, version: &Version) -> Result<(), Cause> {
    let view = &version.view;
    sqlx::query(
        "INSERT INTO desired_states (box_name, generation, author, time, message, spec, prev_hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(box_name)
    .bind(as_number(view.generation))
    .bind(&view.author)
    .bind(to_ms(view.time))
    .bind(&view.message)
    .bind(to_json("a desired state", &view.spec)?)
    .bind(version.prev_hash.map(|digest| digest.to_string()))
    .execute(&mut *c)
    .await?;
    match &version.signed {
        Some(signed) => set_signed(c, box_name, view.generation, signed).await,
        None => Ok(()),
    }
}

/// Adds document and signature to a generation.
///
/// # Errors
/// The database's; [`Cause::Corrupt`] if the document is no text.
pub(crate) async fn set_signed(
    c: &mut Conn,
    box_name: &str,
    generation: Generation,
    signed: &Signed,
) -> Result<(), Cause> {
    let document = std::str::from_utf8(&signed.bytes)
        .map_err(|e| Cause::Corrupt { what: "a document", why: e.to_string() })?;
    sqlx::query(
        "UPDATE desired_states SET document = $3, signature = $4 WHERE box_name = $1 AND generation = $2",
    )
    .bind(box_name)
    .bind(as_number(generation))
    .bind(document)
    .bind(signed.signature.to_string())
    .execute(c)
    .await?;
    Ok(())
}

/// The newest generation.
///
/// # Errors
/// The database's.
pub(crate) async fn newest(c: &mut Conn, box_name: &str) -> Result<Option<Version>, Cause> {
    let raw: Option<Raw> =
        sqlx::query_as("SELECT * FROM desired_states WHERE box_name = $1 ORDER BY generation DESC LIMIT 1")
            .bind(box_name)
            .fetch_optional(c)
            .await?;
    raw.map(Version::try_from).transpose()
}

/// All generations, newest first.
///
/// # Errors
/// The database's.
pub(crate) async fn history(c: &mut Conn, box_name: &str) -> Result<Vec<Version>, Cause> {
    let rows: Vec<Raw> =
        sqlx::query_as("SELECT * FROM desired_states WHERE box_name = $1 ORDER BY generation DESC LIMIT $2")
            .bind(box_name)
            .bind(SHOWN)
            .fetch_all(c)
            .await?;
    rows.into_iter().map(Version::try_from).collect()
}

/// Generations without a document, oldest first.
///
/// # Errors
/// The database's.
pub(crate) async fn unsigned(c: &mut Conn, box_name: &str) -> Result<Vec<Version>, Cause> {
    let rows: Vec<Raw> = sqlx::query_as(
        "SELECT * FROM desired_states WHERE box_name = $1 AND document IS NULL ORDER BY generation",
    )
    .bind(box_name)
    .fetch_all(c)
    .await?;
    rows.into_iter().map(Version::try_from).collect()
}
