//! Messages of people, on their way from the hub to the executor: answers to challenges, vetoes, wishes for a longer-lived
//! challenge. The executor judges; its word goes back to the hub.
//!
//! A message is handed over until the executor said something of it; what it said is kept until the hub knows. The same
//! message twice means the same, so a kill at any instant costs nothing.
//!
//! **Architecture invariant:** nothing is read or judged here. What was altered on the way is the executor's to refuse.

use crate::ask::PassError;
use crate::shared::Shared;
use felhom_client::{Error as ClientError, ErrorKind};
use felhom_model::Digest;
use felhom_protocol::hub_sync::{Message, Outcome, Said};

/// The executor's word for a challenge that cannot be answered any more.
const NOT_OPEN: &str = "challenge_not_open";
/// The executor's word where it accepts and has to try the rest again.
const BUSY: &str = "busy";

/// Hands over what nobody has judged yet. An executor that does not answer is asked again in the next pass.
pub(crate) async fn deliver(shared: &Shared) -> Result<(), PassError> {
    for message in shared.store.undelivered()? {
        let outcome = match hand_over(shared, &message).await {
            Ok(outcome) => outcome,
            Err(error) => match refusal(&message, &error) {
                Some(outcome) => outcome,
                None => {
                    tracing::debug!(message = %message.id, %error, "handed over again later");
                    continue;
                }
            },
        };
        tracing::info!(message = %outcome.id, accepted = outcome.accepted, code = outcome.code, "judged");
        shared.store.note_outcome(&outcome)?;
        shared.tell();
    }
    Ok(())
}

async fn hand_over(shared: &Shared, message: &Message) -> Result<Outcome, ClientError> {
    let executor = &shared.executor;
    Ok(match &message.said {
        Said::Answer { challenge, signature } => match executor.answer(*challenge, signature).await {
            Ok(operation) => {
                accepted(message, format!("it counts; the operation is {}", operation.state), None)
            }
            // Perhaps because of this very answer, if this agent was killed before it noted the outcome.
            Err(error) if error.refusal() == Some(NOT_OPEN) => {
                let counted = executor.answers(*challenge).await?;
                if !counted.contains(&Digest::of(signature.as_bytes())) {
                    return Err(error);
                }
                accepted(message, "it counted".to_owned(), None)
            }
            Err(error) => return Err(error),
        },
        Said::Veto { operation, signed } => {
            let operation = executor.veto(*operation, signed).await?;
            accepted(message, format!("the operation is {}", operation.state), None)
        }
        Said::Renew { challenge } => {
            let new = executor.renew(*challenge).await?;
            accepted(message, "a new challenge was issued".to_owned(), Some(new.digest))
        }
        Said::Unknown => {
            let text = "this agent does not know such messages; it is older than the hub";
            refused(message, "unknown_message", text)
        }
    })
}

fn accepted(message: &Message, text: String, challenge: Option<Digest>) -> Outcome {
    Outcome { id: message.id, accepted: true, code: None, message: text, challenge }
}

fn refused(message: &Message, code: &str, text: &str) -> Outcome {
    let (code, text) = (Some(code.to_owned()), text.to_owned());
    Outcome { id: message.id, accepted: false, code, message: text, challenge: None }
}

/// The executor's refusal, if it is its last word.
fn refusal(message: &Message, error: &ClientError) -> Option<Outcome> {
    match &error.kind {
        ErrorKind::Refused { status: 400..=499, body, .. } if body.error != BUSY => {
            Some(refused(message, &body.error, &body.message))
        }
        ErrorKind::Refused { .. }
        | ErrorKind::Unreachable(_)
        | ErrorKind::OtherCertificate { .. }
        | ErrorKind::TimedOut
        | ErrorKind::Malformed(_)
        | ErrorKind::Forged(_)
        | ErrorKind::Local(_) => None,
    }
}
