//! How sessions begin, are taken up again, and are refused.

mod support;

use std::time::Duration;

use bytes::BytesMut;
use homing_protocol::{ConnectRequest, ConnectResponse, CreateMode, SessionPassword};
use homing_testkit::Dialect;
use support::{Rig, handshake_frame, handshake_with_password, new_session, resume};

#[test]
fn the_time_out_is_clamped_to_two_and_twenty_ticks() {
    let mut rig = Rig::new();
    let rows = [
        (0, 4000),
        (-5, 4000),
        (i32::MIN, 4000),
        (10_000, 10_000),
        (i32::MAX, 40_000),
    ];
    for (asked, granted) in rows {
        let (_, response) = rig.handshake(&new_session(asked));
        assert_eq!(response.unwrap().timeout_ms, granted, "{asked}");
    }
}

#[test]
fn a_tick_has_a_millisecond_at_least() {
    for tick in [Duration::ZERO, Duration::from_micros(300)] {
        let mut rig = Rig::with(|config| config.tick_time = tick);
        for (asked, granted) in [(0, 2), (10_000, 20)] {
            let (_, response) = rig.handshake(&new_session(asked));
            assert_eq!(response.unwrap().timeout_ms, granted, "{tick:?}");
        }
        let conf = rig.server.config().clone();
        assert_eq!(
            conf.session_timeout(Duration::ZERO),
            Duration::from_millis(2)
        );
    }
}

#[test]
fn the_bounds_of_the_time_out_can_be_set() {
    let mut rig = Rig::with(|config| {
        config.min_session_timeout = Some(Duration::from_millis(100));
        config.max_session_timeout = Some(Duration::from_millis(200));
    });
    for (asked, granted) in [(1, 100), (150, 150), (1000, 200)] {
        let (_, response) = rig.handshake(&new_session(asked));
        assert_eq!(response.unwrap().timeout_ms, granted);
    }
}

#[test]
fn each_new_session_is_a_transaction_and_has_the_next_id() {
    let mut rig = Rig::new();
    let (first, second) = (rig.peer(), rig.peer());
    assert_eq!(second.session, first.session + 1);
    assert_ne!(first.password, second.password);
    assert_eq!(rig.server.last_zxid(), 2);
}

#[test]
fn a_new_session_may_present_any_password() {
    let mut rig = Rig::new();
    for password in [&b""[..], &[7; 3], &[7; 20]] {
        let password = SessionPassword::new(password).unwrap();
        let (_, response) = rig.handshake(&ConnectRequest {
            password,
            ..new_session(5000)
        });
        assert_eq!(response.unwrap().password.as_bytes().len(), 16);
    }
}

#[test]
fn the_read_only_byte_is_mirrored() {
    let mut rig = Rig::new();
    for (sent, received) in [
        (None, None),
        (Some(false), Some(false)),
        (Some(true), Some(false)),
    ] {
        let (_, response) = rig.handshake(&ConnectRequest {
            read_only: sent,
            ..new_session(5000)
        });
        assert_eq!(response.unwrap().read_only, received);
        // In a refusal too.
        let lost = ConnectRequest {
            session_id: 77,
            read_only: sent,
            ..new_session(5000)
        };
        let (_, response) = rig.handshake(&lost);
        assert_eq!(
            response.unwrap(),
            ConnectResponse {
                read_only: received,
                ..ConnectResponse::EXPIRED
            }
        );
    }
}

#[test]
fn a_session_is_taken_up_again_without_a_transaction() {
    let mut rig = Rig::new();
    let peer = rig.session(5000);
    rig.create(peer, "/e", CreateMode::Ephemeral);
    let zxid = rig.server.last_zxid();
    rig.server.handle_disconnected(rig.now, peer.connection);
    let (_, response) = rig.handshake(&resume(peer, 20_000));
    let response = response.unwrap();
    assert_eq!(response.session_id, peer.session);
    assert_eq!(response.password, peer.password);
    assert_eq!(response.timeout_ms, 20_000);
    assert_eq!(rig.server.last_zxid(), zxid);
    assert!(rig.server.node_exists("/e"));
    assert_eq!(rig.server.sessions()[0].timeout, Duration::from_secs(20));
}

#[test]
fn the_connection_of_before_is_closed_silently() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let (_, response) = rig.handshake(&resume(peer, 5000));
    assert_eq!(response.unwrap().session_id, peer.session);
    assert!(rig.is_closed(peer.connection));
    assert!(rig.take(peer.connection).is_empty());
}

#[test]
fn a_wrong_password_is_refused_and_still_interrupts() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let wrong = ConnectRequest {
        password: SessionPassword::NONE,
        ..resume(peer, 5000)
    };
    let (connection, response) = rig.handshake(&wrong);
    let expired = ConnectResponse {
        read_only: Some(false),
        ..ConnectResponse::EXPIRED
    };
    assert_eq!(response.unwrap(), expired);
    assert!(rig.is_closed(connection));
    assert!(rig.is_closed(peer.connection));
    // The session itself is unharmed.
    let (_, response) = rig.handshake(&resume(peer, 5000));
    assert_eq!(response.unwrap().session_id, peer.session);
}

