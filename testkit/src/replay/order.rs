//! In which order a server came to what several connections asked at the same time.
//!
//! Replies tell: a write has the number of its own transaction, and a read that of the last one
//! which it saw. Requests of several connections are put into that order, each behind the answers
//! to those before it, so that another server comes to them in the same one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::steps::{Action, Step};
use crate::decode::{Way, What};
use crate::operation::is_transaction;

/// When a server came to a request: behind which transaction, or as which. Reads that saw the
/// same one have no order among each other.
type Served = (i64, Rank);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Write,
    Read,
}

/// The same steps, each connection's in their order, and requests as the server came to them.
pub(super) fn as_served(steps: Vec<Step>) -> Vec<Step> {
    let mut schedule = Schedule::new(&steps);
    let order: Vec<usize> = std::iter::from_fn(|| schedule.next(&steps)).collect();
    let mut steps: Vec<_> = steps.into_iter().map(Some).collect();
    let in_order = order.into_iter().filter_map(|at| steps.get_mut(at)?.take());
    in_order.collect()
}

/// What is still to be put into order. Steps are known by their places.
struct Schedule {
    /// Of each connection, what comes next.
    connections: BTreeMap<u64, VecDeque<usize>>,
    /// When the server came to requests, where it can be told.
    served: BTreeMap<usize, Served>,
    /// The requests that replies answer.
    answers: BTreeMap<usize, usize>,
    /// Requests with a place in the server's order whose answers are still to come.
    unanswered: BTreeSet<(Served, usize)>,
    /// What clients are still to say.
    unsaid: BTreeSet<usize>,
}

impl Schedule {
    fn new(steps: &[Step]) -> Self {
        let mut schedule = Self {
            connections: BTreeMap::new(),
            served: BTreeMap::new(),
            answers: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            unsaid: BTreeSet::new(),
        };
        let mut asked: BTreeMap<u64, VecDeque<(i32, usize)>> = BTreeMap::new();
        for (at, step) in steps.iter().enumerate() {
            let line = schedule.connections.entry(step.connection).or_default();
            line.push_back(at);
            let asked = asked.entry(step.connection).or_default();
            schedule.note(at, step, asked);
        }
        schedule
    }

    fn note(&mut self, at: usize, step: &Step, asked: &mut VecDeque<(i32, usize)>) {
        let Action::Say(way, piece) = &step.action else {
            return;
        };
        if *way == Way::ToServer {
            self.unsaid.insert(at);
        }
        match piece.decoded().map(|decoded| decoded.what) {
            Some(What::Request { xid, .. }) => asked.push_back((xid, at)),
            Some(What::Reply { xid, zxid, op, .. }) => {
                let place = asked.iter().position(|(asked, _)| *asked == xid);
                let request = place.and_then(|place| asked.remove(place));
                // Neither pings nor authentications tell where they stand.
                if let (Some((_, request)), Some(op), 1..) = (request, op, zxid) {
                    let rank = match is_transaction(op) {
                        true => Rank::Write,
                        false => Rank::Read,
                    };
                    self.served.insert(request, (zxid, rank));
                    self.unanswered.insert(((zxid, rank), request));
                    self.answers.insert(at, request);
                }
            }
            _ => {}
        }
    }

    /// The next step: of those that may come now, the one that was recorded first.
    fn next(&mut self, steps: &[Step]) -> Option<usize> {
        let heads = self.connections.values().filter_map(|line| line.front());
        let may_come = heads.filter(|at| self.may_come(**at, steps)).min();
        let next = match may_come {
            Some(at) => *at,
            None => self.behind_what_is_served_next(steps)?,
        };
        let connection = steps.get(next)?.connection;
        let line = self.connections.get_mut(&connection)?;
        line.pop_front();
        if line.is_empty() {
            self.connections.remove(&connection);
        }
        self.unsaid.remove(&next);
        if let Some(request) = self.answers.get(&next)
            && let Some(served) = self.served.get(request)
        {
            self.unanswered.remove(&(*served, *request));
        }
        Some(next)
    }

    fn may_come(&self, at: usize, steps: &[Step]) -> bool {
        let Some(step) = steps.get(at) else {
            return false;
        };
        match &step.action {
            Action::Say(Way::ToServer, _) => match self.served.get(&at) {
                Some(served) => self.is_next_to_be_served(*served, step.connection, steps),
                None => true,
            },
            // What another connection said may have brought it about.
            Action::End(Way::ToClient) => self.is_all_said_before(at),
            Action::Say(Way::ToClient, piece) if piece.is_text() => self.is_all_said_before(at),
            Action::Say(Way::ToClient, piece) => match piece.decoded().map(|it| it.what) {
                Some(What::Event { .. }) => self.is_all_said_before(at),
                _ => true,
            },
            Action::Open | Action::End(Way::ToServer) => true,
        }
    }

    /// Whether the other connections have answers to all that the server came to before.
    fn is_next_to_be_served(&self, served: Served, connection: u64, steps: &[Step]) -> bool {
        let mut before = self
            .unanswered
            .iter()
            .take_while(|(other, _)| *other < served);
        before.all(|(_, at)| {
            steps
                .get(*at)
                .is_some_and(|step| step.connection == connection)
        })
    }

    fn is_all_said_before(&self, at: usize) -> bool {
        self.unsaid.first().is_none_or(|first| *first > at)
    }

