//! An ensemble on sockets.

mod support;

use std::time::{Duration, Instant};

use homing_protocol::{ConnectRequest, CreateMode, EventType, op};
use homing_testkit::{FakeEnsemble, Fate};
use support::new_session;
use support::socket::{Client, SOON, ask, line, patiently};

fn connect(ensemble: &FakeEnsemble, member: usize) -> Client {
    let client = Client::with(ensemble.member(member).addr(), &new_session(30_000));
    client.expect("the member serves")
}

/// Tries until the member lets the session in.
fn back(ensemble: &FakeEnsemble, member: usize, client: &Client) -> Client {
    let request = client.again(0);
    patiently(|| Client::with(ensemble.member(member).addr(), &request))
}

fn mode(ensemble: &FakeEnsemble, member: usize) -> String {
    line(ensemble.member(member).addr(), "Mode")
}

#[test]
fn all_members_are_there_when_it_has_started() {
    let ensemble = FakeEnsemble::start(3);
    let addresses: Vec<_> = ensemble.members().iter().map(|it| it.addr()).collect();
    let names: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(ensemble.connect_string(), names.join(","));
    assert_eq!(ensemble.position(addresses[1]), Some(1));
    let modes: Vec<_> = (0..3).map(|member| mode(&ensemble, member)).collect();
    assert_eq!(modes, ["follower", "follower", "leader"]);
    assert_eq!(ensemble.len(), 3);
}

#[test]
fn clients_read_who_the_members_are() {
    let ensemble = FakeEnsemble::start(3);
    let mut client = connect(&ensemble, 1);
    let answer = client.get("/zookeeper/config", false).unwrap();
    let body = answer.body();
    let text = homing_protocol::Reader::new(&body).buffer("data").unwrap();
    let text = String::from_utf8(text.unwrap().to_vec()).unwrap();
    let expected = |(address, member)| {
        let (id, quorum, election) = (member + 1, 2888 + member, 3888 + member);
        format!("server.{id}=127.0.0.1:{quorum}:{election}:participant;{address}\n")
    };
    let addresses = ensemble.members().iter().map(|it| it.addr());
    let lines: String = addresses.zip(0..).map(expected).collect();
    // Without `reconfigEnabled` it has no version.
    assert_eq!(text, lines + "version=0");
}

#[test]
fn what_is_written_at_one_member_is_read_at_the_others() {
    let ensemble = FakeEnsemble::start(3);
    let mut clients: Vec<_> = (0..3).map(|member| connect(&ensemble, member)).collect();
    let zxid = clients[0]
        .create("/a", CreateMode::Persistent)
        .unwrap()
        .header
        .zxid;
    assert_eq!(zxid, 0x1_0000_0004);
    for client in &mut clients {
        assert_eq!(client.sync("/a").unwrap().err(), 0);
        assert_eq!(client.get("/a", true).unwrap().last_stat().czxid, zxid);
    }
    // A write at one wakes the others, who have nothing else to do.
    clients[2].set("/a", b"x").unwrap();
    for client in &mut clients[..2] {
        let frame = support::socket::read_frame(&mut client.socket).unwrap();
        assert_eq!(
            support::event(&frame),
            (EventType::NodeDataChanged, "/a".into())
        );
    }
}

#[test]
fn a_member_that_lags_serves_what_it_knows_and_a_sync_waits() {
    let ensemble = FakeEnsemble::start(3);
    let (mut writer, mut reader) = (connect(&ensemble, 0), connect(&ensemble, 1));
    ensemble.set_lag(1, Duration::MAX);
    writer.create("/a", CreateMode::Persistent).unwrap();
    assert_eq!(reader.get("/a", false).unwrap().err(), -101);
    reader.send(op::SYNC, &support::path_body("/a"));
    // It is on its way, or has arrived; either way it is not answered before the lag ends.
    ensemble.set_lag(1, Duration::from_millis(50));
    assert_eq!(reader.receive().unwrap().err(), 0);
    assert_eq!(reader.get("/a", false).unwrap().err(), 0);
}

#[test]
fn a_write_at_a_member_that_lags_is_answered_in_time() {
    let lag = Duration::from_millis(60);
    let ensemble = FakeEnsemble::builder().lag(0, lag).start().unwrap();
    let begin = Instant::now();
    let mut client = connect(&ensemble, 0);
    client.create("/a", CreateMode::Persistent).unwrap();
    assert!(begin.elapsed() >= 2 * lag, "a session and a write");
    assert!(ensemble.with_member(2, |server| server.node_exists("/a")));
}

