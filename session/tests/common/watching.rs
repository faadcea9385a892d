//! Requests about watches.

use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use homing_protocol::{
    AddWatch, CreateMode, Delete, Exists, GetChildren, GetData, PathRef, RequestHeader, SetData,
    op, put_request, request_len,
};
use homing_session::{
    Answer, Aspects, Comparison, Config, ConnectString, LastingWatch, Note, Session, WatchItem,
    WatchKind, WatchTicket,
};
use homing_testkit::sim::{Behaviour, Sim};
use homing_testkit::{Server, ServerConfig};
use homing_transport::{Request, Ticket};

use super::*;

impl World {
    /// Asks for the node, or for its children, and to be told of the next change.
    pub(crate) fn watch(
        &self,
        kind: WatchKind,
        path: &str,
    ) -> (Ticket<homing_session::Answer>, WatchTicket) {
        let (note, watch) = self.shared.watches.prepare(kind, path.into());
        let server_path = PathRef::from(path);
        let request = Request {
            len: 12 + 4 + path.len() + 1,
            within: None,
            note: Note::Watch(Box::new(note)),
        };
        let ticket = self.shared.queue.try_submit(request, |xid, out| {
            let (path, watch) = (server_path, self.shared.watches.line_up(&watch));
            let header = |op| RequestHeader { xid, op };
            match kind {
                WatchKind::Data => put_request(out, header(op::GET_DATA), &GetData { path, watch }),
                WatchKind::Exist => put_request(out, header(op::EXISTS), &Exists { path, watch }),
                WatchKind::Child => {
                    put_request(out, header(op::GET_CHILDREN2), &GetChildren { path, watch });
                }
            }
        });
        (ticket.unwrap(), watch)
    }

    /// A watch that is armed.
    pub(crate) fn armed(&mut self, kind: WatchKind, path: &str) -> WatchTicket {
        let before = self.shared.watches.armed();
        let (answer, watch) = self.watch(kind, path);
        self.settle();
        drop(answer);
        assert_eq!(self.shared.watches.armed(), before + 1);
        watch
    }

    pub(crate) fn make(&mut self, path: &str) {
        let made = self.create(path, CreateMode::Persistent);
        self.settle();
        assert_eq!(reply(made).err, 0);
    }

    pub(crate) fn set(&self, path: &str) {
        drop(self.set_and_see(path));
    }

    /// Not dropped while there is no connection.
    pub(crate) fn set_and_see(&self, path: &str) -> Ticket<Answer> {
        let body = SetData {
            path: path.into(),
            data: b"x",
            version: -1,
        };
        self.submit(op::SET_DATA, &body, None).unwrap()
    }

    pub(crate) fn delete(&self, path: &str) {
        let body = Delete {
            path: path.into(),
            version: -1,
        };
        drop(self.submit(op::DELETE, &body, None).unwrap());
    }

    /// Another client does something while this one is away.
    pub(crate) fn away(&mut self, change: impl FnOnce(&mut Self)) {
        self.servers(Behaviour::Refuse);
        self.sim.cut();
        let server = std::mem::replace(self.sim.server(), Server::new(ServerConfig::default()));
        let (session, shared) = Session::new({
            let servers = "10.0.0.9".parse::<ConnectString>().unwrap().servers;
            let mut config = Config::new(servers);
            config.seed = 99;
            config
        });
        let sim = Sim::with_server(session, server);
        let mut other = Self { sim, shared };
        other.connect();
        change(&mut other);
        other.settle();
        *self.sim.server() = other.sim.into_server();
        self.servers(Behaviour::Serve);
    }

    /// Asks for a watch that stays.
    pub(crate) fn watch_lasting(
        &self,
        path: &str,
        recursive: bool,
    ) -> (Ticket<Answer>, LastingWatch) {
        let (note, watch) = self.shared.watches.prepare_lasting(path.into(), recursive);
        let request = Request {
            len: 12 + 4 + path.len() + 4,
            within: None,
            note: Note::Watch(Box::new(note)),
        };
        let ticket = self.shared.queue.try_submit(request, |xid, out| {
            let mode = self.shared.watches.line_up_lasting(&watch);
            let path = PathRef::from(path);
            let op = op::ADD_WATCH;
            put_request(out, RequestHeader { xid, op }, &AddWatch { path, mode });
        });
        (ticket.unwrap(), watch)
    }

    /// A watch that stays, and is armed.
    pub(crate) fn lasting(&mut self, path: &str, recursive: bool) -> LastingWatch {
        let (answer, watch) = self.watch_lasting(path, recursive);
        self.settle();
        assert_eq!(reply(answer).err, 0);
        watch
    }

    /// Asks what has changed.
    pub(crate) fn compare(&self, paths: &[&str], zxid: i64) -> (Ticket<Answer>, Comparison) {
        let paths = paths.iter().map(|path| (*path).to_owned());
        let mut questions = Comparison::split(paths, zxid, Aspects::default(), usize::MAX);
        let question = questions.remove(0);
        let note = self.shared.watches.prepare_comparison(&question);
        let request = Request {
            len: request_len(&question),
            within: None,
            note: Note::Comparison(Box::new(note)),
        };
        let encode = |xid, out: &mut BytesMut| {
            self.shared.watches.line_up_comparison(&question);
            let op = question.op();
            put_request(out, RequestHeader { xid, op }, &question);
        };
        let ticket = self.shared.queue.try_submit(request, encode);
        (ticket.unwrap(), question)
    }

    /// Its owner goes away.
    pub(crate) fn forget(&self, watch: &WatchTicket) {
        if self.shared.watches.forget(watch) {
            self.shared.queue.nudge();
        }
    }

    /// Its owner goes away.
    pub(crate) fn forget_lasting(&self, watch: &LastingWatch) {
        if self.shared.watches.forget_lasting(watch) {
            self.shared.queue.nudge();
        }
    }
}

/// What a watch tells that stays.
pub(crate) fn items(watch: &LastingWatch) -> Vec<WatchItem> {
    let mut items = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(item)) = watch.poll(&mut cx) {
        items.push(item.expect("it goes on"));
    }
    items
}

/// The same, in short.
pub(crate) fn told(watch: &LastingWatch) -> Vec<String> {
    items(watch).iter().map(ToString::to_string).collect()
}
