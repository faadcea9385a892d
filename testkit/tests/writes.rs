//! create, delete, setData: what they do, and which of several errors is told.

mod support;

use std::fs;
use std::net::SocketAddr;

use homing_protocol::{Acl, Create, CreateMode, Delete, GetChildren, Multi, MultiOp, SetData, op};
use homing_testkit::{Dialect, FakeServer, real};
use support::socket::{Client, patiently};
use support::{Answer, Peer, Raw, Rig, new_session, unhex};

fn create_body(path: &str, flags: i32, acl: &[Acl]) -> bytes::BytesMut {
    let mut body = bytes::BytesMut::new();
    let mode = CreateMode::Persistent;
    let create = Create {
        path: path.into(),
        data: b"",
        acl,
        mode,
    };
    homing_protocol::Record::encode(&create, &mut body);
    let flags_at = body.len() - 4;
    body[flags_at..].copy_from_slice(&flags.to_be_bytes());
    body
}

fn create(rig: &mut Rig, peer: Peer, path: &str, flags: i32, acl: &[Acl]) -> Answer {
    rig.call(peer, op::CREATE, &Raw(create_body(path, flags, acl).into()))
}

fn delete(rig: &mut Rig, peer: Peer, path: &str, version: i32) -> i32 {
    rig.call(
        peer,
        op::DELETE,
        &Delete {
            path: path.into(),
            version,
        },
    )
    .err()
}

fn set(rig: &mut Rig, peer: Peer, path: &str, version: i32) -> i32 {
    rig.call(
        peer,
        op::SET_DATA,
        &SetData {
            path: path.into(),
            data: b"",
            version,
        },
    )
    .err()
}

#[test]
fn a_create_is_refused_for_the_first_reason_in_the_servers_order() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/x"]);
    let open = [Acl::open()];
    let rows: [(&str, i32, &[Acl], i32); 17] = [
        ("foo", 0, &open, -8),
        ("", 0, &open, -8),
        ("foo", 0, &[], -8),
        ("/a\0b", 0, &[], -8),
        ("/", 0, &open, -110),
        ("/x", 0, &open, -110),
        ("/missing/", 0, &open, -101),
        ("/x/", 0, &open, -8),
        ("//x", 0, &open, -8),
        ("/x//y", 0, &open, -101),
        ("/missing/y", 0, &[], -114),
        ("/x/.", 0, &[], -114),
        ("/x/.", 0, &open, -8),
        ("/x/\u{FFFD}", 0, &open, -8),
        ("/x/y", 7, &[], -8),
        ("/x/y", -1, &open, -8),
        // Nodes with a time to live are switched off, which comes before the path.
        ("foo", 5, &[], -6),
    ];
    for (path, flags, acl, err) in rows {
        assert_eq!(
            create(&mut rig, peer, path, flags, acl).err(),
            err,
            "{path:?} {flags}"
        );
    }
}

#[test]
fn an_ephemeral_node_has_no_children() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.create(peer, "/e", CreateMode::Ephemeral);
    assert_eq!(
        rig.exists(peer, "/e", false).stat().ephemeral_owner,
        peer.session
    );
    assert_eq!(
        create(&mut rig, peer, "/e/x", 0, &[Acl::open()]).err(),
        -108
    );
    // The path is judged first.
    assert_eq!(create(&mut rig, peer, "/e/", 0, &[Acl::open()]).err(), -8);
}

#[test]
fn sequential_names_count_all_children_ever_created() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/p", "/p/plain"]);
    let mut next = |path: &str, mode| rig.create(peer, path, mode).path();
    assert_eq!(
        next("/p/a-", CreateMode::PersistentSequential),
        "/p/a-0000000001"
    );
    assert_eq!(
        next("/p/b-", CreateMode::EphemeralSequential),
        "/p/b-0000000002"
    );
    assert_eq!(
        next("/p/", CreateMode::PersistentSequential),
        "/p/0000000003"
    );
    rig.delete(peer, "/p/plain");
    assert_eq!(rig.create(peer, "/p/.", CreateMode::Persistent).err(), -8);
    assert_eq!(
        rig.create(peer, "/p/c", CreateMode::PersistentSequential)
            .path(),
        "/p/c0000000004",
    );
    let stat = rig.exists(peer, "/p", false).stat();
    assert_eq!((stat.cversion, stat.num_children), (6, 4));
}

