//! Primitives: integers, strings, buffers and vectors, and the one error that reading can give.

use std::borrow::Cow;
use std::fmt;

use byteorder::{BigEndian, ReadBytesExt};
use bytes::{BufMut, Bytes, BytesMut};

use crate::text;

/// Something with a fixed encoding on the wire.
///
/// [`encoded_len`](Self::encoded_len) is exact: a sender reserves that many bytes in the
/// outgoing buffer and counts them against its limits before [`encode`](Self::encode) runs.
///
/// ```
/// use homing_protocol::{Delete, Record};
/// let delete = Delete { path: "/a".into(), version: -1 };
/// let mut out = bytes::BytesMut::new();
/// delete.encode(&mut out);
/// assert_eq!(out.len(), delete.encoded_len());
/// ```
pub trait Record {
    /// How many bytes [`encode`](Self::encode) appends, exactly.
    fn encoded_len(&self) -> usize;
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut BytesMut);
}

/// Appends a length-prefixed buffer; `None` is the null buffer (length −1), which ZooKeeper
/// keeps apart from an empty one.
///
/// A caller keeps frames under the server's limit (1 MiB by default); a buffer of 2 GiB or
/// more has no encoding, and is cut at `i32::MAX` bytes.
pub fn put_buffer(out: &mut BytesMut, buffer: Option<&[u8]>) {
    match buffer {
        None => out.put_i32(-1),
        Some(bytes) => {
            let len = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
            out.put_i32(len);
            out.put_slice(bytes.get(..len.unsigned_abs() as usize).unwrap_or(bytes));
        }
    }
}

/// Appends a length-prefixed string.
pub fn put_string(out: &mut BytesMut, string: &str) {
    put_buffer(out, Some(string.as_bytes()));
}

/// Appends the count that stands before the elements of a vector.
pub fn put_count(out: &mut BytesMut, count: usize) {
    out.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
}

/// Reads primitives from the front of a frame, checking every length against what is left.
///
/// Each call names the field it is about to read, so that a [`DecodeError`] can say where the
/// peer went wrong. Buffers come out as slices of the frame, without a copy.
///
/// ```
/// use homing_protocol::{DecodeErrorKind, Reader};
/// let frame = bytes::Bytes::from_static(b"\0\0\0\x02hi\x7f\xff\xff\xff");
/// let mut reader = Reader::new(&frame);
/// assert_eq!(reader.string("greeting")?, "hi");
/// // The next length claims 2 GiB. Nothing is allocated for it.
/// let error = reader.buffer("rest").unwrap_err();
/// assert_eq!(error.kind, DecodeErrorKind::TooShort { wanted: 0x7fff_ffff, left: 0 });
/// assert_eq!(error.to_string(), "rest at byte 10: 2147483647 more bytes announced, 0 left");
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Clone)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    /// How many bytes of `frame` were read. At most `frame.len()`.
    at: usize,
}

