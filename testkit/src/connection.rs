//! One accepted socket: its buffers and how far its end has come.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use homing_protocol::frame;
use homing_transport::SecureStream;
use mio::net::TcpStream;

use crate::server::ConnectionId;

/// While so many bytes wait to be sent to a client, nothing more is read from it: it has asked
/// for enough.
const BACKLOG_PAUSE: usize = 1 << 20;

/// A client that takes nothing while others make notifications for it is dropped here. One
/// frame may exceed the limit.
const BACKLOG_MAX: usize = 64 << 20;

/// How long a closed connection may take to deliver what it was sent before. Until its peer has
/// read everything, dropping the socket could destroy it.
const LINGER: Duration = Duration::from_secs(1);

/// A socket with its buffers. At most a request and one read are held of what comes in, and at
/// most `BACKLOG_MAX` and a frame of what goes out.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) id: ConnectionId,
    /// TLS, where the server speaks it. The buffers are above it.
    layer: Option<Box<dyn SecureStream>>,
    /// The layer's handshake is done, and who the peer is was told.
    is_introduced: bool,
    input: BytesMut,
    /// Replies that latency holds back, by when they are due; never out of order.
    delayed: VecDeque<(Instant, Delayed)>,
    delayed_len: usize,
    output: BytesMut,
    /// `Some` when the server has closed it: by then the socket goes, delivered or not.
    gone_by: Option<Instant>,
    shut_down: bool,
}

#[derive(Debug)]
enum Delayed {
    Frame(Bytes),
    Close,
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
            input: BytesMut::new(),
            delayed: VecDeque::new(),
            delayed_len: 0,
            output: BytesMut::new(),
            gone_by: None,
            shut_down: false,
        }
    }

    /// One read, into the input; thrown away when the connection is closed already.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> Incoming {
        if self.layer.as_ref().is_some_and(|layer| layer.is_ended()) {
            return Incoming::End;
        }
        match self.stream.read(scratch) {
            Ok(0) => Incoming::End,
            Ok(_) if self.is_closed() => Incoming::Some,
            Ok(len) => self.take_in(scratch.get(..len).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Incoming::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => Incoming::Some,
            Err(_) => Incoming::End,
        }
    }

    fn take_in(&mut self, bytes: &[u8]) -> Incoming {
        let Some(layer) = &mut self.layer else {
            self.input.extend_from_slice(bytes);
            return Incoming::Some;
        };
        match layer.receive(bytes, &mut self.input) {
            Ok(()) => Incoming::Some,
            Err(_) => Incoming::Refused,
        }
    }

    /// The certificate that the peer has proved to be its own, once, when it has.
    pub(crate) fn introduction(&mut self) -> Option<&[u8]> {
        let layer = self.layer.as_ref().filter(|layer| layer.is_open())?;
        if std::mem::replace(&mut self.is_introduced, true) {
            return None;
        }
        layer.peer_certificate()
    }

    /// The next whole frame, its length included, or everything where there can be none: the
    /// server will know what to make of it. One at a time, so that what is owed to the client
    /// can be looked at in between.
    pub(crate) fn next_piece(&mut self, request_len_max: usize) -> Option<BytesMut> {
        let announced = usize::try_from(frame::peek_len(&self.input)?).unwrap_or(0);
        let is_length = (1..=request_len_max).contains(&announced);
        let len = if is_length {
            frame::LENGTH_LEN + announced
        } else {
            self.input.len()
        };
        (self.input.len() >= len).then(|| self.input.split_to(len))
    }

    /// Whether the server may be given more from this client.
    pub(crate) fn may_ask(&self) -> bool {
        !self.is_closed() && self.backlog() < BACKLOG_PAUSE
    }

    /// Whether the server is done with it.
    pub(crate) fn is_closed(&self) -> bool {
        self.gone_by.is_some() || matches!(self.delayed.back(), Some((_, Delayed::Close)))
    }

    /// Queues a frame; `false` when the client has let too much pile up.
    pub(crate) fn send(&mut self, now: Instant, latency: Duration, frame: Bytes) -> bool {
        if self.backlog() >= BACKLOG_MAX {
            return false;
        }
        match self.due(now, latency) {
            Some(due) => {
                self.delayed_len += frame.len();
                self.delayed.push_back((due, Delayed::Frame(frame)));
            }
            None => self.output.extend_from_slice(&frame),
        }
        true
    }

    /// Queues the end, behind everything that was sent before.
    pub(crate) fn close(&mut self, now: Instant, latency: Duration) {
        self.input.clear();
        match self.due(now, latency) {
            Some(due) => self.delayed.push_back((due, Delayed::Close)),
            None => self.gone_by = Some(now + LINGER),
        }
    }

    /// Lets go what latency has held back long enough.
    pub(crate) fn release(&mut self, now: Instant) {
        while self.delayed.front().is_some_and(|(due, _)| *due <= now) {
            match self.delayed.pop_front() {
                Some((_, Delayed::Frame(frame))) => {
                    self.delayed_len -= frame.len();
                    self.output.extend_from_slice(&frame);
                }
                Some((_, Delayed::Close)) => self.gone_by = Some(now + LINGER),
                None => {}
            }
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
        if self.gone_by.is_some() && !self.shut_down {
            // The peer reads the end now. Until it has answered with its own, the socket stays:
            // with unread bytes in it, dropping it would be a reset.
            self.shut_down = true;
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// When something is to be done without an event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let release = self.delayed.front().map(|(due, _)| *due);
        [release, self.gone_by].into_iter().flatten().min()
    }

    /// Whether a closed connection has had its time.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.gone_by.is_some_and(|by| by <= now)
    }

    fn backlog(&self) -> usize {
        self.output.len() + self.delayed_len
    }

    /// When latency lets the next frame go; `None` for at once. What was sent later is never due
    /// earlier, even when the latency has been lowered meanwhile.
    fn due(&self, now: Instant, latency: Duration) -> Option<Instant> {
        let earliest = self.delayed.back().map(|(due, _)| *due);
        match earliest {
            None if latency.is_zero() => None,
            earliest => Some((now + latency).max(earliest.unwrap_or(now))),
        }
    }
}
