//! `netN` of a container.

use std::fmt;
use std::str::FromStr;

use super::{InvalidProperty, Pairs, digit, write_pairs};
use crate::ids::BridgeName;

const KIND: &str = "network interface";

/// A container's network interface. Without `hwaddr` PVE makes a fresh address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetInterface {
    /// The name inside the guest, e.g. `eth0`.
    pub name: String,
    /// The host's bridge.
    pub bridge: Option<BridgeName>,
    /// The MAC address, as PVE writes it.
    pub hwaddr: Option<String>,
    /// `dhcp`, `manual` or an address with prefix.
    pub ip: Option<String>,
    /// The IPv4 gateway.
    pub gw: Option<String>,
    /// The VLAN.
    pub tag: Option<u16>,
    /// Whether the link is taken away.
    pub link_down: Option<bool>,
    /// Whether PVE's firewall filters it.
    pub firewall: Option<bool>,
    /// Everything else, in its order.
    pub other: Vec<(String, String)>,
}

impl NetInterface {
    /// An interface on a bridge with DHCP and a fresh MAC address.
    #[must_use]
    pub fn dhcp(name: &str, bridge: BridgeName) -> Self {
        Self {
            name: name.to_owned(),
            bridge: Some(bridge),
            hwaddr: None,
            ip: Some("dhcp".to_owned()),
            gw: None,
            tag: None,
            link_down: None,
            firewall: None,
            other: Vec::new(),
        }
    }

    /// The same with its link taken away or given back.
    #[must_use]
    pub fn with_link_down(mut self, down: bool) -> Self {
        self.link_down = Some(down);
        self
    }
}

impl FromStr for NetInterface {
    type Err = InvalidProperty;

    fn from_str(text: &str) -> Result<Self, InvalidProperty> {
        let mut pairs = Pairs::parse(KIND, text)?;
        if pairs.head.is_some() {
            return Err(InvalidProperty::new(KIND, text, "starts without a key"));
        }
        let name = pairs.take("name").ok_or_else(|| InvalidProperty::new(KIND, text, "no `name`"))?;
        let bridge = pairs.take("bridge").map(BridgeName::new).transpose();
        let tag = pairs.take("tag").map(|t| t.parse()).transpose();
        Ok(Self {
            name,
            bridge: bridge.map_err(|e| InvalidProperty::new(KIND, text, e))?,
            hwaddr: pairs.take("hwaddr"),
            ip: pairs.take("ip"),
            gw: pairs.take("gw"),
            tag: tag.map_err(|e| InvalidProperty::new(KIND, text, format_args!("tag: {e}")))?,
            link_down: pairs.take_flag(KIND, text, "link_down")?,
            firewall: pairs.take_flag(KIND, text, "firewall")?,
            other: pairs.pairs,
        })
    }
}

impl fmt::Display for NetInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "name={}", self.name)?;
        let tag = self.tag.map(|t| t.to_string());
        let known = [
            ("bridge", self.bridge.as_ref().map(BridgeName::as_str)),
            ("hwaddr", self.hwaddr.as_deref()),
            ("ip", self.ip.as_deref()),
            ("gw", self.gw.as_deref()),
            ("tag", tag.as_deref()),
            ("link_down", self.link_down.map(digit)),
            ("firewall", self.firewall.map(digit)),
        ];
        write_pairs(f, known.into_iter().filter_map(|(key, value)| Some((key, value?))))?;
        write_pairs(f, self.other.iter().map(|(k, v)| (k.as_str(), v.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn recorded_values() {
        let text = "name=eth0,bridge=vmbr0,firewall=1,hwaddr=02:11:22:33:44:55,ip=10.99.0.101/24,link_down=1,type=veth";
        let net: NetInterface = text.parse().unwrap();
        assert_eq!((net.link_down, net.firewall), (Some(true), Some(true)));
        assert_eq!(net.other, [("type".to_owned(), "veth".to_owned())]);
        assert_eq!(net.to_string().parse::<NetInterface>().unwrap(), net);
        let fresh = NetInterface::dhcp("eth0", "vmbr0".parse().unwrap()).with_link_down(true);
        assert_eq!(fresh.to_string(), "name=eth0,bridge=vmbr0,ip=dhcp,link_down=1");
    }

    #[test]
    fn refuses_what_has_no_form() {
        for text in
            ["", "eth0", "bridge=vmbr0", "name=eth0,,", "name=eth0,name=eth1", "name=eth0,link_down=maybe"]
        {
            assert!(text.parse::<NetInterface>().is_err(), "{text}");
        }
    }

    prop_compose! {
        fn any_net()(
            name in "[a-z]{1,5}[0-9]",
            bridge in proptest::option::of("vmbr[0-9]{1,3}"),
            hwaddr in proptest::option::of("([0-9A-F]{2}:){5}[0-9A-F]{2}"),
            ip in proptest::option::of("dhcp|manual|10\\.0\\.0\\.[0-9]/24"),
            tag in proptest::option::of(1_u16..4095),
            flags in (any::<Option<bool>>(), any::<Option<bool>>()),
            other in proptest::option::of("[0-9]{3,4}"),
        ) -> NetInterface {
            NetInterface {
                name,
                bridge: bridge.map(|b| b.parse().unwrap()),
                hwaddr,
                gw: ip.as_ref().filter(|ip| ip.ends_with("/24")).map(|_| "10.0.0.1".to_owned()),
                ip,
                tag,
                link_down: flags.0,
                firewall: flags.1,
                other: other.map(|mtu| ("mtu".to_owned(), mtu)).into_iter().collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn renders_and_reads_back(net in any_net()) {
            prop_assert_eq!(net.to_string().parse::<NetInterface>().unwrap(), net);
        }

        #[test]
        fn never_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<NetInterface>();
        }
    }
}
