//! Who is told of what, when, and how often.

mod support;

use homing_protocol::EventType::{
    self, NodeChildrenChanged as ChildrenChanged, NodeCreated as Created,
    NodeDataChanged as DataChanged, NodeDeleted as Deleted,
};
use homing_protocol::{Acl, Create, CreateMode, op, put_count, put_string};
use support::{Answer, Peer, Raw, Rig, path_and_kind};

fn add_watch(rig: &mut Rig, peer: Peer, path: &str, mode: i32) {
    let answer = rig.call(peer, op::ADD_WATCH, &path_and_kind(path, mode));
    assert_eq!((answer.err(), &answer.body()[..]), (0, &[0; 4][..]));
}

fn remove(rig: &mut Rig, peer: Peer, path: &str, kind: i32) -> i32 {
    rig.call(peer, op::REMOVE_WATCHES, &path_and_kind(path, kind))
        .err()
}

fn check(rig: &mut Rig, peer: Peer, path: &str, kind: i32) -> i32 {
    rig.call(peer, op::CHECK_WATCHES, &path_and_kind(path, kind))
        .err()
}

fn set_watches(rig: &mut Rig, peer: Peer, since: i64, lists: &[&[&str]]) -> Answer {
    let mut body = bytes::BytesMut::from(&since.to_be_bytes()[..]);
    for list in lists {
        put_count(&mut body, list.len());
        list.iter().for_each(|path| put_string(&mut body, path));
    }
    let op = if lists.len() == 3 {
        op::SET_WATCHES
    } else {
        op::SET_WATCHES2
    };
    rig.call(peer, op, &Raw(body.into()))
}

/// What a connection was told since it was last asked.
fn told(rig: &mut Rig, peer: Peer) -> Vec<(EventType, String)> {
    rig.take_events(peer.connection)
}

fn events<const N: usize>(list: [(EventType, &str); N]) -> Vec<(EventType, String)> {
    list.map(|(kind, path)| (kind, path.to_owned())).to_vec()
}

/// Two connections: one watches, the other changes things.
fn rig() -> (Rig, Peer, Peer) {
    let mut rig = Rig::new();
    let (watcher, writer) = (rig.peer(), rig.peer());
    rig.make(writer, &["/a"]);
    (rig, watcher, writer)
}

#[test]
fn a_data_watch_fires_once() {
    let (mut rig, watcher, writer) = rig();
    rig.get(watcher, "/a", true);
    rig.set(writer, "/a", b"1");
    rig.set(writer, "/a", b"2");
    assert_eq!(told(&mut rig, watcher), events([(DataChanged, "/a")]));
    assert_eq!(rig.server.watch_count(), 0);
}

#[test]
fn a_data_watch_does_not_fire_for_children_nor_a_child_watch_for_data() {
    let (mut rig, watcher, writer) = rig();
    rig.get(watcher, "/a", true);
    rig.make(writer, &["/a/b"]);
    assert_eq!(told(&mut rig, watcher), []);
    rig.set(writer, "/a", b"");
    assert_eq!(told(&mut rig, watcher), events([(DataChanged, "/a")]));

    rig.children(watcher, "/a", true);
    rig.set(writer, "/a", b"");
    rig.set(writer, "/a/b", b"");
    assert_eq!(told(&mut rig, watcher), []);
    rig.delete(writer, "/a/b");
    assert_eq!(told(&mut rig, watcher), events([(ChildrenChanged, "/a")]));
}

#[test]
fn an_exist_watch_waits_for_a_node_that_is_not_there() {
    let (mut rig, watcher, writer) = rig();
    assert_eq!(rig.exists(watcher, "/b", true).err(), -101);
    rig.make(writer, &["/b"]);
    assert_eq!(told(&mut rig, watcher), events([(Created, "/b")]));
}

#[test]
fn reads_that_fail_watch_nothing() {
    let (mut rig, watcher, _) = rig();
    rig.get(watcher, "/b", true);
    rig.children(watcher, "/b", true);
    assert_eq!(rig.server.watch_count(), 0);
}

