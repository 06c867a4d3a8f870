//! A veto: an operator or a customer stops an operation while it waits.
//!
//! Its form is its own. No bytes are both a veto and a challenge or a confirmation: each refuses the fields of the others and
//! asks for its own. So a signature over one never counts as the other, though namespaces are shared.

use super::{Act, Armored, ConsentError, Customer, operator_signed, signed_by};
use crate::challenge::Consenter;
use crate::operators::OperatorsFile;
use crate::sshsig::{self, Namespace, SshPublicKey};
use crate::{Key, Verified};
use felhom_model::{BoxId, GuestUuid, OperationId, OperationKind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of a veto whose signer read what the operation is in a challenge or a notice of the box.
const VETO_VERSION: u32 = 1;
/// The version of a veto that says itself what it is against.
const WITH_ACT: u32 = 2;

/// What is signed to stop an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Veto {
    /// 1, or 2 with an `act`.
    pub v: u32,
    /// The box that it is for.
    pub box_id: BoxId,
    /// The operation that must not begin.
    pub veto: OperationId,
    /// The guest that it concerns; a customer names the own one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<GuestUuid>,
    /// What the operation would do. It stops nothing else, and nothing of an earlier enrolment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
    /// For people.
    pub reason: String,
    /// Wall clock, for people.
    pub at: Timestamp,
}

impl Veto {
    /// The bytes to be signed, by operators in [`Namespace::Operation`], by guests in [`Namespace::Confirmation`].
    ///
    /// # Errors
    /// [`ConsentError::VetoMalformed`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ConsentError> {
        serde_json::to_vec(self).map_err(|e| ConsentError::VetoMalformed { why: e.to_string() })
    }

    /// Writes the veto and signs it with the guest key.
    ///
    /// # Errors
    /// If it cannot be written or signed.
    pub fn sign(&self, key: &Key) -> Result<Armored, ConsentError> {
        let bytes = self.to_bytes()?;
        let signature = sshsig::sign(key, Namespace::Confirmation, &bytes)?;
        Ok(Armored { bytes, signature })
    }

    /// Reads the document.
    ///
    /// # Errors
    /// [`ConsentError::VetoMalformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, ConsentError> {
        let malformed = |why: String| ConsentError::VetoMalformed { why };
        let veto: Self = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        let version = if veto.act.is_some() { WITH_ACT } else { VETO_VERSION };
        if veto.v != version {
            return Err(malformed(format!(
                "it has the version {}, its form is of version {version}",
                veto.v
            )));
        }
        Ok(veto)
    }
}

/// What a veto must be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VetoOn {
    /// This box.
    pub box_id: BoxId,
    /// The operation that waits.
    pub operation: OperationId,
    /// What it would do, and for which enrolment.
    pub act: Act,
}

/// A veto whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vetoed {
    /// Who.
    pub by: Consenter,
    /// What it says.
    pub veto: Veto,
}

/// Accepts an operator's veto. Against a rotation of the operators' file any key of it counts, also a recovery key.
///
/// A veto has no age: it names one operation, and stopping that one is never the dangerous direction. One that says what it
/// is against counts for that only, and for the enrolment in which the box said so.
///
/// # Errors
/// [`ConsentError`], in the order: signature as with consents → form → box → operation → enrolment → act.
pub fn veto_by_operator(
    signed: &Armored,
    operators: &OperatorsFile,
    on: VetoOn,
) -> Result<Verified<Vetoed>, ConsentError> {
    let by = if on.act.kind == OperationKind::RotateOperators {
        signed_by(&signed.bytes, &signed.signature, operators, |_| true)?
    } else {
        operator_signed(&signed.bytes, &signed.signature, operators)?
    };
    let veto = fitting(&signed.bytes, on)?;
    Ok(Verified(Vetoed { by, veto }))
}

/// Accepts a customer's veto; whether that customer has a say in the operation is for the caller, who knows its targets.
///
/// # Errors
/// [`ConsentError`], in the order: signature → form → box → operation → enrolment → act → object.
pub fn veto_by_customer(
    signed: &Armored,
    customer: Customer<'_>,
    on: VetoOn,
) -> Result<Verified<Vetoed>, ConsentError> {
    let accepted = [SshPublicKey::from(customer.key)];
    sshsig::verify(&signed.signature, Namespace::Confirmation, signed.bytes.clone(), &accepted)?;
    let veto = fitting(&signed.bytes, on)?;
    if veto.object != Some(customer.guest) {
        return Err(ConsentError::OtherObject { guest: veto.object.unwrap_or(customer.guest) });
    }
    Ok(Verified(Vetoed { by: Consenter::Customer { guest: customer.guest }, veto }))
}

fn fitting(bytes: &[u8], on: VetoOn) -> Result<Veto, ConsentError> {
    let veto = Veto::read(bytes)?;
    if veto.box_id != on.box_id {
        return Err(ConsentError::OtherBox { found: veto.box_id });
    }
    if veto.veto != on.operation {
        return Err(ConsentError::OtherOperation { found: veto.veto });
    }
    if let Some(act) = veto.act {
        if act.enrolment_epoch != on.act.enrolment_epoch {
            return Err(ConsentError::OtherEpoch { found: act.enrolment_epoch });
        }
        if act != on.act {
            return Err(ConsentError::OtherAct { kind: act.kind, what: act.what });
        }
    }
    Ok(veto)
}
