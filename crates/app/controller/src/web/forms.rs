//! Who may send a form: a browser on the machine's own network, from a page that this very program served.
//!
//! 1. on the LAN: the page is called by the machine's address, and nothing forwarded the request, as the tunnel does;
//! 2. from our own page: the browser says so (`Origin`, `Sec-Fetch-Site`), and the form carries the token of this program's
//!    life, which no other origin can read. Apps on other ports are other origins.

use axum::http::{HeaderMap, HeaderName, header};
use std::net::{IpAddr, SocketAddr};

/// What proxies and tunnels add.
const FORWARDED: [&str; 10] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "via",
    "cdn-loop",
    "cf-connecting-ip",
    "cf-ray",
    "cf-visitor",
];

/// The token of the forms.
#[derive(Debug, Clone)]
pub struct Forms {
    token: String,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// It did not come from the machine's own network by its address.
    NotLan,
    /// It did not come from a page of this program.
    NotOurs,
}

impl Forms {
    /// A token for this life of the program.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { token: crate::random_hex()? })
    }

    /// To be put into each form.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether a form was sent from a page of this program.
    ///
    /// # Errors
    /// [`NotTaken::NotOurs`].
    pub fn check(&self, headers: &HeaderMap, token: &str) -> Result<(), NotTaken> {
        let Some(host) = text(headers, &header::HOST) else { return Err(NotTaken::NotOurs) };
        let from_here =
            text(headers, &header::ORIGIN).is_some_and(|origin| origin == format!("http://{host}"));
        let site = text(headers, &HeaderName::from_static("sec-fetch-site"));
        if from_here && site.is_none_or(|site| site == "same-origin") && same(token, &self.token) {
            return Ok(());
        }
        Err(NotTaken::NotOurs)
    }
}

/// Whether the page was called by this machine's address from its own network.
///
/// # Errors
/// [`NotTaken::NotLan`].
pub fn on_the_lan(headers: &HeaderMap, peer: SocketAddr, own: IpAddr) -> Result<(), NotTaken> {
    let forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
    let host = text(headers, &header::HOST).and_then(address);
    let by_address = host.is_some_and(|host| own.is_unspecified() || host == own);
    if by_address && !forwarded && is_near(peer.ip().to_canonical()) { Ok(()) } else { Err(NotTaken::NotLan) }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let one = values.next()?.to_str().ok();
    // Two of them are a riddle, not an answer.
    one.filter(|_| values.next().is_none())
}

/// A name is never an address: what a name means, its owner says, and may say otherwise in a moment.
fn address(host: &str) -> Option<IpAddr> {
    if let Ok(with_port) = host.parse::<SocketAddr>() {
        return Some(with_port.ip());
    }
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

/// Takes as long whatever differs.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_by_address_from_near_and_not_forwarded() {
        let own: IpAddr = "192.168.1.5".parse().unwrap();
        let lan = |lines: &[(&'static str, &str)], peer: &str| {
            on_the_lan(&headers(lines), format!("{peer}:40000").parse().unwrap(), own).is_ok()
        };
        assert!(lan(&[("host", "192.168.1.5:8080")], "192.168.1.9"));
        assert!(lan(&[("host", "192.168.1.5")], "192.168.1.9"));
        for host in ["family.example", "family.example:8080", "192.168.1.6:8080", "localhost:8080", ""] {
            assert!(!lan(&[("host", host)], "192.168.1.9"), "{host}");
        }
        assert!(!lan(&[], "192.168.1.9"));
        assert!(!lan(&[("host", "192.168.1.5:8080")], "203.0.113.7"));
        for name in FORWARDED {
            assert!(!lan(&[("host", "192.168.1.5:8080"), (name, "x")], "192.168.1.9"), "{name}");
        }
        let two = [("host", "192.168.1.5:8080"), ("host", "evil.example")];
        assert!(!lan(&two, "192.168.1.9"));
    }

    #[test]
    fn only_from_our_own_page() {
        let forms = Forms::new().unwrap();
        let taken = |lines: &[(&'static str, &str)], token: &str| forms.check(&headers(lines), token).is_ok();
        let (host, origin) = (("host", "192.168.1.5:8080"), ("origin", "http://192.168.1.5:8080"));
        assert!(taken(&[host, origin], forms.token()));
        assert!(taken(&[host, origin, ("sec-fetch-site", "same-origin")], forms.token()));
        assert!(!taken(&[host, origin, ("sec-fetch-site", "same-site")], forms.token()));
        assert!(!taken(&[host, ("origin", "http://192.168.1.5:8081")], forms.token()), "an app's page");
        assert!(!taken(&[host, ("origin", "null")], forms.token()));
        assert!(!taken(&[host], forms.token()));
        for token in ["", "x", &"0".repeat(32)] {
            assert!(!taken(&[host, origin], token));
        }
    }
}
