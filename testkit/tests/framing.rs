//! Frames, headers, transaction numbers, and what is refused.

mod support;

use std::time::Duration;

use homing_protocol::{Acl, ConnectRequest, ConnectResponse, CreateMode, Empty, EventType, op};
use support::{Raw, Rig, create_body, new_session, request_frame};

#[test]
fn a_frame_of_no_bytes_or_fewer_closes_the_connection_silently() {
    for len in ["00000000", "ffffffff", "80000000"] {
        let mut rig = Rig::new();
        let peer = rig.peer();
        rig.give(peer.connection, &support::unhex(len));
        assert!(rig.is_closed(peer.connection), "{len}");
        assert!(rig.take(peer.connection).is_empty());
    }
}

#[test]
fn the_largest_frame_is_taken_and_one_byte_more_is_not() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    // exists "/" with a watch of no interest, and rubbish behind it up to the limit.
    let mut body = support::path_body("/").0;
    body.resize(0xF_FFFF - 8, 0);
    assert_eq!(rig.call(peer, op::EXISTS, &Raw(body)).err(), 0);
    rig.give(peer.connection, &0x10_0000_u32.to_be_bytes());
    assert!(rig.is_closed(peer.connection));
}

#[test]
fn a_frame_shorter_than_a_header_closes_the_connection() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.give(peer.connection, b"\0\0\0\x07\0\0\0\x01\0\0\0");
    assert!(rig.is_closed(peer.connection));
    assert!(rig.take(peer.connection).is_empty());
}

#[test]
fn a_body_that_cannot_be_read_costs_the_request_only() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let zxid = rig.server.last_zxid();
    let read = rig.call(peer, op::GET_DATA, &Raw::from("7fffffff 2f"));
    assert_eq!((read.err(), read.header.zxid), (-5, zxid));
    // A write takes its number before it is looked at.
    let write = rig.call(peer, op::CREATE, &Raw::from("00"));
    assert_eq!((write.err(), write.header.zxid), (-5, zxid + 1));
    assert_eq!(write.body().len(), 0);
    assert_eq!(rig.ping(peer).err(), 0);
}

#[test]
fn bytes_behind_a_body_are_ignored() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let mut body = support::path_body("/").0;
    body.extend_from_slice(b"\0and more");
    assert_eq!(rig.call(peer, op::GET_DATA, &Raw(body)).err(), 0);
}

#[test]
fn any_byte_but_zero_is_true() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let mut body = support::path_body("/nope").0;
    body.push(0x80);
    assert_eq!(rig.call(peer, op::EXISTS, &Raw(body)).err(), -101);
    assert_eq!(rig.server.watch_count(), 1);
}

#[test]
fn a_list_of_fewer_than_no_entries_is_empty_and_minus_one_is_null() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    for (count, err) in [(i32::MIN, 0), (-2, 0), (-1, -5), (1, -5)] {
        let mut body = vec![0; 8];
        body.extend(std::iter::repeat_n(count.to_be_bytes(), 3).flatten());
        let answer = rig.call(peer, op::SET_WATCHES, &Raw(body));
        assert_eq!(answer.err(), err, "{count}");
    }
}

#[test]
fn an_operation_that_is_not_there_is_refused_and_costs_the_connection() {
    for op in [0, 10, 23, 99, 108, -1, i32::MAX] {
        let mut rig = Rig::new();
        let peer = rig.peer();
        let answer = rig.call(peer, op, &Empty);
        assert_eq!((answer.err(), answer.header.zxid), (-6, -1), "{op}");
        assert!(rig.is_closed(peer.connection));
        assert_eq!(rig.server.sessions().len(), 1, "the session stays");
    }
}

/// deleteContainer takes the whole frame for a path, createSession finds no time-out.
#[test]
fn what_a_server_asks_itself_is_taken_from_anybody() {
    for (op, err) in [(20, -8), (-10, -5)] {
        let mut rig = Rig::new();
        let peer = rig.peer();
        let answer = rig.call(peer, op, &Empty);
        assert_eq!((answer.err(), answer.header.zxid), (err, 2), "{op}");
        assert!(!rig.is_closed(peer.connection));
    }
}

#[test]
fn an_older_server_does_not_know_newer_operations() {
    let mut rig = Rig::with(|config| config.unknown_operations = vec![op::CREATE2]);
    let peer = rig.peer();
    let answer = rig.create(peer, "/a", CreateMode::Persistent);
    assert_eq!((answer.err(), answer.header.zxid), (-6, -1));
    assert!(rig.is_closed(peer.connection));
    assert!(!rig.server.node_exists("/a"));
}

