//! Random operations, against a model that is too simple to be wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing_transport::{
    Admission, Fate, Limits, Outbox, Outgoing, Permit, Queue, Refused, Request, Ticket,
};
use proptest::prelude::*;

use crate::support::{Bell, base};

/// A request's number, which is its note.
type Id = u32;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Reply(Id),
    Lost(Id),
    Overdue(Id, Fate),
    Ended(Id, Fate),
}

/// What can happen. A number `pick` means one of those there are, counted round.
#[derive(Debug, Clone)]
enum Op {
    Submit { len: usize, within: Option<u64> },
    DropTicket { pick: usize },
    Wait { len: usize },
    PollAdmission { pick: usize },
    DropAdmission { pick: usize },
    UsePermit { pick: usize },
    DropPermit { pick: usize },
    Sleep { ms: u64 },
    DropAlarm { pick: usize },
    Turn { ms: u64 },
    Take,
    Control { len: usize },
    Write { len: usize },
    Reply,
    Connect,
    Lose,
    Seal { len: usize },
    BeginEra,
    End,
}

fn op() -> impl Strategy<Value = Op> {
    let len = || 1..=6_usize;
    let pick = || 0..64_usize;
    prop_oneof![
        12 => (len(), prop::option::of(0..40_u64))
            .prop_map(|(len, within)| Op::Submit { len, within }),
        4 => pick().prop_map(|pick| Op::DropTicket { pick }),
        4 => len().prop_map(|len| Op::Wait { len }),
        4 => pick().prop_map(|pick| Op::PollAdmission { pick }),
        2 => pick().prop_map(|pick| Op::DropAdmission { pick }),
        3 => pick().prop_map(|pick| Op::UsePermit { pick }),
        1 => pick().prop_map(|pick| Op::DropPermit { pick }),
        2 => (0..40_u64).prop_map(|ms| Op::Sleep { ms }),
        1 => pick().prop_map(|pick| Op::DropAlarm { pick }),
        6 => (0..25_u64).prop_map(|ms| Op::Turn { ms }),
        6 => Just(Op::Take),
        2 => len().prop_map(|len| Op::Control { len }),
        8 => (0..12_usize).prop_map(|len| Op::Write { len }),
        8 => Just(Op::Reply),
        2 => Just(Op::Connect),
        3 => Just(Op::Lose),
        1 => len().prop_map(|len| Op::Seal { len }),
        1 => Just(Op::BeginEra),
        1 => Just(Op::End),
    ]
}

/// A request in the model's line.
struct Entry {
    id: Id,
    xid: i32,
    len: usize,
    due: Due,
    is_taken: bool,
}

#[derive(Clone, Copy)]
enum Due {
    Never,
    Within(Duration),
    At(Instant),
}

impl Due {
    fn stamp(&mut self, now: Instant) {
        if let Self::Within(duration) = *self {
            *self = Self::At(now + duration);
        }
    }

