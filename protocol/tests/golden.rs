//! Bytes that a real server and a real client exchanged (ZooKeeper 3.8.0, standalone, with an
//! empty data directory), in both directions: what a record is encoded to, and what it is read
//! from. Frames are written as hex digits, with spaces between fields.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::{
    Acl, AddWatch, AddWatchMode, Check, ConnectRequest, ConnectResponse, Create, CreateMode,
    Delete, Empty, ErrorCode, EventType, Exists, GetChildren, GetData, Id, Identity, Multi,
    MultiOp, MultiResult, Reader, Record, RemoveWatches, ReplyHeader, RequestHeader,
    SessionPassword, SetData, SetWatches, Stat, Sync, Ttl, WatchedEvent, WatcherType, frame,
    incoming, op, permission, put_buffer, put_count, put_request, put_string, reply, request_len,
    xid,
};

// ---- The handshake -----------------------------------------------------------------------------

#[test]
fn a_new_session() {
    let request = ConnectRequest {
        last_zxid_seen: 0,
        timeout_ms: 30_000,
        session_id: 0,
        password: SessionPassword::NONE,
        read_only: Some(false),
    };
    connects(
        "0000002d 00000000 0000000000000000 00007530 0000000000000000 00000010
         00000000000000000000000000000000 00",
        &request,
    );
    connects(
        "0000002c 00000000 0000000000000000 00007530 0000000000000000 00000010
         00000000000000000000000000000000",
        &ConnectRequest {
            read_only: None,
            ..request
        },
    );
    accepts(
        "00000025 00000000 00007530 0100001be8c40000 00000010
         fe2d1fcab3fa55890c5cddb7b441a502 00",
        &session(Some(false)),
    );
    accepts(
        "00000024 00000000 00007530 0100001be8c40000 00000010
         fe2d1fcab3fa55890c5cddb7b441a502",
        &session(None),
    );
}

#[test]
fn a_session_is_resumed() {
    let session = session(Some(false));
    connects(
        "0000002d 00000000 0000000000000007 00007530 0100001be8c40000 00000010
         fe2d1fcab3fa55890c5cddb7b441a502 00",
        &ConnectRequest {
            last_zxid_seen: 7,
            timeout_ms: 30_000,
            session_id: session.session_id,
            password: session.password,
            read_only: Some(false),
        },
    );
}

#[test]
fn an_unknown_session_is_expired() {
    connects(
        "0000002d 00000000 0000000000000000 00002710 000000000000004d 00000010
         00000000000000000000000000000000 00",
        &ConnectRequest {
            last_zxid_seen: 0,
            timeout_ms: 10_000,
            session_id: 77,
            password: SessionPassword::NONE,
            read_only: Some(false),
        },
    );
    accepts(
        "00000025 00000000 00000000 0000000000000000 00000010
         00000000000000000000000000000000 00",
        &ConnectResponse {
            read_only: Some(false),
            ..ConnectResponse::EXPIRED
        },
    );
}

#[test]
fn a_read_only_server_refuses_with_a_header() {
    let refusal = hex("00000000 0000000000000000 ffffff89");
    assert!(refusal.len() < ConnectResponse::LEN_MIN);
    assert!(ConnectResponse::decode(&refusal).is_err());
    let header = ReplyHeader::decode(&refusal).unwrap();
    assert_eq!(ErrorCode::from_code(header.err), ErrorCode::NotReadOnly);
}

fn session(read_only: Option<bool>) -> ConnectResponse {
    ConnectResponse {
        timeout_ms: 30_000,
        session_id: 0x0100_001b_e8c4_0000,
        password: SessionPassword::new(&hex("fe2d1fcab3fa55890c5cddb7b441a502")).unwrap(),
        read_only,
    }
}

fn connects(bytes: &str, request: &ConnectRequest) {
    assert_eq!(framed(request), hex(bytes));
    assert_eq!(&ConnectRequest::decode(&payload(bytes)).unwrap(), request);
}

fn accepts(bytes: &str, response: &ConnectResponse) {
    assert_eq!(framed(response), hex(bytes));
    assert_eq!(&ConnectResponse::decode(&payload(bytes)).unwrap(), response);
}

