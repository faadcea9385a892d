//! Watches: what sets them, what takes them away, and what they tell.

use bytes::BufMut;
use homing_protocol::{
    AddWatch, AddWatchMode, EventType, Reader, RemoveWatches, RequestHeader, SetWatches,
    WatcherType, incoming, op, xid,
};

use super::{comes, notifies, ok, payload, sends};

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
