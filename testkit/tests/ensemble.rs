//! Several servers with one history: what each knows, and how clients see it.

mod support;

use std::time::Duration;

use homing_protocol::{Acl, Create, CreateMode, Empty, EventType, Id, op};
use homing_testkit::{Ensemble, InitialTree};
use support::ensemble::{Peer, Rig, resume};
use support::{Raw, new_session, path_and_kind};

const SECOND: Duration = Duration::from_secs(1);
const NEVER: Duration = Duration::MAX;
const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;

fn lag(rig: &mut Rig, member: usize, lag: Duration) {
    rig.act(|ensemble, now| ensemble.set_lag(now, member, lag));
}

#[test]
fn members_say_what_they_are() {
    let mut rig = Rig::new();
    let modes: Vec<_> = (0..3).map(|member| rig.mode(member)).collect();
    assert_eq!(modes, ["follower", "follower", "leader"]);
    assert!(rig.ask(2, "mntr").contains("zk_server_state\tleader\n"));
    assert!(rig.ask(0, "mntr").contains("zk_server_state\tfollower\n"));
    // Followers learn of the epoch with its first transaction.
    assert!(rig.ask(2, "srvr").contains("Zxid: 0x100000000\n"));
    assert!(rig.ask(0, "srvr").contains("Zxid: 0x0\n"));
}

#[test]
fn of_nobody_nobody_leads() {
    let ensemble = Ensemble::new(Vec::new());
    assert_eq!((ensemble.len(), ensemble.leader()), (0, None));
}

#[test]
fn session_ids_tell_where_they_began() {
    let mut rig = Rig::new();
    let ids: Vec<_> = (0..3).map(|member| rig.peer(member).session).collect();
    assert_eq!(ids.iter().map(|id| id >> 56).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(rig.ensemble.home(ids[1]), Some(1));
}

#[test]
fn a_write_is_everywhere_when_lags_have_passed() {
    let mut rig = Rig::new();
    lag(&mut rig, 0, SECOND);
    let peer = rig.peer(1);
    let answer = rig.create(peer, "/a", CreateMode::Persistent);
    assert_eq!(answer.header.zxid, 0x1_0000_0002, "the session was 1");
    assert!(rig.has(1, "/a") && rig.has(2, "/a"));
    rig.advance(SECOND - Duration::from_millis(1));
    assert!(!rig.has(0, "/a"));
    rig.advance(Duration::from_millis(1));
    assert!(rig.has(0, "/a"));
    assert_eq!(rig.last_zxid(0), 0x1_0000_0002);
}

#[test]
fn reads_are_local_and_may_be_stale() {
    let mut rig = Rig::new();
    let (here, there) = (rig.peer(0), rig.peer(1));
    rig.make(here, &["/a"]);
    lag(&mut rig, 1, NEVER);
    rig.set(here, "/a", b"new");
    assert_eq!(rig.get(here, "/a", false).last_stat().version, 1);
    assert_eq!(rig.get(there, "/a", false).last_stat().version, 0);
    assert_eq!(rig.ensemble.behind(1), 1);
    lag(&mut rig, 1, Duration::ZERO);
    assert_eq!(rig.get(there, "/a", false).last_stat().version, 1);
}

#[test]
fn a_client_is_answered_when_its_own_member_has_come_so_far() {
    let mut rig = Rig::new();
    lag(&mut rig, 0, SECOND);
    let end = rig.knock(0, &new_session(30_000));
    assert!(rig.response(end).is_none());
    rig.advance(SECOND);
    let peer = rig.established(end);

    let create = rig.send_create(peer, "/a", CreateMode::Persistent);
    assert!(rig.has(2, "/a") && !rig.has(0, "/a"));
    assert_eq!(rig.xids(peer), []);
    rig.advance(SECOND);
    assert_eq!(rig.xids(peer), [create]);
    assert!(rig.has(0, "/a"));
}

#[test]
fn what_stands_behind_a_write_waits_for_it_and_replies_keep_their_order() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    lag(&mut rig, 0, SECOND);
    let before = rig.send_get(peer, "/a", false);
    let create = rig.send_create(peer, "/a", CreateMode::Persistent);
    let get = rig.send_get(peer, "/a", false);
    let ping = rig.send(peer, op::PING, &Empty);
    let set = rig.send_set(peer, "/a", b"1");
    let again = rig.send_get(peer, "/a", false);
    let close = rig.send(peer, op::CLOSE_SESSION, &Empty);
    // What is for all has left at once: it needs one lag, not three.
    assert_eq!(rig.ensemble.behind(0), 3);
    assert_eq!(rig.xids(peer), [before]);
    rig.advance(SECOND);
    let headers = rig.headers(peer);
    let xids: Vec<_> = headers.iter().map(|header| header.xid).collect();
    let in_order = [create, get, -2, set, again, close];
    assert_ne!(ping, -2, "a ping's answer has its own number");
    assert_eq!(xids, in_order);
    let errors: Vec<_> = headers.iter().map(|header| header.err).collect();
    assert_eq!(errors, [0; 6]);
    assert!(rig.is_closed(peer.end));
}

