//! A session in a simulator, and requests to put into it.
#![allow(dead_code, reason = "each test file uses what it needs")]

mod watching;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homing_protocol::{
    Acl, Create, CreateMode, GetData, Record, RequestHeader, op, put_request, request_len,
};
use homing_session::{
    Answer, Config, ConnectString, Note, Session, SessionEnd, SessionState, Shared,
};
use homing_testkit::sim::{Behaviour, Sim};
use homing_transport::{Refused, Request, Ticket};

#[allow(unused_imports, reason = "each test file uses what it needs")]
pub(crate) use watching::*;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The session time-out that tests ask for and get: 30 s.
pub(crate) const T: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) sim: Sim<Session>,
    pub(crate) shared: Arc<Shared>,
}

/// A session that has not begun, with three servers at 10.0.0.1 to 10.0.0.3.
pub(crate) fn world() -> World {
    world_with("10.0.0.1,10.0.0.2,10.0.0.3", |_| {})
}

pub(crate) fn world_with(servers: &str, configure: impl FnOnce(&mut Config)) -> World {
    let mut config = Config::new(servers.parse::<ConnectString>().unwrap().servers);
    config.seed = 7;
    configure(&mut config);
    let (session, shared) = Session::new(config);
    World {
        sim: Sim::new(session),
        shared,
    }
}

/// A session that is connected.
pub(crate) fn connected() -> World {
    let mut world = world();
    world.connect();
    world
}

pub(crate) fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 2181))
}

impl World {
    pub(crate) fn connect(&mut self) {
        let shared = Arc::clone(&self.shared);
        let done = self.sim.run_until(60 * SECOND, |_| is_connected(&shared));
        assert!(done, "not connected: {:?}", self.sim);
    }

    /// All three servers do so from now on.
    pub(crate) fn servers(&mut self, behaviour: Behaviour) {
        for last in 1..=3 {
            self.sim.set_behaviour(address(last), behaviour);
        }
    }

    /// Whether the servers know a session.
    pub(crate) fn is_known(&mut self, session_id: i64) -> bool {
        let sessions = self.sim.server().sessions();
        sessions.iter().any(|session| session.id == session_id)
    }

    pub(crate) fn state(&self) -> SessionState {
        self.shared.status.state()
    }

    pub(crate) fn is_connected(&self) -> bool {
        is_connected(&self.shared)
    }

    pub(crate) fn session_id(&self) -> i64 {
        self.shared
            .status
            .credentials()
            .expect("it was connected")
            .session_id()
    }

    pub(crate) fn end(&self) -> Option<SessionEnd> {
        self.shared.status.end()
    }

    /// Lets requests and replies that are due pass.
    pub(crate) fn settle(&mut self) {
        self.sim.run_for(10 * Duration::from_millis(1));
    }

    pub(crate) fn run_until_ended(&mut self, limit: Duration) -> SessionEnd {
        let shared = Arc::clone(&self.shared);
        let ended = self.sim.run_until(limit, |_| shared.status.end().is_some());
        assert!(ended, "not ended: {:?}", self.sim);
        self.end().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Ticket<Answer> {
        self.submit(
            op::GET_DATA,
            &GetData {
                path: path.into(),
                watch: false,
            },
            None,
        )
        .unwrap()
    }

    pub(crate) fn create(&self, path: &str, mode: CreateMode) -> Ticket<Answer> {
        let acl = [Acl::open()];
        let body = Create {
            path: path.into(),
            data: b"",
            acl: &acl,
            mode,
        };
        self.submit(op::CREATE2, &body, None).unwrap()
    }

    pub(crate) fn submit(
        &self,
        op: i32,
        body: &impl Record,
        within: Option<Duration>,
    ) -> Result<Ticket<Answer>, Refused> {
        let request = Request {
            len: request_len(body),
            within,
            note: Note::Plain { op },
        };
        self.shared.queue.try_submit(request, |xid, out| {
            put_request(out, RequestHeader { xid, op }, body);
        })
    }

    pub(crate) fn close(&self, within: Duration) -> Option<Ticket<Answer>> {
        let body = homing_protocol::Empty;
        let request = Request {
            len: request_len(&body),
            within: None,
            note: Note::Close,
        };
        self.shared.queue.seal(within, request, |xid, out| {
            put_request(
                out,
                RequestHeader {
                    xid,
                    op: op::CLOSE_SESSION,
                },
                &body,
            );
        })
    }
}

pub(crate) fn is_connected(shared: &Shared) -> bool {
    matches!(shared.status.state(), SessionState::Connected(_))
}

/// The reply in the slot, which must be there.
pub(crate) fn reply(mut ticket: Ticket<Answer>) -> homing_session::Reply {
    let answer = ticket.try_pull().expect("an answer");
    answer.expect("a reply")
}

/// The reason in the slot, which must be there.
pub(crate) fn unanswered(mut ticket: Ticket<Answer>) -> homing_session::Unanswered {
    let answer = ticket.try_pull().expect("an answer");
    answer.expect_err("no reply")
}
