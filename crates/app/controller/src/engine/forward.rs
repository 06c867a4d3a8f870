//! Published ports: connections to the guest's network address are carried to the service on the guest's loopback.
//!
//! It listens only while the link is up; when the link goes down, listener and connections end.

use super::net::Net;
use crate::app::values::Port;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// How long to wait before a port that is taken is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Publishes one port until the task is aborted.
pub async fn publish(mut net: Net, lo: Ipv4Addr, port: Port) {
    loop {
        let address = *net.borrow_and_update();
        let Some(address) = address else {
            if net.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            () = serve(address, lo, port) => {}
            changed = net.changed() => if changed.is_err() { return },
        }
    }
}

async fn serve(address: IpAddr, lo: Ipv4Addr, port: Port) {
    // Dropped with this future, which ends the connections too.
    let mut connections = JoinSet::new();
    let listener = loop {
        match TcpListener::bind(SocketAddr::new(address, port.published)).await {
            Ok(listener) => break listener,
            Err(e) => tracing::warn!(%address, port = port.published, "port cannot be published: {e}"),
        }
        tokio::time::sleep(AGAIN).await;
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((from, _)) => {
                    connections.spawn(carry(from, SocketAddr::new(lo.into(), port.target)));
                }
                Err(e) => {
                    tracing::warn!(%address, port = port.published, "connection could not be accepted: {e}");
                    tokio::time::sleep(AGAIN).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(mut from: TcpStream, to: SocketAddr) {
    if let Ok(mut to) = TcpStream::connect(to).await {
        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
    }
}
