//! Heartbeats: what the guest does, signed with its own key; the answer says which apps should run.

use super::{Session, Sessions};
use crate::{
    engine::{AppStatus, Engine, net, net::Net},
    state::{NoLink, State},
};
use felhom_protocol::{
    SignedBytes,
    local_api::{AppState, Bootstrap, Heartbeat, HeartbeatSummary},
};
use felhom_signing::{Context, Key, Signed};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Between two tries while there is no link.
const AGAIN: Duration = Duration::from_millis(500);
/// The box says when to come again; never sooner and never later than this, in seconds.
const NEXT: std::ops::RangeInclusive<u32> = 1..=60;

/// Sends heartbeats.
pub struct Heartbeats {
    /// Where to.
    pub sessions: Arc<Sessions>,
    /// Who runs the apps.
    pub engine: Arc<dyn Engine>,
    /// What is kept.
    pub state: Arc<State>,
    /// The guest key.
    pub key: Arc<Key>,
    /// The guest's network.
    pub net: Net,
    /// Port of the page.
    pub ui_port: u16,
    /// Rung when apps should run that did not have to before.
    pub reconcile: Arc<Notify>,
}

impl Heartbeats {
    /// Sends them for ever.
    pub async fn run(self) {
        loop {
            let pause = match self.once().await {
                Ok(next_s) => Duration::from_secs(next_s.clamp(*NEXT.start(), *NEXT.end()).into()),
                Err((reason, why)) => {
                    if self.state.link().error.as_ref() != Some(&why) {
                        tracing::warn!("no link to the box: {why}");
                    }
                    self.state.unanswered(reason, why);
                    AGAIN
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(&self) -> Result<u32, (NoLink, String)> {
        let session = self.sessions.now().map_err(|e| (e.reason(), e.to_string()))?;
        self.reconcile.notify_one();
        let signed = self.signed(&session).map_err(|e| (NoLink::Unusable, e.to_string()))?;
        let answer =
            session.client.heartbeat(&signed).await.map_err(|e| (NoLink::NoAnswer, e.to_string()))?;
        self.state.answered(Timestamp::now());
        self.state.add_apps(&answer.apps).map_err(|e| (NoLink::Unusable, e.to_string()))?;
        self.reconcile.notify_one();
        if let Ok(said) = session.client.restore_test_status().await {
            let Bootstrap { attestation_key, guest, .. } = &session.bootstrap;
            self.state.set_proofs(self.state.proofs().take_in(said, attestation_key, *guest));
        }
        Ok(answer.next_s)
    }

    fn signed(&self, session: &Session) -> serde_json::Result<SignedBytes> {
        let heartbeat = Heartbeat {
            guest: session.bootstrap.guest,
            boot_nonce: session.bootstrap.boot_nonce.clone(),
            time: Timestamp::now(),
            summary: HeartbeatSummary {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                slot: slot(),
                apps: self.state.apps().iter().map(|app| wire(self.engine.status(app))).collect(),
                url: net::url(&self.net, self.ui_port),
                received: None,
            },
        };
        let bytes = serde_json::to_vec(&heartbeat)?;
        Ok(Signed::new(&self.key, Context::Heartbeat, bytes).into())
    }
}

fn wire(status: AppStatus) -> AppState {
    AppState {
        app: status.app,
        state: status.state.name().to_owned(),
        url: status.url,
        message: status.message,
    }
}

/// The slot that this program runs from: the name of its directory, if that is a slot.
fn slot() -> String {
    let program = std::env::current_exe().ok();
    let dir =
        program.as_deref().and_then(|program| program.parent()?.file_name()?.to_str().map(str::to_owned));
    dir.filter(|name| name == "A" || name == "B").unwrap_or_else(|| "A".to_owned())
}
