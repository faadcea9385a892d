//! Members of an ensemble that are stopped, cut off and elected, and what clients see of it.

mod support;

use std::time::Duration;

use homing_protocol::{ConnectRequest, CreateMode, Empty, op};
use homing_testkit::Fate;
use support::ensemble::{Peer, Rig, resume};
use support::new_session;

const SECOND: Duration = Duration::from_secs(1);
const NEVER: Duration = Duration::MAX;

/// What an election takes unless it is set.
const ELECTION: Duration = Duration::from_millis(100);

const MOMENT: Duration = Duration::from_millis(1);

fn modes(rig: &mut Rig) -> Vec<String> {
    let members = rig.ensemble.len();
    (0..members).map(|member| rig.mode(member)).collect()
}

fn isolate(rig: &mut Rig, member: usize) {
    rig.act(|ensemble, now| ensemble.isolate(now, member));
}

fn heal(rig: &mut Rig, member: usize) {
    rig.act(|ensemble, now| ensemble.heal(now, member));
}

fn stop(rig: &mut Rig, member: usize) {
    rig.act(|ensemble, now| ensemble.stop(now, member));
}

fn restart(rig: &mut Rig, member: usize) {
    rig.act(|ensemble, now| ensemble.restart(now, member));
}

fn lag(rig: &mut Rig, member: usize, lag: Duration) {
    rig.act(|ensemble, now| ensemble.set_lag(now, member, lag));
}

fn back(rig: &mut Rig, member: usize, peer: Peer) -> Peer {
    let end = rig.knock(member, &resume(peer, 0));
    rig.established(end)
}

/// Whether a member closes a new session's connection without a word.
fn refuses(rig: &mut Rig, member: usize) -> bool {
    let end = rig.knock(member, &new_session(30_000));
    rig.is_closed(end) && rig.take(end).is_empty()
}

#[test]
fn when_a_leader_dies_all_clients_are_dropped_and_another_is_elected() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    rig.create(peer, "/e", CreateMode::Ephemeral);
    stop(&mut rig, 2);
    assert!(rig.is_closed(peer.end));
    assert_eq!(rig.ensemble.leader(), None);
    assert!(refuses(&mut rig, 0) && refuses(&mut rig, 1));
    let not_serving = "This ZooKeeper instance is not currently serving requests\n";
    assert_eq!(rig.ask(0, "srvr"), not_serving);
    assert_eq!(rig.ask(0, "mntr"), not_serving);
    assert_eq!(rig.ask(0, "isro"), "null");
    assert_eq!(rig.ask(0, "ruok"), "imok");

    rig.advance(ELECTION - MOMENT);
    assert_eq!(rig.ensemble.leader(), None);
    rig.advance(MOMENT);
    assert_eq!((rig.ensemble.leader(), rig.ensemble.epoch()), (Some(1), 2));
    assert_eq!(rig.mode(0), "follower");
    assert_eq!(rig.mode(1), "leader");
    let peer = back(&mut rig, 0, peer);
    assert_eq!(
        rig.get(peer, "/e", false).last_stat().ephemeral_owner,
        peer.session
    );
    // The first transaction of the new epoch.
    assert_eq!(rig.set(peer, "/e", b"x").header.zxid, 0x2_0000_0001);
}

#[test]
fn elections_follow_one_another() {
    let mut rig = Rig::with(5, |_| {});
    for (member, epoch) in [(0, 2), (3, 3), (3, 4), (1, 5)] {
        assert!(rig.act(|ensemble, now| ensemble.elect(now, member)));
        rig.advance(ELECTION);
        assert_eq!(rig.ensemble.leader(), Some(member));
        assert_eq!(rig.ensemble.epoch(), epoch);
        assert_eq!(rig.last_zxid(member), i64::from(epoch) << 32);
        let peer = rig.peer(4);
        let exists = rig.exists(peer, "/", false);
        assert_eq!(exists.header.zxid >> 32, epoch.into());
    }
}

#[test]
fn two_of_five_are_not_missed_and_three_are() {
    let mut rig = Rig::with(5, |_| {});
    let peer = rig.peer(0);
    stop(&mut rig, 3);
    isolate(&mut rig, 2);
    rig.make(peer, &["/a"]);
    assert!(rig.has(1, "/a") && rig.has(4, "/a") && !rig.has(2, "/a"));
    stop(&mut rig, 1);
    assert!(rig.is_closed(peer.end));
    rig.advance(60 * SECOND);
    assert_eq!(rig.ensemble.leader(), None);
    heal(&mut rig, 2);
    rig.advance(ELECTION);
    assert_eq!(rig.ensemble.leader(), Some(4));
    assert!(rig.has(2, "/a"));
}