#[test]
fn one_change_is_told_once_to_a_connection() {
    let (mut rig, watcher, writer) = rig();
    rig.get(watcher, "/a", true);
    rig.exists(watcher, "/a", true);
    rig.children(watcher, "/a", true);
    rig.delete(writer, "/a");
    assert_eq!(told(&mut rig, watcher), events([(Deleted, "/a")]));
    assert_eq!(rig.server.watch_count(), 0, "the child watch is spent too");
}

#[test]
fn a_deletion_is_told_of_the_node_first_and_of_its_parent_then() {
    let (mut rig, watcher, writer) = rig();
    rig.make(writer, &["/a/b"]);
    rig.children(watcher, "/a", true);
    rig.children(watcher, "/a/b", true);
    rig.delete(writer, "/a/b");
    assert_eq!(
        told(&mut rig, watcher),
        events([(Deleted, "/a/b"), (ChildrenChanged, "/a")])
    );
}

#[test]
fn own_changes_are_told_before_the_reply() {
    let (mut rig, watcher, _) = rig();
    rig.get(watcher, "/a", true);
    let answer = rig.set(watcher, "/a", b"");
    assert_eq!(answer.events, events([(DataChanged, "/a")]));
}

#[test]
fn watches_are_lost_with_their_connection() {
    let (mut rig, watcher, writer) = rig();
    rig.get(watcher, "/a", true);
    add_watch(&mut rig, watcher, "/a", 1);
    let (connection, _) = rig.handshake(&support::resume(watcher, 30_000));
    rig.set(writer, "/a", b"");
    assert_eq!(rig.server.watch_count(), 0);
    assert!(rig.take(connection).is_empty());
}

#[test]
fn set_acl_is_told_to_nobody() {
    let (mut rig, watcher, writer) = rig();
    add_watch(&mut rig, watcher, "/a", 1);
    let mut body = bytes::BytesMut::from(&support::path_body("/a").0[..]);
    Acl::put_list(&mut body, &[Acl::open()]);
    body.extend_from_slice(&[0xff; 4]);
    assert_eq!(
        rig.call(writer, op::SET_ACL, &Raw(body.into()))
            .stat()
            .aversion,
        1
    );
    assert_eq!(told(&mut rig, watcher), []);
}

#[test]
fn a_newer_server_asks_who_may_read_and_tells_the_transaction() {
    let mut rig = Rig::with(|config| {
        config.events_need_read = true;
        config.exists_needs_read = true;
        config.events_tell_zxid = true;
    });
    let (watcher, writer) = (rig.peer(), rig.peer());
    rig.exists(watcher, "/secret", true);
    rig.children(watcher, "/", true);
    let mut acl = [Acl::open()];
    acl[0].permissions = 30;
    let mode = CreateMode::Persistent;
    let create = Create {
        path: "/secret".into(),
        data: b"",
        acl: &acl,
        mode,
    };
    let zxid = rig.call(writer, op::CREATE, &create).header.zxid;
    // The node is a secret, the list of the root's children is not.
    let frames = rig.take(watcher.connection);
    assert_eq!(frames.len(), 1);
    let header = homing_protocol::ReplyHeader::decode(&frames[0]).unwrap();
    assert_eq!((header.xid, header.zxid), (-1, zxid));
    assert_eq!(
        rig.server.watch_count(),
        0,
        "the other watch is spent all the same"
    );
    assert_eq!(rig.exists(watcher, "/secret", true).err(), -102);
    assert_eq!(rig.server.watch_count(), 0);
}

#[test]
fn a_path_that_ends_before_the_root_is_walked_up_only_where_a_watch_is_recursive() {
    let (mut rig, watcher, writer) = rig();
    rig.exists(watcher, "a/b", true);
    let all = |rig: &mut Rig, path| [1, 2, 3].map(|kind| check(rig, watcher, path, kind));
    assert_eq!(all(&mut rig, "a/b"), [-121, 0, 0]);
    assert_eq!(all(&mut rig, "a/"), [-121; 3]);
    add_watch(&mut rig, writer, "/c", 1);
    assert_eq!(all(&mut rig, "a/b"), [-5, 0, -5]);
    assert_eq!(all(&mut rig, "a/"), [-5; 3]);
    assert_eq!(all(&mut rig, "/a/b"), [-121; 3]);
    assert_eq!(all(&mut rig, ""), [-121; 3]);
}

