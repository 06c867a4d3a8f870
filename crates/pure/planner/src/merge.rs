//! An absent field keeps what was kept last; an absent guest is kept whole, unless it never was more than a wish.

use felhom_model::GuestName;
use felhom_model::desired::{DesiredGuest, DesiredState};
use felhom_model::observed::Observed;

/// What holds after `next` was received on top of `previous`, in the order in which guests were first named.
///
/// Idempotent: receiving the same document twice changes nothing.
pub fn merge(previous: &DesiredState, next: &DesiredState) -> DesiredState {
    let said = |name: &GuestName| next.guests.iter().find(|guest| guest.name == *name);
    let known = |name: &GuestName| previous.guests.iter().any(|guest| guest.name == *name);
    let kept = previous.guests.iter().map(|old| match said(&old.name) {
        Some(new) => merge_guest(old, new),
        None => old.clone(),
    });
    let added = next.guests.iter().filter(|guest| !known(&guest.name)).cloned();
    DesiredState { guests: kept.chain(added).collect(), limits: next.limits.over(previous.limits) }
}

/// Guests that `next` does not name although `previous` did; they are kept.
pub fn absent(previous: &DesiredState, next: &DesiredState) -> Vec<GuestName> {
    let names = previous.guests.iter().map(|guest| &guest.name);
    names.filter(|name| next.guests.iter().all(|guest| guest.name != **name)).cloned().collect()
}

/// Those of the `absent` guests that were never made on this box and are not being made: to forget them destroys nothing.
///
/// `observed` must be complete: where nothing could be seen, nothing was ever made.
pub fn never_made(absent: &[GuestName], observed: &Observed) -> Vec<GuestName> {
    let known = |name: &&GuestName| {
        observed.used_names.contains(name)
            || observed.guests.iter().any(|guest| guest.name.as_ref() == Some(name))
            || observed.active.iter().any(|active| active.name.as_ref() == Some(name))
    };
    absent.iter().filter(|name| !known(name)).cloned().collect()
}

/// What holds without these guests.
pub fn forget(state: &DesiredState, names: &[GuestName]) -> DesiredState {
    let kept = state.guests.iter().filter(|guest| !names.contains(&guest.name));
    DesiredState { guests: kept.cloned().collect(), limits: state.limits }
}

fn merge_guest(old: &DesiredGuest, new: &DesiredGuest) -> DesiredGuest {
    DesiredGuest {
        name: old.name.clone(),
        power: new.power.or(old.power),
        golden: new.golden.or(old.golden),
        cores: new.cores.or(old.cores),
        memory_mib: new.memory_mib.or(old.memory_mib),
        swap_mib: new.swap_mib.or(old.swap_mib),
        disk_gib: new.disk_gib.or(old.disk_gib),
        apps: new.apps.clone().or_else(|| old.apps.clone()),
        backup: new.backup.clone().or_else(|| old.backup.clone()),
        restore_test: new.restore_test.clone().or_else(|| old.restore_test.clone()),
    }
}