#[test]
fn sessions_have_their_whole_time_under_a_new_leader() {
    let mut rig = Rig::new();
    let peer = rig.session(0, 4000);
    rig.advance(3 * SECOND);
    stop(&mut rig, 2);
    rig.advance(ELECTION);
    rig.advance(3 * SECOND);
    let peer = back(&mut rig, 1, peer);
    // Nobody keeps track while there is no leader.
    stop(&mut rig, 1);
    rig.advance(3600 * SECOND);
    restart(&mut rig, 1);
    rig.advance(ELECTION + 3 * SECOND);
    back(&mut rig, 0, peer);
}

#[test]
fn a_session_belongs_to_where_it_writes_first_after_an_election() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    assert!(rig.act(|ensemble, now| ensemble.elect(now, 1)));
    rig.advance(ELECTION);
    assert_eq!(rig.ensemble.home(peer.session), None);
    let peer = back(&mut rig, 2, peer);
    assert_eq!(rig.ensemble.home(peer.session), Some(2));
}

#[test]
fn a_follower_that_is_cut_off_drops_its_clients_and_the_others_go_on() {
    let mut rig = Rig::new();
    let (lost, kept) = (rig.peer(0), rig.peer(1));
    isolate(&mut rig, 0);
    assert!(rig.is_closed(lost.end) && refuses(&mut rig, 0));
    assert_eq!(modes(&mut rig), ["not serving", "follower", "leader"]);
    rig.make(kept, &["/a"]);
    let moved = back(&mut rig, 1, lost);
    assert_eq!(rig.get(moved, "/a", false).err(), 0);
    heal(&mut rig, 0);
    assert_eq!(modes(&mut rig), ["follower", "follower", "leader"]);
    assert!(rig.has(0, "/a"));
}

#[test]
fn a_follower_that_has_not_noticed_serves_what_it_knows() {
    let mut rig = Rig::new();
    rig.ensemble.set_sync_limit(10 * SECOND);
    let (cut, kept) = (rig.peer(0), rig.peer(1));
    rig.make(cut, &["/a"]);
    isolate(&mut rig, 0);
    rig.set(kept, "/a", b"new");
    assert_eq!(rig.get(cut, "/a", false).last_stat().version, 0);
    rig.send_set(cut, "/a", b"old");
    rig.send_sync(cut, "/a");
    rig.advance(10 * SECOND - MOMENT);
    assert!(!rig.is_closed(cut.end));
    rig.advance(MOMENT);
    assert!(rig.is_closed(cut.end));
    assert_eq!(rig.take(cut.end), [""; 0]);
    heal(&mut rig, 0);
    rig.advance(SECOND);
    // What it was asked in the meantime has never left it.
    assert_eq!(rig.get(kept, "/a", false).last_stat().version, 1);
}

#[test]
fn what_was_asked_while_nobody_noticed_is_done_when_they_meet_again() {
    let mut rig = Rig::new();
    rig.ensemble.set_sync_limit(10 * SECOND);
    let cut = rig.peer(0);
    isolate(&mut rig, 0);
    let create = rig.send_create(cut, "/a", CreateMode::Persistent);
    let sync = rig.send_sync(cut, "/a");
    rig.advance(5 * SECOND);
    assert_eq!(rig.xids(cut), []);
    heal(&mut rig, 0);
    assert_eq!(rig.xids(cut), [create, sync]);
    assert!((0..3).all(|member| rig.has(member, "/a")));
}

#[test]
fn what_a_follower_has_missed_takes_its_lag_when_they_meet_again() {
    let mut rig = Rig::new();
    rig.ensemble.set_sync_limit(10 * SECOND);
    lag(&mut rig, 0, SECOND);
    let peer = rig.peer(1);
    isolate(&mut rig, 0);
    rig.make(peer, &["/a"]);
    rig.advance(5 * SECOND);
    heal(&mut rig, 0);
    rig.advance(SECOND - MOMENT);
    assert!(!rig.has(0, "/a"));
    rig.advance(MOMENT);
    assert!(rig.has(0, "/a"));
}

