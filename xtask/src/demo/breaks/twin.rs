//! The live guest's app answers on the addresses that a restored copy will have: a health check that believes the address
//! would call a dead copy healthy.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Meddling;
use crate::demo::{driver::Demo, world::APP_PORT};

/// How many guests' addresses are taken.
const GUESTS: u8 = 6;

pub(super) fn answer_for_copies(demo: &Demo) -> Result<Meddling> {
    let vmid = demo.facts.guest.vmid;
    let record = demo.world.path(&format!("pve/run/guests/{vmid}/guest.json"));
    let record: Value =
        serde_json::from_slice(&std::fs::read(&record).with_context(|| record.display().to_string())?)?;
    let live: Ipv4Addr = record["lo"].as_str().context("the guest has no address")?.parse()?;
    let to = SocketAddr::V4(SocketAddrV4::new(live, APP_PORT));
    let mut listeners = Vec::new();
    for other in addresses_beside(live) {
        let listener =
            TcpListener::bind((other, APP_PORT)).with_context(|| format!("cannot listen on {other}"))?;
        listener.set_nonblocking(true)?;
        listeners.push(listener);
    }
    Ok(Meddling::repeat(Duration::from_millis(2), move || {
        for listener in &listeners {
            while let Ok((stream, _)) = listener.accept() {
                thread::spawn(move || pass_on(&stream, to));
            }
        }
        false
    }))
}

/// The `lo` addresses of the guests that come next; each guest has two, its `lo` first.
fn addresses_beside(live: Ipv4Addr) -> Vec<Ipv4Addr> {
    let [a, b, c, d] = live.octets();
    (1..=GUESTS).filter_map(|n| Some(Ipv4Addr::new(a, b, c, d.checked_add(2 * n)?))).collect()
}

fn pass_on(from: &TcpStream, to: SocketAddr) -> io::Result<()> {
    from.set_nonblocking(false)?;
    let there = TcpStream::connect(to)?;
    let (mut request, mut request_to) = (from.try_clone()?, there.try_clone()?);
    thread::spawn(move || io::copy(&mut request, &mut request_to));
    io::copy(&mut &there, &mut &*from)?;
    from.shutdown(std::net::Shutdown::Both)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn neighbours_are_every_second_address() {
        let found = addresses_beside(Ipv4Addr::new(127, 64, 0, 1));
        assert_eq!(found[..2], [Ipv4Addr::new(127, 64, 0, 3), Ipv4Addr::new(127, 64, 0, 5)]);
        assert!(addresses_beside(Ipv4Addr::new(127, 64, 0, 255)).is_empty());
    }

    #[test]
    fn bytes_go_both_ways() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).unwrap();
            stream.write_all(b"pong").unwrap();
        });
        let mut client = TcpStream::connect(proxy.local_addr().unwrap()).unwrap();
        let (stream, _) = proxy.accept().unwrap();
        thread::spawn(move || pass_on(&stream, to));
        client.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"pong");
    }
}
