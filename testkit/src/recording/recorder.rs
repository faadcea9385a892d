//! From bytes that go over connections to the lines of a recording.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decode::{Piece, Stream, Way};
use crate::recording::{Entry, Happening, Raw};

/// Makes the lines of a recording from what goes over connections. It does no I/O: whoever moves
/// the bytes tells it, with the time since the recording began and a number for each connection.
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
    connections: BTreeMap<u64, Stream>,
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

    /// A client connected.
    pub fn opened(&mut self, at: Duration, connection: u64) -> Entry {
        self.connections.insert(connection, Stream::new());
        entry(at, connection, Happening::Opened)
    }

    /// Bytes went over a connection, however they were cut: there is a line for each piece that
    /// is whole now.
    pub fn bytes(&mut self, at: Duration, connection: u64, way: Way, bytes: &[u8]) -> Vec<Entry> {
        let stream = self.connections.entry(connection).or_default();
        stream.push(way, bytes);
        let pieces: Vec<_> = std::iter::from_fn(|| stream.next(way)).collect();
        let said = |piece: &Piece| entry(at, connection, self.said(way, piece));
        pieces.iter().map(said).collect()
    }

    /// Nothing more comes this way.
    pub fn ended(&mut self, at: Duration, connection: u64, way: Way) -> Vec<Entry> {
        let stream = self.connections.entry(connection).or_default();
        let torn = stream.finish(way);
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