/// A leader is cut off, is asked to write, and falls. Says whether the others have the node.
fn write_of_a_fallen_leader(rig: &mut Rig) -> bool {
    rig.ensemble.set_sync_limit(SECOND);
    let peer = rig.peer(2);
    isolate(rig, 2);
    rig.send_create(peer, "/a", CreateMode::Persistent);
    assert_eq!(rig.ensemble.uncommitted(), 1);
    assert!((0..3).all(|member| !rig.has(member, "/a")));
    assert_eq!(rig.ensemble.leader(), Some(2), "it has not noticed");
    rig.advance(SECOND);
    assert!(rig.is_closed(peer.end));
    assert_eq!(
        rig.take(peer.end),
        [""; 0],
        "nobody knows what became of it"
    );
    rig.advance(ELECTION);
    assert_eq!(rig.ensemble.leader(), Some(1));
    assert_eq!(rig.ensemble.uncommitted(), 0);
    heal(rig, 2);
    let peer = back(rig, 2, peer);
    let is_there = rig.exists(peer, "/a", false).err() == 0;
    assert!((0..3).all(|member| rig.has(member, "/a") == is_there));
    is_there
}

#[test]
fn what_a_fallen_leader_could_not_decide_is_lost() {
    let mut rig = Rig::new();
    assert!(!write_of_a_fallen_leader(&mut rig));
}

#[test]
fn what_a_fallen_leader_could_not_decide_may_have_reached_somebody() {
    let mut rig = Rig::new();
    rig.ensemble.set_fate(Fate::Applied);
    assert!(write_of_a_fallen_leader(&mut rig));
}

#[test]
fn a_leader_that_is_elected_again_has_what_it_could_not_decide() {
    let mut rig = Rig::new();
    rig.ensemble.set_sync_limit(SECOND);
    let peer = rig.peer(2);
    stop(&mut rig, 0);
    isolate(&mut rig, 2);
    let create = rig.send_create(peer, "/a", CreateMode::Persistent);
    rig.advance(2 * SECOND);
    assert!(rig.is_closed(peer.end));
    assert_eq!(rig.ensemble.leader(), None);
    heal(&mut rig, 2);
    rig.advance(ELECTION);
    assert_eq!(rig.ensemble.leader(), Some(2));
    assert!(rig.has(1, "/a") && rig.has(2, "/a"));
    let headers = rig.headers(peer);
    assert!(headers.iter().all(|header| header.xid != create));
}

#[test]
fn whoever_has_the_most_in_its_log_is_elected() {
    let mut rig = Rig::new();
    rig.ensemble.set_sync_limit(SECOND);
    assert!(rig.act(|ensemble, now| ensemble.elect(now, 0)));
    rig.advance(ELECTION);
    let peer = rig.peer(0);
    stop(&mut rig, 2);
    isolate(&mut rig, 0);
    rig.send_create(peer, "/a", CreateMode::Persistent);
    rig.advance(2 * SECOND);
    heal(&mut rig, 0);
    rig.advance(ELECTION);
    assert_eq!(rig.ensemble.leader(), Some(0));
    assert!(rig.has(0, "/a") && rig.has(1, "/a"));
}

#[test]
fn a_node_that_is_needed_again_is_not_reaped() {
    let mut rig = Rig::with(3, |config| config.container_check_interval = SECOND);
    rig.ensemble.set_sync_limit(NEVER);
    let peer = rig.peer(2);
    rig.create(peer, "/c", CreateMode::Container);
    rig.make(peer, &["/c/a"]);
    rig.delete(peer, "/c/a");
    isolate(&mut rig, 2);
    rig.send_create(peer, "/c/b", CreateMode::Persistent);
    // The leader looks at what is certain, and proposes to reap what is about to be used.
    rig.advance(SECOND);
    assert_eq!(rig.ensemble.uncommitted(), 2);
    heal(&mut rig, 2);
    assert!((0..3).all(|member| rig.has(member, "/c") && rig.has(member, "/c/b")));
}

#[test]
fn a_leader_that_finds_its_majority_again_in_time_goes_on() {
    let mut rig = Rig::new();
    rig.ensemble.set_sync_limit(SECOND);
    let peer = rig.peer(2);
    isolate(&mut rig, 2);
    let create = rig.send_create(peer, "/a", CreateMode::Persistent);
    let sync = rig.send_sync(peer, "/a");
    let exists = rig.send_get(peer, "/a", false);
    rig.advance(SECOND / 2);
    assert_eq!(rig.xids(peer), []);
    heal(&mut rig, 2);
    assert_eq!(rig.xids(peer), [create, sync, exists]);
    rig.advance(SECOND);
    assert_eq!((rig.ensemble.leader(), rig.ensemble.epoch()), (Some(2), 1));
}

