//! The link to the hub: signed sync, initiated here. Down come desired state, jobs and messages, up goes the report.
//!
//! One round: report, if it changed → sync → the answer is from the pinned hub and for this request (the client's matter)
//! → desired state → jobs, messages → when to come again. While the hub is silent everything else goes on.

use crate::desired::{Rejected, accept};
use crate::identity::{self, Enrolment};
use crate::report::{fingerprint, report};
use crate::shared::Shared;
use anyhow::Context as _;
use felhom_client::sync::SyncClient;
use felhom_client::{Error as ClientError, ErrorKind};
use felhom_model::{Digest, Generation, JobId, MessageId};
use felhom_planner::Status;
use felhom_protocol::hub_sync::{Report, SyncAnswer, SyncRequest, Turn};
use felhom_signing::Key;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// News come in bursts; what they change is looked at once for each.
const BURST: Duration = Duration::from_millis(100);
/// How often it is looked whether the box was enrolled.
const UNENROLLED: Duration = Duration::from_secs(1);
/// The hub may ask for a pause of this many seconds.
const NEXT_S: std::ops::RangeInclusive<u32> = 1..=900;
/// The first pause after a failure, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(900));
/// A report is told again after this time even if nothing changed.
const RETELL: SignedDuration = SignedDuration::from_mins(10);
/// A clock that differs from the hub's by more is told of.
const CLOCK: SignedDuration = SignedDuration::from_secs(60);

/// The hub's word for a clock that is too far off.
const CLOCK_OFF: &str = "clock_off";

/// When the last sync succeeded, for `status`.
pub(crate) const LAST_SYNC: &str = "last_sync";
/// The hub's clock minus ours in seconds, used when the hub refuses ours.
const CLOCK_OFFSET: &str = "clock_offset_s";

/// The way to the hub of one enrolment.
#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    key: Key,
    enrolment: Enrolment,
    client: SyncClient,
    /// The last request.
    turn: Turn,
    /// What the hub has acknowledged, and when.
    acknowledged: Option<(Digest, Timestamp)>,
}

/// Syncs for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut link: Option<Link> = None;
    let mut pause = BACKOFF.0;
    loop {
        match connect(&shared, link.take()) {
            Ok(None) => {
                let _ = timeout(UNENROLLED, shared.sync.notified()).await;
            }
            Ok(Some(mut connected)) => {
                pause = round(&mut connected, pause).await;
                link = Some(connected);
            }
            Err(error) => {
                tracing::error!("{error:#}");
                sleep(BACKOFF.0 * 5).await;
            }
        }
    }
}

/// One exchange, without the pause after it. `false`: the box is not enrolled.
///
/// # Errors
/// Why there was no answer, or none that counts.
pub(crate) async fn once(shared: &Arc<Shared>, link: &mut Option<Link>) -> anyhow::Result<bool> {
    *link = connect(shared, link.take())?;
    let Some(link) = link else { return Ok(false) };
    sync(link).await?;
    Ok(true)
}

/// The link of the enrolment as it is now; the old one if that did not change.
fn connect(shared: &Arc<Shared>, old: Option<Link>) -> anyhow::Result<Option<Link>> {
    let Some(enrolment) = identity::enrolment(&shared.config)? else { return Ok(None) };
    if let Some(old) = old.filter(|old| old.enrolment == enrolment) {
        return Ok(Some(old));
    }
    let key = identity::device_key(&shared.config)?.context("the box is enrolled but has no device key")?;
    let Enrolment { hub_url, hub_fingerprint, hub_key, box_id, .. } = &enrolment;
    let client = SyncClient::new(hub_url, *hub_fingerprint, *hub_key, *box_id)?;
    let turn = Turn { run: identity::run()?, count: 0 };
    Ok(Some(Link { shared: shared.clone(), key, enrolment, client, turn, acknowledged: None }))
}

/// One round and the pause after it. Returns the pause to begin with after a failure.
async fn round(link: &mut Link, pause: Duration) -> Duration {
    let began = Instant::now();
    match sync(link).await {
        Ok(next_s) => {
            let next = jittered(Duration::from_secs((*NEXT_S.end()).min(next_s.max(*NEXT_S.start())).into()));
            // A change is told sooner, but not more often than this.
            let soonest = (next / 20).max(Duration::from_millis(250));
            wait(link, began + soonest, began + next).await;
            BACKOFF.0
        }
        Err(error) => {
            tracing::warn!("{error:#}");
            let (first, longest) = BACKOFF;
            let next = spread(first, pause * 3).min(longest);
            let _ = timeout(next, link.shared.sync.notified()).await;
            next.max(first)
        }
    }
}

