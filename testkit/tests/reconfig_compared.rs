//! A fake ensemble and a real one are reconfigured alike, and clients are told the same.

mod support;

use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use homing_protocol::{Acl, Auth, CreateMode, Delete, Empty, Id, Reader, Reconfig, SetAcl, op};
use homing_testkit::real::{self, Ensemble, ZooKeeper};
use homing_testkit::{FakeEnsemble, ServerConfig};
use support::socket::{Client, ask, line, patiently};
use support::{Answer, new_session, path_and_kind};

const CONFIG: &str = "/zookeeper/config";
/// The hash of `super:admin`.
const SUPER: &str = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";

/// No session ends by its time here, which would take a number.
const SESSION_MS: i32 = 600_000;

/// An ensemble of either kind, of three with a vote and one without.
trait Members {
    fn len(&self) -> usize;
    fn addr(&self, member: usize) -> SocketAddr;
    fn server_line(&self, member: usize) -> String;
    fn add_server(&mut self) -> usize;
}

impl Members for FakeEnsemble {
    fn len(&self) -> usize {
        self.len()
    }

    fn addr(&self, member: usize) -> SocketAddr {
        self.member(member).addr()
    }

    fn server_line(&self, member: usize) -> String {
        self.server_line(member)
    }

    fn add_server(&mut self) -> usize {
        self.add_server().unwrap()
    }
}

impl Members for Ensemble {
    fn len(&self) -> usize {
        self.members().len()
    }

    fn addr(&self, member: usize) -> SocketAddr {
        self.members()[member].addr()
    }

    fn server_line(&self, member: usize) -> String {
        self.server_line(member)
            .replace(":observer", ":participant")
    }

    fn add_server(&mut self) -> usize {
        self.add_server().unwrap()
    }
}

#[derive(Default, Clone, Copy)]
struct Change<'a> {
    joining: Option<&'a str>,
    leaving: Option<&'a str>,
    members: Option<&'a str>,
}

/// What clients have seen, in words. The followers of the beginning are called first and second,
/// since nobody can choose who leads a real ensemble.
struct Script<M> {
    members: M,
    seen: Vec<String>,
}

impl<M: Members> Script<M> {
    fn new(members: M) -> Self {
        let seen = Vec::new();
        Self { members, seen }
    }

    fn note(&mut self, what: &str, seen: impl std::fmt::Debug) {
        self.seen.push(format!("{what}: {seen:x?}"));
    }

    fn answer(&mut self, what: &str, answer: Option<&Answer>) {
        let told = answer.map(|it| (it.header.zxid, it.err(), it.events.clone()));
        self.note(what, told);
    }

    /// An answer with a configuration.
    fn members_of(&mut self, what: &str, answer: Option<&Answer>, roles: &[(usize, &str)]) {
        self.answer(what, answer);
        let Some(answer) = answer.filter(|answer| answer.err() == 0) else {
            return;
        };
        let stat = answer.last_stat();
        let zxids = (stat.czxid, stat.mzxid, stat.pzxid, stat.ctime);
        let versions = (stat.version, stat.cversion, stat.aversion);
        self.note("its stat", (zxids, versions, stat.mtime > 0));
        let text = masked(answer, roles);
        self.note("its text", text);
    }

    fn mode(&self, member: usize) -> String {
        line(self.members.addr(member), "Mode")
    }

    /// The members that follow, and the one that leads.
    fn roles(&self) -> ([usize; 2], usize) {
        patiently(|| {
            let are = |mode: &str| -> Vec<usize> {
                let members = 0..self.members.len();
                members.filter(|it| self.mode(*it) == mode).collect()
            };
            let leader = *are("leader").first()?;
            Some((<[usize; 2]>::try_from(are("follower")).ok()?, leader))
        })
    }

    fn wait_for_mode(&self, member: usize, mode: &str) {
        patiently(|| (self.mode(member) == mode).then_some(()));
    }

    fn connect(&self, member: usize) -> Client {
        let addr = self.members.addr(member);
        patiently(|| Client::with(addr, &new_session(SESSION_MS)))
    }

