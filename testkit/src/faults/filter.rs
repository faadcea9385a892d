//! One connection with its faults: bytes and time in, bytes and time out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::faults::frames::{Piece, Splitter, another, edit, storm};
use crate::faults::lane::{Due, Lane, Mark, Moment};
use crate::faults::plan::{Number, Place, Plan, Strike};
use crate::faults::rule::{Fault, TIME_MAX, Way};
use crate::faults::tracker::{Seen, Session, Tracker};

/// Frames up to this length are looked at as a whole.
const FRAME_MAX: usize = 16 << 20;

/// While one direction holds so much back, its source is not to be read.
const HELD_MAX: usize = 1 << 20;

/// What a filter lets pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Passed {
    Bytes(Bytes),
    /// This direction is over; the other one may go on.
    End,
}

/// What a fault wants done beside the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Close the connection, when what has passed before is delivered. Nothing passes any more.
    Cut,
    /// Reset it.
    Reset,
    /// End the session as somebody else would, then say [`errand_done`](Filter::errand_done).
    Expire(Session),
    /// Take it up as somebody else would, then say the same.
    Move(Session),
}

/// A connection between a client and a server, as its faults let it be.
///
/// Inputs are [`give`](Self::give), [`end`](Self::end) and [`handle_timeout`](Self::handle_timeout);
/// after each of them, take what comes out with [`poll`](Self::poll) and
/// [`poll_action`](Self::poll_action). The same inputs at the same times give the same outputs.
#[derive(Debug)]
pub(crate) struct Filter {
    plan: Arc<Plan>,
    number: Number,
    tracker: Tracker,
    to_server: Direction,
    to_client: Direction,
    /// With what is to be taken back where one is in vain.
    actions: VecDeque<(Action, Option<Strike>)>,
    /// That of the action which was polled last.
    strike: Option<Strike>,
    /// What has come in, if somebody wants to see it.
    seen: Option<VecDeque<(Way, Option<Piece>)>>,
    is_over: bool,
}

#[derive(Debug)]
struct Direction {
    splitter: Splitter,
    lane: Lane,
    /// Frames so far.
    frames: u64,
    /// A frame that lets the next one go first.
    held: Option<Bytes>,
    /// What every frame is delayed by: the rules that say so.
    delays: Vec<usize>,
    /// And without a rule.
    latency: Duration,
    /// At which byte which rule strikes next.
    marks: VecDeque<(u64, usize)>,
    passed: VecDeque<Passed>,
}

impl Direction {
    fn new(frame_max: usize) -> Self {
        Self {
            splitter: Splitter::new(frame_max),
            lane: Lane::new(),
            frames: 0,
            held: None,
            delays: Vec::new(),
            latency: Duration::ZERO,
            marks: VecDeque::new(),
            passed: VecDeque::new(),
        }
    }
}

impl Filter {
    /// A connection that has just been made.
    pub(crate) fn new(now: Instant, plan: &Arc<Plan>, request_len_max: Option<usize>) -> Self {
        let frame_max = request_len_max.unwrap_or(FRAME_MAX);
        let number = plan.next_connection();
        let mut filter = Self::idle(Tracker::default(), frame_max);
        filter.begin(now, plan, number);
        filter
    }

    /// One that has gone on for a while without: between two frames, either way. The session is
    /// known once the handshake is over.
    pub(crate) fn amid(
        now: Instant,
        plan: &Arc<Plan>,
        request_len_max: usize,
        session: Option<i64>,
    ) -> Self {
        let tracker = session.map_or_else(Tracker::default, Tracker::attached);
        let mut filter = Self::idle(tracker, request_len_max);
        filter.begin(now, plan, plan.earlier_connection());
        filter
    }

    fn idle(tracker: Tracker, frame_max: usize) -> Self {
        Self {
            plan: Arc::new(Plan::default()),
            number: Number::default(),
            tracker,
            to_server: Direction::new(frame_max),
            to_client: Direction::new(FRAME_MAX),
            actions: VecDeque::new(),
            strike: None,
            seen: None,
            is_over: false,
        }
    }

