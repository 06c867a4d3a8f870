//! Guests for whoever plans and reports, and decides nothing: at rest, a few lists are all that is asked of Proxmox.
//!
//! 1. the list of guests, always anew;
//! 2. a guest's configuration and addresses, if its entry in the list is not as it was, if anything was journaled since they
//!    were read, or if that is too long ago; else as they were read then.
//!
//! What the list does not show is read again by [`refresh`] before it is [`KEPT`] old, so that nobody has to wait for it.
//!
//! **Architecture invariant:** the gate never sees any of this: its facts come from [`crate::observe::observe`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use felhom_model::Vmid;
use felhom_pve::{GuestConfig, GuestStatus, Interface, RunState};
use jiff::{SignedDuration, Timestamp};

use crate::observe::{ObserveError, RealGuest, configured, is_there};
use crate::services::Services;

/// What the list does not show (description, protection, addresses) is shown to people for at most so long.
const KEPT: SignedDuration = SignedDuration::from_secs(60);
/// It is read again after so long.
const SOON: SignedDuration = SignedDuration::from_secs(40);

/// Guests as they were read last.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Known>);

#[derive(Debug, Clone, Default)]
struct Known {
    /// The last journaled event before they were read.
    event: u64,
    guests: BTreeMap<Vmid, Arc<Kept>>,
}

#[derive(Debug)]
struct Kept {
    listed: GuestStatus,
    config: GuestConfig,
    /// Of a guest of ours that ran.
    addresses: Option<Vec<String>>,
    read: Timestamp,
}

impl Recent {
    fn known(&self, event: u64) -> BTreeMap<Vmid, Arc<Kept>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.event == event { known.guests.clone() } else { BTreeMap::new() }
    }

    fn keep(&self, event: u64, guests: BTreeMap<Vmid, Arc<Kept>>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who began before an event and ends behind others saw less than they did.
        if known.event <= event {
            *known = Known { event, guests };
        }
    }

    fn has_older(&self, oldest: SignedDuration, now: Timestamp) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.guests.values().any(|kept| !kept.is_newer(oldest, now))
    }
}

impl Kept {
    /// After a clock went back nobody knows how old it is.
    fn is_newer(&self, oldest: SignedDuration, now: Timestamp) -> bool {
        (SignedDuration::ZERO..oldest).contains(&now.duration_since(self.read))
    }

    /// Whether it can still stand for a guest that is listed so.
    fn stands_for(&self, listed: &GuestStatus) -> bool {
        shown(&self.listed) == shown(listed)
            // A lock can come and go between two lists; one that was caught must not be shown for longer.
            && self.config.lock() == listed.lock.as_deref()
            // One that runs and cannot be reached yet may get an address at any time.
            && self.addresses.as_ref().is_none_or(|all| all.iter().any(|address| is_reachable(address)))
    }
}

/// What of an entry tells that the guest was changed; what it consumes does not.
fn shown(status: &GuestStatus) -> impl PartialEq {
    let GuestStatus { name, cpus, tags, pid, maxmem, maxswap, maxdisk, .. } = status;
    (name, cpus, tags, status.state(), pid, [maxmem, maxswap, maxdisk])
}

/// A link-local address is there as soon as the interface is up.
fn is_reachable(address: &str) -> bool {
    !address.to_ascii_lowercase().starts_with("fe80:")
}

/// The guests that the token sees, with the addresses of those of ours that run.
///
/// # Errors
/// [`ObserveError`] if Proxmox does not answer, or ledger or journal cannot be read.
pub async fn recent_guests(
    s: &Services,
) -> Result<(BTreeMap<Vmid, RealGuest>, BTreeMap<Vmid, Vec<String>>), ObserveError> {
    look(s, KEPT).await
}

/// Reads again what will soon be too old.
///
/// # Errors
/// As [`recent_guests`].
pub async fn refresh(s: &Services) -> Result<(), ObserveError> {
    if s.recent.has_older(SOON, s.now()) { look(s, SOON).await.map(drop) } else { Ok(()) }
}

async fn look(
    s: &Services,
    oldest: SignedDuration,
) -> Result<(BTreeMap<Vmid, RealGuest>, BTreeMap<Vmid, Vec<String>>), ObserveError> {
    // Before anything is read: what is journaled meanwhile makes it old.
    let (event, now) = (s.ledger.last_event()?, s.now());
    let before = s.recent.known(event);
    let rows = s.ledger.guests()?;
    let ours: BTreeSet<Vmid> = rows.iter().filter(|row| is_there(row.state)).map(|row| row.vmid).collect();
    let (mut guests, mut real, mut addresses) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for status in s.node.guests().await? {
        let Some(vmid) = status.vmid() else { continue };
        let known = before.get(&vmid).filter(|kept| kept.is_newer(oldest, now) && kept.stands_for(&status));
        let kept = match known {
            Some(kept) => Arc::clone(kept),
            None => match read(s, &status, vmid, ours.contains(&vmid)).await? {
                Some((config, addresses)) => {
                    Arc::new(Kept { listed: status.clone(), config, addresses, read: now })
                }
                None => continue,
            },
        };
        real.insert(vmid, RealGuest { vmid, status, config: kept.config.clone() });
        addresses.extend(kept.addresses.clone().map(|all| (vmid, all)));
        guests.insert(vmid, kept);
    }
    s.recent.keep(event, guests);
    Ok((real, addresses))
}