#[test]
fn a_watch_is_found_on_a_path_that_anybody_watches() {
    let (mut rig, watcher, writer) = rig();
    rig.get(watcher, "/a", true);
    assert_eq!(check(&mut rig, writer, "/a", 2), 0);
    assert_eq!(remove(&mut rig, writer, "/a", 2), -121);
}

#[test]
fn a_persistent_watch_stays_and_sees_node_and_children() {
    let (mut rig, watcher, writer) = rig();
    add_watch(&mut rig, watcher, "/a", 0);
    rig.set(writer, "/a", b"");
    rig.make(writer, &["/a/b"]);
    rig.set(writer, "/a/b", b"");
    rig.delete(writer, "/a/b");
    rig.delete(writer, "/a");
    rig.make(writer, &["/a"]);
    let expected = [
        (DataChanged, "/a"),
        (ChildrenChanged, "/a"),
        (ChildrenChanged, "/a"),
        (Deleted, "/a"),
        (Created, "/a"),
    ];
    assert_eq!(told(&mut rig, watcher), events(expected));
}

#[test]
fn a_recursive_watch_sees_everything_below_and_no_lists() {
    let (mut rig, watcher, writer) = rig();
    add_watch(&mut rig, watcher, "/a", 1);
    rig.make(writer, &["/a/b", "/a/b/c", "/ab"]);
    rig.set(writer, "/a/b/c", b"");
    rig.delete(writer, "/a/b/c");
    rig.set(writer, "/a", b"");
    let expected = [
        (Created, "/a/b"),
        (Created, "/a/b/c"),
        (DataChanged, "/a/b/c"),
        (Deleted, "/a/b/c"),
        (DataChanged, "/a"),
    ];
    assert_eq!(told(&mut rig, watcher), events(expected));
}

#[test]
fn a_recursive_watch_on_the_root_covers_all() {
    let (mut rig, watcher, writer) = rig();
    add_watch(&mut rig, watcher, "/", 1);
    rig.make(writer, &["/zookeeper/x", "/y"]);
    assert_eq!(
        told(&mut rig, watcher),
        events([(Created, "/zookeeper/x"), (Created, "/y")])
    );
}

#[test]
fn a_watch_may_be_added_to_what_is_not_there() {
    let (mut rig, watcher, writer) = rig();
    add_watch(&mut rig, watcher, "/new", 0);
    rig.make(writer, &["/new"]);
    assert_eq!(told(&mut rig, watcher), events([(Created, "/new")]));
    assert_eq!(
        rig.call(watcher, op::ADD_WATCH, &path_and_kind("/new", 2))
            .err(),
        -5
    );
}

#[test]
fn a_one_shot_takes_the_place_of_a_persistent_watch() {
    let (mut rig, watcher, writer) = rig();
    add_watch(&mut rig, watcher, "/a", 0);
    rig.get(watcher, "/a", true);
    rig.set(writer, "/a", b"1");
    rig.set(writer, "/a", b"2");
    // Of the persistent watch the half that sees children is left.
    rig.make(writer, &["/a/b"]);
    assert_eq!(
        told(&mut rig, watcher),
        events([(DataChanged, "/a"), (ChildrenChanged, "/a")])
    );
}

#[test]
fn of_persistent_and_recursive_the_last_one_wins() {
    let (mut rig, watcher, writer) = rig();
    add_watch(&mut rig, watcher, "/a", 0);
    add_watch(&mut rig, watcher, "/a", 1);
    rig.make(writer, &["/a/b"]);
    assert_eq!(told(&mut rig, watcher), events([(Created, "/a/b")]));
    add_watch(&mut rig, watcher, "/a", 0);
    rig.make(writer, &["/a/b/c", "/a/c"]);
    assert_eq!(told(&mut rig, watcher), events([(ChildrenChanged, "/a")]));
}

