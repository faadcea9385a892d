//! Whatever a peer sends, the server neither panics nor loses track of itself.

mod support;

use bytes::{BufMut, BytesMut};
use homing_protocol::{Acl, Create, CreateMode, GetData, Record, op};
use support::{Random, Raw, Rig};

#[test]
fn no_request_makes_it_panic() {
    let ops = (-12..30).chain(98..110);
    let ops: Vec<i32> = ops.collect();
    let mut random = Random(7);
    let mut rig = Rig::with(|config| config.extended_types_enabled = true);
    let mut peer = rig.peer();
    for _ in 0..40_000 {
        if rig.is_closed(peer.connection) {
            peer = rig.peer();
        }
        let mut body = BytesMut::new();
        body.put_i32(random.number());
        body.put_i32(ops[random.below(ops.len() as u64) as usize]);
        for _ in 0..random.below(8) {
            match random.below(4) {
                0 => body.put_i32(random.number()),
                1 => {
                    let path = ["/a", "/", "/a/b", "", "x", "/\0", "digest", "auth"];
                    let path = path[random.below(8) as usize];
                    body.put_i32(path.len() as i32);
                    body.put_slice(path.as_bytes());
                }
                2 => body.put_u8(random.next() as u8),
                _ => body.put_i64(random.next() as i64),
            }
        }
        let mut frame = BytesMut::new();
        frame.put_u32(body.len() as u32);
        frame.put_slice(&body);
        rig.give(peer.connection, &frame);
        rig.take(peer.connection);
        // The one thing that always holds: a counter goes on.
        assert!(rig.server.last_zxid() > 0);
    }
}

#[test]
fn no_handshake_makes_it_panic() {
    let mut random = Random(8);
    let mut rig = Rig::new();
    for _ in 0..20_000 {
        let connection = rig.accept();
        let mut bytes = BytesMut::new();
        for _ in 0..random.below(14) {
            bytes.put_i32(random.number());
        }
        let mut input = BytesMut::new();
        input.put_u32(bytes.len() as u32);
        input.put_slice(&bytes);
        rig.server.handle_bytes(rig.now, connection, &mut input);
        while rig.server.poll_output().is_some() {}
        rig.server.handle_disconnected(rig.now, connection);
    }
    assert_eq!(rig.server.connection_count(), 0);
}

#[test]
fn a_small_request_cannot_ask_for_the_whole_memory() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let (acl, data) = ([Acl::open()], vec![7; 1_000_000]);
    let mode = CreateMode::Persistent;
    let create = Create {
        path: "/big".into(),
        data: &data,
        acl: &acl,
        mode,
    };
    assert_eq!(rig.call(peer, op::CREATE, &create).err(), 0);
    let mut body = BytesMut::new();
    for _ in 0..10_000 {
        body.put_i32(op::GET_DATA);
        body.put_u8(0);
        body.put_i32(-1);
        GetData {
            path: "/big".into(),
            watch: false,
        }
        .encode(&mut body);
    }
    body.put_slice(&support::unhex("ffffffff 01 ffffffff"));
    assert_eq!(rig.call(peer, op::MULTI_READ, &Raw(body.into())).err(), -5);
}
