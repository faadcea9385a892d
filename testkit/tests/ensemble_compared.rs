//! The same things happen to a fake ensemble and to a real one, and clients are told the same.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use homing_protocol::{CreateMode, Empty, SessionPassword, op};
use homing_testkit::real::{self, Ensemble, ZooKeeper};
use homing_testkit::{FakeEnsemble, ServerConfig};
use support::socket::{Client, ask, grant_more, line, patiently, read_frame};
use support::{Answer, Raw, new_session};

/// An ensemble of either kind.
trait Members {
    fn addr(&self, member: usize) -> SocketAddr;
    fn kill(&mut self, member: usize);
    fn start_again(&mut self);
}

impl Members for FakeEnsemble {
    fn addr(&self, member: usize) -> SocketAddr {
        self.member(member).addr()
    }

    fn kill(&mut self, member: usize) {
        self.member(member).stop();
    }

    fn start_again(&mut self) {
        for member in self.members() {
            if self.leader().is_none() || ask(member.addr(), "srvr").is_empty() {
                member.restart().unwrap();
            }
        }
    }
}

impl Members for Ensemble {
    fn addr(&self, member: usize) -> SocketAddr {
        self.members()[member].addr()
    }

    fn kill(&mut self, member: usize) {
        self.member_mut(member).kill();
    }

    fn start_again(&mut self) {
        self.heal().unwrap();
    }
}

/// What clients have seen, in words.
struct Script<M> {
    members: M,
    seen: Vec<String>,
}

impl<M: Members> Script<M> {
    fn note(&mut self, what: &str, seen: impl std::fmt::Debug) {
        self.seen.push(format!("{what}: {seen:x?}"));
    }

    fn answer(&mut self, what: &str, answer: Option<&Answer>) {
        let told = answer.map(|it| (it.header.zxid, it.err(), it.events.clone()));
        self.note(what, told);
    }

    fn mode(&self, member: usize) -> String {
        line(self.members.addr(member), "Mode")
    }

    /// The members that follow, and the one that leads.
    fn roles(&self) -> ([usize; 2], usize) {
        patiently(|| {
            let leads = |member: &usize| self.mode(*member) == "leader";
            let follows = |member: &usize| self.mode(*member) == "follower";
            let leader = (0..3).find(leads)?;
            let followers: Vec<_> = (0..3).filter(follows).collect();
            Some((<[usize; 2]>::try_from(followers).ok()?, leader))
        })
    }

    fn connect(&self, member: usize) -> Client {
        let addr = self.members.addr(member);
        patiently(|| Client::with(addr, &new_session(30_000)))
    }

    fn back(&self, member: usize, client: &Client, seen: i64) -> Client {
        let (addr, request) = (self.members.addr(member), client.again(seen));
        patiently(|| Client::with(addr, &request))
    }

    fn run(mut self) -> Vec<String> {
        self.beginnings();
        self.writes();
        self.moves();
        self.a_leader_dies();
        self.refusals();
        self.another_dies_with_what_it_has_granted();
        self.seen
    }

    fn beginnings(&mut self) {
        let ([first, second], leader) = self.roles();
        for member in [first, second, leader] {
            // Real followers know of the epoch or not, as it happens.
            let zxid = line(self.members.addr(member), "Zxid");
            let zxid = Some(zxid).filter(|_| member == leader);
            self.note("fresh", (self.mode(member), zxid));
            let state = ask(self.members.addr(member), "mntr");
            let state = state.lines().find(|it| it.starts_with("zk_server_state"));
            self.note("mntr", state);
        }
        for member in [first, second, leader] {
            let client = self.connect(member);
            let number = client.session.session_id >> 56;
            self.note("numbered by its member", number == member as i64 + 1);
        }
        let mut client = self.connect(first);
        let answer = client.get("/zookeeper/config", false).unwrap();
        self.note("configuration", masked(&answer));
        let stat = answer.last_stat();
        let zxids = (stat.czxid, stat.mzxid, stat.pzxid);
        let versions = (stat.version, stat.cversion, stat.aversion);
        self.note("its stat", (zxids, versions, stat.ctime, stat.mtime > 0));
    }