    fn admin(&self, member: usize) -> Client {
        let mut client = self.connect(member);
        let auth = Auth {
            scheme: "digest",
            proof: b"super:admin",
        };
        assert_eq!(client.call(op::AUTH, &auth).unwrap().err(), 0);
        client
    }

    /// Whether nobody has been elected since the beginning.
    fn is_undisturbed(&self) -> bool {
        // Only a leader knows of its epoch before there is a transaction in it.
        let leads = |it: &usize| self.mode(*it) == "leader";
        let mut leaders = (0..3).filter(leads);
        leaders.any(|it| line(self.members.addr(it), "Zxid").starts_with("0x1"))
    }

    fn run(&mut self) {
        self.one_observes();
        self.refusals();
        self.members_leave_and_come_back();
        self.parts_change();
        self.a_server_joins();
        self.others_may_ask();
        if self.is_undisturbed() {
            self.the_leader_leaves();
        }
    }

    /// The fourth has no vote.
    fn one_observes(&mut self) {
        let (_, leader) = self.roles();
        self.wait_for_mode(3, "observer");
        let state = ask(self.members.addr(3), "mntr");
        let state = state.lines().find(|it| it.starts_with("zk_server_state"));
        self.note("it observes", state);
        let state = ask(self.members.addr(leader), "mntr");
        let names = [
            "quorum_size",
            "learners",
            "synced_followers",
            "synced_observers",
        ];
        let is_one = |line: &&str| {
            names
                .iter()
                .any(|it| line.starts_with(&format!("zk_{it}\t")))
        };
        let mut counts: Vec<_> = state.lines().filter(is_one).collect();
        counts.sort_unstable();
        self.note("the leader counts it", counts);
        let mut client = self.admin(3);
        let answer = client.create("/by-observer", CreateMode::Ephemeral);
        self.answer("it hands over writes", answer.as_ref());
        let answer = self.connect(leader).get("/by-observer", true);
        let stat = answer.map(|answer| answer.last_stat());
        let owner = stat.map(|stat| stat.ephemeral_owner >> 56);
        self.note("for all", owner);
        let answer = client.set("/by-observer", b"x");
        self.answer("in their order", answer.as_ref());
        let answer = sync_and_read(&mut client);
        self.members_of("it reads", answer.as_ref(), &[]);
        let answer = reconfig(&mut client, joining("nonsense"), -1);
        self.answer("it hands over changes of the members", answer.as_ref());
        let answer = reconfig(&mut client, Change::default(), -1);
        self.members_of("and they are answered", answer.as_ref(), &[]);
        let both = [leader, 3].map(|it| self.members.server_line(it));
        let answer = reconfig(&mut client, members(&both.join(",")), -1);
        self.answer("it cannot get a vote from one alone", answer.as_ref());
        let answer = client.call(op::CLOSE_SESSION, &Empty);
        self.answer("its sessions end", answer.as_ref());
    }

