//! Watches that stay, and questions about what has changed: every way in which a connection can
//! be lost, and every way in which the two meet one-shot watches.

mod common;

use std::cell::Cell;
use std::rc::Rc;

use common::*;
use homing_protocol::{EventType, op};
use homing_session::{
    Config, ConnectString, LastingWatch, Session, SessionEnd, WatchItem, WatchKind, WatchTicket,
};
use homing_testkit::sim::Sim;
use homing_testkit::{Server, ServerConfig};
use homing_transport::Ticket;

/// A session with a server that is set up like this, connected.
fn connected_to(configure: impl FnOnce(&mut ServerConfig)) -> World {
    let servers = "10.0.0.1".parse::<ConnectString>().unwrap().servers;
    let (session, shared) = Session::new(Config::new(servers));
    let mut config = ServerConfig::default();
    configure(&mut config);
    let sim = Sim::with_server(session, Server::new(config));
    let mut world = World { sim, shared };
    world.connect();
    world
}

fn fired(watch: &mut WatchTicket) -> Option<EventType> {
    watch.ticket.try_pull().map(|event| event.unwrap().kind)
}

/// Only so many more bytes arrive from the server.
fn let_through(world: &mut World, bytes: usize) -> Rc<Cell<usize>> {
    let left = Rc::new(Cell::new(bytes));
    let budget = Rc::clone(&left);
    world.sim.set_tamper(move |piece| {
        let len = budget.get().min(piece.len());
        budget.set(budget.get() - len);
        match len {
            0 => Vec::new(),
            _ => vec![piece.slice(..len)],
        }
    });
    left
}

/// Watches of all kinds while things change, with the connection lost after so many bytes of
/// what is told, and the one after it after so many of what it begins with. Returns whether the
/// two were lost.
fn run(first: usize, second: usize, side_by_side: bool) -> (bool, bool) {
    let mut world = connected_to(|config| config.watches_side_by_side = side_by_side);
    for path in ["/a", "/b", "/quiet"] {
        world.make(path);
    }
    let list = world.lasting("/a", false);
    let tree = world.lasting("/b", true);
    let mut data = world.armed(WatchKind::Data, "/a");
    let mut child = world.armed(WatchKind::Child, "/b");
    let mut made = world.armed(WatchKind::Exist, "/n");
    let mut quiet = world.armed(WatchKind::Data, "/quiet");
    let base = world.sim.server().last_zxid();

    let left = let_through(&mut world, first);
    world.set("/a");
    drop(world.create("/b/x", homing_protocol::CreateMode::Persistent));
    drop(world.create("/n", homing_protocol::CreateMode::Persistent));
    let (answer, question) = world.compare(&["/a", "/b", "/quiet"], base);
    world.set("/a");
    world.settle();
    let is_lost = left.get() == 0;
    let mut is_lost_again = false;
    let mut question = Some((answer, question));
    if is_lost {
        world.sim.cut();
        let left = let_through(&mut world, second);
        while left.get() > 0 && !world.is_connected() {
            assert!(world.sim.step());
        }
        is_lost_again = left.get() == 0;
        if is_lost_again {
            world.sim.cut();
        }
    }
    world.sim.set_tamper(|piece| vec![piece]);
    world.connect();
    world.settle();

    // Once and for all, by whichever connection.
    assert_eq!(fired(&mut data), Some(EventType::NodeDataChanged));
    assert_eq!(fired(&mut child), Some(EventType::NodeChildrenChanged));
    assert_eq!(fired(&mut made), Some(EventType::NodeCreated));
    assert_eq!(fired(&mut quiet), None);
    assert_eq!(world.shared.watches.armed(), 3);
    if let Some((mut answer, question)) = question.take()
        && let Some(Ok(reply)) = answer.try_pull()
    {
        assert_eq!(reply.err, 0);
        let changed: Vec<_> = question.answer();
        let paths: Vec<_> = changed.iter().map(|node| node.path.as_str()).collect();
        assert_eq!(paths, ["/a", "/b"]);
    }
    // Everybody still watches.
    world.set("/a");
    world.make("/b/y");
    world.set("/quiet");
    world.settle();
    assert_eq!(fired(&mut quiet), Some(EventType::NodeDataChanged));
    complete(
        &list,
        &[("/a", base + 1), ("/a", base + 4)],
        is_lost,
        "NodeDataChanged \"/a\"",
    );
    complete(
        &tree,
        &[("/b/x", base + 2)],
        is_lost,
        "NodeCreated \"/b/y\"",
    );

    // Nothing is left behind.
    world.forget_lasting(&list);
    world.forget_lasting(&tree);
    world.settle();
    world.settle();
    assert_eq!(world.shared.watches.armed(), 0);
    assert_eq!(world.shared.watches.report(), []);
    assert_eq!(world.sim.server().watch_count(), 0);
    assert_eq!(world.shared.queue.usage().requests, 0);
    (is_lost, is_lost_again)
}