#[test]
fn a_sequential_name_can_be_taken() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/p", "/p/a0000000001"]);
    assert_eq!(
        rig.create(peer, "/p/a", CreateMode::PersistentSequential)
            .err(),
        -110
    );
    rig.make(peer, &["/p/other"]);
    assert_eq!(
        rig.create(peer, "/p/a", CreateMode::PersistentSequential)
            .path(),
        "/p/a0000000002"
    );
}

#[test]
fn the_counter_of_sequential_names_stays_at_its_end() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/p"]);
    assert!(rig.server.set_create_counter("/p", i32::MAX));
    let pzxid = rig.exists(peer, "/p", false).stat().pzxid;
    let sequential = CreateMode::PersistentSequential;
    let first = rig.create(peer, "/p/a", sequential).path();
    assert_eq!(first, "/p/a2147483647");
    assert_eq!(rig.create(peer, "/p/a", sequential).err(), -110);
    let other = rig.create(peer, "/p/b", sequential).path();
    assert_eq!(other, "/p/b2147483647");
    rig.make(peer, &["/p/c"]);
    let stat = rig.exists(peer, "/p", false).stat();
    // Twice the counter is −2, and each child takes one off.
    assert_eq!((stat.pzxid, stat.cversion), (pzxid, -5));

    assert_eq!(rig.delete(peer, "/p/c").err(), 0);
    let stat = rig.exists(peer, "/p", false).stat();
    assert_eq!((stat.pzxid, stat.cversion), (rig.server.last_zxid(), -4));
}

#[test]
fn the_counter_of_sequential_names_ran_over_on_older_servers() {
    for dialect in [Dialect::ZooKeeper3_4, Dialect::ZooKeeper3_5] {
        let mut rig = Rig::with(|config| config.speak(dialect));
        let peer = rig.peer();
        let open = [Acl::open()];
        create(&mut rig, peer, "/p", 0, &open);
        assert!(rig.server.set_create_counter("/p", i32::MAX));
        let names = [2, 2].map(|flags| create(&mut rig, peer, "/p/a", flags, &open).path());
        assert_eq!(names, ["/p/a2147483647", "/p/a-2147483648"]);
        let stat = rig.exists(peer, "/p", false).stat();
        assert_eq!(stat.pzxid, rig.server.last_zxid());
    }
}

#[test]
fn a_delete_is_refused_for_the_first_reason_in_the_servers_order() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/y", "/y/b"]);
    let rows = [
        ("y", -1, -8),
        ("/y\0", -1, -8),
        ("/", -1, -8),
        ("/zookeeper", -1, -8),
        ("/zookeeper/quota", -1, -8),
        ("/zookeeper/config", -1, -8),
        ("/missing/b", -1, -101),
        ("/nope", 7, -101),
        // The path is not checked any further.
        ("/y/b/", -1, -101),
        ("/y/.", -1, -101),
        ("/y", 7, -103),
        ("/y", -2, -103),
        ("/y", 0, -111),
        ("/y/b", 0, 0),
        ("/y", -1, 0),
    ];
    for (path, version, err) in rows {
        assert_eq!(
            delete(&mut rig, peer, path, version),
            err,
            "{path:?} {version}"
        );
    }
}

#[test]
fn a_time_to_live_below_zero_speaks_last_against_other_modes() {
    let mut rig = Rig::with(|config| config.extended_types_enabled = true);
    let peer = rig.peer();
    rig.make(peer, &["/x"]);
    rig.create(peer, "/e", CreateMode::Ephemeral);
    let open = [Acl::open()];
    let rows: [(&str, i32, &[Acl], i64, i32); 9] = [
        ("/x", 0, &open, -1, -110),
        ("/x", 1, &open, i64::MIN, -110),
        ("/e/y", 2, &open, -1, -108),
        ("/nope/y", 3, &open, -1, -101),
        ("/y", 4, &[], -1, -114),
        ("/y", 0, &open, -1, -8),
        ("/x", 0, &open, 0, -8),
        ("/nope/y", 5, &open, -1, -8),
        ("/nope/y", 6, &open, 0, -8),
    ];
    for (path, flags, acl, ttl, err) in rows {
        let mut body = create_body(path, flags, acl);
        body.extend_from_slice(&ttl.to_be_bytes());
        let answer = rig.call(peer, op::CREATE_TTL, &Raw(body.into()));
        assert_eq!(answer.err(), err, "{path} {flags} {ttl}");
    }
}