#[test]
fn a_session_outlives_its_leader() {
    let ensemble = FakeEnsemble::start(3);
    let mut client = connect(&ensemble, 0);
    client.create("/e", CreateMode::Ephemeral).unwrap();
    assert_eq!(ensemble.stop_leader(), Some(2));
    client.wait_for_end();
    assert_eq!(ensemble.wait_for_leader(SOON), Some(1));
    let mut client = back(&ensemble, 0, &client);
    let stat = client.get("/e", false).unwrap().last_stat();
    assert_eq!(stat.ephemeral_owner, client.session.session_id);
    let zxid = client.set("/e", b"x").unwrap().header.zxid;
    assert_eq!(zxid >> 32, 2);
    // And the old one comes back as one of the others.
    ensemble.member(2).restart().unwrap();
    let mut client = back(&ensemble, 2, &client);
    assert_eq!(client.get("/e", false).unwrap().last_stat().mzxid, zxid);
    assert_eq!(mode(&ensemble, 2), "follower");
}

#[test]
fn nobody_is_served_while_there_is_no_leader() {
    let ensemble = FakeEnsemble::builder().election_time(Duration::MAX).start();
    let ensemble = ensemble.unwrap();
    let mut client = connect(&ensemble, 1);
    assert!(ensemble.elect(0));
    client.wait_for_end();
    assert_eq!(ensemble.leader(), None);
    let addr = ensemble.member(1).addr();
    assert!(Client::with(addr, &client.again(0)).is_none());
    assert!(ask(addr, "srvr").contains("not currently serving"));
    ensemble.with_ensemble(|ensemble, _| ensemble.set_election_time(Duration::ZERO));
    assert_eq!(ensemble.leader(), Some(0));
    back(&ensemble, 1, &client);
}

#[test]
fn a_member_that_is_cut_off_drops_its_clients() {
    let ensemble = FakeEnsemble::start(3);
    let mut client = connect(&ensemble, 0);
    ensemble.isolate(0);
    client.wait_for_end();
    assert!(Client::with(ensemble.member(0).addr(), &client.again(0)).is_none());
    let mut moved = back(&ensemble, 1, &client);
    moved.create("/a", CreateMode::Persistent).unwrap();
    ensemble.heal(0);
    let mut client = back(&ensemble, 0, &moved);
    assert_eq!(client.get("/a", false).unwrap().err(), 0);
}

#[test]
fn a_write_of_a_fallen_leader_is_lost_or_applied() {
    for (fate, err) in [(Fate::Lost, -101), (Fate::Applied, 0)] {
        let ensemble = FakeEnsemble::builder()
            .sync_limit(Duration::MAX)
            .fate(fate)
            .start()
            .unwrap();
        let mut client = connect(&ensemble, 2);
        ensemble.isolate(2);
        let acl = [homing_protocol::Acl::open()];
        let create = homing_protocol::Create {
            path: "/a".into(),
            data: b"",
            acl: &acl,
            mode: CreateMode::Persistent,
        };
        client.send(op::CREATE, &create);
        assert!(ensemble.wait_until(SOON, |ensemble| ensemble.uncommitted() == 1));
        assert!(ensemble.elect(0));
        assert!(client.receive().is_none(), "nobody knows");
        assert_eq!(ensemble.wait_for_leader(SOON), Some(0));
        let mut client = back(&ensemble, 1, &client);
        assert_eq!(client.get("/a", false).unwrap().err(), err);
    }
}

#[test]
fn a_minority_serves_reads_to_those_who_allow_it() {
    let ensemble = FakeEnsemble::builder()
        .config(|config| config.read_only_enabled = true)
        .start()
        .unwrap();
    connect(&ensemble, 0)
        .create("/a", CreateMode::Persistent)
        .unwrap();
    ensemble.isolate(0);
    let request = ConnectRequest {
        read_only: Some(true),
        ..new_session(30_000)
    };
    let mut client = Client::with(ensemble.member(0).addr(), &request).unwrap();
    assert_eq!(client.session.read_only, Some(true));
    assert_eq!(client.get("/a", false).unwrap().err(), 0);
    assert_eq!(client.set("/a", b"x").unwrap().err(), -119);
    assert_eq!(mode(&ensemble, 0), "read-only");
    ensemble.heal(0);
    client.wait_for_end();
    assert_eq!(mode(&ensemble, 0), "follower");
}

