//! A look at what a client writes, from inside its sockets; and scissors for its wires.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use homing::Builder;

use super::{Backend, TEST_MAX};

/// Counts and records what goes through the streams of one client.
#[derive(Debug, Clone, Default)]
pub struct Tap {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    writes: AtomicUsize,
    cut: AtomicBool,
    explodes: AtomicBool,
    /// Writes take until this is over.
    is_held: Mutex<bool>,
    released: Condvar,
    /// One for each stream that was opened, in that order.
    streams: Mutex<Vec<Record>>,
}

/// What one stream has accepted.
#[derive(Debug, Default)]
struct Record {
    /// The first bytes of the frame that is being written: its length and its xid.
    head: VecDeque<u8>,
    /// Bytes of that frame that are still to come behind its head.
    rest: usize,
    /// The xid of each frame of which a byte was accepted; `None` for the handshake, and for a
    /// frame that was cut off before its xid.
    begun: Vec<Option<i32>>,
}

const HEAD_LEN: usize = 8;

impl Tap {
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder of clients that write through this tap.
    pub fn builder(&self, backend: Backend, servers: &str) -> Builder {
        let builder = homing::Client::builder(servers);
        match backend {
            #[cfg(feature = "nio")]
            Backend::Nio => {
                let dial = nio::TapDial(self.clone());
                builder.transport(homing_transport_nio::Nio::with_dial(dial))
            }
            #[cfg(feature = "tokio")]
            Backend::Tokio => {
                let dial = tokio::TapDial(self.clone());
                builder.transport(homing_transport_tokio::Tokio::with_dial(dial))
            }
        }
    }

    /// How many calls there were that write.
    pub fn writes(&self) -> usize {
        self.shared.writes.load(Ordering::SeqCst)
    }

    /// For each stream the xids of the requests of which at least a byte was accepted, in the
    /// order of writing.
    pub fn handed_over(&self) -> Vec<Vec<i32>> {
        let streams = self.shared.streams.lock().expect("no panic");
        streams.iter().map(Record::requests).collect()
    }

    /// From now on nothing goes through, in either direction, and nothing can be dialled: as if
    /// the client's machine had been taken off the network.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
    }

    /// From now on whatever is done with a stream or a dial panics: a driver with a bug in it.
    pub fn explode(&self) {
        self.shared.explodes.store(true, Ordering::SeqCst);
    }

    /// From now on each write takes until [`release`](Self::release): whoever writes is busy
    /// with it meanwhile, as with a slow system call.
    pub fn hold(&self) {
        *self.shared.is_held.lock().expect("no panic") = true;
    }

    pub fn release(&self) {
        *self.shared.is_held.lock().expect("no panic") = false;
        self.shared.released.notify_all();
    }

    fn check(&self) -> io::Result<()> {
        let explodes = self.shared.explodes.load(Ordering::SeqCst);
        assert!(!explodes, "this panic is part of the test");
        if self.shared.cut.load(Ordering::SeqCst) {
            return Err(io::Error::other("the wire is cut"));
        }
        Ok(())
    }

    /// The number of a new stream.
    fn open(&self) -> usize {
        let mut streams = self.shared.streams.lock().expect("no panic");
        streams.push(Record::default());
        streams.len() - 1
    }

    fn wrote(&self, stream: usize, bytes: &[u8]) {
        let mut streams = self.shared.streams.lock().expect("no panic");
        streams[stream].accept(bytes);
    }

    fn count_write(&self) {
        self.shared.writes.fetch_add(1, Ordering::SeqCst);
        let is_held = self.shared.is_held.lock().expect("no panic");
        let wait = self
            .shared
            .released
            .wait_timeout_while(is_held, TEST_MAX, |held| *held);
        drop(wait.expect("no panic"));
    }
}