fn framed(record: &impl Record) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(record.encoded_len()).unwrap());
    record.encode(&mut out);
    out.freeze()
}

// ---- Requests and their replies ----------------------------------------------------------------

#[test]
fn create() {
    let body = sends(
        "00000033 00000001 00000001 00000002 2f61 00000002 6869
         00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000",
        RequestHeader {
            xid: 1,
            op: op::CREATE,
        },
        &Create {
            path: "/a".into(),
            data: b"hi",
            acl: &open(),
            mode: CreateMode::Persistent,
        },
    );
    let read = incoming::Create::read(&mut Reader::new(&body)).unwrap();
    assert_eq!(read.path.as_deref(), Some("/a"));
    assert_eq!(read.data.as_deref(), Some(&b"hi"[..]));
    assert_eq!(read.acl, Some(vec![open_entry()]));
    assert_eq!((read.flags, read.ttl), (0, None));

    let frame = comes(
        "00000016 00000001 0000000000000002 00000000 00000002 2f61",
        ok(1, 2),
        |out| put_string(out, "/a"),
    );
    assert_eq!(body_of(&frame).string("path").unwrap(), "/a");
}

#[test]
fn get_data() {
    let body = sends(
        "0000000f 00000002 00000004 00000002 2f61 00",
        RequestHeader {
            xid: 2,
            op: op::GET_DATA,
        },
        &GetData {
            path: "/a".into(),
            watch: false,
        },
    );
    let (path, watch) = incoming::path_and_watch(&mut Reader::new(&body)).unwrap();
    assert_eq!((path.as_deref(), watch), (Some("/a"), false));

    let stat = Stat {
        czxid: 2,
        mzxid: 2,
        ctime: 0x01a1_fa35_a312,
        mtime: 0x01a1_fa35_a312,
        data_length: 2,
        pzxid: 2,
        ..Stat::default()
    };
    let frame = comes(
        "0000005a 00000002 0000000000000002 00000000 00000002 6869
         0000000000000002 0000000000000002 000001a1fa35a312 000001a1fa35a312 00000000 00000000
         00000000 0000000000000000 00000002 00000000 0000000000000002",
        ok(2, 2),
        |out| {
            put_buffer(out, Some(b"hi"));
            stat.encode(out);
        },
    );
    let hi = Bytes::from_static(b"hi");
    assert_eq!(reply::get_data(&frame).unwrap(), (Some(hi), stat));
}

#[test]
fn exists_with_a_watch_on_a_missing_node() {
    let body = sends(
        "0000000f 00000003 00000003 00000002 2f62 01",
        RequestHeader {
            xid: 3,
            op: op::EXISTS,
        },
        &Exists {
            path: "/b".into(),
            watch: true,
        },
    );
    let (path, watch) = incoming::path_and_watch(&mut Reader::new(&body)).unwrap();
    assert_eq!((path.as_deref(), watch), (Some("/b"), true));

    let header = ReplyHeader {
        xid: 3,
        zxid: 2,
        err: ErrorCode::NoNode.code(),
    };
    comes(
        "00000010 00000003 0000000000000002 ffffff9b",
        header,
        |_| {},
    );
}

#[test]
fn create2_and_the_event_before_its_reply() {
    let body = sends(
        "00000031 00000004 0000000f 00000002 2f62 00000000
         00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000",
        RequestHeader {
            xid: 4,
            op: op::CREATE2,
        },
        &Create {
            path: "/b".into(),
            data: b"",
            acl: &open(),
            mode: CreateMode::Persistent,
        },
    );
    let read = incoming::Create::read(&mut Reader::new(&body)).unwrap();
    assert_eq!(read.data, Some(Bytes::new()), "empty, not null");

    notifies(
        "0000001e ffffffff ffffffffffffffff 00000000 00000001 00000003 00000002 2f62",
        EventType::NodeCreated,
        "/b",
    );
    let stat = Stat {
        czxid: 3,
        mzxid: 3,
        ctime: 0x01a1_fa35_a322,
        mtime: 0x01a1_fa35_a322,
        pzxid: 3,
        ..Stat::default()
    };
    let frame = comes(
        "0000005a 00000004 0000000000000003 00000000 00000002 2f62
         0000000000000003 0000000000000003 000001a1fa35a322 000001a1fa35a322 00000000 00000000
         00000000 0000000000000000 00000000 00000000 0000000000000003",
        ok(4, 3),
        |out| {
            put_string(out, "/b");
            stat.encode(out);
        },
    );
    assert_eq!(reply::create2(&frame).unwrap(), ("/b".into(), stat));
}