#[test]
fn what_is_no_request_is_refused_in_front_of_what_waits() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    lag(&mut rig, 0, SECOND);
    rig.send_create(peer, "/a", CreateMode::Persistent);
    let unknown = rig.send(peer, 77, &Empty);
    let headers = rig.headers(peer);
    let answers: Vec<_> = headers.iter().map(|it| (it.xid, it.zxid, it.err)).collect();
    assert_eq!(answers, [(unknown, -1, -6)]);
    assert!(rig.is_closed(peer.end));
    rig.advance(SECOND);
    assert!(rig.has(0, "/a"), "it was written nonetheless");
}

#[test]
fn a_read_sees_what_stood_before_it_and_nothing_behind() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    rig.make(peer, &["/a"]);
    lag(&mut rig, 0, SECOND);
    rig.send_set(peer, "/a", b"1");
    rig.send_get(peer, "/a", false);
    rig.send_set(peer, "/a", b"22");
    rig.send_get(peer, "/a", false);
    rig.advance(SECOND);
    let frames = rig.take(peer.end);
    let len = |frame: &bytes::Bytes| {
        let body = frame.slice(16..);
        let data = homing_protocol::Reader::new(&body).buffer("data");
        data.unwrap().map_or(0, |data| data.len())
    };
    assert_eq!((len(&frames[1]), len(&frames[3])), (1, 2));
}

#[test]
fn an_authentication_is_answered_at_once_and_holds_for_what_comes_after() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    lag(&mut rig, 0, SECOND);
    let create = rig.send_create(peer, "/a", CreateMode::Persistent);
    let auth = rig.send(peer, op::AUTH, &digest("bob:secret"));
    let who = rig.send(peer, op::WHO_AM_I, &Empty);
    assert_eq!(rig.xids(peer), [auth]);
    rig.advance(SECOND);
    assert_eq!(rig.xids(peer), [create, who]);
}

#[test]
fn a_read_that_waits_is_answered_to_whoever_the_client_was_when_it_asked() {
    let mut rig = Rig::new();
    let (owner, reader) = (rig.peer(1), rig.peer(0));
    let auth = digest("bob:secret");
    rig.send(owner, op::AUTH, &auth);
    rig.take(owner.end);
    let mine = Acl {
        permissions: 31,
        id: Id {
            scheme: "auth".into(),
            id: String::new(),
        },
    };
    let create = Create {
        path: "/of-bob".into(),
        data: b"",
        acl: &[mine],
        mode: CreateMode::Persistent,
    };
    rig.send(owner, op::CREATE, &create);
    assert_eq!(rig.answer(owner).err(), 0);

    lag(&mut rig, 0, SECOND);
    rig.send_create(reader, "/a", CreateMode::Persistent);
    rig.send_get(reader, "/of-bob", false);
    let auth = rig.send(reader, op::AUTH, &auth);
    assert_eq!(rig.xids(reader), [auth]);
    rig.advance(SECOND);
    assert_eq!(errors(&mut rig, reader), [0, NO_AUTH], "it was nobody yet");
    assert_eq!(rig.get(reader, "/of-bob", false).err(), 0);

    rig.send_create(reader, "/b", CreateMode::Persistent);
    rig.send_get(reader, "/of-bob", false);
    rig.advance(SECOND);
    assert_eq!(errors(&mut rig, reader), [0, 0]);
}

