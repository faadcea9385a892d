//! Returning to a server that is preferred to the one that the session is at.
//!
//! The connection that there is is not given up on a mere hope: the preferred servers are asked
//! first, one after the other and each over a connection of its own, whether they serve.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use homing_transport::{Action, Asked};

use super::connecting::probe;
use super::{Phase, Session};
use crate::connect_string::Server;
use crate::timeouts;

/// Where a connection stands with that. It dies with the connection.
#[derive(Debug, Default)]
pub(crate) struct Return {
    /// When the preferred servers are asked, or the one that is asked has taken too long; `None`
    /// where the session has no reason to go.
    pub(crate) at: Option<Instant>,
    /// Who is asked at present.
    asked: Option<Server>,
    /// Who is left to be asked.
    left: VecDeque<Server>,
}

/// A word of the four-letter kind that servers answer unless they are set not to.
const QUESTION: &[u8] = b"srvr";
/// Its answer has some 200 bytes.
const ANSWER_LEN_MAX: usize = 4 << 10;

impl Session {
    /// Plans when to return, or not to.
    pub(super) fn plan_return(&mut self, now: Instant) {
        let (Phase::Connected(link), Some(server)) = (&mut self.phase, &self.server) else {
            return;
        };
        if link.read_only {
            // Any server that takes writes is sought already, and sooner.
            return;
        }
        match self.hosts.return_after(server, self.returns) {
            None => (link.back, self.returns) = (Return::default(), 0),
            Some(after) if link.back.at.is_none() => link.back.at = now.checked_add(after),
            Some(_) => {}
        }
    }

    /// Asks the next of the preferred servers when it is time.
    pub(super) fn return_if_due(&mut self, now: Instant) {
        let Phase::Connected(link) = &mut self.phase else {
            return;
        };
        if link.leave_by.is_some() || link.back.at.is_none_or(|at| at > now) {
            return;
        }
        if link.back.asked.take().is_none() && link.back.left.is_empty() {
            link.back.left = self.hosts.preferred().into();
        }
        self.ask_preferred(now);
    }

    fn ask_preferred(&mut self, now: Instant) {
        let Phase::Connected(link) = &mut self.phase else {
            return;
        };
        let Some(server) = link.back.left.pop_front() else {
            link.back.at = None;
            return self.plan_return(now);
        };
        let question = probe(&self.secure, &server, (QUESTION, ANSWER_LEN_MAX));
        self.actions.push_back(Action::Ask(question));
        link.back.asked = Some(server);
        // The lookup of a name may take longer than the question itself.
        link.back.at = Some(now + 2 * timeouts::PROBE_MAX);
    }

    /// Moves to the server that was asked if it serves. `false` if nobody was asked about that.
    pub(super) fn handle_return(&mut self, now: Instant, answer: &io::Result<Asked>) -> bool {
        let Phase::Connected(link) = &mut self.phase else {
            return false;
        };
        let Some(server) = link.back.asked.take() else {
            return false;
        };
        match answer {
            Ok(Asked { answer, .. }) if serves(answer) => {
                link.back = Return::default();
                // Until it has accepted the session.
                self.returns = self.returns.saturating_add(1);
                self.hosts.go_first(&server);
                self.leave(now);
            }
            _ => self.ask_preferred(now),
        }
        true
    }
}

/// Whether a server has answered that has a quorum. It need not tell so: one that is set not to
/// answer such words says that, and nothing else.
fn serves(answer: &[u8]) -> bool {
    let answer = String::from_utf8_lossy(answer);
    let is_cut_off = answer.contains("not currently serving") || answer.contains("Mode: read-only");
    !answer.is_empty() && !is_cut_off
}

#[cfg(test)]
mod tests {
    use super::serves;

    #[test]
    fn what_servers_say_of_themselves() {
        assert!(serves(
            b"Zookeeper version: 3.8.0\nZxid: 0x1\nMode: follower\nNode count: 5\n"
        ));
        assert!(serves(
            b"srvr is not executed because it is not in the whitelist.\n"
        ));
        assert!(!serves(
            b"This ZooKeeper instance is not currently serving requests\n"
        ));
        assert!(!serves(
            b"Zookeeper version: 3.8.0\nMode: read-only\nNode count: 5\n"
        ));
        assert!(
            !serves(b""),
            "somebody accepts for a server that is not there"
        );
    }
}
