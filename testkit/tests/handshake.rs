//! How sessions begin, are taken up again, and are refused.

mod support;

use std::time::Duration;

use homing_protocol::{ConnectRequest, ConnectResponse, CreateMode, SessionPassword};
use support::{Rig, new_session, resume};

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
fn a_connection_without_a_handshake_is_closed_after_ten_seconds() {
    let mut rig = Rig::new();
    let connection = rig.accept();
    rig.advance(Duration::from_millis(9_999));
    assert!(!rig.is_closed(connection));
    rig.advance(Duration::from_millis(1));
    assert!(rig.is_closed(connection));
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