fn errors(rig: &mut Rig, peer: Peer) -> Vec<i32> {
    let headers = rig.headers(peer);
    headers.iter().map(|header| header.err).collect()
}

/// An authentication with a name and a password.
fn digest(credentials: &str) -> Raw {
    let mut auth = vec![0; 4];
    for text in ["digest", credentials] {
        auth.extend_from_slice(&(text.len() as u32).to_be_bytes());
        auth.extend_from_slice(text.as_bytes());
    }
    Raw(auth)
}

#[test]
fn a_sync_waits_for_what_there_was_when_it_was_asked() {
    let mut rig = Rig::new();
    let (writer, reader) = (rig.peer(0), rig.peer(1));
    lag(&mut rig, 1, SECOND);
    rig.make(writer, &["/a"]);
    rig.advance(SECOND / 2);
    rig.make(writer, &["/b"]);
    let sync = rig.send_sync(reader, "/");
    let get = rig.send_get(reader, "/b", false);
    rig.advance(SECOND / 4);
    rig.make(writer, &["/c"]);
    rig.advance(SECOND / 4);
    assert!(rig.has(1, "/a"));
    assert_eq!(rig.xids(reader), []);
    rig.advance(SECOND / 2);
    let headers = rig.headers(reader);
    let answers: Vec<_> = headers.iter().map(|it| (it.xid, it.err)).collect();
    assert_eq!(answers, [(sync, 0), (get, 0)]);
    assert!(!rig.has(1, "/c"), "it does not wait for what came later");
}

#[test]
fn a_sync_with_nothing_to_wait_for_is_answered_at_once() {
    let mut rig = Rig::new();
    for member in 0..3 {
        let peer = rig.peer(member);
        lag(&mut rig, member, NEVER);
        let sync = rig.send_sync(peer, "/a");
        assert_eq!(rig.xids(peer), [sync]);
        lag(&mut rig, member, Duration::ZERO);
    }
}

#[test]
fn watches_fire_when_their_member_learns_of_the_change() {
    let mut rig = Rig::new();
    let peers: Vec<Peer> = (0..3).map(|member| rig.peer(member)).collect();
    rig.make(peers[0], &["/a"]);
    lag(&mut rig, 0, SECOND);
    lag(&mut rig, 1, 2 * SECOND);
    for peer in &peers {
        rig.get(*peer, "/a", true);
    }
    rig.set(peers[2], "/a", b"1");
    let changed = || vec![(EventType::NodeDataChanged, "/a".to_owned())];
    // The own write's event came in front of its reply, and was taken with it.
    let told = |rig: &mut Rig| peers.iter().map(|it| rig.take_events(it.end)).collect();
    let none: Vec<Vec<_>> = vec![Vec::new(), Vec::new(), Vec::new()];
    let now: Vec<Vec<_>> = told(&mut rig);
    assert_eq!(now, none);
    rig.advance(SECOND);
    let now: Vec<Vec<_>> = told(&mut rig);
    assert_eq!(now, [changed(), vec![], vec![]]);
    rig.advance(SECOND);
    let now: Vec<Vec<_>> = told(&mut rig);
    assert_eq!(now, [vec![], changed(), vec![]]);
}

