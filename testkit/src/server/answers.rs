//! What goes out to clients: replies, and notifications of what has changed.

use bytes::{Bytes, BytesMut};
use homing_protocol::{EventType, ReplyHeader, permission};

use super::{Connection, ConnectionId, Output, Server};
use crate::journal::CloseReason;
use crate::outbox::BACKLOG_MAX;
use crate::reply::{self, Reply};
use crate::watches::{Change, Notice};

impl Server {
    /// Sends notifications of what a transaction has done, except to one connection. Whoever has too
    /// much coming already is told no more, and closed.
    pub(crate) fn announce(&mut self, changes: &[Change], except: Option<ConnectionId>) {
        let Self {
            watches,
            connections,
            outputs,
            config,
            totals,
            last_zxid,
            ..
        } = self;
        let may_know = |known: &Connection, notice: &Notice<'_>| {
            !config.events_need_read || known.identities.allowed(notice.acl, permission::READ)
        };
        let zxid = if config.events_tell_zxid {
            *last_zxid
        } else {
            -1
        };
        let mut overwhelmed = Vec::new();
        for change in changes {
            watches.trigger(change, &mut totals.told, |who, notice| {
                let known = connections.get_mut(&who).filter(|_| Some(who) != except);
                let Some(known) = known.filter(|known| may_know(known, notice)) else {
                    return;
                };
                if known.unfetched >= BACKLOG_MAX {
                    return overwhelmed.push(who);
                }
                let frame = reply::notification(zxid, notice.kind, notice.path);
                known.unfetched += frame.len();
                outputs.push(Output::Send(who, frame));
            });
        }
        for connection in overwhelmed {
            self.close_because(connection, CloseReason::Backlog);
        }
    }

    pub(crate) fn notify(&mut self, connection: ConnectionId, kind: EventType, path: &str) {
        self.send(connection, reply::notification(-1, kind, path));
    }

    /// Sends a reply, and says how long its frame is.
    pub(crate) fn reply(
        &mut self,
        connection: ConnectionId,
        header: ReplyHeader,
        reply: Reply,
    ) -> usize {
        self.send_and_keep(connection, reply.finish(header))
    }

    /// The same, with the body even behind an error.
    pub(crate) fn reply_whole(
        &mut self,
        connection: ConnectionId,
        header: ReplyHeader,
        reply: Reply,
    ) -> usize {
        self.send_and_keep(connection, reply.finish_whole(header))
    }

    fn send_and_keep(
        &mut self,
        connection: ConnectionId,
        (frame, room): (Bytes, BytesMut),
    ) -> usize {
        let len = frame.len();
        if room.capacity() > self.spare.capacity() {
            self.spare = room;
        }
        self.send(connection, frame);
        len
    }

    /// A reply to be written behind those that were written before, in the same buffer.
    pub(crate) fn blank(&mut self) -> Reply {
        Reply::within(std::mem::take(&mut self.spare))
    }

    /// Nothing is said to who is gone.
    pub(crate) fn send(&mut self, connection: ConnectionId, frame: Bytes) {
        if let Some(known) = self.connections.get_mut(&connection) {
            known.unfetched += frame.len();
            self.outputs.push(Output::Send(connection, frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;
    use homing_protocol::Acl;

    use super::*;
    use crate::config::ServerConfig;
    use crate::server::Now;
    use crate::watches::What;

    const MIB: usize = 1 << 20;

    /// A change, of which is told with a little more than a MiB.
    fn change() -> Change {
        Change {
            what: What::DataChanged,
            path: format!("/{}", "x".repeat(MIB)).into(),
            acl: [Acl::open()].into(),
            parent_acl: None,
            bytes: 0,
        }
    }

    /// A server, and two connections that watch everything.
    fn watched() -> (Server, [ConnectionId; 2]) {
        let now = Now {
            instant: Instant::now(),
            unix_ms: 0,
        };
        let mut server = Server::new(ServerConfig::default());
        let watchers = [1, 2].map(|_| server.accept(now, [127, 0, 0, 1].into()));
        for connection in watchers {
            server.watches.add_lasting("/", connection, true);
        }
        (server, watchers)
    }

    #[test]
    fn whoever_has_too_much_coming_is_told_no_more_and_closed() {
        let (mut server, [idle, busy]) = watched();
        let change = [change()];
        server.send(idle, Bytes::from(vec![0; BACKLOG_MAX - MIB]));
        server.announce(&change, None);
        assert_eq!(
            server.connection_count(),
            2,
            "one frame may exceed the limit"
        );
        server.announce(&change, None);
        assert!(!server.connections.contains_key(&idle));
        server.send(idle, Bytes::from_static(b"an answer"));
        let mut sent = [0; 2];
        let mut is_closed = false;
        while let Some(output) = server.poll_output() {
            match output {
                Output::Send(to, frame) => {
                    assert!(to != idle || !is_closed, "sent after the end");
                    sent[usize::from(to == busy)] += frame.len() / MIB;
                }
                Output::Close(gone) => is_closed = gone == idle,
            }
        }
        assert_eq!((sent, is_closed), ([64, 2], true));
    }

    #[test]
    fn what_was_fetched_is_not_waited_for() {
        let (mut server, _) = watched();
        let change = [change()];
        for _ in 0..(2 * BACKLOG_MAX / MIB) {
            server.announce(&change, None);
            while server.poll_output().is_some() {}
        }
        assert_eq!(server.connection_count(), 2);
        let unfetched = server.connections.values().map(|known| known.unfetched);
        assert_eq!(unfetched.sum::<usize>(), 0);
    }
}