    /// What stands before the request that the server comes to next: an event, for example, that
    /// was brought about by what has been said already.
    fn behind_what_is_served_next(&self, steps: &[Step]) -> Option<usize> {
        let next = self.unanswered.first().map(|(_, at)| *at);
        let connection = next
            .and_then(|at| steps.get(at))
            .map(|step| step.connection);
        let line = connection.and_then(|connection| self.connections.get(&connection));
        let any = || {
            self.connections
                .values()
                .filter_map(|line| line.front())
                .min()
        };
        line.and_then(|line| line.front()).or_else(any).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;
    use homing_protocol::{
        Delete, EventType, GetData, Record, ReplyHeader, RequestHeader, WatchedEvent, op,
        put_request, xid,
    };

    use super::as_served;
    use crate::decode::Way;
    use crate::recording::{Recorder, Recording};
    use crate::replay::steps;

    /// What happens on a connection, by its number.
    enum Told {
        Write(u64),
        Read(u64),
        /// The answer, with a transaction.
        Answer(u64, i64),
        Event(u64),
    }
    use Told::{Answer, Event, Read, Write};

    /// How it is played, one letter and one digit for each step: `w1 a1`.
    fn played(told: &[Told]) -> String {
        let mut recorder = Recorder::new();
        let mut entries = Vec::new();
        for connection in 1..=3 {
            // Handshakes of no content: whatever comes first is one.
            for way in [Way::ToServer, Way::ToClient] {
                let at = Duration::ZERO;
                entries.extend(recorder.bytes(at, connection, way, &[0, 0, 0, 0]));
            }
        }
        let handshakes = entries.len();
        for told in told {
            let (connection, way, frame) = encoded(told);
            entries.extend(recorder.bytes(Duration::ZERO, connection, way, &frame));
        }
        let recording: Recording = entries.into_iter().collect();
        let ordered = as_served(steps::of(&recording).unwrap());
        let shown = ordered.iter().skip(handshakes).map(|step| {
            let steps::Action::Say(_, piece) = &step.action else {
                panic!("nothing else was told");
            };
            let text = piece.to_string();
            let letter = match text {
                text if text.starts_with("event") => 'e',
                text if text.contains("zxid=") => 'a',
                text if text.contains("delete") => 'w',
                _ => 'r',
            };
            format!("{letter}{}", step.connection)
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    fn encoded(told: &Told) -> (u64, Way, BytesMut) {
        let mut frame = BytesMut::new();
        let path = "/a".into();
        let header = |op| RequestHeader { xid: 1, op };
        let (connection, way) = match *told {
            Write(connection) => {
                let body = Delete { path, version: 0 };
                put_request(&mut frame, header(op::DELETE), &body);
                (connection, Way::ToServer)
            }
            Read(connection) => {
                let body = GetData { path, watch: true };
                put_request(&mut frame, header(op::GET_DATA), &body);
                (connection, Way::ToServer)
            }
            Answer(connection, zxid) => {
                let (xid, err) = (1, -101);
                framed(&mut frame, &[&ReplyHeader { xid, zxid, err }]);
                (connection, Way::ToClient)
            }
            Event(connection) => {
                let (xid, zxid, err) = (xid::NOTIFICATION, -1, 0);
                let event = WatchedEvent {
                    kind: EventType::NodeDeleted,
                    path: "/a".into(),
                };
                framed(&mut frame, &[&ReplyHeader { xid, zxid, err }, &event]);
                (connection, Way::ToClient)
            }
        };
        (connection, way, frame)
    }

    fn framed(out: &mut BytesMut, records: &[&dyn Record]) {
        let len: usize = records.iter().map(|record| record.encoded_len()).sum();
        out.extend_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
        records.iter().for_each(|record| record.encode(out));
    }

    #[test]
    fn what_was_asked_in_turn_stays() {
        let told = [
            Write(1),
            Answer(1, 5),
            Read(2),
            Answer(2, 5),
            Write(1),
            Answer(1, 6),
        ];
        assert_eq!(played(&told), "w1 a1 r2 a2 w1 a1");
    }

    #[test]
    fn a_connection_s_own_requests_stay_together() {
        let told = [Write(1), Write(1), Answer(1, 5), Answer(1, 6)];
        assert_eq!(played(&told), "w1 w1 a1 a1");
    }

    #[test]
    fn a_read_that_saw_less_comes_before_the_write() {
        let told = [Write(1), Read(2), Answer(2, 4), Answer(1, 5)];
        assert_eq!(played(&told), "r2 a2 w1 a1");
        let told = [Read(2), Write(1), Answer(1, 5), Answer(2, 5)];
        assert_eq!(played(&told), "w1 a1 r2 a2");
    }

    #[test]
    fn writes_come_in_the_order_of_their_transactions() {
        let told = [
            Write(1),
            Write(2),
            Write(3),
            Answer(2, 6),
            Answer(3, 5),
            Answer(1, 7),
        ];
        assert_eq!(played(&told), "w3 a3 w2 a2 w1 a1");
    }

    #[test]
    fn an_event_waits_for_what_brings_it_about() {
        // The first write is put off until the second connection has read, and its event with it.
        let told = [Write(1), Event(3), Read(2), Answer(2, 4), Answer(1, 5)];
        assert_eq!(played(&told), "r2 a2 w1 e3 a1");
    }

    #[test]
    fn an_event_before_the_next_request_was_brought_about_by_something_else() {
        // The second connection's event cannot be of the write that waits for its read, but the
        // third one's can.
        let told = [
            Write(1),
            Event(2),
            Event(3),
            Read(2),
            Answer(2, 4),
            Answer(1, 5),
        ];
        assert_eq!(played(&told), "e2 r2 a2 w1 e3 a1");
    }
}
