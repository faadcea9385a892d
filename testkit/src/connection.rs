//! One accepted socket: its buffers and how far its end has come.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use homing_transport::SecureStream;
use mio::net::TcpStream;
use socket2::SockRef;

use crate::faults::{Action, Filter, Passed, Strike, Way};
use crate::outbox::BACKLOG_MAX;
use crate::reply;
use crate::server::ConnectionId;

/// While so many bytes wait to be sent to a client, nothing more is read from it: it has asked
/// for enough.
const BACKLOG_PAUSE: usize = 1 << 20;

/// How long a closed connection may take to deliver what it was sent before. Until its peer has
/// read everything, dropping the socket could destroy it.
const LINGER: Duration = Duration::from_secs(1);

/// A socket with its buffers. At most a request and one read are held of what comes in, and 1 MiB
/// more where faults hold it back; and at most `BACKLOG_MAX` and a frame of what goes out.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) id: ConnectionId,
    /// TLS, where the server speaks it. The buffers are above it.
    layer: Option<Box<dyn SecureStream>>,
    /// The layer's handshake is done, and who the peer is was told.
    is_introduced: bool,
    /// Where faults strike, if there are any: between the layer and the buffers.
    filter: Option<Box<Filter>>,
    input: BytesMut,
    output: BytesMut,
    unsent: Unsent,
    /// The peer has said all that it had to say; some of it may be in the filter still.
    is_read: bool,
    /// And none of it is.
    is_heard: bool,
    /// The server has closed it. The end may still be in the filter.
    is_closed: bool,
    /// Nothing more is to be sent, by a fault.
    is_half_closed: bool,
    /// `Some` when there is nothing to be sent but the end: by then the socket goes, delivered or
    /// not.
    gone_by: Option<Instant>,
    shut_down: bool,
}