#[test]
fn get_children() {
    let body = sends(
        "0000000e 00000005 00000008 00000001 2f 00",
        RequestHeader {
            xid: 5,
            op: op::GET_CHILDREN,
        },
        &GetChildren {
            path: "/".into(),
            watch: false,
        },
    );
    let (path, watch) = incoming::path_and_watch(&mut Reader::new(&body)).unwrap();
    assert_eq!((path.as_deref(), watch), (Some("/"), false));

    let children = ["a", "b", "zookeeper"];
    let frame = comes(
        "0000002b 00000005 0000000000000003 00000000
         00000003 00000001 61 00000001 62 00000009 7a6f6f6b6565706572",
        ok(5, 3),
        |out| {
            put_count(out, children.len());
            children.iter().for_each(|name| put_string(out, name));
        },
    );
    let mut reader = body_of(&frame);
    let count = reader.count("children", 4).unwrap().unwrap();
    let names: Vec<_> = (0..count)
        .map(|_| reader.string("child").unwrap())
        .collect();
    assert_eq!(names, children);
    assert_eq!(reader.remaining(), 0);

    // getChildren2 is the same with a stat behind it.
    let mut with_stat = BytesMut::from(&frame[..]);
    Stat::default().encode(&mut with_stat);
    let (count, names, stat) = reply::get_children2(&with_stat.freeze()).unwrap();
    assert_eq!((count, stat), (3, Stat::default()));
    assert_eq!(names, frame.slice(ReplyHeader::LEN + 4..));
}

#[test]
fn set_data() {
    let body = sends(
        "00000018 00000007 00000005 00000002 2f61 00000002 796f 00000000",
        RequestHeader {
            xid: 7,
            op: op::SET_DATA,
        },
        &SetData {
            path: "/a".into(),
            data: b"yo",
            version: 0,
        },
    );
    let read = incoming::SetData::read(&mut Reader::new(&body)).unwrap();
    assert_eq!(read.path.as_deref(), Some("/a"));
    assert_eq!((read.data.as_deref(), read.version), (Some(&b"yo"[..]), 0));

    let stat = Stat {
        czxid: 2,
        mzxid: 4,
        ctime: 0x01a1_fa35_a312,
        mtime: 0x01a1_fa35_a337,
        version: 1,
        data_length: 2,
        pzxid: 2,
        ..Stat::default()
    };
    let frame = comes(
        "00000054 00000007 0000000000000004 00000000
         0000000000000002 0000000000000004 000001a1fa35a312 000001a1fa35a337 00000001 00000000
         00000000 0000000000000000 00000002 00000000 0000000000000002",
        ok(7, 4),
        |out| stat.encode(out),
    );
    assert_eq!(reply::stat(&frame).unwrap(), stat);
}

