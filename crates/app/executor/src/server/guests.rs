//! Observation, what the agent tells about itself, heartbeats and receipts.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use felhom_model::desired::Tightening;
use felhom_model::{GuestUuid, Vmid};
use felhom_protocol::SignedBytes;
use felhom_protocol::executor::{BoxIdentity, LocalApi, Observation};
use felhom_protocol::local_api::Heartbeat;
use felhom_protocol::receipt::SignedReceipt;
use felhom_signing::Context;
use serde::Deserialize;
use serde_json::json;

use super::answer::Failure;
use super::backups::verified;
use crate::audit::{Kind, Record};
use crate::ledger::FreezeRow;
use crate::observe::{Glance, glance};
use crate::rollback::enrolled_again;
use crate::services::{Services, WISHED_LIMITS};
use crate::submit::Executor;
use crate::wire;

pub(super) async fn observation(State(executor): State<Arc<Executor>>) -> Result<Json<Observation>, Failure> {
    let s = &executor.services;
    let mut shown = match glance(s).await {
        Ok(glance) => looked(s, &glance)?,
        Err(e) => match s.last_observation() {
            Some(last) => Observation {
                pve_reachable: false,
                error: Some(e.to_string()),
                active: s.journal.active_operations().iter().map(|op| s.shown(op)).collect(),
                ..last
            },
            None => blind(s, &e.to_string()),
        },
    };
    shown.challenges = s.shown_challenges()?;
    shown.audit_head = Some(s.audit_head()?);
    shown.wished_limits = s.wished_limits()?;
    if shown.pve_reachable {
        s.keep_observation(&shown);
    }
    Ok(Json(shown))
}

fn looked(s: &Services, Glance { seen, addresses }: &Glance) -> Result<Observation, Failure> {
    let freezes: Vec<FreezeRow> = seen
        .archives
        .iter()
        .map(|(row, _)| s.ledger.freeze(row.detail.operation))
        .collect::<Result<_, _>>()?;
    let found = |vmid: Vmid| addresses.get(&vmid).cloned().unwrap_or_default();
    let active = seen.active.iter().map(|op| s.shown(op)).collect();
    Ok(Observation { active, ..wire::observation(seen, &s.key, s.now(), &freezes, &found) })
}

/// Proxmox never answered since this process began.
fn blind(s: &Services, error: &str) -> Observation {
    Observation {
        time: s.now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        attestation_key: s.key.public(),
        pve_reachable: false,
        error: Some(error.to_owned()),
        guests: Vec::new(),
        archives: Vec::new(),
        storages: Vec::new(),
        golden: Vec::new(),
        active: s.journal.active_operations().iter().map(|op| s.shown(op)).collect(),
        challenges: Vec::new(),
        audit_head: None,
        wished_limits: Tightening::default(),
        used_names: Vec::new(),
    }
}

pub(super) async fn local_api(
    State(executor): State<Arc<Executor>>,
    Json(api): Json<LocalApi>,
) -> Result<StatusCode, Failure> {
    if !api.url.starts_with("https://") {
        return Err(Failure::bad("malformed_url", "the local API is reached by https:// only"));
    }
    executor.services.ledger.set_setting("local_api", &api)?;
    executor.services.tell();
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn limits(
    State(executor): State<Arc<Executor>>,
    Json(wish): Json<Tightening>,
) -> Result<StatusCode, Failure> {
    wish.check().map_err(|e| Failure::bad("malformed_limits", &e.to_string()))?;
    let s = &executor.services;
    if s.wished_limits()? != wish {
        tracing::info!(?wish, "the operator wishes other limits; only stricter ones have an effect");
        s.ledger.set_setting(WISHED_LIMITS, &wish)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn box_identity(
    State(executor): State<Arc<Executor>>,
    Json(identity): Json<BoxIdentity>,
) -> Result<StatusCode, Failure> {
    let ledger = &executor.services.ledger;
    match ledger.setting::<BoxIdentity>("box")? {
        // A word that counts no enrolments says nothing of them.
        Some(kept) if kept == identity || (kept.box_id == identity.box_id && identity.epoch == 0) => {}
        // A box that was enrolled before its enrolments were counted.
        Some(kept) if kept.box_id == identity.box_id && kept.epoch == 0 => {
            ledger.set_setting("box", &identity)?;
        }
        Some(kept) if kept.box_id == identity.box_id => another_enrolment(&executor, &identity).await?,
        // Receipts name the box: whoever speaks on the socket must not make them another's.
        Some(kept) => {
            let text = format!("this executor belongs to box {}, not to {}", kept.box_id, identity.box_id);
            tracing::warn!("refused: {text}");
            let hint = "if the box was enrolled as another one on purpose: as root, stop felhom-executor and run \
                        `felhom-executor forget-box`";
            return Err(Failure::conflict_with_hint("other_box", &text, hint));
        }
        None => {
            tracing::info!(box_id = %identity.box_id, "this box is enrolled");
            executor.services.audit(&Record::new(Kind::BoxEnrolled, json!({ "box": identity.box_id })))?;
            ledger.set_setting("box", &identity)?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The box that this is was enrolled again: what waits for people is void.
async fn another_enrolment(executor: &Executor, identity: &BoxIdentity) -> Result<(), Failure> {
    let s = &executor.services;
    if s.enrolments.take(s.running.ran_s()).is_none() {
        let text = "this box was enrolled too often within an hour; what waits for people stays as it is";
        let hint = "try again later; if nobody enrols it, look at what speaks on the executor's socket";
        return Err(Failure::conflict_with_hint("too_often", text, hint));
    }
    let _weighing = executor.weighing.lock().await;
    // The same may have been said meanwhile.
    if s.ledger.setting::<BoxIdentity>("box")?.as_ref() != Some(identity) {
        enrolled_again(executor, identity)?;
        s.ledger.set_setting("box", identity)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Claimed {
    guest: GuestUuid,
}

pub(super) async fn heartbeat(
    State(executor): State<Arc<Executor>>,
    Json(signed): Json<SignedBytes>,
) -> Result<StatusCode, Failure> {
    // Who it claims to be only says which key to verify with.
    let claimed: Claimed = serde_json::from_slice(&signed.bytes)
        .map_err(|e| Failure::bad("malformed_document", &e.to_string()))?;
    let heartbeat: Heartbeat = verified(&executor, claimed.guest, Context::Heartbeat, signed)?;
    let s = &executor.services;
    let row = s.ledger.guest(heartbeat.guest)?;
    let row = row.ok_or_else(|| Failure::forbidden("unknown_guest", "no guest of this box"))?;
    if row.detail.boot_nonce.as_deref() != Some(heartbeat.boot_nonce.as_str()) {
        return Err(Failure::forbidden(
            "other_nonce",
            "it signs the nonce of another bootstrap: an old copy, or a replay",
        ));
    }
    if row.detail.heartbeat_nonce != row.detail.boot_nonce {
        s.ledger.change_guest(heartbeat.guest, |row| {
            row.detail.heartbeat_nonce = Some(heartbeat.boot_nonce.clone())
        })?;
        s.tell();
    }
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct OfGuest {
    guest: Option<GuestUuid>,
}

pub(super) async fn receipts(
    State(executor): State<Arc<Executor>>,
    Query(OfGuest { guest }): Query<OfGuest>,
) -> Result<Json<Vec<SignedReceipt>>, Failure> {
    let rows = executor.services.ledger.receipts()?;
    let of_guest = rows.into_iter().filter(|row| guest.is_none_or(|g| g == row.guest));
    Ok(Json(of_guest.map(|row| row.signed).collect()))
}
