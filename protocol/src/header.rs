//! What stands before every request and every reply.

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{DecodeError, Reader, Record};

/// The xids that mean something by themselves. Ordinary requests have positive ones.
pub mod xid {
    /// A watch notification, sent by the server on its own account.
    pub const NOTIFICATION: i32 = -1;
    /// A ping, and its answer.
    pub const PING: i32 = -2;
    /// An authentication, and its answer, which may overtake those of ordinary requests.
    pub const AUTH: i32 = -4;
    /// SetWatches, as the C client numbers it; the server echoes whatever was sent.
    pub const SET_WATCHES: i32 = -8;
}

/// Eight bytes before the body of a request.
///
/// ```
/// use homing_protocol::{Record, RequestHeader, op, xid};
/// let ping = RequestHeader { xid: xid::PING, op: op::PING };
/// assert_eq!(ping.encoded_len(), 8);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which request of the connection this is; the reply carries the same number.
    pub xid: i32,
    /// What is asked for; see [`op`](crate::op).
    pub op: i32,
}

impl RequestHeader {
    /// Encoded size in bytes.
    pub const LEN: usize = 8;

    /// Reads a header and leaves `reader` at the body.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            xid: reader.i32("xid")?,
            op: reader.i32("type")?,
        })
    }
}

impl Record for RequestHeader {
    fn encoded_len(&self) -> usize {
        Self::LEN
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(self.xid);
        out.put_i32(self.op);
    }
}

/// Sixteen bytes before the body of a reply or a notification.
///
/// ```
/// use homing_protocol::{Record, ReplyHeader};
/// let header = ReplyHeader { xid: 7, zxid: 9, err: 0 };
/// let mut frame = bytes::BytesMut::new();
/// header.encode(&mut frame);
/// assert_eq!(ReplyHeader::decode(&frame.freeze())?, header);
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The xid of the request, or one of the special ones in [`xid`].
    pub xid: i32,
    /// The transaction that a write made, or the last one that the server had applied when it
    /// read. Zero or −1 where the server does not tell (authentication, notifications to 3.8).
    pub zxid: i64,
    /// Zero, or why the request failed; see [`ErrorCode`](crate::ErrorCode). No body is read
    /// behind anything but zero.
    pub err: i32,
}

impl ReplyHeader {
    /// Encoded size in bytes.
    pub const LEN: usize = 16;

    /// Reads the header at the front of `frame`; the body begins at [`LEN`](Self::LEN).
    pub fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        Ok(Self {
            xid: reader.i32("xid")?,
            zxid: reader.i64("zxid")?,
            err: reader.i32("err")?,
        })
    }
}

impl Record for ReplyHeader {
    fn encoded_len(&self) -> usize {
        Self::LEN
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(self.xid);
        out.put_i64(self.zxid);
        out.put_i32(self.err);
    }
}