#[test]
fn create_ttl() {
    let frame = payload(
        "00000039 00000008 00000015 00000002 2f74 ffffffff
         00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000005 00000000000003e8",
    );
    let mut reader = Reader::new(&frame);
    let header = RequestHeader::read(&mut reader).unwrap();
    assert_eq!((header.xid, header.op), (8, op::CREATE_TTL));
    let read = incoming::Create::read_with_ttl(&mut reader).unwrap();
    assert_eq!((read.path.as_deref(), read.data), (Some("/t"), None));
    assert_eq!(read.acl, Some(vec![open_entry()]));
    assert_eq!((read.flags, read.ttl), (5, Some(1000)));
    assert_eq!(reader.remaining(), 0);

    // What is written here differs in one field: data without bytes is empty, never null.
    let ttl = Ttl::new(Duration::from_secs(1)).unwrap();
    let mode = CreateMode::PersistentWithTtl(ttl);
    let body = sends(
        "00000039 00000008 00000015 00000002 2f74 00000000
         00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000005 00000000000003e8",
        RequestHeader {
            xid: 8,
            op: mode.op(),
        },
        &Create {
            path: "/t".into(),
            data: b"",
            acl: &open(),
            mode,
        },
    );
    let read = incoming::Create::read_with_ttl(&mut Reader::new(&body)).unwrap();
    assert_eq!((read.data, read.ttl), (Some(Bytes::new()), Some(1000)));
    let sequential = CreateMode::PersistentSequentialWithTtl(ttl);
    assert_eq!((sequential.flags(), sequential.op()), (6, op::CREATE_TTL));
    let container = CreateMode::Container;
    assert_eq!(
        (container.flags(), container.op()),
        (4, op::CREATE_CONTAINER)
    );

    // Of the captured reply the times were not kept. Its owner is that of a plain node.
    let stat = Stat {
        czxid: 5,
        mzxid: 5,
        pzxid: 5,
        ..Stat::default()
    };
    let frame = comes(
        "0000005a 00000008 0000000000000005 00000000 00000002 2f74
         0000000000000005 0000000000000005 0000000000000000 0000000000000000 00000000 00000000
         00000000 0000000000000000 00000000 00000000 0000000000000005",
        ok(8, 5),
        |out| {
            put_string(out, "/t");
            stat.encode(out);
        },
    );
    assert_eq!(reply::create2(&frame).unwrap(), ("/t".into(), stat));
}

#[test]
fn sync() {
    let body = sends(
        "0000000d 0000000a 00000009 00000001 2f",
        RequestHeader {
            xid: 10,
            op: op::SYNC,
        },
        &Sync { path: "/".into() },
    );
    let path = incoming::path(&mut Reader::new(&body)).unwrap();
    assert_eq!(path.as_deref(), Some("/"));

    let frame = comes(
        "00000015 0000000a 0000000000000005 00000000 00000001 2f",
        ok(10, 5),
        |out| put_string(out, "/"),
    );
    assert_eq!(body_of(&frame).string("path").unwrap(), "/");
}

#[test]
fn ping() {
    let header = RequestHeader {
        xid: xid::PING,
        op: op::PING,
    };
    sends("00000008 fffffffe 0000000b", header, &Empty);
    comes(
        "00000010 fffffffe 0000000000000005 00000000",
        ok(xid::PING, 5),
        |_| {},
    );
}

#[test]
fn close_session() {
    let header = RequestHeader {
        xid: 1,
        op: op::CLOSE_SESSION,
    };
    sends("00000008 00000001 fffffff5", header, &Empty);
    comes(
        "00000010 00000001 0000000000000008 00000000",
        ok(1, 8),
        |_| {},
    );
}

#[test]
fn auth() {
    let frame =
        payload("00000020 fffffffc 00000064 00000000 00000006 646967657374 00000006 626f623a7077");
    let mut reader = Reader::new(&frame);
    let header = RequestHeader::read(&mut reader).unwrap();
    assert_eq!((header.xid, header.op), (xid::AUTH, op::AUTH));
    let auth = incoming::Auth::read(&mut reader).unwrap();
    assert_eq!(auth.scheme.as_deref(), Some("digest"));
    assert_eq!(auth.credentials.as_deref(), Some(&b"bob:pw"[..]));
    assert_eq!(reader.remaining(), 0);
    comes(
        "00000010 fffffffc 0000000000000000 00000000",
        ok(xid::AUTH, 0),
        |_| {},
    );
}

#[test]
fn the_first_round_of_sasl() {
    let frame = payload("0000000c 00000001 00000066 00000000");
    let mut reader = Reader::new(&frame);
    let header = RequestHeader::read(&mut reader).unwrap();
    assert_eq!((header.xid, header.op), (1, op::SASL));
    assert_eq!(reader.buffer("token").unwrap(), Some(Bytes::new()));
}

