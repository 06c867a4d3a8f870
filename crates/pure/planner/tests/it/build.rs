//! A healthy box with one tenant.

use felhom_model::backup::{Archive, Consistency};
use felhom_model::desired::*;
use felhom_model::observed::*;
use felhom_model::operation::Limits;
use felhom_model::*;
use jiff::Timestamp;

pub(crate) fn uuid(n: u8) -> GuestUuid {
    GuestUuid::from_random([n; 16])
}
pub(crate) fn name(text: &str) -> GuestName {
    text.parse().unwrap()
}
pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}
pub(crate) fn store() -> StorageId {
    "local".parse().unwrap()
}

pub(crate) fn desired(text: &str) -> DesiredGuest {
    DesiredGuest { cores: Some(2), memory_mib: Some(512), ..DesiredGuest::named(name(text)) }
}

pub(crate) fn state(guests: &[DesiredGuest]) -> DesiredState {
    DesiredState { guests: guests.to_vec(), ..DesiredState::default() }
}

/// Made on 2026-01-01, as desired.
pub(crate) fn guest(n: u8, text: &str) -> ObservedGuest {
    let made = time("2026-01-01T00:00:00Z").as_millisecond();
    ObservedGuest {
        uuid: Some(uuid(n)),
        vmid: Vmid::try_from(2000 + u32::from(n)).unwrap(),
        name: Some(name(text)),
        purpose: Purpose::Tenant,
        provenance: Provenance::Proven,
        power: Power::Running,
        lock: None,
        protection: false,
        limits: Limits { cores: 2, memory_mib: 512, swap_mib: 0 },
        disk_gib: None,
        apps: vec![],
        made_by: Some(OperationId::from_parts(u64::try_from(made).unwrap(), u128::from(n))),
        restored_from: None,
        succeeded_by: None,
    }
}

pub(crate) fn observed(guests: &[ObservedGuest]) -> Observed {
    Observed {
        guests: guests.to_vec(),
        golden: vec![Golden {
            digest: Digest::of(b"golden"),
            release: 1,
            apps: vec!["notes".parse().unwrap()],
            bytes: 1,
        }],
        used_names: guests.iter().filter_map(|guest| guest.name.clone()).collect(),
        ..Observed::default()
    }
}

pub(crate) fn archive(guest: u8, taken_at: &str) -> Archive {
    Archive {
        volid: format!("local:backup/{guest}-{}.tar.zst", taken_at.replace(':', "_")).parse().unwrap(),
        guest: uuid(guest),
        operation: OperationId::from_parts(1, 1),
        target: store(),
        taken_at: time(taken_at),
        bytes: 1,
        digest: Digest::of(taken_at.as_bytes()),
        consistency: Consistency::Quiesced,
        proven: None,
    }
}

pub(crate) fn active(
    kind: OperationKind,
    guest: Option<GuestUuid>,
    name: Option<GuestName>,
) -> ActiveOperation {
    ActiveOperation { id: OperationId::from_parts(9, 9), kind, guest, name }
}
