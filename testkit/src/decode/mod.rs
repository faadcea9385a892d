//! What goes over a connection, one readable line for each frame.
//!
//! A reply does not say what it answers, so a [`Decoder`] follows a connection from its first
//! byte, in both directions, and remembers what was asked:
//!
//! ```
//! use homing_testkit::decode::{Decoder, Way};
//!
//! let mut decoder = Decoder::new();
//! // Handshakes have no header. These are frames without their lengths.
//! let request = [&[0; 24][..], b"\0\0\0\x10", &[0; 16], b"\0"].concat();
//! let response = [&[0, 0, 0, 0, 0, 0, 0x75, 0x30][..], &[9; 8], b"\0\0\0\x10", &[7; 16]].concat();
//! decoder.decode(Way::ToServer, &request.into());
//! decoder.decode(Way::ToClient, &response.into());
//!
//! let exists = b"\0\0\0\x03\0\0\0\x03\0\0\0\x02/b\x01";
//! let exists = decoder.decode(Way::ToServer, &exists[..].into());
//! assert_eq!(exists.to_string(), r#"xid=3 exists "/b" watch=true"#);
//! let reply = b"\0\0\0\x03\0\0\0\0\0\0\0\x02\xff\xff\xff\x9b";
//! let reply = decoder.decode(Way::ToClient, &reply[..].into());
//! assert_eq!(reply.to_string(), "xid=3 exists zxid=0x2 NoNode (-101)");
//! ```
//!
//! Passwords, credentials, SASL tokens and the hashes in access control lists are never shown;
//! the data of nodes is. Any bytes whatever give a line: what cannot be read says where and why.

mod schema;
mod stream;
mod value;

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use homing_protocol::{ConnectResponse, DecodeError, ReplyHeader, op, xid};

pub use crate::faults::Way;
use schema::{CONNECT_REQUEST, CONNECT_RESPONSE, EVENT, Operation, READ_ONLY, Spec};
pub use stream::{Piece, Stream};
use value::FieldReader;
pub(crate) use value::{Field, Part, Value, Zxid, digest, error};

/// Requests that are remembered until their replies come. Servers stop reading long before so
/// many are unanswered; who never answers makes the first be forgotten.
const ASKED_MAX: usize = 1 << 16;

/// Decodes the frames of one connection, in the order in which they went over it.
///
/// See the [module](self) for an example.
#[derive(Debug, Default)]
pub struct Decoder {
    has_asked: bool,
    has_answered: bool,
    /// Xids and operations of requests without a reply so far; at most [`ASKED_MAX`].
    asked: VecDeque<(i32, i32)>,
}

impl Decoder {
    /// For a connection of which nothing was seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes the next frame of a direction, which comes without its length.
    pub fn decode(&mut self, way: Way, frame: &Bytes) -> Decoded {
        let is_first = !std::mem::replace(self.has_begun(way), true);
        let mut reader = FieldReader::new(frame);
        let mut fields = Vec::new();
        let (what, result) = match way {
            Way::ToServer if is_first => connect_request(&mut reader, &mut fields),
            Way::ToClient if is_first && frame.len() >= ConnectResponse::LEN_MIN => {
                connect_response(&mut reader, &mut fields)
            }
            Way::ToServer => self.request(&mut reader, &mut fields),
            // Also what a read-only server answers a handshake with: a bare header.
            Way::ToClient => self.reply(&mut reader, &mut fields),
        };
        let (rest, error) = (reader.remaining(), result.err());
        let mut secrets = reader.secrets;
        if let Some(from) = unknown_from(&what, error.as_ref()) {
            secrets.push(from.min(frame.len())..frame.len());
        }
        Decoded {
            what,
            fields,
            rest,
            error,
            secrets,
        }
    }

    fn has_begun(&mut self, way: Way) -> &mut bool {
        match way {
            Way::ToServer => &mut self.has_asked,
            Way::ToClient => &mut self.has_answered,
        }
    }

    fn request(&mut self, reader: &mut FieldReader<'_>, fields: &mut Vec<Field>) -> Read {
        let (xid, op) = match (reader.i32("xid"), reader.i32("type")) {
            (Ok(xid), Ok(op)) => (xid, op),
            (Err(error), _) | (_, Err(error)) => return (What::Unreadable, Err(error)),
        };
        if self.asked.len() >= ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back((answered_as(xid, op), op));
        let specs = Operation::find(op).map_or(&[][..], |operation| operation.request);
        (What::Request { xid, op }, reader.fields(specs, fields))
    }

    fn reply(&mut self, reader: &mut FieldReader<'_>, fields: &mut Vec<Field>) -> Read {
        let (xid, zxid, err) = match (reader.i32("xid"), reader.i64("zxid"), reader.i32("err")) {
            (Ok(xid), Ok(zxid), Ok(err)) => (xid, zxid, err),
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
                return (What::Unreadable, Err(error));
            }
        };
        if xid == xid::NOTIFICATION {
            return (What::Event { zxid, err }, reader.fields(EVENT, fields));
        }
        let op = self.answered(xid);
        let what = What::Reply { xid, op, zxid, err };
        // Behind an error there is nothing that one may rely on.
        let specs = match op.and_then(Operation::find) {
            Some(operation) if err == 0 => operation.reply,
            _ => &[],
        };
        (what, reader.fields(specs, fields))
    }

    /// The operation that a reply answers: the first with its xid, since the answers to pings,
    /// authentications and SASL may overtake others.
    fn answered(&mut self, xid: i32) -> Option<i32> {
        let at = self.asked.iter().position(|(asked, _)| *asked == xid)?;
        self.asked.remove(at).map(|(_, op)| op)
    }
}

