//! Transactions: all or nothing, and how either is told.

mod support;

use bytes::{BufMut, BytesMut};
use homing_protocol::{
    Acl, Create, CreateMode, Delete, EventType, GetChildren, GetData, Record, SetData, op,
};
use support::{Answer, Peer, Raw, Rig};

/// Builds the body of a multi.
#[derive(Default)]
struct Multi(BytesMut);

impl Multi {
    fn op(mut self, op: i32, body: &impl Record) -> Self {
        self.header(op, false);
        body.encode(&mut self.0);
        self
    }

    fn create(self, path: &str, mode: CreateMode) -> Self {
        self.create_as(op::CREATE, path, mode.flags(), None)
    }

    fn create_as(mut self, op: i32, path: &str, flags: i32, ttl: Option<i64>) -> Self {
        self.header(op, false);
        let (acl, mode) = ([Acl::open()], CreateMode::Persistent);
        Create {
            path: path.into(),
            data: b"",
            acl: &acl,
            mode,
        }
        .encode(&mut self.0);
        let flags_at = self.0.len() - 4;
        self.0[flags_at..].copy_from_slice(&flags.to_be_bytes());
        ttl.into_iter().for_each(|ttl| self.0.put_i64(ttl));
        self
    }

    fn delete(self, path: &str) -> Self {
        self.op(
            op::DELETE,
            &Delete {
                path: path.into(),
                version: -1,
            },
        )
    }

    fn set(self, path: &str) -> Self {
        self.op(
            op::SET_DATA,
            &SetData {
                path: path.into(),
                data: b"x",
                version: -1,
            },
        )
    }

    fn check(self, path: &str, version: i32) -> Self {
        self.op(
            op::CHECK,
            &Delete {
                path: path.into(),
                version,
            },
        )
    }

    fn get(self, path: &str) -> Self {
        self.op(
            op::GET_DATA,
            &GetData {
                path: path.into(),
                watch: true,
            },
        )
    }

    fn children(self, path: &str) -> Self {
        self.op(
            op::GET_CHILDREN,
            &GetChildren {
                path: path.into(),
                watch: true,
            },
        )
    }

    fn header(&mut self, op: i32, done: bool) {
        self.0.put_i32(op);
        self.0.put_u8(done.into());
        self.0.put_i32(-1);
    }

    fn run_as(mut self, rig: &mut Rig, peer: Peer, op: i32) -> Answer {
        self.header(-1, true);
        rig.call(peer, op, &Raw(self.0.into()))
    }

    fn run(self, rig: &mut Rig, peer: Peer) -> Answer {
        self.run_as(rig, peer, op::MULTI)
    }
}

/// The codes of a reply that is a list of errors.
fn codes(answer: &Answer) -> Vec<i32> {
    assert_eq!(answer.err(), 0, "the header of a failed multi has no error");
    let body = answer.body();
    let (list, end) = body.split_at(body.len() - 9);
    assert_eq!(end, support::unhex("ffffffff 01 ffffffff"));
    let code = |entry: &[u8]| {
        assert_eq!(entry[..5], support::unhex("ffffffff 00"));
        assert_eq!(entry[5..9], entry[9..13]);
        i32::from_be_bytes(entry[9..13].try_into().unwrap())
    };
    list.chunks(13).map(code).collect()
}

fn rig() -> (Rig, Peer) {
    let mut rig = Rig::new();
    let peer = rig.peer();
    (rig, peer)
}

#[test]
fn each_operation_sees_what_the_ones_before_it_did() {
    let (mut rig, peer) = rig();
    let multi = Multi::default()
        .create("/a", CreateMode::Persistent)
        .create("/a/b", CreateMode::Persistent)
        .set("/a")
        .set("/a")
        .check("/a", 2)
        .delete("/a/b")
        .create("/a/b", CreateMode::Ephemeral);
    let zxid = rig.server.last_zxid();
    let answer = multi.run(&mut rig, peer);
    assert_eq!((answer.err(), answer.header.zxid), (0, zxid + 1));
    assert_eq!(answer.body()[..9], support::unhex("00000001 00 00000000"));
    let stat = rig.exists(peer, "/a", false).stat();
    assert_eq!(
        (stat.czxid, stat.mzxid, stat.version),
        (zxid + 1, zxid + 1, 2)
    );
    assert_eq!((stat.cversion, stat.num_children), (3, 1));
    assert_eq!(
        rig.exists(peer, "/a/b", false).stat().ephemeral_owner,
        peer.session
    );
}

#[test]
fn a_failure_takes_everything_back() {
    let (mut rig, peer) = rig();
    rig.make(peer, &["/p", "/p/old"]);
    let watcher = rig.peer();
    let before = rig.server.node("/p");
    rig.children(watcher, "/p", true);
    let zxid = rig.server.last_zxid();
    let multi = Multi::default()
        .create("/p/s-", CreateMode::PersistentSequential)
        .delete("/p/old")
        .set("/p")
        .check("/p", 7)
        .delete("/nope")
        .set("/p");
    let answer = multi.run(&mut rig, peer);
    assert_eq!(codes(&answer), [0, 0, 0, -103, -2, -2]);
    assert_eq!(
        answer.header.zxid,
        zxid + 1,
        "it takes a transaction number"
    );
    assert_eq!(rig.server.node("/p"), before);
    assert!(rig.take(watcher.connection).is_empty());
    assert_eq!(rig.server.watch_count(), 1);
    // The counter of sequential names has not moved either.
    let next = rig.create(peer, "/p/s-", CreateMode::PersistentSequential);
    assert_eq!(next.path(), "/p/s-0000000001");
}

