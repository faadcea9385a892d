//! Every frame has a line that says what it is, and no line has a secret.

mod support;

use std::slice;

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::{
    Acl, AddWatch, AddWatchMode, Auth, Check, CheckWatches, ConnectRequest, ConnectResponse,
    Create, CreateMode, Delete, Empty, EventType, Exists, GetAcl, GetAllChildrenNumber,
    GetChildren, GetData, GetEphemerals, Multi, MultiOp, Reconfig, Record, RemoveWatches,
    ReplyHeader, RequestHeader, SaslToken, SessionPassword, SetAcl, SetData, SetWatches, Stat,
    Sync, Ttl, WatchedEvent, WatcherType, op, put_buffer, put_count, put_string, xid,
};
use homing_testkit::decode::{Decoder, Piece, Stream, Way};
use support::{Random, Raw, unhex};

/// A session as a real 3.8.0 server answered it, and how it reads.
const SESSION: &str = include_str!("recordings/session.hex");
const READABLE: &str = include_str!("recordings/session.txt");

/// Every frame of a session, its length included.
fn frames(session: &str) -> Vec<(Way, Vec<u8>)> {
    let session = session.replace("\n  ", " ");
    let way = |line: &str| match &line[..1] {
        ">" => Some(Way::ToServer),
        "<" => Some(Way::ToClient),
        _ => None,
    };
    let lines = session.lines().filter(|line| !line.is_empty());
    lines
        .filter_map(|line| Some((way(line)?, unhex(&line[1..]))))
        .collect()
}

/// Every piece of a connection, its bytes `chunk` at a time.
fn pieces(frames: &[(Way, Vec<u8>)], chunk: usize) -> Vec<(Way, Piece)> {
    let mut stream = Stream::new();
    let mut pieces = Vec::new();
    for (way, bytes) in frames {
        for bytes in bytes.chunks(chunk) {
            stream.push(*way, bytes);
            let whole = std::iter::from_fn(|| stream.next(*way));
            pieces.extend(whole.map(|piece| (*way, piece)));
        }
    }
    pieces
}

fn readable(pieces: &[(Way, Piece)]) -> String {
    let line = |(way, piece): &(Way, Piece)| match way {
        Way::ToServer => format!("-> {piece}\n"),
        Way::ToClient => format!("<- {piece}\n"),
    };
    pieces.iter().map(line).collect()
}

#[test]
fn a_real_session_reads_like_this() {
    assert_eq!(readable(&pieces(&frames(SESSION), usize::MAX)), READABLE);
}

#[test]
fn the_pieces_in_which_bytes_arrive_do_not_matter() {
    for chunk in [1, 3, 7, 64] {
        assert_eq!(readable(&pieces(&frames(SESSION), chunk)), READABLE);
    }
}

/// A decoder of a connection whose handshake is over.
fn connected() -> Decoder {
    let mut decoder = Decoder::new();
    decoder.decode(Way::ToServer, &encoded(&support::new_session(30_000)));
    decoder.decode(Way::ToClient, &encoded(&ConnectResponse::EXPIRED));
    decoder
}

fn encoded(record: &impl Record) -> Bytes {
    let mut body = BytesMut::new();
    record.encode(&mut body);
    body.freeze()
}

fn request(xid: i32, op: i32, body: &impl Record) -> Bytes {
    let mut frame = BytesMut::from(&encoded(&RequestHeader { xid, op })[..]);
    body.encode(&mut frame);
    frame.freeze()
}

fn reply(xid: i32, zxid: i64, err: i32, body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut frame = BytesMut::from(&encoded(&ReplyHeader { xid, zxid, err })[..]);
    body(&mut frame);
    frame.freeze()
}

/// How a request and its reply read.
fn exchange(op: i32, body: &impl Record, answer: impl FnOnce(&mut BytesMut)) -> [String; 2] {
    let mut decoder = connected();
    let asked = decoder.decode(Way::ToServer, &request(1, op, body));
    let answer = decoder.decode(Way::ToClient, &reply(1, 9, 0, answer));
    assert_eq!((asked.error(), answer.error()), (None, None));
    [asked.to_string(), answer.to_string()]
}

