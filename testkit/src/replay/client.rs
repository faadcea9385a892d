//! The client's side of a recording.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::{ConnectRequest, ConnectResponse, frame, op, put_buffer};

use super::compare::{Comparison, same_text};
use super::order;
use super::peer::Peer;
use super::steps::{self, Action, Step, is_ping};
use super::{Difference, ReplayError};
use crate::decode::{Piece, Way, What};
use crate::later::later;
use crate::operation::is_transaction;
use crate::recording::Recording;

/// How long to wait for what was recorded, unless something else is asked for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Plays what clients said to a server, and compares what it answers.
///
/// Each connection says everything in the recorded order, and as soon as what was recorded before
/// it has come. What several of them asked at the same time is asked in the order in which the
/// server came to it. Sessions that are taken up again are those of now.
///
/// ```
/// use homing_testkit::{FakeServer, recording::Recording, replay::ReplayClient};
/// let recording: Recording = "# homing-testkit recording 1\n\
///     0.000000 1 +\n\
///     0.000514 1 -> word \"ruok\"\t72756f6b\n\
///     0.000702 1 <- text \"imok\"\t696d6f6b\n\
///     0.000702 1 |<-\n".parse()?;
/// let server = FakeServer::builder().config(|it| it.four_letter_words = vec!["*".into()]).start()?;
/// assert_eq!(ReplayClient::new(&recording)?.run(server.addr())?, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "it does nothing until it is run"]
pub struct ReplayClient {
    steps: Vec<Step>,
    patience: Duration,
    keep_pauses: bool,
}

impl ReplayClient {
    /// Makes a recording ready.
    ///
    /// # Errors
    /// It cannot be played: see the [module](super).
    pub fn new(recording: &Recording) -> Result<Self, ReplayError> {
        Ok(Self {
            steps: order::as_served(steps::of(recording)?),
            patience: PATIENCE,
            keep_pauses: false,
        })
    }

    /// How long to wait for what was recorded before it counts as missing. 30 s; less than a
    /// millisecond counts as one.
    pub fn patience(mut self, patience: Duration) -> Self {
        // None at all is nothing that a socket could be told.
        self.patience = patience.max(Duration::from_millis(1));
        self
    }

    /// Says everything when it was said, and not as soon as it can be: for a recording in which
    /// something happens by itself, as when a session expires.
    pub fn keep_pauses(mut self) -> Self {
        self.keep_pauses = true;
        self
    }

