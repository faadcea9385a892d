//! Servers that are to be spoken to in TLS. What stands in for it here is a layer that greets
//! and then changes nothing.

mod common;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use common::{SECOND, World, address, world_with};
use homing_protocol::CreateMode;
use homing_session::{Failure, SessionState};
use homing_testkit::sim::Behaviour;
use homing_testkit::{Server, ServerConfig};
use homing_transport::{Fate, Secure, SecureAccept, SecureError, SecureStream};

/// Both ends: whoever is first says `HELLO`, and is answered with `WELCOME`.
#[derive(Debug, Clone, Copy)]
struct Greeting;

#[derive(Debug)]
struct Stream {
    expects: &'static [u8],
    /// What to say when that has come.
    answer: &'static [u8],
    heard: Vec<u8>,
    pending: Vec<u8>,
}

impl Secure for Greeting {
    fn begin(&self, host: &str) -> Result<Box<dyn SecureStream>, SecureError> {
        if host == "10.0.0.9" {
            return Err(SecureError::new("a file is missing"));
        }
        Ok(Box::new(Stream {
            expects: b"WELCOME",
            answer: b"",
            heard: Vec::new(),
            pending: b"HELLO".to_vec(),
        }))
    }
}

impl SecureAccept for Greeting {
    fn accept(&self) -> Result<Box<dyn SecureStream>, SecureError> {
        Ok(Box::new(Stream {
            expects: b"HELLO",
            answer: b"WELCOME",
            heard: Vec::new(),
            pending: Vec::new(),
        }))
    }
}