    /// Another script, from now on. What the old one holds back is let go.
    pub(crate) fn replace(&mut self, now: Instant, plan: &Arc<Plan>) {
        for way in [Way::ToServer, Way::ToClient] {
            let direction = self.direction(way);
            direction.lane.mend(now);
            direction.lane.entered = 0;
            direction.delays.clear();
            direction.frames = 0;
            if let Some(frame) = direction.held.take() {
                direction.lane.put(now, Due::Bytes(frame));
            }
        }
        self.begin(now, plan, plan.earlier_connection());
    }

    /// What every frame to the client is delayed by besides; a day at most, as by any fault. Those
    /// that are held back already wait no longer than that.
    pub(crate) fn latency(&mut self, now: Instant, latency: Duration) {
        self.to_client.latency = latency.min(TIME_MAX);
        self.to_client.lane.hasten(self.to_client.latency);
        self.release(now, Way::ToClient);
    }

    fn begin(&mut self, now: Instant, plan: &Arc<Plan>, number: Number) {
        self.plan = Arc::clone(plan);
        self.number = number;
        for way in [Way::ToServer, Way::ToClient] {
            self.direction(way).marks = plan.at_bytes(number, way).into();
        }
        for rule in plan.at_start(number) {
            let Some(line) = plan.lines.get(rule).filter(|line| line.is_left()) else {
                continue;
            };
            let direction = self.direction(line.way);
            if direction.lane.is_doomed() {
                continue;
            }
            match (&line.rule.fault, mark(rule, &line.rule.fault)) {
                (Fault::Delay(_), _) => direction.delays.push(rule),
                (_, Some(mark)) => direction.lane.put(now, Due::Mark(mark)),
                _ => continue,
            }
            line.strike();
        }
        self.handle_timeout(now);
    }

    /// Bytes have come from one side.
    pub(crate) fn give(&mut self, now: Instant, way: Way, bytes: &[u8]) {
        if self.is_over {
            return;
        }
        self.direction(way).splitter.give(bytes);
        while let Some(piece) = self.direction(way).splitter.next() {
            if let Some(seen) = &mut self.seen {
                seen.push_back((way, Some(piece.clone())));
            }
            match piece {
                Piece::Frame(frame) => self.frame(now, way, frame),
                Piece::Raw(bytes) => self.enter(now, way, bytes),
            }
        }
        self.release(now, way);
    }

    /// One side will say no more.
    pub(crate) fn end(&mut self, now: Instant, way: Way) {
        let direction = self.direction(way);
        let held = direction.held.take();
        let rest = direction.splitter.rest();
        if let Some(seen) = &mut self.seen {
            let rest = rest.clone().map(Piece::Raw);
            seen.extend(rest.map(|rest| (way, Some(rest))));
            seen.push_back((way, None));
        }
        for bytes in held.into_iter().chain(rest) {
            self.enter(now, way, bytes);
        }
        self.put(now, way, Mark::End);
        self.release(now, way);
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.release(now, Way::ToServer);
        self.release(now, Way::ToClient);
    }

