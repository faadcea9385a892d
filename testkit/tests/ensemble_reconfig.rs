//! Members that come, go and change, in a time of its own: who may ask for it, and what follows.

mod support;

use std::time::Duration;

use bytes::BytesMut;
use homing_protocol::{
    Acl, Auth, Create, CreateMode, Empty, EventType, Id, Reader, Reconfig, RequestHeader, SetAcl,
    op, put_request,
};
use homing_testkit::{Ensemble, Fate, ServerConfig};
use support::Answer;
use support::ensemble::{Peer, Rig, resume};

const SECOND: Duration = Duration::from_secs(1);
const CONFIG: &str = "/zookeeper/config";
/// The hash of `super:admin`.
const SUPER: &str = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";

/// What proves to be that super user.
const ADMIN: Auth<'_> = Auth {
    scheme: "digest",
    proof: b"super:admin",
};

const SYSTEM: i32 = -5;
const ARGUMENTS: i32 = -8;
const NO_QUORUM: i32 = -13;
const IN_PROGRESS: i32 = -14;
const NO_AUTH: i32 = -102;
const VERSION: i32 = -103;
const DISABLED: i32 = -123;

fn config() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.four_letter_words = vec!["*".into()];
    config.super_digest = Some(SUPER.into());
    config.reconfig_enabled = true;
    config.standalone_enabled = false;
    config
}

fn rig(voters: usize, observers: usize) -> Rig {
    let [voters, observers] = [voters, observers].map(|count| vec![config(); count]);
    Rig::over(Ensemble::with_observers(voters, observers))
}

/// A client that may do everything.
fn admin(rig: &mut Rig, member: usize) -> Peer {
    let peer = rig.peer(member);
    rig.send(peer, op::AUTH, &ADMIN);
    rig.take(peer.end);
    peer
}

#[derive(Default, Clone, Copy)]
struct Change<'a> {
    joining: Option<&'a str>,
    leaving: Option<&'a str>,
    members: Option<&'a str>,
}

fn leaving(leaving: &str) -> Change<'_> {
    Change {
        leaving: Some(leaving),
        ..Change::default()
    }
}

fn joining(joining: &str) -> Change<'_> {
    Change {
        joining: Some(joining),
        ..Change::default()
    }
}

fn members(members: &str) -> Change<'_> {
    Change {
        members: Some(members),
        ..Change::default()
    }
}

fn send(rig: &mut Rig, peer: Peer, change: Change<'_>, from_config: i64) -> i32 {
    let Change {
        joining,
        leaving,
        members,
    } = change;
    let body = Reconfig {
        joining,
        leaving,
        members,
        from_config,
    };
    rig.send(peer, op::RECONFIG, &body)
}

fn reconfig(rig: &mut Rig, peer: Peer, change: Change<'_>) -> Answer {
    send(rig, peer, change, -1);
    rig.answer(peer)
}

/// A change that must succeed.
fn change(rig: &mut Rig, peer: Peer, wanted: Change<'_>) -> String {
    let answer = reconfig(rig, peer, wanted);
    assert_eq!(answer.err(), 0);
    text(&answer)
}

fn text(answer: &Answer) -> String {
    let body = answer.body();
    let text = Reader::new(&body).buffer("data").unwrap();
    String::from_utf8(text.unwrap().to_vec()).unwrap()
}

fn read(rig: &mut Rig, member: usize) -> String {
    let peer = rig.peer(member);
    let answer = rig.get(peer, CONFIG, false);
    text(&answer)
}

/// The line of a member of an ensemble that nobody has given addresses.
fn line(id: u8) -> String {
    let (quorum, election) = (2887 + u16::from(id), 3887 + u16::from(id));
    format!("server.{id}=10.0.0.{id}:{quorum}:{election}:participant;10.0.0.{id}:2181")
}

fn observer(id: u8) -> String {
    line(id).replace("participant", "observer")
}

fn lines(ids: &[u8]) -> String {
    ids.iter().map(|id| line(*id) + "\n").collect()
}

fn modes(rig: &mut Rig) -> Vec<String> {
    (0..rig.ensemble.len()).map(|it| rig.mode(it)).collect()
}

