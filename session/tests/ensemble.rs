//! A session at an ensemble whose members do not all know the same, in virtual time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homing_protocol::{
    Acl, Create, CreateMode, Reconfig, Record, RequestHeader, op, put_request, request_len,
};
use homing_session::{
    Answer, Authentication, Config, ConnectString, Note, Secret, Session, SessionState, Shared,
};
use homing_testkit::sim::{Members, Sim};
use homing_testkit::{Ensemble, ServerConfig};
use homing_transport::{Request, Ticket};

const SECOND: Duration = Duration::from_secs(1);

struct World {
    sim: Sim<Session, Members>,
    shared: Arc<Shared>,
}

/// Three members at 10.0.0.1 to 10.0.0.3, of whom the session knows these. The last one leads.
fn world(servers: &str, seed: u64) -> World {
    world_of(servers, seed, |_| {})
}

fn world_of(servers: &str, seed: u64, set: impl FnOnce(&mut Config)) -> World {
    let mut config = Config::new(servers.parse::<ConnectString>().unwrap().servers);
    config.seed = seed;
    set(&mut config);
    let (session, shared) = Session::new(config);
    let ensemble = Ensemble::new(vec![server(); 3]);
    let members = Members::new(ensemble, [1, 2, 3].map(address));
    World {
        sim: Sim::with_ensemble(session, members),
        shared,
    }
}

/// One that may be reconfigured.
fn server() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.super_digest = Some("super:xQJmxLMiHGwaqBvst5y6rkB6HQs=".into());
    config.reconfig_enabled = true;
    config
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 2181))
}

impl World {
    fn connect(&mut self) {
        let shared = Arc::clone(&self.shared);
        let is_connected = |_: &_| matches!(shared.status.state(), SessionState::Connected(_));
        let done = self.sim.run_until(60 * SECOND, is_connected);
        assert!(done, "not connected: {:?}", self.sim);
    }

    /// The member that it is connected to.
    fn home(&self) -> Option<usize> {
        match self.shared.status.state() {
            SessionState::Connected(connection) => {
                (0..9).find(|member| connection.server == address(*member as u8 + 1))
            }
            _ => None,
        }
    }

    /// Changes who the members are. The answer may be lost.
    fn reconfigure(&mut self, joining: Option<&str>, leaving: Option<&str>) {
        let change = Reconfig {
            joining,
            leaving,
            members: None,
            from_config: -1,
        };
        drop(self.submit(op::RECONFIG, &change));
    }

    /// The servers that the session knows of.
    fn servers(&self) -> Vec<String> {
        let servers = self.shared.status.servers();
        servers.iter().map(ToString::to_string).collect()
    }

    fn session_id(&self) -> i64 {
        let credentials = self.shared.status.credentials();
        credentials.expect("it was connected").session_id()
    }

    /// The zxid of a write's answer, which comes.
    fn create(&mut self, path: &str) -> i64 {
        let acl = [Acl::open()];
        let body = Create {
            path: path.into(),
            data: b"",
            acl: &acl,
            mode: CreateMode::Persistent,
        };
        let mut ticket = self.submit(op::CREATE2, &body);
        ticket.try_pull().expect("an answer").expect("a reply").zxid
    }

    /// Asks for something, and waits a second.
    fn submit(&mut self, op: i32, body: &impl Record) -> Ticket<Answer> {
        let request = Request {
            len: request_len(body),
            within: None,
            note: Note::Plain { op },
        };
        let header = |xid| RequestHeader { xid, op };
        let queue = &self.shared.queue;
        let ticket = queue.try_submit(request, |xid, out| put_request(out, header(xid), body));
        self.sim.run_for(SECOND);
        ticket.unwrap()
    }
}

#[test]
fn a_session_does_not_go_where_less_is_known_than_it_has_seen() {
    for seed in 0..20 {
        let mut world = world("10.0.0.1,10.0.0.2", seed);
        world.connect();
        let home = world.home().unwrap();
        let behind = 1 - home;
        world
            .sim
            .with_ensemble_now(|ensemble, now| ensemble.set_lag(now, behind, Duration::MAX));
        assert_eq!(world.create("/a") >> 32, 1);
        let dials = world.sim.dials().len();
        world
            .sim
            .with_ensemble_now(|ensemble, now| ensemble.stop(now, home));
        world.sim.run_for(5 * SECOND);
        assert_eq!(world.home(), None);
        let dialled = world.sim.dials().split_off(dials);
        let turned_away = address(behind as u8 + 1);
        assert!(dialled.iter().filter(|it| it.1 == turned_away).count() > 1);

        world
            .sim
            .with_ensemble_now(|ensemble, now| ensemble.set_lag(now, behind, Duration::ZERO));
        world.connect();
        assert_eq!(world.home(), Some(behind));
    }
}

#[test]
fn a_session_lives_through_elections() {
    let mut world = world("10.0.0.1,10.0.0.2,10.0.0.3", 7);
    world.connect();
    let session_id = world.session_id();
    for (leader, epoch) in [(0, 2), (1, 3), (2, 4)] {
        let can_be = world
            .sim
            .with_ensemble_now(|ensemble, now| ensemble.elect(now, leader));
        assert!(can_be);
        world.sim.run_for(SECOND / 100);
        assert_eq!(world.home(), None);
        world.connect();
        assert_eq!(world.create(&format!("/{epoch}")) >> 32, epoch);
    }
    assert_eq!(world.session_id(), session_id);
}

#[test]
fn a_session_follows_members_that_join_and_leave_while_it_lives() {
    let mut world = world_of("10.0.0.1", 3, |config| config.follow_reconfig = true);
    world.shared.authentications.add(Arc::new(Authentication {
        scheme: "digest".into(),
        proof: Secret::new(b"super:admin"),
    }));
    world.connect();
    let session_id = world.session_id();
    world.sim.run_for(SECOND);
    assert_eq!(world.servers().len(), 3);
    let joins = world.sim.add_server(server(), address(4)).unwrap();
    let line = world.sim.ensemble().server_line(joins).unwrap();
    world.reconfigure(Some(&line), None);
    world.sim.run_for(SECOND);
    assert_eq!(world.servers().len(), 4);

    // One after the other leaves, the leader first, and whoever is left of the first three.
    for leaves in ["3", "1"] {
        world.reconfigure(None, Some(leaves));
        world.sim.run_for(5 * SECOND);
        world.connect();
        let gone = format!("10.0.0.{leaves}:2181");
        assert!(!world.servers().contains(&gone));
        let home = world.home().unwrap() + 1;
        assert_ne!(home.to_string(), leaves, "it is where the members are");
    }
    assert_eq!(world.create("/a") >> 32, 3, "each of them led");
    assert_eq!(world.session_id(), session_id);
}