    /// When time changes something; every other call may change the answer.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let dues = [&self.to_server, &self.to_client].map(|direction| direction.lane.next_due());
        dues.into_iter().flatten().min()
    }

    /// Whether nothing passes any more under this script, unless more comes in.
    pub(crate) fn is_stuck(&self) -> bool {
        self.poll_timeout().is_none() && !self.to_server.lane.is_held()
    }

    /// What passes next.
    pub(crate) fn poll(&mut self, way: Way) -> Option<Passed> {
        self.direction(way).passed.pop_front()
    }

    /// What is to be done next. What has passed before it is to be delivered first.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        let (action, strike) = self.actions.pop_front()?;
        self.strike = strike;
        Some(action)
    }

    /// The strike that the action which was polled last is, if it may turn out to be none.
    pub(crate) fn take_strike(&mut self) -> Option<Strike> {
        self.strike.take()
    }

    /// Keeps all that comes in, to be taken with [`poll_seen`](Self::poll_seen).
    pub(crate) fn observe(&mut self) {
        self.seen = Some(VecDeque::new());
    }

    /// What has come in, in its order and before any fault. Nothing is the end of this side.
    pub(crate) fn poll_seen(&mut self) -> Option<(Way, Option<Piece>)> {
        self.seen.as_mut()?.pop_front()
    }

    /// Whether there is something to be done.
    pub(crate) fn has_struck(&self) -> bool {
        !self.actions.is_empty()
    }

    /// The server has been spoken to.
    pub(crate) fn errand_done(&mut self, now: Instant) {
        self.to_server.lane.go_on();
        self.release(now, Way::ToServer);
    }

    /// How many bytes are held back.
    pub(crate) fn held(&self, way: Way) -> usize {
        let direction = match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        };
        direction.lane.len() + direction.held.as_ref().map_or(0, Bytes::len)
    }

    /// Whether the source of a direction is not to be read for now.
    pub(crate) fn is_full(&self, way: Way) -> bool {
        self.held(way) >= HELD_MAX
    }

    fn frame(&mut self, now: Instant, way: Way, frame: Bytes) {
        let seen = self.tracker.see(way, &frame);
        let connection = self.number;
        let plan = Arc::clone(&self.plan);
        let direction = self.direction(way);
        direction.frames += 1;
        let place = Place {
            connection,
            way,
            frame: direction.frames,
        };
        let delays = direction.delays.iter().map(|rule| plan.delay(*rule, place));
        let due = Moment {
            due: now + delays.sum::<Duration>(),
            latency: direction.latency,
        };
        // Behind an end there is nothing to be struck, or counted.
        let rules = match direction.lane.is_doomed() {
            true => Vec::new(),
            false => plan.at_frame(place, &seen),
        };
        let mut fate = Fate {
            frame: BytesMut::from(frame),
            copies: 1,
            due,
            is_reordered: false,
        };
        for rule in rules {
            let Some(line) = plan.lines.get(rule).filter(|line| line.is_left()) else {
                continue;
            };
            let has_struck = match mark(rule, &line.rule.fault) {
                _ if self.direction(way).lane.is_doomed() => false,
                Some(Mark::Expire(_)) if self.tracker.session.is_none() => false,
                // A handshake would take it back.
                Some(Mark::Move(_)) if !self.tracker.is_attached() => false,
                Some(mark) => {
                    self.direction(way).lane.put(fate.due, Due::Mark(mark));
                    true
                }
                None => match &line.rule.fault {
                    Fault::Storm { events, path } => {
                        self.enter(fate.due, way, storm(*events, path));
                        true
                    }
                    Fault::Delay(_) => {
                        fate.due.due += plan.delay(rule, place);
                        true
                    }
                    fault => fate.meet(fault, way, seen, plan.number(rule, place)),
                },
            };
            if has_struck {
                line.strike();
            }
        }
        self.finish(way, fate);
    }

    /// Sends a frame on, or lets the next one go first.
    fn finish(&mut self, way: Way, fate: Fate) {
        let before = self.direction(way).held.take();
        let frame = fate.frame.freeze();
        for _ in 0..fate.copies {
            if fate.is_reordered && before.is_none() && self.direction(way).held.is_none() {
                self.direction(way).held = Some(frame.clone());
            } else {
                self.enter(fate.due, way, frame.clone());
            }
        }
        if let Some(before) = before {
            self.enter(fate.due, way, before);
        }
    }

    /// Bytes take their place in the stream, and meet the faults that wait for them there.
    fn enter(&mut self, due: impl Into<Moment>, way: Way, bytes: Bytes) {
        let due = due.into();
        let plan = Arc::clone(&self.plan);
        let connection = self.number;
        let direction = self.direction(way);
        let mut bytes = bytes;
        while let Some((at, rule)) = direction.marks.front().copied()
            && !direction.lane.is_doomed()
        {
            let ahead = at.saturating_sub(direction.lane.entered);
            let Some(len) = usize::try_from(ahead)
                .ok()
                .filter(|len| *len <= bytes.len())
            else {
                break;
            };
            direction.marks.pop_front();
            let Some(line) = plan.lines.get(rule).filter(|line| line.is_left()) else {
                continue;
            };
            let mut before = BytesMut::from(bytes.split_to(len));
            if let Fault::Corrupt = line.rule.fault
                && let Some(byte) = before.last_mut()
            {
                let frame = direction.frames;
                let place = Place {
                    connection,
                    way,
                    frame,
                };
                *byte = another(*byte, plan.number(rule, place));
            }
            if !before.is_empty() {
                direction.lane.put(due, Due::Bytes(before.freeze()));
            }
            if let Some(mark) = mark(rule, &line.rule.fault) {
                direction.lane.put(due, Due::Mark(mark));
            }
            line.strike();
        }
        if !bytes.is_empty() {
            direction.lane.put(due, Due::Bytes(bytes));
        }
    }

    fn put(&mut self, now: Instant, way: Way, mark: Mark) {
        self.direction(way).lane.put(now, Due::Mark(mark));
    }

    /// Lets out what is due.
    fn release(&mut self, now: Instant, way: Way) {
        while let Some(due) = self.direction(way).lane.take(now) {
            match due {
                Due::Bytes(bytes) => self.pass(way, Passed::Bytes(bytes)),
                Due::Mark(Mark::End | Mark::HalfClose) => {
                    self.pass(way, Passed::End);
                    self.direction(way).lane.finish();
                }
                Due::Mark(Mark::Cut) => return self.finish_with(Action::Cut),
                Due::Mark(Mark::Reset) => return self.finish_with(Action::Reset),
                Due::Mark(Mark::Stall(time)) => self.stall(now, way, time),
                Due::Mark(Mark::Hang(time)) => {
                    self.stall(now, way, time);
                    self.stall(now, way.back(), time);
                }
                Due::Mark(Mark::Throttle(rate)) => self.direction(way).lane.throttle(rate),
                Due::Mark(Mark::Expire(rule)) => self.send_out(rule, Action::Expire),
                Due::Mark(Mark::Move(rule)) => self.send_out(rule, Action::Move),
            }
        }
    }

    fn pass(&mut self, way: Way, passed: Passed) {
        self.direction(way).passed.push_back(passed);
    }

    fn stall(&mut self, now: Instant, way: Way, time: Option<Duration>) {
        self.direction(way).lane.shut(time.map(|time| now + time));
    }

    /// Nothing passes any more.
    fn finish_with(&mut self, action: Action) {
        self.is_over = true;
        self.to_server.lane.finish();
        self.to_client.lane.finish();
        self.actions.push_back((action, None));
    }

    /// Somebody else speaks for the session. Meanwhile the client is not heard.
    fn send_out(&mut self, rule: usize, errand: impl FnOnce(Session) -> Action) {
        if let Some(session) = self.tracker.session {
            let strike = Strike::new(&self.plan, rule);
            self.actions.push_back((errand(session), Some(strike)));
            self.to_server.lane.hold();
        }
    }

    fn direction(&mut self, way: Way) -> &mut Direction {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}

