//! While the server is read-only: another one is sought that takes writes.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use homing_transport::{Action, Asked};

use super::connecting::probe;
use super::{Phase, Session};
use crate::connect_string::Server;
use crate::timeouts;

/// The search for a server that takes writes, in rounds over all others.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// When the next round begins, or the server that is asked has taken too long; `None` while
    /// nothing is sought.
    until: Option<Instant>,
    /// How long the pause is before the next round.
    pause: Duration,
    /// Who is asked at present.
    asked: Option<Server>,
    /// Who takes writes, and is gone to as soon as that disturbs nobody.
    found: Option<(Server, SocketAddr)>,
    /// Who is left in this round.
    left: VecDeque<Server>,
}

/// What servers are asked. It is a word of the four-letter kind, and servers that can be
/// read-only answer it whatever else they are set to.
const QUESTION: &[u8] = b"isro";
const ANSWER_LEN_MAX: usize = 64;

impl Session {
    /// A connection has begun: begins or ends the search.
    pub(super) fn seek_writable(&mut self, now: Instant, is_read_only: bool) {
        self.search = Search {
            until: is_read_only.then(|| now + timeouts::PROBE_PAUSE_MIN),
            pause: timeouts::PROBE_PAUSE_MIN,
            ..Search::default()
        };
    }

    /// Asks the next server when it is time.
    pub(super) fn check_search(&mut self, now: Instant) {
        let Phase::Connected(link) = &self.phase else {
            return;
        };
        if link.leave_by.is_some() || self.search.until.is_none_or(|until| until > now) {
            return;
        }
        if self.search.asked.take().is_none()
            && self.search.left.is_empty()
            && let Some(current) = &self.server
        {
            self.search.left = self.hosts.others(current).into();
        }
        self.ask_next(now);
    }

    fn ask_next(&mut self, now: Instant) {
        let Some(server) = self.search.left.pop_front() else {
            self.search.until = Some(now + self.search.pause);
            self.search.pause = (self.search.pause * 2).min(timeouts::PROBE_PAUSE_MAX);
            return;
        };
        let question = probe(&self.secure, &server, (QUESTION, ANSWER_LEN_MAX));
        self.actions.push_back(Action::Ask(question));
        self.search.asked = Some(server);
        self.search.until = Some(now + timeouts::PROBE_MAX);
    }

    pub(super) fn handle_asked(&mut self, now: Instant, answer: io::Result<Asked>) {
        if !matches!(self.phase, Phase::Connected(_)) {
            return;
        }
        let Some(server) = self.search.asked.take() else {
            return;
        };
        match answer {
            Ok(Asked { address, answer }) if answer == b"rw" => {
                self.search.until = None;
                self.leave_within(now, timeouts::MOVE_MAX);
                self.found_writable(server, address);
            }
            _ => self.ask_next(now),
        }
    }

    /// The server is the next to be dialled, once this one is left.
    fn found_writable(&mut self, server: Server, address: SocketAddr) {
        self.span
            .in_scope(|| tracing::info!("{server} takes writes"));
        self.search.found = Some((server, address));
    }

    /// This server is left: the one that was found is next.
    pub(super) fn go_to_writable(&mut self) {
        if let Some((server, address)) = self.search.found.take() {
            self.server = Some(server);
            self.addresses = VecDeque::from([address]);
        }
    }

    /// When there is something to do about it.
    pub(super) fn search_until(&self) -> Option<Instant> {
        let Phase::Connected(link) = &self.phase else {
            return None;
        };
        self.search.until.filter(|_| link.leave_by.is_none())
    }
}