/// Has told what there was, or that there is a gap; and `last` behind all that.
fn complete(watch: &LastingWatch, changes: &[(&str, i64)], is_lost: bool, last: &str) {
    let mut items = items(watch);
    assert_eq!(items.pop().unwrap().to_string(), last);
    let gap = items
        .iter()
        .position(|item| matches!(item, WatchItem::Gap(_)));
    assert_eq!(gap.is_some(), is_lost, "{items:?}");
    let before = gap.unwrap_or(items.len());
    assert_eq!(items.len(), before + usize::from(is_lost), "{items:?}");
    for (item, (path, _)) in items[..before].iter().zip(changes) {
        let WatchItem::Event(event) = item else {
            panic!("{item}");
        };
        assert_eq!(event.path, *path);
    }
    let due = match gap.map(|at| &items[at]) {
        Some(WatchItem::Gap(gap)) => changes
            .iter()
            .filter(|(_, zxid)| *zxid <= gap.last_zxid)
            .count(),
        _ => changes.len(),
    };
    assert!(before >= due && before <= changes.len(), "{items:?}");
}

#[test]
fn the_connection_is_lost_after_every_byte_of_what_is_told() {
    for side_by_side in [false, true] {
        let mut losses = 0;
        for bytes in 1.. {
            let (is_lost, _) = run(bytes, usize::MAX, side_by_side);
            if !is_lost {
                break;
            }
            losses += 1;
        }
        assert!(losses > 300, "{losses}");
    }
}

#[test]
fn the_next_connection_is_lost_after_every_byte_of_the_restoration() {
    for side_by_side in [false, true] {
        for first in [1, 60, 150, 250] {
            let mut losses = 0;
            for bytes in 0.. {
                let (is_lost, again) = run(first, bytes, side_by_side);
                assert!(is_lost);
                if !again {
                    break;
                }
                losses += 1;
            }
            assert!(losses > 70, "{losses}");
        }
    }
}

#[test]
fn a_gap_says_what_was_seen_and_when() {
    let mut world = connected();
    world.make("/a");
    let watch = world.lasting("/a", false);
    let zxid = world.sim.server().last_zxid();
    world.away(|other| other.set("/a"));
    let lost_at = world.sim.now();
    world.connect();
    let items = items(&watch);
    let [WatchItem::Gap(gap)] = items[..] else {
        panic!("{items:?}");
    };
    assert_eq!(gap.last_zxid, zxid);
    assert!(gap.lost_at <= lost_at && gap.lost_at + SECOND > lost_at);
}

#[test]
fn a_gap_is_in_its_place_before_it_is_said_that_the_session_is_connected() {
    let mut world = connected();
    let watch = world.lasting("/a", true);
    world.sim.cut();
    while !matches!(
        world.state(),
        homing_session::SessionState::Suspended { .. }
    ) {
        assert!(world.sim.step());
    }
    assert_eq!(told(&watch), [""; 0]);
    while !world.is_connected() {
        assert!(world.sim.step());
    }
    assert_eq!(items(&watch).len(), 1);
}

#[test]
fn what_one_shots_are_caught_up_with_is_not_told_to_what_stays() {
    let mut world = connected();
    world.make("/a");
    let stay = [world.lasting("/", true), world.lasting("/a", false)];
    let mut data = world.armed(WatchKind::Data, "/a");
    world.away(|other| other.set("/a"));
    world.connect();
    assert_eq!(fired(&mut data), Some(EventType::NodeDataChanged));
    for watch in &stay {
        let items = items(watch);
        assert!(matches!(items[..], [WatchItem::Gap(_)]), "{items:?}");
    }
}