/// What becomes of a frame.
struct Fate {
    frame: BytesMut,
    copies: usize,
    due: Moment,
    is_reordered: bool,
}

impl Fate {
    /// Meets a fault that is about this frame alone. Says whether that has changed anything.
    fn meet(&mut self, fault: &Fault, way: Way, seen: Seen, random: u64) -> bool {
        match fault {
            Fault::Drop => self.copies = 0,
            Fault::Duplicate => self.copies += 1,
            Fault::Reorder => self.is_reordered = true,
            fault => {
                let is_handshake = matches!(seen, Seen::Handshake { .. });
                let before = self.frame.clone();
                return edit(fault, &mut self.frame, way, is_handshake, random)
                    && self.frame != before;
            }
        }
        true
    }
}

/// A fault that is an event in the stream.
fn mark(rule: usize, fault: &Fault) -> Option<Mark> {
    match fault {
        Fault::Cut => Some(Mark::Cut),
        Fault::Reset => Some(Mark::Reset),
        Fault::HalfClose => Some(Mark::HalfClose),
        Fault::Hang(time) => Some(Mark::Hang(*time)),
        Fault::Stall(time) => Some(Mark::Stall(*time)),
        Fault::Throttle(rate) => Some(Mark::Throttle(*rate)),
        Fault::Expire => Some(Mark::Expire(rule)),
        Fault::Move => Some(Mark::Move(rule)),
        _ => None,
    }
}

impl Plan {
    /// The time by which a rule delays a frame.
    fn delay(&self, rule: usize, place: Place) -> Duration {
        let fault = self.lines.get(rule).map(|line| &line.rule.fault);
        let Some(Fault::Delay(range)) = fault else {
            return Duration::ZERO;
        };
        let spread = range.end().saturating_sub(*range.start());
        let spread = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX - 1);
        let extra = self.number(rule, place) % (spread + 1);
        *range.start() + Duration::from_nanos(extra)
    }
}
