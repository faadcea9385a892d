//! Transactions, and reads in one request.

use bytes::Bytes;
use homing_protocol::{
    Check, Create, CreateMode, Delete, ErrorCode, GetChildren, GetData, Multi, MultiOp,
    MultiResult, Reader, ReplyHeader, RequestHeader, Stat, incoming, op, reply,
};

use super::{hex, open, payload, sends};

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
