//! What a server counts: requests and replies, of each connection and of all.
//!
//! Nothing here has a say in what is answered. It is what four-letter words show.

use homing_protocol::frame::LENGTH_LEN;
use homing_protocol::{ErrorCode, EventType, ReplyHeader, op, xid};

use crate::operation::{is_transaction, is_write};
use crate::reply;
use crate::server::Now;

/// What was counted on one connection.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// The peer's port; its address stands beside it.
    pub(crate) port: u16,
    /// When it was made, in milliseconds since the Unix epoch.
    pub(crate) established_ms: i64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Replies that were made and are held back, for which the server counts as busy.
    pub(crate) outstanding: usize,
    /// When something was last heard from it.
    pub(crate) heard: Now,
    /// The request that is being handled.
    current: i32,
    last: LastRequest,
}

/// What is shown of a connection's latest request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastRequest {
    pub(crate) operation: &'static str,
    pub(crate) xid: i64,
    pub(crate) zxid: i64,
    /// When it was answered; `None` for never.
    pub(crate) answered: Option<Now>,
}

impl LastRequest {
    /// Before the first one, and after a handshake that has taken up a session again. The word is
    /// Java's.
    const NONE: Self = Self {
        operation: "null",
        xid: 0,
        zxid: 0,
        answered: None,
    };

    /// After all counts were set to zero.
    const FORGOTTEN: Self = Self {
        operation: "NA",
        xid: -1,
        zxid: -1,
        answered: None,
    };
}

impl Traffic {
    pub(crate) fn new(now: Now, port: u16) -> Self {
        Self {
            port,
            established_ms: now.unix_ms,
            received: 0,
            sent: 0,
            outstanding: 0,
            heard: now,
            current: 0,
            last: LastRequest::NONE,
        }
    }

    /// A request is about to be handled.
    pub(crate) fn begin(&mut self, op: i32) {
        self.current = op;
    }

    /// It has been answered. Says whether it was a transaction.
    pub(crate) fn answered(&mut self, header: ReplyHeader) -> bool {
        // Unlike other writes it is read before it takes a number, and is called by its name then.
        let is_unread =
            self.current == op::RECONFIG && header.err == ErrorCode::MarshallingError.code();
        let operation = match self.current {
            op::RECONFIG if is_unread => "RECO",
            // A multi that has failed says so in its body.
            op if header.err != 0 && is_write(op) => "NA",
            op => operation(op),
        };
        self.note(operation, header.xid, header.zxid);
        is_transaction(self.current) && !is_unread
    }

    /// A session has begun.
    pub(crate) fn session_begun(&mut self, xid: i32, zxid: i64) {
        self.note("SESS", xid, zxid);
    }

    fn note(&mut self, operation: &'static str, xid: i32, zxid: i64) {
        let xid = match i64::from(xid) {
            // Pings and their like are no requests of the client's own.
            ..0 => self.last.xid,
            xid => xid,
        };
        self.last = LastRequest {
            operation,
            xid,
            zxid,
            answered: Some(self.heard),
        };
    }

    pub(crate) fn last(&self) -> LastRequest {
        self.last
    }

    /// Counts from zero again.
    pub(crate) fn reset(&mut self) {
        (self.received, self.sent) = (0, 0);
        self.last = LastRequest::FORGOTTEN;
    }
}

/// What was counted on all connections together, those included that are gone.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) received: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent: u64,
    pub(crate) sizes: Option<Sizes>,
    /// Handshakes that could be read, and those among them that went for an old session.
    pub(crate) handshakes: u64,
    pub(crate) returns: u64,
    /// Connections that the peer has ended.
    pub(crate) dropped: u64,
    /// Sessions whose time was over.
    pub(crate) expired: u64,
    /// How long replies to requests were, and notifications, without their frames' own lengths.
    pub(crate) response_bytes: u64,
    pub(crate) notice_bytes: u64,
    pub(crate) told: Told,
    pub(crate) rejected: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
}

/// How many connections were told of each change, by its kind.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) created: Summary,
    pub(crate) deleted: Summary,
    pub(crate) data_changed: Summary,
    pub(crate) children_changed: Summary,
}

impl Told {
    /// So many are about to be told.
    pub(crate) fn count(&mut self, kind: EventType, connections: usize) {
        let summary = match kind {
            EventType::NodeCreated => &mut self.created,
            EventType::NodeDeleted => &mut self.deleted,
            EventType::NodeDataChanged => &mut self.data_changed,
            EventType::NodeChildrenChanged => &mut self.children_changed,
            _ => return,
        };
        // What nobody watches is not measured.
        if connections > 0 {
            summary.add(i64::try_from(connections).unwrap_or(i64::MAX));
        }
    }
}

/// What there is to say of some figures; all zero where there are none.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) count: i64,
    pub(crate) sum: i64,
    pub(crate) min: i64,
    pub(crate) max: i64,
}

impl Summary {
    fn add(&mut self, figure: i64) {
        self.min = match self.count {
            0 => figure,
            _ => self.min.min(figure),
        };
        self.max = self.max.max(figure);
        self.count += 1;
        self.sum += figure;
    }
}

/// How long replies were, without their frames' own lengths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) last: usize,
    pub(crate) min: usize,
    pub(crate) max: usize,
}

impl Totals {
    pub(crate) fn count_received(&mut self, bytes: usize) {
        self.received += 1;
        self.received_bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    pub(crate) fn count_sent(&mut self, frame: &[u8]) {
        self.sent += 1;
        let len = frame.len().saturating_sub(LENGTH_LEN);
        match reply::xid(frame) {
            // Nobody looks at the sizes of handshakes and of answers to words.
            None | Some(0) => return,
            Some(xid::NOTIFICATION) => self.notice_bytes += len as u64,
            Some(_) => {}
        }
        let before = self.sizes.unwrap_or(Sizes {
            last: len,
            min: len,
            max: len,
        });
        self.sizes = Some(Sizes {
            last: len,
            min: before.min.min(len),
            max: before.max.max(len),
        });
    }

    /// A request was answered, with a frame of so many bytes. Pings are left out, on a real server
    /// too.
    pub(crate) fn count_response(&mut self, xid: i32, frame_len: usize) {
        if xid != xid::PING {
            self.response_bytes += frame_len.saturating_sub(LENGTH_LEN) as u64;
        }
    }

    /// A request was answered.
    pub(crate) fn count_handled(&mut self, is_transaction: bool) {
        match is_transaction {
            true => self.writes += 1,
            false => self.reads += 1,
        }
    }
}

fn operation(op: i32) -> &'static str {
    match op {
        op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => "CREA",
        op::DELETE => "DELE",
        op::EXISTS => "EXIS",
        op::GET_DATA => "GETD",
        op::SET_DATA => "SETD",
        op::GET_ACL => "GETA",
        op::SET_ACL => "SETA",
        op::GET_CHILDREN | op::GET_CHILDREN2 => "GETC",
        op::SYNC => "SYNC",
        op::PING => "PING",
        op::MULTI => "MULT",
        op::MULTI_READ => "MLTR",
        op::RECONFIG => "RECO",
        op::CHECK_WATCHES => "CHKW",
        op::REMOVE_WATCHES => "REMW",
        op::SET_WATCHES => "SETW",
        op::SET_WATCHES2 => "STW2",
        op::ADD_WATCH => "ADDW",
        op::GET_EPHEMERALS => "GETE",
        op::GET_ALL_CHILDREN_NUMBER => "GETACN",
        op::WHO_AM_I => "HOMI",
        op::CLOSE_SESSION => "CLOS",
        _ => "NA",
    }
}
