//! What people say to boxes: offered with each sync until the box has judged it, kept afterwards.

use felhom_model::MessageId;
use felhom_protocol::hub_api::{AnswerView, RenewalView};
use felhom_protocol::hub_sync::{Message, Outcome, Said};
use jiff::Timestamp;

use super::{Cause, Conn, from_ms, parse, parse_json, to_json, to_ms};

/// How many are offered at once.
const OFFERED: i64 = 100;

/// A message that the box has not judged.
#[derive(Debug, Clone)]
pub(crate) struct OpenMessage {
    /// As it is sent.
    pub(crate) message: Message,
    /// When it was first sent.
    pub(crate) delivered: Option<Timestamp>,
}

/// A message with what came of it.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// What was said.
    pub(crate) said: Said,
    /// Who, when, and the box's word, for renewals with the new challenge.
    pub(crate) view: RenewalView,
}

#[derive(sqlx::FromRow)]
struct Raw {
    id: String,
    body: String,
    author: String,
    created: i64,
    delivered: Option<i64>,
    accepted: Option<i64>,
    why: Option<String>,
    renewed: Option<String>,
}

impl Raw {
    fn kept(self) -> Result<Kept, Cause> {
        let message: Message = parse_json("a message", &self.body)?;
        let (by, at) = (self.author, from_ms(self.created)?);
        let asked = AnswerView { by, at, accepted: self.accepted.map(|n| n == 1), why: self.why };
        let challenge = self.renewed.map(|digest| parse("a digest", &digest)).transpose()?;
        Ok(Kept { said: message.said, view: RenewalView { asked, challenge } })
    }
}

/// The kind's word, and what the message is about: its challenge or operation.
fn about(said: &Said) -> (&'static str, String) {
    match said {
        Said::Answer { challenge, .. } => ("answer", challenge.to_string()),
        Said::Renew { challenge } => ("renew", challenge.to_string()),
        Said::Veto { operation, .. } => ("veto", operation.to_string()),
        Said::Unknown => ("unknown", String::new()),
    }
}

/// Keeps a new message.
///
/// # Errors
/// The database's.
pub(crate) async fn add(
    c: &mut Conn,
    box_name: &str,
    message: &Message,
    (author, now): (&str, Timestamp),
) -> Result<(), Cause> {
    let (kind, about) = about(&message.said);
    sqlx::query(
        "INSERT INTO messages (id, box_name, kind, about, body, author, created) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(message.id.to_string())
    .bind(box_name)
    .bind(kind)
    .bind(about)
    .bind(to_json("a message", message)?)
    .bind(author)
    .bind(to_ms(now))
    .execute(c)
    .await?;
    Ok(())
}

/// All messages about a challenge or an operation, oldest first.
///
/// # Errors
/// The database's.
pub(crate) async fn all_about(c: &mut Conn, box_name: &str, about: &str) -> Result<Vec<Kept>, Cause> {
    let sql = "SELECT * FROM messages WHERE box_name = $1 AND about = $2 ORDER BY id";
    let rows: Vec<Raw> = sqlx::query_as(sql).bind(box_name).bind(about).fetch_all(c).await?;
    rows.into_iter().map(Raw::kept).collect()
}

/// Messages that the box has not judged, oldest first.
///
/// # Errors
/// The database's.
pub(crate) async fn open(c: &mut Conn, box_name: &str) -> Result<Vec<OpenMessage>, Cause> {
    let sql = "SELECT * FROM messages WHERE box_name = $1 AND accepted IS NULL ORDER BY id LIMIT $2";
    let rows: Vec<Raw> = sqlx::query_as(sql).bind(box_name).bind(OFFERED).fetch_all(c).await?;
    let open = |raw: Raw| {
        let delivered = raw.delivered.map(from_ms).transpose()?;
        let id: MessageId = parse("a message id", &raw.id)?;
        Ok(OpenMessage { message: Message { id, said: raw.kept()?.said }, delivered })
    };
    rows.into_iter().map(open).collect()
}

/// Notes when a message was sent first.
///
/// # Errors
/// The database's.
pub(crate) async fn mark_delivered(c: &mut Conn, id: MessageId, now: Timestamp) -> Result<(), Cause> {
    sqlx::query("UPDATE messages SET delivered = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(to_ms(now))
        .execute(c)
        .await?;
    Ok(())
}

/// Takes the box's word. The first one stays.
///
/// # Errors
/// The database's.
pub(crate) async fn judged(c: &mut Conn, box_name: &str, outcome: &Outcome) -> Result<(), Cause> {
    let why = outcome.code.as_ref().map(|code| format!("{code}: {}", outcome.message));
    sqlx::query(
        "UPDATE messages SET accepted = $3, why = $4, renewed = $5 \
         WHERE id = $1 AND box_name = $2 AND accepted IS NULL",
    )
    .bind(outcome.id.to_string())
    .bind(box_name)
    .bind(i64::from(outcome.accepted))
    .bind(why)
    .bind(outcome.challenge.map(|digest| digest.to_string()))
    .execute(c)
    .await?;
    Ok(())
}

/// Ends what the box has not judged; used when it enrols anew.
///
/// # Errors
/// The database's.
pub(crate) async fn void_open(c: &mut Conn, box_name: &str, why: &str) -> Result<(), Cause> {
    sqlx::query("UPDATE messages SET accepted = 0, why = $2 WHERE box_name = $1 AND accepted IS NULL")
        .bind(box_name)
        .bind(why)
        .execute(c)
        .await?;
    Ok(())
}