    /// Whether its time has come: surely, or perhaps, since nobody looks more often.
    fn passed(self, now: Instant) -> Passed {
        match self {
            Self::At(at) if at + Duration::from_millis(10) <= now => Passed::Surely,
            Self::At(at) if at <= now => Passed::Perhaps,
            _ => Passed::No,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Passed {
    No,
    Perhaps,
    Surely,
}

/// Who waits for room, or has got it.
struct Waiter {
    admission: Admission<Id, Answer>,
    bell: Arc<Bell>,
    key: usize,
    len: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Sealed,
    Ended,
}

/// The queue, and beside it what should be true of it.
struct Both {
    queue: Arc<Queue<Id, Answer>>,
    outbox: Outbox<Answer>,
    out: Outgoing,
    tickets: BTreeMap<Id, Ticket<Answer>>,
    waiters: Vec<Waiter>,
    permits: Vec<Permit<Id, Answer>>,
    alarms: Vec<(Ticket<()>, Due)>,

    now: Instant,
    limits: Limits,
    gate: Gate,
    /// What the queue was sealed with.
    last: Option<Id>,
    next_id: Id,
    next_xid: i32,
    line: VecDeque<Entry>,
    /// The bytes of this connection, each with the request that it belongs to, if to one.
    wire: Vec<(u8, Option<Id>)>,
    written: usize,
    answers: BTreeMap<Id, Answer>,
    /// The keys of those who wait for room, and for how much; `true` once they have it.
    room: VecDeque<(usize, usize)>,
    granted: BTreeMap<usize, Result<(), Refused>>,
    next_key: usize,
    /// Room that was given and is in no request.
    permitted: (usize, usize),
}

fn byte(id: Id, index: usize) -> u8 {
    u8::try_from((id as usize * 7 + index) % 251).unwrap()
}

impl Both {
    fn new(limits: Limits, first_xid: i32) -> Self {
        Self {
            queue: Arc::new(Queue::with_first_xid(limits, first_xid)),
            outbox: Outbox::new(),
            out: Outgoing::new(),
            tickets: BTreeMap::new(),
            waiters: Vec::new(),
            permits: Vec::new(),
            alarms: Vec::new(),
            now: base(),
            limits,
            gate: Gate::Open,
            last: None,
            next_id: 0,
            next_xid: first_xid,
            line: VecDeque::new(),
            wire: Vec::new(),
            written: 0,
            answers: BTreeMap::new(),
            room: VecDeque::new(),
            granted: BTreeMap::new(),
            next_key: 0,
            permitted: (0, 0),
        }
    }

    // What the model knows.

    fn used(&self) -> (usize, usize) {
        let bytes: usize = self.line.iter().map(|entry| entry.len).sum();
        (self.line.len() + self.permitted.0, bytes + self.permitted.1)
    }

    fn has_room(&self, len: usize) -> bool {
        let (requests, bytes) = self.used();
        requests == 0 || (requests < self.limits.requests && bytes + len <= self.limits.bytes)
    }

    fn refused(&self) -> Option<Refused> {
        match self.gate {
            Gate::Open => None,
            Gate::Sealed => Some(Refused::Sealed),
            Gate::Ended => Some(Refused::Ended),
        }
    }

    fn is_awaited(&self, id: Id) -> bool {
        self.tickets.contains_key(&id) && !self.answers.contains_key(&id)
    }

    /// The last request leaves even if nobody waits for its answer.
    fn is_wanted(&self, id: Id) -> bool {
        self.last == Some(id) || self.is_awaited(id)
    }

    fn answer(&mut self, id: Id, answer: Answer) {
        self.answers.entry(id).or_insert(answer);
    }

    fn give_room(&mut self) {
        while let Some((key, len)) = self.room.front().copied()
            && self.has_room(len)
        {
            self.room.pop_front();
            self.permitted.0 += 1;
            self.permitted.1 += len;
            self.granted.insert(key, Ok(()));
        }
    }

    fn give_back_room(&mut self, len: usize) {
        if self.gate != Gate::Ended {
            self.permitted.0 -= 1;
            self.permitted.1 -= len;
            self.give_room();
        }
    }

    fn refuse_room(&mut self, refused: Refused) {
        for (key, _) in self.room.drain(..) {
            self.granted.insert(key, Err(refused));
        }
    }

    fn keep_waiting_if(&mut self, keep: impl Fn(&Self, Id) -> bool) {
        let line = std::mem::take(&mut self.line);
        self.line = line
            .into_iter()
            .filter(|entry| entry.is_taken || keep(self, entry.id))
            .collect();
        self.give_room();
    }

    /// Puts an entry into the model's line.
    fn push(&mut self, len: usize, within: Option<Duration>) -> Id {
        let id = self.next_id;
        self.next_id += 1;
        self.line.push_back(Entry {
            id,
            xid: self.next_xid,
            len,
            due: within.map_or(Due::Never, Due::Within),
            is_taken: false,
        });
        self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
        id
    }

    // What happens, on both sides.

    fn request(&self, len: usize, within: Option<Duration>) -> Request<Id> {
        Request {
            len,
            within,
            note: self.next_id,
        }
    }

    /// Writes a request's bytes, and checks its xid.
    fn encode(&self, len: usize) -> impl FnOnce(i32, &mut BytesMut) + use<> {
        let (id, expected) = (self.next_id, self.next_xid);
        move |xid, out| {
            assert_eq!(xid, expected);
            out.extend((0..len).map(|index| byte(id, index)));
        }
    }

    fn carry_out(&mut self, op: &Op) {
        match *op {
            Op::Submit { len, within } => self.submit(len, within.map(Duration::from_millis)),
            Op::DropTicket { pick } => {
                let id = round(self.tickets.len(), pick)
                    .and_then(|at| self.tickets.keys().nth(at).copied());
                if let Some(id) = id {
                    self.check_answer(id);
                    self.tickets.remove(&id);
                }
            }
            Op::Wait { len } => self.wait(len),
            Op::PollAdmission { pick } => {
                if let Some(at) = round(self.waiters.len(), pick) {
                    self.poll_admission(at);
                }
            }
            Op::DropAdmission { pick } => {
                if let Some(at) = round(self.waiters.len(), pick) {
                    self.drop_admission(at);
                }
            }
            Op::UsePermit { pick } => {
                if let Some(at) = round(self.permits.len(), pick) {
                    self.use_permit(at);
                }
            }
            Op::DropPermit { pick } => {
                if let Some(at) = round(self.permits.len(), pick) {
                    let permit = self.permits.swap_remove(at);
                    let len = permit.len();
                    drop(permit);
                    self.give_back_room(len);
                }
            }
            Op::Sleep { ms } => {
                let duration = Duration::from_millis(ms);
                self.alarms
                    .push((self.queue.sleep(duration), Due::Within(duration)));
            }
            Op::DropAlarm { pick } => {
                if let Some(at) = round(self.alarms.len(), pick) {
                    drop(self.alarms.swap_remove(at));
                }
            }
            Op::Turn { ms } => self.turn(ms),
            Op::Take => {
                self.queue.take_into(&mut self.out);
                for entry in self.line.iter_mut().filter(|entry| !entry.is_taken) {
                    entry.is_taken = true;
                    let bytes = (0..entry.len).map(|index| byte(entry.id, index));
                    self.wire.extend(bytes.map(|byte| (byte, Some(entry.id))));
                }
            }
            Op::Control { len } => {
                self.out
                    .put_control(|out| out.extend((0..len).map(|_| 255)));
                self.wire.extend((0..len).map(|_| (255, None)));
            }
            Op::Write { len } => {
                let len = len.min(self.wire.len() - self.written);
                self.out.advance(len);
                self.written += len;
            }
            Op::Reply => self.reply(),
            Op::Connect => {
                self.queue.forget_dropped(&mut self.outbox);
                self.keep_waiting_if(Self::is_wanted);
            }
            Op::Lose => self.lose(),
            Op::Seal { len } => self.seal(len),
            Op::BeginEra => {
                self.lose();
                self.begin_era();
            }
            Op::End => self.end(),
        }
    }

    fn submit(&mut self, len: usize, within: Option<Duration>) {
        let result = self
            .queue
            .try_submit(self.request(len, within), self.encode(len));
        let expected = match self.refused() {
            None if !self.room.is_empty() || !self.has_room(len) => Some(Refused::Busy),
            refused => refused,
        };
        match (result, expected) {
            (Ok(ticket), None) => {
                let id = self.push(len, within);
                self.tickets.insert(id, ticket);
            }
            (result, expected) => assert_eq!(result.err(), expected),
        }
    }

    fn wait(&mut self, len: usize) {
        let key = self.next_key;
        self.next_key += 1;
        self.waiters.push(Waiter {
            admission: self.queue.admission(len, None),
            bell: Bell::new(),
            key,
            len,
        });
        match self.refused() {
            Some(refused) => drop(self.granted.insert(key, Err(refused))),
            None => {
                self.room.push_back((key, len));
                if self.room.len() == 1 {
                    self.give_room();
                }
            }
        }
    }

    fn poll_admission(&mut self, at: usize) {
        let waiter = &mut self.waiters[at];
        let polled = waiter.bell.poll(&mut waiter.admission);
        match (polled, self.granted.remove(&waiter.key)) {
            (Poll::Pending, None) => return,
            (Poll::Ready(Ok(permit)), Some(Ok(()))) => {
                assert_eq!(permit.len(), waiter.len);
                self.permits.push(permit);
            }
            (Poll::Ready(Err(refused)), Some(Err(expected))) => assert_eq!(refused, expected),
            (polled, expected) => panic!("{polled:?} in place of {expected:?}"),
        }
        drop(self.waiters.swap_remove(at));
    }

    fn drop_admission(&mut self, at: usize) {
        let Waiter { key, len, .. } = self.waiters.swap_remove(at);
        self.room.retain(|(other, _)| *other != key);
        if self.granted.remove(&key) == Some(Ok(())) {
            self.give_back_room(len);
        }
        self.give_room();
    }

    fn use_permit(&mut self, at: usize) {
        let permit = self.permits.swap_remove(at);
        let len = permit.len();
        let result = self
            .queue
            .submit(permit, self.request(len, None), self.encode(len));
        match (result, self.refused()) {
            (Ok(ticket), None) => {
                let id = self.push(len, None);
                self.permitted.0 -= 1;
                self.permitted.1 -= len;
                self.tickets.insert(id, ticket);
            }
            (result, expected) => {
                assert_eq!(result.err(), expected);
                self.give_back_room(len);
            }
        }
    }

    fn turn(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        let turn = self
            .queue
            .begin_turn(self.now, &mut self.outbox, |id, fate| {
                Answer::Overdue(*id, fate)
            });
        assert_eq!(turn.sealed.is_some(), self.gate == Gate::Sealed);
        let timeout = self.queue.poll_timeout();
        assert!(timeout.is_none_or(|at| at > self.now), "a busy loop");

        let mut any_waiting = false;
        for index in 0..self.line.len() {
            let entry = &mut self.line[index];
            entry.due.stamp(self.now);
            let (id, passed) = (entry.id, entry.due.passed(self.now));
            let fate = if entry.is_taken {
                Fate::MaybeApplied
            } else {
                Fate::NotSent
            };
            if !self.is_awaited(id) {
                continue;
            }
            let is_answered = format!("{:?}", self.tickets[&id]) == "Ticket(answered)";
            match passed {
                Passed::No => assert!(!is_answered, "{id} was ended too early"),
                Passed::Surely => assert!(is_answered, "{id} is overdue"),
                Passed::Perhaps => {}
            }
            if is_answered {
                any_waiting |= fate == Fate::NotSent;
                self.answer(id, Answer::Overdue(id, fate));
            } else if let Due::At(at) = self.line[index].due {
                let latest = at.max(self.now + Duration::from_millis(10));
                assert!(timeout.is_some_and(|timeout| timeout <= latest));
            }
        }
        if any_waiting {
            self.keep_waiting_if(Self::is_wanted);
        }
        let ended = self.gate == Gate::Ended;
        self.alarms.retain_mut(|(alarm, due)| {
            due.stamp(self.now);
            let rings = alarm.try_pull().is_some();
            match due.passed(self.now) {
                Passed::No => assert_eq!(rings, ended, "an alarm rang too early"),
                Passed::Surely => assert!(rings, "an alarm did not ring"),
                Passed::Perhaps => {}
            }
            !rings
        });
    }

    fn reply(&mut self) {
        let (head, popped) = self.queue.dispatch(&mut self.outbox, |line| {
            let head = line.head().map(|(xid, id)| (xid, *id));
            let answer = Answer::Reply(head.map_or(0, |(_, id)| id));
            (head, line.pop(answer))
        });
        let first = self.line.front().filter(|entry| entry.is_taken);
        assert_eq!(head, first.map(|entry| (entry.xid, entry.id)));
        assert_eq!(popped, first.map(|entry| entry.id));
        if let Some(id) = popped {
            self.line.pop_front();
            self.answer(id, Answer::Reply(id));
            self.give_room();
        }
    }

    fn lose(&mut self) {
        let unsent = std::mem::take(&mut self.out);
        self.queue
            .give_back(&unsent, &mut self.outbox, |id| Answer::Lost(*id));
        let is_begun = |id| {
            let written = self.wire.iter().take(self.written);
            written.clone().any(|(_, owner)| *owner == Some(id))
        };
        let (lost, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.line)
            .into_iter()
            .partition(|entry| entry.is_taken && is_begun(entry.id));
        self.line = kept;
        self.line
            .iter_mut()
            .for_each(|entry| entry.is_taken = false);
        for entry in lost {
            self.answer(entry.id, Answer::Lost(entry.id));
        }
        self.wire.clear();
        self.written = 0;
        self.keep_waiting_if(Self::is_wanted);
    }

    fn seal(&mut self, len: usize) {
        let request = self.request(len, None);
        let ticket = self
            .queue
            .seal(Duration::from_secs(1), request, self.encode(len));
        assert_eq!(ticket.is_some(), self.gate == Gate::Open);
        if let Some(ticket) = ticket {
            self.gate = Gate::Sealed;
            let id = self.push(len, None);
            self.last = Some(id);
            self.tickets.insert(id, ticket);
            self.refuse_room(Refused::Sealed);
        }
    }

    /// Without a connection: what was not sent ends with the old era, and permits outlive it.
    fn begin_era(&mut self) {
        let begun = self
            .queue
            .begin_era(&mut self.outbox, |id, fate| Answer::Ended(*id, fate));
        assert_eq!(begun, self.gate == Gate::Open);
        if begun {
            for entry in std::mem::take(&mut self.line) {
                self.answer(entry.id, Answer::Ended(entry.id, Fate::NotSent));
            }
            self.refuse_room(Refused::Outdated);
        }
    }

    fn end(&mut self) {
        self.queue
            .end(&mut self.outbox, |id, fate| Answer::Ended(*id, fate));
        for entry in std::mem::take(&mut self.line) {
            let fate = if entry.is_taken {
                Fate::MaybeApplied
            } else {
                Fate::NotSent
            };
            self.answer(entry.id, Answer::Ended(entry.id, fate));
        }
        self.gate = Gate::Ended;
        self.permitted = (0, 0);
        self.refuse_room(Refused::Ended);
        for (alarm, _) in &mut self.alarms {
            assert_eq!(alarm.try_pull(), Some(()));
        }
        self.alarms.clear();
    }

    fn check(&self) {
        let usage = self.queue.usage();
        assert_eq!((usage.requests, usage.bytes), self.used());
        let unwritten = self.wire.iter().skip(self.written);
        let unwritten: Vec<_> = unwritten.map(|(byte, _)| *byte).collect();
        assert_eq!(self.out.pending(), unwritten);
        for (id, ticket) in &self.tickets {
            let is_answered = format!("{ticket:?}") == "Ticket(answered)";
            assert_eq!(is_answered, self.answers.contains_key(id), "{id}");
        }
    }

    /// Pulls an answer, if it should be there.
    fn check_answer(&mut self, id: Id) {
        let pulled = self.tickets.get_mut(&id).and_then(Ticket::try_pull);
        assert_eq!(pulled.as_ref(), self.answers.get(&id));
    }
}

/// Picks one of `len` things.
fn round(len: usize, pick: usize) -> Option<usize> {
    pick.checked_rem(len)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_queue_does_what_the_model_does(
        requests in 1..8_usize,
        bytes in 1..24_usize,
        first_xid in prop_oneof![Just(1), Just(i32::MAX - 3)],
        ops in prop::collection::vec(op(), 0..120),
    ) {
        let mut both = Both::new(Limits { requests, bytes }, first_xid);
        for op in &ops {
            both.carry_out(op);
            both.check();
        }
        both.end();
        both.check();
        let ids: Vec<_> = both.tickets.keys().copied().collect();
        for id in ids {
            both.check_answer(id);
        }
        for at in (0..both.waiters.len()).rev() {
            both.poll_admission(at);
        }
    }
}