#[test]
fn a_server_without_reconfiguration_says_so_before_anything_else() {
    let mut rig = Rig::new();
    let peer = rig.peer(0);
    let answer = reconfig(&mut rig, peer, joining("nonsense"));
    assert_eq!(
        (answer.err(), answer.header.zxid),
        (DISABLED, 0x1_0000_0002)
    );
    assert!(read(&mut rig, 0).ends_with("\nversion=0"));
}

#[test]
fn what_is_wrong_is_told_in_a_real_servers_order() {
    let mut rig = rig(3, 0);
    let (nobody, admin) = (rig.peer(0), admin(&mut rig, 1));
    let unknown = "server.7=10.0.0.7:1:2;5,server.8=10.0.0.8:3:4;6";
    let errors = [
        (joining("nonsense"), ARGUMENTS),
        (members("nonsense"), ARGUMENTS),
        (leaving("abc"), SYSTEM),
        (leaving("1,2,3"), ARGUMENTS),
        (members(""), SYSTEM),
        (members("# nothing"), SYSTEM),
        (joining("server.4=10.0.0.4:1:2"), ARGUMENTS),
        (joining("server.4=10.0.0.4:1:70000;5"), SYSTEM),
        (joining("server.4=10.0.0.4:1:1;5"), ARGUMENTS),
        (joining("server.4=10.0.0.4:1:2:king;5"), ARGUMENTS),
        (joining("server.4=10.0.0.4:1;5"), ARGUMENTS),
        (joining("server.4=[::1:2:3;5"), ARGUMENTS),
        (joining("server.4=a|b:1:2;5"), ARGUMENTS),
        (joining("server.x=10.0.0.4:1:2;5"), SYSTEM),
        (joining("server.4=a=b"), ARGUMENTS),
        (joining("server.4=10.0.0.4:1:2;5;6"), ARGUMENTS),
        (joining("server.4=;"), SYSTEM),
        (joining("server.4=10.0.0.1:2888:7;5"), ARGUMENTS),
        (members("server.1=;"), SYSTEM),
        (members("group.1=1"), ARGUMENTS),
        (members("server.7=10.0.0.7:1:2:observer;5"), SYSTEM),
        (members("server.1=10.0.0.1:1:2;5,version=zz"), SYSTEM),
        (members(unknown), NO_QUORUM),
    ];
    for (change, error) in errors {
        for peer in [nobody, admin] {
            let zxid = rig.last_zxid(2);
            let answer = reconfig(&mut rig, peer, change);
            let told = (answer.err(), answer.header.zxid);
            let change = [change.joining, change.leaving, change.members];
            assert_eq!(told, (error, zxid + 1), "{change:?}");
        }
    }
    let answer = reconfig(&mut rig, nobody, leaving("1"));
    assert_eq!(answer.err(), NO_AUTH);
    send(&mut rig, nobody, joining("nonsense"), 7);
    assert_eq!(rig.answer(nobody).err(), VERSION);
    assert_eq!(read(&mut rig, 0), lines(&[1, 2, 3]) + "version=100000000");
}

#[test]
fn a_configuration_of_one_takes_a_server_that_does_not_stand_alone() {
    let all = vec![config(); 3];
    let alone = |mut config: ServerConfig| {
        config.standalone_enabled = true;
        config
    };
    let mut rig = Rig::over(Ensemble::new(all.into_iter().map(alone).collect()));
    let peer = admin(&mut rig, 2);
    let [one, other] = [line(3), observer(1)];
    let both = format!("{one}\n{other}");
    for (change, error) in [
        (leaving("1,2"), ARGUMENTS),
        (members(&one), ARGUMENTS),
        (members(&both), SYSTEM),
        (members(""), ARGUMENTS),
    ] {
        assert_eq!(reconfig(&mut rig, peer, change).err(), error);
    }

    let mut rig = self::rig(3, 0);
    let peer = admin(&mut rig, 2);
    assert_eq!(
        change(&mut rig, peer, leaving("1,2")),
        lines(&[3]) + "version=100000002"
    );
}

