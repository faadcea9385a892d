//! The switches that make the dialects, one by one, and what is in each bundle.

mod support;

use bytes::{BufMut, BytesMut};
use homing_protocol::{
    ConnectRequest, ConnectResponse, CreateMode, EventType, SessionPassword, op, permission,
    put_string,
};
use homing_testkit::{ConnectionEventKind, Dialect, Now, Output, Server, ServerConfig};
use support::{Peer, Raw, Rig, new_session, path_and_kind, path_body, resume};

const MARSHALLING_ERROR: i32 = -5;
const UNIMPLEMENTED: i32 = -6;
const BAD_ARGUMENTS: i32 = -8;
const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;
const BAD_VERSION: i32 = -103;
const NOT_EMPTY: i32 = -111;
const INVALID_ACL: i32 = -114;
const NO_WATCHER: i32 = -121;

const OPEN: &[(i32, &str, &str)] = &[(31, "world", "anyone")];

/// The body of a create. No list at all is a null one.
fn create(path: &str, acl: Option<&[(i32, &str, &str)]>, flags: i32) -> Raw {
    let mut body = BytesMut::from(&path_body(path).0[..]);
    body.put_i32(-1);
    match acl {
        None => body.put_i32(-1),
        Some(entries) => {
            body.put_i32(entries.len() as i32);
            for (permissions, scheme, id) in entries {
                body.put_i32(*permissions);
                put_string(&mut body, scheme);
                put_string(&mut body, id);
            }
        }
    }
    body.put_i32(flags);
    Raw(body.into())
}

fn multi(ops: &[(i32, Raw)]) -> Raw {
    let mut body = BytesMut::new();
    let mut header = |op: i32, done: u8, rest: &[u8]| {
        body.put_i32(op);
        body.put_u8(done);
        body.put_i32(-1);
        body.put_slice(rest);
    };
    for (op, rest) in ops {
        header(*op, 0, &rest.0);
    }
    header(-1, 1, &[]);
    Raw(body.into())
}

/// A server with the defaults and one with something set, each with a session.
fn both(set: impl FnOnce(&mut ServerConfig)) -> [(Rig, Peer); 2] {
    [Rig::new(), Rig::with(set)].map(|mut rig| {
        let peer = rig.peer();
        (rig, peer)
    })
}

/// The error that a request is answered with, without a switch and with it.
fn errors(set: impl FnOnce(&mut ServerConfig), op: i32, body: &Raw) -> [i32; 2] {
    both(set).map(|(mut rig, peer)| rig.call(peer, op, body).err())
}

#[test]
fn multi_keeps_operations() {
    let [(mut usual, peer), (mut keeping, other)] =
        both(|config| config.multi_keeps_operations = true);
    let two = || multi(&[(op::CREATE2, create("/a", Some(OPEN), 0))]);
    let result = |rig: &mut Rig, peer| rig.call(peer, op::MULTI, &two()).body()[..4].to_vec();
    assert_eq!(result(&mut usual, peer), op::CREATE.to_be_bytes());
    assert_eq!(result(&mut keeping, other), op::CREATE2.to_be_bytes());

    let container = multi(&[(op::CREATE_CONTAINER, create("/c", Some(OPEN), 0))]);
    assert_eq!(
        keeping.call(other, op::MULTI, &container).body()[..4],
        op::CREATE2.to_be_bytes()
    );
    for spoilt in [
        create("/x", Some(OPEN), 7),
        create("/x", Some(OPEN), 5),
        create("/x", None, 0),
    ] {
        let body = multi(&[(op::CREATE, spoilt)]);
        assert_eq!(
            keeping.call(other, op::MULTI, &body).err(),
            MARSHALLING_ERROR
        );
    }
    let bad = multi(&[(op::CREATE, create("/x", Some(OPEN), 7))]);
    assert_eq!(
        usual.call(peer, op::MULTI, &bad).err(),
        0,
        "its own error is in the list"
    );
}