#[test]
fn a_session_expires_for_all_members() {
    let ensemble = FakeEnsemble::builder()
        .tick_time(Duration::from_millis(20))
        .start()
        .unwrap();
    let request = new_session(300);
    let mut client = Client::with(ensemble.member(0).addr(), &request).unwrap();
    // On a machine that is busy the session may be over before.
    client.create("/e", CreateMode::Ephemeral);
    client.wait_for_end();
    let gone = |ensemble: &mut homing_testkit::Ensemble| {
        (0..3).all(|member| !ensemble.server(member).unwrap().node_exists("/e"))
    };
    assert!(ensemble.wait_until(SOON, gone));
    let again = Client::with(ensemble.member(1).addr(), &client.again(0)).unwrap();
    assert_eq!(again.session.timeout_ms, 0);
}

#[test]
fn a_session_can_be_ended_from_a_test() {
    let ensemble = FakeEnsemble::start(3);
    let (mut first, mut second) = (connect(&ensemble, 0), connect(&ensemble, 1));
    assert!(ensemble.expire_session(first.session.session_id));
    first.wait_for_end();
    assert!(!ensemble.expire_session(first.session.session_id));
    // From any member as well.
    assert!(ensemble.member(2).expire_session(second.session.session_id));
    second.wait_for_end();
}

#[test]
fn a_session_moves_and_its_old_connection_is_closed_when_it_writes() {
    let ensemble = FakeEnsemble::start(3);
    let mut old = connect(&ensemble, 0);
    let mut new = back(&ensemble, 1, &old);
    assert_eq!(new.session.session_id, old.session.session_id);
    assert_eq!(old.get("/", false).unwrap().err(), 0);
    assert!(old.set("/", b"x").is_none());
    assert_eq!(new.set("/", b"y").unwrap().err(), 0);
}

#[test]
fn a_member_is_a_server_with_all_of_its_faults() {
    let ensemble = FakeEnsemble::start(3);
    let mut client = connect(&ensemble, 0);
    ensemble.member(0).cut_after_apply(1);
    assert!(client.create("/a", CreateMode::Persistent).is_none());
    assert!(ensemble.with_member(2, |server| server.node_exists("/a")));

    let mut client = back(&ensemble, 0, &client);
    ensemble.member(0).cut_connections();
    client.wait_for_end();

    let member = ensemble.member(1);
    let strikes = member.faults("cut to client at create 1".parse().unwrap());
    let mut client = back(&ensemble, 1, &client);
    assert!(client.create("/b", CreateMode::Persistent).is_none());
    assert_eq!(strikes.of(1), 1);
    assert!(ensemble.with_member(0, |server| server.node_exists("/b")));
    assert_eq!(member.requests_received(), 1);
}

#[test]
fn a_fault_that_moves_or_ends_a_session_does_so_in_an_ensemble() {
    let ensemble = FakeEnsemble::start(3);
    for (script, ends) in [("expire at request 1", true), ("move at request 1", false)] {
        ensemble.member(0).faults(script.parse().unwrap());
        let mut client = connect(&ensemble, 0);
        client.send(op::SYNC, &support::path_body("/"));
        client.wait_for_end();
        let id = client.session.session_id;
        let is_known = ensemble.with_ensemble(|ensemble, _| ensemble.home(id).is_some());
        assert_eq!(is_known, !ends, "{script}");
    }
}

#[test]
fn a_member_that_has_too_much_to_answer_reads_no_more() {
    let ensemble = FakeEnsemble::builder()
        .config(|config| config.outstanding_limit = 10)
        .start()
        .unwrap();
    let (mut client, mut other) = (connect(&ensemble, 0), connect(&ensemble, 0));
    ensemble.set_lag(0, Duration::MAX);
    let set = homing_protocol::SetData {
        path: "/".into(),
        data: b"x",
        version: -1,
    };
    for _ in 0..40 {
        client.send(op::SET_DATA, &set);
    }
    // One more than may be is the last that is taken.
    let taken = || ensemble.member(0).requests_received();
    patiently(|| (taken() == 11).then_some(()));
    assert_eq!(other.get("/", false).unwrap().last_stat().version, 0);
    assert_eq!(taken(), 12);
    assert_eq!(ensemble.with_ensemble(|ensemble, _| ensemble.behind(0)), 11);
    ensemble.set_lag(0, Duration::ZERO);
    for version in 1..=40 {
        assert_eq!(client.receive().unwrap().last_stat().version, version);
    }
}

#[test]
fn what_is_due_later_comes_though_whoever_asked_for_it_is_gone() {
    let ensemble = FakeEnsemble::start(3);
    let (mut writer, mut watcher) = (connect(&ensemble, 1), connect(&ensemble, 0));
    watcher.get("/", true).unwrap();
    ensemble.set_lag(0, Duration::from_millis(300));
    writer.set("/", b"x").unwrap();
    // Nobody has anything to do any more until the lag has passed.
    ensemble.member(1).stop();
    let frame = support::socket::read_frame(&mut watcher.socket).unwrap();
    let changed = (EventType::NodeDataChanged, "/".into());
    assert_eq!(support::event(&frame), changed);
}