#[test]
fn a_member_that_leaves_follows_and_serves_without_a_vote() {
    let mut rig = rig(3, 0);
    let (peer, theirs) = (admin(&mut rig, 2), rig.peer(0));
    rig.make(theirs, &["/a"]);
    let answer = reconfig(&mut rig, peer, leaving("1"));
    let expected = lines(&[2, 3]) + "version=100000004";
    assert_eq!(text(&answer), expected);
    let stat = answer.last_stat();
    assert_eq!((stat.mzxid, stat.czxid, stat.pzxid), (0x1_0000_0004, 0, 0));
    assert_eq!((stat.version, stat.cversion, stat.aversion), (-1, 0, -1));
    assert_eq!(stat.mtime, rig.now.unix_ms);
    let asked = rig.get(theirs, CONFIG, false);
    assert_eq!(asked.frame.slice(16..), answer.frame.slice(16..));
    assert_eq!(modes(&mut rig), ["follower", "follower", "leader"]);
    assert!(rig.ask(0, "conf").contains(&expected));
    assert_eq!(rig.set(theirs, "/a", b"1").err(), 0);

    // It is not counted: with it there would be two of three.
    rig.act(|ensemble, now| ensemble.stop(now, 1));
    assert_eq!(rig.ensemble.leader(), None);
    rig.act(|ensemble, now| ensemble.restart(now, 1));
    rig.advance(SECOND);
    assert_eq!(rig.ensemble.leader(), Some(2));
    assert!(!rig.act(|ensemble, now| ensemble.elect(now, 0)));
    rig.act(|ensemble, now| ensemble.stop(now, 0));
    assert_eq!(rig.ensemble.leader(), Some(2), "and it is not missed");
}

#[test]
fn whoever_watches_is_told_when_its_member_learns_of_it() {
    let mut rig = rig(3, 0);
    let (peer, once, always) = (admin(&mut rig, 2), rig.peer(0), rig.peer(1));
    rig.get(once, CONFIG, true);
    rig.send(always, op::ADD_WATCH, &support::path_and_kind(CONFIG, 0));
    rig.take(always.end);
    rig.act(|ensemble, now| ensemble.set_lag(now, 0, SECOND));
    change(&mut rig, peer, leaving("1"));
    let event = (EventType::NodeDataChanged, CONFIG.to_owned());
    // A real one writes the node twice.
    assert_eq!(rig.take_events(always.end), [event.clone(), event.clone()]);
    assert_eq!(rig.take_events(once.end), []);
    assert!(text(&rig.get(once, CONFIG, false)).contains("server.1"));
    rig.advance(SECOND);
    assert_eq!(rig.take_events(once.end), [event]);
    assert!(!text(&rig.get(once, CONFIG, false)).contains("server.1"));
}

#[test]
fn the_version_that_is_replaced_can_be_told() {
    let mut rig = rig(3, 0);
    let peer = admin(&mut rig, 0);
    send(&mut rig, peer, leaving("1"), 0x1_0000_0000);
    assert_eq!(rig.answer(peer).err(), 0);
    send(&mut rig, peer, leaving("2"), 0x1_0000_0000);
    assert_eq!(rig.answer(peer).err(), VERSION);
    // Nothing at all is a change as well.
    let zxid = rig.last_zxid(2);
    let same = change(&mut rig, peer, Change::default());
    assert_eq!(same, lines(&[2, 3]) + &format!("version={:x}", zxid + 1));
}

#[test]
fn an_access_control_list_can_let_others_ask() {
    let mut rig = rig(3, 0);
    let (peer, other) = (admin(&mut rig, 0), rig.peer(1));
    let acl = [Acl {
        permissions: 2,
        id: Id {
            scheme: "world".into(),
            id: "anyone".into(),
        },
    }];
    let set = SetAcl {
        path: CONFIG.into(),
        acl: &acl,
        version: -1,
    };
    rig.send(peer, op::SET_ACL, &set);
    rig.take(peer.end);
    assert_eq!(reconfig(&mut rig, other, leaving("1")).err(), 0);
    assert_eq!(rig.get(other, CONFIG, false).err(), NO_AUTH, "only that");

    // What has arrived in front of it counts, though nobody has applied it yet.
    let open = [Acl::open()];
    rig.send(peer, op::SET_ACL, &SetAcl { acl: &open, ..set });
    rig.take(peer.end);
    let mut both = BytesMut::new();
    let closed = [Acl {
        permissions: 1,
        ..open[0].clone()
    }];
    let closed = SetAcl {
        acl: &closed,
        ..set
    };
    let change = Reconfig {
        joining: None,
        leaving: None,
        members: None,
        from_config: -1,
    };
    let stranger = rig.peer(2);
    put_request(&mut both, header(1, op::SET_ACL), &closed);
    put_request(&mut both, header(2, op::RECONFIG), &change);
    rig.give(stranger.end, &both);
    let headers = rig.headers(stranger);
    let errors: Vec<_> = headers.iter().map(|header| header.err).collect();
    assert_eq!(errors, [0, NO_AUTH]);
}