#[test]
fn an_event_comes_before_the_reply_that_shows_its_change() {
    let mut rig = Rig::new();
    let (writer, reader) = (rig.peer(0), rig.peer(1));
    rig.make(writer, &["/a"]);
    lag(&mut rig, 1, SECOND);
    rig.get(reader, "/a", true);
    rig.set(writer, "/a", b"1");
    let sync = rig.send_sync(reader, "/a");
    let get = rig.send_get(reader, "/a", false);
    rig.advance(SECOND);
    assert_eq!(rig.xids(reader), [-1, sync, get]);
}

#[test]
fn a_client_that_has_seen_more_than_a_member_is_refused_there() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    lag(&mut rig, 1, SECOND);
    let seen = rig.create(peer, "/a", CreateMode::Persistent).header.zxid;
    let end = rig.knock(1, &resume(peer, seen));
    assert!(rig.is_closed(end));
    assert_eq!(rig.take(end), [""; 0]);
    // Somebody who has seen less is let in, though the session is unknown here.
    let end = rig.knock(1, &resume(peer, 0));
    let moved = rig.established(end);
    assert_eq!(moved.session, peer.session);
    rig.advance(SECOND);
    let end = rig.knock(1, &resume(peer, seen));
    assert_eq!(rig.established(end).session, peer.session);
    assert!(rig.is_closed(moved.end), "one connection for each session");
}

#[test]
fn a_session_moves_and_the_old_connection_is_closed_when_it_writes() {
    let mut rig = Rig::new();
    let old = rig.peer(0);
    rig.create(old, "/e", CreateMode::Ephemeral);
    let end = rig.knock(1, &resume(old, 0));
    let new = rig.established(end);
    assert_eq!(new.session, old.session);
    assert_eq!(rig.ensemble.home(old.session), Some(1));
    // The old member has not heard of it, and serves reads.
    assert_eq!(rig.get(old, "/e", false).err(), 0);
    assert!(!rig.is_closed(old.end));
    let before = rig.last_zxid(2);
    rig.send_set(old, "/e", b"x");
    assert!(rig.is_closed(old.end));
    assert_eq!(rig.take(old.end), [""; 0], "the error is not told");
    assert_eq!(rig.last_zxid(2), before + 1, "but it took a number");
    let stat = rig.get(new, "/e", false).last_stat();
    assert_eq!((stat.version, stat.ephemeral_owner), (0, new.session));
    assert_eq!(rig.set(new, "/e", b"y").err(), 0);
}

#[test]
fn the_leader_notices_with_any_request_that_a_session_has_moved() {
    let mut rig = Rig::new();
    let old = rig.peer(2);
    let end = rig.knock(1, &resume(old, 0));
    rig.established(end);
    assert!(!rig.is_closed(old.end));
    rig.send(old, op::PING, &Empty);
    assert!(rig.is_closed(old.end));
    assert_eq!(rig.take(old.end), [""; 0]);
}

#[test]
fn an_old_connection_can_still_close_a_session_that_has_moved() {
    let mut rig = Rig::new();
    let old = rig.peer(0);
    let end = rig.knock(1, &resume(old, 0));
    rig.established(end);
    let close = rig.send(old, op::CLOSE_SESSION, &Empty);
    assert_eq!(rig.xids(old), [close]);
    assert!(rig.is_closed(end) && rig.is_closed(old.end));
}

#[test]
fn a_wrong_password_interrupts_a_session_at_its_own_member_alone() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    let stranger = Peer {
        password: homing_protocol::SessionPassword::NONE,
        ..peer
    };
    let end = rig.knock(1, &resume(stranger, 0));
    assert_eq!(rig.response(end).unwrap().timeout_ms, 0);
    assert_eq!(rig.ensemble.home(peer.session), Some(0));
    assert!(!rig.is_closed(peer.end));
    let end = rig.knock(0, &resume(stranger, 0));
    assert_eq!(rig.response(end).unwrap().timeout_ms, 0);
    assert!(rig.is_closed(peer.end));
}