#[test]
fn a_leader_waits_for_nobody_in_a_sync() {
    let mut rig = Rig::new();
    rig.ensemble.set_sync_limit(SECOND);
    let (writer, reader) = (rig.peer(2), rig.peer(2));
    isolate(&mut rig, 2);
    rig.send_create(writer, "/a", CreateMode::Persistent);
    let own = rig.send_sync(writer, "/a");
    let sync = rig.send_sync(reader, "/a");
    assert_eq!(rig.xids(reader), [sync]);
    assert_eq!(rig.xids(writer), [], "{own} stands behind a write");
}

#[test]
fn others_can_be_elected_before_a_leader_notices() {
    let mut rig = Rig::new();
    rig.ensemble.set_sync_limit(NEVER);
    let peer = rig.peer(2);
    isolate(&mut rig, 2);
    rig.send_create(peer, "/a", CreateMode::Persistent);
    assert!(!rig.act(|ensemble, now| ensemble.elect(now, 2)));
    assert!(rig.act(|ensemble, now| ensemble.elect(now, 0)));
    rig.advance(ELECTION);
    assert_eq!(rig.ensemble.leader(), Some(0));
    assert!(rig.is_closed(peer.end) && !rig.has(0, "/a"));
}

#[test]
fn a_session_whose_beginning_was_lost_is_unknown() {
    let mut rig = Rig::new();
    rig.ensemble.set_sync_limit(SECOND);
    let peer = rig.peer(2);
    isolate(&mut rig, 2);
    let end = rig.knock(2, &new_session(30_000));
    let close = rig.send(peer, op::CLOSE_SESSION, &Empty);
    rig.advance(SECOND + ELECTION);
    assert!(rig.is_closed(end) && rig.take(end).is_empty());
    assert!(rig.headers(peer).iter().all(|it| it.xid != close));
    // And one whose end was lost goes on.
    let peer = back(&mut rig, 0, peer);
    assert_eq!(rig.set(peer, "/", b"").err(), 0);
    assert_eq!(rig.ensemble.server(0).unwrap().sessions().len(), 1);
    // Nobody waits for the end of what has never begun.
    let before = rig.last_zxid(0);
    rig.advance(3600 * SECOND);
    assert_eq!(rig.last_zxid(0), before + 1);
}

#[test]
fn a_member_that_comes_back_learns_first_and_serves_then() {
    let mut rig = Rig::new();
    let peer = rig.peer(1);
    stop(&mut rig, 0);
    rig.make(peer, &["/a"]);
    rig.advance(20 * SECOND);
    lag(&mut rig, 0, SECOND);
    restart(&mut rig, 0);
    assert!(refuses(&mut rig, 0) && !rig.has(0, "/a"));
    rig.advance(SECOND / 2);
    rig.make(peer, &["/b"]);
    rig.advance(SECOND / 2);
    assert_eq!(rig.mode(0), "follower");
    assert!(rig.has(0, "/a") && !rig.has(0, "/b"));
    rig.advance(SECOND);
    assert!(rig.has(0, "/b"));
}

#[test]
fn a_member_that_comes_back_may_serve_before_it_has_learned() {
    let mut rig = Rig::new();
    rig.ensemble.set_serves_stale(true);
    let peer = rig.peer(1);
    rig.make(peer, &["/a"]);
    isolate(&mut rig, 0);
    let seen = rig.set(peer, "/a", b"x").header.zxid;
    lag(&mut rig, 0, SECOND);
    heal(&mut rig, 0);
    let stale = rig.knock(0, &resume(peer, seen - 1));
    let stale = rig.established(stale);
    assert_eq!(rig.get(stale, "/a", false).last_stat().version, 0);
    let end = rig.knock(0, &resume(peer, seen));
    assert!(rig.is_closed(end));
    rig.advance(SECOND);
    assert_eq!(rig.get(stale, "/a", false).last_stat().version, 1);
}

#[test]
fn a_new_leader_has_no_lag_and_the_old_one_has() {
    let mut rig = Rig::new();
    lag(&mut rig, 0, NEVER);
    lag(&mut rig, 2, NEVER);
    let peer = rig.peer(1);
    rig.make(peer, &["/a"]);
    assert!(!rig.has(0, "/a") && rig.has(2, "/a"));
    assert!(rig.act(|ensemble, now| ensemble.elect(now, 0)));
    rig.advance(ELECTION);
    assert!(rig.has(0, "/a"));
    let peer = back(&mut rig, 1, peer);
    rig.make(peer, &["/b"]);
    assert!(rig.has(0, "/b") && !rig.has(2, "/b"));
}

