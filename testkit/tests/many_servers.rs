//! Two hundred servers in one process, each with settings, faults and sessions of its own: none
//! notices another, and none leaves anything behind. Alone in its file, so that what the process
//! has can be counted.
#![cfg(target_os = "linux")]

#[path = "support/client.rs"]
mod client;
#[path = "support/usage.rs"]
mod usage;

use std::thread;
use std::time::Duration;

use client::{Client, dial, new_session};
use homing_protocol::{
    AddWatch, AddWatchMode, ConnectRequest, CreateMode, Empty, EventType, SetData, op,
};
use homing_testkit::FakeServer;
use homing_testkit::faults::Faults;
use usage::{Usage, allow_descriptors};

const SERVERS: usize = 200;
const THREADS: usize = 8;

#[test]
fn two_hundred_servers_share_a_process_and_nothing_else() {
    allow_descriptors(4096);
    let before = Usage::now();

    let mut lanes: Vec<Lane> = (0..SERVERS).map(Lane::start).collect();
    let meanwhile = Usage::now();
    assert_eq!(meanwhile.threads(), before.threads() + SERVERS);
    assert_eq!(meanwhile.ports(), before.ports() + SERVERS);
    // Each step is taken by all servers before any takes the next one.
    for step in [
        Lane::arm,
        Lane::work,
        Lane::strike,
        Lane::suffer,
        Lane::check,
    ] {
        thread::scope(|scope| {
            for chunk in lanes.chunks_mut(SERVERS / THREADS) {
                scope.spawn(move || chunk.iter_mut().for_each(step));
            }
        });
    }
    // Those of one half go before their clients, those of the other after them, all at once.
    thread::scope(|scope| {
        while !lanes.is_empty() {
            let chunk = lanes.split_off(lanes.len().saturating_sub(SERVERS / THREADS));
            scope.spawn(move || chunk.into_iter().for_each(Lane::end));
        }
    });
    before.assert_restored();
}

/// What happens to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Latency,
    CutAfterApply,
    CutBeforeApply,
    Refuse,
    Expire,
    Pause,
    Restart,
    LoseQuorum,
    ForgetOperation,
    ScriptedCut,
    ScriptedDelay,
    ScriptedLie,
}

const FAULTS: [Fault; 13] = [
    Fault::None,
    Fault::Latency,
    Fault::CutAfterApply,
    Fault::CutBeforeApply,
    Fault::Refuse,
    Fault::Expire,
    Fault::Pause,
    Fault::Restart,
    Fault::LoseQuorum,
    Fault::ForgetOperation,
    Fault::ScriptedCut,
    Fault::ScriptedDelay,
    Fault::ScriptedLie,
];

const LATENCY: Duration = Duration::from_millis(20);

/// A server and its clients. All servers have the same paths; what tells them apart is the
/// data, the session ids, the time-outs and the transactions.
struct Lane {
    index: usize,
    fault: Fault,
    server: FakeServer,
    writer: Client,
    watcher: Client,
    owner: Client,
    /// Connections that were made.
    connections: u64,
    /// Requests of clients that are gone.
    requests: u64,
}

impl Lane {
    fn start(index: usize) -> Self {
        let server = FakeServer::builder()
            .session_timeouts(Duration::from_secs(60), timeout(index))
            .config(|config| {
                config.server_id = index as u8;
                config.first_zxid = first_zxid(index);
            })
            .start()
            .unwrap();
        let connect = || Client::connect(server.addr());
        let (writer, mut watcher, owner) = (connect(), connect(), connect());
        for client in [&writer, &watcher, &owner] {
            let granted = client.session.timeout_ms.unsigned_abs();
            assert_eq!(Duration::from_millis(granted.into()), timeout(index));
            assert_eq!(client.session.session_id.to_be_bytes()[0], index as u8);
        }
        let all = AddWatch {
            path: "/".into(),
            mode: AddWatchMode::PersistentRecursive,
        };
        assert_eq!(watcher.call(op::ADD_WATCH, &all), Some(0));
        Self {
            index,
            fault: FAULTS[index % FAULTS.len()],
            server,
            writer,
            watcher,
            owner,
            connections: 3,
            requests: 0,
        }
    }

    fn data(&self) -> Vec<u8> {
        format!("of server {}", self.index).into()
    }