    fn refusals(&mut self) {
        let ([first, _], leader) = self.roles();
        let (mut nobody, mut admin) = (self.connect(first), self.admin(leader));
        let one = self.members.server_line(0);
        let observers = one.replace("participant", "observer");
        let wrong_version = format!("{one},version=zz");
        let joining = [
            "nonsense",
            "server.4=127.0.0.1:1:2",
            "server.4=127.0.0.1:1;5",
            "server.4=127.0.0.1:1:70000;5",
            "server.4=127.0.0.1:1:-2;5",
            "server.4=127.0.0.1:1:x;5",
            "server.4=127.0.0.1:1:2;x",
            "server.4=127.0.0.1:1:2;70000",
            "server.4=127.0.0.1:1:2;:",
            "server.4=127.0.0.1:1:2;a:b:c",
            "server.4=127.0.0.1:1:1;5",
            "server.4=127.0.0.1:1:2:king;5",
            "server.4=127.0.0.1:1:2:observer:3;5",
            "server.4=127.0.0.1:1:2;5;6",
            "server.4=[::1:1:2;5",
            "server.4=[::1]:1;5",
            "server.4=[::1]:;5",
            "server.4=a:1:2|b:1:2;5",
            "server.x=127.0.0.1:1:2;5",
            "server.4=;5",
            "server.4=;",
            "server.4=",
            "=",
            "server.4=a=b",
            "server.7=10.1.1.1:1:2;3,server.8=10.1.1.1:5:1;6",
        ];
        let leaving = [
            "abc",
            "1.5",
            "1,2,3",
            " 1 , 2 , 3 ,,",
            "99999999999999999999",
        ];
        let members = [
            "",
            "nonsense",
            "# nothing",
            "server.1",
            "server.1=;",
            "server.x=127.0.0.1:1:2;5",
            "other=1",
            &observers,
            &wrong_version,
            "server.7=127.0.0.1:1:2;5,server.8=127.0.0.1:3:4;6",
            "  server.7 : 127.0.0.1:1:2;5\n! and\r\nserver.8\t127.0.0.1:3:4;6",
        ];
        let changes = joining.map(|joining| Change {
            joining: Some(joining),
            ..Change::default()
        });
        let changes = changes.into_iter().chain(leaving.map(|leaving| Change {
            leaving: Some(leaving),
            ..Change::default()
        }));
        let changes = changes.chain(members.map(|members| Change {
            members: Some(members),
            ..Change::default()
        }));
        for Change {
            joining,
            leaving,
            members,
        } in changes
        {
            let what = format!("{joining:?} {leaving:?} {members:?}");
            let what = what.replace(&one, "ONE").replace(&observers, "OBSERVERS");
            for (who, client) in [("nobody", &mut nobody), ("admin", &mut admin)] {
                let body = Reconfig {
                    joining,
                    leaving,
                    members,
                    from_config: -1,
                };
                let answer = client.call(op::RECONFIG, &body);
                let told = answer.map(|it| (it.header.zxid, it.err(), it.frame.len()));
                self.seen.push(format!("{who} {what}: {told:x?}"));
            }
        }
        let answer = reconfig(&mut nobody, Change::default(), -1);
        self.answer("nobody asks for nothing", answer.as_ref());
        let answer = reconfig(&mut nobody, Change::default(), 7);
        self.answer("from a version that was never", answer.as_ref());
    }

    fn members_leave_and_come_back(&mut self) {
        let ([first, second], leader) = self.roles();
        let roles = [(first, "FIRST"), (second, "SECOND"), (leader, "LEADER")];
        let mut admin = self.admin(leader);
        let answer = admin.get(CONFIG, false);
        self.members_of("before", answer.as_ref(), &roles);
        let mut once = self.connect(first);
        once.get(CONFIG, true);
        let mut always = self.connect(second);
        always.call(op::ADD_WATCH, &path_and_kind(CONFIG, 0));
        let (gone, back) = (number(second), self.members.server_line(second));
        let answer = reconfig(&mut admin, leaving(&gone), -1);
        self.members_of("one leaves", answer.as_ref(), &roles);
        let answer = sync_and_read(&mut once);
        self.members_of("a watch at a member", answer.as_ref(), &roles);
        let answer = sync_and_read(&mut always);
        self.members_of("and at the one that leaves", answer.as_ref(), &roles);
        let mode = self.mode(second);
        self.note("which is", mode);
        let words = ask(self.members.addr(second), "conf");
        let words: Vec<_> = words
            .lines()
            .skip_while(|it| *it != "membership: ")
            .collect();
        self.note("and knows of itself", masked_lines(&words, &roles));
        let answer = always.create("/by-no-member", CreateMode::Ephemeral);
        self.answer("which serves", answer.as_ref());
        let delete = Delete {
            path: "/by-no-member".into(),
            version: -1,
        };
        let answer = admin.call(op::DELETE, &delete);
        self.answer("for all", answer.as_ref());

        let answer = reconfig(&mut admin, Change::default(), -1);
        self.members_of("nothing changes", answer.as_ref(), &roles);
        let version = answer.unwrap().header.zxid;
        let answer = reconfig(&mut admin, joining(&back), version - 1);
        self.answer("not from the one before", answer.as_ref());
        let answer = reconfig(&mut admin, joining(&back), version);
        self.members_of("from the version that it is", answer.as_ref(), &roles);
        // A change that is told in both ways is taken to be all members.
        let two = [leader, first].map(|it| self.members.server_line(it));
        let observer = self
            .members
            .server_line(3)
            .replace("participant", "observer");
        let two = format!("{},{observer}", two.join(","));
        let change = Change {
            members: Some(&two),
            joining: Some(&back),
            leaving: Some("nobody"),
        };
        let answer = reconfig(&mut admin, change, -1);
        self.members_of("both ways", answer.as_ref(), &roles);
        let all = [leader, first, second].map(|it| self.members.server_line(it));
        let all = format!("{}\n{observer}", all.join("\n"));
        let answer = reconfig(&mut admin, members(&all), -1);
        self.members_of("all of them", answer.as_ref(), &roles);
        let unknown = "server.9=zk9:1:2;3,server.17=[fe80::1:2]:5:6:OBSERVER;[::1]:7";
        let answer = reconfig(&mut admin, joining(unknown), -1);
        // A leader has them in another order than its followers.
        self.answer("members that nobody runs", answer.as_ref());
        let answer = sync_and_read(&mut self.connect(first));
        let text = answer.map(|answer| text(&answer)).unwrap_or_default();
        let mut lines: Vec<_> = text
            .lines()
            .filter(|it| !it.contains("127.0.0.1"))
            .collect();
        lines.sort_unstable();
        self.note("as they are written", lines);
        let answer = reconfig(&mut admin, joining("server.10=zk10:1:2;3"), -1);
        self.answer("one more", answer.as_ref());
        let answer = reconfig(&mut admin, joining("server.11=zk11:1:2;3"), -1);
        self.answer("too many", answer.as_ref());
        let answer = reconfig(&mut admin, leaving("9,10,17"), -1);
        self.members_of("without them", answer.as_ref(), &roles);
    }

