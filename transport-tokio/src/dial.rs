//! Opening streams.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Opens byte streams. A test can bring its own, to count or to disturb what passes.
///
/// ```
/// use homing_transport_tokio::{Dial, TcpDial};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let _stream = TcpDial.dial(listener.local_addr()?).await?;
/// # Ok(())
/// # }
/// ```
pub trait Dial: fmt::Debug + Send + Sync + Unpin + 'static {
    /// What it opens. What a write accepted leaves by itself: it is never flushed.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Opens a stream. Dropping the future gives it up.
    fn dial(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send + 'static;
}

/// TCP with TCP_NODELAY: what is ready leaves at once, in pieces as large as they are.
///
/// ```
/// assert_eq!(format!("{:?}", homing_transport_tokio::TcpDial), "TcpDial");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDial;

impl Dial for TcpDial {
    type Stream = TcpStream;

    fn dial(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<TcpStream>> + Send + 'static {
        connect(address)
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