#[test]
fn who_am_i() {
    let header = RequestHeader {
        xid: 12,
        op: op::WHO_AM_I,
    };
    sends("00000008 0000000c 0000006b", header, &Empty);

    let ids = [("digest", "bob"), ("ip", "127.0.0.1")];
    let frame = comes(
        "00000038 0000000c 0000000000000005 00000000
         00000002 00000006 646967657374 00000003 626f62 00000002 6970 00000009 3132372e302e302e31",
        ok(12, 5),
        |out| {
            put_count(out, ids.len());
            for (scheme, id) in ids {
                put_string(out, scheme);
                put_string(out, id);
            }
        },
    );
    let identity = |(scheme, user): (&str, &str)| Identity {
        scheme: scheme.into(),
        user: user.into(),
    };
    assert_eq!(reply::who_am_i(&frame).unwrap(), ids.map(identity));
}

#[test]
fn modes_by_their_numbers() {
    for (mode, number) in [
        (CreateMode::Persistent, 0),
        (CreateMode::Ephemeral, 1),
        (CreateMode::PersistentSequential, 2),
        (CreateMode::EphemeralSequential, 3),
    ] {
        assert_eq!(mode.flags(), number);
        assert_eq!(mode.is_sequential(), number >= 2);
    }
}

/// What a server takes for true.
#[test]
fn any_byte_but_zero_is_true() {
    let frame = hex("00 01 02 ff");
    let mut reader = Reader::new(&frame);
    let read: Vec<_> = (0..4).map(|_| reader.bool("watch").unwrap()).collect();
    assert_eq!(read, [false, true, true, true]);
}

// ---- Watches -----------------------------------------------------------------------------------

#[test]
fn add_watch_and_remove_watches() {
    for (bytes, xid, op, kind) in [
        (
            "00000012 00000009 0000006a 00000002 2f61 00000001",
            9,
            op::ADD_WATCH,
            1,
        ),
        (
            "00000012 0000000b 00000012 00000002 2f61 00000003",
            11,
            op::REMOVE_WATCHES,
            3,
        ),
    ] {
        let frame = payload(bytes);
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::read(&mut reader).unwrap();
        assert_eq!(header, RequestHeader { xid, op });
        let (path, read) = incoming::path_and_kind(&mut reader).unwrap();
        assert_eq!((path.as_deref(), read), (Some("/a"), kind));
        assert_eq!(reader.remaining(), 0);
    }
    sends(
        "00000012 0000000b 00000012 00000002 2f61 00000003",
        RequestHeader {
            xid: 11,
            op: op::REMOVE_WATCHES,
        },
        &RemoveWatches {
            path: "/a".into(),
            kind: WatcherType::Any,
        },
    );
    comes(
        "00000014 00000009 0000000000000005 00000000 00000000",
        ok(9, 5),
        |out| out.put_i32(0),
    );
    comes(
        "00000010 0000000b 0000000000000005 00000000",
        ok(11, 5),
        |_| {},
    );
}

#[test]
fn add_watch_as_a_client_writes_it() {
    for (mode, last) in [
        (AddWatchMode::Persistent, "00000000"),
        (AddWatchMode::PersistentRecursive, "00000001"),
    ] {
        let add = AddWatch {
            path: "/a".into(),
            mode,
        };
        let bytes = format!("00000012 00000009 0000006a 00000002 2f61 {last}");
        let op = op::ADD_WATCH;
        sends(&bytes, RequestHeader { xid: 9, op }, &add);
    }
}