#[test]
fn set_data_is_refused_for_the_first_reason_in_the_servers_order() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/y"]);
    let rows = [
        ("", -1, -8),
        ("y", -1, -8),
        ("/y/", -1, -8),
        ("/nope", 7, -101),
        ("/y", 7, -103),
        ("/y", -2, -103),
        ("/y", 0, 0),
        ("/y", 0, -103),
        ("/y", 1, 0),
        ("/y", -1, 0),
        ("/", -1, 0),
        ("/zookeeper", -1, 0),
        ("/zookeeper/config", -1, -102),
    ];
    for (path, version, err) in rows {
        assert_eq!(
            set(&mut rig, peer, path, version),
            err,
            "{path:?} {version}"
        );
    }
    let null = Raw::from("ffffffff ffffffff ffffffff");
    assert_eq!(rig.call(peer, op::SET_DATA, &null).err(), -8);
}

#[test]
fn children_of_the_reserved_nodes() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/zookeeper/a", "/zookeeper/quota/a"]);
    let open = [Acl::open()];
    assert_eq!(
        create(&mut rig, peer, "/zookeeper/config/a", 0, &open).err(),
        -102
    );
}

#[test]
fn stats_tell_what_happened() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let created_at = rig.now.unix_ms;
    let stat = rig.create(peer, "/a", CreateMode::Persistent).last_stat();
    assert_eq!((stat.czxid, stat.mzxid, stat.pzxid), (2, 2, 2));
    assert_eq!((stat.ctime, stat.mtime), (created_at, created_at));

    rig.advance(std::time::Duration::from_millis(5));
    let set = rig.set(peer, "/a", b"123").stat();
    assert_eq!((set.version, set.mzxid, set.mtime), (1, 3, created_at + 5));
    assert_eq!((set.czxid, set.ctime, set.data_length), (2, created_at, 3));

    rig.create(peer, "/a/b", CreateMode::Persistent);
    let stat = rig.exists(peer, "/a", false).stat();
    assert_eq!((stat.pzxid, stat.mzxid, stat.mtime), (4, 3, created_at + 5));
    rig.delete(peer, "/a/b");
    let stat = rig.exists(peer, "/a", false).stat();
    assert_eq!((stat.pzxid, stat.cversion, stat.num_children), (5, 2, 0));
}

#[test]
fn null_data_is_kept_apart_from_empty_data() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/empty", "/null"]);
    let mut body = support::path_body("/null").0;
    body.extend_from_slice(&unhex("ffffffff ffffffff"));
    assert_eq!(
        rig.call(peer, op::SET_DATA, &Raw(body)).stat().data_length,
        0
    );
    assert_eq!(rig.get(peer, "/null", false).body()[..4], [0xff; 4]);
    assert_eq!(rig.get(peer, "/empty", false).body()[..4], [0; 4]);
}

#[test]
fn reads_check_no_path() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    for path in ["x", "//", "/x/", "/.", "/\0"] {
        assert_eq!(rig.get(peer, path, false).err(), -101, "{path:?}");
        assert_eq!(rig.children(peer, path, false).err(), -101, "{path:?}");
    }
    assert_eq!(rig.exists(peer, "/\0", false).err(), -8);
    assert_eq!(rig.exists(peer, "/x/", false).err(), -101);
    // The root has the empty name too.
    assert_eq!(rig.exists(peer, "", false).stat().num_children, 1);
    for op in [op::EXISTS, op::GET_DATA, op::GET_CHILDREN, op::GET_ACL] {
        assert_eq!(
            rig.call(peer, op, &Raw::from("ffffffff 00")).err(),
            -5,
            "{op}"
        );
    }
}