#[test]
fn a_failing_multi_in_the_middle_is_told_as_recorded() {
    let (mut rig, peer) = rig();
    rig.make(peer, &["/a", "/b"]);
    let multi = Multi::default()
        .create("/c", CreateMode::Persistent)
        .check("/a", 7)
        .delete("/b");
    let recorded = "ffffffff 00 00000000 00000000 ffffffff 00 ffffff99 ffffff99 \
                    ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff";
    assert_eq!(
        multi.run(&mut rig, peer).body()[..],
        support::unhex(recorded)
    );
}

#[test]
fn watches_fire_for_each_operation_in_order() {
    let (mut rig, peer) = rig();
    rig.make(peer, &["/a"]);
    rig.exists(peer, "/b", true);
    rig.get(peer, "/a", true);
    rig.children(peer, "/", true);
    let multi = Multi::default()
        .set("/a")
        .create("/b", CreateMode::Persistent)
        .create("/c", CreateMode::Persistent);
    let events = multi.run(&mut rig, peer).events;
    let expected = [
        (EventType::NodeDataChanged, "/a"),
        (EventType::NodeCreated, "/b"),
        (EventType::NodeChildrenChanged, "/"),
    ];
    assert_eq!(events, expected.map(|(kind, path)| (kind, path.to_owned())));
}

#[test]
fn sequential_names_in_one_transaction_follow_each_other() {
    let (mut rig, peer) = rig();
    let multi = Multi::default()
        .create("/s", CreateMode::PersistentSequential)
        .create("/s", CreateMode::EphemeralSequential);
    let body = multi.run(&mut rig, peer).body();
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(
        text.contains("/s0000000000") && text.contains("/s0000000001"),
        "{text:?}"
    );
}

#[test]
fn nothing_at_all_is_a_transaction_too() {
    let (mut rig, peer) = rig();
    for (op, transactions) in [(op::MULTI, 1), (op::MULTI_READ, 0)] {
        let zxid = rig.server.last_zxid();
        let answer = Multi::default().run_as(&mut rig, peer, op);
        assert_eq!((answer.err(), answer.header.zxid), (0, zxid + transactions));
        assert_eq!(answer.body()[..], support::unhex("ffffffff 01 ffffffff"));
    }
}

#[test]
fn what_does_not_belong_in_a_multi_spoils_it() {
    let (mut rig, peer) = rig();
    rig.make(peer, &["/a"]);
    let delete = || Multi::default().delete("/a");
    let rows = [
        (delete().get("/a"), op::MULTI, 1, ""),
        (Multi::default().get("/a"), op::MULTI, 1, ""),
        (
            delete().op(op::PING, &homing_protocol::Empty),
            op::MULTI,
            1,
            "",
        ),
        // It can be read, and the server stumbles behind an empty list of results.
        (delete(), op::MULTI_READ, 0, "ffffffff 01 ffffffff"),
        (
            Multi::default().get("/a").check("/a", 0),
            op::MULTI_READ,
            0,
            "",
        ),
    ];
    for (multi, op, transactions, body) in rows {
        let zxid = rig.server.last_zxid();
        let answer = multi.run_as(&mut rig, peer, op);
        assert_eq!(
            (answer.err(), answer.header.zxid),
            (-5, zxid + transactions)
        );
        assert_eq!(answer.body()[..], support::unhex(body));
    }
    assert!(rig.server.node_exists("/a"));
    // Without an end it cannot be read either.
    assert_eq!(rig.call(peer, op::MULTI, &Raw(vec![0, 0, 0])).err(), -5);
}

#[test]
fn rights_are_checked_for_each_operation() {
    let (mut rig, peer) = rig();
    rig.make(peer, &["/a"]);
    let multi = Multi::default().set("/a").set("/zookeeper/config");
    assert_eq!(codes(&multi.run(&mut rig, peer)), [0, -102]);
}

