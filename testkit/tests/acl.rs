//! Identities, access control lists, and what they allow.

mod support;

use homing_protocol::{Acl, Create, CreateMode, Id, Reader, Record, op, permission};
use homing_testkit::{FakeServer, InitialNode, InitialTree};
use support::{Answer, Peer, Raw, Rig, path_body};

fn entry(permissions: i32, scheme: &str, id: &str) -> Acl {
    Acl {
        permissions,
        id: Id {
            scheme: scheme.into(),
            id: id.into(),
        },
    }
}

fn create(rig: &mut Rig, peer: Peer, path: &str, acl: &[Acl]) -> i32 {
    let mode = CreateMode::Persistent;
    rig.call(
        peer,
        op::CREATE,
        &Create {
            path: path.into(),
            data: b"",
            acl,
            mode,
        },
    )
    .err()
}

fn set_acl(rig: &mut Rig, peer: Peer, path: &str, acl: &[Acl], version: i32) -> Answer {
    let mut body = bytes::BytesMut::from(&path_body(path).0[..]);
    Acl::put_list(&mut body, acl);
    body.extend_from_slice(&version.to_be_bytes());
    rig.call(peer, op::SET_ACL, &Raw(body.into()))
}

/// The list that getACL shows, as `permissions scheme:id`, or its error.
fn get_acl(rig: &mut Rig, peer: Peer, path: &str) -> Result<Vec<String>, i32> {
    let answer = rig.call(peer, op::GET_ACL, &path_body(path));
    if answer.err() != 0 {
        return Err(answer.err());
    }
    let body = answer.body();
    let mut reader = Reader::new(&body);
    let count = reader.count("acl", 12).unwrap().unwrap();
    let text = |_| {
        let permissions = reader.i32("perms").unwrap();
        let scheme = reader.string("scheme").unwrap();
        format!("{permissions} {scheme}:{}", reader.string("id").unwrap())
    };
    Ok((0..count).map(text).collect())
}

#[test]
fn every_operation_needs_its_own_permission() {
    let all = permission::ALL;
    let rows = [
        ("read", permission::READ),
        ("list", permission::READ),
        ("count", permission::READ),
        ("set", permission::WRITE),
        ("create", permission::CREATE),
        // Asked of the parent.
        ("delete", permission::DELETE),
        ("set_acl", permission::ADMIN),
    ];
    for (what, needed) in rows {
        for (allowed, expected) in [(needed, true), (all & !needed, false)] {
            let mut rig = Rig::new();
            let peer = rig.peer();
            rig.make(peer, &["/n", "/n/child"]);
            assert_eq!(
                set_acl(
                    &mut rig,
                    peer,
                    "/n",
                    &[entry(allowed, "world", "anyone")],
                    0
                )
                .err(),
                0
            );
            let err = match what {
                "read" => rig.get(peer, "/n", false).err(),
                "list" => rig.children(peer, "/n", false).err(),
                "count" => rig
                    .call(peer, op::GET_ALL_CHILDREN_NUMBER, &path_body("/n"))
                    .err(),
                "set" => rig.set(peer, "/n", b"").err(),
                "create" => create(&mut rig, peer, "/n/new", &[Acl::open()]),
                "delete" => rig.delete(peer, "/n/child").err(),
                _ => set_acl(&mut rig, peer, "/n", &[Acl::open()], -1).err(),
            };
            assert_eq!(
                err,
                if expected { 0 } else { -102 },
                "{what} with {allowed}"
            );
        }
    }
}

#[test]
fn exists_asks_for_no_permission() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    assert_eq!(
        create(&mut rig, peer, "/secret", &[entry(0, "world", "anyone")]),
        0
    );
    assert_eq!(rig.exists(peer, "/secret", true).err(), 0);
    assert_eq!(rig.get(peer, "/secret", true).err(), -102);
    assert_eq!(rig.server.watch_count(), 1);
}

