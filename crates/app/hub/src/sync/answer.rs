//! The answer to a sync: what is new for the box, now or as soon as there is something (long poll).
//!
//! What was offered and not taken is offered again with every sync, but does not cut the waiting short more than once in
//! [`PACE`]: a box that cannot take it must not turn the long poll into a busy loop.

use std::time::Duration;

use felhom_model::{Generation, JobId, MessageId};
use felhom_protocol::SignedBytes;
use felhom_protocol::hub_sync::{SyncAnswer, SyncRequest};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::Refusal;
use super::intake::Taken;
use crate::hub::Inner;
use crate::store::desired::{self, Version};
use crate::store::jobs::{self, OpenJob};
use crate::store::messages::{self, OpenMessage};
use crate::store::sightings::Sighting;
use crate::store::{Cause, Conn};

/// Longest wait.
const MAX_WAIT: Duration = Duration::from_secs(55);
/// How soon the same thing may cut a wait short again.
const PACE: SignedDuration = SignedDuration::from_secs(5);
/// How soon a box that has something to do is asked to come again, seconds.
const BUSY_SYNC_S: u32 = 5;

/// What the database has for a box.
struct News {
    generation: Generation,
    desired: Option<Version>,
    jobs: Vec<OpenJob>,
    messages: Vec<OpenMessage>,
}

/// Waits as long as the box allows and something new takes, then answers.
///
/// # Errors
/// If the database fails.
pub(crate) async fn answer(hub: &Inner, taken: Taken) -> Result<SyncAnswer, Refusal> {
    let wait = Duration::from_secs(taken.request.wait_s.into()).min(MAX_WAIT);
    let deadline = Instant::now() + wait;
    let waiter = hub.waiters.join(&taken.name);
    let mut stopping = hub.stopping.clone();
    loop {
        let told = waiter.notified();
        let news = look(hub, &taken).await?;
        let urgent_in = urgent_in(&news, taken.before.as_ref(), &taken.request, hub.now());
        let over = Instant::now() >= deadline || *stopping.borrow();
        if over || urgent_in == Some(Duration::ZERO) {
            return finish(hub, taken.request, news).await;
        }
        let until = urgent_in.map_or(deadline, |wait| deadline.min(Instant::now() + wait));
        tokio::select! {
            () = told => {}
            () = tokio::time::sleep_until(until) => {}
            changed = stopping.changed() => if changed.is_err() {
                return finish(hub, taken.request, news).await;
            },
        }
    }
}

async fn look(hub: &Inner, taken: &Taken) -> Result<News, Refusal> {
    let (name, held) = (taken.name.clone(), (taken.request.generation, taken.request.document_digest));
    let news = hub
        .store
        .read("looking for news for a box", |c| {
            Box::pin(async move {
                let newest = desired::newest(c, &name).await?;
                let generation = newest.as_ref().map(|v| v.view.generation).unwrap_or_default();
                let holds = |version: &Version| {
                    version.signed.is_none()
                        || held.0 > generation
                        || (held.0 == generation && held.1 == version.view.document_digest)
                };
                let desired = newest.filter(|version| !holds(version));
                let (jobs, messages) = (jobs::open(c, &name).await?, messages::open(c, &name).await?);
                Ok(News { generation, desired, jobs, messages })
            })
        })
        .await?;
    Ok(news)
}

/// In how long something of the news must be told; `None`: nothing of it is urgent.
fn urgent_in(
    news: &News,
    before: Option<&Sighting>,
    request: &SyncRequest,
    now: Timestamp,
) -> Option<Duration> {
    let pace = |offered: Option<Timestamp>| match offered {
        None => Duration::ZERO,
        Some(at) => Duration::try_from(PACE - now.duration_since(at)).unwrap_or_default(),
    };
    let offered = |version: &Version| {
        before
            .filter(|before| before.generation == request.generation && before.last_seen >= version.view.time)
            .map(|before| before.last_seen)
    };
    let document = news.desired.as_ref().map(|version| pace(offered(version)));
    let job = news.jobs.iter().filter(|job| job.queued).map(|job| pace(job.delivered)).min();
    let message = news.messages.iter().map(|open| pace(open.delivered)).min();
    [document, job, message].into_iter().flatten().min()
}

async fn finish(hub: &Inner, request: SyncRequest, news: News) -> Result<SyncAnswer, Refusal> {
    let now = hub.now();
    let fresh: Vec<_> = news.jobs.iter().filter(|open| open.queued).map(|open| open.job.id).collect();
    let said: Vec<_> = news.messages.iter().map(|open| open.message.id).collect();
    if !fresh.is_empty() || !said.is_empty() {
        hub.store
            .write("noting what was sent", move |c| Box::pin(async move { mark(c, fresh, said, now).await }))
            .await?;
    }
    // A job may wait for people for days.
    let has_work = news.jobs.iter().any(|open| !open.waits_for_people);
    let busy = news.desired.is_some() || !news.messages.is_empty() || has_work;
    let next = hub.config.next_sync_s;
    Ok(SyncAnswer {
        nonce: request.nonce,
        time: now,
        generation: news.generation,
        desired_state: news.desired.and_then(|version| version.signed).map(SignedBytes::from),
        jobs: news.jobs.into_iter().map(|open| open.job).collect(),
        messages: news.messages.into_iter().map(|open| open.message).collect(),
        next_sync_s: if busy { next.min(BUSY_SYNC_S) } else { next },
    })
}

async fn mark(c: &mut Conn, new_jobs: Vec<JobId>, said: Vec<MessageId>, now: Timestamp) -> Result<(), Cause> {
    for id in new_jobs {
        jobs::mark_delivered(c, id, now).await?;
    }
    for id in said {
        messages::mark_delivered(c, id, now).await?;
    }
    Ok(())
}
