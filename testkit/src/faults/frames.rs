//! Bytes into frames, and what faults do to one.

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::frame::{self, LENGTH_LEN};
use homing_protocol::{EventType, ReplyHeader};

use crate::faults::rule::{Change, Fault, Way};
use crate::faults::tracker::number;
use crate::reply;

/// Cuts one direction into frames. What cannot be one, passes as it is.
#[derive(Debug)]
pub(crate) struct Splitter {
    input: BytesMut,
    /// Longer frames are not waited for.
    frame_max: usize,
    /// So many bytes are of something that is no frame, or a long one.
    raw: usize,
    is_first: bool,
}

/// A piece of one direction.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// A whole frame, its length included.
    Frame(Bytes),
    /// Bytes that are none.
    Raw(Bytes),
}

impl Splitter {
    pub(crate) fn new(frame_max: usize) -> Self {
        Self {
            input: BytesMut::new(),
            frame_max,
            raw: 0,
            is_first: true,
        }
    }

    pub(crate) fn give(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    pub(crate) fn next(&mut self) -> Option<Piece> {
        if self.raw == 0 {
            let announced = frame::peek_len(&self.input)?;
            let len = usize::try_from(announced).ok();
            let frame = len.filter(|len| (1..=self.frame_max).contains(len));
            let is_first = std::mem::replace(&mut self.is_first, false);
            match (frame, len) {
                (Some(len), _) if self.input.len() < LENGTH_LEN + len => {
                    self.is_first = is_first;
                    return None;
                }
                (Some(len), _) => {
                    let frame = self.input.split_to(LENGTH_LEN + len);
                    return Some(Piece::Frame(frame.freeze()));
                }
                // A word of four letters, TLS, or nonsense: there will be no frames.
                (None, _) if is_first => self.raw = usize::MAX,
                (None, Some(len)) => self.raw = LENGTH_LEN + len,
                (None, None) => self.raw = usize::MAX,
            }
        }
        self.take_raw()
    }

    /// What there is of the last frame, when there will be no more.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        let rest = self.input.split().freeze();
        (!rest.is_empty()).then_some(rest)
    }

    fn take_raw(&mut self) -> Option<Piece> {
        let len = self.raw.min(self.input.len());
        if self.raw != usize::MAX {
            self.raw -= len;
        }
        (len > 0).then(|| Piece::Raw(self.input.split_to(len).freeze()))
    }
}

/// Where the numbers of a frame are, its length included.
mod at {
    pub(super) const XID: usize = 4;
    pub(super) const ZXID: usize = 8;
    /// Of an answer to a handshake.
    pub(super) const SESSION: usize = 12;
    pub(super) const ERROR: usize = 16;
    /// The first number of a reply's body, and the length of the password in an answer to a
    /// handshake.
    pub(super) const REPLY_BODY: usize = 20;
    pub(super) const REQUEST_BODY: usize = 12;
    /// The length of the password in a handshake.
    pub(super) const PASSWORD: usize = 28;
}

/// Changes a frame, and says whether it had what is to be changed.
pub(crate) fn edit(
    fault: &Fault,
    frame: &mut BytesMut,
    way: Way,
    is_handshake: bool,
    random: u64,
) -> bool {
    match fault {
        Fault::Corrupt => corrupt(frame, random),
        Fault::Truncate(len) => {
            frame.truncate(LENGTH_LEN.saturating_add(*len));
            let left = frame.len().saturating_sub(LENGTH_LEN);
            put(frame, 0, i32::try_from(left).unwrap_or(i32::MAX))
        }
        Fault::Length(length) => put(frame, 0, *length),
        Fault::Count(count) => {
            let at = match (way, is_handshake) {
                (Way::ToClient, _) => at::REPLY_BODY,
                (Way::ToServer, true) => at::PASSWORD,
                (Way::ToServer, false) => at::REQUEST_BODY,
            };
            put(frame, at, *count)
        }
        Fault::Xid(_) | Fault::Zxid(_) | Fault::Error(_) if is_handshake => false,
        Fault::Xid(change) => {
            let xid = number(frame, at::XID).map(i64::from);
            // As much of it as an xid has.
            let xid = xid.map(|xid| change.of(xid).to_be_bytes());
            xid.is_some_and(|[_, _, _, _, xid @ ..]| put_bytes(frame, at::XID, &xid))
        }
        Fault::Zxid(change) => put_changed(frame, at::ZXID, *change),
        Fault::Error(code) => {
            if *code != 0 {
                frame.truncate(LENGTH_LEN + ReplyHeader::LEN);
            }
            let left = frame.len().saturating_sub(LENGTH_LEN);
            put(frame, at::ERROR, *code) && put(frame, 0, i32::try_from(left).unwrap_or(i32::MAX))
        }
        Fault::Session(change) => is_handshake && put_changed(frame, at::SESSION, *change),
        _ => false,
    }
}

/// Another byte in place of one, but not of the length.
fn corrupt(frame: &mut BytesMut, random: u64) -> bool {
    let len = frame.len().saturating_sub(LENGTH_LEN);
    let Ok(len) = u64::try_from(len) else {
        return false;
    };
    let Some(offset) = random.checked_rem(len) else {
        return false;
    };
    let at = usize::try_from(offset).unwrap_or(0) + LENGTH_LEN;
    frame.get_mut(at).is_some_and(|byte| {
        *byte = another(*byte, random);
        true
    })
}

/// Any byte but this one.
pub(crate) fn another(byte: u8, random: u64) -> u8 {
    let [top, ..] = random.to_be_bytes();
    byte ^ top.max(1)
}

fn put_changed(frame: &mut BytesMut, at: usize, change: Change) -> bool {
    let old = frame.get(at..).and_then(|rest| rest.first_chunk());
    let new = old.map(|old| change.of(i64::from_be_bytes(*old)));
    new.is_some_and(|new| put_bytes(frame, at, &new.to_be_bytes()))
}

fn put(frame: &mut BytesMut, at: usize, number: i32) -> bool {
    put_bytes(frame, at, &number.to_be_bytes())
}

fn put_bytes(frame: &mut BytesMut, at: usize, bytes: &[u8]) -> bool {
    let place = frame.get_mut(at..at + bytes.len());
    place.is_some_and(|place| {
        place.copy_from_slice(bytes);
        true
    })
}

/// So many notifications in a row.
pub(crate) fn storm(events: u32, path: &str) -> Bytes {
    let one = reply::notification(-1, EventType::NodeDataChanged, path);
    let mut all = BytesMut::new();
    (0..events).for_each(|_| all.put_slice(&one));
    all.freeze()
}
