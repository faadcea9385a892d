//! Ports on which nothing listens.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

/// A loopback address on which nothing listens.
///
/// Its port is none of those that the kernel gives to outgoing connections. One of these could
/// be taken by any connection while the server is down; worse, a client that dials a dead
/// server's port again and again gets that very port as its own some day, and is connected to
/// itself.
pub(super) fn free_addr() -> io::Result<SocketAddr> {
    let outgoing = outgoing_ports();
    let random = || RandomState::new().build_hasher().finish();
    let candidates = (0..1000).map(|_| 10_000 + (random() % 50_000) as u16);
    for port in candidates.filter(|port| !outgoing.contains(port)) {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr();
        }
    }
    // All are taken, or the kernel gives all to connections: what it proposes will do.
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn outgoing_ports() -> RangeInclusive<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = range.split_whitespace().map_while(|n| n.parse().ok());
    match (bounds.next(), bounds.next()) {
        (Some(first), Some(last)) => first..=last,
        // The range of the registry of ports, which most systems keep to.
        _ => 49_152..=u16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_not_for_outgoing_connections() {
        for _ in 0..100 {
            let addr = free_addr().unwrap();
            assert!(!outgoing_ports().contains(&addr.port()), "{addr}");
            TcpListener::bind(addr).unwrap();
        }
    }
}