#[test]
fn a_paused_member_is_silent_and_the_others_go_on() {
    let ensemble = FakeEnsemble::start(3);
    let (mut silent, mut client) = (connect(&ensemble, 0), connect(&ensemble, 1));
    ensemble.member(0).pause();
    silent.send(
        op::GET_DATA,
        &homing_protocol::GetData {
            path: "/a".into(),
            watch: false,
        },
    );
    client.create("/a", CreateMode::Persistent).unwrap();
    ensemble.member(0).resume();
    // It had not read the request.
    assert_eq!(silent.receive().unwrap().err(), 0);
}

#[test]
fn the_others_elect_while_whoever_fell_is_stopped_and_nobody_calls() {
    let ensemble = FakeEnsemble::start(5);
    for leader in [4, 3] {
        assert_eq!(ensemble.stop_leader(), Some(leader));
        patiently(|| (mode(&ensemble, leader - 1) == "leader").then_some(()));
    }
    assert_eq!(ensemble.stop_leader(), Some(2));
    patiently(|| {
        ask(ensemble.member(0).addr(), "srvr")
            .contains("not currently")
            .then_some(())
    });
    ensemble.member(4).restart().unwrap();
    patiently(|| (mode(&ensemble, 4) == "leader").then_some(()));
}

#[test]
fn an_ensemble_needs_members_and_ports_of_its_own() {
    let last = homing_testkit::FakeServer::builder().listen(([127, 0, 0, 1], 65_534).into());
    let error = last.ensemble(3).start().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("65535"), "{error}");
    let error = FakeEnsemble::builder().members(0).start().unwrap_err();
    assert_eq!(error.to_string(), "an ensemble has 1 to 255 members, not 0");
    let first = FakeEnsemble::start(1);
    let taken = first.member(0).addr();
    let error = FakeEnsemble::builder().listen([taken]).start().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
    let second = FakeEnsemble::builder().listen([taken]).start().unwrap();
    assert_eq!(second.member(0).addr(), taken);
    assert_eq!(mode(&second, 0), "follower");
}

#[test]
fn one_more_server_can_be_started_and_some_can_observe() {
    let mut ensemble = FakeEnsemble::builder()
        .members(4)
        .observers(1)
        .election_time(Duration::from_millis(10))
        .start()
        .unwrap();
    let mut client = connect(&ensemble, 0);
    client.create("/a", CreateMode::Persistent).unwrap();
    let added = ensemble.add_server().unwrap();
    assert_eq!((added, ensemble.len()), (4, 5));
    let modes: Vec<_> = (0..5).map(|member| mode(&ensemble, member)).collect();
    let expected = ["follower", "follower", "leader", "observer", "follower"];
    assert_eq!(modes, expected);
    let addr = ensemble.member(added).addr();
    assert_eq!(ensemble.position(addr), Some(added));
    assert!(ensemble.connect_string().ends_with(&addr.to_string()));
    assert!(ensemble.server_line(added).ends_with(&addr.to_string()));
    let mut client = connect(&ensemble, added);
    assert_eq!(client.session.session_id >> 56, 5);
    assert_eq!(client.set("/a", b"x").unwrap().err(), 0);
    // What it learns later, it learns by itself.
    ensemble.set_lag(added, Duration::from_millis(20));
    assert_eq!(client.set("/a", b"y").unwrap().err(), 0);
    // It is a server like the others, and goes with them.
    ensemble.member(added).stop();
    client.wait_for_end();
    ensemble.member(added).restart().unwrap();
    let mut client = patiently(|| Client::with(addr, &new_session(30_000)));
    assert_eq!(client.get("/a", false).unwrap().last_stat().version, 2);
    ensemble.stop_leader();
    assert!(ensemble.wait_for_leader(Duration::from_secs(20)).is_some());

    let error = FakeEnsemble::builder().observers(3).start().unwrap_err();
    let expected = "of 3 members 3 are to observe: one must have a vote";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn many_ensembles_stand_side_by_side() {
    let ensembles: Vec<_> = (0..20).map(|_| FakeEnsemble::start(3)).collect();
    let mut clients: Vec<_> = ensembles.iter().map(|it| connect(it, 0)).collect();
    for client in &mut clients {
        let zxid = client
            .create("/a", CreateMode::Persistent)
            .unwrap()
            .header
            .zxid;
        assert_eq!(zxid, 0x1_0000_0002);
    }
}
