//! A port on which somebody listens, or on purpose nobody does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Socket, Type};

/// What becomes of those who dial a port.
#[derive(Debug)]
pub(crate) enum Listening {
    /// It is anybody's.
    Closed,
    Open(TcpListener),
    /// Nobody listens, so that the system refuses connections.
    Refusing {
        /// Keeps others from taking the port, where that goes.
        _holder: Option<Socket>,
    },
}

impl Listening {
    /// Listens, and says where.
    pub(crate) fn open(
        registry: &Registry,
        token: Token,
        address: SocketAddr,
    ) -> io::Result<(Self, SocketAddr)> {
        let mut listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok((Self::Open(listener), address))
    }

    /// Listens no more, and keeps the port.
    pub(crate) fn refuse(&mut self, address: SocketAddr) {
        // Two cannot have the port.
        *self = Self::Closed;
        *self = Self::Refusing {
            _holder: hold(address).ok(),
        };
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// The next connection; `WouldBlock` where there is none.
    pub(crate) fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            Self::Open(listener) => listener.accept(),
            Self::Closed | Self::Refusing { .. } => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// A socket that has a port and does not listen.
fn hold(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What to dial for a port that listens there: the loopback address for all addresses.
pub(crate) fn dialled(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::from((host, address.port()))
}

/// Whether somebody who dials this address reaches whoever listens there.
pub(crate) fn leads_to(address: SocketAddr, listens: SocketAddr) -> bool {
    let ip = dialled(address).ip().to_canonical();
    let reaches = match listens.ip() {
        // All addresses of this machine, which are those that a socket can have.
        IpAddr::V4(all) if all.is_unspecified() => ip.is_ipv4() && is_own(ip),
        IpAddr::V6(all) if all.is_unspecified() => is_own(ip),
        one => one.to_canonical() == ip,
    };
    reaches && address.port() == listens.port()
}

fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_everywhere_is_reached_at_every_address_of_this_machine() {
        let leads = |address: &str, listens: &str| {
            leads_to(address.parse().unwrap(), listens.parse().unwrap())
        };
        for (address, listens) in [
            ("127.0.0.1:7", "127.0.0.1:7"),
            ("0.0.0.0:7", "127.0.0.1:7"),
            ("[::ffff:127.0.0.1]:7", "127.0.0.1:7"),
            ("127.0.0.1:7", "[::ffff:127.0.0.1]:7"),
            ("[::]:7", "[::1]:7"),
            ("127.0.0.1:7", "0.0.0.0:7"),
            ("127.0.0.1:7", "[::]:7"),
        ] {
            assert!(leads(address, listens), "{address} to {listens}");
        }
        for (address, listens) in [
            ("127.0.0.1:8", "127.0.0.1:7"),
            ("127.0.0.1:8", "0.0.0.0:7"),
            ("127.0.0.2:7", "127.0.0.1:7"),
            ("[::1]:7", "127.0.0.1:7"),
            ("[::1]:7", "0.0.0.0:7"),
            // An address for documents, which nobody has.
            ("192.0.2.1:7", "0.0.0.0:7"),
            ("[2001:db8::1]:7", "[::]:7"),
        ] {
            assert!(!leads(address, listens), "{address} to {listens}");
        }
    }
}