impl SecureStream for Stream {
    fn receive(&mut self, wire: &[u8], plain: &mut BytesMut) -> Result<(), SecureError> {
        for byte in wire {
            if self.is_open() {
                plain.extend_from_slice(&[*byte]);
                continue;
            }
            self.heard.push(*byte);
            if !self.expects.starts_with(&self.heard) {
                return Err(SecureError::new("it does not greet"));
            }
            if self.is_open() {
                self.pending.extend(self.answer);
            }
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) -> Result<usize, SecureError> {
        if !self.is_open() || !self.pending.is_empty() {
            return Ok(0);
        }
        // Little at a time, so that much is left above.
        let len = plain.len().min(10);
        self.pending = plain[..len].to_vec();
        Ok(len)
    }

    fn pending(&self) -> &[u8] {
        &self.pending
    }

    fn advance(&mut self, count: usize) {
        self.pending.drain(..count);
    }

    fn is_open(&self) -> bool {
        self.heard == self.expects
    }

    fn is_ended(&self) -> bool {
        false
    }

    fn close(&mut self) {}

    fn ended(&self, _error: Option<&io::Error>) -> Option<SecureError> {
        (!self.is_open()).then(|| SecureError::new("it closed the connection"))
    }
}

/// Servers of which the first and the third speak TLS, at the usual port.
fn mixed() -> World {
    let servers = "tls://10.0.0.1:2181,10.0.0.2,tls://10.0.0.3:2181";
    let mut world = world_with(servers, |config| config.secure = Some(Arc::new(Greeting)));
    for last in [1, 3] {
        world.sim.set_secure(address(last), Greeting);
    }
    world
}

fn failure(world: &mut World) -> Failure {
    let shared = Arc::clone(&world.shared);
    let has_failed = |_: &_| !shared.status.failures().is_empty();
    assert!(world.sim.run_until(60 * SECOND, has_failed));
    world.shared.status.failures()[0].failure.clone()
}

fn only(servers: &str) -> World {
    world_with(servers, |config| config.secure = Some(Arc::new(Greeting)))
}

#[test]
fn a_session_moves_between_servers_with_and_without() {
    let mut world = mixed();
    world.connect();
    let session = world.session_id();
    for round in 0..12 {
        // A server that has just been lost is not the one that is tried next.
        world.sim.run_for(20 * SECOND);
        world.sim.cut();
        world.connect();
        assert_eq!(world.session_id(), session, "round {round}");
    }
    let dialled: BTreeSet<_> = world.sim.dials().into_iter().map(|(_, to)| to).collect();
    assert_eq!(dialled.len(), 3);
    assert_eq!(world.shared.status.stats().failed_attempts, 0);
}

#[test]
fn each_end_says_that_the_other_speaks_otherwise() {
    let mut world = only("tls://10.0.0.1:2181");
    let expected = Failure::Tls("it closed the connection".into());
    assert_eq!(failure(&mut world), expected);

    let mut world = only("10.0.0.1");
    world.sim.set_secure(address(1), Greeting);
    assert_eq!(failure(&mut world), Failure::ClosedInHandshake);
    let attempt = world.shared.status.failures()[0].to_string();
    assert!(
        attempt.ends_with("; or it speaks TLS only (`tls://`)"),
        "{attempt}"
    );
}

#[test]
fn a_handshake_below_takes_its_part_of_the_time() {
    let mut world = only("tls://10.0.0.1:2181");
    world.sim.set_secure(address(1), Greeting);
    world.sim.set_behaviour(address(1), Behaviour::Mute);
    let started = world.sim.elapsed();
    assert_eq!(failure(&mut world), Failure::TlsTimedOut);
    // The time in which all servers are tried, and there is one.
    assert_eq!(world.sim.elapsed() - started, 10 * SECOND);
    assert_eq!(world.state(), SessionState::Connecting);
    world.sim.set_behaviour(address(1), Behaviour::Serve);
    world.connect();
}

#[test]
fn settings_that_fail_are_a_failure_of_the_attempt() {
    let mut world = only("tls://10.0.0.9:2181");
    let expected = Failure::Tls("a file is missing".into());
    assert_eq!(failure(&mut world), expected);
    // It is tried again, and not all the time.
    world.sim.run_for(10 * SECOND);
    let attempts = world.shared.status.stats().failed_attempts;
    assert!((5..200).contains(&attempts), "{attempts}");
}

/// Whatever was forgotten: nothing leaves in plain text.
#[test]
fn without_settings_nobody_is_dialled() {
    let mut world = world_with("tls://10.0.0.1:2181", |_| {});
    let expected = Failure::Tls("it is not set up in this client".into());
    assert_eq!(failure(&mut world), expected);
    world.sim.run_for(Duration::from_secs(5));
    assert!(!world.is_connected());
    assert!(world.sim.server().connection_count() == 0);
}

/// Servers are asked in TLS where they speak it, and in plain text where they do not.
#[test]
fn a_server_that_takes_writes_is_sought_in_the_same_way() {
    let mut began_at = BTreeSet::new();
    for seed in 0..8 {
        let mut world = world_with("tls://10.0.0.1:2181,10.0.0.2", |config| {
            config.secure = Some(Arc::new(Greeting));
            config.read_only = true;
            config.seed = seed;
        });
        let mut config = ServerConfig::default();
        config.read_only_enabled = true;
        *world.sim.server() = Server::new(config);
        world.sim.set_secure(address(1), Greeting);
        for last in [1, 2] {
            world.sim.set_behaviour(address(last), Behaviour::ReadOnly);
        }
        world.connect();
        let here = server(&world);
        let there = address(if here == address(1) { 2 } else { 1 });
        world.sim.set_behaviour(there, Behaviour::Serve);
        world.sim.run_for(120 * SECOND);
        assert_eq!(server(&world), there);
        began_at.insert(here);
    }
    assert_eq!(began_at.len(), 2, "both ways");
}

fn server(world: &World) -> std::net::SocketAddr {
    match world.state() {
        SessionState::Connected(connection) => connection.server,
        other => panic!("{other}"),
    }
}

/// Of three requests the first has gone into the layer in part when the connection breaks.
#[test]
fn what_a_layer_has_not_taken_was_not_sent() {
    let mut world = mixed();
    world.connect();
    world.sim.run_for(SECOND);
    world.sim.set_window(0);
    let paths = ["/a", "/b", "/c"];
    let tickets = paths.map(|path| world.create(path, CreateMode::Persistent));
    world.sim.run_for(SECOND);
    // Before the connection has settled, so that another server has its turn.
    world.sim.cut();
    world.sim.set_window(usize::MAX);
    world.connect();
    world.sim.run_for(SECOND);
    let answers = tickets.map(|mut ticket| ticket.try_pull().unwrap());
    let [first, second, third] = answers;
    assert_eq!(first.unwrap_err().fate, Fate::MaybeApplied);
    assert!(second.is_ok() && third.is_ok());
    let server = world.sim.server();
    let exist = paths.map(|path| server.node_exists(path));
    assert_eq!(exist, [false, true, true]);
}