fn allowing(request: ConnectRequest) -> ConnectRequest {
    ConnectRequest {
        read_only: Some(true),
        ..request
    }
}

#[test]
fn a_minority_serves_reads_if_it_is_set_so() {
    let mut rig = Rig::with(3, |config| config.read_only_enabled = true);
    let peer = rig.peer(0);
    rig.make(peer, &["/a"]);
    isolate(&mut rig, 0);
    assert!(rig.is_closed(peer.end));
    assert_eq!(modes(&mut rig), ["read-only", "follower", "leader"]);
    assert_eq!(rig.ask(0, "isro"), "ro");
    assert!(refuses(&mut rig, 0));
    let end = rig.knock(0, &allowing(new_session(30_000)));
    let local = rig.established(end);
    assert_eq!(local.session >> 56, 1);
    assert_eq!(rig.get(local, "/a", false).err(), 0);
    assert_eq!(rig.set(local, "/a", b"").err(), -119);
    rig.send_sync(local, "/a");
    assert_eq!(rig.answer(local).err(), -119);
    // What no client has a use for hangs nothing up: to reap a node, and to begin a session.
    rig.send(local, 20, &Empty);
    assert_eq!(rig.answer(local).err(), -119);
    rig.send(local, -10, &Empty);
    assert_eq!(rig.answer(local).err(), -5);
    // A session of the whole ensemble is not for it to serve.
    let end = rig.knock(0, &allowing(resume(peer, 0)));
    assert!(rig.is_closed(end));
    // The others elect and go on, and nothing of it concerns this one.
    assert!(rig.act(|ensemble, now| ensemble.elect(now, 1)));
    rig.advance(ELECTION);
    assert_eq!(rig.get(local, "/a", false).err(), 0);
    let kept = back(&mut rig, 1, peer);
    rig.set(kept, "/a", b"x");
    assert_eq!(rig.get(local, "/a", false).last_stat().version, 0);

    heal(&mut rig, 0);
    assert!(rig.is_closed(local.end));
    assert_eq!(modes(&mut rig), ["follower", "leader", "follower"]);
    let end = rig.knock(0, &resume(local, 0));
    assert_eq!(rig.response(end).unwrap().timeout_ms, 0, "it was local");
    assert_eq!(rig.ensemble.behind(0), 0);
}

/// It led on, beside the one that was elected, and its clients' writes went nowhere.
#[test]
fn an_election_ends_a_read_only_mode_that_a_test_has_asked_for() {
    let mut rig = Rig::new();
    let peer = rig.peer(2);
    rig.act(|ensemble, now| ensemble.server(2).unwrap().set_read_only(now, true));
    assert_eq!(modes(&mut rig), ["follower", "follower", "read-only"]);
    assert!(rig.act(|ensemble, now| ensemble.elect(now, 0)));
    rig.advance(ELECTION);
    assert_eq!(modes(&mut rig), ["leader", "follower", "follower"]);
    let peer = back(&mut rig, 2, peer);
    rig.make(peer, &["/a"]);
}

#[test]
fn a_leader_that_loses_its_majority_is_read_only_like_the_others() {
    let mut rig = Rig::with(3, |config| config.read_only_enabled = true);
    stop(&mut rig, 0);
    stop(&mut rig, 1);
    assert_eq!(rig.mode(2), "read-only");
    restart(&mut rig, 0);
    assert_eq!(rig.mode(2), "not serving");
    rig.advance(ELECTION);
    assert_eq!(rig.mode(2), "leader");
    assert_eq!(rig.mode(0), "follower");
}

#[test]
fn a_member_that_is_alone_cannot_be_cut_off() {
    let mut rig = Rig::with(1, |_| {});
    let peer = rig.peer(0);
    isolate(&mut rig, 0);
    rig.make(peer, &["/a"]);
    assert_eq!(rig.mode(0), "leader");
}

#[test]
fn a_stopped_member_hangs_up_on_whoever_comes() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    stop(&mut rig, 0);
    assert!(rig.is_closed(peer.end));
    let end = rig.accept(0);
    assert!(rig.is_closed(end));
}
