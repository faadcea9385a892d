//! From bytes that go over connections to the lines of a recording.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::BytesMut;
use homing_protocol::{frame, put_buffer};

use crate::decode::{Piece, Stream, Way};
use crate::recording::{Entry, Happening, Raw};
use crate::{Closer, Observed, Sight};

/// Makes the lines of a recording from what goes over connections. It moves no bytes itself: a
/// [`Proxy`](crate::Proxy) shows it what goes through.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use std::sync::mpsc;
/// use homing_testkit::recording::{Recorder, Recording};
/// use homing_testkit::{FakeServer, Proxy};
///
/// let server = FakeServer::start(); // Or a real one, anywhere.
/// let (sender, lines) = mpsc::channel();
/// let recorder = Recorder::new().observer(move |entry| drop(sender.send(entry)));
/// let proxy = Proxy::builder().observe(recorder).start(server.addr())?;
///
/// let mut client = TcpStream::connect(proxy.addr())?;
/// client.write_all(b"srvr")?;
/// client.read_to_string(&mut String::new())?;
/// drop(proxy);
/// let recording: Recording = lines.iter().collect();
/// assert!(recording.to_string().contains("-> word \"srvr\""));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Whoever moves bytes in another way tells it, with a time and a number for each connection:
///
/// ```
/// use std::time::Duration;
/// use homing_testkit::{decode::Way, recording::Recorder};
///
/// let mut recorder = Recorder::new();
/// let at = Duration::from_millis(2);
/// recorder.opened(at, 1);
/// let lines = recorder.bytes(at, 1, Way::ToServer, b"ruok");
/// assert_eq!(lines[0].to_string(), "0.002000 1 -> word \"ruok\"\t72756f6b");
/// ```
#[derive(Debug)]
pub struct Recorder {
    has_raw: bool,
    has_secrets: bool,
    connections: BTreeMap<u64, Connection>,
}

#[derive(Debug, Default)]
struct Connection {
    stream: Stream,
    ended: BTreeSet<Way>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// One that records the bytes too, with secrets masked.
    pub fn new() -> Self {
        Self {
            has_raw: true,
            has_secrets: false,
            connections: BTreeMap::new(),
        }
    }

    /// Leaves the bytes out: such a recording can be read and not be played.
    #[must_use]
    pub fn without_raw(mut self) -> Self {
        self.has_raw = false;
        self
    }

    /// Keeps passwords, credentials and hashes among the bytes, which it takes to play a session
    /// that authenticates. Whoever has the recording then has them too.
    #[must_use]
    pub fn with_secrets(mut self) -> Self {
        self.has_secrets = true;
        self
    }

    /// What a [`Proxy`](crate::ProxyBuilder::observe) is to show all that it sees; `sink` is given
    /// the lines, in their order. Connections that the proxy has closed have no end there: neither
    /// side wanted it.
    pub fn observer(
        mut self,
        mut sink: impl FnMut(Entry) + Send + 'static,
    ) -> impl FnMut(&Observed<'_>) + Send + 'static {
        let mut start = None;
        move |seen| {
            let at = seen.at.duration_since(*start.get_or_insert(seen.at));
            self.see(at, seen).into_iter().for_each(&mut sink);
        }
    }

    fn see(&mut self, at: Duration, seen: &Observed<'_>) -> Vec<Entry> {
        let connection = seen.connection;
        match seen.what {
            Sight::Opened(_) => vec![self.opened(at, connection)],
            Sight::Frame(way, frame) => {
                let mut whole = BytesMut::with_capacity(frame::LENGTH_LEN + frame.len());
                put_buffer(&mut whole, Some(frame));
                self.bytes(at, connection, way, &whole)
            }
            Sight::Raw(way, bytes) => self.bytes(at, connection, way, bytes),
            // None is anything that one side said.
            Sight::NotAccepted(_) | Sight::Unreachable(..) | Sight::InVain(..) => Vec::new(),
            Sight::Ended(way) => self.ended(at, connection, way),
            Sight::Closed(closer) => {
                let ways = match closer {
                    Closer::Client => vec![Way::ToServer, Way::ToClient],
                    Closer::Server | Closer::NoServer => vec![Way::ToClient, Way::ToServer],
                    _ => Vec::new(),
                };
                let left = ways
                    .into_iter()
                    .flat_map(|way| self.ended(at, connection, way));
                let left = left.collect();
                self.gone(connection);
                left
            }
        }
    }

    /// A client connected.
    pub fn opened(&mut self, at: Duration, connection: u64) -> Entry {
        self.connections.insert(connection, Connection::default());
        entry(at, connection, Happening::Opened)
    }

    /// Bytes went over a connection, however they were cut: there is a line for each piece that
    /// is whole now.
    pub fn bytes(&mut self, at: Duration, connection: u64, way: Way, bytes: &[u8]) -> Vec<Entry> {
        let stream = &mut self.connections.entry(connection).or_default().stream;
        stream.push(way, bytes);
        let pieces: Vec<_> = std::iter::from_fn(|| stream.next(way)).collect();
        let said = |piece: &Piece| entry(at, connection, self.said(way, piece));
        pieces.iter().map(said).collect()
    }

    /// Nothing more comes this way. There is no line when that was known.
    pub fn ended(&mut self, at: Duration, connection: u64, way: Way) -> Vec<Entry> {
        let known = self.connections.entry(connection).or_default();
        if !known.ended.insert(way) {
            return Vec::new();
        }
        let torn = known.stream.finish(way);
        let torn = torn.map(|piece| self.said(way, &piece));
        let happenings = torn.into_iter().chain([Happening::Ended(way)]);
        happenings
            .map(|happening| entry(at, connection, happening))
            .collect()
    }

    /// A connection is gone: nothing is remembered of it any more.
    pub fn gone(&mut self, connection: u64) {
        self.connections.remove(&connection);
    }

    fn said(&self, way: Way, piece: &Piece) -> Happening {
        let masked = match self.has_secrets {
            true => Vec::new(),
            false => piece.secrets(),
        };
        let raw = || Raw::new(piece.bytes().clone(), &masked);
        Happening::Said {
            way,
            text: piece.to_string(),
            raw: self.has_raw.then(raw),
        }
    }
}

fn entry(at: Duration, connection: u64, happening: Happening) -> Entry {
    Entry {
        at,
        connection,
        happening,
    }
}
