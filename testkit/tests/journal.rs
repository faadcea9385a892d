//! What is told of connections: who came, for which session, and why each is over. Bad input is
//! among the reasons, and costs nobody else anything.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use homing_protocol::{ConnectRequest, SessionPassword, op};
use homing_testkit::{
    CloseReason, ConnectionEvent, ConnectionEventKind, ConnectionId, Ensemble, FakeServer, Now,
    SaslConfig, Server, ServerConfig,
};
use support::socket::ask;
use support::{Peer, Raw, Rig, new_session, resume};

fn rig(set: impl FnOnce(&mut ServerConfig)) -> Rig {
    let mut rig = Rig::with(set);
    rig.server.keep_journal();
    rig
}

/// Why a connection is over, as far as is known by now.
fn why(rig: &mut Rig, connection: ConnectionId) -> Option<CloseReason> {
    let mut events = std::iter::from_fn(|| rig.server.poll_event());
    events.find_map(|event| match event.kind {
        ConnectionEventKind::Closed { why } if event.connection == connection => Some(why),
        _ => None,
    })
}

/// Somebody else is served as before.
fn goes_on(rig: &mut Rig, other: Peer) {
    assert_eq!(rig.ping(other).err(), 0);
    assert_eq!(rig.get(other, "/", false).err(), 0);
}

#[test]
fn bad_input_costs_its_connection_and_has_a_name() {
    let header = |op: i32, body: &[u8]| {
        let len = u32::try_from(8 + body.len()).unwrap().to_be_bytes();
        [&len[..], &[0, 0, 0, 1], &op.to_be_bytes(), body].concat()
    };
    let rows: [(&str, Vec<u8>, CloseReason); 9] = [
        ("no length", vec![0; 4], CloseReason::BadFrame),
        ("less than none", vec![0xff; 4], CloseReason::BadFrame),
        (
            "one too long",
            0x10_0000_u32.to_be_bytes().to_vec(),
            CloseReason::BadFrame,
        ),
        (
            "half a header",
            vec![0, 0, 0, 4, 0, 0, 0, 1],
            CloseReason::BadRequest,
        ),
        (
            "an unknown operation",
            header(99, b""),
            CloseReason::UnknownOperation(99),
        ),
        (
            "an unreadable login",
            header(op::AUTH, b""),
            CloseReason::BadRequest,
        ),
        (
            "a scheme that nobody knows",
            header(op::AUTH, b"\0\0\0\0\0\0\0\x01x\0\0\0\0"),
            CloseReason::AuthFailed,
        ),
        (
            "an unreadable token",
            header(op::SASL, b""),
            CloseReason::BadRequest,
        ),
        (
            "the end of a session",
            header(op::CLOSE_SESSION, b""),
            CloseReason::SessionClosed,
        ),
    ];
    let mut rig = rig(|_| {});
    let other = rig.peer();
    for (what, bytes, expected) in rows {
        let peer = rig.peer();
        rig.give(peer.connection, &bytes);
        assert_eq!(why(&mut rig, peer.connection), Some(expected), "{what}");
        goes_on(&mut rig, other);
    }
}

#[test]
fn a_handshake_that_comes_to_nothing_has_a_name() {
    let mut rig = rig(|_| {});
    let other = rig.peer();
    let ahead = ConnectRequest {
        last_zxid_seen: 1000,
        ..new_session(10_000)
    };
    let unknown = ConnectRequest {
        session_id: 77,
        ..new_session(10_000)
    };
    let wrong = ConnectRequest {
        password: SessionPassword::NONE,
        ..resume(rig.peer(), 10_000)
    };
    for (request, expected) in [
        (ahead, CloseReason::Behind),
        (unknown, CloseReason::NoSuchSession),
        (wrong, CloseReason::NoSuchSession),
    ] {
        let (connection, _) = rig.handshake(&request);
        assert_eq!(why(&mut rig, connection), Some(expected));
        goes_on(&mut rig, other);
    }
    let connection = rig.accept();
    rig.give(connection, b"\0\0\0\x01x");
    assert_eq!(why(&mut rig, connection), Some(CloseReason::BadHandshake));
    let connection = rig.accept();
    rig.advance(Duration::from_secs(20));
    assert_eq!(
        why(&mut rig, connection),
        Some(CloseReason::HandshakeTimeout)
    );
}