    fn writes(&mut self) {
        let ([first, second], leader) = self.roles();
        let (mut here, mut there) = (self.connect(first), self.connect(second));
        let answer = here.create("/a", CreateMode::Persistent);
        self.answer("create", answer.as_ref());
        let answer = here.create("/a", CreateMode::Persistent);
        self.answer("a create that fails takes a number", answer.as_ref());
        let answer = here.call(op::SET_DATA, &Raw(vec![0; 3]));
        self.answer("and so does what cannot be read", answer.as_ref());
        let answer = here.call(op::MULTI, &Raw(vec![0; 3]));
        self.answer("and a multi of that kind", answer.as_ref());
        let answer = here.call(op::DELETE, &Raw::from("ffffffff ffffffff"));
        self.answer("and a null path", answer.as_ref());
        let answer = there.sync("/a");
        self.answer("sync", answer.as_ref());
        let answer = there.get("/a", true);
        self.answer("get", answer.as_ref());
        let answer = here.set("/a", b"x");
        self.answer("set", answer.as_ref());
        let answer = there.sync("/a");
        self.answer("the event comes before the sync", answer.as_ref());
        let mut at_leader = self.connect(leader);
        let answer = at_leader.sync("/");
        self.answer("sync at the leader", answer.as_ref());
        let answer = there.create("/e", CreateMode::Ephemeral);
        self.answer("ephemeral", answer.as_ref());
        // A leader may come to it later than a follower, and a sync does not wait there.
        here.sync("/");
        here.get("/e", true);
        let answer = there.call(op::CLOSE_SESSION, &Empty);
        self.answer("close", answer.as_ref());
        let answer = here.sync("/");
        self.answer("its node is gone", answer.as_ref());
        // What stands behind a write is answered behind it.
        here.send(op::SET_DATA, &Raw(vec![0; 3]));
        here.send(op::PING, &Empty);
        here.send(op::CLOSE_SESSION, &Empty);
        while let Some(frame) = read_frame(&mut here.socket) {
            self.note("in order", &frame[..]);
        }
    }

    /// What cannot be an operation is refused in front of what is.
    fn refusals(&mut self) {
        let ([first, _], leader) = self.roles();
        let attempt = |member| {
            let mut client = self.connect(member);
            client.send_both((op::SET_DATA, &Raw(vec![0; 3])), (77, &Empty));
            let answer = client.receive();
            client.wait_for_end();
            answer
        };
        // A leader may be faster with the write, and on a busy machine a follower too.
        attempt(leader);
        let refused = |answer: &Answer| answer.err() == NOT_IMPLEMENTED;
        let answer = patiently(|| attempt(first).filter(refused));
        self.answer("refused", Some(&answer));
    }

    fn moves(&mut self) {
        let ([first, second], leader) = self.roles();
        let mut old = self.connect(first);
        let mut new = self.back(second, &old, 0);
        let is_same = new.session.session_id == old.session.session_id;
        self.note("the session moves", is_same);
        let answer = old.sync("/").map(|it| it.err());
        self.note("a follower does not know", answer);
        let answer = old.get("/a", false).map(|it| it.err());
        self.note("and serves reads", answer);
        let answer = old.set("/a", b"y");
        self.answer("but no write", answer.as_ref());
        let answer = new.set("/a", b"z");
        self.answer("which took a number", answer.as_ref());

        let mut old = self.connect(leader);
        let mut new = self.back(second, &old, 0);
        let answer = old.ping();
        self.answer("a leader knows", answer.as_ref());
        let answer = new.ping();
        self.note("the new one lives", answer.map(|it| it.err()));

        let mut old = self.connect(first);
        let mut new = self.back(second, &old, 0);
        let answer = old.call(op::CLOSE_SESSION, &Empty);
        self.note("an old one can close", answer.map(|it| it.err()));
        new.wait_for_end();
        let gone = self.back(first, &new, 0);
        self.note(
            "for all",
            (gone.session.timeout_ms, gone.session.session_id),
        );

        let mut client = self.connect(first);
        let zxid = client.set("/a", b"").unwrap().header.zxid;
        let ahead = client.again(zxid + 100);
        let refused = Client::with(self.members.addr(second), &ahead).is_none();
        self.note("who has seen more is refused", refused);
        let mut stranger = client.again(0);
        stranger.password = SessionPassword::NONE;
        let refused = Client::with(self.members.addr(second), &stranger);
        self.note("a stranger", refused.map(|it| it.session.timeout_ms));
        let answer = client.set("/a", b"");
        self.answer("does not disturb the session elsewhere", answer.as_ref());
    }

