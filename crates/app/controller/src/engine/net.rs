//! The guest's address on its network, and whether the link is up.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};
use tokio::sync::watch;

/// Where to learn it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetSource {
    /// A file that holds the address, and nothing while the link is down.
    File(PathBuf),
    /// The address of this network interface, while its link is up.
    Interface(String),
    /// The link is the operating system's business: listen on every address.
    Any,
}

/// The address now, and news of it; `None` while the link is down.
pub type Net = watch::Receiver<Option<IpAddr>>;

const LOOK_EVERY: Duration = Duration::from_millis(300);

impl NetSource {
    /// The address now.
    pub fn now(&self) -> Option<IpAddr> {
        match self {
            Self::Any => Some(Ipv4Addr::UNSPECIFIED.into()),
            Self::Interface(name) => up(name).then(|| address_of(name)).flatten(),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).ok()?;
                let address = text.trim();
                address.split_once('/').map_or(address, |(address, _)| address).parse().ok()
            }
        }
    }

    /// Watches it for as long as somebody listens.
    pub fn watch(self) -> Net {
        let (news, net) = watch::channel(self.now());
        if self != Self::Any {
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(LOOK_EVERY);
                while !news.is_closed() {
                    tick.tick().await;
                    let now = self.now();
                    news.send_if_modified(|old| std::mem::replace(old, now) != now);
                }
            });
        }
        net
    }
}

/// Whether something is plugged in: the kernel says so, and answers with an error while the interface is off.
fn up(interface: &str) -> bool {
    let carrier = format!("/sys/class/net/{interface}/carrier");
    std::fs::read_to_string(carrier).is_ok_and(|text| text.trim() == "1")
}

/// The first IPv4 address that is no link-local one.
fn address_of(interface: &str) -> Option<IpAddr> {
    let all = if_addrs::get_if_addrs().ok()?;
    let own = all.into_iter().filter(|found| found.name == interface && !found.is_link_local());
    own.map(|found| found.ip()).find(IpAddr::is_ipv4)
}

/// The address as part of a URL; `None` when it is not known or the link is down.
pub fn url(net: &Net, port: u16) -> Option<String> {
    let address = (*net.borrow()).filter(|address| !address.is_unspecified())?;
    Some(format!("http://{}", std::net::SocketAddr::new(address, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_its_address_while_it_is_up() {
        assert_eq!(NetSource::Interface("no-such-one".into()).now(), None);
        // The loopback's carrier is always there.
        let lo = NetSource::Interface("lo".into()).now();
        assert!(lo.is_none_or(|address| address.is_loopback()), "{lo:?}");
    }
}