#[test]
fn what_becomes_of_sessions_is_told() {
    let mut rig = rig(|_| {});
    let first = rig.session(4_000);
    let kinds: Vec<_> = std::iter::from_fn(|| rig.server.poll_event()).collect();
    let told: Vec<_> = kinds.iter().map(|event| &event.kind).collect();
    let attached = |resumed| ConnectionEventKind::Attached {
        timeout: Duration::from_secs(4),
        resumed,
    };
    assert!(matches!(told[0], ConnectionEventKind::Accepted { .. }));
    assert_eq!(
        (told[1], kinds[1].session),
        (&attached(false), Some(first.session))
    );

    let (second, _) = rig.handshake(&resume(first, 4_000));
    let events: Vec<_> = std::iter::from_fn(|| rig.server.poll_event()).collect();
    let closed = ConnectionEventKind::Closed {
        why: CloseReason::Superseded,
    };
    let of = |id: ConnectionId| {
        let mut all = events.iter().filter(move |event| event.connection == id);
        all.next_back().map(|event| event.kind.clone())
    };
    assert_eq!(of(first.connection), Some(closed));
    assert_eq!(of(second), Some(attached(true)));

    rig.advance(Duration::from_secs(10));
    assert_eq!(why(&mut rig, second), Some(CloseReason::Expired));
    let third = rig.peer();
    rig.server.handle_disconnected(rig.now, third.connection);
    assert_eq!(
        why(&mut rig, third.connection),
        Some(CloseReason::Disconnected)
    );
    let fourth = rig.peer();
    rig.server.handle_restart(rig.now);
    assert_eq!(
        why(&mut rig, fourth.connection),
        Some(CloseReason::Restarted)
    );
}

#[test]
fn limits_faults_and_quorums_are_told() {
    let mut limited = rig(|config| config.max_connections = 1);
    let _first = limited.accept();
    let second = limited.accept();
    let expected = Some(CloseReason::TooManyConnections);
    assert_eq!(why(&mut limited, second), expected);

    let mut rig = rig(|config| {
        config.required_schemes = vec!["sasl".into()];
        config.sasl = Some(SaslConfig::new().user("bob", "secret"));
    });
    let peer = rig.peer();
    rig.call(peer, op::SYNC, &support::path_body("/"));
    let expected = Some(CloseReason::AuthRequired);
    assert_eq!(why(&mut rig, peer.connection), expected);
    let peer = rig.peer();
    rig.call(peer, op::SASL, &Raw(vec![0; 4]));
    rig.call(peer, op::SASL, &Raw(b"\0\0\0\x08nonsense".to_vec()));
    let expected = Some(CloseReason::AuthFailed);
    assert_eq!(why(&mut rig, peer.connection), expected);
    let peer = rig.peer();
    rig.server.close_connection(peer.connection);
    assert_eq!(why(&mut rig, peer.connection), Some(CloseReason::Fault));

    let peer = rig.peer();
    rig.server.set_read_only(rig.now, true);
    let expected = Some(CloseReason::QuorumChanged);
    assert_eq!(why(&mut rig, peer.connection), expected);
    let (connection, _) = rig.handshake(&new_session(10_000));
    assert_eq!(why(&mut rig, connection), Some(CloseReason::NoQuorum));
}

#[test]
fn nothing_is_kept_unless_it_is_asked_for() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.server.close_connection(peer.connection);
    assert_eq!(rig.server.poll_event(), None);
}

