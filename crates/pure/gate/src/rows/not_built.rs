//! Operations that have a row in the table but are not built yet: refused by name.

use super::about;
use crate::facts::Facts;
use crate::verdict::{Evidence, Reason};
use felhom_model::{GuestUuid, OperationKind};

pub(crate) fn refuse(kind: OperationKind, guest: Option<GuestUuid>, facts: &Facts) -> Reason {
    let known = guest.and_then(|uuid| facts.observed.guest(uuid)).map(about);
    let evidence = match (known, guest) {
        (Some(known), _) => known,
        (None, Some(uuid)) => Evidence::new().with("guest", uuid),
        (None, None) => Evidence::new(),
    };
    let text = format!("`{kind}` is not built yet; nothing was done");
    Reason::new("not_built_yet", text, evidence.with("operation", kind))
}