#[test]
fn set_watches_as_a_client_writes_it() {
    let one_shot = SetWatches {
        relative_zxid: 2,
        data: &["/a".into()],
        exist: &["/b".into(), "/c".into()],
        child: &["/".into()],
        ..SetWatches::default()
    };
    let lasting = SetWatches {
        exist: &[],
        persistent_recursive: &["/a".into()],
        ..one_shot
    };
    let rows = [
        (
            "00000033 fffffff8 00000065 0000000000000002 00000001 00000002 2f61
             00000002 00000002 2f62 00000002 2f63 00000001 00000001 2f",
            one_shot,
        ),
        (
            "00000035 fffffff8 00000069 0000000000000002 00000001 00000002 2f61 00000000
             00000001 00000001 2f 00000000 00000001 00000002 2f61",
            lasting,
        ),
    ];
    for (bytes, set) in rows {
        let (xid, op) = (xid::SET_WATCHES, set.op());
        sends(bytes, RequestHeader { xid, op }, &set);
    }
}

#[test]
fn set_watches2_and_what_it_catches_up_with() {
    let frame = payload(
        "00000035 fffffff8 00000069 0000000000000002 00000001 00000002 2f61 00000000
         00000001 00000001 2f 00000000 00000001 00000002 2f61",
    );
    let mut reader = Reader::new(&frame);
    let header = RequestHeader::read(&mut reader).unwrap();
    assert_eq!(
        (header.xid, header.op),
        (xid::SET_WATCHES, op::SET_WATCHES2)
    );
    let watches = incoming::SetWatches::read2(&mut reader).unwrap();
    assert_eq!(watches.relative_zxid, 2);
    assert_eq!(watches.data, Some(vec![Some("/a".into())]));
    assert_eq!(watches.exist, Some(vec![]));
    assert_eq!(watches.child, Some(vec![Some("/".into())]));
    assert_eq!(watches.persistent, Some(vec![]));
    assert_eq!(watches.persistent_recursive, Some(vec![Some("/a".into())]));
    assert_eq!(reader.remaining(), 0);

    notifies(
        "0000001e ffffffff ffffffffffffffff 00000000 00000003 00000003 00000002 2f61",
        EventType::NodeDataChanged,
        "/a",
    );
    notifies(
        "0000001d ffffffff ffffffffffffffff 00000000 00000004 00000003 00000001 2f",
        EventType::NodeChildrenChanged,
        "/",
    );
    comes(
        "00000010 fffffff8 0000000000000005 00000000",
        ok(xid::SET_WATCHES, 5),
        |_| {},
    );
}

fn notifies(bytes: &str, kind: EventType, path: &str) {
    let event = WatchedEvent {
        kind,
        path: path.into(),
    };
    let frame = comes(bytes, ok(xid::NOTIFICATION, -1), |out| event.encode(out));
    assert_eq!(WatchedEvent::read(&mut body_of(&frame)).unwrap(), event);
}

// ---- Transactions ------------------------------------------------------------------------------

#[test]
fn multi() {
    let check = Check {
        path: "/a".into(),
        version: 1,
    };
    let create = Create {
        path: "/a/c".into(),
        data: b"",
        acl: &open(),
        mode: CreateMode::PersistentSequential,
    };
    let delete = Delete {
        path: "/b".into(),
        version: -1,
    };
    let ops = [
        MultiOp::Check(check),
        MultiOp::Create(op::CREATE, create),
        MultiOp::Delete(delete),
    ];
    let body = sends(
        "0000006b 0000000d 0000000e
         0000000d 00 ffffffff 00000002 2f61 00000001
         00000001 00 ffffffff 00000004 2f612f63 00000000
         00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000002
         00000002 00 ffffffff 00000002 2f62 ffffffff
         ffffffff 01 ffffffff",
        RequestHeader {
            xid: 13,
            op: op::MULTI,
        },
        &Multi(ops.into_iter()),
    );
    let mut reader = Reader::new(&body);
    assert_eq!(
        incoming::multi_header(&mut reader).unwrap(),
        Some(op::CHECK)
    );
    let (path, version) = incoming::path_and_version(&mut reader).unwrap();
    assert_eq!((path.as_deref(), version), (Some("/a"), 1));
    assert_eq!(
        incoming::multi_header(&mut reader).unwrap(),
        Some(op::CREATE)
    );
    let create = incoming::Create::read(&mut reader).unwrap();
    assert_eq!((create.path.as_deref(), create.flags), (Some("/a/c"), 2));
    assert_eq!(
        incoming::multi_header(&mut reader).unwrap(),
        Some(op::DELETE)
    );
    let (path, version) = incoming::path_and_version(&mut reader).unwrap();
    assert_eq!((path.as_deref(), version), (Some("/b"), -1));
    assert_eq!(incoming::multi_header(&mut reader).unwrap(), None);
    assert_eq!(reader.remaining(), 0);

    let frame = payload(
        "00000046 0000000d 0000000000000006 00000000
         0000000d 00 00000000
         00000001 00 00000000 0000000e 2f612f6330303030303030303030
         00000002 00 00000000
         ffffffff 01 ffffffff",
    );
    assert_eq!(
        results(&frame),
        [
            MultiResult::Checked,
            MultiResult::Created("/a/c0000000000".into(), None),
            MultiResult::Deleted,
        ]
    );
    assert_eq!(reply::zxid(&frame), Ok(6));
}