    fn parts_change(&mut self) {
        let ([first, second], leader) = self.roles();
        let roles = [(first, "FIRST"), (second, "SECOND"), (leader, "LEADER")];
        let mut admin = self.admin(leader);
        let mut theirs = self.connect(second);
        let participant = self.members.server_line(second);
        let observer = participant.replace("participant", "observer");
        let answer = reconfig(&mut admin, joining(&observer), -1);
        self.members_of("one observes", answer.as_ref(), &roles);
        theirs.wait_for_end();
        self.wait_for_mode(second, "observer");
        let state = ask(self.members.addr(second), "mntr");
        let state = state.lines().find(|it| it.starts_with("zk_server_state"));
        self.note("it says so", state);
        let state = ask(self.members.addr(second), "conf");
        let state = state.lines().find(|it| it.starts_with("peerType"));
        self.note("here too", state);
        let again = theirs.again(0);
        let mut theirs = patiently(|| Client::with(self.members.addr(second), &again));
        let is_same = theirs.session.session_id == again.session_id;
        self.note("its clients come back", is_same);
        let answer = theirs.create("/observed", CreateMode::Persistent);
        self.answer("and write", answer.as_ref());
        let answer = sync_and_read(&mut theirs);
        self.members_of("and read", answer.as_ref(), &roles);
        let answer = reconfig(&mut theirs, leaving("1"), -1);
        self.answer("and are refused", answer.as_ref());
        // With two that have a vote, one is no majority.
        let both = [number(first), number(second)].join(",");
        let answer = reconfig(&mut admin, leaving(&both), -1);
        self.members_of("the leader alone", answer.as_ref(), &roles);
        self.wait_for_mode(second, "follower");
        let all = [first, second].map(|it| self.members.server_line(it));
        let answer = patiently(|| {
            let answer = reconfig(&mut admin, joining(&all.join(",")), -1)?;
            (answer.err() == 0).then_some(answer)
        });
        let mode = self.mode(second);
        self.note("all have votes again", (answer.err(), mode));
    }

