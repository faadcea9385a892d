//! Replies and notifications, as a server writes them.

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::frame::LENGTH_LEN;
use homing_protocol::{
    Acl, EventType, Record, ReplyHeader, Stat, WatchedEvent, put_buffer, put_count, put_string, xid,
};

/// A reply in the making: the body is written first, behind room for length and header.
#[derive(Debug)]
pub(crate) struct Reply {
    frame: BytesMut,
}

impl Reply {
    pub(crate) fn new() -> Self {
        let mut frame = BytesMut::with_capacity(128);
        frame.put_bytes(0, BODY_AT);
        Self { frame }
    }

    pub(crate) fn put_path(&mut self, path: &str) {
        put_string(&mut self.frame, path);
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
        Acl::put_list(&mut self.frame, acl);
    }

    /// What stands before each result of a multi, and behind the last one.
    pub(crate) fn put_multi_header(&mut self, kind: i32, done: bool, err: i32) {
        self.frame.put_i32(kind);
        self.frame.put_u8(done.into());
        self.frame.put_i32(err);
    }

    /// Takes the body back.
    pub(crate) fn clear(&mut self) {
        self.frame.truncate(BODY_AT);
    }

    /// The whole frame. Behind an error there is no body.
    pub(crate) fn finish(mut self, header: ReplyHeader) -> Bytes {
        if header.err != 0 {
            self.clear();
        }
        // A child list may outgrow what a frame can say; no client could read it either.
        let len = i32::try_from(self.frame.len() - LENGTH_LEN).unwrap_or(i32::MAX);
        if let Some(mut front) = self.frame.get_mut(..BODY_AT) {
            front.put_i32(len);
            front.put_i32(header.xid);
            front.put_i64(header.zxid);
            front.put_i32(header.err);
        }
        self.frame.freeze()
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

/// A watch event. To 3.8 the header does not tell the transaction.
pub(crate) fn notification(kind: EventType, path: &str) -> Bytes {
    let mut reply = Reply::new();
    WatchedEvent {
        kind,
        path: path.to_owned(),
    }
    .encode(&mut reply.frame);
    reply.finish(ReplyHeader {
        xid: xid::NOTIFICATION,
        zxid: -1,
        err: 0,
    })
}

/// Where the body begins, counted from the frame's length on.
const BODY_AT: usize = LENGTH_LEN + ReplyHeader::LEN;
