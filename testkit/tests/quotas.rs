//! Quotas: what counts, and what is refused. That a real server does the same is shown by the cases
//! of the differential tester.

mod support;

use bytes::{BufMut, BytesMut};
use homing_protocol::{Acl, Create, CreateMode, Record, SetData, op, put_string};
use support::{Answer, Peer, Raw, Rig};

/// A server that enforces limits.
fn strict() -> (Rig, Peer) {
    let mut rig = Rig::with(|config| config.enforce_quota = true);
    let peer = rig.peer();
    (rig, peer)
}

fn create_body(path: &str, data: &[u8]) -> BytesMut {
    let mut body = BytesMut::new();
    let create = Create {
        path: path.into(),
        data,
        acl: &[Acl::open()],
        mode: CreateMode::Persistent,
    };
    create.encode(&mut body);
    body
}

fn create(rig: &mut Rig, peer: Peer, path: &str, data: &[u8]) -> i32 {
    let body = create_body(path, data);
    rig.call(peer, op::CREATE, &Raw(body.into())).err()
}

/// A node's data as text.
fn data(rig: &mut Rig, peer: Peer, path: &str) -> String {
    let body = rig.get(peer, path, false).body();
    let len = u32::from_be_bytes(body[..4].try_into().unwrap()) as usize;
    String::from_utf8(body[4..4 + len].to_vec()).unwrap()
}

/// All of it as one transaction.
fn multi(rig: &mut Rig, peer: Peer, ops: &[(i32, BytesMut)]) -> Answer {
    let mut list = BytesMut::new();
    let end = (-1, BytesMut::new());
    for (op, body) in ops.iter().chain([&end]) {
        list.put_i32(*op);
        list.put_u8((*op == -1).into());
        list.put_i32(-1);
        list.extend_from_slice(body);
    }
    rig.call(peer, op::MULTI, &Raw(list.into()))
}

#[test]
fn limits_that_are_no_numbers_make_the_server_stumble() {
    let (mut rig, peer) = strict();
    let limits = "/zookeeper/quota/a/zookeeper_limits";
    rig.make(peer, &["/a", "/zookeeper/quota/a"]);
    let mut null = BytesMut::new();
    put_string(&mut null, limits);
    null.put_i32(-1);
    Acl::put_list(&mut null, &[Acl::open()]);
    null.put_i32(0);
    assert_eq!(rig.call(peer, op::CREATE, &Raw(null.into())).err(), 0);
    assert_eq!(create(&mut rig, peer, "/a/x", b""), -5);
    for text in [
        "garbage",
        "count=x",
        ",count=5",
        "countHardLimit=99999999999999999999",
    ] {
        rig.set(peer, limits, text.as_bytes());
        assert_eq!(create(&mut rig, peer, "/a/x", b""), -5, "{text}");
        assert_eq!(rig.set(peer, "/a", b"x").err(), -5, "{text}");
        // Of a deletion nobody asks whether there may be so many nodes.
        assert_eq!(rig.delete(peer, "/a/x").err(), -101);
    }
    // As long as no stats are needed nobody sees that there are none.
    rig.set(peer, limits, b"count=-1;byteHardLimit=-1");
    assert_eq!(create(&mut rig, peer, "/a/x", b""), 0);
    rig.set(peer, limits, b"countHardLimit=1");
    assert_eq!(create(&mut rig, peer, "/a/y", b""), 0);
    let stats = "/zookeeper/quota/a/zookeeper_stats";
    assert_eq!(create(&mut rig, peer, stats, b""), 0);
    assert_eq!(create(&mut rig, peer, "/a/z", b""), -125);
    rig.set(peer, stats, b"junk");
    assert_eq!(create(&mut rig, peer, "/a/z", b""), -5);
}

#[test]
fn stats_begin_with_what_there_is_whatever_was_written() {
    let (mut rig, peer) = strict();
    let stats = "/zookeeper/quota/a/zookeeper_stats";
    rig.make(peer, &["/a", "/zookeeper/quota/a"]);
    rig.make(peer, &["/zookeeper/quota/a/zookeeper_limits"]);
    for junk in [&b"junk"[..], b"\xff", b"count=9,bytes=9"] {
        assert_eq!(create(&mut rig, peer, stats, junk), 0);
        assert_eq!(data(&mut rig, peer, stats), "count=1,bytes=0");
        assert_eq!(create(&mut rig, peer, "/a/x", b"12"), 0);
        assert_eq!(data(&mut rig, peer, stats), "count=2,bytes=2");
        rig.delete(peer, "/a/x");
        rig.delete(peer, stats);
    }
}

#[test]
fn what_a_multi_writes_into_stats_stands() {
    let (mut rig, peer) = strict();
    let stats = "/zookeeper/quota/a/zookeeper_stats";
    rig.make(peer, &["/a", "/zookeeper/quota/a", stats]);
    rig.make(peer, &["/zookeeper/quota/a/zookeeper_limits"]);
    let mut set = BytesMut::new();
    let to = SetData {
        path: stats.into(),
        data: b"count=100,bytes=100",
        version: -1,
    };
    to.encode(&mut set);
    let ops = [
        (op::CREATE, create_body("/a/x", b"123")),
        (op::SET_DATA, set),
        (op::CREATE, create_body("/a/y", b"12")),
    ];
    assert_eq!(multi(&mut rig, peer, &ops).err(), 0);
    assert_eq!(data(&mut rig, peer, stats), "count=101,bytes=102");
}

#[test]
fn a_quota_is_found_by_an_odd_path() {
    let (mut rig, peer) = strict();
    let stats = "/zookeeper/quota/s/zookeeper_stats";
    rig.make(peer, &["/s", "/ ", "/ /s", "/zookeeper/quota/s", stats]);
    // What stands behind the sixteen characters of the quotas' root, or other sixteen, lacks its
    // slash and is a path all the same.
    let odd = "/zookeeper/quotas/zookeeper_limits";
    rig.make(peer, &["/zookeeper/quotas", "/zookeeper/others", odd]);
    assert_eq!(create(&mut rig, peer, "/ /s/u", b"123"), 0);
    assert_eq!(data(&mut rig, peer, stats), "count=2,bytes=3");
    rig.delete(peer, odd);
    assert_eq!(create(&mut rig, peer, "/s/v", b"123"), 0);
    assert_eq!(data(&mut rig, peer, stats), "count=2,bytes=3");

    let limits = "/zookeeper/quota/s/zookeeper_limits";
    let other = "/zookeeper/others/zookeeper_limits";
    rig.make(peer, &[limits, other]);
    rig.delete(peer, "/s/v");
    assert_eq!(data(&mut rig, peer, stats), "count=1,bytes=0");
    rig.delete(peer, other);
    assert_eq!(create(&mut rig, peer, "/s/v", b"123"), 0);
    assert_eq!(data(&mut rig, peer, stats), "count=1,bytes=0");
}
