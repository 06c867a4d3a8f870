//! Loopback addresses of guests.

use std::net::Ipv4Addr;

/// The two addresses of one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The guest's own loopback: applications and health checks, always there.
    pub lo: Ipv4Addr,
    /// net0's address, there while its link is up.
    pub net0: Ipv4Addr,
}

/// Pairs in one /16: last octets 1 to 254, so that none looks like a network or broadcast address.
const PAIRS: u32 = 127 * 256;

impl Addresses {
    /// The addresses with number `index` in 127.`net`.0.0/16. The caller keeps which guest has which index. `None` if
    /// `index` is 32512 or more.
    #[must_use]
    pub fn new(net: u8, index: u32) -> Option<Self> {
        if index >= PAIRS {
            return None;
        }
        let third = u8::try_from(index / 127).ok()?;
        let last = u8::try_from(index % 127 * 2 + 1).ok()?;
        Some(Self {
            lo: Ipv4Addr::new(127, net, third, last),
            net0: Ipv4Addr::new(127, net, third, last + 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_index_has_two_addresses_of_its_own_in_the_hosts_network() {
        let mut seen = HashSet::new();
        for index in 0..PAIRS {
            let pair = Addresses::new(100, index).unwrap();
            for address in [pair.lo, pair.net0] {
                assert_eq!(address.octets()[..2], [127, 100]);
                assert!(!matches!(address.octets()[3], 0 | 255));
                assert!(seen.insert(address));
            }
        }
        assert_eq!(Addresses::new(100, PAIRS), None);
    }
}