/// What reading from a socket came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// There may be more.
    Some,
    /// Nothing until the next event.
    Nothing,
    /// The peer is gone.
    End,
    /// It is not let in, or breaks the rules of the layer. It may still be told so.
    Refused,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        id: ConnectionId,
        layer: Option<Box<dyn SecureStream>>,
    ) -> Self {
        Self {
            stream,
            id,
            layer,
            is_introduced: false,
            filter: None,
            input: BytesMut::new(),
            output: BytesMut::new(),
            unsent: Unsent::default(),
            is_read: false,
            is_heard: false,
            is_closed: false,
            is_half_closed: false,
            gone_by: None,
            shut_down: false,
        }
    }

    /// Puts it under a script, or a latency. Where it is under one, that is to be set.
    pub(crate) fn filter(
        &mut self,
        now: Instant,
        make: impl FnOnce() -> Filter,
        set: impl FnOnce(&mut Filter),
    ) {
        match &mut self.filter {
            Some(filter) => set(filter),
            None => {
                let mut filter = make();
                // What was read and not served yet has come as far as to here.
                filter.give(now, Way::ToServer, &self.input.split());
                self.filter = Some(Box::new(filter));
            }
        }
        self.let_through(now);
    }

    /// Whether it is under a script or a latency, or has been.
    pub(crate) fn has_filter(&self) -> bool {
        self.filter.is_some()
    }

    /// One read, into the input; thrown away when the connection is closed already.
    pub(crate) fn read(&mut self, now: Instant, scratch: &mut [u8]) -> Incoming {
        if self.is_read {
            return Incoming::Nothing;
        }
        if self.layer.as_ref().is_some_and(|layer| layer.is_ended()) {
            return self.read_end(now);
        }
        match self.stream.read(scratch) {
            Ok(0) => self.read_end(now),
            Ok(_) if self.is_closed() => Incoming::Some,
            Ok(len) => self.take_in(now, scratch.get(..len).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Incoming::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => Incoming::Some,
            Err(_) => self.read_end(now),
        }
    }

    /// The end has been read. Where a fault holds it back, the server does not hear of it yet.
    fn read_end(&mut self, now: Instant) -> Incoming {
        let Some(filter) = self.filter.as_mut().filter(|_| !self.is_closed) else {
            return Incoming::End;
        };
        self.is_read = true;
        filter.end(now, Way::ToServer);
        self.let_through(now);
        Incoming::Nothing
    }

    fn take_in(&mut self, now: Instant, bytes: &[u8]) -> Incoming {
        let mut above = BytesMut::new();
        let input = match &self.filter {
            Some(_) => &mut above,
            None => &mut self.input,
        };
        let result = match &mut self.layer {
            Some(layer) => layer.receive(bytes, input),
            None => {
                input.extend_from_slice(bytes);
                Ok(())
            }
        };
        if let Some(filter) = &mut self.filter {
            filter.give(now, Way::ToServer, &above);
            self.let_through(now);
        }
        match result {
            Ok(()) => Incoming::Some,
            Err(_) => Incoming::Refused,
        }
    }

    /// Takes what faults let pass.
    fn let_through(&mut self, now: Instant) {
        let Some(filter) = &mut self.filter else {
            return;
        };
        while let Some(passed) = filter.poll(Way::ToServer) {
            match passed {
                Passed::Bytes(_) if self.is_closed => {}
                Passed::Bytes(bytes) => self.input.extend_from_slice(&bytes),
                Passed::End => self.is_heard = true,
            }
        }
        while let Some(passed) = filter.poll(Way::ToClient) {
            match passed {
                Passed::Bytes(bytes) => self.output.extend_from_slice(&bytes),
                Passed::End if self.is_closed => self.gone_by = Some(now + LINGER),
                Passed::End => self.is_half_closed = true,
            }
        }
        self.unsent.leave(filter.held(Way::ToClient));
    }

    /// What a fault wants done.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.filter.as_mut()?.poll_action()
    }

    /// The strike that the action which was polled last is, if it may turn out to be none.
    pub(crate) fn take_strike(&mut self) -> Option<Strike> {
        self.filter.as_mut()?.take_strike()
    }

    /// Whether a fault wants something done.
    pub(crate) fn has_struck(&self) -> bool {
        let filter = self.filter.as_ref();
        filter.is_some_and(|filter| filter.has_struck())
    }

    /// What a fault wanted to be said to the server has been said.
    pub(crate) fn errand_done(&mut self, now: Instant) {
        if let Some(filter) = &mut self.filter {
            filter.errand_done(now);
            self.let_through(now);
        }
    }

    /// A fault cuts it: what it was sent before still goes out, and nothing else.
    pub(crate) fn cut(&mut self, now: Instant) {
        self.filter = None;
        self.input.clear();
        self.is_closed = true;
        self.gone_by = Some(now + LINGER);
    }

    /// A fault resets it, as soon as it is dropped.
    pub(crate) fn reset(&mut self) {
        let _ = self.flush();
        // Where that cannot be set, it is a plain end.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Whether the layer's handshake is done; says so once.
    pub(crate) fn is_opened(&mut self) -> bool {
        let is_open = self.layer.as_ref().is_some_and(|layer| layer.is_open());
        is_open && !std::mem::replace(&mut self.is_introduced, true)
    }

    /// The certificate that the peer has proved to be its own.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        self.layer.as_ref()?.peer_certificate()
    }

    /// What was read and is for the server.
    pub(crate) fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Whether the server may be given more from this client.
    pub(crate) fn may_ask(&self) -> bool {
        !self.is_closed() && self.backlog() < BACKLOG_PAUSE
    }

    /// Whether more may be read from the socket.
    pub(crate) fn may_read(&self) -> bool {
        let filter = self.filter.as_ref();
        let is_full = filter.is_some_and(|filter| filter.is_full(Way::ToServer));
        self.is_closed() || (self.backlog() < BACKLOG_PAUSE && !is_full)
    }

    /// Whether the peer has come to its end, and the server may know.
    pub(crate) fn is_heard(&self) -> bool {
        self.is_heard && self.may_ask() || self.is_read && self.is_closed()
    }

    /// How many requests wait for replies that latency or a fault holds back.
    pub(crate) fn outstanding(&self) -> usize {
        self.unsent.replies
    }

    /// Whether the server is done with it.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether it is over but for what is on its way, which no fault holds back.
    pub(crate) fn is_ending(&self) -> bool {
        self.gone_by.is_some()
    }

    /// Queues a frame; `false` when the client has let too much pile up.
    pub(crate) fn send(&mut self, now: Instant, frame: &Bytes) -> bool {
        if self.backlog() >= BACKLOG_MAX {
            return false;
        }
        match &mut self.filter {
            Some(filter) => {
                filter.give(now, Way::ToClient, frame);
                self.unsent.add(frame);
                self.let_through(now);
            }
            None => self.output.extend_from_slice(frame),
        }
        true
    }

    /// Queues the end, behind everything that was sent before.
    pub(crate) fn close(&mut self, now: Instant) {
        self.input.clear();
        self.is_closed = true;
        match &mut self.filter {
            Some(filter) if !self.is_half_closed => {
                filter.end(now, Way::ToClient);
                self.let_through(now);
            }
            _ => self.gone_by = Some(now + LINGER),
        }
    }

    /// Lets go what faults have held back long enough.
    pub(crate) fn release(&mut self, now: Instant) {
        if let Some(filter) = &mut self.filter {
            filter.handle_timeout(now);
            self.let_through(now);
        }
    }

    /// Writes what the socket takes. An error means that the peer is gone.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        loop {
            let pending = match &mut self.layer {
                None => &self.output[..],
                Some(layer) => {
                    let taken = layer.send(&self.output).map_err(io::Error::other)?;
                    self.output.advance(taken);
                    if self.output.is_empty() && self.gone_by.is_some() {
                        layer.close();
                    }
                    layer.pending()
                }
            };
            if pending.is_empty() {
                break;
            }
            match self.stream.write(pending) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => match &mut self.layer {
                    None => self.output.advance(len),
                    Some(layer) => layer.advance(len),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if (self.gone_by.is_some() || self.is_half_closed) && !self.shut_down {
            // The peer reads the end now. Until it has answered with its own, the socket stays:
            // with unread bytes in it, dropping it would be a reset.
            self.shut_down = true;
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// When something is to be done without an event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let release = self.filter.as_ref().and_then(|it| it.poll_timeout());
        [release, self.gone_by].into_iter().flatten().min()
    }

    /// Whether a closed connection has had its time.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.gone_by.is_some_and(|by| by <= now)
    }

    fn backlog(&self) -> usize {
        let held = self.filter.as_ref().map(|it| it.held(Way::ToClient));
        self.output.len() + held.unwrap_or(0)
    }
}

/// The frames that are held back on their way to the client.
#[derive(Debug, Default)]
struct Unsent {
    /// How long each is, and whether it is a reply.
    frames: VecDeque<(usize, bool)>,
    bytes: usize,
    replies: usize,
}

impl Unsent {
    fn add(&mut self, frame: &[u8]) {
        // Those of requests that ZooKeeper counts: pings, notifications and the handshake have
        // other numbers.
        let is_reply = reply::xid(frame).is_some_and(|xid| xid > 0);
        self.frames.push_back((frame.len(), is_reply));
        self.bytes += frame.len();
        self.replies += usize::from(is_reply);
    }

    /// So many bytes are still held back. Where faults have changed frames, it is nearly right,
    /// until none are.
    fn leave(&mut self, held: usize) {
        while let Some((len, is_reply)) = self.frames.front().copied()
            && (held == 0 || self.bytes - len >= held)
        {
            self.frames.pop_front();
            self.bytes -= len;
            self.replies -= usize::from(is_reply);
        }
    }
}