#[test]
fn children_are_listed_with_and_without_the_stat() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/p", "/p/b", "/p/a", "/p/a/deep"]);
    let list = GetChildren {
        path: "/p".into(),
        watch: false,
    };
    assert_eq!(rig.call(peer, op::GET_CHILDREN, &list).names(), ["a", "b"]);
    let both = rig.children(peer, "/p", false);
    assert_eq!(both.names(), ["a", "b"]);
    assert_eq!(both.last_stat().num_children, 2);
}

#[test]
fn all_descendants_are_counted() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let count = |rig: &mut Rig, path| {
        let answer = rig.call(peer, op::GET_ALL_CHILDREN_NUMBER, &support::path_body(path));
        (answer.err(), answer.body().to_vec())
    };
    assert_eq!(count(&mut rig, "/"), (0, vec![0, 0, 0, 3]));
    rig.make(peer, &["/p", "/p/a", "/p/a/b", "/pp"]);
    assert_eq!(count(&mut rig, "/p"), (0, vec![0, 0, 0, 2]));
    assert_eq!(count(&mut rig, "/nope").0, -101);
}

/// Node /p, of which as many children were created as can be counted, to a real server.
const MANY_CHILDREN: &str = include_str!("snapshots/snapshot.1.hex");

#[test]
fn the_counter_of_sequential_names_ends_as_on_a_real_server() {
    let fake = FakeServer::start();
    let mut client = Client::with(fake.addr(), &new_session(30_000)).unwrap();
    let answer = client.create("/p", CreateMode::Persistent).unwrap();
    assert_eq!(answer.err(), 0);
    fake.with_server(|server| server.set_create_counter("/p", i32::MAX));
    let on_fake = create_at_the_end(fake.addr());
    if real::requirement().is_none() {
        return;
    }
    let mut real = real::ZooKeeper::start().unwrap();
    real.kill();
    let data = real.folder().join("data/version-2");
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("snapshot.1"), unhex(MANY_CHILDREN)).unwrap();
    real.restart().unwrap();
    assert_eq!(on_fake, create_at_the_end(real.addr()));
}

/// What is answered to creations and deletions below /p, and what its stat is in between.
fn create_at_the_end(addr: SocketAddr) -> Vec<String> {
    let mut told = Vec::new();
    let acl = [Acl::open()];
    let creation = |path: &'static str, mode| Create {
        path: path.into(),
        data: b"",
        acl: &acl,
        mode,
    };
    let mut client = patiently(|| Client::with(addr, &new_session(30_000)));
    let sequential = CreateMode::PersistentSequential;
    let mut before = None;
    let stat = |client: &mut Client, before: &mut Option<i64>| {
        let exists = client.get("/p", false).unwrap();
        let stat = exists.last_stat();
        let pzxid = before.replace(stat.pzxid).map(|zxid| stat.pzxid > zxid);
        let (children, cversion) = (stat.num_children, stat.cversion);
        format!("{children} children, {cversion}, pzxid is greater: {pzxid:?}")
    };
    told.push(stat(&mut client, &mut before));
    let creations = [
        ("/p/a", sequential),
        ("/p/a", sequential),
        ("/p/b", sequential),
        ("/p/c", CreateMode::Persistent),
    ];
    for (path, mode) in creations {
        let answer = client.call(op::CREATE, &creation(path, mode)).unwrap();
        told.push(format!("{path}: {} {:?}", answer.err(), answer.body()));
        told.push(stat(&mut client, &mut before));
    }
    for path in ["/p/c", "/p/a2147483647"] {
        let path = path.into();
        let version = -1;
        let answer = client.call(op::DELETE, &Delete { path, version });
        told.push(format!("deleted: {}", answer.unwrap().err()));
        told.push(stat(&mut client, &mut before));
    }
    // A list that fails, and two that do not.
    for end in ["/p/b2147483647", "/p/d", "/p/e"] {
        let creations = [("/p/a", sequential); 3].into_iter();
        let creations = creations.chain([(end, CreateMode::Persistent), ("/p/x", sequential)]);
        let operation = |(path, mode)| MultiOp::Create(op::CREATE, creation(path, mode));
        let answer = client.call(op::MULTI, &Multi(creations.map(operation)));
        let answer = answer.unwrap();
        told.push(format!("multi: {} {:?}", answer.err(), answer.body()));
        told.push(stat(&mut client, &mut before));
    }
    told
}