const STAT: Stat = Stat {
    czxid: 2,
    mzxid: 0x100,
    ctime: 1_700_000_000_000,
    mtime: 1_700_000_000_001,
    version: 3,
    cversion: 4,
    aversion: 5,
    ephemeral_owner: 0x1234,
    data_length: 6,
    num_children: 7,
    pzxid: 8,
};

const SHOWN: &str = "stat={czxid=0x2 mzxid=0x100 pzxid=0x8 version=3 cversion=4 aversion=5 \
                     dataLength=6 numChildren=7 ephemeralOwner=0x1234}";

fn put_stat(out: &mut BytesMut) {
    STAT.encode(out);
}

#[test]
fn every_operation_and_its_reply() {
    let acl = [
        Acl::digest("bob", "pw").permissions(1),
        Acl::ip("10.0.0.1").permissions(6),
    ];
    let ttl = Ttl::new(std::time::Duration::from_secs(60)).unwrap();
    let create = |mode| Create {
        path: "/a".into(),
        data: b"\0\xff",
        acl: &acl,
        mode,
    };
    let made = |out: &mut BytesMut| put_string(out, "/a");
    let made2 = |out: &mut BytesMut| {
        put_string(out, "/a");
        put_stat(out);
    };
    let create_shown = r#""/a" data[2]=0x00ff acl=[digest:bob:…:r, ip:10.0.0.1:cw]"#;
    let check = |got: [String; 2], asked: &str, answered: &str| {
        assert_eq!(got, [format!("xid=1 {asked}"), format!("xid=1 {answered}")]);
    };

    check(
        exchange(op::CREATE, &create(CreateMode::Ephemeral), made),
        &format!("create {create_shown} flags=EPHEMERAL"),
        r#"create zxid=0x9 ok "/a""#,
    );
    check(
        exchange(op::CREATE2, &create(CreateMode::EphemeralSequential), made2),
        &format!("create2 {create_shown} flags=EPHEMERAL_SEQUENTIAL"),
        &format!(r#"create2 zxid=0x9 ok "/a" {SHOWN}"#),
    );
    check(
        exchange(op::CREATE_CONTAINER, &create(CreateMode::Container), made2),
        &format!("createContainer {create_shown} flags=CONTAINER"),
        &format!(r#"createContainer zxid=0x9 ok "/a" {SHOWN}"#),
    );
    check(
        exchange(
            op::CREATE_TTL,
            &create(CreateMode::PersistentWithTtl(ttl)),
            made2,
        ),
        &format!("createTTL {create_shown} flags=PERSISTENT_WITH_TTL ttl=60000"),
        &format!(r#"createTTL zxid=0x9 ok "/a" {SHOWN}"#),
    );
    let delete = Delete {
        path: "/a".into(),
        version: -1,
    };
    check(
        exchange(op::DELETE, &delete, |_| ()),
        r#"delete "/a" version=-1"#,
        "delete zxid=0x9 ok",
    );
    let delete = support::path_body("/a");
    check(
        exchange(20, &delete, |_| ()),
        r#"deleteContainer "/a""#,
        "deleteContainer zxid=0x9 ok",
    );
    let exists = Exists {
        path: "/a".into(),
        watch: true,
    };
    check(
        exchange(op::EXISTS, &exists, put_stat),
        r#"exists "/a" watch=true"#,
        &format!("exists zxid=0x9 ok {SHOWN}"),
    );
    let get = GetData {
        path: "/a".into(),
        watch: false,
    };
    check(
        exchange(op::GET_DATA, &get, |out| {
            put_buffer(out, None);
            put_stat(out);
        }),
        r#"getData "/a" watch=false"#,
        &format!("getData zxid=0x9 ok data=null {SHOWN}"),
    );
    let set = SetData {
        path: "/a".into(),
        data: b"a\n\"b\"",
        version: 7,
    };
    check(
        exchange(op::SET_DATA, &set, put_stat),
        r#"setData "/a" data[5]="a\n\"b\"" version=7"#,
        &format!("setData zxid=0x9 ok {SHOWN}"),
    );
    check(
        exchange(op::GET_ACL, &GetAcl { path: "/a".into() }, |out| {
            Acl::put_list(out, &acl);
            put_stat(out);
        }),
        r#"getACL "/a""#,
        &format!("getACL zxid=0x9 ok acl=[digest:bob:…:r, ip:10.0.0.1:cw] {SHOWN}"),
    );
    let set = SetAcl {
        path: "/a".into(),
        acl: &[Acl::open().permissions(64)],
        version: 2,
    };
    check(
        exchange(op::SET_ACL, &set, put_stat),
        r#"setACL "/a" acl=[world:anyone:64] version=2"#,
        &format!("setACL zxid=0x9 ok {SHOWN}"),
    );
    let list = GetChildren {
        path: "/".into(),
        watch: true,
    };
    let names = |out: &mut BytesMut| {
        put_count(out, 2);
        put_string(out, "a");
        put_string(out, "ü");
    };
    check(
        exchange(op::GET_CHILDREN, &list, names),
        r#"getChildren "/" watch=true"#,
        r#"getChildren zxid=0x9 ok children=["a", "ü"]"#,
    );
    check(
        exchange(op::GET_CHILDREN2, &list, |out| {
            names(out);
            put_stat(out);
        }),
        r#"getChildren2 "/" watch=true"#,
        &format!(r#"getChildren2 zxid=0x9 ok children=["a", "ü"] {SHOWN}"#),
    );
    check(
        exchange(op::SYNC, &Sync { path: "/".into() }, made),
        r#"sync "/""#,
        r#"sync zxid=0x9 ok "/a""#,
    );
    let version = Check {
        path: "/a".into(),
        version: 1,
    };
    check(
        exchange(op::CHECK, &version, |_| ()),
        r#"check "/a" version=1"#,
        "check zxid=0x9 ok",
    );
    let reconfig = Reconfig {
        leaving: Some("3"),
        from_config: 255,
        ..Reconfig::default()
    };
    check(
        exchange(op::RECONFIG, &reconfig, |out| {
            put_buffer(out, Some(b"version=100"));
            put_stat(out);
        }),
        r#"reconfig joiningServers=null leavingServers="3" newMembers=null curConfigId=255"#,
        &format!(r#"reconfig zxid=0x9 ok data[11]="version=100" {SHOWN}"#),
    );
    let watches = CheckWatches {
        path: "/a".into(),
        kind: WatcherType::Children,
    };
    check(
        exchange(op::CHECK_WATCHES, &watches, |_| ()),
        r#"checkWatches "/a" type=Children"#,
        "checkWatches zxid=0x9 ok",
    );
    let watches = RemoveWatches {
        path: "/a".into(),
        kind: WatcherType::PersistentRecursive,
    };
    check(
        exchange(op::REMOVE_WATCHES, &watches, |_| ()),
        r#"removeWatches "/a" type=PersistentRecursive"#,
        "removeWatches zxid=0x9 ok",
    );
    let auth = Auth {
        scheme: "digest",
        proof: b"bob:secret",
    };
    check(
        exchange(op::AUTH, &auth, |_| ()),
        r#"auth scheme="digest" auth[10]=***"#,
        "auth zxid=0x9 ok",
    );
    let (a, root) = (["/a".into(), "/b".into()], ["/".into()]);
    let set = SetWatches {
        relative_zxid: 16,
        data: &a,
        ..SetWatches::default()
    };
    check(
        exchange(op::SET_WATCHES, &set, |_| ()),
        r#"setWatches relativeZxid=0x10 dataWatches=["/a", "/b"] existWatches=[] childWatches=[]"#,
        "setWatches zxid=0x9 ok",
    );
    let set = SetWatches {
        persistent: &root,
        ..set
    };
    check(
        exchange(op::SET_WATCHES2, &set, |_| ()),
        concat!(
            r#"setWatches2 relativeZxid=0x10 dataWatches=["/a", "/b"] existWatches=[] "#,
            r#"childWatches=[] persistentWatches=["/"] persistentRecursiveWatches=[]"#,
        ),
        "setWatches2 zxid=0x9 ok",
    );
    check(
        exchange(op::SASL, &SaslToken(b"secret"), |out| {
            put_buffer(out, Some(b"rspauth"));
        }),
        "sasl token[6]=***",
        "sasl zxid=0x9 ok token[7]=***",
    );
    let prefix = GetEphemerals {
        prefix: "/a".into(),
    };
    check(
        exchange(op::GET_EPHEMERALS, &prefix, names),
        r#"getEphemerals "/a""#,
        r#"getEphemerals zxid=0x9 ok ephemerals=["a", "ü"]"#,
    );
    let count = GetAllChildrenNumber { path: "/".into() };
    check(
        exchange(op::GET_ALL_CHILDREN_NUMBER, &count, |out| out.put_i32(5)),
        r#"getAllChildrenNumber "/""#,
        "getAllChildrenNumber zxid=0x9 ok totalNumber=5",
    );
    let add = AddWatch {
        path: "/a".into(),
        mode: AddWatchMode::Persistent,
    };
    check(
        exchange(op::ADD_WATCH, &add, |out| out.put_i32(0)),
        r#"addWatch "/a" mode=PERSISTENT"#,
        "addWatch zxid=0x9 ok",
    );
    check(
        exchange(op::WHO_AM_I, &Empty, |out| {
            put_count(out, 1);
            put_string(out, "digest");
            put_string(out, "bob");
        }),
        "whoAmI",
        r#"whoAmI zxid=0x9 ok clientInfo=["digest:bob"]"#,
    );
    check(
        exchange(op::CLOSE_SESSION, &Empty, |_| ()),
        "closeSession",
        "closeSession zxid=0x9 ok",
    );
}

#[test]
fn pings_events_and_errors() {
    let mut decoder = connected();
    // Servers answer a ping with −2, whatever its xid was.
    let ping = request(5, op::PING, &Empty);
    assert_eq!(
        decoder.decode(Way::ToServer, &ping).to_string(),
        "xid=5 ping"
    );
    let pong = reply(xid::PING, 3, 0, |_| ());
    assert_eq!(
        decoder.decode(Way::ToClient, &pong).to_string(),
        "ping zxid=0x3 ok"
    );
    let event = WatchedEvent {
        kind: EventType::NodeDeleted,
        path: "/a".into(),
    };
    let event = reply(xid::NOTIFICATION, 0x20, 0, |out| event.encode(out));
    assert_eq!(
        decoder.decode(Way::ToClient, &event).to_string(),
        r#"event zxid=0x20 NodeDeleted "/a""#
    );
    // Nobody reads a body behind an error.
    decoder.decode(
        Way::ToServer,
        &request(6, op::MULTI_READ, &Multi(std::iter::empty())),
    );
    let failed = reply(6, 4, -5, |out| out.put_slice(b"xyz"));
    assert_eq!(
        decoder.decode(Way::ToClient, &failed).to_string(),
        "xid=6 multiRead zxid=0x4 MarshallingError (-5) and 3 more bytes"
    );
    let unasked = reply(77, 4, 0, |out| out.put_slice(b"xyz"));
    assert_eq!(
        decoder.decode(Way::ToClient, &unasked).to_string(),
        "xid=77 reply to nothing zxid=0x4 ok and 3 more bytes"
    );
    let unknown = request(8, 99, &Raw(vec![1, 2]));
    assert_eq!(
        decoder.decode(Way::ToServer, &unknown).to_string(),
        "xid=8 operation 99 and 2 more bytes"
    );
    let refused = reply(8, -1, -6, |_| ());
    assert_eq!(
        decoder.decode(Way::ToClient, &refused).to_string(),
        "xid=8 operation 99 zxid=-1 Unimplemented (-6)"
    );
}

#[test]
fn replies_that_overtake_others_find_their_requests() {
    let mut decoder = connected();
    let set = SetData {
        path: "/a".into(),
        data: b"",
        version: -1,
    };
    let auth = Auth {
        scheme: "digest",
        proof: b"bob:pw",
    };
    decoder.decode(Way::ToServer, &request(1, op::SET_DATA, &set));
    decoder.decode(Way::ToServer, &request(xid::AUTH, op::AUTH, &auth));
    let first = decoder.decode(Way::ToClient, &reply(xid::AUTH, 0, 0, |_| ()));
    assert_eq!(first.to_string(), "auth zxid=0x0 ok");
    let second = decoder.decode(Way::ToClient, &reply(1, 2, 0, put_stat));
    assert_eq!(
        second.to_string(),
        format!("xid=1 setData zxid=0x2 ok {SHOWN}")
    );
}

#[test]
fn transactions_inside_transactions_are_not_read() {
    let mut inner = BytesMut::new();
    for _ in 0..50_000 {
        inner.put_i32(op::MULTI);
        inner.put_u8(0);
        inner.put_i32(-1);
    }
    let decoded = connected().decode(Way::ToServer, &request(1, op::MULTI, &Raw(inner.into())));
    assert_eq!(
        decoded.to_string(),
        "xid=1 multi [] undecodable: type at byte 8: the unknown value 14"
    );
}

#[test]
fn long_things_are_shortened() {
    let data = vec![b'x'; 1000];
    let set = SetData {
        path: "/a".into(),
        data: &data,
        version: 0,
    };
    let line = connected()
        .decode(Way::ToServer, &request(1, op::SET_DATA, &set))
        .to_string();
    let shown = "x".repeat(120);
    assert_eq!(
        line,
        format!(r#"xid=1 setData "/a" data[1000]="{shown}"…880 more version=0"#)
    );
    let set = SetData {
        data: &[0xff; 40],
        ..set
    };
    let line = connected()
        .decode(Way::ToServer, &request(1, op::SET_DATA, &set))
        .to_string();
    let shown = "ff".repeat(32);
    assert_eq!(
        line,
        format!(r#"xid=1 setData "/a" data[40]=0x{shown}…8 more version=0"#)
    );
    let checks = (0..30).map(|version| {
        MultiOp::Check(Check {
            path: "/a".into(),
            version,
        })
    });
    let multi = request(1, op::MULTI, &Multi(checks));
    let line = connected().decode(Way::ToServer, &multi).to_string();
    assert!(
        line.ends_with(r#"; check "/a" version=19; …10 more]"#),
        "{line}"
    );
}

#[test]
fn words_and_their_answers_are_text() {
    let mut stream = Stream::new();
    stream.push(Way::ToServer, b"mn");
    assert_eq!(stream.next(Way::ToServer), None);
    stream.push(Way::ToServer, b"tr");
    assert_eq!(
        stream.next(Way::ToServer).unwrap().to_string(),
        r#"word "mntr""#
    );
    stream.push(Way::ToClient, b"zk_version\t3.8.0\n");
    let answer = stream.next(Way::ToClient).unwrap();
    assert_eq!(answer.to_string(), r#"text "zk_version\t3.8.0\n""#);
    assert_eq!(stream.finish(Way::ToClient), None);
}

#[test]
fn what_is_no_frame_says_so() {
    for (length, line) in [
        (-1, "undecodable: a frame of -1 bytes"),
        (i32::MAX, "undecodable: a frame of 2147483647 bytes"),
    ] {
        let mut stream = Stream::new();
        stream.push(Way::ToServer, &length.to_be_bytes());
        assert_eq!(stream.next(Way::ToServer).unwrap().to_string(), line);
        // From here on nobody knows what is what, so nothing is shown.
        stream.push(Way::ToServer, b"secret");
        let lost = stream.next(Way::ToServer).unwrap();
        assert_eq!(
            lost.to_string(),
            "undecodable: 6 bytes behind a wrong length"
        );
        assert_eq!(lost.secrets(), slice::from_ref(&(0..6)));
    }
    let mut stream = Stream::new();
    stream.push(Way::ToServer, b"\0\0\0\x2dsecret");
    assert_eq!(stream.next(Way::ToServer), None);
    let torn = stream.finish(Way::ToServer).unwrap();
    assert_eq!(torn.to_string(), "undecodable: 6 of 45 bytes");
    assert_eq!(torn.secrets(), slice::from_ref(&(0..10)));
}

/// Frames that hold a secret, once each.
fn confidential() -> Vec<(Way, Bytes)> {
    let password = SessionPassword::new(b"sixteen secrets!").unwrap();
    let hello = ConnectRequest {
        session_id: 5,
        password,
        ..support::new_session(30_000)
    };
    let welcome = ConnectResponse {
        timeout_ms: 30_000,
        session_id: 5,
        password,
        read_only: Some(false),
    };
    let acl = [
        Acl::new("digest", "bob:sixteen secrets!"),
        // Servers look at nothing behind the scheme, and so people write what they like there.
        Acl::new("auth", "bob:sixteen secrets!"),
    ];
    let create = Create {
        path: "/a".into(),
        data: b"",
        acl: &acl,
        mode: CreateMode::Persistent,
    };
    let auth = Auth {
        scheme: "digest",
        proof: b"bob:sixteen secrets!",
    };
    let inside = Multi([MultiOp::Create(op::CREATE, create)].into_iter());
    vec![
        (Way::ToServer, encoded(&hello)),
        (Way::ToClient, encoded(&welcome)),
        (Way::ToServer, request(1, op::CREATE, &create)),
        (Way::ToServer, request(2, op::MULTI, &inside)),
        (Way::ToServer, request(xid::AUTH, op::AUTH, &auth)),
        (
            Way::ToServer,
            request(3, op::SASL, &SaslToken(b"sixteen secrets!")),
        ),
        (
            Way::ToClient,
            reply(3, 0, 0, |out| put_buffer(out, Some(b"sixteen secrets!"))),
        ),
        (
            Way::ToServer,
            request(4, op::GET_ACL, &GetAcl { path: "/a".into() }),
        ),
        (
            Way::ToClient,
            reply(4, 2, 0, |out| {
                Acl::put_list(out, &acl);
                put_stat(out);
            }),
        ),
    ]
}

#[test]
fn secrets_are_found_and_never_shown() {
    let mut decoder = Decoder::new();
    for (way, frame) in confidential() {
        let decoded = decoder.decode(way, &frame);
        let line = format!("{decoded} {decoded:?}");
        assert!(!line.contains("secret"), "{line}");
        let needle = b"sixteen secrets!";
        let Some(at) = frame
            .windows(needle.len())
            .position(|window| window == needle)
        else {
            assert_eq!(decoded.secrets(), [], "{line}");
            continue;
        };
        let hidden = decoded.secrets();
        let end = at + needle.len();
        assert!(
            hidden.iter().any(|it| it.start <= at && it.end == end),
            "{line} {hidden:?}"
        );
    }
}

#[test]
fn cut_anywhere_a_frame_has_a_line_and_keeps_its_secrets() {
    for (index, (way, frame)) in confidential().into_iter().enumerate() {
        for len in 0..frame.len() {
            let mut decoder = Decoder::new();
            for (way, frame) in confidential().into_iter().take(index) {
                decoder.decode(way, &frame);
            }
            let decoded = decoder.decode(way, &frame.slice(..len));
            assert!(!decoded.to_string().contains("secret"), "{decoded}");
            let mut left = frame[..len].to_vec();
            for hidden in decoded.secrets() {
                left[hidden.clone()].fill(b'*');
            }
            let shown = String::from_utf8_lossy(&left).into_owned();
            assert!(!shown.contains("sixt"), "{decoded}: {shown}");
        }
    }
    for (way, frame) in frames(SESSION) {
        for len in 4..frame.len() {
            for mut decoder in [Decoder::new(), connected()] {
                // Whatever it answers, it has been asked.
                let known = [op::CREATE, op::GET_DATA, op::MULTI_READ, op::WHO_AM_I];
                for (xid, op) in (1..).zip(known) {
                    decoder.decode(Way::ToServer, &request(xid, op, &Empty));
                }
                let line = decoder.decode(way, &Bytes::copy_from_slice(&frame[4..len]));
                assert_eq!(line.to_string().lines().count(), 1);
            }
        }
    }
}

#[test]
fn random_bytes_have_lines_too() {
    let mut random = Random(11);
    let ops: Vec<i32> = (-12..24).chain(99..109).collect();
    for _ in 0..30_000 {
        let mut decoder = connected();
        let op = ops[random.below(ops.len() as u64) as usize];
        for way in [Way::ToServer, Way::ToClient] {
            let mut frame = BytesMut::new();
            frame.put_i32(1);
            match way {
                Way::ToServer => frame.put_i32(op),
                Way::ToClient => frame.put_slice(&[0; 12]),
            }
            for _ in 0..random.below(12) {
                match random.below(3) {
                    0 => frame.put_i32(random.number()),
                    1 => frame.put_u8(random.next() as u8),
                    _ => put_string(
                        &mut frame,
                        ["/a", "digest", "bob:x\n\t", ""][random.below(4) as usize],
                    ),
                }
            }
            let len = frame.len();
            let decoded = decoder.decode(way, &frame.freeze());
            let line = decoded.to_string();
            assert!(!line.contains(['\n', '\t']), "{line}");
            assert!(
                decoded
                    .secrets()
                    .iter()
                    .all(|at| at.start <= at.end && at.end <= len)
            );
        }
    }
}
