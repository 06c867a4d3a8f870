//! `cutover_guest` and its reverse: a restored copy takes over, the guest that stood becomes the tombstone, and back.
//!
//! Both can be taken back until the tombstone is reclaimed, and nothing is destroyed. They change which data a customer
//! sees, so they want that customer or an operator.

use super::{Judged, Passed, about, find, not_observed, present, proven, tenant, unlocked};
use crate::facts::{Concerning, Facts, Stage};
use crate::verdict::{Reason, Requirement};
use felhom_model::GuestUuid;
use felhom_model::observed::{ObservedGuest, Purpose};
use felhom_model::operation::Cutover;

pub(crate) fn judge(ask: &Cutover, facts: &Facts) -> Judged {
    let tenant = tenant(ask.guest, "is replaced", facts)?;
    ready(tenant)?;
    let copy = find(ask.copy, facts)?;
    ready(copy)?;
    match (copy.purpose, facts.stage) {
        (Purpose::Copy, Stage::Begin | Stage::Resume | Stage::BeforeAct) => {}
        // Its own steps have changed the places already.
        (Purpose::Tombstone, Stage::Resume) if copy.succeeded_by == Some(ask.guest) => {
            return asks(tenant, copy);
        }
        (Purpose::Tenant | Purpose::Scratch | Purpose::Tombstone | Purpose::Foreign, _) => {
            let text = "only a restored copy can take over";
            return Err(Reason::new("not_a_copy", text, about(copy)));
        }
    }
    of_this_guest(ask.guest, facts, copy)?;
    if let Some(other) = tombstone_of(ask.guest, facts)? {
        let text = "there is a tombstone of this guest already; reclaim it or take it back first";
        return Err(Reason::new("one_tombstone_per_guest", text, about(other)));
    }
    asks(tenant, copy)
}

pub(crate) fn judge_reverse(guest: GuestUuid, facts: &Facts) -> Judged {
    let tenant = tenant(guest, "is replaced", facts)?;
    ready(tenant)?;
    let Some(tombstone) = tombstone_of(guest, facts)? else {
        let text = "there is no tombstone of this guest, so nothing to go back to";
        return Err(Reason::new("no_tombstone", text, about(tenant)));
    };
    ready(tombstone)?;
    of_this_guest(guest, facts, tombstone)?;
    asks(tenant, tombstone)
}

/// A restore can only take over from the guest whose data it holds: by the ledger's row of the archive.
fn of_this_guest(guest: GuestUuid, facts: &Facts, successor: &ObservedGuest) -> Result<(), Reason> {
    let Concerning::Cutover(pair) = &facts.concerning else { return Err(not_observed("cutover")) };
    if pair.archive_of == Some(guest) {
        return Ok(());
    }
    let text = "the ledger does not say that the two share one customer's data";
    Err(Reason::new("archive_of_another_guest", text, about(successor)))
}

fn ready(guest: &ObservedGuest) -> Result<(), Reason> {
    proven(guest)?;
    present(guest)?;
    unlocked(guest)
}

fn tombstone_of(guest: GuestUuid, facts: &Facts) -> Result<Option<&ObservedGuest>, Reason> {
    let of = |g: &&ObservedGuest| g.purpose == Purpose::Tombstone && g.succeeded_by == Some(guest);
    let mut found = facts.observed.guests.iter().filter(of);
    let first = found.next();
    match found.next() {
        None => Ok(first),
        Some(second) => {
            let text = "this guest has two tombstones, so it is not certain which one is meant";
            Err(Reason::new("two_tombstones", text, about(second)))
        }
    }
}

fn asks(tenant: &ObservedGuest, successor: &ObservedGuest) -> Judged {
    let customer = tenant.uuid.into_iter().collect();
    let why = "changes which of two states of the data the customer sees; can be taken back until the tombstone is reclaimed";
    let evidence = about(tenant).with("successor_at_vmid", successor.vmid);
    Ok(Passed::Needs(Requirement::of([(0, customer), (1, vec![])], why), evidence))
}