#[test]
fn a_closed_session_is_gone_on_every_member() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    rig.create(peer, "/e", CreateMode::Ephemeral);
    lag(&mut rig, 1, SECOND);
    let close = rig.send(peer, op::CLOSE_SESSION, &Empty);
    assert_eq!(rig.xids(peer), [close]);
    assert!(rig.is_closed(peer.end));
    assert!(!rig.has(0, "/e") && !rig.has(2, "/e") && rig.has(1, "/e"));
    // The leader knows better than the member that lags.
    let end = rig.knock(1, &resume(peer, 0));
    assert_eq!(rig.response(end).unwrap().timeout_ms, 0);
    rig.advance(SECOND);
    assert!(!rig.has(1, "/e"));
}

#[test]
fn the_leader_lets_sessions_expire_for_all() {
    let mut rig = Rig::new();
    let (doomed, watcher) = (rig.session(0, 4000), rig.peer(1));
    rig.create(doomed, "/e", CreateMode::Ephemeral);
    rig.get(watcher, "/e", true);
    let before = rig.last_zxid(2);
    rig.advance(6 * SECOND);
    assert!(rig.is_closed(doomed.end));
    let deleted = vec![(EventType::NodeDeleted, "/e".to_owned())];
    assert_eq!(rig.take_events(watcher.end), deleted);
    assert!((0..3).all(|member| !rig.has(member, "/e")));
    assert!((0..3).all(|member| rig.last_zxid(member) == before + 1));
}

#[test]
fn a_session_that_has_ended_writes_no_more_though_its_member_does_not_know() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    lag(&mut rig, 0, SECOND);
    assert!(rig.act(|ensemble, now| ensemble.expire_session(now, peer.session)));
    let before = rig.last_zxid(2);
    rig.send_create(peer, "/a", CreateMode::Ephemeral);
    assert_eq!(rig.last_zxid(2), before + 1, "it takes a number");
    rig.advance(SECOND);
    assert!(rig.is_closed(peer.end) && rig.take(peer.end).is_empty());
    assert!((0..3).all(|member| !rig.has(member, "/a")));
}

#[test]
fn a_ping_to_any_member_keeps_a_session_alive() {
    let mut rig = Rig::new();
    let mut peer = rig.session(0, 4000);
    for member in [1, 2, 0, 1] {
        rig.advance(3 * SECOND);
        rig.send(peer, op::PING, &Empty);
        rig.advance(3 * SECOND);
        assert_eq!(rig.xids(peer), [-2]);
        let mut request = resume(peer, 0);
        request.timeout_ms = 4000;
        let end = rig.knock(member, &request);
        peer = rig.established(end);
    }
    rig.advance(6 * SECOND);
    assert!(rig.is_closed(peer.end));
}

/// Takes a session up again on a member.
fn renew(rig: &mut Rig, member: usize, peer: Peer, timeout_ms: i32) -> Peer {
    let mut request = resume(peer, 0);
    request.timeout_ms = timeout_ms;
    let end = rig.knock(member, &request);
    rig.established(end)
}

#[test]
fn a_session_lives_by_the_time_out_of_the_connection_that_was_heard_of_last() {
    let mut rig = Rig::new();
    let old = rig.session(0, 4000);
    let new = renew(&mut rig, 1, old, 20_000);
    assert!(rig.ask(0, "cons").contains("to=4000,"));
    assert!(rig.ask(1, "cons").contains("to=20000,"));
    rig.advance(19 * SECOND);
    assert!(!rig.is_closed(new.end));
    rig.send(new, op::PING, &Empty);
    rig.advance(19 * SECOND);
    assert!(!rig.is_closed(new.end));
    // The old member does not know that the session is elsewhere, and tells the leader of it.
    rig.send(old, op::PING, &Empty);
    rig.advance(6 * SECOND);
    assert!(rig.is_closed(new.end) && rig.is_closed(old.end));
}