/// Waits until `latest`, or until something worth telling changed, but at least until `soonest`.
async fn wait(link: &Link, soonest: Instant, latest: Instant) {
    tokio::select! {
        () = tokio::time::sleep_until(soonest) => {}
        () = link.shared.sync.notified() => return,
    }
    tokio::select! {
        () = news(&link.shared, link.acknowledged.map(|(digest, _)| digest)) => {}
        () = tokio::time::sleep_until(latest) => {}
        () = link.shared.sync.notified() => {}
    }
}

/// Waits until there is something worth telling that was not told.
async fn news(shared: &Shared, told: Option<Digest>) {
    let mut changes = shared.changes();
    while !report(shared).is_ok_and(|report| Some(fingerprint(&report)) != told) {
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(BURST).await;
        changes.mark_unchanged();
    }
}

/// One sync. Returns the pause that the hub asks for, in seconds.
async fn sync(link: &mut Link) -> anyhow::Result<u32> {
    let shared = link.shared.clone();
    let now = shared.now();
    let held = shared.store.held()?.filter(|held| held.box_id == link.enrolment.box_id);
    let full = report(&shared)?;
    let digest = fingerprint(&full);
    let known = link.acknowledged.is_some_and(|(told, at)| told == digest && now.duration_since(at) < RETELL);
    link.turn.count += 1;
    let request = SyncRequest {
        nonce: link.turn.to_string(),
        generation: held.as_ref().map(|held| held.generation).unwrap_or_default(),
        document_digest: held.as_ref().map(|held| held.digest),
        report: (!known).then(|| full.clone()),
        wait_s: shared.config.sync_wait_s,
    };
    let answer = match send(link, &request, now, digest).await {
        Ok(Some(answer)) => answer,
        Ok(None) => return Ok(*NEXT_S.start()),
        Err(error) => {
            if error.refusal() == Some("replayed") {
                // A request of an earlier run came late and took the turn: a new run speaks again.
                link.turn = Turn { run: identity::run()?, count: 0 };
            }
            learn_clock(&shared, &error, now)?;
            let (reason, message) = failure(&error);
            shared.condition("HubReachable", Status::False, reason, message)?;
            return Err(error.into());
        }
    };
    if !known {
        link.acknowledged = Some((digest, now));
    }
    shared.condition("HubReachable", Status::True, "Answers", "the last sync succeeded")?;
    shared.store.set_meta(LAST_SYNC, &now.to_string())?;
    clock(&shared, answer.time, now)?;
    take(link, answer, (!known).then_some(&full))
}

/// Sends; `None` if something worth telling changed while the hub held its answer back, so that it is told at once.
async fn send(
    link: &Link,
    request: &SyncRequest,
    now: Timestamp,
    told: Digest,
) -> Result<Option<SyncAnswer>, ClientError> {
    let offset = link.shared.store.meta(CLOCK_OFFSET).ok().flatten().and_then(|text| text.parse().ok());
    let now = now.saturating_add(SignedDuration::from_secs(offset.unwrap_or(0))).unwrap_or(now);
    let call = link.client.sync(&link.key, request, now);
    if request.wait_s == 0 {
        return call.await.map(Some);
    }
    let changed = async {
        sleep(Duration::from_millis(250)).await;
        news(&link.shared, Some(told)).await;
    };
    tokio::select! {
        answer = call => answer.map(Some),
        () = changed => Ok(None),
    }
}

/// Takes in what came down.
fn take(link: &Link, answer: SyncAnswer, told: Option<&Report>) -> anyhow::Result<u32> {
    let shared = &link.shared;
    let changed = desired(link, &answer)?;
    let new_jobs = shared.store.take_jobs(&answer.jobs)?;
    let new_messages = shared.store.take_messages(&answer.messages)?;
    if let Some(told) = told {
        let open = |id: JobId| answer.jobs.iter().any(|job| job.id == id);
        let over = told.jobs.iter().filter(|job| job.is_final() && !open(job.id));
        shared.store.forget_jobs(&over.map(|job| job.id).collect::<Vec<_>>())?;
        let offered = |id: MessageId| answer.messages.iter().any(|message| message.id == id);
        shared.store.forget_messages(told.outcomes.iter().filter(|outcome| !offered(outcome.id)))?;
    }
    if changed || new_jobs || new_messages {
        shared.pass.notify_one();
    }
    Ok(answer.next_sync_s)
}