    fn a_leader_dies(&mut self) {
        let ([first, _], leader) = self.roles();
        let mut client = self.connect(first);
        let seen = client.create("/f", CreateMode::Ephemeral).unwrap();
        self.answer("before", Some(&seen));
        self.members.kill(leader);
        client.wait_for_end();
        let words = patiently(|| {
            let word = |word| ask(self.members.addr(first), word);
            let words = ["ruok", "isro", "srvr", "mntr"].map(word);
            let all = ["srvr", "mntr", "ruok"].map(word);
            // Either it goes on already, or all are of the same time.
            let is_serving = |answer: &String| answer.contains("Mode");
            match (is_serving(&words[2]), is_serving(&all[0])) {
                (false, false) => Some(Some(words)),
                (true, _) => Some(None),
                _ => None,
            }
        });
        if let Some(words) = words {
            let expected = ["imok", "null", NOT_SERVING, NOT_SERVING];
            assert_eq!(words, expected);
        }
        let mut client = self.back(first, &client, seen.header.zxid);
        let answer = client.get("/f", false).unwrap();
        self.note("its node is there", answer.last_stat().num_children);
        let answer = client.set("/f", b"");
        self.answer("the first of the second epoch", answer.as_ref());
        self.members.start_again();
        let (followers, _) = self.roles();
        self.note("they are three", followers.len());
        let mut late = self.connect(leader);
        late.sync("/");
        let answer = late.get("/f", false).unwrap();
        let stat = answer.last_stat();
        self.note("it has caught up", (stat.mzxid, stat.version));
    }

    /// What a session was granted when it was taken up again stands in no history.
    fn another_dies_with_what_it_has_granted(&mut self) {
        let ([first, second], leader) = self.roles();
        let addr = self.members.addr(second);
        let mut client = patiently(|| grant_more(addr, "/g"));
        self.members.kill(leader);
        client.wait_for_end();
        patiently(|| {
            let client = Client::with(self.members.addr(first), &new_session(10_000));
            client?.get("/g", false).filter(|answer| answer.err() != 0)
        });
    }
}

const NOT_IMPLEMENTED: i32 = -6;

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// The text of the configuration, without its ports.
fn masked(answer: &Answer) -> String {
    let body = answer.body();
    let text = homing_protocol::Reader::new(&body).buffer("data").unwrap();
    let text = String::from_utf8(text.unwrap_or_default().to_vec()).unwrap();
    let mask = |line: &str| match line.starts_with("server") {
        false => line.to_owned(),
        true => {
            let parts: Vec<_> = line.split(':').map(mask_port).collect();
            parts.join(":")
        }
    };
    text.lines().map(mask).collect::<Vec<_>>().join(" ")
}

fn mask_port(part: &str) -> String {
    match part.parse::<u16>() {
        Ok(_) => "PORT".into(),
        Err(_) => part.into(),
    }
}

/// As a real ensemble is set for tests.
fn set(config: &mut ServerConfig) {
    config.four_letter_words = vec!["*".into()];
    config.max_session_timeout = Some(Duration::from_secs(600));
    config.reconfig_enabled = true;
}

#[test]
fn clients_see_the_same_of_a_fake_ensemble_as_of_a_real_one() {
    let fake = FakeEnsemble::builder()
        .config(set)
        .election_time(Duration::from_millis(500))
        .start()
        .unwrap();
    let seen = Vec::new();
    let members = fake;
    let fake = Script { members, seen }.run();
    assert!(fake.len() > 40);
    if real::requirement().is_none() {
        return;
    }
    // On a busy machine members wait for each other; who is killed is missed at once.
    let each = ZooKeeper::builder()
        .property("maxSessionTimeout", "600000")
        .property("syncLimit", "120");
    let members = Ensemble::builder().each(each).start().unwrap();
    let seen = Vec::new();
    let real = Script { members, seen }.run();
    let pairs = fake.iter().zip(&real);
    let differ: Vec<_> = pairs.filter(|(fake, real)| fake != real).collect();
    assert!(differ.is_empty(), "fake and real: {differ:#?}");
    assert_eq!(fake.len(), real.len());
}
