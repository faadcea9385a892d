//! Every fault on a socket: on the fake server, on a follower of a fake ensemble, through a proxy in
//! front of the one, and through a proxy in front of a real ZooKeeper.

mod peer;
mod proxies;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use homing_protocol::{CreateMode, ReplyHeader};
use homing_testkit::faults::{Faults, Strikes};
use homing_testkit::{FakeEnsemble, FakeServer, Proxy};
use peer::{Heard, Peer, SOON};

/// Where faults are to strike.
enum Ground {
    Fake(FakeServer),
    /// One that does not lead.
    Follower(FakeEnsemble),
    Proxy(
        Proxy,
        #[allow(dead_code, reason = "it only has to live")] Option<FakeServer>,
    ),
}

impl Ground {
    fn fake() -> Option<Self> {
        Some(Self::Fake(FakeServer::start()))
    }

    fn follower() -> Option<Self> {
        Some(Self::Follower(FakeEnsemble::start(3)))
    }

    fn proxy() -> Option<Self> {
        let server = FakeServer::start();
        Some(Self::Proxy(Proxy::start(server.addr()), Some(server)))
    }

    fn real() -> Option<Self> {
        Some(Self::Proxy(
            Proxy::start(homing_testkit::real::shared()?.addr()),
            None,
        ))
    }

    /// Of what has faults.
    fn addr(&self) -> SocketAddr {
        match self {
            Self::Fake(server) => server.addr(),
            Self::Follower(ensemble) => ensemble.member(0).addr(),
            Self::Proxy(proxy, _) => proxy.addr(),
        }
    }

    fn faults(&self, script: &str) -> Strikes {
        let faults: Faults = script.parse().unwrap();
        match self {
            Self::Fake(server) => server.faults(faults),
            Self::Follower(ensemble) => ensemble.member(0).faults(faults),
            Self::Proxy(proxy, _) => proxy.faults(faults),
        }
    }

    fn connect(&self) -> Peer {
        Peer::connect(self.addr())
    }
}