#[test]
fn multi_holds_no_reads() {
    let mut body = path_body("/").0;
    body.push(0);
    let with_a_null_path = multi(&[(op::GET_DATA, Raw(vec![0xff, 0xff, 0xff, 0xff, 0]))]);
    let numbers = both(|config| config.multi_holds_no_reads = true).map(|(mut rig, peer)| {
        let answer = rig.call(peer, op::MULTI, &with_a_null_path);
        assert_eq!(answer.err(), MARSHALLING_ERROR);
        answer.header.zxid
    });
    // It is taken in, and stumbled over before it is a transaction; or it cannot be read.
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn unreadable_writes_are_free() {
    let numbers = both(|config| config.unreadable_writes_are_free = true).map(|(mut rig, peer)| {
        for op in [
            op::CREATE,
            op::CREATE_TTL,
            op::DELETE,
            op::SET_DATA,
            op::SET_ACL,
        ] {
            assert_eq!(
                rig.call(peer, op, &Raw(vec![0, 0])).err(),
                MARSHALLING_ERROR
            );
        }
        rig.server.last_zxid()
    });
    assert_eq!(numbers, [6, 1]);
}

#[test]
fn anybody_may_reap() {
    let set = |config: &mut ServerConfig| config.anybody_may_reap = true;
    let reap = 20;
    let body = || path_body("/a");
    let [(mut usual, peer), (mut reaping, other)] = both(set);
    usual.make(peer, &["/a"]);
    reaping.make(other, &["/a", "/a/b"]);
    assert_eq!(usual.call(peer, reap, &body()).err(), BAD_ARGUMENTS);
    assert_eq!(reaping.call(other, reap, &body()).err(), NOT_EMPTY);
    reaping.delete(other, "/a/b");
    assert_eq!(reaping.call(other, reap, &body()).err(), 0);
    assert!(!reaping.server.node_exists("/a"));
    assert_eq!(reaping.call(other, reap, &body()).err(), NO_NODE);
    reaping.create(other, "/e", CreateMode::Ephemeral);
    assert_eq!(
        reaping.call(other, reap, &path_body("/e")).err(),
        BAD_VERSION
    );
    assert_eq!(
        reaping.call(other, reap, &path_body("/zookeeper")).err(),
        BAD_ARGUMENTS
    );
}

#[test]
fn check_in_multi_only() {
    let wrong = path_and_kind("/zookeeper", 7);
    let set = |config: &mut ServerConfig| config.check_in_multi_only = true;
    assert_eq!(errors(set, op::CHECK, &wrong), [BAD_VERSION, UNIMPLEMENTED]);
    let missing = path_and_kind("/nope", 0);
    assert_eq!(errors(set, op::CHECK, &missing), [NO_NODE, UNIMPLEMENTED]);
}

#[test]
fn lone_check_is_answered() {
    let right = path_and_kind("/zookeeper", 0);
    for (is_answered, frames) in [(false, 0), (true, 1)] {
        let mut rig = Rig::with(|config| config.lone_check_is_answered = is_answered);
        let peer = rig.peer();
        let mut frame = BytesMut::new();
        frame.put_i32(8 + right.0.len() as i32);
        frame.put_i32(1);
        frame.put_i32(op::CHECK);
        frame.put_slice(&right.0);
        rig.give(peer.connection, &frame);
        assert_eq!(rig.take(peer.connection).len(), frames);
        assert_eq!(rig.ping(peer).err(), 0, "the connection goes on");
        assert_eq!(rig.server.last_zxid(), 2, "it is a transaction");
    }
}

#[test]
fn ipv6_acls() {
    let set = |config: &mut ServerConfig| config.ipv6_acls = true;
    for (id, expected) in [
        ("::1", [INVALID_ACL, 0]),
        ("fe80::/10", [INVALID_ACL, 0]),
        ("1:2:3:4:5:6:7:8/128", [INVALID_ACL, 0]),
        ("::/129", [INVALID_ACL; 2]),
        ("1:2:3", [INVALID_ACL; 2]),
        ("::ffff:10.0.0.1", [INVALID_ACL; 2]),
        ("10.0.0.0/8", [0; 2]),
    ] {
        let body = create("/a", Some(&[(31, "ip", id)]), 0);
        assert_eq!(errors(set, op::CREATE, &body), expected, "{id}");
    }
}

#[test]
fn an_address_of_ipv6_is_let_in_by_its_list() {
    let mut config = ServerConfig::default();
    config.ipv6_acls = true;
    let mut rig = Rig::with(|own| *own = config);
    let peer = rig.peer();
    let acl: &[_] = &[
        (permission::READ, "ip", "fe80::/10"),
        (permission::ADMIN, "world", "anyone"),
    ];
    assert_eq!(
        rig.call(peer, op::CREATE, &create("/a", Some(acl), 0))
            .err(),
        0
    );
    assert_eq!(rig.get(peer, "/a", false).err(), NO_AUTH);
    for (address, err) in [("fe80::1", 0), ("fd00::1", NO_AUTH)] {
        let there = rig.peer_at(address.parse().unwrap());
        assert_eq!(rig.get(there, "/a", false).err(), err, "{address}");
    }
}

#[test]
fn no_subnets_in_acls() {
    let set = |config: &mut ServerConfig| config.no_subnets_in_acls = true;
    let body = |id| create("/a", Some(&[(31, "ip", id)]), 0);
    assert_eq!(
        errors(set, op::CREATE, &body("10.0.0.0/8")),
        [0, INVALID_ACL]
    );
    assert_eq!(errors(set, op::CREATE, &body("10.0.0.1")), [0, 0]);
}

#[test]
fn null_acl_breaks() {
    let set = |config: &mut ServerConfig| config.null_acl_breaks = true;
    let null = create("/a", None, 0);
    assert_eq!(
        errors(set, op::CREATE, &null),
        [INVALID_ACL, MARSHALLING_ERROR]
    );
    let empty = create("/a", Some(&[]), 0);
    assert_eq!(errors(set, op::CREATE, &empty), [INVALID_ACL; 2]);
}

#[test]
fn auth_entries_last() {
    let acl: &[_] = &[(1, "auth", ""), (31, "world", "anyone")];
    let first = both(|config| config.auth_entries_last = true).map(|(mut rig, peer)| {
        rig.auth(peer, "digest", "bob:pw");
        assert_eq!(
            rig.call(peer, op::CREATE, &create("/a", Some(acl), 0))
                .err(),
            0
        );
        rig.server.node("/a").unwrap().acl.remove(0).id.scheme
    });
    assert_eq!(first, ["digest", "world"]);

    let mut no_scheme = create("/b", Some(&[]), 0).0;
    let flags = no_scheme.split_off(no_scheme.len() - 8);
    no_scheme.extend([0, 0, 0, 1, 0, 0, 0, 31, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    no_scheme.extend(&flags[4..]);
    let set = |config: &mut ServerConfig| config.auth_entries_last = true;
    assert_eq!(
        errors(set, op::CREATE, &Raw(no_scheme)),
        [INVALID_ACL, MARSHALLING_ERROR]
    );
}

#[test]
fn delete_looks_first() {
    let found = both(|config| config.delete_looks_first = true).map(|(mut rig, peer)| {
        let read_only: &[_] = &[(permission::READ, "world", "anyone")];
        rig.call(peer, op::CREATE, &create("/r", Some(read_only), 0));
        rig.delete(peer, "/r/x").err()
    });
    assert_eq!(found, [NO_AUTH, NO_NODE]);
}

#[test]
fn create_modes_last() {
    let set = |config: &mut ServerConfig| config.create_modes_last = true;
    let without_a_list = create("/a", Some(&[]), 7);
    assert_eq!(
        errors(set, op::CREATE, &without_a_list),
        [BAD_ARGUMENTS, INVALID_ACL]
    );
    let with_one = create("/a", Some(OPEN), 7);
    assert_eq!(errors(set, op::CREATE, &with_one), [BAD_ARGUMENTS; 2]);
}

#[test]
fn a_server_knows_no_modes_of_operations_that_it_does_not_know() {
    let set = |config: &mut ServerConfig| {
        config.unknown_operations = vec![op::CREATE_CONTAINER, op::CREATE_TTL];
    };
    let container = create("/a", Some(OPEN), 4);
    assert_eq!(errors(set, op::CREATE, &container), [0, BAD_ARGUMENTS]);
    let in_time = create("/a", Some(OPEN), 5);
    assert_eq!(
        errors(set, op::CREATE, &in_time),
        [UNIMPLEMENTED, BAD_ARGUMENTS]
    );
}

#[test]
fn quotas_are_soft() {
    let open = CreateMode::Persistent;
    let set = |config: &mut ServerConfig| config.enforce_quota = true;
    for (is_soft, err) in [(false, -125), (true, 0)] {
        let mut rig = Rig::with(|config| {
            set(config);
            config.quotas_are_soft = is_soft;
        });
        let peer = rig.peer();
        rig.make(peer, &["/a", "/zookeeper/quota/a"]);
        for (name, text) in [
            ("limits", "count=-1,bytes=-1=;countHardLimit=1"),
            ("stats", ""),
        ] {
            let path = format!("/zookeeper/quota/a/zookeeper_{name}");
            let mut body = BytesMut::from(&path_body(&path).0[..]);
            put_string(&mut body, text);
            body.put_slice(&create("", Some(OPEN), 0).0[8..]);
            assert_eq!(rig.call(peer, op::CREATE, &Raw(body.into())).err(), 0);
        }
        assert_eq!(rig.create(peer, "/a/b", open).err(), err);
    }
}

#[test]
fn no_config_node() {
    let children = both(|config| config.no_config_node = true).map(|(mut rig, peer)| {
        let gone = rig.delete(peer, "/zookeeper/config").err();
        (rig.server.node("/zookeeper").unwrap().children, gone)
    });
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(
        children,
        [
            (names(&["config", "quota"]), BAD_ARGUMENTS),
            (names(&["quota"]), NO_NODE)
        ]
    );
}

#[test]
fn check_watches_own() {
    let found = both(|config| config.check_watches_own = true).map(|(mut rig, peer)| {
        let other = rig.peer();
        rig.get(other, "/", true);
        [path_and_kind("/", 2), path_and_kind("none", 2)]
            .map(|body| rig.call(peer, op::CHECK_WATCHES, &body).err())
    });
    assert_eq!(found, [[0, MARSHALLING_ERROR], [NO_WATCHER; 2]]);
}

#[test]
fn unknown_is_not_answered() {
    for (is_silent, frames) in [(false, 1), (true, 0)] {
        let mut rig = Rig::with(|config| config.unknown_is_not_answered = is_silent);
        let peer = rig.peer();
        rig.give(peer.connection, &[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 99]);
        assert_eq!(rig.take(peer.connection).len(), frames);
        assert!(rig.is_closed(peer.connection));
    }
}

#[test]
fn close_is_not_answered() {
    for (is_silent, frames) in [(false, 1), (true, 0)] {
        let mut rig = Rig::with(|config| config.close_is_not_answered = is_silent);
        let peer = rig.peer();
        let close = op::CLOSE_SESSION.to_be_bytes();
        rig.give(
            peer.connection,
            &[&[0, 0, 0, 8, 0, 0, 0, 1], &close[..]].concat(),
        );
        assert_eq!(rig.take(peer.connection).len(), frames);
        assert!(rig.is_closed(peer.connection));
        assert_eq!(rig.server.sessions(), []);
    }
}

#[test]
fn sessions_are_not_resumed() {
    for is_new in [false, true] {
        let mut rig = Rig::with(|config| config.sessions_are_not_resumed = is_new);
        let peer = rig.peer();
        rig.server.keep_journal();
        let (_, response) = rig.handshake(&resume(peer, 30_000));
        assert_eq!(response.unwrap().session_id != peer.session, is_new);
        let mut events = std::iter::from_fn(|| rig.server.poll_event());
        let resumed = events.find_map(|event| match event.kind {
            ConnectionEventKind::Attached { resumed, .. } => Some(resumed),
            _ => None,
        });
        assert_eq!(resumed, Some(!is_new));
        assert_eq!(
            rig.is_closed(peer.connection),
            !is_new,
            "who holds it goes on"
        );
    }
}

#[test]
fn connect_response_is_bare() {
    let mut rig = Rig::with(|config| config.connect_response_is_bare = true);
    let (_, response) = rig.handshake(&new_session(30_000));
    let ConnectResponse {
        password,
        read_only,
        ..
    } = response.unwrap();
    assert_eq!((password, read_only), (SessionPassword::NONE, None));
}

#[test]
fn read_only_byte_always() {
    for (always, read_only) in [(false, None), (true, Some(false))] {
        let mut rig = Rig::with(|config| config.read_only_byte_always = always);
        let old = ConnectRequest {
            read_only: None,
            ..new_session(30_000)
        };
        let (_, response) = rig.handshake(&old);
        assert_eq!(response.unwrap().read_only, read_only);
    }
}

#[test]
fn acls_are_public() {
    let secret: &[_] = &[(31, "digest", "bob:hash")];
    let shown = both(|config| config.acls_are_public = true).map(|(mut rig, peer)| {
        rig.call(peer, op::CREATE, &create("/a", Some(secret), 0));
        let answer = rig.call(peer, op::GET_ACL, &path_body("/a"));
        (
            answer.err(),
            answer.frame.windows(8).any(|part| part == b"bob:hash"),
        )
    });
    assert_eq!(shown, [(NO_AUTH, false), (0, true)]);
}

#[test]
fn zxid_seen_is_ignored() {
    for is_ignored in [false, true] {
        let mut rig = Rig::with(|config| config.zxid_seen_is_ignored = is_ignored);
        let ahead = ConnectRequest {
            last_zxid_seen: 1000,
            ..new_session(30_000)
        };
        let (_, response) = rig.handshake(&ahead);
        assert_eq!(response.is_some(), is_ignored);
    }
}

#[test]
fn session_ids_from_one() {
    let mut rig = Rig::with(|config| config.session_ids_from_one = true);
    assert_eq!([rig.peer().session, rig.peer().session], [1, 2]);
}

#[test]
fn lenient_acls() {
    let set = |config: &mut ServerConfig| config.lenient_acls = true;
    for (acl, expected) in [
        (None, [INVALID_ACL, 0]),
        (Some(&[][..]), [INVALID_ACL, 0]),
        (
            Some(&[(31, "sasl", "x"), (31, "world", "anyone")]),
            [INVALID_ACL, 0],
        ),
        (Some(&[(31, "sasl", "x")]), [INVALID_ACL; 2]),
        (Some(&[(31, "digest", "bob:")]), [INVALID_ACL, 0]),
        (Some(&[(31, "digest", "bob")]), [INVALID_ACL; 2]),
    ] {
        let body = create("/a", acl, 0);
        assert_eq!(errors(set, op::CREATE, &body), expected, "{acl:?}");
    }
}

#[test]
fn keeper_nodes() {
    let mut rig = Rig::with(|config| config.keeper_nodes = true);
    let peer = rig.peer();
    assert_eq!(rig.children(peer, "/", false).names(), ["keeper"]);
    assert_eq!(
        rig.children(peer, "/keeper", false).names(),
        ["api_version"]
    );
    for path in ["/keeper", "/keeper/api_version"] {
        assert_eq!(rig.delete(peer, path).err(), BAD_ARGUMENTS);
        assert_eq!(rig.set(peer, path, b"1").err(), BAD_ARGUMENTS);
    }
    let mode = CreateMode::Persistent;
    assert_eq!(rig.create(peer, "/keeper/a", mode).err(), BAD_ARGUMENTS);
    rig.make(peer, &["/keeper_map", "/zookeeper"]);
    assert_eq!(rig.delete(peer, "/zookeeper").err(), 0);
}

/// What a server answers to a word.
fn ask(config: ServerConfig, word: &str) -> String {
    let now = Now {
        instant: std::time::Instant::now(),
        unix_ms: 0,
    };
    let mut server = Server::new(config);
    let connection = server.accept(now, [127, 0, 0, 1].into());
    server.handle_bytes(now, connection, &mut word.as_bytes().into());
    let mut answer = String::new();
    while let Some(output) = server.poll_output() {
        match output {
            Output::Send(_, text) => answer += std::str::from_utf8(&text).unwrap(),
            Output::Close(_) => answer.push('.'),
        }
    }
    answer
}

#[test]
fn unknown_words() {
    let mut config = ServerConfig::default();
    assert!(ask(config.clone(), "hash").starts_with("hash is not executed"));
    config.unknown_words = vec!["hash".into()];
    assert_eq!(ask(config, "hash"), ".");
}

#[test]
fn unlisted_words_are_ignored() {
    let mut config = ServerConfig::default();
    config.unlisted_words_are_ignored = true;
    assert_eq!(ask(config, "mntr"), ".");
}

#[test]
fn whole_latencies_and_the_name_of_the_product() {
    let mut config = ServerConfig::default();
    assert!(ask(config.clone(), "srvr").contains("Latency min/avg/max: 0/0.0/0\n"));
    config.whole_latencies = true;
    config.product = "ClickHouse Keeper".into();
    config.version = "v24.8.1".into();
    let answer = ask(config, "srvr");
    assert!(
        answer.starts_with("ClickHouse Keeper version: v24.8.1-"),
        "{answer}"
    );
    assert!(answer.contains("Latency min/avg/max: 0/0/0\n"), "{answer}");
}

#[test]
fn a_3_4_answers_nearly_all_words() {
    let config = || ServerConfig::dialect(Dialect::ZooKeeper3_4);
    assert_eq!(ask(config(), "ruok"), "imok.");
    assert_eq!(ask(config(), "isro"), "rw.");
    assert_eq!(ask(config(), "dirs"), ".");
    assert!(ask(config(), "wchc").starts_with("wchc is not executed"));
    assert!(ask(config(), "srvr").starts_with("Zookeeper version: 3.4.14-"));
    let newer = ServerConfig::dialect(Dialect::ZooKeeper3_5);
    assert!(ask(newer, "ruok").starts_with("ruok is not executed"));
}

#[test]
fn a_3_9_tells_the_transaction_of_an_event() {
    let mut rig = Rig::with(|config| config.speak(Dialect::ZooKeeper3_9));
    let peer = rig.peer();
    let other = rig.peer();
    rig.exists(other, "/a", true);
    rig.make(peer, &["/a"]);
    let frame = rig.take(other.connection).remove(0);
    assert_eq!(frame[4..12], rig.server.last_zxid().to_be_bytes());
    let kind = EventType::NodeCreated as i32;
    assert_eq!(frame[16..20], kind.to_be_bytes());
}

#[test]
fn clickhouse_keeper_is_all_of_its_switches() {
    let mut rig = Rig::with(|config| config.speak(Dialect::ClickHouseKeeper));
    let (connection, response) = rig.handshake(&new_session(1));
    let response = response.unwrap();
    assert_eq!((response.session_id, response.timeout_ms), (1, 10_000));
    let peer = Peer {
        connection,
        session: 1,
        password: response.password,
    };
    assert_eq!(
        rig.call(peer, op::CREATE, &create("/a", Some(&[]), 0))
            .err(),
        0
    );
    assert_eq!(rig.children(peer, "/", false).names(), ["a", "keeper"]);
    let words = ServerConfig::dialect(Dialect::ClickHouseKeeper);
    assert_eq!(ask(words.clone(), "ruok"), "imok.");
    assert_eq!(ask(words, "wchc"), ".");
}