    /// Plays it, and returns what was different.
    ///
    /// # Errors
    /// There is no such server, or it takes no connection.
    pub fn run(&self, server: impl ToSocketAddrs) -> Result<Vec<Difference>, ReplayError> {
        let servers = server.to_socket_addrs().map_err(ReplayError::resolve)?;
        let mut run = Run::new(servers.collect(), self.patience);
        let start = Instant::now();
        for step in &self.steps {
            if self.keep_pauses {
                let due = later(start, step.at);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            run.take(step)?;
        }
        run.finish(self.steps.last().map_or(Duration::ZERO, |step| step.at));
        Ok(run.differences)
    }
}

/// A replay under way.
struct Run {
    /// Where the server may be. All are tried, for each connection.
    servers: Vec<SocketAddr>,
    patience: Duration,
    comparison: Comparison,
    /// Recorded sessions, and what they are now.
    sessions: BTreeMap<i64, ConnectResponse>,
    connections: BTreeMap<u64, Connection>,
    /// Connections that the server has closed.
    gone: BTreeSet<u64>,
    differences: Vec<Difference>,
}

/// A connection to the server.
struct Connection {
    peer: Peer,
    /// The answer to a four-letter word, as it was recorded and as it is: it comes in pieces.
    text: Option<Text>,
    /// The client has ended its side.
    has_said_all: bool,
    /// It has gone another way than the recorded one, which was said.
    is_lost: bool,
}

struct Text {
    at: Duration,
    recorded: BytesMut,
}

impl Run {
    fn new(servers: Vec<SocketAddr>, patience: Duration) -> Self {
        Self {
            servers,
            patience,
            comparison: Comparison::default(),
            sessions: BTreeMap::new(),
            connections: BTreeMap::new(),
            gone: BTreeSet::new(),
            differences: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), ReplayError> {
        if let Action::Open = step.action {
            return self.open(step.connection);
        }
        if self.gone.contains(&step.connection) {
            return Ok(());
        }
        // A recording that was cut, and begins in the middle of a connection.
        if !self.connections.contains_key(&step.connection) {
            self.open(step.connection)?;
        }
        match &step.action {
            Action::Open => {}
            Action::Say(Way::ToServer, piece) => self.say(step.connection, piece),
            Action::Say(Way::ToClient, piece) => self.expect(step, piece),
            Action::End(Way::ToServer) => self.end(step.connection),
            Action::End(Way::ToClient) => self.expect_end(step),
        }
        Ok(())
    }

    fn open(&mut self, connection: u64) -> Result<(), ReplayError> {
        let peer = self.dial()?;
        let opened = Connection {
            peer,
            text: None,
            has_said_all: false,
            is_lost: false,
        };
        self.connections.insert(connection, opened);
        Ok(())
    }

    fn dial(&self) -> Result<Peer, ReplayError> {
        let nowhere = io::Error::other("the name has no address");
        let mut result = Err(ReplayError::resolve(nowhere));
        for server in &self.servers {
            let socket = TcpStream::connect_timeout(server, self.patience);
            let peer =
                socket.and_then(|socket| Peer::new(Arc::new(socket), Way::ToClient, self.patience));
            result = peer.map_err(|error| ReplayError::connect(*server, error));
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn say(&mut self, connection: u64, piece: &Piece) {
        let bytes = self.translated(piece);
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.peer.send(&bytes);
        }
    }

    /// What a client would say now: the session that it has, the transactions that it has seen.
    fn translated(&self, piece: &Piece) -> Bytes {
        let bytes = piece.bytes();
        match piece.decoded().map(|decoded| decoded.what) {
            Some(What::ConnectRequest) => {
                let frame = bytes.slice(frame::LENGTH_LEN..);
                let translated = self.translated_handshake(&frame);
                translated.unwrap_or_else(|| bytes.clone())
            }
            Some(What::Request {
                op: op::SET_WATCHES | op::SET_WATCHES2,
                ..
            }) => self.with_zxid(bytes, frame::LENGTH_LEN + 8),
            _ => bytes.clone(),
        }
    }

    fn translated_handshake(&self, frame: &Bytes) -> Option<Bytes> {
        let request = ConnectRequest::decode(frame).ok()?;
        let Some(session) = self.sessions.get(&request.session_id) else {
            let mut whole = BytesMut::new();
            put_buffer(&mut whole, Some(frame));
            return Some(self.with_zxid(&whole.freeze(), frame::LENGTH_LEN + 4));
        };
        let mut body = BytesMut::new();
        body.put_slice(frame.get(..4)?);
        body.put_i64(self.comparison.progress.translated(request.last_zxid_seen));
        body.put_i32(request.timeout_ms);
        body.put_i64(session.session_id);
        put_buffer(&mut body, Some(session.password.as_bytes()));
        // The version, three numbers, a length and the password stand before the rest.
        let password_end = 28 + request.password.as_bytes().len();
        body.put_slice(frame.get(password_end..).unwrap_or_default());
        let mut whole = BytesMut::new();
        put_buffer(&mut whole, Some(&body));
        Some(whole.freeze())
    }

    /// A frame with the zxid at this place translated.
    fn with_zxid(&self, bytes: &Bytes, at: usize) -> Bytes {
        let mut bytes = BytesMut::from(&bytes[..]);
        if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<8>) {
            let zxid = i64::from_be_bytes(*place);
            *place = self.comparison.progress.translated(zxid).to_be_bytes();
        }
        bytes.freeze()
    }

    fn expect(&mut self, step: &Step, recorded: &Piece) {
        let is_alone = self
            .connections
            .values()
            .filter(|it| !it.peer.has_ended)
            .count()
            == 1;
        let until = later(Instant::now(), self.patience);
        let Some(connection) = self.connections.get_mut(&step.connection) else {
            return;
        };
        if connection.is_lost {
            return;
        }
        if recorded.is_text() {
            return connection.expect_text(step.at, recorded);
        }
        match connection.next(Kind::of(recorded), until) {
            Some((now, overtaken)) => {
                if is_alone && let Some(overtaken) = overtaken {
                    let what = format!("recorded {recorded} before, now behind {overtaken}");
                    self.report(step, what);
                }
                self.compare(step, recorded, &now);
            }
            // What a server says to a client that has gone, it need not say.
            None if connection.has_said_all && connection.peer.has_ended => {}
            None => {
                connection.is_lost = true;
                let what = match connection.peer.has_ended {
                    true => "the server closed the connection".into(),
                    false => format!("nothing came within {:?}", self.patience),
                };
                let what = format!(
                    "recorded {recorded}, now {what}; the rest of this connection is not compared"
                );
                self.report(step, what);
            }
        }
    }

    fn compare(&mut self, step: &Step, recorded: &Piece, now: &Piece) {
        let (Some(old), Some(new)) = (recorded.decoded(), now.decoded()) else {
            if recorded.to_string() != now.to_string() {
                self.report(step, format!("recorded {recorded}, now {now}"));
            }
            return;
        };
        if (old.what, new.what) == (What::ConnectResponse, What::ConnectResponse) {
            self.remember_session(recorded, now);
        }
        for difference in self.comparison.differences(old, new) {
            self.report(step, difference);
        }
    }

    fn remember_session(&mut self, recorded: &Piece, now: &Piece) {
        let read = |piece: &Piece| {
            let frame = piece.bytes().slice(frame::LENGTH_LEN..);
            ConnectResponse::decode(&frame).ok()
        };
        if let (Some(recorded), Some(now)) = (read(recorded), read(now)) {
            self.sessions.insert(recorded.session_id, now);
        }
    }

    fn end(&mut self, connection: u64) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.has_said_all = true;
            connection.peer.end();
        }
    }