#[test]
fn permission_is_asked_before_versions_and_behind_existence() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let nothing = [entry(0, "world", "anyone")];
    rig.make(peer, &["/n", "/n/child"]);
    set_acl(&mut rig, peer, "/n", &nothing, -1);
    let wrong = homing_protocol::SetData {
        path: "/n".into(),
        data: b"",
        version: 9,
    };
    assert_eq!(rig.call(peer, op::SET_DATA, &wrong).err(), -102);
    assert_eq!(rig.delete(peer, "/n/missing").err(), -102);
    assert_eq!(rig.get(peer, "/n/missing", false).err(), -101);
    assert_eq!(create(&mut rig, peer, "/n/child", &[Acl::open()]), -102);
    assert_eq!(get_acl(&mut rig, peer, "/n"), Err(-102));
}

#[test]
fn set_acl_is_refused_for_the_first_reason_in_the_servers_order() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    rig.make(peer, &["/n"]);
    let open = [Acl::open()];
    assert_eq!(set_acl(&mut rig, peer, "/n/", &[], 0).err(), -8);
    assert_eq!(set_acl(&mut rig, peer, "/nope", &[], 0).err(), -114);
    assert_eq!(set_acl(&mut rig, peer, "/nope", &open, 0).err(), -101);
    assert_eq!(
        set_acl(&mut rig, peer, "/zookeeper/config", &open, 0).err(),
        -102
    );
    assert_eq!(set_acl(&mut rig, peer, "/n", &open, 1).err(), -103);
    let zxid = rig.server.last_zxid();
    let stat = set_acl(&mut rig, peer, "/n", &open, 0).stat();
    assert_eq!((stat.aversion, stat.version, stat.mzxid), (1, 0, 2));
    assert_eq!(rig.server.last_zxid(), zxid + 1);
}

#[test]
fn permissions_are_kept_as_they_are_given() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let odd = [
        entry(0, "world", "anyone"),
        entry(255, "world", "anyone"),
        entry(0, "world", "anyone"),
    ];
    assert_eq!(create(&mut rig, peer, "/n", &odd), 0);
    let expected = ["0 world:anyone", "255 world:anyone"];
    assert_eq!(get_acl(&mut rig, peer, "/n").unwrap(), expected);
}

#[test]
fn a_digest_locks_others_out() {
    let mut rig = Rig::new();
    let (bob, eve) = (rig.peer(), rig.peer());
    let answer = rig.auth(bob, "digest", "bob:pw");
    assert_eq!(
        (answer.err(), answer.header.xid, answer.header.zxid),
        (0, -4, 0)
    );
    assert_eq!(create(&mut rig, bob, "/n", &[entry(31, "auth", "")]), 0);
    assert_eq!(rig.get(bob, "/n", false).err(), 0);
    assert_eq!(rig.get(eve, "/n", false).err(), -102);
    rig.auth(eve, "digest", "bob:wrong");
    assert_eq!(rig.get(eve, "/n", false).err(), -102);
    rig.auth(eve, "digest", "bob:pw");
    assert_eq!(rig.get(eve, "/n", false).err(), 0);
}

#[test]
fn identities_belong_to_the_connection() {
    let mut rig = Rig::new();
    let bob = rig.peer();
    rig.auth(bob, "digest", "bob:pw");
    assert_eq!(create(&mut rig, bob, "/n", &[entry(31, "auth", "")]), 0);
    let (connection, _) = rig.handshake(&support::resume(bob, 30_000));
    let again = Peer { connection, ..bob };
    assert_eq!(rig.get(again, "/n", false).err(), -102);
}

#[test]
fn auth_in_a_list_needs_somebody_who_is_authenticated() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    assert_eq!(create(&mut rig, peer, "/n", &[entry(31, "auth", "")]), -114);
    rig.auth(peer, "digest", "a:1");
    rig.auth(peer, "digest", "b:2");
    let list = [entry(1, "auth", "whoever"), entry(31, "world", "anyone")];
    assert_eq!(create(&mut rig, peer, "/n", &list), 0);
    let shown = get_acl(&mut rig, peer, "/n").unwrap();
    assert_eq!(shown.len(), 3);
    assert!(shown[0].starts_with("1 digest:a:"));
    assert!(shown[1].starts_with("1 digest:b:"));
}