#[test]
fn a_member_that_gets_another_part_drops_its_clients_and_comes_back() {
    let mut rig = rig(3, 0);
    let (peer, theirs) = (admin(&mut rig, 2), rig.peer(0));
    rig.get(theirs, CONFIG, true);
    change(&mut rig, peer, joining(&observer(1)));
    assert_eq!(rig.take_events(theirs.end).len(), 1);
    assert!(rig.is_closed(theirs.end));
    assert_eq!(modes(&mut rig), ["observer", "follower", "leader"]);
    assert!(rig.ask(0, "conf").contains("peerType=1\n"));
    let end = rig.knock(0, &resume(theirs, 0));
    let theirs = rig.established(end);
    rig.make(theirs, &["/a"]);
    assert!(rig.has(2, "/a"));

    // Whoever asks at a member for it does not hear what has come of it.
    let asker = admin(&mut rig, 0);
    send(&mut rig, asker, joining(&line(1)), -1);
    assert_eq!(rig.xids(asker), []);
    assert!(rig.is_closed(asker.end));
    assert_eq!(modes(&mut rig), ["follower", "follower", "leader"]);
    assert!(read(&mut rig, 0).contains(&line(1)));
}

#[test]
fn a_leader_that_leaves_answers_and_another_is_elected() {
    let mut rig = rig(3, 0);
    let (peer, other) = (admin(&mut rig, 2), rig.peer(0));
    rig.get(other, CONFIG, true);
    let expected = change(&mut rig, peer, leaving("3"));
    assert_eq!(rig.take_events(other.end).len(), 1);
    assert!(rig.is_closed(peer.end) && rig.is_closed(other.end));
    assert_eq!(rig.ensemble.leader(), None);
    rig.advance(SECOND);
    assert_eq!(modes(&mut rig), ["leader", "follower", "follower"]);
    assert_eq!(rig.ensemble.epoch(), 2);
    assert_eq!(read(&mut rig, 2), expected, "it has no vote, and serves");

    // Asked for at a follower, it is applied and not answered.
    let asker = admin(&mut rig, 1);
    send(&mut rig, asker, joining(&line(3)), -1);
    assert_eq!(rig.headers(asker)[0].err, 0);
    send(&mut rig, asker, leaving("1"), -1);
    assert_eq!(rig.xids(asker), []);
    assert!(rig.is_closed(asker.end));
    rig.advance(SECOND);
    assert_eq!(modes(&mut rig), ["follower", "leader", "follower"]);
    assert!(read(&mut rig, 0).starts_with(&lines(&[2, 3])));
}

#[test]
fn a_leader_that_is_to_observe_or_to_be_found_elsewhere_leads_no_more() {
    let mut rig = rig(3, 0);
    let peer = admin(&mut rig, 2);
    change(&mut rig, peer, joining(&observer(3)));
    rig.advance(SECOND);
    assert_eq!(modes(&mut rig), ["leader", "follower", "observer"]);
    let peer = admin(&mut rig, 0);
    let moved = line(1).replace("2888", "2900");
    change(&mut rig, peer, joining(&moved));
    rig.advance(SECOND);
    assert_eq!(modes(&mut rig), ["follower", "leader", "observer"]);
}

#[test]
fn what_a_leader_that_leaves_cannot_decide_any_more_has_either_fate() {
    for (fate, is_there) in [(Fate::Lost, false), (Fate::Applied, true)] {
        let mut rig = rig(3, 0);
        rig.ensemble.set_fate(fate);
        let peer = admin(&mut rig, 2);
        let mut both = BytesMut::new();
        let change = Reconfig {
            joining: None,
            leaving: Some("3"),
            members: None,
            from_config: -1,
        };
        put_request(&mut both, header(1, op::RECONFIG), &change);
        let acl = [Acl::open()];
        let create = Create {
            path: "/a".into(),
            data: b"",
            acl: &acl,
            mode: CreateMode::Persistent,
        };
        put_request(&mut both, header(2, op::CREATE), &create);
        rig.give(peer.end, &both);
        assert_eq!(rig.xids(peer), [1]);
        assert!(rig.is_closed(peer.end));
        rig.advance(SECOND);
        assert_eq!(rig.ensemble.leader(), Some(0));
        let seen: Vec<_> = (0..3).map(|member| rig.has(member, "/a")).collect();
        assert_eq!(seen, [is_there; 3]);
    }
}