#[test]
fn a_closed_session_is_gone() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    assert_eq!(
        rig.call(
            peer,
            homing_protocol::op::CLOSE_SESSION,
            &homing_protocol::Empty
        )
        .err(),
        0
    );
    let (connection, response) = rig.handshake(&resume(peer, 5000));
    assert_eq!(response.unwrap().timeout_ms, 0);
    assert!(rig.is_closed(connection));
}

#[test]
fn a_client_that_has_seen_more_is_turned_away_without_a_word() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let zxid = rig.server.last_zxid();
    for request in [new_session(5000), resume(peer, 5000)] {
        let ahead = ConnectRequest {
            last_zxid_seen: zxid + 1,
            ..request
        };
        let (connection, response) = rig.handshake(&ahead);
        assert_eq!(response, None);
        assert!(rig.is_closed(connection));
    }
    // Nobody was interrupted for it.
    assert!(!rig.is_closed(peer.connection));
    let level = ConnectRequest {
        last_zxid_seen: zxid,
        ..new_session(5000)
    };
    assert!(rig.handshake(&level).1.is_some());
}

#[test]
fn a_connection_without_a_handshake_is_closed_on_the_step_after_its_time() {
    let mut rig = Rig::new();
    rig.accept();
    rig.advance(Duration::from_secs(1));
    // Steps are counted from the first accept: 1 s + 10 s rounds up to 20 s.
    let connection = rig.accept();
    rig.advance(Duration::from_millis(18_999));
    assert!(!rig.is_closed(connection));
    rig.advance(Duration::from_millis(1));
    assert!(rig.is_closed(connection));
    assert_eq!(rig.server.poll_timeout(), None);
}

#[test]
fn every_byte_of_a_handshake_begins_its_time_anew() {
    let mut rig = Rig::new();
    let connection = rig.accept();
    let frame = handshake_frame(&new_session(10_000));
    let mut input = BytesMut::new();
    for byte in frame {
        rig.advance(Duration::from_secs(9));
        assert!(!rig.is_closed(connection));
        input.extend_from_slice(&[byte]);
        rig.server.handle_bytes(rig.now, connection, &mut input);
    }
    assert_eq!(rig.take(connection).len(), 1);
    assert_eq!(rig.server.sessions().len(), 1);

    // What was there before is no news.
    let connection = rig.accept();
    let mut input = BytesMut::from(&b"\0\0"[..]);
    for _ in 0..4 {
        rig.advance(Duration::from_secs(9));
        rig.server.handle_bytes(rig.now, connection, &mut input);
    }
    assert!(rig.is_closed(connection));
}

#[test]
fn how_long_a_connection_may_be_without_a_session_is_a_setting() {
    let mut rig = Rig::with(|config| config.handshake_timeout = Duration::from_secs(3));
    let connection = rig.accept();
    rig.advance(Duration::from_millis(5_999));
    assert!(!rig.is_closed(connection));
    rig.advance(Duration::from_millis(1));
    assert!(rig.is_closed(connection));

    // There was no such limit once.
    let mut rig = Rig::with(|config| config.speak(Dialect::ZooKeeper3_4));
    rig.accept();
    assert_eq!(rig.server.poll_timeout(), None);
}

#[test]
fn one_connection_too_many_from_an_address_is_closed_at_once() {
    let mut rig = Rig::with(|config| config.max_client_connections = 2);
    let (_, second) = (rig.accept(), rig.accept());
    let third = rig.accept();
    assert!(rig.take(third).is_empty());
    assert!(rig.is_closed(third));
    rig.server.handle_disconnected(rig.now, second);
    let fourth = rig.accept();
    rig.take(fourth);
    assert!(!rig.is_closed(fourth));
}

#[test]
fn a_handshake_that_is_cut_short_is_closed_silently() {
    let mut rig = Rig::new();
    let connection = rig.accept();
    rig.give(connection, b"\0\0\0\x08\0\0\0\0\0\0\0\0");
    assert!(rig.is_closed(connection));
    assert!(rig.take(connection).is_empty());
}

#[test]
fn a_password_may_be_of_any_length_and_is_wrong() {
    for (session, is_granted) in [(0, true), (77, false)] {
        for len in [0, 16, 65, 1000] {
            let mut rig = Rig::new();
            let connection = rig.accept();
            rig.give(connection, &handshake_with_password(session, len));
            let answer = &rig.take(connection)[0];
            let response = ConnectResponse::decode(answer).unwrap();
            assert_eq!(response.session_id != 0, is_granted, "{len} bytes");
            assert_eq!(rig.is_closed(connection), !is_granted);
        }
    }
}