    fn a_server_joins(&mut self) {
        let ([first, second], leader) = self.roles();
        let member = self.members.add_server();
        let all = [
            (first, "FIRST"),
            (second, "SECOND"),
            (leader, "LEADER"),
            (member, "JOINS"),
        ];
        let mode = self.mode(member);
        self.note("a server is started", (member, mode));
        let mut theirs = self.connect(member);
        let number = theirs.session.session_id >> 56;
        self.note("its number", number);
        let answer = theirs.get("/observed", false);
        self.note("it knows", answer.map(|answer| answer.err()));
        let mut admin = self.admin(leader);
        let before = admin.get(CONFIG, false);
        theirs.get(CONFIG, true);
        let own = self.members.server_line(member);
        let answer = reconfig(&mut admin, joining(&own), -1);
        let is_later = |before: Option<Answer>| before?.last_stat().mzxid.into();
        let before: Option<i64> = is_later(before);
        let answer = answer.unwrap();
        // How often it was asked for votes before took as many numbers.
        self.note("it joins", (answer.err(), without_version(&answer, &all)));
        assert!(before < Some(answer.last_stat().mzxid));
        let answer = sync_and_read(&mut theirs).unwrap();
        self.note(
            "it hears of it",
            (answer.events.clone(), without_version(&answer, &all)),
        );
        let answer = theirs.create("/joined", CreateMode::Persistent);
        self.note("and serves on", answer.map(|answer| answer.err()));
        let gone = (member + 1).to_string();
        let answer = reconfig(&mut admin, leaving(&gone), -1).unwrap();
        self.note("it leaves", (answer.err(), without_version(&answer, &all)));
    }

    fn others_may_ask(&mut self) {
        let mut admin = self.admin(0);
        let acl = [Acl {
            permissions: 3,
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
        let answer = admin.call(op::SET_ACL, &set).unwrap();
        self.note("a list", (answer.err(), answer.last_stat().aversion));
        let mut nobody = self.connect(1);
        let answer = reconfig(&mut nobody, Change::default(), -1).unwrap();
        let versions = (answer.last_stat().version, answer.last_stat().aversion);
        self.note("lets others ask", (answer.err(), versions));
        // What somebody writes there is no change of the members.
        let answer = nobody.set(CONFIG, b"nobody");
        self.note("and write", answer.map(|answer| answer.last_stat().version));
        let answer = reconfig(&mut nobody, Change::default(), -1).unwrap();
        let lines = text(&answer).lines().count();
        self.note("the next one counts", (lines, answer.last_stat().version));
    }

    fn the_leader_leaves(&mut self) {
        let leader = (0..3).find(|it| self.mode(*it) == "leader").unwrap();
        let others: Vec<_> = (0..3).filter(|it| *it != leader).collect();
        let clients: Vec<_> = others.iter().map(|it| self.connect(*it)).collect();
        let mut admin = self.admin(leader);
        let gone = number(leader);
        let answer = reconfig(&mut admin, leaving(&gone), -1).unwrap();
        let lines = text(&answer).lines().count();
        self.note(LAST, (answer.err(), lines));
        admin.wait_for_end();
        for mut client in clients {
            client.wait_for_end();
        }
        // Of those that stay the first one is to lead, but a real one may not be fast enough.
        patiently(|| {
            let mut modes = [others[0], others[1]].map(|it| self.mode(it));
            modes.sort_unstable();
            (modes == ["follower", "leader"]).then_some(())
        });
        self.wait_for_mode(leader, "follower");
        let (mut client, answer) = patiently(|| {
            let mut client = Client::with(self.members.addr(leader), &new_session(SESSION_MS))?;
            let answer = client.set("/", b"later")?;
            Some((client, answer))
        });
        let is_later = answer.header.zxid >> 32 > 1;
        self.note("it serves, in a later epoch", (answer.err(), is_later));
        let answer = sync_and_read(&mut client).unwrap();
        self.note("and knows", text(&answer).lines().count());
    }
}

fn number(member: usize) -> String {
    (member + 1).to_string()
}

fn joining(joining: &str) -> Change<'_> {
    Change {
        joining: Some(joining),
        ..Change::default()
    }
}

fn leaving(leaving: &str) -> Change<'_> {
    Change {
        leaving: Some(leaving),
        ..Change::default()
    }
}

fn members(members: &str) -> Change<'_> {
    Change {
        members: Some(members),
        ..Change::default()
    }
}

/// Asks for a change. A real leader may find for a moment that somebody is not there yet.
fn reconfig(client: &mut Client, change: Change<'_>, from_config: i64) -> Option<Answer> {
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
    client.call(op::RECONFIG, &body)
}

