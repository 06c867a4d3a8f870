//! The executor's events: they only wake. What happened is read again, so a lost one costs nothing.

use crate::pass::refresh_operations;
use crate::shared::Shared;
use felhom_protocol::executor::{BoxIdentity, Event, LocalApi};
use futures_util::StreamExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two tries to connect.
const AGAIN: Duration = Duration::from_secs(1);
/// Progress is read at most this often.
const PROGRESS: Duration = Duration::from_millis(500);
const CURSOR: &str = "event_seq";

/// Follows the events for ever. At each new connection the executor learns again who this box is and where guests reach
/// the agent, for it may be a new one.
pub(crate) async fn run(shared: Arc<Shared>, local_api: LocalApi) {
    loop {
        if let Err(error) = follow(&shared, &local_api).await {
            tracing::debug!("{error}");
        }
        shared.pass.notify_one();
        sleep(AGAIN).await;
    }
}

/// Tells the executor who this box is and where guests reach the agent.
///
/// # Errors
/// If the executor does not take it.
pub(crate) async fn introduce(shared: &Shared, local_api: &LocalApi) -> anyhow::Result<()> {
    shared.executor.set_local_api(local_api).await?;
    if let Some(enrolment) = crate::identity::enrolment(&shared.config)? {
        shared.executor.set_box(&BoxIdentity { box_id: enrolment.box_id, epoch: enrolment.epoch }).await?;
    }
    Ok(())
}

async fn follow(shared: &Shared, local_api: &LocalApi) -> anyhow::Result<()> {
    introduce(shared, local_api).await?;
    let kept = shared.store.meta(CURSOR)?.and_then(|text| text.parse().ok());
    let mut events = pin!(shared.executor.events(kept.unwrap_or(0)).await?);
    shared.pass.notify_one();
    let mut refreshed = Instant::now();
    let mut kept_seq = kept.unwrap_or(0);
    while let Some(event) = events.next().await {
        let event = event?;
        match weight(&event) {
            Weight::Pass => shared.pass.notify_one(),
            Weight::Show => {
                if refreshed.elapsed() >= PROGRESS {
                    refresh_operations(shared).await?;
                    refreshed = Instant::now();
                }
            }
        }
        // Kept now and then only: replayed events wake once more, which is harmless.
        if event.seq >= kept_seq + 64 {
            shared.store.set_meta(CURSOR, &event.seq.to_string())?;
            kept_seq = event.seq;
        }
    }
    Ok(())
}

enum Weight {
    /// Something to decide on.
    Pass,
    /// Only to be shown.
    Show,
}

fn weight(event: &Event) -> Weight {
    match event.what.as_str() {
        "progress" | "step_started" | "step_handle" | "step_done" | "undo_done" | "grace_counted" => {
            Weight::Show
        }
        _ => Weight::Pass,
    }
}
