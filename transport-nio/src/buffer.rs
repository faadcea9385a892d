//! The read buffer.

use std::io::{self, Read};

use bytes::BytesMut;

/// Bytes that were read and belong to no whole frame yet, and room behind them.
///
/// ```text
///   buffer:  [ 0 .. filled: read | filled .. len: room, initialised, for the next read ]
/// ```
///
/// Frames are taken off the front as slices that share the buffer's memory; the rest goes on to
/// serve. When the room is used up, a new buffer takes over the bytes that are left.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    buffer: BytesMut,
    /// At most `buffer.len()`.
    filled: usize,
    /// How large the next buffer will be, in bytes. Grows while reads fill all there is.
    chunk: usize,
}

/// The first buffer's size in bytes: an idle session holds no more.
const CHUNK_MIN: usize = 8 << 10;
/// The largest buffer that is made ahead of what has arrived, in bytes. More does not save
/// calls: a loopback socket hands over about this much at a time.
const CHUNK_MAX: usize = 256 << 10;

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            filled: 0,
            chunk: CHUNK_MIN,
        }
    }

    /// Reads once. `Ok(0)` is the end of the stream. The flag says whether the read filled all
    /// the room there was, so that more may be waiting.
    pub(crate) fn read_from(&mut self, stream: &mut impl Read) -> io::Result<(usize, bool)> {
        self.make_room();
        let room = &mut self.buffer[self.filled..];
        let room_len = room.len();
        let count = stream.read(room)?.min(room_len);
        self.filled += count;
        if count == room_len {
            self.chunk = (self.chunk * 2).min(CHUNK_MAX);
        }
        Ok((count, count == room_len))
    }

    /// Lets `take` split frames off the front of what was read.
    pub(crate) fn offer<T>(&mut self, take: impl FnOnce(&mut BytesMut) -> T) -> T {
        let room = self.buffer.split_off(self.filled);
        let taken = take(&mut self.buffer);
        self.filled = self.buffer.len();
        // The two halves touch, so this joins them again without a copy.
        self.buffer.unsplit(room);
        taken
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    fn make_room(&mut self) {
        // A frame that does not fit grows the buffer with what has arrived of it, never with
        // what its length announces.
        let wanted = (self.chunk / 4).max(self.filled.min(CHUNK_MAX));
        if self.buffer.len() - self.filled < wanted {
            let mut buffer = BytesMut::zeroed(self.filled + self.chunk.max(self.filled));
            buffer[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
            self.buffer = buffer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_stays_in_front_of_what_is_read_next() {
        let mut buffer = ReadBuffer::new();
        let stream: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
        let mut input = &stream[..];
        let mut seen = Vec::new();
        while buffer.read_from(&mut input).unwrap().0 > 0 {
            // Takes 12 bytes at a time, as if they were frames.
            buffer.offer(|bytes| {
                while bytes.len() >= 12 {
                    seen.push(bytes.split_to(12).freeze());
                }
            });
        }
        buffer.offer(|bytes| seen.push(bytes.split().freeze()));
        assert_eq!(seen.concat(), stream);
    }

    #[test]
    fn a_long_frame_grows_the_buffer_with_its_bytes() {
        let mut buffer = ReadBuffer::new();
        let stream = vec![7; 3 << 20];
        let mut input = &stream[..];
        while buffer.read_from(&mut input).unwrap().0 > 0 {
            assert!(buffer.buffer.len() <= 2 * buffer.filled + 2 * CHUNK_MAX);
        }
        buffer.offer(|bytes| assert_eq!(bytes.len(), stream.len()));
    }
}