#[test]
fn a_session_that_overtakes_the_history_lives_by_its_new_time_out() {
    let mut rig = Rig::new();
    lag(&mut rig, 1, SECOND);
    let old = rig.session(0, 4000);
    let new = renew(&mut rig, 1, old, 20_000);
    assert_eq!(rig.act(|it, _| it.server(1).unwrap().sessions()), []);
    rig.advance(SECOND);
    let known = rig.act(|it, _| it.server(1).unwrap().sessions());
    let known: Vec<_> = known.iter().map(|it| (it.timeout, it.connection)).collect();
    assert_eq!(known, [(20 * SECOND, Some(new.end.1))]);
}

#[test]
fn a_new_leader_goes_by_first_handshakes() {
    let mut rig = Rig::new();
    let old = rig.session(0, 4000);
    rig.create(old, "/e", CreateMode::Ephemeral);
    renew(&mut rig, 1, old, 20_000);
    // The one that granted more leads.
    assert!(rig.act(|ensemble, now| ensemble.elect(now, 1)));
    rig.advance(3 * SECOND);
    assert!((0..3).all(|member| rig.has(member, "/e")));
    rig.advance(4 * SECOND);
    assert!(!(0..3).any(|member| rig.has(member, "/e")));
}

#[test]
fn what_follows_a_handshake_waits_for_its_answer() {
    let mut rig = Rig::new();
    lag(&mut rig, 0, SECOND);
    let end = rig.knock(0, &new_session(30_000));
    let blind = Peer {
        end,
        session: 0,
        password: homing_protocol::SessionPassword::NONE,
    };
    let create = rig.send_create(blind, "/a", CreateMode::Persistent);
    let get = rig.send_get(blind, "/b", false);
    assert!(!rig.has(2, "/a"), "a session comes before its writes");
    rig.advance(SECOND);
    let peer = rig.established(end);
    assert_eq!(rig.xids(peer), []);
    rig.advance(SECOND);
    let headers = rig.headers(peer);
    let answers: Vec<_> = headers.iter().map(|it| (it.xid, it.err)).collect();
    assert_eq!(answers, [(create, 0), (get, NO_NODE)]);
}

#[test]
fn a_client_that_hangs_up_has_written_nonetheless() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    lag(&mut rig, 0, SECOND);
    rig.send_create(peer, "/a", CreateMode::Persistent);
    let (member, connection) = peer.end;
    rig.act(|ensemble, now| ensemble.handle_disconnected(now, member, connection));
    rig.advance(SECOND);
    assert!(rig.has(0, "/a"));
}

#[test]
fn connections_break_before_and_after_a_write_is_applied() {
    let mut rig = Rig::new();
    let (first, second) = (rig.peer(0), rig.peer(0));
    let server = rig.ensemble.server(0).unwrap();
    server.cut_before_apply(1);
    server.cut_after_apply(2);
    rig.send_create(first, "/a", CreateMode::Persistent);
    rig.send_create(second, "/b", CreateMode::Persistent);
    assert!(rig.is_closed(first.end) && rig.is_closed(second.end));
    let both: Vec<_> = [first, second]
        .iter()
        .flat_map(|it| rig.take(it.end))
        .collect();
    assert_eq!(both, [""; 0]);
    assert!((0..3).all(|member| !rig.has(member, "/a") && rig.has(member, "/b")));
}

#[test]
fn a_close_may_go_without_an_answer() {
    let mut rig = Rig::with(3, |config| config.close_is_not_answered = true);
    let peer = rig.peer(0);
    rig.create(peer, "/e", CreateMode::Ephemeral);
    rig.send(peer, op::CLOSE_SESSION, &Empty);
    assert!(rig.is_closed(peer.end) && rig.take(peer.end).is_empty());
    assert!((0..3).all(|member| !rig.has(member, "/e")));
}