/// A read that counts on a watch which stays, and which is gone when it comes to it.
fn orphan(change_in_between: bool) {
    let mut world = connected_to(|_| {});
    world.make("/a");
    let stays = world.lasting("/a", false);
    world
        .sim
        .set_behaviour(address(1), homing_testkit::sim::Behaviour::Refuse);
    world.sim.cut();
    world.settle();
    let (answer, mut data) = world.watch(WatchKind::Data, "/a");
    world.forget_lasting(&stays);
    world
        .sim
        .set_behaviour(address(1), homing_testkit::sim::Behaviour::Serve);
    let seen = Rc::new(Cell::new(0));
    // Right behind the read, and before the session can know that there is no watch.
    let set = change_in_between.then(|| world.set_and_see("/a"));
    let events = Rc::clone(&seen);
    world.sim.set_tamper(move |piece| {
        events.set(events.get() + usize::from(piece[4..8] == *b"\xff\xff\xff\xff"));
        vec![piece]
    });
    world.connect();
    world.settle();
    assert_eq!(reply(answer).err, 0);
    if let Some(set) = set {
        assert_eq!(reply(set).err, 0);
    } else {
        assert_eq!(fired(&mut data), None);
        assert_eq!(world.sim.server().watch_count(), 1, "it was set by itself");
        world.set("/a");
        world.settle();
    }
    assert_eq!(fired(&mut data), Some(EventType::NodeDataChanged));
    assert_eq!(seen.get(), 1);
    assert_eq!(world.shared.watches.armed(), 0);
    assert_eq!(world.sim.server().watch_count(), 0);
}

#[test]
fn a_one_shot_whose_server_watch_has_gone_is_set_by_itself() {
    orphan(false);
}

#[test]
fn a_one_shot_whose_server_watch_has_gone_misses_nothing() {
    orphan(true);
}

#[test]
fn what_a_late_watch_is_told_is_not_told_to_who_has_seen_it() {
    let mut world = connected_to(|_| {});
    world.make("/a");
    let stays = world.lasting("/a", false);
    world
        .sim
        .set_behaviour(address(1), homing_testkit::sim::Behaviour::Refuse);
    world.sim.cut();
    world.settle();
    let (first, mut late) = world.watch(WatchKind::Data, "/a");
    world.forget_lasting(&stays);
    let set = world.set_and_see("/a");
    let (second, mut newer) = world.watch(WatchKind::Data, "/a");
    world
        .sim
        .set_behaviour(address(1), homing_testkit::sim::Behaviour::Serve);
    world.connect();
    world.settle();
    for answer in [first, set, second] {
        assert_eq!(reply(answer).err, 0);
    }
    assert_eq!(fired(&mut late), Some(EventType::NodeDataChanged));
    assert_eq!(fired(&mut newer), None);
    world.set("/a");
    world.settle();
    assert_eq!(fired(&mut newer), Some(EventType::NodeDataChanged));
}

#[test]
fn half_an_answer_to_a_question_is_told_to_nobody() {
    let mut world = connected();
    world.make("/a");
    let base = world.sim.server().last_zxid();
    world.set("/a");
    world.settle();
    let mut data = world.armed(WatchKind::Data, "/a");
    let list = world.lasting("/a", false);
    // What the server tells arrives, and its reply does not.
    world.sim.set_tamper(|piece| match piece[4..8] {
        [0xff, 0xff, 0xff, 0xff] => vec![piece],
        _ => Vec::new(),
    });
    let (answer, _question) = world.compare(&["/a"], base);
    world.settle();
    world.sim.cut();
    world.sim.set_tamper(|piece| vec![piece]);
    world.connect();
    let cause = unanswered(answer).cause;
    assert!(matches!(cause, homing_session::Cause::Lost(_)), "{cause:?}");
    assert_eq!(fired(&mut data), None);
    let items = items(&list);
    assert!(matches!(items[..], [WatchItem::Gap(_)]), "{items:?}");
    world.set("/a");
    world.settle();
    assert_eq!(fired(&mut data), Some(EventType::NodeDataChanged));
}

#[test]
fn a_late_watch_is_set_even_if_the_connection_is_lost_first() {
    let mut world = connected_to(|_| {});
    world.make("/a");
    let stays = world.lasting("/a", false);
    world
        .sim
        .set_behaviour(address(1), homing_testkit::sim::Behaviour::Refuse);
    world.sim.cut();
    world.settle();
    let (answer, mut data) = world.watch(WatchKind::Data, "/a");
    world.forget_lasting(&stays);
    // A change that nobody tells, and that the session has seen.
    let set = world.set_and_see("/a");
    world
        .sim
        .set_behaviour(address(1), homing_testkit::sim::Behaviour::Serve);
    // The answer to what sets it is lost, with what it tells.
    world.sim.set_tamper(|piece| match piece[4..8] {
        [0xff, 0xff, 0xff, 0xff] => Vec::new(),
        _ => vec![piece],
    });
    while world.shared.queue.usage().requests > 1 || world.shared.watches.armed() == 0 {
        assert!(world.sim.step());
    }
    world.sim.cut();
    world.sim.set_tamper(|piece| vec![piece]);
    world.connect();
    world.settle();
    assert_eq!(reply(answer).err, 0);
    assert_eq!(reply(set).err, 0);
    assert_eq!(fired(&mut data), Some(EventType::NodeDataChanged));
}