#[test]
fn what_is_handled_apart_ends_the_connection_when_it_cannot_be_read() {
    let null = [0xff; 4];
    for (op, body) in [(op::AUTH, &[0][..]), (op::SASL, &[0]), (op::SASL, &null)] {
        let mut rig = Rig::new();
        let peer = rig.peer();
        let len = 8 + body.len() as u8;
        rig.give(
            peer.connection,
            &[&[0, 0, 0, len, 0, 0, 0, 1][..], &op.to_be_bytes(), body].concat(),
        );
        assert!(rig.is_closed(peer.connection), "{op}");
        assert!(rig.take(peer.connection).is_empty());
    }
}

#[test]
fn a_ping_is_answered_with_its_own_xid_whatever_it_had() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let answer = rig.call_with_xid(peer, 77, op::PING, &Empty);
    assert_eq!(
        (answer.header.xid, answer.err(), answer.header.zxid),
        (-2, 0, 1)
    );
}

#[test]
fn other_xids_are_echoed() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    for xid in [0, -1, -8, i32::MIN, i32::MAX] {
        assert_eq!(
            rig.call_with_xid(peer, xid, op::SYNC, &support::path_body("/"))
                .header
                .xid,
            xid
        );
    }
}

#[test]
fn a_failed_write_takes_a_transaction_number_and_a_read_takes_none() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    assert_eq!(rig.server.last_zxid(), 1);
    assert_eq!(rig.delete(peer, "/nope").header.zxid, 2);
    assert_eq!(
        rig.create(peer, "/a", CreateMode::Persistent).header.zxid,
        3
    );
    assert_eq!(rig.get(peer, "/a", false).header.zxid, 3);
    assert_eq!(rig.exists(peer, "/nope", false).header.zxid, 3);
    let reconfig = Raw::from("ffffffff ffffffff ffffffff ffffffffffffffff");
    assert_eq!(rig.call(peer, op::RECONFIG, &reconfig).header.zxid, 4);
    // It is the one write that takes no number when it cannot be read.
    let unreadable = rig.call(peer, op::RECONFIG, &Empty);
    assert_eq!((unreadable.err(), unreadable.header.zxid), (-5, 4));
    assert_eq!(rig.server.last_zxid(), 4);
}

#[test]
fn sync_echoes_any_path_even_none() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    assert_eq!(
        rig.call(peer, op::SYNC, &support::path_body("not/there"))
            .path(),
        "not/there"
    );
    let null = rig.call(peer, op::SYNC, &Raw::from("ffffffff"));
    assert_eq!((null.err(), &null.body()[..]), (0, &[0xff; 4][..]));
}

#[test]
fn reconfig_is_disabled() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let body = Raw::from("ffffffff ffffffff ffffffff ffffffffffffffff");
    assert_eq!(rig.call(peer, op::RECONFIG, &body).err(), -123);
    assert_eq!(rig.ping(peer).err(), 0);
}

#[test]
fn a_server_that_stands_alone_has_no_other_configuration() {
    let mut rig = Rig::with(|config| {
        config.reconfig_enabled = true;
        config.ensemble = "server.1=a:2888:3888:participant\nversion=0".into();
    });
    let peer = rig.peer();
    let body = Raw::from("ffffffff ffffffff ffffffff ffffffffffffffff");
    let refused = rig.call(peer, op::RECONFIG, &body);
    // It takes a number, and keeps the connection: the operation as such is known.
    assert_eq!((refused.err(), refused.header.zxid), (-6, 2));
    let node = rig.get(peer, "/zookeeper/config", false);
    assert_eq!(node.err(), 0);
    let text = b"\0\0\0\x2aserver.1=a:2888:3888:participant\nversion=0";
    assert!(node.body().starts_with(text), "{:?}", node.body());
}

#[test]
fn sasl_is_answered_with_null_by_a_server_that_has_none() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let answer = rig.call(peer, op::SASL, &Raw::from("00000000"));
    assert_eq!(
        (answer.err(), answer.header.zxid, &answer.body()[..]),
        (0, 0, &[0xff; 4][..])
    );
}

#[test]
fn bytes_for_a_connection_that_is_gone_are_dropped() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.server.close_connection(peer.connection);
    rig.give(peer.connection, b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b");
    assert!(rig.take(peer.connection).is_empty());
}

