//! Login tickets and their CSRF tokens: `PVE:root@pam:HEXTIME::SIGNATURE` and `HEXTIME:SIGNATURE`, signed with a key of this host.
//! Pure but for the key, which the caller reads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};

use crate::state::secrets::equal;

/// Two hours, in seconds.
const LIFETIME: u64 = 7200;

/// Signs tickets; the key is in `etc/pve/authkey`.
#[derive(Clone)]
pub(crate) struct TicketKey(Vec<u8>);

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey(…)")
    }
}

impl TicketKey {
    /// From the key file's bytes.
    pub(crate) fn new(key: Vec<u8>) -> Self {
        Self(key)
    }

    /// A ticket for a user at a time (seconds since 1970).
    pub(crate) fn ticket(&self, user: &str, now: u64) -> String {
        let plain = format!("PVE:{user}:{now:08X}");
        let signature = self.sign(&plain);
        format!("{plain}::{signature}")
    }

    /// The CSRF token that goes with it.
    pub(crate) fn csrf(&self, user: &str, now: u64) -> String {
        let stamp = format!("{now:08X}");
        let signature = self.sign(&format!("csrf:{stamp}:{user}"));
        format!("{stamp}:{signature}")
    }

    /// The user of a valid ticket.
    pub(crate) fn verify_ticket(&self, ticket: &str, now: u64) -> Option<String> {
        let (plain, signature) = ticket.rsplit_once("::")?;
        if !equal(self.sign(plain).as_bytes(), signature.as_bytes()) {
            return None;
        }
        let (user, stamp) = plain.strip_prefix("PVE:")?.rsplit_once(':')?;
        fresh(stamp, now)?;
        Some(user.to_owned())
    }

    /// Whether a CSRF token is this user's.
    pub(crate) fn verify_csrf(&self, token: &str, user: &str, now: u64) -> bool {
        let Some((stamp, signature)) = token.split_once(':') else { return false };
        fresh(stamp, now).is_some()
            && equal(self.sign(&format!("csrf:{stamp}:{user}")).as_bytes(), signature.as_bytes())
    }

    /// HMAC-SHA256.
    fn sign(&self, text: &str) -> String {
        let mut block = [0_u8; 64];
        let key = Sha256::digest(&self.0);
        block[..key.len()].copy_from_slice(&key);
        let pad = |byte: u8| block.map(|b| b ^ byte);
        let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
        let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
        STANDARD_NO_PAD.encode(outer)
    }
}

/// Not older than two hours, and at most five minutes in the future.
fn fresh(stamp: &str, now: u64) -> Option<()> {
    let then = u64::from_str_radix(stamp, 16).ok()?;
    (then <= now + 300 && now < then + LIFETIME).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_valid_for_two_hours_and_for_its_own_user() {
        let key = TicketKey::new(b"k".to_vec());
        let ticket = key.ticket("a@pve", 1000);
        assert_eq!(key.verify_ticket(&ticket, 1000 + 7199).as_deref(), Some("a@pve"));
        assert_eq!(key.verify_ticket(&ticket, 1000 + 7200), None);
        assert_eq!(key.verify_ticket(&ticket.replace("a@pve", "root@pam"), 1000), None);
        assert_eq!(TicketKey::new(b"other".to_vec()).verify_ticket(&ticket, 1000), None);
        let csrf = key.csrf("a@pve", 1000);
        assert!(key.verify_csrf(&csrf, "a@pve", 1001));
        assert!(!key.verify_csrf(&csrf, "b@pve", 1001));
    }
}