#[test]
fn a_session_can_be_closed_twice_and_each_takes_a_number() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    lag(&mut rig, 0, SECOND);
    let before = rig.last_zxid(2);
    let close = rig.send(peer, op::CLOSE_SESSION, &Empty);
    rig.send(peer, op::CLOSE_SESSION, &Empty);
    assert_eq!(rig.last_zxid(2), before + 2);
    rig.advance(SECOND);
    assert_eq!(rig.xids(peer), [close]);
    assert_eq!(rig.last_zxid(0), before + 2);
}

#[test]
fn a_writers_identities_go_with_its_write() {
    let mut rig = Rig::new();
    let (owner, stranger) = (rig.peer(0), rig.peer(1));
    let auth = rig.send(owner, op::AUTH, &digest("bob:secret"));
    assert_eq!(rig.xids(owner), [auth]);
    let creator = Acl {
        permissions: 31,
        id: Id {
            scheme: "auth".into(),
            id: String::new(),
        },
    };
    let create = Create {
        path: "/mine".into(),
        data: b"",
        acl: &[creator],
        mode: CreateMode::Persistent,
    };
    rig.send(owner, op::CREATE, &create);
    assert_eq!(rig.answer(owner).err(), 0);
    for member in 0..3 {
        let server = rig.ensemble.server(member).unwrap();
        let acl = server.node("/mine").unwrap().acl;
        assert_eq!(acl[0].id.scheme, "digest");
        assert!(acl[0].id.id.starts_with("bob:"));
    }
    assert_eq!(rig.set(stranger, "/mine", b"x").err(), -102);
    assert_eq!(rig.set(owner, "/mine", b"x").err(), 0);
}

#[test]
fn the_leader_reaps_for_all() {
    let mut rig = Rig::with(3, |config| config.container_check_interval = SECOND);
    let peer = rig.peer(0);
    rig.create(peer, "/c", CreateMode::Container);
    rig.make(peer, &["/c/a"]);
    rig.delete(peer, "/c/a");
    let before = rig.last_zxid(0);
    rig.advance(SECOND);
    assert!((0..3).all(|member| !rig.has(member, "/c")));
    assert!((0..3).all(|member| rig.last_zxid(member) == before + 1));
}

#[test]
fn a_write_follows_the_rules_of_the_member_where_it_is_asked_for() {
    let mut rig = Rig::new();
    let peers = [rig.peer(0), rig.peer(1)];
    let server = rig.ensemble.server(0).unwrap();
    server.forget_operation(op::CREATE);
    let multi = Raw::from(
        // Create "/m", open, in a list of one.
        "00000001 00 ffffffff 00000002 2f6d ffffffff 00000001 0000001f
         00000005 776f726c64 00000006 616e796f6e65 00000000 ffffffff 01 ffffffff",
    );
    rig.send(peers[0], op::MULTI, &multi);
    assert_eq!(rig.answer(peers[0]).err(), -5);
    assert!((0..3).all(|member| !rig.has(member, "/m")));
    rig.send(peers[1], op::MULTI, &multi);
    assert_eq!(rig.answer(peers[1]).err(), 0);
    assert!((0..3).all(|member| rig.has(member, "/m")));
    let zxids = [0, 1, 2].map(|member| rig.last_zxid(member));
    assert_eq!(zxids, [0x1_0000_0004; 3]);
}

