//! A connection on which a server has accepted the session.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::knowledge::Known;
use crate::secret::Unshown;
use crate::session::Return;
use crate::timeouts;
use crate::watches::Restored;

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    /// What is known of the server.
    pub(crate) known: Known,
    /// When the server last answered a request or a ping.
    pub(crate) progress_at: Instant,
    /// When something was last given to the driver that keeps the session alive.
    pub(crate) sent_at: Instant,
    /// When the newest frame was sent that has been answered. The server has heard us then, or
    /// later.
    pub(crate) lease_from: Instant,
    /// When requests were given to the driver that have not been answered: how many had been
    /// given by then, and when.
    sent: VecDeque<(u64, Instant)>,
    given: u64,
    answered: u64,
    /// How many requests had been given before the front of `sent`.
    run_begins_behind: u64,
    /// When pings were sent that have not been answered.
    pub(crate) pings: VecDeque<Instant>,
    /// How long the ping took that was answered last.
    pub(crate) ping_took: Option<Duration>,
    /// When it will have lived long enough to be trusted; `None` once it has.
    pub(crate) settles_at: Option<Instant>,
    /// How many bytes are left of a reply that is over the limit and thrown away.
    pub(crate) drain: usize,
    /// What goes out before any request: identities, then watches. Empty once it has.
    pub(crate) preamble: Unshown,
    /// Identities of the preamble that were not answered: their schemes, in their order.
    pub(crate) auths_due: VecDeque<String>,
    /// The scheme of an identity that was refused.
    pub(crate) refused_auth: Option<String>,
    /// The server takes nothing from somebody who has not proved who he is.
    pub(crate) asks_for_auth: bool,
    /// Frames of restored watches that were not answered: what each sets that stays. Counted, not
    /// keyed: all have one xid.
    pub(crate) restorations_due: VecDeque<Restored>,
    /// The server takes no writes.
    pub(crate) read_only: bool,
    /// Everybody was told that the session is connected.
    pub(crate) is_announced: bool,
    /// It is to be left as soon as nothing is on its way any more, and then at the latest.
    pub(crate) leave_by: Option<Instant>,
    /// The way back to a server that is preferred to this one.
    pub(crate) back: Return,
}

impl Link {
    pub(crate) fn new(now: Instant, address: SocketAddr, session_timeout: Duration) -> Self {
        Self {
            address,
            known: Known::default(),
            progress_at: now,
            sent_at: now,
            lease_from: now,
            sent: VecDeque::new(),
            given: 0,
            answered: 0,
            run_begins_behind: 0,
            pings: VecDeque::new(),
            ping_took: None,
            settles_at: Some(now + timeouts::settled_after(session_timeout)),
            drain: 0,
            preamble: Unshown::default(),
            auths_due: VecDeque::new(),
            refused_auth: None,
            asks_for_auth: false,
            restorations_due: VecDeque::new(),
            read_only: false,
            is_announced: false,
            leave_by: None,
            back: Return::default(),
        }
    }

    /// Identities and watches are as they were.
    pub(crate) fn is_restored(&self) -> bool {
        self.auths_due.is_empty() && self.restorations_due.is_empty()
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settles_at.is_none()
    }

    /// Requests were given to the driver.
    pub(crate) fn gave(&mut self, now: Instant, requests: usize) {
        self.given += requests as u64;
        self.sent.push_back((self.given, now));
    }

    /// Requests were answered. The n-th answer is for the n-th request or, where a reply
    /// overtakes others, for one that was sent later: what this concludes is never too late.
    pub(crate) fn answered_requests(&mut self, requests: u64) {
        if requests == 0 {
            return;
        }
        self.answered += requests;
        while let Some(&(given, sent_at)) = self.sent.front() {
            if given > self.answered && self.answered <= self.run_begins_behind {
                return;
            }
            self.answered_frame(sent_at);
            if given > self.answered {
                return;
            }
            self.run_begins_behind = given;
            self.sent.pop_front();
        }
    }

    /// A frame was answered that was sent at this time.
    pub(crate) fn answered_frame(&mut self, sent_at: Instant) {
        self.lease_from = self.lease_from.max(sent_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn the_lease_is_counted_from_the_newest_frame_that_was_answered() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let address = ([127, 0, 0, 1], 2181).into();
        let mut link = Link::new(start, address, Duration::from_secs(30));
        link.gave(at(1), 3);
        link.gave(at(2), 2);
        link.gave(at(3), 1);
        assert_eq!(link.lease_from, start);
        link.answered_requests(1);
        assert_eq!(
            link.lease_from,
            at(1),
            "one of the first three was heard at 1 s"
        );
        link.answered_requests(2);
        assert_eq!(link.lease_from, at(1), "nothing of the second run yet");
        link.answered_requests(1);
        assert_eq!(link.lease_from, at(2));
        link.answered_requests(2);
        assert_eq!(link.lease_from, at(3));
        link.answered_frame(at(2));
        assert_eq!(link.lease_from, at(3), "it never goes back");
    }
}
