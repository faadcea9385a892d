//! Frames: an `i32` length, then that many bytes.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

/// How many bytes a frame's length takes.
pub const LENGTH_LEN: usize = 4;

/// The largest request that a server accepts with its default `jute.maxbuffer`, in bytes,
/// without the frame's own length: 0xFFFFF. One byte more and it drops the connection.
pub const REQUEST_LEN_MAX: usize = 0xF_FFFF;

/// The length that stands at the front of `input`, or `None` while it is incomplete.
///
/// ```
/// use homing_protocol::frame;
/// assert_eq!(frame::peek_len(b"\0\0\0"), None);
/// assert_eq!(frame::peek_len(b"\0\0\0\x10..."), Some(16));
/// ```
pub fn peek_len(input: &[u8]) -> Option<i32> {
    input.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

/// Splits the first frame off `input`, without its length and without a copy.
///
/// `Ok(None)` means that more bytes are needed, which is normal: what is there stays.
///
/// # Errors
/// A negative length, or one of more than `limit` bytes. It is found as soon as the length is
/// there, before room for the frame is made, and leaves `input` as it was.
///
/// ```
/// use homing_protocol::frame;
/// let mut input = bytes::BytesMut::from(&b"\0\0\0\x02hi\0\0"[..]);
/// assert_eq!(frame::split(&mut input, 1024)?.as_deref(), Some(&b"hi"[..]));
/// assert_eq!(frame::split(&mut input, 1024)?, None);
/// assert_eq!(input[..], *b"\0\0");
/// # Ok::<(), homing_protocol::frame::FrameError>(())
/// ```
pub fn split(input: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(announced) = peek_len(input) else {
        return Ok(None);
    };
    let Ok(len) = usize::try_from(announced) else {
        return Err(FrameError::Negative(announced));
    };
    if len > limit {
        return Err(FrameError::TooLong { len, limit });
    }
    if input.len() < LENGTH_LEN + len {
        return Ok(None);
    }
    input.advance(LENGTH_LEN);
    Ok(Some(input.split_to(len).freeze()))
}

/// A frame's length that cannot be right.
///
/// ```
/// use homing_protocol::frame::FrameError;
/// let error = FrameError::TooLong { len: 5_000_000, limit: 4_194_304 };
/// assert_eq!(error.to_string(), "a frame of 5000000 bytes, over the limit of 4194304");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// Below zero.
    Negative(i32),
    /// Over the limit.
    TooLong {
        /// The length that the peer announced, in bytes.
        len: usize,
        /// The limit that it was compared with, in bytes.
        limit: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative(len) => write!(f, "a frame of {len} bytes"),
            Self::TooLong { len, limit } => {
                write!(f, "a frame of {len} bytes, over the limit of {limit}")
            }
        }
    }
}

impl std::error::Error for FrameError {}