/// A read of what there was when it was asked for, with the events that came before.
fn sync_and_read(client: &mut Client) -> Option<Answer> {
    let synced = client.sync(CONFIG)?;
    let mut answer = client.get(CONFIG, false)?;
    answer.events.splice(0..0, synced.events);
    Some(answer)
}

fn text(answer: &Answer) -> String {
    let body = answer.body();
    let text = Reader::new(&body).buffer("data").unwrap();
    String::from_utf8(text.unwrap_or_default().to_vec()).unwrap()
}

/// The text of a configuration, with what members are in place of their numbers, sorted, and
/// without ports.
fn masked(answer: &Answer, roles: &[(usize, &str)]) -> String {
    let text = text(answer);
    let lines: Vec<_> = text.lines().collect();
    masked_lines(&lines, roles)
}

/// The same without the version.
fn without_version(answer: &Answer, roles: &[(usize, &str)]) -> String {
    let text = text(answer);
    let servers = text.lines().filter(|line| line.starts_with("server"));
    masked_lines(&servers.collect::<Vec<_>>(), roles)
}

fn masked_lines(lines: &[&str], roles: &[(usize, &str)]) -> String {
    let mask = |line: &&str| {
        let Some((server, rest)) = line.split_once('=').filter(|_| line.starts_with("server"))
        else {
            return (*line).to_owned();
        };
        let is = |(member, _): &&(usize, &str)| server == format!("server.{}", member + 1);
        let role = roles.iter().find(is).map_or(server, |(_, role)| role);
        let mask = |part: &str| match part.parse::<u16>() {
            Ok(_) => "PORT".to_owned(),
            Err(_) => part.to_owned(),
        };
        let rest: Vec<_> = rest.split(':').map(mask).collect();
        format!("{role}={}", rest.join(":"))
    };
    let mut lines: Vec<_> = lines.iter().map(mask).collect();
    lines.sort();
    lines.join(" ")
}

fn settings(config: &mut ServerConfig) {
    config.four_letter_words = vec!["*".into()];
    config.super_digest = Some(SUPER.into());
    config.reconfig_enabled = true;
    config.standalone_enabled = false;
    config.max_session_timeout = Some(Duration::from_millis(SESSION_MS as u64));
}

#[test]
fn clients_see_the_same_of_a_fake_ensemble_that_changes_as_of_a_real_one() {
    let members = FakeEnsemble::builder()
        .members(4)
        .observers(1)
        .config(settings)
        .election_time(Duration::from_millis(300))
        .start()
        .unwrap();
    let mut fake = Script::new(members);
    fake.run();
    let fake = fake.seen;
    assert!(fake.len() > 100);
    if real::requirement().is_none() {
        return;
    }
    let real = (0..ATTEMPTS).find_map(|_| seen_of_a_real_one());
    let real = real.expect("an ensemble that elects nobody by itself");
    let pairs = fake.iter().zip(&real);
    let differ: Vec<_> = pairs.filter(|(fake, real)| fake != real).collect();
    assert!(differ.is_empty(), "fake and real: {differ:#?}");
    assert_eq!(fake.len(), real.len());
}

/// Followers of a real ensemble may take a change for one of the leader, and elect. Then it is
/// another story, which is not told.
const ATTEMPTS: usize = 4;

fn seen_of_a_real_one() -> Option<Vec<String>> {
    let each = ZooKeeper::builder()
        .property("maxSessionTimeout", &SESSION_MS.to_string())
        .system_property("zookeeper.DigestAuthenticationProvider.superDigest", SUPER);
    let members = Ensemble::builder().observers(1).each(each).start();
    let mut script = Script::new(members.unwrap());
    let done = panic::catch_unwind(AssertUnwindSafe(|| script.run()));
    let is_told = script.seen.iter().any(|it| it.starts_with(LAST));
    match done {
        Err(failure) if is_told || script.is_undisturbed() => panic::resume_unwind(failure),
        _ => is_told.then_some(script.seen),
    }
}

/// What is told first in the part where the leader leaves.
const LAST: &str = "the leader leaves";