/// As [`rig`], of a server that keeps all modes on a path.
fn side_by_side() -> (Rig, Peer, Peer) {
    let mut rig = Rig::with(|config| {
        config.watches_side_by_side = true;
        config.check_watches_own = true;
    });
    let (watcher, writer) = (rig.peer(), rig.peer());
    rig.make(writer, &["/a"]);
    (rig, watcher, writer)
}

#[test]
fn a_newer_server_keeps_all_kinds_side_by_side() {
    let (mut rig, watcher, writer) = side_by_side();
    add_watch(&mut rig, watcher, "/a", 0);
    add_watch(&mut rig, watcher, "/a", 1);
    rig.get(watcher, "/a", true);
    rig.children(watcher, "/a", true);
    assert_eq!(rig.server.watch_count(), 5);
    // One notification, however many they are; then the one-shot is spent, and nothing else.
    rig.set(writer, "/a", b"1");
    rig.set(writer, "/a", b"2");
    assert_eq!(
        told(&mut rig, watcher),
        events([(DataChanged, "/a"), (DataChanged, "/a")])
    );
    assert_eq!(rig.server.watch_count(), 4);
    // The recursive one sees the child, the others the list.
    rig.make(writer, &["/a/b", "/a/b/c"]);
    let expected = [
        (Created, "/a/b"),
        (ChildrenChanged, "/a"),
        (Created, "/a/b/c"),
    ];
    assert_eq!(told(&mut rig, watcher), events(expected));
    assert_eq!(rig.server.watch_count(), 3);
    rig.delete(writer, "/a/b/c");
    rig.delete(writer, "/a/b");
    rig.delete(writer, "/a");
    let expected = [
        (Deleted, "/a/b/c"),
        (Deleted, "/a/b"),
        (ChildrenChanged, "/a"),
        (Deleted, "/a"),
    ];
    assert_eq!(told(&mut rig, watcher), events(expected));
}

#[test]
fn a_newer_server_removes_each_kind_by_itself() {
    let (mut rig, watcher, writer) = side_by_side();
    for kind in 1..=5 {
        assert_eq!(check(&mut rig, watcher, "/a", kind), -121, "{kind}");
        assert_eq!(remove(&mut rig, watcher, "/a", kind), -121, "{kind}");
    }
    for (kind, left) in [(1, 4), (2, 3), (4, 1), (5, 0)] {
        if kind == 1 {
            add_watch(&mut rig, watcher, "/a", 0);
            add_watch(&mut rig, watcher, "/a", 1);
            rig.get(watcher, "/a", true);
            rig.children(watcher, "/a", true);
        }
        assert_eq!(check(&mut rig, watcher, "/a", kind), 0, "{kind}");
        assert_eq!(check(&mut rig, writer, "/a", kind), -121, "its own only");
        assert_eq!(remove(&mut rig, writer, "/a", kind), -121, "its own only");
        assert_eq!(remove(&mut rig, watcher, "/a", kind), 0, "{kind}");
        assert_eq!(check(&mut rig, watcher, "/a", kind), -121, "{kind}");
        assert_eq!(rig.server.watch_count(), left, "{kind}");
    }
    add_watch(&mut rig, watcher, "/a", 1);
    assert_eq!(remove(&mut rig, watcher, "/a", 2), -121);
    assert_eq!(remove(&mut rig, watcher, "/a", 3), 0);
    assert_eq!(check(&mut rig, watcher, "/a", 6), -5);
    rig.set(writer, "/a", b"");
    assert_eq!(told(&mut rig, watcher), []);
}