/// Without the bytes: there may be a password among them.
impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("len", &self.frame.len())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// A reader at the first byte of `frame`.
    pub fn new(frame: &'a Bytes) -> Self {
        Self { frame, at: 0 }
    }

    /// How many bytes were read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.frame.len() - self.at
    }

    /// Passes over `len` bytes.
    pub fn skip(&mut self, len: usize, field: &'static str) -> Result<(), DecodeError> {
        self.take(len, field).map(|_| ())
    }

    /// A boolean: any byte other than zero is true, as ZooKeeper reads it.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        Ok(self.take(1, field)? != [0])
    }

    /// A big-endian `i32`.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        let mut bytes = self.take(4, field)?;
        let left = bytes.len();
        bytes
            .read_i32::<BigEndian>()
            .map_err(|_| self.short(field, 4, left))
    }

    /// A big-endian `i64`.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let mut bytes = self.take(8, field)?;
        let left = bytes.len();
        bytes
            .read_i64::<BigEndian>()
            .map_err(|_| self.short(field, 8, left))
    }

    /// A buffer, as a slice of the frame; `None` for the null buffer.
    pub fn buffer(&mut self, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
        let Some(len) = self.len(field)? else {
            return Ok(None);
        };
        let start = self.at;
        self.take(len, field)?;
        Ok(Some(self.frame.slice(start..self.at)))
    }

    /// A string that must not be null.
    ///
    /// Decoding is lenient, as the Java server's own writer demands it: it sends characters
    /// above U+FFFF as two surrogates of three bytes each (CESU-8), which are joined here, and
    /// anything else that is not UTF-8 becomes U+FFFD. Borrowed when the bytes are plain UTF-8.
    pub fn string(&mut self, field: &'static str) -> Result<Cow<'a, str>, DecodeError> {
        let start = self.at;
        self.nullable_string(field)?.ok_or(DecodeError {
            field,
            at: start,
            kind: DecodeErrorKind::Null,
        })
    }

    /// A string or null (length −1); otherwise as [`string`](Self::string).
    pub fn nullable_string(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Cow<'a, str>>, DecodeError> {
        Ok(self.nullable_bytes(field)?.map(text::decode))
    }

    /// As [`nullable_string`](Self::nullable_string), but as a Java server reads it.
    pub(crate) fn nullable_java_string(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Cow<'a, str>>, DecodeError> {
        Ok(self.nullable_bytes(field)?.map(text::decode_as_java_does))
    }

    fn nullable_bytes(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.len(field)? {
            None => Ok(None),
            Some(len) => self.take(len, field).map(Some),
        }
    }

    /// The count of a vector whose elements take at least `element_len_min` bytes each; `None`
    /// for the null vector.
    ///
    /// A count that cannot fit into what is left is an error here, before anybody reserves room
    /// for it.
    pub fn count(
        &mut self,
        field: &'static str,
        element_len_min: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let start = self.at;
        let Some(count) = self.len(field)? else {
            return Ok(None);
        };
        let left = self.remaining();
        if count.saturating_mul(element_len_min.max(1)) > left {
            let kind = DecodeErrorKind::TooMany { count, left };
            return Err(DecodeError {
                field,
                at: start,
                kind,
            });
        }
        Ok(Some(count))
    }

    /// An `i32` length or count: −1 is null, anything else below zero is an error. The one
    /// place where a number from the wire becomes a `usize`.
    fn len(&mut self, field: &'static str) -> Result<Option<usize>, DecodeError> {
        let start = self.at;
        let len = self.i32(field)?;
        if len == -1 {
            return Ok(None);
        }
        usize::try_from(len).map(Some).map_err(|_| DecodeError {
            field,
            at: start,
            kind: DecodeErrorKind::NegativeLength(len),
        })
    }

    fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let left = self.remaining();
        let end = self.at.saturating_add(len);
        match self.frame.get(self.at..end) {
            Some(bytes) => {
                self.at = end;
                Ok(bytes)
            }
            None => Err(self.short(field, len, left)),
        }
    }

    fn short(&self, field: &'static str, wanted: usize, left: usize) -> DecodeError {
        let kind = DecodeErrorKind::TooShort { wanted, left };
        DecodeError {
            field,
            at: self.at,
            kind,
        }
    }
}

/// Bytes from the peer that are not what the protocol has at this place.
///
/// ```
/// use homing_protocol::{DecodeErrorKind, ReplyHeader};
/// let error = ReplyHeader::decode(&bytes::Bytes::from_static(b"\0\0")).unwrap_err();
/// assert_eq!(error.field, "xid");
/// assert_eq!(error.kind, DecodeErrorKind::TooShort { wanted: 4, left: 2 });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The field that was being read, by its name in ZooKeeper's records.
    pub field: &'static str,
    /// The offset of the field in the frame, in bytes.
    pub at: usize,
    /// What was wrong with it.
    pub kind: DecodeErrorKind,
}

/// What is wrong with a field; see [`DecodeError`].
///
/// ```
/// use homing_protocol::DecodeErrorKind;
/// assert_eq!(DecodeErrorKind::NegativeLength(-5).to_string(), "a length of -5");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// Fewer bytes are left than the field takes.
    TooShort {
        /// Bytes that the field takes.
        wanted: usize,
        /// Bytes that are left in the frame.
        left: usize,
    },
    /// A length or count below −1.
    NegativeLength(i32),
    /// A count of more elements than what is left could hold.
    TooMany {
        /// The count that the peer sent.
        count: usize,
        /// Bytes that are left in the frame.
        left: usize,
    },
    /// Null where the protocol needs a value.
    Null,
    /// A number that is none of the values that the field may have.
    Unknown(i64),
    /// It does not fit what was asked for.
    Mismatch,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.field, self.at, self.kind)
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { wanted, left } => {
                write!(f, "{wanted} more bytes announced, {left} left")
            }
            Self::NegativeLength(len) => write!(f, "a length of {len}"),
            Self::TooMany { count, left } => {
                write!(f, "a count of {count} in {left} bytes")
            }
            Self::Null => f.write_str("null where a value must stand"),
            Self::Unknown(value) => write!(f, "the unknown value {value}"),
            Self::Mismatch => f.write_str("not what was asked for"),
        }
    }
}

impl std::error::Error for DecodeError {}
