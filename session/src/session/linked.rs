//! A connection on which the session is accepted, until it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing_protocol::{CONFIG_PATH, op};
use homing_transport::{Fate, Outgoing};

use super::{Phase, Session, Why};
use crate::answer::{Cause, ConnectionLost, Note, Unanswered, WhyLost};
use crate::inbound::{self, Dispatch, Dispatched};
use crate::status::{Failure, SessionEnd, SessionState};
use crate::timeouts;
use crate::watches::{Chore, Gap};

impl Session {
    pub(super) fn handle_frames(&mut self, now: Instant, input: &mut BytesMut) {
        let Phase::Connected(link) = &mut self.phase else {
            return;
        };
        let mut frames = std::mem::take(&mut self.inbound);
        // What came before something bad is still answered.
        let read = inbound::read_frames(link, now, input, self.reply_len_max, &mut frames);
        let mut done = Dispatched::default();
        let dispatch = Dispatch {
            last_zxid: &mut self.last_zxid,
            server: link.address,
            known: &mut link.known,
            knowledge: &self.shared.knowledge,
            reply_len_max: self.reply_len_max,
            status: &self.shared.status,
            watches: &self.shared.watches,
            restorations_due: &mut link.restorations_due,
            gap: &mut self.gap,
            held: &mut self.held,
            wakers: &mut self.wakers,
        };
        let dispatched = self.shared.queue.dispatch(&mut self.outbox, |line| {
            dispatch.run(line, &mut frames, &mut done)
        });
        frames.clear();
        self.inbound = frames;
        link.answered_requests(done.answered);
        if link.progress_at == now {
            let (lease_from, ping) = (link.lease_from, link.ping_took.take());
            (self.late_unheard, self.slept_unheard) = (Duration::ZERO, Duration::ZERO);
            self.shared.status.update(|stats| {
                stats.heard_at = Some(now);
                if ping.is_some() {
                    stats.ping_last = ping;
                    stats.ping_max = stats.ping_max.max(ping);
                }
            });
            self.extend_lease(lease_from);
        }
        self.may_have_ephemerals |= done.made_ephemeral;
        if done.config_changed {
            self.following.ask();
        }
        if self.shared.watches.are_too_many() {
            let armed = self.shared.watches.armed();
            let what = "more watches are armed than there should be: are some never dropped?";
            self.span.in_scope(|| tracing::warn!(armed, "{what}"));
        }
        if done.is_throttled {
            self.errands_after = Some(now + timeouts::THROTTLED_PAUSE);
        }
        if done.closed {
            return self.end(SessionEnd::Closed);
        }
        if let Some(scheme) = self.refused_auth(&mut done) {
            return self.end_from_here(SessionEnd::AuthFailed { scheme });
        }
        if matches!(&self.phase, Phase::Connected(link) if link.asks_for_auth) {
            return self.end_from_here(SessionEnd::AuthRequired);
        }
        if let Err(why) = dispatched.and(read) {
            return self.give_up(why);
        }
        if done.is_unknown_operation {
            // Whatever went out now would be lost for nothing.
            return self.give_up(WhyLost::UnknownOperation);
        }
        self.announce();
        if let Some(config) = done.config {
            self.follow(now, &config);
        }
    }

    /// The scheme of an identity that the server has refused.
    pub(super) fn refused_auth(&mut self, done: &mut Dispatched) -> Option<String> {
        let Phase::Connected(link) = &mut self.phase else {
            return None;
        };
        done.refused_auth
            .take()
            .or_else(|| link.refused_auth.take())
    }

    pub(super) fn extend_lease(&mut self, from: Instant) {
        let from = self.lease_from.map_or(from, |lease| lease.max(from));
        self.lease_from = Some(from);
        self.shared
            .status
            .set_valid_until(from + self.session_timeout);
    }

    /// Asks the server to remove watches that nobody wants any more, and to set what turned out
    /// not to be set.
    pub(super) fn tend_watches(&mut self) {
        let watches = &self.shared.watches;
        // Without a connection the server has none, and the next one begins with all of them.
        if !matches!(self.phase, Phase::Connected(_)) || !watches.has_chores() {
            return;
        }
        let can_remove = self.shared.knowledge.of(op::REMOVE_WATCHES) != Some(false);
        // The session may have a watch of its own.
        let own = self.following.is_wanted().then_some(CONFIG_PATH);
        let submitted = self.shared.queue.submit_reserved(
            || watches.chores(can_remove, own),
            Chore::request,
            |chore, xid, out| chore.encode(xid, out),
        );
        // Nobody waits for the answers: the next connection has no such watches anyway.
        drop(submitted);
    }

    /// Asks for what the session sees to by itself, and was not asked for on this connection.
    pub(super) fn run_errands(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Connected(_))
            || self.errands_after.is_some_and(|at| now < at)
        {
            return;
        }
        self.errands_after = None;
        let errands = &self.shared.errands;
        if !errands.has_due() {
            return;
        }
        let submitted = self.shared.queue.submit_reserved(
            || errands.take_due(),
            |step| step.request(errands),
            |step, xid, out| step.put(xid, out),
        );
        for (step, ticket) in submitted {
            errands.keep(step.id, ticket);
        }
    }

    /// Hangs up on a server that was connected.
    pub(super) fn give_up(&mut self, why: WhyLost) {
        if let Phase::Connected(link) = &self.phase {
            let settled = link.is_settled();
            self.hang_up(link.address, Why::Lost { why, settled });
        }
    }

    pub(super) fn lost(
        &mut self,
        now: Instant,
        unsent: &Outgoing,
        lost: ConnectionLost,
        settled: bool,
    ) {
        self.shared
            .status
            .update(|stats| stats.count_lost(&lost.why));
        let held = std::mem::take(&mut self.held);
        self.shared.watches.disconnected(held, &mut self.wakers);
        let (last_zxid, lost_at) = (self.last_zxid, now);
        self.gap.get_or_insert(Gap { last_zxid, lost_at });
        let lost = Arc::new(lost);
        let (mut close_was_lost, mut may_have_ephemerals) = (false, false);
        self.shared
            .queue
            .give_back(unsent, &mut self.outbox, |note| {
                close_was_lost |= *note == Note::Close;
                may_have_ephemerals |= note.makes_ephemeral();
                note.lost(Some(&lost));
                let cause = Cause::Lost(Arc::clone(&lost));
                Err(Unanswered {
                    fate: Fate::MaybeApplied,
                    cause,
                })
            });
        if close_was_lost {
            // The server has closed the session, or lets it expire.
            return self.end(SessionEnd::Closed);
        }
        self.may_have_ephemerals |= may_have_ephemerals;
        let session_id = self.session_id();
        if self.is_of_one_server {
            // No other server knows it, and nothing can have been written in it.
            self.forget_session();
        }
        if lost.why != WhyLost::Moved {
            self.blame_server();
        }
        if !settled && lost.why != WhyLost::Moved {
            self.failed(Some(lost.server), Failure::Lost(Arc::clone(&lost)));
        }
        self.enter(SessionState::Suspended {
            session_id,
            why: lost,
            presumed_expired_at: self.presumed_expired_at(),
        });
    }
}
