//! Whatever can be told how long something takes can be told that it takes for ever.

#[path = "support/client.rs"]
mod client;

use std::time::{Duration, Instant};

use client::Client;
use homing_protocol::CreateMode;
use homing_session::{Config, ConnectString, Session, SessionState};
use homing_testkit::recording::Recording;
use homing_testkit::replay::{ReplayClient, ReplayServer};
use homing_testkit::sim::Sim;
use homing_testkit::{FakeEnsemble, FakeServer, Now, Server, ServerConfig};

const FOR_EVER: Duration = Duration::MAX;

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What a server does by itself.
fn config(config: &mut ServerConfig) {
    config.handshake_timeout = FOR_EVER;
    config.container_check_interval = FOR_EVER;
    config.container_max_never_used = FOR_EVER;
}

#[test]
fn a_time_ahead_has_an_end() {
    let now = Now {
        instant: Instant::now(),
        unix_ms: 0,
    };
    let later = now.after(FOR_EVER);
    assert_eq!(later.instant - now.instant, CENTURY);
    assert_eq!(u128::try_from(later.unix_ms), Ok(CENTURY.as_millis()));
    assert_eq!(later.after(FOR_EVER).instant - later.instant, CENTURY);
}

#[test]
fn a_server_that_is_never_in_a_hurry() {
    let server = FakeServer::builder()
        .config(config)
        .tick_time(FOR_EVER)
        .session_timeouts(FOR_EVER, FOR_EVER)
        .start()
        .unwrap();
    let mut client = Client::connect(server.addr());
    client.create("/job", b"", CreateMode::Container);
    server.latency(FOR_EVER);
    // Nobody waits for it.
    drop(server);
}

#[test]
fn an_ensemble_that_is_never_in_a_hurry() {
    let ensemble = FakeEnsemble::builder()
        .config(config)
        .lag(0, FOR_EVER)
        .election_time(FOR_EVER)
        .sync_limit(FOR_EVER)
        .start()
        .unwrap();
    let mut client = Client::connect(ensemble.member(2).addr());
    client.create("/job", b"", CreateMode::Persistent);
    assert!(ensemble.wait_until(FOR_EVER, |ensemble| ensemble.behind(0) > 0));
    ensemble.isolate(1);
    assert_eq!(ensemble.wait_for_leader(FOR_EVER), Some(2));
    ensemble.stop_leader();
    assert_eq!(ensemble.leader(), None);
}

#[test]
fn a_simulation_that_goes_on_for_ever() {
    let servers = "10.0.0.1".parse::<ConnectString>().unwrap().servers;
    let (session, shared) = Session::new(Config::new(servers));
    let mut server = ServerConfig::default();
    config(&mut server);
    let mut sim = Sim::with_server(session, Server::new(server));
    let is_connected = |_: &Sim<_>| matches!(shared.status.state(), SessionState::Connected(_));
    assert!(sim.run_until(FOR_EVER, is_connected));
    sim.set_latency(FOR_EVER);
    sim.sleep(FOR_EVER);
    assert!(sim.elapsed() >= CENTURY);
    // It has lost its session meanwhile.
    assert!(sim.run_until(FOR_EVER, Sim::is_stopped));
    sim.run_for(FOR_EVER);
    assert!(sim.elapsed() >= 2 * CENTURY);
}

#[test]
fn a_recording_is_waited_for() {
    let recording = "# homing-testkit recording 1\n\
        0.000000 1 +\n\
        0.000514 1 -> word \"srvr\"\t73727672\n\
        0.000702 1 |<-\n";
    let recording: Recording = recording.parse().unwrap();
    let server = ReplayServer::start(&recording).unwrap();
    let client = ReplayClient::new(&recording).unwrap().patience(FOR_EVER);
    assert_eq!(client.keep_pauses().run(server.addr()).unwrap(), []);
    assert_eq!(server.wait(FOR_EVER), Some(Ok(())));
}