    /// Arranges the faults that come with work.
    fn arm(&mut self) {
        match self.fault {
            Fault::Latency => self.server.latency(LATENCY),
            Fault::CutAfterApply => self.server.cut_after_apply(2),
            Fault::CutBeforeApply => self.server.cut_before_apply(2),
            Fault::Refuse => self.server.refuse_connections(true),
            Fault::ForgetOperation => self
                .server
                .with_server(|server| server.forget_operation(op::CREATE2)),
            Fault::ScriptedCut => self.script("cut to client at write 2 once"),
            Fault::ScriptedDelay => self.script("delay 1ms-20ms at write"),
            _ => {}
        }
    }

    /// Gives the server a script, with a seed of its own.
    fn script(&self, script: &str) {
        let faults: Faults = script.parse().unwrap();
        self.server.faults(faults.seed(self.index as u64));
    }

    /// Four writes and an ephemeral node, and what the server's fault makes of them.
    fn work(&mut self) {
        let data = self.data();
        for (path, number) in [("/own", 1), ("/own/a", 2), ("/own/b", 3)] {
            let made = self.writer.create(path, &data, CreateMode::Persistent);
            match (self.fault, number) {
                (Fault::CutAfterApply | Fault::ScriptedCut, 2) => {
                    assert_eq!(made, None);
                    self.reconnect_writer();
                    let again = self.writer.create(path, &data, CreateMode::Persistent);
                    assert_eq!(again, Some(-110));
                }
                (Fault::CutBeforeApply, 2) => {
                    assert_eq!(made, None);
                    self.reconnect_writer();
                    let again = self.writer.create(path, &data, CreateMode::Persistent);
                    assert_eq!(again, Some(0));
                }
                _ => assert_eq!(made, Some(0), "{:?}", self.fault),
            }
        }
        let set = SetData {
            path: "/own/b".into(),
            data: &data,
            version: 0,
        };
        assert_eq!(self.writer.call(op::SET_DATA, &set), Some(0));
        let mine = self.owner.create("/own/mine", &data, CreateMode::Ephemeral);
        assert_eq!(mine, Some(0));
    }

    fn reconnect_writer(&mut self) {
        self.writer.reconnect();
        self.connections += 1;
    }

    /// Lets the faults strike that come by themselves.
    fn strike(&mut self) {
        match self.fault {
            Fault::ScriptedLie => self.script("error -7777 at read 1"),
            Fault::Expire => {
                let session = self.owner.session.session_id;
                assert!(self.server.expire_session(session));
            }
            Fault::Pause => {
                self.server.pause();
                self.writer.send(op::PING, &Empty);
            }
            Fault::Restart => {
                // It loses its watches with its connections.
                self.assert_events();
                self.server.restart().unwrap();
            }
            Fault::LoseQuorum => {
                self.assert_events();
                self.server.set_read_only(true);
            }
            _ => {}
        }
    }

    /// The clients of a server that was struck notice it, and those of all others do not.
    fn suffer(&mut self) {
        match self.fault {
            Fault::Refuse => {
                assert!(Client::open(self.server.addr(), &new_session()).is_none());
                self.connections += 1;
            }
            Fault::Expire => {
                assert!(self.owner.receive().is_none());
                self.owner.reconnect();
                assert_eq!(self.owner.session.session_id, 0);
                self.connections += 1;
            }
            Fault::Pause => {
                assert!(self.writer.is_left_alone());
                self.server.resume();
                let (header, _) = self.writer.receive().unwrap();
                assert_eq!((header.xid, header.err), (-2, 0));
            }
            Fault::Restart => {
                for client in [&mut self.writer, &mut self.watcher, &mut self.owner] {
                    assert!(client.receive().is_none());
                    let session = client.session.session_id;
                    client.reconnect();
                    assert_eq!(client.session.session_id, session);
                    assert_eq!(client.exists("/own/mine"), Some(0));
                }
                self.connections += 3;
            }
            Fault::LoseQuorum => self.live_without_quorum(),
            Fault::ForgetOperation => {
                assert_eq!(self.owner.call(op::CREATE2, &Empty), Some(-6));
                assert!(self.owner.receive().is_none());
            }
            Fault::ScriptedLie => assert_eq!(self.owner.exists("/own/mine"), Some(-7777)),
            _ => {}
        }
        if !matches!(self.fault, Fault::Restart | Fault::LoseQuorum) {
            self.assert_events();
        }
        if !matches!(self.fault, Fault::Expire | Fault::ForgetOperation) {
            assert_eq!(self.owner.exists("/own/mine"), Some(0));
        }
        assert_eq!(self.writer.exists("/own/b"), Some(0));
    }