/// Accepts or rejects a document, and says which. Tells whether something new holds.
fn desired(link: &Link, answer: &SyncAnswer) -> anyhow::Result<bool> {
    let shared = &link.shared;
    let held = shared.store.held()?;
    let generation = held.as_ref().filter(|h| h.box_id == link.enrolment.box_id).map(|h| h.generation);
    let verdict = match answer.desired_state.clone() {
        Some(document) => accept(held.as_ref(), document, &link.enrolment),
        None => match generation.filter(|held| answer.generation < *held) {
            Some(held) => Err(Rejected::Lower { held, offered: answer.generation }),
            None => Ok(None),
        },
    };
    match verdict {
        Ok(Some(new)) => {
            shared.store.hold(&new)?;
            tracing::info!(generation = %new.generation, "new desired state");
            valid(shared, Some(new.generation))?;
            Ok(true)
        }
        Ok(None) => {
            valid(shared, generation)?;
            Ok(false)
        }
        Err(rejected) => {
            tracing::warn!("desired state rejected: {rejected}");
            let message = format!("{rejected}; what was held before still holds");
            shared.condition("DesiredStateValid", Status::False, rejected.reason(), message)?;
            shared.tell();
            Ok(false)
        }
    }
}

fn valid(shared: &Shared, generation: Option<Generation>) -> anyhow::Result<()> {
    match generation {
        Some(generation) => {
            let message = format!("generation {generation} holds");
            shared.condition("DesiredStateValid", Status::True, "Accepted", message)?;
        }
        None => {
            let message = "the hub has no desired state for this box";
            shared.condition("DesiredStateValid", Status::Unknown, "NoneYet", message)?;
        }
    }
    Ok(())
}

/// Compares clocks. The hub's time alone stops and ages nothing; it only raises an alarm.
fn clock(shared: &Shared, hub: Timestamp, now: Timestamp) -> anyhow::Result<()> {
    let offset = hub.duration_since(now);
    if offset.abs() < CLOCK {
        shared.store.set_meta(CLOCK_OFFSET, "0")?;
        shared.condition(
            "ClockPlausible",
            Status::True,
            "AsTheHub",
            "clock and hub agree within a minute",
        )?;
    } else {
        let message =
            format!("the box's clock differs from the hub's by {} s; check `timedatectl`", offset.as_secs());
        shared.condition("ClockPlausible", Status::False, "Differs", message)?;
    }
    Ok(())
}

/// The hub refused our clock and signed its own: the next request is dated by that. Nothing else is.
fn learn_clock(shared: &Shared, error: &ClientError, now: Timestamp) -> anyhow::Result<()> {
    let ErrorKind::Refused { body, time: Some(hub), .. } = &error.kind else { return Ok(()) };
    if body.error == CLOCK_OFF {
        shared.store.set_meta(CLOCK_OFFSET, &hub.duration_since(now).as_secs().to_string())?;
        clock(shared, *hub, now)?;
    }
    Ok(())
}

fn failure(error: &ClientError) -> (&'static str, String) {
    let reason = match &error.kind {
        ErrorKind::Unreachable(_) => "Unreachable",
        ErrorKind::TimedOut => "TimedOut",
        ErrorKind::OtherCertificate { .. } => "OtherCertificate",
        ErrorKind::Forged(_) => "NotFromPinnedHub",
        ErrorKind::Refused { .. } => "Refused",
        ErrorKind::Malformed(_) => "NotUnderstood",
        ErrorKind::Local(_) => "Local",
    };
    (reason, error.to_string())
}

/// ± 20 %, so that a fleet does not come at once.
fn jittered(pause: Duration) -> Duration {
    spread(pause * 4 / 5, pause * 6 / 5)
}

fn spread(low: Duration, high: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness the middle is taken.
    let part = getrandom::fill(&mut bytes)
        .map_or(0.5, |()| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX));
    low + high.saturating_sub(low).mul_f64(part)
}
