//! An operation in its grace on this side: what its box signed of it, verified with the key that this machine pinned. Nothing
//! that the hub says beside that is signed for.

use crate::escape::escaped;
use crate::exit::Failure;
use crate::known_boxes::KnownBoxes;
use crate::time::seconds;
use felhom_model::OperationId;
use felhom_protocol::hub_api::WaitingView;
use felhom_signing::consent::Waiting;

/// What the pinned key of its box signed of an operation.
#[derive(Debug, Clone)]
pub(crate) struct CheckedWaiting {
    /// The pin's name.
    pub(crate) box_name: String,
    /// The pinned key.
    pin: String,
    /// What the box says.
    pub(crate) says: Waiting,
    /// Seconds of grace that are left, by the hub's word.
    left_s: u64,
}

impl CheckedWaiting {
    /// Verifies what the hub has of this operation with the pin of its box.
    pub(crate) fn check(
        view: &WaitingView,
        operation: OperationId,
        known: &KnownBoxes,
    ) -> Result<Self, Failure> {
        let pin = known.pinned(&view.box_name, &view.attestation_key, "what is said to wait there")?;
        let name = escaped(&view.box_name);
        let grace = view.operation.grace.clone();
        let (left_s, signed) = grace.map_or((0, None), |grace| (grace.left_s, grace.signed));
        let signed = signed.ok_or_else(|| {
            Failure::Unverified(format!(
                "{name} signed nothing of operation {operation}, so nothing says what a veto would stop: its executor is older \
                 than this program, or the box is not enrolled"
            ))
        })?;
        let opened = Waiting::open(signed.into(), &view.attestation_key);
        let says = opened.map_err(|e| Failure::Unverified(format!("ALARM: {name}: {e}")))?.into_inner();
        if says.waiting != operation {
            let other =
                format!("ALARM: what {name} signed is about operation {}, not {operation}", says.waiting);
            return Err(Failure::Unverified(other));
        }
        Ok(Self { box_name: view.box_name.clone(), pin, says, left_s })
    }

    /// Everything that a person should know before vetoing it, line by line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Waiting { box_id, waiting, act, asked_by, reason, facts, grace_s, .. } = &self.says;
        let mut lines = vec![
            format!("operation:    {}  {waiting}", act.kind),
            format!(
                "box:          {} ({box_id}), verified by its pinned key {}",
                escaped(&self.box_name),
                self.pin
            ),
            format!("asked for by: {}: {}", escaped(asked_by), escaped(reason)),
            format!("would do:     {} (SHA-256; of a rotation, of the new operators' file)", act.what),
            format!(
                "grace:        {} of the running box in all; {} left (by the hub)",
                seconds(*grace_s),
                seconds(self.left_s)
            ),
            String::new(),
            "What the box's gate saw".to_owned(),
        ];
        lines.extend(facts.iter().map(|(key, value)| format!("  {}: {}", escaped(key), escaped(value))));
        lines
    }
}
