//! The end, once and for everybody.

use std::sync::Arc;
use std::time::Instant;

use homing_transport::{Action, Fate};

use super::{Phase, Session, Why};
use crate::answer::{Cause, Note, Unanswered};
use crate::stats::ExpiryReport;
use crate::status::{SessionEnd, SessionState};
use crate::timeouts;

impl Session {
    /// What to do about a close while no server has given a session.
    pub(super) fn close_before_it_began(&mut self, now: Instant) {
        if self.credentials.is_some() {
            return;
        }
        match &mut self.phase {
            // A server that was asked may have made one, which nobody else could close.
            Phase::Handshaking {
                asked: Some(_),
                until,
                ..
            } => *until = (*until).min(now + timeouts::LAST_HANDSHAKE_MAX),
            // What is being closed has a second, and the end follows.
            Phase::Closing { .. } | Phase::Over => {}
            _ => self.end(SessionEnd::Closed),
        }
    }

    /// Ends the session where there may be a stream: it is hung up first, so that the driver's
    /// buffer tells which requests were handed over.
    pub(super) fn end_from_here(&mut self, end: SessionEnd) {
        match &self.phase {
            Phase::Connected(link) => self.hang_up(link.address, Why::Ended(end)),
            Phase::HangingUp { .. } => {}
            _ => self.end(end),
        }
    }

    /// Ends the session: once, for everybody.
    pub(super) fn end(&mut self, end: SessionEnd) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        let has_stream = !matches!(
            self.phase,
            Phase::Idle
                | Phase::Pausing { .. }
                | Phase::Resolving { .. }
                | Phase::Dormant
                | Phase::HangingUp { .. }
        );
        self.phase = Phase::Over;
        if !matches!(end, SessionEnd::Closed | SessionEnd::Detached) {
            self.report(&end, false);
        }
        // In this order: whoever finds the queue ended looks here for the reason.
        self.enter(SessionState::Ended(end.clone()));
        self.shared.watches.end(&end, &mut self.wakers);
        self.end_moves(&end);
        let answer = end_answer(&end, self.close_is_late);
        self.shared.queue.end(&mut self.outbox, |note, fate| {
            if fate == Fate::MaybeApplied {
                note.lost(None);
            }
            Err(answer(note, fate))
        });
        self.shared.errands.end(&end, &mut self.wakers);
        if has_stream {
            self.actions.push_back(Action::HangUp);
        }
        self.actions.push_back(Action::Stop);
    }

    pub(super) fn report(&self, end: &SessionEnd, is_renewed: bool) {
        let stats = self.shared.status.stats();
        let before = |at: Option<Instant>| Some(self.now?.saturating_duration_since(at?));
        let report = ExpiryReport {
            end: end.clone(),
            session_timeout: self.session_timeout,
            sent_before: before(stats.sent_at),
            heard_before: before(stats.heard_at),
            stats,
            attempts: self.shared.status.failures(),
            resolved: self.resolved.clone(),
            suspects_behind: (self.suspicion.is_alive() && self.last_zxid > 0)
                .then_some(self.last_zxid),
            late_unheard: self.late_unheard,
            slept_unheard: self.slept_unheard,
            is_renewed,
        };
        self.span.in_scope(|| tracing::warn!("{report}"));
        self.shared.status.set_report(Arc::new(report));
    }

    pub(super) fn presumed_expired_at(&self) -> Option<Instant> {
        let life = self
            .presume_expired_after
            .unwrap_or_else(|| timeouts::presumed_life(self.session_timeout));
        self.credentials?;
        self.lease_from?.checked_add(life)
    }
}

/// What requests are told when the session ends. A close that no server has confirmed in time is
/// told just that.
pub(super) fn end_answer(
    end: &SessionEnd,
    close_is_late: bool,
) -> impl Fn(&Note, Fate) -> Unanswered + use<> {
    let end = end.clone();
    move |note, fate| {
        let cause = match note {
            Note::Close if close_is_late => Cause::Deadline,
            _ => Cause::Ended(end.clone()),
        };
        Unanswered { fate, cause }
    }
}