#[test]
fn digests_are_shown_only_to_whom_may_change_them() {
    let mut rig = Rig::new();
    let (bob, eve) = (rig.peer(), rig.peer());
    rig.auth(bob, "digest", "bob:pw");
    let list = [entry(31, "auth", ""), entry(1, "world", "anyone")];
    assert_eq!(create(&mut rig, bob, "/n", &list), 0);
    let full = [
        "31 digest:bob:ikIaKsbtGweaHnb/jKn7OHqbunM=",
        "1 world:anyone",
    ];
    assert_eq!(get_acl(&mut rig, bob, "/n").unwrap(), full);
    assert_eq!(
        get_acl(&mut rig, eve, "/n").unwrap(),
        ["31 digest:bob:x", "1 world:anyone"]
    );
}

#[test]
fn an_address_is_an_identity() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    assert_eq!(
        create(&mut rig, peer, "/here", &[entry(31, "ip", "127.0.0.0/8")]),
        0
    );
    assert_eq!(
        create(&mut rig, peer, "/there", &[entry(31, "ip", "10.0.0.1")]),
        0
    );
    assert_eq!(rig.get(peer, "/here", false).err(), 0);
    assert_eq!(rig.get(peer, "/there", false).err(), -102);
    assert_eq!(rig.auth(peer, "ip", "").err(), 0);
}

#[test]
fn the_super_user_passes_every_check() {
    let digest = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";
    let mut rig = Rig::with(|config| config.super_digest = Some(digest.into()));
    let peer = rig.peer();
    assert_eq!(
        create(&mut rig, peer, "/n", &[entry(0, "world", "anyone")]),
        0
    );
    assert_eq!(rig.get(peer, "/n", false).err(), -102);
    rig.auth(peer, "digest", "super:admin");
    assert_eq!(rig.get(peer, "/n", false).err(), 0);
    assert_eq!(rig.set(peer, "/zookeeper/config", b"").err(), 0);
    // Versions are still compared.
    assert_eq!(set_acl(&mut rig, peer, "/n", &[Acl::open()], 5).err(), -103);
    let who = rig.call(peer, op::WHO_AM_I, &homing_protocol::Empty);
    assert_eq!(who.body()[..4], 3_i32.to_be_bytes());
}

#[test]
fn refused_credentials_cost_the_connection_and_not_the_session() {
    for scheme in ["sasl", "x509", "world", "super", "nonsense", ""] {
        let mut rig = Rig::new();
        let peer = rig.peer();
        let answer = rig.auth(peer, scheme, "x");
        assert_eq!((answer.err(), answer.header.zxid), (-115, 0), "{scheme}");
        assert!(rig.is_closed(peer.connection));
        assert_eq!(rig.server.sessions().len(), 1);
    }
}

#[test]
fn an_id_may_hold_any_character() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    let list = [
        entry(31, "digest", "\u{1F600}:x"),
        entry(31, "world", "anyone"),
    ];
    assert_eq!(create(&mut rig, peer, "/n", &list), 0);
    assert!(list[0].encoded_len() > 0);
    assert_eq!(
        get_acl(&mut rig, peer, "/n").unwrap()[0],
        "31 digest:\u{1F600}:x"
    );
}

#[test]
fn no_hash_is_shown_that_a_server_was_given() {
    let digest = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";
    let entry = Acl::digest("bob", "secret");
    let hash = entry.id.id.trim_start_matches("bob:").to_owned();
    let tree = InitialTree::new().node("/of-bob", InitialNode::new().acl(vec![entry]));
    let builder = FakeServer::builder()
        .super_digest(digest)
        .tree(tree.clone());
    let shown = format!("{builder:?}");
    assert!(shown.contains("SuperDigest([redacted])") && shown.contains("bob:"));
    for shown in [shown, format!("{tree:?}")] {
        assert!(!shown.contains("xQJm") && !shown.contains(&hash), "{shown}");
    }
}
