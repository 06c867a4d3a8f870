//! Events as SSE: missed ones from the journal first, then live ones; nothing is lost between.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use felhom_journal::{Journal, Notice, NoticeBody, OperationId, Recorded};
use felhom_protocol::executor::Event;
use futures_util::Stream;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::answer::Failure;
use crate::submit::Executor;
use crate::wire;

const PAGE: usize = 500;

#[derive(Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: u64,
}

pub(super) async fn stream(
    State(executor): State<Arc<Executor>>,
    Query(After { after }): Query<After>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Failure> {
    let (sender, receiver) = mpsc::channel(64);
    let journal = executor.services.journal.clone();
    tokio::spawn(async move {
        if let Err(e) = pump(&journal, after, &sender).await {
            tracing::debug!(error = %e, "a listener of events is gone");
        }
    });
    let keep = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(keep))
}

/// Why a listener is not served any more.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it closed the connection")]
    Closed,
    #[error(transparent)]
    Journal(#[from] felhom_journal::JournalError),
}

type Out = mpsc::Sender<Result<SseEvent, Infallible>>;

async fn pump(journal: &Journal, after: u64, out: &Out) -> Result<(), Ended> {
    let mut seen = after;
    // Subscribed before reading, so that what comes meanwhile is in one of the two.
    let mut notices = journal.subscribe();
    catch_up(journal, &mut seen, out).await?;
    loop {
        match notices.recv().await {
            Ok(Notice { operation, body: NoticeBody::Event(recorded) }) if recorded.seq > seen => {
                seen = recorded.seq;
                send_event(journal, operation, &recorded, out).await?;
            }
            Ok(Notice { operation, body: NoticeBody::Progress { step, progress } }) => {
                if let Some(op) = journal.get(operation)? {
                    let event = wire::progress_event(&op, step, &progress, journal.now());
                    send(&event, out).await?;
                }
            }
            Ok(Notice { operation, body: NoticeBody::Stalled { step, reason } }) => {
                if let Some(op) = journal.get(operation)? {
                    let nothing = felhom_journal::Progress { done: 0, total: None, unit: "tries".to_owned() };
                    let mut event = wire::progress_event(&op, step, &nothing, journal.now());
                    event.progress = None;
                    event.message = Some(format!("waits and tries again: {reason}"));
                    send(&event, out).await?;
                }
            }
            Ok(Notice { body: NoticeBody::Event(_), .. }) => {}
            Err(RecvError::Lagged(_)) => catch_up(journal, &mut seen, out).await?,
            Err(RecvError::Closed) => return Err(Ended::Closed),
        }
    }
}

async fn catch_up(journal: &Journal, seen: &mut u64, out: &Out) -> Result<(), Ended> {
    loop {
        let page = journal.events_after(*seen, PAGE)?;
        if page.is_empty() {
            return Ok(());
        }
        for (operation, recorded) in page {
            *seen = recorded.seq;
            send_event(journal, operation, &recorded, out).await?;
        }
    }
}

async fn send_event(journal: &Journal, id: OperationId, recorded: &Recorded, out: &Out) -> Result<(), Ended> {
    match journal.get(id)? {
        Some(op) => send(&wire::event(&op, recorded), out).await,
        None => Ok(()),
    }
}

async fn send(event: &Event, out: &Out) -> Result<(), Ended> {
    let Ok(sse) = SseEvent::default().id(event.seq.to_string()).json_data(event) else { return Ok(()) };
    out.send(Ok(sse)).await.map_err(|_| Ended::Closed)
}