    fn expect_end(&mut self, step: &Step) {
        let until = later(Instant::now(), self.patience);
        let Some(mut connection) = self.connections.remove(&step.connection) else {
            return;
        };
        self.gone.insert(step.connection);
        if connection.is_lost {
            return;
        }
        while connection.peer.receive(until) {}
        if !connection.peer.has_ended {
            let patience = self.patience;
            let what =
                format!("recorded that the server closed it, now it did not in {patience:?}");
            self.report(step, what);
        }
        self.leave(step.at, step.connection, connection);
    }

    /// Reports what a connection has said and was not recorded.
    fn leave(&mut self, at: Duration, connection: u64, left: Connection) {
        let mut report = |at, what| {
            self.differences.push(Difference {
                at,
                connection,
                what,
            });
        };
        let Connection {
            mut peer,
            text,
            has_said_all,
            ..
        } = left;
        if let Some(Text { at, recorded }) = text {
            let pieces = peer.pieces.iter().filter(|piece| piece.is_text());
            let now: Vec<u8> = pieces.flat_map(|piece| piece.bytes().to_vec()).collect();
            peer.pieces.retain(|piece| !piece.is_text());
            if let Some(difference) = same_text(&recorded, &now) {
                report(at, difference);
            }
        }
        // An event can always be on its way to a client that goes.
        let is_expected =
            |piece: &Piece| is_ping(piece) || (has_said_all && Kind::of(piece) == Kind::Event);
        let unasked = peer.pieces.iter().filter(|piece| !is_expected(piece));
        unasked.for_each(|piece| report(at, format!("recorded nothing more, now {piece}")));
    }

    /// Connections that were open when the recording ended.
    fn finish(&mut self, at: Duration) {
        for (number, mut connection) in std::mem::take(&mut self.connections) {
            if connection.is_lost {
                continue;
            }
            while connection.peer.receive(Instant::now()) {}
            self.leave(at, number, connection);
        }
    }

    fn report(&mut self, step: &Step, what: String) {
        self.differences.push(Difference {
            at: step.at,
            connection: step.connection,
            what,
        });
    }
}

impl Connection {
    fn expect_text(&mut self, at: Duration, recorded: &Piece) {
        let text = self.text.get_or_insert_with(|| Text {
            at,
            recorded: BytesMut::new(),
        });
        text.recorded.extend_from_slice(recorded.bytes());
    }

    /// The next of what comes in its own order, and the answer to a write that has come before
    /// it although it is of another kind.
    fn next(&mut self, kind: Kind, until: Instant) -> Option<(Piece, Option<Piece>)> {
        loop {
            let pieces = &mut self.peer.pieces;
            if let Some(at) = pieces.iter().position(|piece| Kind::of(piece) == kind) {
                let before = pieces.iter().take(at);
                let mut before = before.filter(|_| kind == Kind::Event);
                let overtaken = before.find(|piece| is_answer_to_write(piece)).cloned();
                return Some((pieces.remove(at)?, overtaken));
            }
            if !self.peer.receive(until) {
                return None;
            }
        }
    }
}

/// What comes in an order of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Answer,
    Event,
    Ping,
    Auth,
}

impl Kind {
    fn of(piece: &Piece) -> Self {
        match piece.decoded().map(|decoded| decoded.what) {
            Some(What::Event { .. }) => Self::Event,
            Some(What::Reply { op: Some(op), .. }) if op == op::PING => Self::Ping,
            Some(What::Reply { op: Some(op), .. }) if op == op::AUTH => Self::Auth,
            _ => Self::Answer,
        }
    }
}

fn is_answer_to_write(piece: &Piece) -> bool {
    match piece.decoded().map(|decoded| decoded.what) {
        Some(What::Reply { op: Some(op), .. }) => is_transaction(op),
        _ => false,
    }
}