#[test]
fn create2_is_answered_as_create_and_special_nodes_as_create2() {
    let mut rig = Rig::with(|config| config.extended_types_enabled = true);
    let peer = rig.peer();
    let rows = [
        (op::CREATE, 0, None, "00000001"),
        (op::CREATE2, 0, None, "00000001"),
        (op::CREATE, 4, None, "0000000f"),
        (op::CREATE_CONTAINER, 4, None, "0000000f"),
        (op::CREATE_TTL, 5, Some(1000), "0000000f"),
    ];
    for (at, (op, flags, ttl, kind)) in rows.into_iter().enumerate() {
        let path = format!("/n{at}");
        let answer = Multi::default()
            .create_as(op, &path, flags, ttl)
            .run(&mut rig, peer);
        let body = answer.body();
        assert_eq!(
            body[..9],
            support::unhex(&format!("{kind} 00 00000000")),
            "{op} {flags}"
        );
        let stat = if kind == "0000000f" { 68 } else { 0 };
        assert_eq!(body.len(), 9 + 4 + path.len() + stat + 9);
    }
    // By itself, a create with the flag of a container makes a plain node.
    let acl = [Acl::open()];
    let mode = CreateMode::Persistent;
    let mut body = BytesMut::new();
    Create {
        path: "/plain".into(),
        data: b"",
        acl: &acl,
        mode,
    }
    .encode(&mut body);
    let flags_at = body.len() - 4;
    body[flags_at..].copy_from_slice(&[0, 0, 0, 4]);
    assert_eq!(rig.call(peer, op::CREATE, &Raw(body.into())).err(), 0);
    rig.make(peer, &["/plain/child", "/n2/child"]);
    rig.delete(peer, "/plain/child");
    rig.delete(peer, "/n2/child");
    rig.advance(std::time::Duration::from_secs(20));
    rig.ping(peer);
    rig.advance(std::time::Duration::from_secs(41));
    assert!(rig.server.node_exists("/plain"));
    assert!(!rig.server.node_exists("/n2"));
}

#[test]
fn reads_fail_one_by_one_and_set_no_watch() {
    let (mut rig, peer) = rig();
    rig.make(peer, &["/a"]);
    let multi = Multi::default().get("/nope").children("/").get("/a");
    let answer = multi.run_as(&mut rig, peer, op::MULTI_READ);
    let expected = "ffffffff 00 ffffff9b ffffff9b \
                    00000008 00 00000000 00000002 00000001 61 00000009 7a6f6f6b6565706572 \
                    00000004 00 00000000 00000000";
    let expected = support::unhex(expected);
    assert_eq!(answer.body()[..expected.len()], expected);
    assert_eq!(answer.body().len(), expected.len() + 68 + 9);
    assert_eq!(rig.server.watch_count(), 0);
}

#[test]
fn a_null_path_is_stumbled_over_behind_the_results_before_it() {
    let (mut rig, peer) = rig();
    let get_null = "00000004 00 ffffffff  ffffffff 00  ffffffff 01 ffffffff";
    let get_root = "00000008 00 ffffffff  00000001 2f 00";
    let body = support::unhex(&format!("{get_root} {get_null}"));
    let answer = rig.call(peer, op::MULTI_READ, &Raw(body));
    let children = "00000008 00 00000000 00000001 00000009 7a6f6f6b6565706572";
    let end = "ffffffff 01 ffffffff";
    assert_eq!(answer.err(), -5);
    let results = support::unhex(&format!("{children} {end}"));
    assert_eq!(answer.body()[..], results);
    let delete_null =
        support::unhex("00000002 00 ffffffff  ffffffff ffffffff  ffffffff 01 ffffffff");
    let answer = rig.call(peer, op::MULTI, &Raw(delete_null));
    assert_eq!(
        (answer.err(), &answer.body()[..]),
        (-5, &support::unhex(end)[..])
    );
}

/// A server before 3.5 knows no create2. It cannot read a list that has one, and says just that.
#[test]
fn an_operation_that_the_server_does_not_know_spoils_the_list() {
    let mut rig = Rig::with(|config| config.unknown_operations = vec![op::CREATE2]);
    let peer = rig.peer();
    let spoilt = Multi::default()
        .create("/a", CreateMode::Persistent)
        .create_as(op::CREATE2, "/b", 0, None)
        .run(&mut rig, peer);
    assert_eq!((spoilt.err(), spoilt.header.zxid), (-5, 2));
    assert!(!rig.server.node_exists("/a"));
    let made = Multi::default().create("/a", CreateMode::Persistent);
    assert_eq!(made.run(&mut rig, peer).err(), 0);
    assert!(rig.server.node_exists("/a"));
}

#[test]
fn numbers_behind_the_last_are_for_one_multi_only() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/p"]);
    assert!(rig.server.set_create_counter("/p", i32::MAX));
    let pzxid = rig.exists(peer, "/p", false).stat().pzxid;
    let number = |multi: Multi| multi.create("/p/a", CreateMode::PersistentSequential);
    let multi = number(number(number(Multi::default())));
    multi.run(&mut rig, peer);
    let made = ["a-2147483647", "a-2147483648", "a2147483647"];
    assert_eq!(rig.children(peer, "/p", false).names(), made);
    let stat = rig.exists(peer, "/p", false).stat();
    assert_eq!((stat.pzxid, stat.cversion), (pzxid, -5));

    // Whatever was made of it: it is the last again.
    let answer = rig.create(peer, "/p/a", CreateMode::PersistentSequential);
    assert_eq!(answer.err(), -110);
    rig.delete(peer, "/p/a2147483647");
    let multi = number(Multi::default()).check("/p", 77);
    assert_eq!(codes(&multi.run(&mut rig, peer)), [0, -103]);
    assert_eq!(rig.children(peer, "/p", false).names(), made[..2]);
}
