//! Whatever kind of request a client makes, its bytes are those of ZooKeeper's own Java client,
//! xids aside. `java/requests.hex` has what that client sent (3.8.0); `java/record` records it
//! anew. No Java is needed here.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::{
    Acl, AddWatch, AddWatchMode, Auth, Check, CheckWatches, ConnectRequest, Create, CreateMode,
    Delete, Empty, Exists, GetAcl, GetAllChildrenNumber, GetChildren, GetData, GetEphemerals,
    Multi, MultiOp, Reconfig, Record, RemoveWatches, RequestHeader, SaslToken, SessionPassword,
    SetAcl, SetData, SetWatches, Sync, Ttl, WatcherType, frame, op, put_request, request_len, xid,
};

#[test]
fn requests_are_those_of_the_java_client() {
    let recorded = recorded();
    let ours = ours();
    let names = |all: &BTreeMap<String, Bytes>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&recorded), "every kind, and no other");
    for (name, bytes) in &recorded {
        assert_eq!(
            hex(&without_xid(&ours[name])),
            hex(&without_xid(bytes)),
            "{name}"
        );
    }
}

/// Frames by the names of their kinds.
fn recorded() -> BTreeMap<String, Bytes> {
    let lines = include_str!("java/requests.hex").lines();
    let rows = lines.filter(|line| !line.starts_with('#')).map(|line| {
        let (name, digits) = line.split_once(' ').unwrap();
        (name.to_owned(), bytes(digits))
    });
    rows.collect()
}

/// The same requests, made here.
fn ours() -> BTreeMap<String, Bytes> {
    let mut all = Requests::default();
    handshakes(&mut all);
    creates(&mut all);
    writes(&mut all);
    reads(&mut all);
    several(&mut all);
    watches(&mut all);
    all.frames
}

fn handshakes(all: &mut Requests) {
    let connect = ConnectRequest {
        last_zxid_seen: 0,
        timeout_ms: 30_000,
        session_id: 0,
        password: SessionPassword::NONE,
        read_only: Some(false),
    };
    all.frame("connect", &connect);
    let password: Vec<u8> = (1..=16).collect();
    let again = ConnectRequest {
        session_id: 0x0102_0304_0506_0708,
        password: SessionPassword::new(&password).unwrap(),
        ..connect
    };
    all.frame("connect_again", &again);
    all.add_with(xid::PING, "ping", op::PING, &Empty);
    all.add("closeSession", op::CLOSE_SESSION, &Empty);
    let bob = Auth {
        scheme: "digest",
        proof: b"bob:pw",
    };
    all.add_with(xid::AUTH, "auth", op::AUTH, &bob);
    all.add("sasl", op::SASL, &SaslToken(b""));
}

fn creates(all: &mut Requests) {
    let open = [Acl::open()];
    let create = |mode| Create {
        path: "/a".into(),
        data: b"hi",
        acl: &open,
        mode,
    };
    for (name, mode) in [
        ("persistent", CreateMode::Persistent),
        ("ephemeral", CreateMode::Ephemeral),
        ("persistent_sequential", CreateMode::PersistentSequential),
        ("ephemeral_sequential", CreateMode::EphemeralSequential),
    ] {
        all.add(&format!("create_{name}"), op::CREATE, &create(mode));
        all.add(&format!("create2_{name}"), mode.op(), &create(mode));
    }
    let list = [Acl::read_only(), Acl::digest("bob", "pw")];
    let with_list = Create {
        data: b"",
        acl: &list,
        ..create(CreateMode::Persistent)
    };
    all.add("create_with_a_list", op::CREATE, &with_list);
    let longest = Ttl::new(Duration::from_millis((1 << 40) - 1)).unwrap();
    for (name, mode) in [
        ("createContainer", CreateMode::Container),
        ("createTTL", CreateMode::PersistentWithTtl(second())),
        (
            "createTTL_sequential",
            CreateMode::PersistentSequentialWithTtl(longest),
        ),
    ] {
        all.add(name, mode.op(), &create(mode));
    }
}

fn writes(all: &mut Requests) {
    let delete = |path: &'static str, version| Delete {
        path: path.into(),
        version,
    };
    all.add("delete", op::DELETE, &delete("/a", -1));
    all.add("delete_at_a_version", op::DELETE, &delete("/\u{e9}", 7));
    let set = SetData {
        path: "/a".into(),
        data: b"hi",
        version: 3,
    };
    all.add("setData", op::SET_DATA, &set);
    let acl = SetAcl {
        path: "/a".into(),
        acl: &[Acl::open()],
        version: 2,
    };
    all.add("setACL", op::SET_ACL, &acl);
    let some = Reconfig {
        joining: Some("server.4=d:2888:3888:participant;2181,server.5=e:2888:3888:observer;2181"),
        leaving: Some("1,2"),
        ..Reconfig::default()
    };
    all.add("reconfig_incremental", op::RECONFIG, &some);
    let full = Reconfig {
        members: Some("server.1=a:2888:3888:participant;2181"),
        from_config: 0x1_0000_0001,
        ..Reconfig::default()
    };
    all.add("reconfig_in_full", op::RECONFIG, &full);
}