/// What was refused when its turn had come got its number behind the writes that had left at once.
/// Their answers overtook its own, and a sync behind it was never answered.
#[test]
fn a_reconfiguration_is_refused_in_its_turn() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    lag(&mut rig, 0, SECOND);
    let body = Raw::from("ffffffff ffffffff ffffffff ffffffffffffffff");
    let create = rig.send_create(peer, "/a", CreateMode::Persistent);
    let reconfig = rig.send(peer, op::RECONFIG, &body);
    let unreadable = rig.send(peer, op::RECONFIG, &Empty);
    let sync = rig.send_sync(peer, "/a");
    let set = rig.send_set(peer, "/a", b"1");
    let get = rig.send_get(peer, "/a", false);
    assert_eq!(rig.xids(peer), []);
    // It has left with the writes: it needs one lag, as they do.
    rig.advance(SECOND);
    let headers = rig.headers(peer);
    let answers: Vec<_> = headers.iter().map(|it| (it.xid, it.err)).collect();
    let refused = [(reconfig, -123), (unreadable, -5)];
    let rest = [(sync, 0), (set, 0), (get, 0)];
    assert_eq!(answers, [&[(create, 0)][..], &refused, &rest].concat());
}

#[test]
fn a_member_that_is_not_there_is_nobody() {
    let mut rig = Rig::new();
    let peer = [127, 0, 0, 1].into();
    assert_eq!(rig.act(|ensemble, now| ensemble.accept(now, 3, peer)), None);
    rig.act(|ensemble, now| {
        ensemble.isolate(now, 3);
        ensemble.stop(now, 3);
        assert!(!ensemble.elect(now, 3));
        assert!(!ensemble.is_serving(3));
    });
    assert_eq!(rig.ensemble.leader(), Some(2));
}

#[test]
fn all_members_can_begin_with_the_same_nodes() {
    let mut rig = Rig::new();
    let bad = InitialTree::new().node("app", "v1");
    let error = rig
        .act(|ensemble, now| ensemble.load(now, &bad))
        .unwrap_err();
    assert!(error.to_string().contains("\"app\""), "{error}");
    let tree = InitialTree::new().node("/app/config", "v1");
    rig.act(|ensemble, now| ensemble.load(now, &tree)).unwrap();
    assert!((0..3).all(|member| rig.has(member, "/app/config")));
    let zxids = [0, 1, 2].map(|member| rig.last_zxid(member));
    assert_eq!(zxids, [0x1_0000_0001; 3]);
    let peer = rig.peer(0);
    let made = rig.create(peer, "/app/b", CreateMode::Persistent);
    assert_eq!(made.header.zxid, 0x1_0000_0003);
}

#[test]
fn a_session_that_begins_once_more_begins_everywhere_and_is_answered_in_its_turn() {
    let mut rig = Rig::new();
    lag(&mut rig, 0, SECOND);
    let end = rig.knock(0, &new_session(30_000));
    rig.advance(SECOND);
    let peer = rig.established(end);
    rig.send_create(peer, "/a", CreateMode::Persistent);
    rig.send(peer, -10, &Raw(60_000_i32.to_be_bytes().to_vec()));
    rig.send_get(peer, "/a", false);
    rig.advance(SECOND);
    let frames = rig.take(peer.end);
    let lens: Vec<_> = frames.iter().map(|frame| frame.len()).collect();
    assert_eq!(lens, [16 + 4 + 2 + 68, 37, 16 + 4 + 68]);
    // Whoever leads next goes by it.
    rig.act(|ensemble, now| ensemble.stop(now, 2));
    let sessions = |rig: &mut Rig| rig.ensemble.server(1).unwrap().sessions().len();
    rig.advance(55 * SECOND);
    assert_eq!(sessions(&mut rig), 1);
    rig.advance(10 * SECOND);
    assert_eq!(sessions(&mut rig), 0);
}

#[test]
fn the_end_of_a_connection_overtakes_the_news_of_its_sessions_end() {
    let mut rig = Rig::new();
    let doomed = rig.session(0, 4000);
    let body = path_and_kind("/e", 0);
    rig.create(doomed, "/e", CreateMode::Ephemeral);
    rig.send(doomed, op::ADD_WATCH, &body);
    assert_eq!(rig.answer(doomed).err(), 0);
    rig.advance(10 * SECOND);
    assert!(rig.is_closed(doomed.end));
    assert!(rig.take(doomed.end).is_empty());
}