/// Where the bytes begin of which nobody knows what they are: a secret, for example.
fn unknown_from(what: &What, error: Option<&DecodeError>) -> Option<usize> {
    match (what, error) {
        (_, Some(error)) => Some(error.at),
        (What::Reply { op: None, .. }, None) => Some(ReplyHeader::LEN),
        _ => None,
    }
}

/// What a frame is, and why not all of it could be read.
type Read = (What, Result<(), DecodeError>);

/// The xid of the reply: a ping's is always the same.
fn answered_as(xid: i32, op: i32) -> i32 {
    match op {
        op::PING => xid::PING,
        _ => xid,
    }
}

fn connect_request(reader: &mut FieldReader<'_>, fields: &mut Vec<Field>) -> Read {
    let result = handshake(reader, CONNECT_REQUEST, fields);
    (What::ConnectRequest, result)
}

fn connect_response(reader: &mut FieldReader<'_>, fields: &mut Vec<Field>) -> Read {
    let result = handshake(reader, CONNECT_RESPONSE, fields);
    (What::ConnectResponse, result)
}

fn handshake(
    reader: &mut FieldReader<'_>,
    specs: &[Spec],
    fields: &mut Vec<Field>,
) -> Result<(), DecodeError> {
    reader.fields(specs, fields)?;
    match reader.remaining() {
        0 => Ok(()),
        _ => reader.fields(READ_ONLY, fields),
    }
}

/// A frame that was decoded, as far as it can be. `Display` is one line.
///
/// ```
/// use homing_testkit::decode::{Decoder, Way};
/// let frame = bytes::Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\x27\x10");
/// let decoded = Decoder::new().decode(Way::ToServer, &frame);
/// assert_eq!(
///     decoded.to_string(),
///     "connect lastZxidSeen=0x7 timeOut=10000 \
///      undecodable: sessionId at byte 16: 8 more bytes announced, 0 left"
/// );
/// assert_eq!(decoded.error().unwrap().at, 16);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Decoded {
    pub(crate) what: What,
    pub(crate) fields: Vec<Field>,
    /// Bytes behind what was read.
    pub(crate) rest: usize,
    error: Option<DecodeError>,
    secrets: Vec<Range<usize>>,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    ConnectRequest,
    ConnectResponse,
    Request {
        xid: i32,
        op: i32,
    },
    Reply {
        xid: i32,
        /// `None` where nobody asked.
        op: Option<i32>,
        zxid: i64,
        err: i32,
    },
    Event {
        zxid: i64,
        err: i32,
    },
    /// It has not even a header.
    Unreadable,
}

impl Decoded {
    /// What could not be read, and where: in bytes from the frame's first, its length left out.
    pub fn error(&self) -> Option<&DecodeError> {
        self.error.as_ref()
    }

    /// Where the secrets lie, in bytes of the frame without its length: passwords, credentials,
    /// tokens, the hashes of access control lists, and all that could not be read.
    pub fn secrets(&self) -> &[Range<usize>] {
        &self.secrets
    }
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)?;
        let fields = self.fields.iter().filter(|field| !is_usual(field));
        fields.clone().try_for_each(|field| write!(f, " {field}"))?;
        match &self.error {
            Some(error) => write!(f, " undecodable: {error}"),
            None if self.rest > 0 => write!(f, " and {} more bytes", self.rest),
            None => Ok(()),
        }
    }
}

/// Without the bytes.
impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decoded({self})")
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ConnectRequest => f.write_str("connect"),
            Self::ConnectResponse => f.write_str("connected"),
            Self::Request { xid, op } => write!(f, "{}{}", Xid(xid), Name(Some(op))),
            Self::Reply { xid, op, zxid, err } => {
                let (zxid, error) = (Zxid(zxid), error(err.into()));
                write!(f, "{}{} zxid={zxid} {error}", Xid(xid), Name(op))
            }
            Self::Event { zxid, err: 0 } => write!(f, "event zxid={}", Zxid(zxid)),
            Self::Event { zxid, err } => {
                write!(f, "event zxid={} {}", Zxid(zxid), error(err.into()))
            }
            Self::Unreadable => f.write_str("frame"),
        }
    }
}

/// An xid, unless it says nothing that the operation does not.
struct Xid(i32);

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            xid::PING | xid::AUTH => Ok(()),
            xid => write!(f, "xid={xid} "),
        }
    }
}

/// What an operation is called.
pub(crate) struct Name(pub(crate) Option<i32>);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.0.and_then(Operation::find)) {
            (_, Some(operation)) => f.write_str(operation.name),
            (Some(code), None) => write!(f, "operation {code}"),
            (None, None) => f.write_str("reply to nothing"),
        }
    }
}

/// A field that always says the same.
fn is_usual(field: &Field) -> bool {
    match (field.name, &field.value) {
        ("state", Value::Named(_, number)) => *number == 3,
        // In auth, and in the reply to addWatch.
        ("protocolVersion" | "type" | "err", Value::Number(number)) => *number == 0,
        _ => false,
    }
}
