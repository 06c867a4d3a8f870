//! Takes in what a box says: turn, sighting, report, operations, receipts, words on jobs; one transaction.

use axum::http::StatusCode;
use felhom_model::{Digest, Generation};
use felhom_protocol::hub_sync::{Report, SyncRequest};
use jiff::Timestamp;

use super::Refusal;
use super::authenticate::{Caller, refuse};
use crate::hub::Inner;
use crate::intent::MAX_GENERATION;
use crate::store::sightings::{self, Sighting};
use crate::store::{self, Cause, Conn, desired, jobs, messages, reports};
use crate::{audit, challenges, facts, receipts};

/// Challenges of one report that are looked at; a box has no more than 8 of each guest.
const MOST_CHALLENGES: usize = 256;

/// A sync that was taken in and waits for its answer.
pub(crate) struct Taken {
    /// The box's name.
    pub(crate) name: String,
    /// The request without its report.
    pub(crate) request: SyncRequest,
    /// What the box said the time before.
    pub(crate) before: Option<Sighting>,
}

enum Outcome {
    OutOfTurn,
    Taken { before: Option<Sighting>, alarms: Vec<Alarm> },
}

type Alarm = (&'static str, String);

/// Takes a request in.
///
/// # Errors
/// A refusal: malformed, or seen before.
pub(crate) async fn take(hub: &Inner, caller: Caller, body: &[u8]) -> Result<Taken, Refusal> {
    let mut request = parse(hub, &caller, body).await?;
    let now = hub.now();
    let report = request.report.take();
    let said =
        Sighting { last_seen: now, generation: request.generation, document_digest: request.document_digest };
    let name = caller.name.clone();
    let outcome = hub
        .store
        .write("taking in a sync", move |c| Box::pin(async move { store(c, &caller, said, report).await }))
        .await?;
    match outcome {
        Outcome::OutOfTurn => {
            let message = format!(
                "sync of box `{name}` refused: this request, or a later one of the box, was taken already"
            );
            let refusal = Refusal::unauthorized("replayed", message).hint(
                "a request that the network delayed does no harm; if it goes on, somebody repeats what was recorded, or \
                 two machines hold the same device key",
            );
            Err(refuse(hub, &name, refusal).await)
        }
        Outcome::Taken { before, alarms } => {
            for (kind, message) in alarms {
                hub.record(&name, kind, message).await;
            }
            Ok(Taken { name, request, before })
        }
    }
}

async fn parse(hub: &Inner, caller: &Caller, body: &[u8]) -> Result<SyncRequest, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let problem = match serde_path_to_error::deserialize::<_, SyncRequest>(&mut reader) {
        Ok(request) if request.generation.0 >= MAX_GENERATION => {
            format!("generation {} cannot be", request.generation)
        }
        Ok(request) => return Ok(request),
        Err(e) => format!("at `{}`: {}", e.path(), e.inner()),
    };
    let message = format!("sync of box `{}` refused: the request is malformed: {problem}", caller.name);
    let refusal = Refusal::new(StatusCode::BAD_REQUEST, "malformed", message)
        .hint("agent and hub may be of versions that do not fit together");
    Err(refuse(hub, &caller.name, refusal).await)
}

async fn store(
    c: &mut Conn,
    caller: &Caller,
    said: Sighting,
    report: Option<Report>,
) -> Result<Outcome, Cause> {
    let (name, now) = (caller.name.as_str(), said.last_seen);
    if !sightings::take_turn(c, name, &caller.turn, now).await? {
        return Ok(Outcome::OutOfTurn);
    }
    let before = sightings::get(c, name).await?;
    let newest = desired::newest(c, name).await?.map(|version| version.view);
    let set = newest.map(|view| (view.generation, view.document_digest)).unwrap_or_default();
    sightings::set(c, name, &said).await?;
    let mut alarms: Vec<Alarm> = alarm(before.as_ref(), &said, set).into_iter().collect();
    if let Some(report) = report {
        store_report(c, caller, &report, now).await?;
        alarms.extend(audit::take(c, name, &caller.identity.attestation_key, &report, now).await?);
    }
    Ok(Outcome::Taken { before, alarms })
}

async fn store_report(c: &mut Conn, caller: &Caller, report: &Report, now: Timestamp) -> Result<(), Cause> {
    let name = caller.name.as_str();
    for signed in &report.receipts {
        let judged = receipts::judge(signed.clone(), caller.identity.id, &caller.identity.attestation_key);
        reports::add_receipt(c, name, &judged).await?;
    }
    for job in &report.jobs {
        jobs::report(c, name, job).await?;
    }
    for outcome in &report.outcomes {
        messages::judged(c, name, outcome).await?;
    }
    let (id, key) = (caller.identity.id, &caller.identity.attestation_key);
    let told = report.challenges.iter().take(MOST_CHALLENGES).cloned();
    let open: Vec<_> = told.map(|told| challenges::judge(told, id, key)).collect();
    store::challenges::put(c, name, key, &open, now).await?;
    reports::put_operations(c, name, &report.operations).await?;
    let proofs = facts::Proofs {
        proven: reports::proven_backups(c, name).await?,
        failed: reports::failed_proofs(c, name).await?,
        unproven: reports::unproven_archives(c, name).await?,
    };
    let told = reports::operations(c, name).await?;
    reports::put(c, name, now, report, &facts::read(report, &told, &proofs, now)).await
}

/// What is strange about the generation that a box holds; told once, when it begins.
fn alarm(
    before: Option<&Sighting>,
    said: &Sighting,
    (set, set_digest): (Generation, Option<Digest>),
) -> Option<Alarm> {
    let held = said.generation;
    if before.is_some_and(|b| b.generation == held && b.document_digest == said.document_digest) {
        return None;
    }
    if held > set {
        let message = format!(
            "the box holds desired state generation {held}, the hub knows only {set}: the hub's database is older than \
             the box. Nothing was changed; the next generation that is set will be above {held}"
        );
        return Some(("database_older_than_box", message));
    }
    let differs = said.document_digest.zip(set_digest).is_some_and(|(held, set)| held != set);
    if held == set && differs {
        let message = format!("the box holds another document as generation {held} than the hub signed");
        return Some(("generation_fork", message));
    }
    let fell = before.map(|b| b.generation).filter(|before| *before > held)?;
    let message = format!("the box held generation {fell} and now holds {held}: its database was replaced");
    Some(("box_generation_fell", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(generation: u64, digest: Option<Digest>) -> Sighting {
        Sighting {
            last_seen: Timestamp::UNIX_EPOCH,
            generation: Generation(generation),
            document_digest: digest,
        }
    }

    #[test]
    fn strange_generations_are_told_once() {
        let (a, b) = (Some(Digest::of(b"a")), Some(Digest::of(b"b")));
        let set = (Generation(3), a);
        let kind = |before: Option<Sighting>, said| alarm(before.as_ref(), &said, set).map(|(kind, _)| kind);
        assert_eq!(kind(None, held(2, b)), None);
        assert_eq!(kind(None, held(3, a)), None);
        assert_eq!(kind(None, held(3, b)), Some("generation_fork"));
        assert_eq!(kind(None, held(4, b)), Some("database_older_than_box"));
        assert_eq!(kind(Some(held(4, b)), held(4, b)), None);
        assert_eq!(kind(Some(held(2, b)), held(1, a)), Some("box_generation_fell"));
    }
}