fn header(xid: i32, op: i32) -> RequestHeader {
    RequestHeader { xid, op }
}

#[test]
fn one_change_at_a_time() {
    let mut rig = rig(3, 0);
    let (first, second) = (admin(&mut rig, 2), admin(&mut rig, 2));
    rig.ensemble.set_sync_limit(SECOND);
    for member in [0, 1] {
        rig.act(|ensemble, now| ensemble.isolate(now, member));
    }
    // Nobody has noticed yet.
    let asked = send(&mut rig, first, leaving("1"), -1);
    assert_eq!(rig.xids(first), []);
    assert_eq!(rig.ensemble.uncommitted(), 1);
    let refused = send(&mut rig, second, leaving("2"), -1);
    rig.act(|ensemble, now| ensemble.heal(now, 0));
    // A majority of the old members is there, and none of the new ones.
    assert_eq!(rig.xids(first), []);
    assert_eq!(rig.xids(second), []);
    rig.act(|ensemble, now| ensemble.heal(now, 1));
    assert_eq!(rig.xids(first), [asked]);
    let headers = rig.headers(second);
    assert_eq!((headers[0].xid, headers[0].err), (refused, IN_PROGRESS));
}

#[test]
fn a_leader_that_misses_those_whom_it_has_asked_to_be_members_leads_no_more() {
    let mut rig = rig(5, 0);
    rig.ensemble.set_sync_limit(SECOND);
    let peer = admin(&mut rig, 4);
    for member in [0, 1, 2] {
        rig.act(|ensemble, now| ensemble.isolate(now, member));
    }
    let others = [line(1), line(2), line(5)].join(",");
    send(&mut rig, peer, members(&others), -1);
    assert_eq!(rig.ensemble.uncommitted(), 1);
    // Three of the old five are there, and one of the new three.
    rig.act(|ensemble, now| ensemble.heal(now, 2));
    assert_eq!((rig.ensemble.leader(), rig.xids(peer)), (Some(4), vec![]));
    rig.advance(SECOND);
    assert_eq!(rig.ensemble.leader(), None);
    assert!(rig.is_closed(peer.end));
    for member in [0, 1] {
        rig.act(|ensemble, now| ensemble.heal(now, member));
    }
    rig.advance(SECOND);
    assert_eq!(rig.ensemble.leader(), Some(4), "it has the most in its log");
    assert!(read(&mut rig, 3).starts_with(&lines(&[1, 2, 5])));
}

#[test]
fn observers_follow_and_are_not_counted() {
    let mut rig = rig(3, 2);
    let all = ["follower", "follower", "leader", "observer", "observer"];
    assert_eq!(modes(&mut rig), all);
    assert!(rig.ask(4, "mntr").contains("zk_server_state\tobserver\n"));
    let expected = lines(&[1, 2, 3]) + &observer(4) + "\n" + &observer(5) + "\n";
    assert_eq!(read(&mut rig, 4), expected + "version=100000000");
    let peer = rig.peer(4);
    rig.make(peer, &["/a"]);
    assert!(rig.has(0, "/a") && rig.has(3, "/a"));
    rig.act(|ensemble, now| ensemble.set_lag(now, 4, SECOND));
    rig.send_set(peer, "/a", b"1");
    let get = rig.send_get(peer, "/a", false);
    let sync = rig.send_sync(peer, "/a");
    assert_eq!(rig.xids(peer), []);
    rig.advance(SECOND);
    assert_eq!(rig.xids(peer)[1..], [get, sync]);

    assert!(!rig.act(|ensemble, now| ensemble.elect(now, 3)));
    // Nor are they among those who are to have a vote: first they have to follow.
    let admin = admin(&mut rig, 2);
    let promoted = [line(3), line(4), line(5)].join("\n");
    let answer = reconfig(&mut rig, admin, members(&promoted));
    assert_eq!(answer.err(), NO_QUORUM);
    for member in [0, 1] {
        rig.act(|ensemble, now| ensemble.stop(now, member));
    }
    assert_eq!(rig.ensemble.leader(), None, "three of five are there");
    assert!(rig.is_closed(peer.end));
    rig.act(|ensemble, now| ensemble.restart(now, 0));
    for member in [3, 4] {
        rig.act(|ensemble, now| ensemble.stop(now, member));
    }
    rig.advance(SECOND);
    assert_eq!(rig.ensemble.leader(), Some(2), "two of five are there");
}