#[test]
fn a_server_that_cannot_take_over_what_stays_ends_it() {
    let mut world = connected();
    world.make("/a");
    let stays = world.lasting("/a", true);
    let mut data = world.armed(WatchKind::Data, "/a");
    world.sim.server().forget_operation(op::SET_WATCHES2);
    world.sim.cut();
    world.connect();
    // It hangs up on what it does not know, and is not asked again.
    world.settle();
    world.connect();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Some(Err(end))) = stays.poll(&mut cx) else {
        panic!("it goes on");
    };
    assert!(end.to_string().contains("Unimplemented"), "{end}");
    world.set("/a");
    world.settle();
    assert_eq!(fired(&mut data), Some(EventType::NodeDataChanged));
    assert!(world.shared.status.stats().connections <= 4);
    assert_eq!(world.shared.watches.report(), []);
}

#[test]
fn the_end_of_the_session_is_told_to_what_stays() {
    let mut world = connected();
    let stays = world.lasting("/a", false);
    let id = world.session_id();
    world
        .sim
        .with_server_now(|server, now| assert!(server.expire_session(now, id)));
    let end = world.run_until_ended(SECOND);
    assert_eq!(end, SessionEnd::Expired { session_id: id });
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let told = stays.poll(&mut cx);
    let expected = homing_session::WatchEnd::Session(end);
    assert_eq!(told, std::task::Poll::Ready(Some(Err(expected))));
    assert_eq!(stays.poll(&mut cx), std::task::Poll::Ready(None));
}

#[test]
fn removals_are_few_at_a_time() {
    let mut world = connected_to(|_| {});
    let mut watches = Vec::new();
    for n in 0..1_000 {
        watches.push(world.watch(WatchKind::Exist, &format!("/{n}")).1);
    }
    world.settle();
    assert_eq!(world.sim.server().watch_count(), 1_000);
    watches.iter().for_each(|watch| world.forget(watch));
    let mut most = 0;
    while world.sim.server().watch_count() > 0 {
        assert!(world.sim.step());
        most = most.max(world.shared.queue.usage().requests);
    }
    assert_eq!(most, 256);
    world.settle();
    assert_eq!(world.shared.queue.usage().requests, 0);
}

#[test]
fn too_many_watches_are_not_refused() {
    let mut world = world_with("10.0.0.1", |config| config.watches_warn_above = 2);
    world.connect();
    let watches = ["/a", "/b", "/c", "/d"].map(|path| world.armed(WatchKind::Exist, path));
    assert_eq!(world.shared.watches.armed(), 4);
    drop(watches);
}

/// A number below `below` from a stream of them.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A one-shot watch in a random life.
struct Random {
    answer: Option<Ticket<homing_session::Answer>>,
    watch: WatchTicket,
    kind: WatchKind,
    path: &'static str,
    /// What its read has seen; `None` before the answer.
    seen: Option<i64>,
    fired: bool,
}

impl Random {
    fn look(&mut self, server: &Server) {
        if let Some(answer) = &mut self.answer {
            match answer.try_pull() {
                None => return,
                Some(Ok(reply)) => {
                    assert_eq!(reply.err, 0);
                    self.seen = Some(reply.zxid);
                }
                // Lost: nobody watches.
                Some(Err(_)) => {}
            }
            self.answer = None;
        }
        if let Some(event) = self.watch.ticket.try_pull() {
            assert_eq!(event.unwrap().path, self.path);
            assert!(!self.fired);
            self.fired = true;
            let seen = self.seen.expect("armed by an answer");
            let newest = newest(server, self.kind, self.path);
            assert!(
                newest > seen,
                "{:?} of {} at {seen}, {newest}",
                self.kind,
                self.path
            );
        }
    }
}

/// The newest change that a watch of the kind is told of. Nothing is deleted that is watched.
fn newest(server: &Server, kind: WatchKind, path: &str) -> i64 {
    let stat = server.node(path).unwrap().stat;
    match kind {
        WatchKind::Child => stat.pzxid,
        _ => stat.mzxid,
    }
}