#[test]
fn a_member_of_an_ensemble_gives_its_number() {
    let now = Now {
        instant: std::time::Instant::now(),
        unix_ms: 0,
    };
    let mut ensemble = Ensemble::new(vec![ServerConfig::default(); 3]);
    let keep = |server: &mut Server| server.keep_journal();
    ensemble.server(1).map(keep).unwrap();
    ensemble.accept(now, 1, [127, 0, 0, 1].into());
    let event = ensemble.server(1).unwrap().poll_event().unwrap();
    assert_eq!(event.server, Some(2));
    assert!(event.to_string().starts_with("server 2, connection 1: "));
}

#[test]
fn an_observer_hears_of_everything_at_once() {
    let heard: Arc<Mutex<Vec<ConnectionEvent>>> = Arc::default();
    let server = FakeServer::builder()
        .observe({
            let heard = Arc::clone(&heard);
            move |event| heard.lock().unwrap().push(event.clone())
        })
        .start()
        .unwrap();
    let socket = std::net::TcpStream::connect(server.addr()).unwrap();
    let wait_for = |count: usize| {
        let give_up = std::time::Instant::now() + Duration::from_secs(30);
        while heard.lock().unwrap().len() < count {
            assert!(std::time::Instant::now() < give_up, "{heard:?}");
        }
        heard.lock().unwrap()[count - 1].clone()
    };
    let from = socket.local_addr().unwrap();
    assert_eq!(wait_for(1).kind, ConnectionEventKind::Accepted { from });
    drop(socket);
    let why = CloseReason::Disconnected;
    assert_eq!(wait_for(2).kind, ConnectionEventKind::Closed { why });
    let _again = std::net::TcpStream::connect(server.addr()).unwrap();
    wait_for(3);
    server.cut_connections();
    let why = CloseReason::Fault;
    assert_eq!(wait_for(4).kind, ConnectionEventKind::Closed { why });

    server.refuse_connections(true);
    let refused = std::net::TcpStream::connect(server.addr()).unwrap();
    let from = refused.local_addr().unwrap();
    assert_eq!(wait_for(5).kind, ConnectionEventKind::Accepted { from });
    assert_eq!(wait_for(6).kind, ConnectionEventKind::Closed { why });
    server.refuse_connections(false);

    let why = CloseReason::Stopped;
    let _again = std::net::TcpStream::connect(server.addr()).unwrap();
    wait_for(7);
    server.stop();
    assert_eq!(wait_for(8).kind, ConnectionEventKind::Closed { why });
    server.restart().unwrap();
    let _again = std::net::TcpStream::connect(server.addr()).unwrap();
    wait_for(9);
    drop(server);
    let last = wait_for(10);
    assert_eq!(last.kind, ConnectionEventKind::Closed { why });
    assert_eq!(last.connection.to_string(), "5");
}

#[test]
fn a_journal_that_a_test_keeps_is_left_to_it() {
    let server = FakeServer::start();
    server.with_server(|server| server.keep_journal());
    assert!(ask(server.addr(), "srvr").contains("Mode"));
    let events = std::iter::from_fn(|| server.with_server(Server::poll_event));
    let kinds: Vec<_> = events.map(|event| event.kind).collect();
    let why = CloseReason::Word("srvr");
    let [ConnectionEventKind::Accepted { .. }, closed] = &kinds[..] else {
        panic!("{kinds:?}");
    };
    assert_eq!(*closed, ConnectionEventKind::Closed { why });
}

#[test]
fn reasons_read_as_sentences_go() {
    for why in [
        CloseReason::Disconnected,
        CloseReason::Backlog,
        CloseReason::Word("ruok"),
        CloseReason::NoQuorum,
        CloseReason::TlsFailed,
        CloseReason::Stopped,
    ] {
        let text = why.to_string();
        assert!(!text.ends_with('.') && text.len() > 10, "{text}");
    }
}