#[test]
fn a_server_that_is_started_learns_follows_and_joins() {
    let mut rig = rig(3, 0);
    let peer = admin(&mut rig, 2);
    rig.make(peer, &["/a"]);
    let addr = "10.0.0.4:2181".parse().unwrap();
    let member = rig.act(|ensemble, now| ensemble.add_server(now, config(), addr));
    let member = member.unwrap();
    assert_eq!((member, rig.mode(member)), (3, "follower".into()));
    assert_eq!(read(&mut rig, member), read(&mut rig, 0));
    let client = rig.peer(member);
    assert_eq!(client.session >> 56, 4);
    assert_eq!(rig.set(client, "/a", b"1").err(), 0);
    // It has no vote yet.
    assert!(!rig.act(|ensemble, now| ensemble.elect(now, member)));

    rig.get(client, CONFIG, true);
    let own = rig.ensemble.server_line(member).unwrap();
    assert_eq!(own, line(4));
    let now = change(&mut rig, peer, joining(&own));
    assert!(now.starts_with(&lines(&[1, 2, 3, 4])), "{now}");
    assert_eq!(rig.take_events(client.end).len(), 1);
    assert!(!rig.is_closed(client.end), "it goes on as it was");
    // Three of four are a majority, two are none.
    rig.act(|ensemble, now| ensemble.stop(now, 0));
    assert_eq!(rig.ensemble.leader(), Some(2));
    rig.act(|ensemble, now| ensemble.stop(now, 2));
    rig.advance(SECOND);
    assert_eq!(rig.ensemble.leader(), None);
    rig.act(|ensemble, now| ensemble.restart(now, 0));
    rig.advance(SECOND);
    assert_eq!(rig.ensemble.leader(), Some(member));
    let end = rig.knock(member, &resume(client, 0));
    let client = rig.established(end);
    assert_eq!(rig.get(client, "/a", false).last_stat().version, 1);
}

#[test]
fn a_server_can_be_started_while_nobody_leads() {
    let mut rig = rig(3, 0);
    let peer = rig.peer(0);
    rig.make(peer, &["/a"]);
    for member in [1, 2] {
        rig.act(|ensemble, now| ensemble.stop(now, member));
    }
    let addr = "10.0.0.9:1".parse().unwrap();
    let member = rig.act(|ensemble, now| ensemble.add_server(now, config(), addr));
    let member = member.unwrap();
    assert!(!rig.ensemble.is_serving(member));
    rig.act(|ensemble, now| ensemble.restart(now, 1));
    rig.advance(SECOND);
    assert_eq!(rig.mode(member), "follower");
    assert!(rig.has(member, "/a"));
}

#[test]
fn members_that_nobody_runs_count_against_the_majority() {
    let mut rig = rig(3, 0);
    let peer = admin(&mut rig, 2);
    change(&mut rig, peer, joining("server.9=zk9:1:2;3"));
    let text = change(&mut rig, peer, joining("server.17=[::1]:1:2;[fe80::1:2]:3"));
    let java = "server.17=[0:0:0:0:0:0:0:1]:1:2:participant;[fe80:0:0:0:0:0:1:2]:3\n";
    let all = format!(
        "{}\n{java}{}server.9=zk9:1:2:participant;0.0.0.0:3\nversion=100000003",
        line(1),
        lines(&[2, 3])
    );
    assert_eq!(text, all, "in the order of a hash table");
    let third = joining("server.-1=zk11:1:2;3");
    assert_eq!(reconfig(&mut rig, peer, third).err(), NO_QUORUM);
    let end = rig.send(peer, op::CLOSE_SESSION, &Empty);
    assert_eq!(rig.xids(peer), [end]);
    rig.act(|ensemble, now| ensemble.stop(now, 0));
    assert_eq!(rig.ensemble.leader(), None, "two of five are there");
}
