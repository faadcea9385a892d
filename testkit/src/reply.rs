//! Replies and notifications, as a server writes them.

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::frame::LENGTH_LEN;
use homing_protocol::{
    Acl, EventType, Record, ReplyHeader, Stat, put_buffer, put_count, put_string, xid,
};

/// A reply in the making: the body is written first, behind room for length and header.
#[derive(Debug)]
pub(crate) struct Reply {
    frame: BytesMut,
}

impl Reply {
    /// One that will have no body, or a small one.
    pub(crate) fn new() -> Self {
        Self::within(BytesMut::with_capacity(128))
    }

    /// One that is written into a buffer that has no content, but room; see
    /// [`finish`](Self::finish).
    pub(crate) fn within(mut frame: BytesMut) -> Self {
        if frame.capacity() < ROOM_MIN {
            // Without an allocation, where all that was written into it before has been sent.
            frame.reserve(ROOM);
        }
        frame.put_bytes(0, BODY_AT);
        Self { frame }
    }

    /// A string as Java writes it: UTF-16 units one by one, so that what lies above U+FFFF comes
    /// out as two surrogates of three bytes each.
    pub(crate) fn put_string(&mut self, string: &str) {
        if string.is_ascii() || string.chars().all(|c| c <= '\u{FFFF}') {
            return put_string(&mut self.frame, string);
        }
        let mut bytes = Vec::with_capacity(string.len() * 2);
        for c in string.chars() {
            match c {
                ..='\u{FFFF}' => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    let [high, low] = unit.to_be_bytes();
                    // The twelve bits below 0xD000, as the last two of three UTF-8 bytes.
                    let middle = 0x80 | (high & 0x0F) << 2 | low >> 6;
                    bytes.extend_from_slice(&[0xED, middle, 0x80 | low & 0x3F]);
                }),
            }
        }
        put_buffer(&mut self.frame, Some(&bytes));
    }

    pub(crate) fn put_buffer(&mut self, buffer: Option<&[u8]>) {
        put_buffer(&mut self.frame, buffer);
    }

    pub(crate) fn put_stat(&mut self, stat: &Stat) {
        stat.encode(&mut self.frame);
    }

    pub(crate) fn put_count(&mut self, count: usize) {
        put_count(&mut self.frame, count);
    }

    pub(crate) fn put_i32(&mut self, value: i32) {
        self.frame.put_i32(value);
    }

    pub(crate) fn put_acl(&mut self, acl: &[Acl]) {
        self.put_count(acl.len());
        for entry in acl {
            self.put_i32(entry.permissions);
            self.put_string(&entry.id.scheme);
            self.put_string(&entry.id.id);
        }
    }

    /// What stands before each result of a multi, and behind the last one.
    pub(crate) fn put_multi_header(&mut self, kind: i32, done: bool, err: i32) {
        self.frame.put_i32(kind);
        self.frame.put_u8(done.into());
        self.frame.put_i32(err);
    }

    /// Whether it has grown to a size that no client takes. Only a list of reads can ask for that
    /// much: a few bytes for each, and a megabyte in return.
    pub(crate) fn is_too_long(&self) -> bool {
        self.frame.len() > REPLY_LEN_MAX
    }

    /// Takes the body back.
    pub(crate) fn clear(&mut self) {
        self.frame.truncate(BODY_AT);
    }

    /// The whole frame, and the room that is left behind it for another one. Behind an error
    /// there is no body.
    pub(crate) fn finish(mut self, header: ReplyHeader) -> (Bytes, BytesMut) {
        if header.err != 0 {
            self.clear();
        }
        self.finish_whole(header)
    }

    /// The same. The body stays, even behind an error: that of SASL does.
    pub(crate) fn finish_whole(mut self, header: ReplyHeader) -> (Bytes, BytesMut) {
        // A child list may outgrow what a frame can say; no client could read it either.
        let len = i32::try_from(self.frame.len() - LENGTH_LEN).unwrap_or(i32::MAX);
        if let Some(mut front) = self.frame.get_mut(..BODY_AT) {
            front.put_i32(len);
            front.put_i32(header.xid);
            front.put_i64(header.zxid);
            front.put_i32(header.err);
        }
        (self.frame.split().freeze(), self.frame)
    }
}

/// A record as a frame of its own: the handshake.
pub(crate) fn bare(record: &impl Record) -> Bytes {
    let len = record.encoded_len();
    let mut frame = BytesMut::with_capacity(LENGTH_LEN + len);
    frame.put_i32(i32::try_from(len).unwrap_or(i32::MAX));
    record.encode(&mut frame);
    frame.freeze()
}

/// A watch event. `zxid` is −1 where the server does not tell the transaction.
pub(crate) fn notification(zxid: i64, kind: EventType, path: &str) -> Bytes {
    let mut reply = Reply::new();
    reply.put_i32(kind as i32);
    reply.put_i32(SYNC_CONNECTED);
    reply.put_string(path);
    let (frame, _) = reply.finish(ReplyHeader {
        xid: xid::NOTIFICATION,
        zxid,
        err: 0,
    });
    frame
}

/// The xid in a frame; 0 is what a handshake has there. `None` for what is no frame: the answer to
/// a four-letter word.
pub(crate) fn xid(frame: &[u8]) -> Option<i32> {
    let (len, rest) = frame.split_first_chunk()?;
    let is_frame = usize::try_from(u32::from_be_bytes(*len)) == Ok(rest.len());
    let xid = rest.first_chunk().filter(|_| is_frame)?;
    Some(i32::from_be_bytes(*xid))
}

/// Far above what clients accept, and far below what the process could not bear.
const REPLY_LEN_MAX: usize = 64 << 20;

/// The only keeper state that servers send.
const SYNC_CONNECTED: i32 = 3;

/// A buffer in which replies are written one behind another, and how much of it must be left for
/// the next one: most have room in it.
const ROOM: usize = 16 << 10;
const ROOM_MIN: usize = 512;

/// Where the body begins, counted from the frame's length on.
const BODY_AT: usize = LENGTH_LEN + ReplyHeader::LEN;

#[cfg(test)]
mod tests {
    use super::Reply;

    #[test]
    fn text_is_written_as_java_writes_it() {
        // As a real server echoed it.
        let rows = [
            ("/\u{1F600}", &b"/\xED\xA0\xBD\xED\xB8\x80"[..]),
            ("/\u{10FFFF}a", b"/\xED\xAF\xBF\xED\xBF\xBFa"),
            ("/gr\u{F6}\u{20AC}", b"/gr\xC3\xB6\xE2\x82\xAC"),
        ];
        for (text, bytes) in rows {
            let mut reply = Reply::new();
            reply.put_string(text);
            assert_eq!(reply.frame[super::BODY_AT + 4..], *bytes, "{text}");
        }
    }
}