/// Configuration and, of a guest of ours that runs, addresses; `None` if it went away.
async fn read(
    s: &Services,
    listed: &GuestStatus,
    vmid: Vmid,
    is_ours: bool,
) -> Result<Option<(GuestConfig, Option<Vec<String>>)>, ObserveError> {
    let Some(guest) = configured(s, listed.clone(), vmid).await? else { return Ok(None) };
    let runs = match listed.state() {
        RunState::Running => true,
        RunState::Stopped | RunState::Unknown => false,
    };
    let addresses = if is_ours && runs { Some(addresses(s, vmid).await) } else { None };
    Ok(Some((guest.config, addresses)))
}

/// Addresses of a guest, `lo` excepted; what cannot be asked is left out.
async fn addresses(s: &Services, vmid: Vmid) -> Vec<String> {
    let interfaces = s.node.guest(vmid).interfaces().await.unwrap_or_default();
    let up = interfaces.into_iter().filter(|interface| interface.name != "lo");
    up.flat_map(|Interface { inet, inet6, .. }| [inet, inet6]).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn entry() -> Value {
        json!({
            "vmid": 101, "status": "running", "name": "a", "cpus": 2, "tags": "x", "uptime": 9, "pid": 7,
            "mem": 5, "maxmem": 512, "maxswap": 0, "disk": 5, "maxdisk": 1024,
        })
    }

    fn listed(entry: Value) -> GuestStatus {
        serde_json::from_value(entry).unwrap()
    }

    fn kept(config: &str, addresses: Option<&[&str]>) -> Kept {
        Kept {
            listed: listed(entry()),
            config: GuestConfig::from_text(config).unwrap(),
            addresses: addresses.map(|all| all.iter().map(|&address| address.to_owned()).collect()),
            read: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_was_read_stands_until_the_list_shows_a_change() {
        let unlocked = kept("hostname: a\n", Some(&["10.0.0.5/24"]));
        for consumed in ["mem", "disk", "uptime"] {
            let mut other = entry();
            other[consumed] = json!(77);
            assert!(unlocked.stands_for(&listed(other)), "{consumed}");
        }
        let changes = [
            ("name", json!("b")),
            ("cpus", json!(1.5)),
            ("tags", json!("y")),
            ("status", json!("stopped")),
            ("pid", json!(8)),
            ("maxmem", json!(513)),
            ("maxswap", json!(1)),
            ("maxdisk", json!(1025)),
            ("lock", json!("backup")),
        ];
        for (key, value) in changes {
            let mut other = entry();
            other[key] = value;
            assert!(!unlocked.stands_for(&listed(other)), "{key}");
        }
        // It was read while a lock was there that no list showed.
        assert!(!kept("lock: snapshot\n", None).stands_for(&listed(entry())));
    }

    #[test]
    fn a_guest_that_cannot_be_reached_yet_is_asked_for_again() {
        let stands = |addresses| kept("hostname: a\n", addresses).stands_for(&listed(entry()));
        assert!(!stands(Some(&[])) && !stands(Some(&["fe80::1/64"])));
        assert!(stands(Some(&["10.0.0.5/24", "fe80::1/64"])) && stands(Some(&["fd00::5/64"])));
        assert!(stands(None), "it is not ours");
    }

    #[test]
    fn nothing_is_kept_across_an_event() {
        let recent = Recent::default();
        let one = || BTreeMap::from([(Vmid::try_from(101).unwrap(), Arc::new(kept("", None)))]);
        let older = |seconds| recent.has_older(SOON, Timestamp::from_second(seconds).unwrap());
        assert!(!older(100), "nobody has looked");
        recent.keep(5, one());
        assert_eq!((recent.known(5).len(), recent.known(6).len()), (1, 0));
        recent.keep(6, BTreeMap::new());
        recent.keep(5, one());
        assert_eq!((recent.known(5).len(), recent.known(6).len()), (0, 0), "who began earlier knows less");
        recent.keep(7, one());
        assert!(
            !older(0) && !older(39) && older(40) && older(-1),
            "it is as old as the clock says, if that can be"
        );
    }
}