/// The answer to a word, and whether the connection was closed behind it.
fn ask(rig: &mut Rig, word: &[u8]) -> (String, bool) {
    use homing_testkit::Output;
    let connection = rig.accept();
    rig.server
        .handle_bytes(rig.now, connection, &mut word.into());
    let mut answer = String::new();
    let mut closed = false;
    while let Some(output) = rig.server.poll_output() {
        match output {
            Output::Send(_, bytes) => answer.push_str(std::str::from_utf8(&bytes).unwrap()),
            Output::Close(_) => closed = true,
        }
    }
    (answer, closed)
}

#[test]
fn only_srvr_is_answered_unless_others_are_allowed() {
    let mut rig = Rig::new();
    let refused = "ruok is not executed because it is not in the whitelist.\n";
    assert_eq!(ask(&mut rig, b"ruok"), (refused.into(), true));
    let (srvr, closed) = ask(&mut rig, b"srvr\n");
    assert!(closed);
    for line in [
        "Zookeeper version: 3.8.0-",
        "\nConnections: 1\n",
        "\nZxid: 0x0\n",
        "\nNode count: 5\n",
    ] {
        assert!(srvr.contains(line), "{line:?} is missing in {srvr}");
    }

    let mut rig = Rig::with(|config| config.four_letter_words = vec!["ruok".into(), "isro".into()]);
    assert_eq!(ask(&mut rig, b"ruok"), ("imok".into(), true));
    assert_eq!(ask(&mut rig, b"isro"), ("rw".into(), true));
    assert!(ask(&mut rig, b"stat").0.contains("not in the whitelist"));
    assert!(ask(&mut rig, b"srvr").0.contains("Mode: standalone"));
}

#[test]
fn mntr_counts_whose_time_was_over_and_who_hung_up() {
    let mut rig = Rig::with(|config| config.four_letter_words = vec!["mntr".into()]);
    let gone = rig.peer();
    rig.peer();
    rig.server.handle_disconnected(rig.now, gone.connection);
    rig.advance(Duration::from_secs(60));
    let (mntr, _) = ask(&mut rig, b"mntr");
    for line in [
        "\nzk_connection_drop_count\t1\n",
        "\nzk_stale_sessions_expired\t2\n",
    ] {
        assert!(mntr.contains(line), "{line:?} is missing in {mntr}");
    }
}

#[test]
fn an_unknown_word_is_a_length_out_of_bounds() {
    let mut rig = Rig::new();
    assert_eq!(ask(&mut rig, b"abcd"), (String::new(), true));
}

#[test]
fn a_word_is_one_only_before_the_handshake() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.give(peer.connection, b"srvr");
    assert!(rig.is_closed(peer.connection));
    assert!(rig.take(peer.connection).is_empty());
}

#[test]
fn the_end_for_a_bad_frame_overtakes_the_answers_to_those_before_it() {
    let bad = [&b"\xff\xff\xff\xfb"[..], b"\0\0\0\x04\0\0\0\x01"];
    for bad in bad {
        let mut rig = Rig::new();
        let (peer, other) = (rig.peer(), rig.peer());
        rig.exists(other, "/a", true);
        let acl = [Acl::open()];
        let create = create_body("/a", &acl, CreateMode::Persistent);
        let mut bytes = request_frame(1, op::CREATE, &create);
        bytes.extend_from_slice(bad);
        rig.give(peer.connection, &bytes);
        assert!(rig.take(peer.connection).is_empty());
        assert!(rig.is_closed(peer.connection));
        // It was applied all the same, as others see.
        let expected = [(EventType::NodeCreated, "/a".into())];
        assert_eq!(rig.take_events(other.connection), expected);
    }
}

#[test]
fn a_session_can_begin_once_more() {
    let mut rig = Rig::new();
    let request = ConnectRequest {
        read_only: None,
        ..new_session(10_000)
    };
    for (request, len) in [(new_session(10_000), 37), (request, 36)] {
        let (connection, first) = rig.handshake(&request);
        let first = first.unwrap();
        let zxid = rig.server.last_zxid();
        rig.give(
            connection,
            b"\0\0\0\x0c\0\0\0\x07\xff\xff\xff\xf6\0\0\x10\0",
        );
        let [again] = &rig.take(connection)[..] else {
            panic!("one answer");
        };
        assert_eq!(again.len(), len);
        assert_eq!(ConnectResponse::decode(again).unwrap(), first);
        assert_eq!(rig.server.last_zxid(), zxid + 1);
        assert!(!rig.is_closed(connection));
    }
}