    fn live_without_quorum(&mut self) {
        for client in [&mut self.writer, &mut self.watcher, &mut self.owner] {
            assert!(client.receive().is_none());
            let any = ConnectRequest {
                read_only: Some(true),
                ..new_session()
            };
            self.requests += client.sent;
            self.connections += 1;
            *client = Client::open(self.server.addr(), &any).unwrap();
            let made = client.create("/more", b"", CreateMode::Persistent);
            assert_eq!(made, Some(-119));
        }
    }

    /// The watcher was told of what happened on its own server, and of nothing else.
    fn assert_events(&mut self) {
        let mut expected = vec![
            (EventType::NodeCreated, "/own"),
            (EventType::NodeCreated, "/own/a"),
            (EventType::NodeCreated, "/own/b"),
            (EventType::NodeDataChanged, "/own/b"),
            (EventType::NodeCreated, "/own/mine"),
        ];
        if self.fault == Fault::Expire {
            expected.push((EventType::NodeDeleted, "/own/mine"));
        }
        let events = self.watcher.take_events();
        let events: Vec<_> = events
            .iter()
            .map(|(kind, path)| (*kind, &path[..]))
            .collect();
        assert_eq!(events, expected, "server {}", self.index);
    }

    /// Everything that the server has and has counted is its own.
    fn check(&mut self) {
        let (fault, data) = (self.fault, self.data());
        let clients = [&self.writer, &self.watcher, &self.owner];
        let sent = clients.iter().map(|client| client.sent).sum::<u64>() + self.requests;
        assert_eq!(self.server.requests_received(), sent, "{fault:?}");
        assert_eq!(
            self.server.connections_accepted(),
            self.connections,
            "{fault:?}"
        );
        let strikes = match fault {
            Fault::ScriptedCut | Fault::ScriptedLie => 1,
            Fault::ScriptedDelay => 5,
            _ => 0,
        };
        assert_eq!(self.server.strikes().total(), strikes, "{fault:?}");
        // Three sessions, four writes, and no more than two for what the fault has made of them.
        let zxids = first_zxid(self.index) + 8..=first_zxid(self.index) + 10;
        for client in clients.iter().filter(|client| client.zxid != -1) {
            assert!(zxids.contains(&client.zxid), "{fault:?}: {}", client.zxid);
        }
        self.server.with_server(|server| {
            assert!(zxids.contains(&server.last_zxid()), "{fault:?}");
            for path in ["/own", "/own/a", "/own/b"] {
                assert_eq!(server.node(path).unwrap().data.unwrap(), data);
            }
            let is_left = fault != Fault::Expire;
            assert_eq!(server.node_exists("/own/mine"), is_left);
            assert_eq!(server.node_count(), 4 + 3 + usize::from(is_left));
        });
    }

    /// Ends it, with connections open and something left to do.
    fn end(self) {
        let Self {
            index,
            server,
            mut writer,
            watcher,
            mut owner,
            ..
        } = self;
        let never_heard = dial(server.addr());
        match index % 3 {
            0 => server.pause(),
            1 => server.latency(Duration::from_secs(60)),
            _ => server.stop(),
        }
        writer.send(op::PING, &Empty);
        owner.send(op::CLOSE_SESSION, &Empty);
        if index % 2 == 0 {
            drop(server);
            // Whatever it had been sent, it is the end.
            while writer.receive().is_some() {}
            drop((writer, watcher, owner, never_heard));
        } else {
            drop((writer, watcher, owner, never_heard));
            drop(server);
        }
    }
}

/// What the sessions of a server are granted.
fn timeout(index: usize) -> Duration {
    Duration::from_millis(100_000 + index as u64)
}

/// The transaction behind which a server begins.
fn first_zxid(index: usize) -> i64 {
    (index as i64 + 1) << 32
}