impl Record {
    fn accept(&mut self, mut bytes: &[u8]) {
        while let Some((first, tail)) = bytes.split_first() {
            if self.rest > 0 {
                let skip = self.rest.min(bytes.len());
                self.rest -= skip;
                bytes = &bytes[skip..];
                continue;
            }
            if self.head.is_empty() {
                self.begun.push(None);
            }
            self.head.push_back(*first);
            bytes = tail;
            if self.head.len() == HEAD_LEN {
                let head: Vec<u8> = self.head.drain(..).collect();
                let number = |at: usize| i32::from_be_bytes(head[at..at + 4].try_into().unwrap());
                // The length counts the xid, which was just read.
                self.rest = usize::try_from(number(0)).expect("a length") - 4;
                let is_handshake = self.begun.len() == 1;
                if let Some(last) = self.begun.last_mut() {
                    *last = (!is_handshake).then_some(number(4));
                }
            }
        }
    }

    fn requests(&self) -> Vec<i32> {
        let mut requests = Vec::new();
        for begun in self.begun.iter().skip(1) {
            match begun {
                // A ping, or something of that kind.
                Some(xid) if *xid <= 0 => {}
                Some(xid) => requests.push(*xid),
                // Xids follow each other.
                None => requests.extend(requests.last().map(|last| last + 1)),
            }
        }
        requests
    }
}

#[cfg(feature = "nio")]
mod nio {
    use std::io::{self, Read, Write};
    use std::net::SocketAddr;

    use homing_transport_nio::{Dial, Stream, TcpDial};
    use mio::event::Source;
    use mio::{Interest, Registry, Token};

    use super::Tap;

    type Inner = <TcpDial as Dial>::Stream;

    #[derive(Debug, Clone)]
    pub(super) struct TapDial(pub(super) Tap);

    #[derive(Debug)]
    pub(super) struct TapStream {
        inner: Inner,
        tap: Tap,
        number: usize,
    }

    impl Dial for TapDial {
        type Stream = TapStream;

        fn dial(&self, address: SocketAddr) -> io::Result<TapStream> {
            self.0.check()?;
            let inner = TcpDial.dial(address)?;
            let tap = self.0.clone();
            let number = tap.open();
            Ok(TapStream { inner, tap, number })
        }
    }

    impl Stream for TapStream {
        fn is_connected(&self) -> io::Result<bool> {
            self.inner.is_connected()
        }
    }

    impl Read for TapStream {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.tap.check()?;
            self.inner.read(buffer)
        }
    }

    impl Write for TapStream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.tap.check()?;
            self.tap.count_write();
            let count = self.inner.write(bytes)?;
            self.tap.wrote(self.number, &bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.inner.flush()
        }
    }

    impl Source for TapStream {
        fn register(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
            self.inner.register(r, token, interest)
        }

        fn reregister(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
            self.inner.reregister(r, token, interest)
        }

        fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
            self.inner.deregister(registry)
        }
    }
}

#[cfg(feature = "tokio")]
mod tokio {
    use std::future::Future;
    use std::io;
    use std::net::SocketAddr;
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use homing_transport_tokio::{Dial, TcpDial};

    use super::Tap;

    type Inner = <TcpDial as Dial>::Stream;

    #[derive(Debug, Clone)]
    pub(super) struct TapDial(pub(super) Tap);

    #[derive(Debug)]
    pub(super) struct TapStream {
        inner: Inner,
        tap: Tap,
        number: usize,
    }

    impl Dial for TapDial {
        type Stream = TapStream;

        fn dial(
            &self,
            address: SocketAddr,
        ) -> impl Future<Output = io::Result<TapStream>> + Send + 'static {
            let tap = self.0.clone();
            async move {
                tap.check()?;
                let inner = TcpDial.dial(address).await?;
                let number = tap.open();
                Ok(TapStream { inner, tap, number })
            }
        }
    }

    impl AsyncRead for TapStream {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.tap.check()?;
            Pin::new(&mut self.inner).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for TapStream {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.tap.check()?;
            self.tap.count_write();
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
            self.tap.wrote(self.number, &bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }
}
