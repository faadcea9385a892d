//! Opening streams without blocking.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::event::Source;
use mio::net::TcpStream;

/// Opens byte streams. A test can bring its own, to count or to disturb what passes.
///
/// ```
/// use homing_transport_nio::{Dial, TcpDial};
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let _stream = TcpDial.dial(listener.local_addr()?)?; // perhaps not connected yet
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// What it opens.
    type Stream: Stream;

    /// Begins to open a stream, without blocking.
    ///
    /// # Errors
    /// It cannot even begin.
    fn dial(&self, address: SocketAddr) -> io::Result<Self::Stream>;
}

/// A non-blocking byte stream that mio can watch.
///
/// The driver takes a read that leaves room in its buffer for the last one until the poll tells
/// of more, as it is with sockets. A stream that holds something back, or that would block for
/// reasons of its own, has to see to it that the poll tells again. What a write accepted leaves
/// by itself: `flush` is never called.
///
/// ```
/// fn is_open(stream: &impl homing_transport_nio::Stream) -> bool {
///     stream.is_connected().unwrap_or(false)
/// }
/// ```
pub trait Stream: Read + Write + Source + Send + 'static {
    /// Whether the stream is open; asked when it became writable for the first time.
    ///
    /// # Errors
    /// It could not be opened.
    fn is_connected(&self) -> io::Result<bool>;
}

/// TCP with TCP_NODELAY: what is ready leaves at once, in pieces as large as they are.
///
/// ```
/// assert_eq!(format!("{:?}", homing_transport_nio::TcpDial), "TcpDial");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDial;

impl Dial for TcpDial {
    type Stream = TcpStream;

    fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Stream for TcpStream {
    fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.take_error()? {
            return Err(error);
        }
        match self.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }
}
