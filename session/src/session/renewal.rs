//! From a session that is over to the next one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use homing_protocol::{Empty, ReplyHeader, RequestHeader, frame, op, put_request};
use homing_transport::{Fate, Outgoing};

use super::ending::end_answer;
use super::{Phase, Session, Why};
use crate::auth::Authentication;
use crate::config::{Credentials, OnExpiry};
use crate::inbound::Handshake;
use crate::status::{Failure, SessionEnd, SessionState};
use crate::timeouts;

/// A session that is presumed to have expired, and may still live: it is taken up once more,
/// only to be closed.
#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) credentials: Credentials,
    /// How many more times it may be presented.
    left: usize,
}

/// How often it is presented, for each server. An ensemble that has just come back closes
/// connections for a while before it answers.
const FAREWELLS_PER_SERVER: usize = 3;

/// What follows when a session has been closed that nobody needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Another one.
    Renew,
    /// Nothing, until somebody asks for something.
    Rest,
}

/// The number of the request that closes a session by itself. It is the only one on its
/// connection that is waited for.
const CLOSE_XID: i32 = 1;

impl Session {
    /// The session has expired: the end, or the beginning of another one.
    pub(super) fn expire(&mut self, end: SessionEnd) {
        match self.on_expiry {
            OnExpiry::Renew if self.close_until.is_none() => self.renew(end),
            _ => self.end(end),
        }
    }

    /// Ends what belonged to the session, for everybody. What is asked from now on is for the
    /// next one.
    fn renew(&mut self, end: SessionEnd) {
        self.report(&end, true);
        if let (SessionEnd::PresumedExpired { .. }, Some(credentials)) = (&end, self.credentials) {
            self.farewell = Some(Farewell {
                credentials,
                left: self.hosts.len() * FAREWELLS_PER_SERVER,
            });
        }
        // In this order: whoever finds the era over looks there for the reason.
        self.shared.status.add_former_end(end.clone());
        self.forget_session();
        self.enter(SessionState::Renewing(end.clone()));
        self.shared.watches.end(&end, &mut self.wakers);
        let answer = end_answer(&end, false);
        let era = self.shared.queue.era();
        let has_begun = self.shared.queue.begin_era(&mut self.outbox, |note, fate| {
            if fate == Fate::MaybeApplied {
                note.lost(None);
            }
            Err(answer(note, fate))
        });
        self.shared.errands.end_era(era, &end, &mut self.wakers);
        if !has_begun {
            // A close has come in between.
            self.end(end);
        }
    }

    /// As if there had never been one.
    pub(super) fn forget_session(&mut self) {
        self.shared.status.forget_session();
        self.credentials = None;
        self.session_timeout = self.requested_timeout;
        self.lease_from = None;
        self.began_at = None;
        self.is_of_one_server = false;
        self.may_have_ephemerals = false;
    }

    fn forget_zxid(&mut self) {
        let zxid = self.last_zxid;
        self.span.in_scope(|| {
            tracing::warn!("all servers seem to be behind zxid {zxid:#x}; it is forgotten");
        });
        self.last_zxid = 0;
        self.following.forget_version();
        self.shared.status.set_last_zxid(0);
        self.suspicion.clear();
    }

    /// All servers have been tried, and none has accepted the session.
    pub(super) fn pass_is_over(&mut self, now: Instant) {
        self.failed_rounds = self.failed_rounds.saturating_add(1);
        self.suspicion.pass_is_over(now);
        // A new client would know of nothing either, and these servers may be all there is. But a
        // session would not be given up sooner.
        let patience = timeouts::presumed_life(self.requested_timeout);
        if self.has_renewed()
            && self.credentials.is_none()
            && self.suspicion.has_lasted(now, patience)
        {
            self.forget_zxid();
        }
    }

    fn has_renewed(&self) -> bool {
        self.on_expiry == OnExpiry::Renew && self.last_zxid > 0
    }

    /// The session that the next handshake presents; `None` for a new one.
    pub(super) fn presented(&mut self) -> Option<Credentials> {
        match &mut self.farewell {
            Some(Farewell { left: 0, .. }) => self.farewell = None,
            Some(farewell) => {
                farewell.left -= 1;
                return Some(farewell.credentials);
            }
            None => {}
        }
        self.credentials
    }

    /// The answer to a handshake that presented a session only to close it. Gives it back where
    /// the session lives, or it is about another one.
    pub(super) fn handle_farewell(
        &mut self,
        address: SocketAddr,
        answer: Handshake,
    ) -> Option<Handshake> {
        let Some(farewell) = &self.farewell else {
            return Some(answer);
        };
        match answer {
            Handshake::Gone { read_only: true } => {
                self.hang_up(address, Why::Failed(Failure::UnknownToReadOnly));
                None
            }
            Handshake::Gone { read_only: false } => {
                self.hang_up(address, Why::Finished(Then::Renew));
                None
            }
            Handshake::Accepted(accepted)
                if accepted.credentials.session_id != farewell.credentials.session_id =>
            {
                self.farewell = None;
                Some(Handshake::Accepted(accepted))
            }
            other => Some(other),
        }
    }

    /// Closes the session that was presented only for that, now that the server knows for whom.
    /// `false` if it is to stay.
    pub(super) fn says_farewell(
        &mut self,
        now: Instant,
        address: SocketAddr,
        authentications: &[Arc<Authentication>],
    ) -> bool {
        if self.farewell.is_none() {
            return false;
        }
        let mut proofs = authentications.to_vec();
        proofs.extend(self.shared.authentications.all());
        self.phase = Phase::Closing {
            address,
            until: now + timeouts::LAST_REQUEST_MAX,
            request: Some(proofs),
            then: Then::Renew,
        };
        true
    }

    /// Sends the request that closes the session by itself, behind what a server may want to know
    /// first.
    pub(super) fn put_close(proofs: &[Arc<Authentication>], out: &mut Outgoing) {
        let header = RequestHeader {
            xid: CLOSE_XID,
            op: op::CLOSE_SESSION,
        };
        out.put_control(|bytes| {
            proofs.iter().for_each(|proof| proof.put_frame(bytes));
            put_request(bytes, header, &Empty);
        });
        out.wipe_when_written();
    }

    /// Waits for the answer to that request; what else there is was not waited for.
    pub(super) fn handle_closing(&mut self, input: &mut BytesMut) {
        let Phase::Closing { address, then, .. } = self.phase else {
            return;
        };
        loop {
            match frame::split(input, self.reply_len_max) {
                Ok(Some(reply)) => match ReplyHeader::decode(&reply) {
                    Ok(header) if header.xid == CLOSE_XID => break,
                    Ok(_) => {}
                    Err(_) => break,
                },
                Ok(None) => return,
                Err(_) => break,
            }
        }
        self.hang_up(address, Why::Finished(then));
    }

    /// A session that nobody needs any more has been closed, or left to its time-out.
    pub(super) fn finish(&mut self, address: SocketAddr, then: Then) {
        match then {
            Then::Renew => {
                self.farewell = None;
                // It answers, so it is the first to be asked for another one.
                self.addresses.push_front(address);
            }
            Then::Rest => self.rest(),
        }
    }
}
