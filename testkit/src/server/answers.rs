//! What goes out to clients: replies, and notifications of what has changed.

use bytes::{Bytes, BytesMut};
use homing_protocol::{EventType, ReplyHeader, permission};

use super::{Connection, ConnectionId, Output, Server};
use crate::reply::{self, Reply};
use crate::watches::{Change, Notice};

impl Server {
    /// Sends notifications of what a transaction has done, except to one connection.
    pub(crate) fn announce(&mut self, changes: &[Change], except: Option<ConnectionId>) {
        let Self {
            watches,
            connections,
            outputs,
            config,
            last_zxid,
            ..
        } = self;
        let may_know = |who, notice: &Notice<'_>| {
            !config.events_need_read
                || connections
                    .get(&who)
                    .is_some_and(|connection: &Connection| {
                        connection.identities.allowed(notice.acl, permission::READ)
                    })
        };
        let zxid = if config.events_tell_zxid {
            *last_zxid
        } else {
            -1
        };
        for change in changes {
            watches.trigger(change, |who, notice| {
                if Some(who) != except && may_know(who, notice) {
                    let frame = reply::notification(zxid, notice.kind, notice.path);
                    outputs.push(Output::Send(who, frame));
                }
            });
        }
    }

    pub(crate) fn notify(&mut self, connection: ConnectionId, kind: EventType, path: &str) {
        self.send(connection, reply::notification(-1, kind, path));
    }

    pub(crate) fn reply(&mut self, connection: ConnectionId, header: ReplyHeader, reply: Reply) {
        self.send_and_keep(connection, reply.finish(header));
    }

    /// The same, with the body even behind an error.
    pub(crate) fn reply_whole(
        &mut self,
        connection: ConnectionId,
        header: ReplyHeader,
        reply: Reply,
    ) {
        self.send_and_keep(connection, reply.finish_whole(header));
    }

    fn send_and_keep(&mut self, connection: ConnectionId, (frame, room): (Bytes, BytesMut)) {
        if room.capacity() > self.spare.capacity() {
            self.spare = room;
        }
        self.send(connection, frame);
    }

    /// A reply to be written behind those that were written before, in the same buffer.
    pub(crate) fn blank(&mut self) -> Reply {
        Reply::within(std::mem::take(&mut self.spare))
    }

    pub(crate) fn send(&mut self, connection: ConnectionId, frame: Bytes) {
        self.outputs.push(Output::Send(connection, frame));
    }
}
