//! Guests that a job names as people do: the executor knows uuids only. Pure.
//!
//! A restored copy and a tombstone are called by the name of the guest that they stem from, or that took over.

use felhom_model::{GuestName, GuestUuid, OperationKind};
use felhom_protocol::executor::Observation;
use felhom_protocol::hub_sync::Job;
use felhom_protocol::status::Guest;
use serde_json::Value;

/// The job's parameters with uuids for names; why not, in the words of who asked. Only what names a known operation is judged
/// here: an unknown one is the executor's to refuse by name.
pub(crate) fn with_uuids(job: &Job, observation: &Observation) -> Result<Value, String> {
    let kind = job.kind.parse::<OperationKind>().ok();
    let mut params = job.params.clone();
    for key in ["guest", "copy"] {
        let Some(Value::String(text)) = params.get(key) else { continue };
        if text.parse::<GuestUuid>().is_ok() {
            continue;
        }
        let wanted = wanted(kind, key);
        match find(text, wanted, &observation.guests) {
            Some(uuid) => params[key] = Value::String(uuid.to_string()),
            None if kind.is_none() => {}
            None => return Err(unknown(text, wanted, &observation.guests)),
        }
    }
    Ok(params)
}

/// The purpose that is meant where several guests go by one name.
fn wanted(kind: Option<OperationKind>, key: &str) -> &'static str {
    match (kind, key) {
        (_, "copy") | (Some(OperationKind::DiscardRestoredCopy), _) => "copy",
        (Some(OperationKind::ReclaimGuest), _) => "tombstone",
        _ => "tenant",
    }
}

/// The guest of this name and purpose; where there is none, one that bears the name itself: the gate says what is wrong.
fn find(text: &str, wanted: &str, guests: &[Guest]) -> Option<GuestUuid> {
    let name: GuestName = text.parse().ok()?;
    let meant = guests.iter().find(|g| g.purpose == wanted && called(g, &name, guests));
    let bears = || guests.iter().find(|g| g.name.as_ref() == Some(&name));
    let of_copy = wanted == "copy";
    meant.or_else(|| if of_copy { None } else { bears() }).and_then(|guest| guest.uuid)
}

fn called(guest: &Guest, name: &GuestName, guests: &[Guest]) -> bool {
    let bears = |uuid: Option<GuestUuid>| {
        uuid.is_some() && guests.iter().any(|g| g.uuid == uuid && g.name.as_ref() == Some(name))
    };
    match guest.purpose.as_str() {
        "copy" => bears(guest.restored_from),
        "tombstone" => guest.name.as_ref() == Some(name) || bears(guest.succeeded_by),
        _ => guest.name.as_ref() == Some(name),
    }
}

fn unknown(text: &str, wanted: &str, guests: &[Guest]) -> String {
    let names: Vec<&str> = guests.iter().filter_map(|g| g.name.as_ref()).map(GuestName::as_str).collect();
    let names = names.join(", ");
    let names = if names.is_empty() { "it has none".to_owned() } else { format!("its guests: {names}") };
    let what = if wanted == "copy" { "restored copy of a guest" } else { "guest" };
    format!("this box has no {what} `{text}`; {names}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn guest(n: u8, name: Option<&str>, purpose: &str, more: Value) -> Guest {
        let mut json = json!({
            "uuid": GuestUuid::from_random([n; 16]), "vmid": 2000 + u32::from(n), "name": name, "purpose": purpose,
            "provenance": "proven", "power": "running", "cores": 1, "memory_mib": 64, "swap_mib": 0,
        });
        json.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_name_means_the_guest_that_the_operation_is_about() {
        let uuid = |n: u8| GuestUuid::from_random([n; 16]);
        let guests = [
            guest(1, Some("family"), "tenant", json!({})),
            guest(2, None, "copy", json!({ "restored_from": uuid(1) })),
            guest(3, None, "tombstone", json!({ "succeeded_by": uuid(1) })),
            guest(4, Some("old"), "tombstone", json!({})),
        ];
        let find = |text: &str, purpose: &str| find(text, purpose, &guests);
        assert_eq!(find("family", "tenant"), Some(uuid(1)));
        assert_eq!(find("family", "copy"), Some(uuid(2)));
        assert_eq!(find("family", "tombstone"), Some(uuid(3)));
        assert_eq!(find("old", "tombstone"), Some(uuid(4)));
        assert_eq!(find("old", "tenant"), Some(uuid(4)), "the gate says what is wrong with it");
        assert_eq!(find("old", "copy"), None, "never another guest than a copy");
        assert_eq!(find("nobody", "tenant"), None);
        assert_eq!(find("Not A Name", "tenant"), None);
    }
}