#[test]
fn a_multi_without_operations() {
    let header = RequestHeader {
        xid: 1,
        op: op::MULTI,
    };
    sends(
        "00000011 00000001 0000000e ffffffff 01 ffffffff",
        header,
        &Multi(std::iter::empty()),
    );
    let frame = payload("00000019 00000001 0000000000000006 00000000 ffffffff 01 ffffffff");
    assert_eq!(results(&frame), []);
}

#[test]
fn a_multi_that_fails_has_no_error_in_its_header() {
    let delete = Delete {
        path: "/a".into(),
        version: -1,
    };
    let check = Check {
        path: "/a".into(),
        version: 1,
    };
    let ops = [MultiOp::Delete(delete), MultiOp::Check(check)];
    sends(
        "00000037 0000000e 0000000e 00000002 00 ffffffff 00000002 2f61 ffffffff
         0000000d 00 ffffffff 00000002 2f61 00000001 ffffffff 01 ffffffff",
        RequestHeader {
            xid: 14,
            op: op::MULTI,
        },
        &Multi(ops.into_iter()),
    );
    let at_first = payload(
        "00000033 0000000e 0000000000000007 00000000
         ffffffff 00 ffffff91 ffffff91 ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff",
    );
    let failed = |code: ErrorCode| MultiResult::Failed(code.code());
    assert_eq!(
        results(&at_first),
        [
            failed(ErrorCode::NotEmpty),
            failed(ErrorCode::RuntimeInconsistency)
        ]
    );
    let in_the_middle = hex("0000000f 0000000000000008 00000000
         ffffffff 00 00000000 00000000 ffffffff 00 ffffff99 ffffff99
         ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff");
    assert_eq!(
        results(&in_the_middle),
        [
            MultiResult::Failed(0),
            failed(ErrorCode::BadVersion),
            failed(ErrorCode::RuntimeInconsistency)
        ]
    );
}

#[test]
fn multi_read() {
    let get = GetData {
        path: "/a".into(),
        watch: false,
    };
    let children = GetChildren {
        path: "/zz".into(),
        watch: false,
    };
    let ops = [MultiOp::GetData(get), MultiOp::GetChildren(children)];
    let body = sends(
        "00000032 0000000f 00000016 00000004 00 ffffffff 00000002 2f61 00
         00000008 00 ffffffff 00000003 2f7a7a 00 ffffffff 01 ffffffff",
        RequestHeader {
            xid: 15,
            op: op::MULTI_READ,
        },
        &Multi(ops.into_iter()),
    );
    let mut reader = Reader::new(&body);
    for (op, path) in [(op::GET_DATA, "/a"), (op::GET_CHILDREN, "/zz")] {
        assert_eq!(incoming::multi_header(&mut reader).unwrap(), Some(op));
        let read = incoming::path_and_watch(&mut reader).unwrap();
        assert_eq!((read.0.as_deref(), read.1), (Some(path), false));
    }
    assert_eq!(incoming::multi_header(&mut reader).unwrap(), None);
    assert_eq!(reader.remaining(), 0);

    let frame = payload(
        "00000079 0000000f 0000000000000007 00000000 00000004 00 00000000 00000002 796f
         0000000000000002 0000000000000004 000001a1fa35a312 000001a1fa35a337 00000001 00000000
         00000000 0000000000000000 00000002 00000000 0000000000000002
         ffffffff 00 ffffff9b ffffff9b ffffffff 01 ffffffff",
    );
    let stat = Stat {
        czxid: 2,
        mzxid: 4,
        ctime: 0x0000_01a1_fa35_a312,
        mtime: 0x0000_01a1_fa35_a337,
        version: 1,
        data_length: 2,
        pzxid: 2,
        ..Stat::default()
    };
    assert_eq!(
        results(&frame),
        [
            MultiResult::Data(Some(Bytes::from_static(b"yo")), stat),
            MultiResult::Failed(ErrorCode::NoNode.code()),
        ]
    );
}

fn results(frame: &Bytes) -> Vec<MultiResult> {
    assert_eq!(ReplyHeader::decode(frame).unwrap().err, 0);
    let results = reply::multi(frame).unwrap();
    results.collect::<Result<_, _>>().unwrap()
}

// ---- Access control lists ----------------------------------------------------------------------

#[test]
fn an_access_control_list() {
    let bytes = hex("00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65");
    let mut out = BytesMut::new();
    Acl::put_list(&mut out, &open());
    assert_eq!(out, bytes);
    assert_eq!(Acl::list_len(&open()), bytes.len());
    assert_eq!(open(), [Acl::open()]);
}

/// What the client sent with each create.
fn open() -> Vec<Acl> {
    vec![Acl {
        permissions: permission::ALL,
        id: Id {
            scheme: "world".into(),
            id: "anyone".into(),
        },
    }]
}

fn open_entry() -> incoming::AclEntry {
    incoming::AclEntry {
        permissions: 31,
        scheme: Some("world".into()),
        id: Some("anyone".into()),
    }
}

// ---- Helpers -----------------------------------------------------------------------------------

/// A request in both directions: `body` behind `header` is `bytes`, and `bytes` begins with
/// `header`. Returns the body, for the server to read.
fn sends(bytes: &str, header: RequestHeader, body: &impl Record) -> Bytes {
    let mut out = BytesMut::new();
    put_request(&mut out, header, body);
    assert_eq!(out, hex(bytes));
    assert_eq!(request_len(body), out.len());

    let frame = payload(bytes);
    assert_eq!(
        RequestHeader::read(&mut Reader::new(&frame)).unwrap(),
        header
    );
    frame.slice(RequestHeader::LEN..)
}

/// A reply in both directions. Returns the frame, for the client to read.
fn comes(bytes: &str, header: ReplyHeader, body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::zeroed(frame::LENGTH_LEN);
    header.encode(&mut out);
    assert_eq!(out.len(), frame::LENGTH_LEN + header.encoded_len());
    body(&mut out);
    let len = u32::try_from(out.len() - frame::LENGTH_LEN).unwrap();
    out[..frame::LENGTH_LEN].copy_from_slice(&len.to_be_bytes());
    assert_eq!(out, hex(bytes));

    let frame = payload(bytes);
    assert_eq!(ReplyHeader::decode(&frame).unwrap(), header);
    frame
}

fn ok(xid: i32, zxid: i64) -> ReplyHeader {
    ReplyHeader { xid, zxid, err: 0 }
}

fn body_of(frame: &Bytes) -> Reader<'_> {
    let mut reader = Reader::new(frame);
    reader.skip(ReplyHeader::LEN, "header").unwrap();
    reader
}

/// The one frame that `bytes` is, without its length.
fn payload(bytes: &str) -> Bytes {
    let mut input = BytesMut::from(&hex(bytes)[..]);
    let frame = frame::split(&mut input, frame::REQUEST_LEN_MAX)
        .unwrap()
        .unwrap();
    assert!(input.is_empty(), "{} bytes behind the frame", input.len());
    frame
}

fn hex(digits: &str) -> Bytes {
    let digits: Vec<u32> = digits.chars().filter_map(|c| c.to_digit(16)).collect();
    assert!(digits.len().is_multiple_of(2));
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}