fn reads(all: &mut Requests) {
    for (name, path, watch) in [
        ("exists", "/a", false),
        ("exists_with_a_watch", "/exist", true),
    ] {
        let path = path.into();
        all.add(name, op::EXISTS, &Exists { path, watch });
    }
    for (name, path, watch) in [
        ("getData", "/a", false),
        ("getData_with_a_watch", "/data", true),
    ] {
        let path = path.into();
        all.add(name, op::GET_DATA, &GetData { path, watch });
    }
    for (name, op, path, watch) in [
        ("getChildren", op::GET_CHILDREN, "/a", false),
        ("getChildren2", op::GET_CHILDREN2, "/a", false),
        (
            "getChildren2_with_a_watch",
            op::GET_CHILDREN2,
            "/child",
            true,
        ),
    ] {
        let path = path.into();
        all.add(name, op, &GetChildren { path, watch });
    }
    let path = "/a".into();
    all.add("getACL", op::GET_ACL, &GetAcl { path });
    all.add("sync", op::SYNC, &Sync { path });
    all.add(
        "getEphemerals",
        op::GET_EPHEMERALS,
        &GetEphemerals { prefix: path },
    );
    all.add(
        "getAllChildrenNumber",
        op::GET_ALL_CHILDREN_NUMBER,
        &GetAllChildrenNumber { path },
    );
    all.add("whoAmI", op::WHO_AM_I, &Empty);
}

fn several(all: &mut Requests) {
    let open = [Acl::open()];
    let create = |op, path: &'static str, mode| {
        let create = Create {
            path: path.into(),
            data: b"hi",
            acl: &open,
            mode,
        };
        MultiOp::Create(op, create)
    };
    let ttl = CreateMode::PersistentWithTtl(second());
    let ops = [
        MultiOp::Check(Check {
            path: "/a".into(),
            version: 1,
        }),
        create(op::CREATE, "/a/p", CreateMode::Persistent),
        create(op::CREATE, "/a/es-", CreateMode::EphemeralSequential),
        create(op::CREATE_CONTAINER, "/a/c", CreateMode::Container),
        create(op::CREATE_TTL, "/a/t", ttl),
        MultiOp::SetData(SetData {
            path: "/a".into(),
            data: b"hi",
            version: -1,
        }),
        MultiOp::Delete(Delete {
            path: "/b".into(),
            version: 4,
        }),
    ];
    all.add("multi", op::MULTI, &Multi(ops.into_iter()));
    let watch = false;
    let reads = [
        MultiOp::GetData(GetData {
            path: "/a".into(),
            watch,
        }),
        MultiOp::GetChildren(GetChildren {
            path: "/b".into(),
            watch,
        }),
    ];
    all.add("multiRead", op::MULTI_READ, &Multi(reads.into_iter()));
}

fn watches(all: &mut Requests) {
    let (path, kind) = ("/data".into(), WatcherType::Data);
    let check = CheckWatches { path, kind };
    all.add("checkWatches_data", op::CHECK_WATCHES, &check);
    for (name, path, kind) in [
        ("children", "/child", WatcherType::Children),
        ("any", "/exist", WatcherType::Any),
    ] {
        let path = path.into();
        let remove = RemoveWatches { path, kind };
        all.add(
            &format!("removeWatches_{name}"),
            op::REMOVE_WATCHES,
            &remove,
        );
    }
    let [data, exist, child] = ["/data", "/exist", "/child"].map(|path| [path.into()]);
    let one_shot = SetWatches {
        relative_zxid: 7,
        data: &data,
        exist: &exist,
        child: &child,
        persistent: &[],
        persistent_recursive: &[],
    };
    all.add("setWatches", one_shot.op(), &one_shot);
    let [persistent, recursive] = ["/persistent", "/recursive"].map(|path| [path.into()]);
    let all_kinds = SetWatches {
        persistent: &persistent,
        persistent_recursive: &recursive,
        ..one_shot
    };
    all.add("setWatches2", all_kinds.op(), &all_kinds);
    for (name, path, mode) in [
        ("addWatch", "/persistent", AddWatchMode::Persistent),
        (
            "addWatch_recursive",
            "/recursive",
            AddWatchMode::PersistentRecursive,
        ),
    ] {
        let path = path.into();
        all.add(name, op::ADD_WATCH, &AddWatch { path, mode });
    }
}

fn second() -> Ttl {
    Ttl::new(Duration::from_secs(1)).unwrap()
}

#[derive(Default)]
struct Requests {
    frames: BTreeMap<String, Bytes>,
}

impl Requests {
    fn add(&mut self, name: &str, op: i32, body: &impl Record) {
        self.add_with(1, name, op, body);
    }

    fn add_with(&mut self, xid: i32, name: &str, op: i32, body: &impl Record) {
        let mut out = BytesMut::new();
        put_request(&mut out, RequestHeader { xid, op }, body);
        assert_eq!(out.len(), request_len(body), "{name}");
        self.insert(name, out);
    }

    /// What a client without a record of it would have to write.
    /// A frame that has no header.
    fn frame(&mut self, name: &str, record: &impl Record) {
        let mut out = BytesMut::new();
        out.put_i32(i32::try_from(record.encoded_len()).unwrap());
        record.encode(&mut out);
        self.insert(name, out);
    }

    fn insert(&mut self, name: &str, out: BytesMut) {
        let former = self.frames.insert(name.into(), out.freeze());
        assert_eq!(former, None, "{name}");
    }
}

/// Zero in the place of an xid that counts requests. The special ones stay.
fn without_xid(bytes: &Bytes) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let xid = &mut bytes[frame::LENGTH_LEN..frame::LENGTH_LEN + 4];
    if i32::from_be_bytes(xid.try_into().unwrap()) > 0 {
        xid.fill(0);
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(digits: &str) -> Bytes {
    let digits = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}
