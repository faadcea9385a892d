//! Requests and their replies.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use homing_protocol::{
    Create, CreateMode, Empty, ErrorCode, EventType, Exists, GetChildren, GetData, Identity,
    Reader, Record, ReplyHeader, RequestHeader, SetData, Stat, Sync, Ttl, incoming, op, put_buffer,
    put_count, put_string, reply, xid,
};

use super::{body_of, comes, hex, notifies, ok, open, open_entry, payload, sends};

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
