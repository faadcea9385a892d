//! A port on which somebody listens, or on purpose nobody does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
