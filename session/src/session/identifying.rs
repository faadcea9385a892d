//! Saying who is there: what identifies the client is asked for outside, and SASL is done before
//! anything else is said on a connection.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;
use homing_protocol::ErrorCode;
use homing_transport::Outgoing;

use super::{Phase, Session, Why};
use crate::inbound::{self, SaslAnswer};
use crate::link::Link;
use crate::login::Login;
use crate::sasl::{Peer, SaslError, SaslExchange, SaslRefusal, SaslStep};
use crate::secret::Secret;
use crate::status::{Failure, SessionEnd};

/// A connection on which a server has accepted the session and does not know yet for whom.
/// Nothing but tokens is sent, and one at a time.
#[derive(Debug)]
pub(super) struct Identifying {
    pub(super) address: SocketAddr,
    pub(super) until: Instant,
    begun: Begun,
    login: Login,
    mechanism: String,
    is_optional: bool,
    exchange: Box<dyn SaslExchange>,
    /// What is to be sent; `None` while its answer is due.
    token: Option<Secret>,
    /// How many tokens were sent. It numbers them: they have no place in the line, which is
    /// empty as far as this connection is concerned.
    sent: i32,
}

/// How a server has accepted the session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    /// When the handshake was sent.
    pub(super) accepted_at: Instant,
    /// The server has no quorum.
    pub(super) read_only: bool,
}

impl Session {
    /// The stream is open: whose it is, is found out, and then the session is asked for.
    pub(super) fn stream_opened(&mut self, now: Instant, address: SocketAddr, until: Instant) {
        let peer = self.peer(address);
        let (Some(ask), Some(peer)) = (&self.login, peer) else {
            return self.shake_hands(address, until, Login::default());
        };
        let inquiry = ask.ask(&self.shared.queue, peer, self.login_timeout);
        self.phase = Phase::AskingLogin {
            address,
            until: now + self.login_timeout,
            inquiry,
        };
    }

    /// Looks whether there is an answer.
    pub(super) fn check_login(&mut self, now: Instant) {
        let Phase::AskingLogin {
            address,
            until,
            inquiry,
        } = &mut self.phase
        else {
            return;
        };
        let address = *address;
        let failure = match inquiry.poll() {
            None if *until > now => return,
            None => Failure::LoginTimedOut,
            Some(None) => Failure::Login("whoever was asked went away".into()),
            Some(Some(Err(error))) => Failure::Login(error),
            Some(Some(Ok(login))) => {
                // What it took is not the server's fault.
                return self.shake_hands(address, now + self.attempt_max, login);
            }
        };
        self.hang_up(address, Why::Failed(failure));
    }

    fn shake_hands(&mut self, address: SocketAddr, until: Instant, mut login: Login) {
        login.sasl = login.sasl.or_else(|| self.sasl.clone());
        self.phase = Phase::Handshaking {
            address,
            until,
            asked: None,
            login,
        };
    }

    /// The server has accepted the session. It takes nothing but SASL where that is to be done.
    pub(super) fn identify(
        &mut self,
        now: Instant,
        address: SocketAddr,
        begun: Begun,
        (until, login): (Instant, Login),
    ) {
        let (Some(sasl), Some(peer)) = (&login.sasl, self.peer(address)) else {
            return self.identified(now, address, begun, &login);
        };
        match sasl.mechanism.begin(&peer) {
            Ok((token, exchange)) => {
                let identifying = Identifying {
                    address,
                    until,
                    begun,
                    mechanism: sasl.mechanism.name().into(),
                    is_optional: sasl.is_optional,
                    login,
                    exchange,
                    token: Some(token),
                    sent: 0,
                };
                self.phase = Phase::Identifying(Box::new(identifying));
            }
            Err(error) => self.hang_up(address, Why::Failed(Failure::Sasl(error.to_string()))),
        }
    }

    fn identified(&mut self, now: Instant, address: SocketAddr, begun: Begun, login: &Login) {
        if self.says_farewell(now, address, &login.authentications) {
            return;
        }
        let mut link = Link::new(now, address, self.session_timeout);
        // The handshake is the last that keeps the session alive: servers do not count tokens.
        link.lease_from = begun.accepted_at;
        link.sent_at = begun.accepted_at;
        link.read_only = begun.read_only;
        self.connected(now, link, &login.authentications);
    }

    pub(super) fn handle_tokens(&mut self, now: Instant, input: &mut BytesMut) {
        while let Phase::Identifying(identifying) = &mut self.phase {
            let due = identifying.token.is_none().then_some(identifying.sent);
            match inbound::read_sasl(input, due) {
                Ok(None) => return,
                Ok(Some(answer)) => self.handle_token(now, answer),
                Err(what) => {
                    let address = identifying.address;
                    self.hang_up(address, Why::Failed(Failure::Sasl(what)));
                }
            }
        }
    }

    fn handle_token(&mut self, now: Instant, answer: SaslAnswer) {
        let Phase::Identifying(identifying) = &mut self.phase else {
            return;
        };
        let address = identifying.address;
        let step = match answer {
            SaslAnswer::Token(token) => identifying.exchange.step(token.as_deref()),
            SaslAnswer::Error(
                code @ (ErrorCode::AuthFailed | ErrorCode::SessionClosedRequireSaslAuth),
            ) => return self.turned_away(SaslRefusal::Refused(code)),
            SaslAnswer::Error(code) => Err(SaslError::Failed(format!("it answered {code}"))),
        };
        match step {
            Ok(SaslStep::Send(token)) => identifying.token = Some(token),
            Ok(SaslStep::Done) => self.done(now),
            Err(SaslError::NoToken) if identifying.is_optional => {
                let mechanism = &identifying.mechanism;
                self.span.in_scope(|| {
                    tracing::warn!(
                        mechanism,
                        "{address} takes everybody: going on without SASL"
                    );
                });
                self.done(now);
            }
            Err(SaslError::NoToken) if identifying.sent == 1 => {
                self.turned_away(SaslRefusal::NotOffered);
            }
            Err(SaslError::NoToken) => self.turned_away(SaslRefusal::NotAccepted),
            // Somebody who plays a server must not be able to end the session: it may live on
            // with the others.
            Err(error) => self.hang_up(address, Why::Failed(Failure::Sasl(error.to_string()))),
        }
    }

    fn done(&mut self, now: Instant) {
        if let Phase::Identifying(identifying) = std::mem::replace(&mut self.phase, Phase::Idle) {
            let Identifying {
                address,
                begun,
                login,
                ..
            } = *identifying;
            self.identified(now, address, begun, &login);
        }
    }

    fn turned_away(&mut self, why: SaslRefusal) {
        if let Phase::Identifying(identifying) = &mut self.phase {
            let mechanism = std::mem::take(&mut identifying.mechanism);
            self.end(SessionEnd::SaslFailed { mechanism, why });
        }
    }

    fn peer(&self, address: SocketAddr) -> Option<Peer> {
        let server = self.server.clone()?;
        Some(Peer { server, address })
    }
}

impl Identifying {
    pub(super) fn put_token(&mut self, out: &mut Outgoing) {
        let Some(token) = self.token.take() else {
            return;
        };
        self.sent += 1;
        out.put_control(|bytes| inbound::put_sasl(bytes, self.sent, token.reveal()));
        out.wipe_when_written();
    }
}
