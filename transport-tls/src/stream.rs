//! A connection of rustls as a layer.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, BufMut, BytesMut};
use homing_transport::{SecureError, SecureStream};
use rustls::{ConnectionCommon, SideData};

use crate::explain::{self, Side};

/// How much is taken from above at a time, in bytes: four records.
const SEND_MAX: usize = 64 << 10;

/// Either end of a connection.
pub(crate) struct Stream<C> {
    connection: C,
    side: Side,
    /// What rustls has made, and the stream has not taken.
    pending: BytesMut,
    /// The peer has said anything at all.
    has_heard: bool,
    /// The peer has said something behind its handshake.
    has_received: bool,
    is_open: bool,
    /// The peer has said that it sends no more.
    is_ended: bool,
    /// We have said that.
    is_closed: bool,
    /// The peer asked for a certificate that there is none of.
    is_missed: Arc<AtomicBool>,
}

impl<C, S> Stream<C>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData + 'static,
{
    pub(crate) fn new(connection: C, side: Side, is_missed: Arc<AtomicBool>) -> Self {
        let mut stream = Self {
            connection,
            side,
            pending: BytesMut::new(),
            has_heard: false,
            has_received: false,
            is_open: false,
            is_ended: false,
            is_closed: false,
            is_missed,
        };
        stream.connection.set_buffer_limit(None);
        stream.collect();
        stream
    }

    /// Takes over what rustls wants written.
    fn collect(&mut self) {
        let mut to = (&mut self.pending).writer();
        while self.connection.wants_write() {
            // Writing to memory cannot fail.
            if self.connection.write_tls(&mut to).unwrap_or(0) == 0 {
                return;
            }
        }
    }

    /// Takes over what the peer has said.
    fn read_plain(&mut self, plain: &mut BytesMut) {
        let mut reader = self.connection.reader();
        // An error means that there is nothing, or nothing any more.
        while let Ok(bytes) = reader.fill_buf()
            && !bytes.is_empty()
        {
            self.has_received = true;
            plain.extend_from_slice(bytes);
            let len = bytes.len();
            reader.consume(len);
        }
    }

    fn receive_some(
        &mut self,
        wire: &mut &[u8],
        plain: &mut BytesMut,
    ) -> Result<usize, rustls::Error> {
        let full = |error: io::Error| rustls::Error::General(error.to_string());
        let count = self.connection.read_tls(wire).map_err(full)?;
        let processed = self.connection.process_new_packets();
        // What came before something bad counts.
        self.read_plain(plain);
        self.collect();
        let state = processed?;
        self.is_open |= !self.connection.is_handshaking();
        self.is_ended |= state.peer_has_closed();
        Ok(count)
    }

    fn lacks_certificate(&self) -> bool {
        self.is_missed.load(Ordering::Relaxed)
    }
}

impl<C, S> SecureStream for Stream<C>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>> + Send,
    S: SideData + 'static,
{
    fn receive(&mut self, mut wire: &[u8], plain: &mut BytesMut) -> Result<(), SecureError> {
        let is_first = !self.has_heard;
        self.has_heard |= !wire.is_empty();
        while !wire.is_empty() {
            match self.receive_some(&mut wire, plain) {
                // Behind the peer's end there may be anything.
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    let lacks = self.lacks_certificate() && !self.has_received;
                    return Err(explain::error(&error, self.side, lacks, is_first));
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) -> Result<usize, SecureError> {
        if !self.is_open || !self.pending.is_empty() || self.is_closed {
            return Ok(0);
        }
        let some = plain.get(..SEND_MAX).unwrap_or(plain);
        let taken = self.connection.writer().write(some);
        self.collect();
        taken.map_err(|error| SecureError::new(format!("it takes nothing more: {error}")))
    }

    fn pending(&self) -> &[u8] {
        &self.pending
    }

    fn advance(&mut self, count: usize) {
        self.pending.advance(count.min(self.pending.len()));
        if self.pending.is_empty() && self.pending.capacity() > 2 * SEND_MAX {
            self.pending = BytesMut::new();
        }
    }

    fn is_open(&self) -> bool {
        self.is_open
    }

    fn is_ended(&self) -> bool {
        self.is_ended
    }

    fn close(&mut self) {
        if !self.is_closed {
            self.is_closed = true;
            self.connection.send_close_notify();
            self.collect();
        }
    }

    fn ended(&self, error: Option<&io::Error>) -> Option<SecureError> {
        if self.is_open && (self.has_received || !self.lacks_certificate()) {
            return None;
        }
        Some(explain::end(
            error,
            self.has_heard,
            self.lacks_certificate(),
        ))
    }

    fn peer_certificate(&self) -> Option<&[u8]> {
        let certificates = self.connection.peer_certificates()?;
        certificates.first().map(|certificate| &**certificate)
    }
}

impl<C> fmt::Debug for Stream<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("side", &self.side)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}