/// Watches of all kinds are set and dropped, connections are lost, questions are asked and things
/// change, without waiting for each other. In the end, every one-shot watch has been told if and
/// only if there was a change after what its read has seen.
fn random_life(seed: u64, side_by_side: bool) {
    let mut world = connected_to(|config| config.watches_side_by_side = side_by_side);
    let mut dice = Dice(seed);
    const PATHS: [&str; 3] = ["/a", "/a/b", "/c"];
    for path in PATHS {
        world.make(path);
    }
    let (mut once, mut lasting) = (Vec::<Random>::new(), Vec::new());
    let mut children = 0;
    for _ in 0..dice.roll(60) + 20 {
        let path = PATHS[dice.roll(3) as usize];
        match dice.roll(14) {
            0..=3 => {
                let kinds = [WatchKind::Data, WatchKind::Exist, WatchKind::Child];
                let kind = kinds[dice.roll(3) as usize];
                let (answer, watch) = world.watch(kind, path);
                once.push(Random {
                    answer: Some(answer),
                    watch,
                    kind,
                    path,
                    seen: None,
                    fired: false,
                });
            }
            4 | 5 => {
                let (answer, watch) = world.watch_lasting(path, dice.roll(2) == 0);
                lasting.push((answer, watch));
            }
            6 if !lasting.is_empty() => {
                let which = dice.roll(lasting.len() as u64) as usize;
                let (_, watch) = lasting.swap_remove(which);
                world.forget_lasting(&watch);
            }
            7 if !once.is_empty() => {
                let which = dice.roll(once.len() as u64) as usize;
                world.forget(&once.swap_remove(which).watch);
            }
            8 | 9 => world.set(path),
            10 => {
                children += 1;
                let child = format!("{path}/{children}");
                drop(world.create(&child, homing_protocol::CreateMode::Persistent));
            }
            11 => {
                let since = world.sim.server().last_zxid() - dice.roll(5) as i64;
                drop(world.compare(&PATHS[..], since));
            }
            12 => world.sim.cut(),
            _ => {
                let micros = dice.roll(3_000);
                world.sim.run_for(std::time::Duration::from_micros(micros));
            }
        }
        once.iter_mut().for_each(|one| one.look(world.sim.server()));
    }
    world.connect();
    world.settle();
    world.settle();
    for one in &mut once {
        let server = world.sim.server();
        one.look(server);
        if let Some(seen) = one.seen {
            let newest = newest(server, one.kind, one.path);
            assert_eq!(
                one.fired,
                newest > seen,
                "{:?} of {} at {seen}, {newest}",
                one.kind,
                one.path
            );
        }
    }
    // Whatever has happened, everything works now.
    let mut last: Vec<_> = Vec::new();
    for path in PATHS {
        for kind in [WatchKind::Data, WatchKind::Child] {
            last.push(world.armed(kind, path));
        }
    }
    let armed = lasting.into_iter().filter_map(|(mut answer, watch)| {
        // The others have lost their connection before it was known.
        matches!(answer.try_pull(), Some(Ok(reply)) if reply.err == 0).then_some(watch)
    });
    let lasting: Vec<LastingWatch> = armed.collect();
    lasting.iter().for_each(|watch| drop(items(watch)));
    for path in PATHS {
        world.set(path);
        world.make(&format!("{path}/last"));
    }
    world.settle();
    assert!(last.iter_mut().all(|watch| fired(watch).is_some()));
    for watch in &lasting {
        let below = PATHS.iter().filter(|path| path.starts_with(&watch.path));
        let expected = match watch.recursive {
            // Set, and a child made: of each node.
            true => 2 * below.count(),
            false => 2,
        };
        let told = told(watch);
        assert_eq!(told.len(), expected, "{watch:?}: {told:?}");
    }
    // And nothing is left behind.
    lasting.iter().for_each(|watch| world.forget_lasting(watch));
    once.iter().for_each(|one| world.forget(&one.watch));
    world.settle();
    world.settle();
    assert_eq!(world.shared.watches.report(), []);
    assert_eq!(world.sim.server().watch_count(), 0);
    assert_eq!(world.shared.queue.usage().requests, 0);
}

#[test]
fn random_lives_lose_nothing_and_make_nothing_up() {
    for seed in 1..=150 {
        for side_by_side in [false, true] {
            let run =
                std::panic::AssertUnwindSafe(|| random_life(seed * 0x9e37_79b9, side_by_side));
            if let Err(panic) = std::panic::catch_unwind(run) {
                eprintln!("seed {seed}, side by side: {side_by_side}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}