/// Runs each scenario on every ground, with a node of its own.
macro_rules! on_every_ground {
    ($($scenario:ident),* $(,)?) => {
        mod fake {
            $(#[test] fn $scenario() { super::run(super::Ground::fake(), super::$scenario, stringify!($scenario)); })*
        }
        mod follower {
            $(#[test] fn $scenario() { super::run(super::Ground::follower(), super::$scenario, stringify!($scenario)); })*
        }
        mod proxy {
            $(#[test] fn $scenario() { super::run(super::Ground::proxy(), super::$scenario, stringify!($scenario)); })*
        }
        mod real {
            $(#[test] fn $scenario() { super::run(super::Ground::real(), super::$scenario, stringify!($scenario)); })*
        }
    };
}

fn run(ground: Option<Ground>, scenario: fn(&Ground, &str), name: &str) {
    let Some(ground) = ground else { return };
    let node = format!("/{name}");
    ground.connect().make(&node, b"data");
    scenario(&ground, &node);
    // Whatever it was, it is over without its script.
    ground.faults("");
    assert!(ground.connect().data("/zookeeper").is_some());
}

on_every_ground! {
    nobody_listens,
    a_port_is_waited_for,
    it_is_accepted_and_closed,
    it_is_accepted_and_hangs,
    a_stream_is_cut_at_a_byte,
    a_request_is_cut_in_the_middle,
    a_connection_is_reset,
    one_way_ends,
    one_way_stalls,
    a_reply_is_late,
    bytes_come_slowly,
    requests_go_slowly,
    a_reply_is_corrupted,
    frames_are_not_what_they_were,
    replies_change_places,
    a_request_comes_twice,
    pings_get_lost,
    headers_lie,
    a_write_is_applied_and_cut,
    a_write_is_cut_and_not_applied,
    a_session_is_ended_by_somebody_else,
    a_session_is_taken_up_by_somebody_else,
    a_session_is_ended_when_it_is_to_go_on,
    a_session_is_not_ended_by_a_stranger,
    a_session_is_not_the_one_that_was_asked_for,
    what_has_passed_is_done,
    nothing_is_struck_behind_a_cut,
    a_stall_outlasts_a_shorter_one,
    what_hangs_goes_when_both_sides_are_gone,
    events_come_in_a_storm,
    a_script_is_replaced_while_it_holds_bytes_back,
    connections_have_their_own_faults,
}

fn nobody_listens(ground: &Ground, _: &str) {
    let mut before = ground.connect();
    let strikes = ground.faults("refuse");
    let error = TcpStream::connect(ground.addr()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(before.data("/zookeeper").is_some(), "it goes on");
    assert_eq!(strikes.total(), 0, "nobody can count those who are refused");
    ground.faults("");
    ground.connect();
}

#[test]
fn a_server_to_which_nobody_gets_is_stopped_and_started_all_the_same() {
    let server = FakeServer::start();
    let is_refused = || TcpStream::connect(server.addr()).is_err();
    server.faults("refuse".parse().unwrap());
    server.stop();
    server.restart().unwrap();
    assert!(is_refused());
    server.stop();
    server.faults(Faults::new());
    assert!(is_refused());
    server.restart().unwrap();
    Peer::connect(server.addr());
}

/// It was left without a listener, and said that all was well, when somebody else had the port for
/// a moment.
fn a_port_is_waited_for(ground: &Ground, _: &str) {
    ground.faults("refuse");
    // Nobody listens there, and so another one can.
    let other = TcpListener::bind(ground.addr()).unwrap();
    thread::scope(|scope| {
        let mended = scope.spawn(|| ground.faults(""));
        thread::sleep(Duration::from_millis(50));
        assert!(!mended.is_finished());
        drop(other);
    });
    ground.connect();
}

fn it_is_accepted_and_closed(ground: &Ground, _: &str) {
    let strikes = ground.faults("cut on connection 1");
    let mut first = Peer::dial(ground.addr());
    assert!(first.hear().is_over());
    ground.connect();
    assert_eq!(strikes.of(1), 1);
}

fn it_is_accepted_and_hangs(ground: &Ground, node: &str) {
    let strikes = ground.faults("hang on connection 1");
    let mut first = Peer::dial(ground.addr());
    first.greet(0, peer_password());
    assert!(first.is_silent());
    assert!(ground.connect().data(node).is_some());
    assert_eq!(strikes.of(1), 1);
}

fn a_stream_is_cut_at_a_byte(ground: &Ground, _: &str) {
    for len in [1, 4, 20, 40] {
        let strikes = ground.faults(&format!("cut to client at byte {len}"));
        let mut peer = Peer::dial(ground.addr());
        peer.greet(0, peer_password());
        assert_eq!(peer.raw(100).len(), len);
        assert_eq!(strikes.of(1), 1);
    }
}

fn a_request_is_cut_in_the_middle(ground: &Ground, node: &str) {
    // The handshake has 49 bytes with its length.
    let strikes = ground.faults("cut to server at byte 60 on connection 1");
    let mut peer = ground.connect();
    peer.set(node, b"new");
    assert!(peer.hear().is_over());
    assert_eq!(ground.connect().data(node).unwrap(), b"data");
    assert_eq!(strikes.of(1), 1);
}

fn a_connection_is_reset(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    let strikes = ground.faults("reset at getData 1");
    peer.get(node);
    assert_eq!(peer.hear(), Heard::Reset);
    assert_eq!(strikes.of(1), 1);
}

fn one_way_ends(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    let strikes = ground.faults("half-close at getData 1 on connection 0");
    peer.get(node);
    assert_eq!(peer.hear(), Heard::End);
    peer.set(node, b"heard");
    let mut other = ground.connect();
    until(|| other.data(node).unwrap() == b"heard");
    assert_eq!(strikes.of(1), 1);
}

fn one_way_stalls(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    let strikes = ground.faults("stall at getData 1 on connection 0");
    peer.get(node);
    peer.set(node, b"heard");
    assert!(peer.is_silent());
    let mut other = ground.connect();
    until(|| other.data(node).unwrap() == b"heard");
    assert_eq!(strikes.of(1), 1);
}

fn a_reply_is_late(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    ground.faults("delay 300ms at getData 2");
    let before = Instant::now();
    assert!(peer.data(node).is_some());
    assert!(peer.data(node).is_some());
    assert!(before.elapsed() >= Duration::from_millis(300));
}

fn bytes_come_slowly(ground: &Ground, node: &str) {
    ground.connect().make(&format!("{node}/long"), &[7; 5_000]);
    ground.faults("throttle 10000");
    let before = Instant::now();
    let mut peer = ground.connect();
    let data = peer.data(&format!("{node}/long"));
    assert_eq!(data.unwrap(), [7; 5_000]);
    assert!(before.elapsed() >= Duration::from_millis(400));
}

fn requests_go_slowly(ground: &Ground, node: &str) {
    ground.faults("throttle 10000 to server");
    let mut peer = ground.connect();
    let before = Instant::now();
    peer.set(node, &[7; 5_000]);
    assert_eq!(peer.hear().header().err, 0);
    assert!(before.elapsed() >= Duration::from_millis(400));
}

fn a_reply_is_corrupted(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    peer.get(node);
    let whole = peer.hear().frame();
    let strikes = ground.faults("corrupt at getData");
    for seed in 0..10 {
        ground.faults(&format!("corrupt at getData; seed {seed}"));
        peer.get(node);
        let broken = peer.hear().frame();
        assert_eq!(broken.len(), whole.len());
        let differ = |range: std::ops::Range<usize>| {
            let pairs = broken[range.clone()].iter().zip(&whole[range]);
            pairs.filter(|(a, b)| a != b).count()
        };
        // Xid and zxid differ by themselves.
        assert!(differ(12..whole.len()) <= 1);
    }
    assert_eq!(strikes.total(), 0, "another script has come instead");
}

fn frames_are_not_what_they_were(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    peer.get(node);
    let whole = peer.hear().frame();
    let mut next = |script: &str| {
        let strikes = ground.faults(script);
        let xid = peer.get(node);
        let frame = peer.hear().frame();
        assert_eq!(ReplyHeader::decode(&frame).unwrap().xid, xid);
        assert_eq!(strikes.of(1), 1);
        (frame, peer.is_silent())
    };
    assert_eq!(next("truncate 20 at getData").0.len(), 20);
    let (counted, _) = next("count 2147483647 at getData");
    assert_eq!(counted[16..20], i32::MAX.to_be_bytes());
    assert_eq!(counted[20..], whole[20..]);
    let (_, is_silent) = next("duplicate at getData");
    assert!(!is_silent);
    ground.faults("length 7 at getData");
    peer.get(node);
    assert_eq!(peer.raw(4), [0, 0, 0, 7]);
}

fn replies_change_places(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    ground.faults("reorder at getData 1");
    let asked = [peer.get(node), peer.get(node)];
    let answered = [(); 2].map(|()| peer.hear().header().xid);
    assert_eq!(answered, [asked[1], asked[0]]);
}

fn a_request_comes_twice(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    ground.faults("duplicate to server at create 1");
    peer.create(&format!("{node}/s-"), CreateMode::PersistentSequential);
    assert_eq!(peer.hear().header().err, 0);
    assert_eq!(peer.hear().header().err, 0);
    assert!(peer.data(&format!("{node}/s-0000000001")).is_some());
}

fn pings_get_lost(ground: &Ground, _: &str) {
    for script in ["drop at ping", "drop to server at ping"] {
        let mut peer = ground.connect();
        let strikes = ground.faults(script);
        peer.ping();
        assert!(peer.is_silent());
        assert_eq!(strikes.of(1), 1);
    }
}

fn headers_lie(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    ground.faults("xid +1 at getData; zxid =3 at getData; error -7777 at setData");
    let xid = peer.get(node);
    let header = peer.hear().header();
    assert_eq!((header.xid, header.zxid, header.err), (xid + 1, 3, 0));
    peer.set(node, b"new");
    let refused = peer.hear().frame();
    let err = ReplyHeader::decode(&refused).unwrap().err;
    assert_eq!((refused.len(), err), (16, -7_777));
    assert_eq!(
        ground.connect().data(node).unwrap(),
        b"new",
        "it is applied"
    );
}

fn a_write_is_applied_and_cut(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    let strikes = ground.faults("cut to client at write 2");
    peer.set(node, b"one");
    assert_eq!(peer.hear().header().err, 0);
    peer.set(node, b"two");
    assert!(peer.hear().is_over());
    let again = peer.again(ground.addr()).data(node).unwrap();
    assert_eq!(again, b"two");
    assert_eq!(strikes.of(1), 1);
}

fn a_write_is_cut_and_not_applied(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    let strikes = ground.faults("cut to server at write 2");
    peer.set(node, b"one");
    assert_eq!(peer.hear().header().err, 0);
    peer.set(node, b"two");
    assert!(peer.hear().is_over());
    let again = peer.again(ground.addr()).data(node).unwrap();
    assert_eq!(again, b"one");
    assert_eq!(strikes.of(1), 1);
}

fn a_session_is_ended_by_somebody_else(ground: &Ground, node: &str) {
    // Once on a connection whose handshake was seen, and once on one that was there before.
    for is_seen in [true, false] {
        let before = (!is_seen).then(|| ground.connect());
        let strikes = ground.faults("expire at ping 1");
        let mut peer = before.unwrap_or_else(|| ground.connect());
        let child = format!("{node}/mine");
        peer.create(&child, CreateMode::Ephemeral);
        assert_eq!(peer.hear().header().err, 0);
        peer.ping();
        assert!(peer.hear().is_over());
        assert_eq!(strikes.of(1), 1);
        ground.faults("");
        // A real server closes the connection a little before it ends the session.
        let mut other = ground.connect();
        until(|| other.data(&child).is_none());
        assert_eq!(peer.again(ground.addr()).timeout_ms, 0);
    }
}

fn a_session_is_taken_up_by_somebody_else(ground: &Ground, node: &str) {
    for is_seen in [true, false] {
        let before = (!is_seen).then(|| ground.connect());
        let strikes = ground.faults("move at ping 1");
        let mut peer = before.unwrap_or_else(|| ground.connect());
        let child = format!("{node}/mine-{is_seen}");
        peer.create(&child, CreateMode::Ephemeral);
        assert_eq!(peer.hear().header().err, 0);
        peer.ping();
        assert!(peer.hear().is_over());
        assert_eq!(strikes.of(1), 1);
        let mut again = peer.again(ground.addr());
        assert_eq!((again.session, again.timeout_ms), (peer.session, 10_000));
        assert!(again.data(&child).is_some());
    }
}

fn a_session_is_ended_when_it_is_to_go_on(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    let child = format!("{node}/mine");
    peer.create(&child, CreateMode::Ephemeral);
    assert_eq!(peer.hear().header().err, 0);
    let strikes = ground.faults("expire at resumption");
    let mut other = ground.connect();
    assert_eq!(strikes.of(1), 0, "it is a new one");
    assert_eq!(peer.again(ground.addr()).timeout_ms, 0);
    until(|| other.data(&child).is_none());
    assert_eq!(strikes.of(1), 1);
}

fn a_session_is_not_ended_by_a_stranger(ground: &Ground, _: &str) {
    let peer = ground.connect();
    let strikes = ground.faults("expire at resumption");
    let mut stranger = Peer::dial(ground.addr());
    stranger.greet(peer.session, peer_password());
    stranger.hear();
    assert_eq!(strikes.of(1), 0, "it was in vain");
    ground.faults("");
    assert_eq!(peer.again(ground.addr()).session, peer.session);
}

fn what_has_passed_is_done(ground: &Ground, node: &str) {
    for fault in ["cut", "reset", "half-close", "expire", "move"] {
        for is_sent_at_once in [true, false] {
            let closes = matches!(fault, "expire" | "move");
            if closes && is_sent_at_once && matches!(ground, Ground::Proxy(_, None)) {
                // A real server may close the connection before it has read what came there.
                continue;
            }
            let mut peer = ground.connect();
            let strikes = ground.faults(&format!("{fault} to server at request 3"));
            let nodes = [1, 2].map(|number| format!("{node}/{fault}-{is_sent_at_once}-{number}"));
            let make = |peer: &mut Peer, node: &str| peer.create(node, CreateMode::Persistent);
            if is_sent_at_once {
                peer.at_once(|peer| {
                    nodes.iter().for_each(|node| _ = make(peer, node));
                    peer.get(node);
                });
            } else {
                for node in &nodes {
                    make(&mut peer, node);
                    assert_eq!(peer.hear().header().err, 0);
                }
                peer.get(node);
            }
            while !peer.hear().is_over() {}
            assert_eq!(strikes.of(1), 1, "{fault}");
            let mut other = ground.connect();
            for node in nodes {
                let give_up = Instant::now() + SOON;
                while other.data(&node).is_none() {
                    assert!(Instant::now() < give_up, "there is no {node}");
                }
            }
        }
    }
}

fn nothing_is_struck_behind_a_cut(ground: &Ground, node: &str) {
    for script in [
        "cut at getData 2 times",
        "cut at request 1; cut at request 2",
        "delay 20ms; cut at getData 2 times",
        "cut at getData once; cut at getData once",
    ] {
        ground.faults(script);
        for _ in 0..2 {
            let mut peer = ground.connect();
            peer.at_once(|peer| ask_thrice(peer, node));
            assert!(peer.hear().is_over(), "{script}");
        }
        let mut peer = ground.connect();
        peer.at_once(|peer| ask_thrice(peer, node));
        for _ in 0..3 {
            assert_eq!(peer.hear().header().err, 0, "{script}");
        }
    }
}

fn ask_thrice(peer: &mut Peer, node: &str) {
    for _ in 0..3 {
        peer.get(node);
    }
}

fn a_stall_outlasts_a_shorter_one(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    let strikes = ground.faults("stall to client; hang 20ms to server at getData 1");
    peer.get(node);
    assert!(peer.is_silent());
    ground.faults("");
    assert_eq!(peer.hear().header().err, 0);
    assert_eq!(strikes.of(2), 1);
}

fn what_hangs_goes_when_both_sides_are_gone(ground: &Ground, _: &str) {
    for fault in ["hang", "stall"] {
        let mut peer = ground.connect();
        ground.faults(&format!("{fault} on connection 0"));
        peer.finish();
        // The server closes the one for the other.
        peer.again(ground.addr());
        assert!(peer.hear().is_over(), "{fault}");
    }
}

fn a_session_is_not_the_one_that_was_asked_for(ground: &Ground, _: &str) {
    let strikes = ground.faults("session +1");
    let peer = ground.connect();
    assert_eq!(strikes.of(1), 0, "it is a new one");
    assert_eq!(peer.again(ground.addr()).session, peer.session + 1);
    assert_eq!(strikes.of(1), 1);
}

fn events_come_in_a_storm(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    let strikes = ground.faults(&format!("storm 5000 {node} at getData 1"));
    let xid = peer.get(node);
    for _ in 0..5_000 {
        assert_eq!(peer.hear().header().xid, -1);
    }
    assert_eq!(peer.hear().header().xid, xid);
    assert_eq!(strikes.of(1), 1);
}

fn a_script_is_replaced_while_it_holds_bytes_back(ground: &Ground, node: &str) {
    let mut peer = ground.connect();
    for script in [
        "hang",
        "stall",
        "stall to server",
        "delay 3600s",
        "reorder at getData",
    ] {
        ground.faults(script);
        let xid = peer.get(node);
        assert!(peer.is_silent(), "{script}");
        ground.faults("");
        assert_eq!(peer.hear().header().xid, xid, "{script}");
    }
}

fn connections_have_their_own_faults(ground: &Ground, node: &str) {
    let mut before = ground.connect();
    let strikes =
        ground.faults("error -1 at getData on connection 0; error -2 at getData on connections 2-");
    let mut peers = [(); 3].map(|()| ground.connect());
    let mut errors = Vec::new();
    for peer in [&mut before].into_iter().chain(&mut peers) {
        peer.get(node);
        errors.push(peer.hear().header().err);
    }
    assert_eq!(errors, [-1, 0, -2, -2]);
    assert_eq!((strikes.of(1), strikes.of(2), strikes.total()), (1, 2, 3));
}

/// Whose request is refused, of connections that were there before and of others.
fn refused(ground: &Ground, script: &str) -> Vec<bool> {
    let mut peers: Vec<_> = (0..20).map(|_| ground.connect()).collect();
    ground.faults(script);
    peers.extend((0..20).map(|_| ground.connect()));
    let refused = peers.iter_mut().map(|peer| {
        peer.get("/");
        peer.hear().header().err != 0
    });
    refused.collect()
}

#[test]
fn dice_are_the_same_on_a_server_and_in_front_of_it() {
    for seed in 0..4 {
        let script = format!("seed {seed}; error -7777 at getData with 50%");
        let here = refused(&Ground::fake().unwrap(), &script);
        assert_eq!(here, refused(&Ground::proxy().unwrap(), &script));
        for half in here.chunks(20) {
            assert!(half.contains(&true) && half.contains(&false), "{here:?}");
        }
    }
}

/// Neither of them counts as a connection, or has to say who it is.
#[test]
fn limits_do_not_keep_a_session_from_its_end() {
    for (fault, lives) in [("expire", false), ("move", true)] {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let server = FakeServer::builder()
            .config(|config| {
                config.max_connections = 1;
                config.required_schemes = vec!["digest".into()];
            })
            .faults(format!("{fault} at ping 1").parse().unwrap())
            .observe({
                let told = Arc::clone(&told);
                move |event| told.lock().unwrap().push(event.to_string())
            })
            .start()
            .unwrap();
        let mut peer = Peer::connect(server.addr());
        peer.ping();
        assert!(peer.hear().is_over());
        assert_eq!(server.strikes().of(1), 1);
        let sessions = server.with_server(|server| server.sessions().len());
        assert_eq!(sessions, usize::from(lives), "{fault}");
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.iter().all(|line| line.starts_with("connection 1")));
    }
}

#[test]
fn a_script_strikes_a_connection_that_was_there_once() {
    for ground in [Ground::fake(), Ground::follower(), Ground::proxy()] {
        let ground = ground.unwrap();
        let mut peer = ground.connect();
        let strikes = ground.faults("hang on connection 0");
        peer.ping();
        assert!(peer.is_silent());
        assert_eq!(strikes.of(1), 1);
    }
}

#[test]
fn a_script_does_not_strike_what_is_closed() {
    let server = FakeServer::start();
    // Once on a connection that was under no script, and once on one that was.
    for before in ["", "delay 1ms at ping"] {
        server.faults(before.parse().unwrap());
        let mut peer = Peer::connect(server.addr());
        assert!(server.expire_session(peer.session));
        let strikes = server.faults("hang on connection 0; cut on connection 0".parse().unwrap());
        assert!(peer.hear().is_over());
        assert_eq!(strikes.total(), 0, "{before}");
    }
}

fn peer_password() -> homing_protocol::SessionPassword {
    homing_protocol::SessionPassword::NONE
}

/// Waits for something.
fn until(mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < give_up, "it never came to be");
        thread::yield_now();
    }
}