#[test]
fn watches_are_removed_by_kind() {
    let (mut rig, watcher, writer) = rig();
    rig.get(watcher, "/a", true);
    assert_eq!(check(&mut rig, watcher, "/a", 2), 0);
    assert_eq!(check(&mut rig, watcher, "/a", 3), 0);
    assert_eq!(check(&mut rig, watcher, "/a", 1), -121);
    assert_eq!(remove(&mut rig, watcher, "/a", 1), -121);
    assert_eq!(remove(&mut rig, writer, "/a", 3), -121, "somebody else's");
    assert_eq!(remove(&mut rig, watcher, "/a", 2), 0);
    assert_eq!(remove(&mut rig, watcher, "/a", 2), -121);
    for kind in [0, 4, 5] {
        assert_eq!(remove(&mut rig, watcher, "/a", kind), -5);
        assert_eq!(check(&mut rig, watcher, "/a", kind), -5);
    }
    rig.set(writer, "/a", b"");
    assert_eq!(told(&mut rig, watcher), []);
}

#[test]
fn removing_a_kind_takes_half_of_a_persistent_watch() {
    let (mut rig, watcher, writer) = rig();
    add_watch(&mut rig, watcher, "/a", 0);
    assert_eq!(remove(&mut rig, watcher, "/a", 2), 0);
    rig.set(writer, "/a", b"");
    rig.make(writer, &["/a/b"]);
    assert_eq!(told(&mut rig, watcher), events([(ChildrenChanged, "/a")]));
    assert_eq!(remove(&mut rig, watcher, "/a", 3), 0);
    assert_eq!(rig.server.watch_count(), 0);
}

#[test]
fn what_was_missed_is_told_before_the_reply() {
    let (mut rig, watcher, writer) = rig();
    rig.make(writer, &["/same", "/p", "/gone"]);
    let since = rig.server.last_zxid();
    rig.set(writer, "/a", b"");
    rig.make(writer, &["/p/child", "/new"]);
    rig.delete(writer, "/gone");
    let lists: [&[&str]; 3] = [
        &["/a", "/same", "/gone"],
        &["/new", "/never"],
        &["/p", "/same", "/gone"],
    ];
    let answer = set_watches(&mut rig, watcher, since, &lists);
    assert_eq!((answer.err(), answer.body().len()), (0, 0));
    let expected = [
        (DataChanged, "/a"),
        (Deleted, "/gone"),
        (Created, "/new"),
        (ChildrenChanged, "/p"),
        (Deleted, "/gone"),
    ];
    assert_eq!(answer.events, events(expected));
    // The rest is watched: /same for both, and /never.
    assert_eq!(rig.server.watch_count(), 3);
    rig.make(writer, &["/never"]);
    assert_eq!(told(&mut rig, watcher), events([(Created, "/never")]));
}

#[test]
fn persistent_watches_are_set_again_in_silence() {
    let (mut rig, watcher, writer) = rig();
    let lists: [&[&str]; 5] = [&[], &[], &[], &["/gone"], &["/a"]];
    let answer = set_watches(&mut rig, watcher, 0, &lists);
    assert_eq!((answer.err(), answer.events), (0, vec![]));
    rig.make(writer, &["/a/b", "/gone"]);
    assert_eq!(
        told(&mut rig, watcher),
        events([(Created, "/a/b"), (Created, "/gone")])
    );
}

#[test]
fn null_lists_cannot_be_set() {
    let (mut rig, watcher, _) = rig();
    let body = Raw::from("0000000000000000 ffffffff 00000000 00000000");
    assert_eq!(rig.call(watcher, op::SET_WATCHES, &body).err(), -5);
}

#[test]
fn an_ephemeral_node_is_watched_like_any_other() {
    let (mut rig, watcher, writer) = rig();
    let acl = [Acl::open()];
    let mode = CreateMode::Ephemeral;
    let create = Create {
        path: "/e".into(),
        data: b"",
        acl: &acl,
        mode,
    };
    rig.call(writer, op::CREATE, &create);
    rig.exists(watcher, "/e", true);
    let now = rig.now;
    assert!(rig.server.expire_session(now, writer.session));
    assert_eq!(told(&mut rig, watcher), events([(Deleted, "/e")]));
}
