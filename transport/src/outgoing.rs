//! The bytes that are on their way out, and what they belong to.

use std::collections::VecDeque;
use std::{fmt, mem};

use bytes::BytesMut;

/// A driver's write buffer: bytes in the order in which they leave, how many of them the stream
/// has accepted, and which of them belong to entries of the [`Queue`](crate::Queue).
///
/// The driver writes [`pending`](Self::pending) and reports what was accepted with
/// [`advance`](Self::advance). When a connection is lost it gives the whole thing back, which is
/// how the queue knows exactly which requests the server cannot have seen.
///
/// ```
/// let mut out = homing_transport::Outgoing::new();
/// out.put_control(|buffer| buffer.extend_from_slice(b"ping"));
/// assert_eq!(out.pending(), b"ping");
/// out.advance(3); // a write took three bytes
/// assert_eq!(out.pending(), b"g");
/// ```
#[derive(Default)]
pub struct Outgoing {
    bytes: BytesMut,
    /// How many of `bytes` the stream accepted. At most `bytes.len()`.
    written: usize,
    /// What `bytes` consists of, front first, less the segments that were written whole. Their
    /// lengths sum up to `pending().len() + front_written`.
    segments: VecDeque<Segment>,
    /// How many bytes of the front segment were written. Less than its length.
    front_written: usize,
    /// Something in `bytes` is secret, and is wiped before the memory goes elsewhere.
    is_secret: bool,
}

/// Without the bytes: some are secret.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("len", &self.bytes.len())
            .field("written", &self.written)
            .field("segments", &self.segments)
            .finish_non_exhaustive()
    }
}

/// A run of bytes of one kind.
#[derive(Debug)]
struct Segment {
    /// In bytes; never 0.
    len: usize,
    /// Whether they are a session's own frames, and not entries of the queue.
    is_control: bool,
}

/// A buffer that had to grow beyond this is not kept when it was written: one burst must not
/// hold memory for ever. In bytes.
const KEPT_CAPACITY_MAX: usize = 1 << 20;

impl Outgoing {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is to be written next: everything, in one piece.
    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Whether everything was written.
    pub fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Notes that the stream accepted the next `count` bytes. More than there are counts as all.
    pub fn advance(&mut self, count: usize) {
        let count = count.min(self.bytes.len() - self.written);
        self.written += count;
        self.front_written += count;
        while let Some(front) = self.segments.front()
            && front.len <= self.front_written
        {
            self.front_written -= front.len;
            self.segments.pop_front();
        }
        if self.is_empty() {
            self.wipe();
            self.written = 0;
            if self.bytes.capacity() > KEPT_CAPACITY_MAX {
                self.bytes = BytesMut::new();
            } else {
                self.bytes.clear();
            }
        }
    }

    /// Has the bytes wiped once they were written: one of them is secret.
    pub fn wipe_when_written(&mut self) {
        self.is_secret = true;
    }

    fn wipe(&mut self) {
        if mem::take(&mut self.is_secret) {
            // Kept by the compiler: the buffer is written or freed by code that it cannot see
            // through, and what is not read here may be read there.
            self.bytes.fill(0);
            std::hint::black_box(&mut self.bytes);
        }
    }

    /// Appends bytes that belong to no entry of the queue: a handshake, a ping.
    pub fn put_control(&mut self, put: impl FnOnce(&mut BytesMut)) {
        let before = self.bytes.len();
        put(&mut self.bytes);
        self.push_segment(self.bytes.len() - before, true);
    }

    /// Appends the bytes of entries, and leaves `bytes` empty. Without a copy if everything
    /// before was written: the two buffers change places.
    pub(crate) fn take_entries(&mut self, bytes: &mut BytesMut) {
        let len = bytes.len();
        if self.is_empty() {
            mem::swap(&mut self.bytes, bytes);
        } else {
            self.bytes.extend_from_slice(bytes);
        }
        bytes.clear();
        self.push_segment(len, false);
    }

    /// What was not written of the entries, front first and without the control frames between
    /// them.
    pub(crate) fn unsent_entries(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.pending();
        let mut written = self.front_written;
        self.segments.iter().filter_map(move |segment| {
            let left = segment.len - mem::take(&mut written);
            let (bytes, tail) = rest.split_at_checked(left)?;
            rest = tail;
            (!segment.is_control).then_some(bytes)
        })
    }

    fn push_segment(&mut self, len: usize, is_control: bool) {
        match self.segments.back_mut() {
            _ if len == 0 => {}
            Some(last) if last.is_control == is_control => last.len += len,
            _ => self.segments.push_back(Segment { len, is_control }),
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_follow_what_is_written() {
        let mut out = Outgoing::new();
        out.put_control(|b| b.extend_from_slice(b"hello"));
        let mut entries = BytesMut::from(&b"aabbcc"[..]);
        out.take_entries(&mut entries);
        out.put_control(|b| b.extend_from_slice(b"ping"));
        assert!(entries.is_empty());
        out.advance(5 + 3);
        assert_eq!(out.unsent_entries().collect::<Vec<_>>(), [b"bcc"]);
        out.advance(3 + 4);
        assert!(out.is_empty() && out.unsent_entries().next().is_none());
    }

    #[test]
    fn an_empty_buffer_is_swapped_in_not_copied() {
        let mut out = Outgoing::new();
        let mut entries = BytesMut::from(&b"aabb"[..]);
        let before = entries.as_ptr();
        out.take_entries(&mut entries);
        assert_eq!(out.pending().as_ptr(), before);
    }
}
