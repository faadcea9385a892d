//! `DIGEST-MD5` as a mechanism: a user's name and a password that is never sent.

use std::fmt;
use std::sync::Arc;

use homing_protocol::digest_md5::{Challenge, DigestError, Proof};
use zeroize::Zeroizing;

use super::{Peer, SaslError, SaslExchange, SaslMechanism, SaslStep};
use crate::secret::Secret;

/// The mechanism that ZooKeeper's servers have for users with passwords.
///
/// The password does not go over the wire, but whoever sees an exchange can try passwords
/// against it in peace: it takes a good one, or TLS around it. The server proves that it knows
/// the password too, and is not trusted before.
///
/// ```
/// let bob = homing_session::DigestMd5::new("bob", "secret", || *b"made for doctest");
/// assert_eq!(format!("{bob:?}"), "DigestMd5 { user: \"bob\", .. }");
/// ```
#[derive(Clone)]
pub struct DigestMd5 {
    who: Arc<Who>,
    /// Makes the client's part of an exchange unique.
    random: fn() -> [u8; 16],
}

struct Who {
    user: String,
    password: Zeroizing<String>,
}

impl DigestMd5 {
    /// `random` is called once an exchange. Nobody may be able to foresee what it gives; a
    /// session has no source of that kind.
    pub fn new(user: &str, password: &str, random: fn() -> [u8; 16]) -> Self {
        let who = Who {
            user: user.into(),
            password: Zeroizing::new(password.into()),
        };
        Self {
            who: Arc::new(who),
            random,
        }
    }
}

impl SaslMechanism for DigestMd5 {
    fn name(&self) -> &str {
        "DIGEST-MD5"
    }

    fn begin(&self, _peer: &Peer) -> Result<(Secret, Box<dyn SaslExchange>), SaslError> {
        let exchange = Exchange {
            who: Arc::clone(&self.who),
            cnonce: (self.random)().map(|byte| format!("{byte:02x}")).concat(),
            stage: Stage::Asked,
        };
        // The server has the first word; its token is the answer to an empty one.
        Ok((Secret::new(b""), Box::new(exchange)))
    }
}

impl fmt::Debug for DigestMd5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestMd5")
            .field("user", &self.who.user)
            .finish_non_exhaustive()
    }
}

struct Exchange {
    who: Arc<Who>,
    cnonce: String,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The challenge is due.
    Asked,
    /// The server's own proof is due.
    Responded(Proof),
    Done,
}

impl Exchange {
    fn respond(&mut self, token: &[u8]) -> Result<SaslStep, SaslError> {
        let bad = |error: DigestError| SaslError::Failed(format!("its challenge: {error}"));
        let challenge = Challenge::parse(token).map_err(bad)?;
        let Who { user, password } = &*self.who;
        let (response, proof) = challenge
            .respond(user, password, &self.cnonce)
            .map_err(bad)?;
        self.stage = Stage::Responded(proof);
        Ok(SaslStep::Send(response.into()))
    }
}

impl SaslExchange for Exchange {
    fn step(&mut self, answer: Option<&[u8]>) -> Result<SaslStep, SaslError> {
        let token = answer.ok_or(SaslError::NoToken)?;
        match &self.stage {
            Stage::Asked => self.respond(token),
            Stage::Responded(proof) if proof.is_in(token) => {
                self.stage = Stage::Done;
                Ok(SaslStep::Done)
            }
            Stage::Responded(_) => Err(SaslError::Unproven),
            Stage::Done => Err(SaslError::Failed("a token after the last one".into())),
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use homing_protocol::digest_md5::Response;

    use super::*;
    use crate::connect_string::{Host, Server};

    fn begin() -> Box<dyn SaslExchange> {
        let peer = Peer {
            server: "10.0.0.1"
                .parse::<crate::ConnectString>()
                .unwrap()
                .servers
                .remove(0),
            address: ([10, 0, 0, 1], 2181).into(),
        };
        assert!(matches!(
            peer.server,
            Server {
                host: Host::Ip(_),
                ..
            }
        ));
        let (first, exchange) = DigestMd5::new("bob", "secret", || [7; 16])
            .begin(&peer)
            .unwrap();
        assert_eq!(first.reveal(), b"");
        exchange
    }

    #[test]
    fn both_sides_prove_that_they_know_the_password() {
        let challenge = Challenge::of_zookeeper("nonce");
        for (password, is_right) in [("secret", true), ("other", false)] {
            let mut exchange = begin();
            let Ok(SaslStep::Send(token)) = exchange.step(Some(&challenge.token())) else {
                panic!("no response");
            };
            let response = Response::parse(token.reveal()).unwrap();
            let proof = response.verify(&challenge, "secret").unwrap();
            let lie = challenge
                .respond("bob", password, &"07".repeat(16))
                .unwrap()
                .1;
            let last = exchange.step(Some(&lie.token()));
            assert_eq!(lie.token() == proof.token(), is_right);
            match is_right {
                true => assert!(matches!(last, Ok(SaslStep::Done))),
                false => assert_eq!(last.unwrap_err(), SaslError::Unproven),
            }
        }
    }

    #[test]
    fn whatever_comes_instead_is_an_error() {
        let challenge = Challenge::of_zookeeper("nonce").token();
        assert_eq!(begin().step(None).unwrap_err(), SaslError::NoToken);
        let error = begin().step(Some(b"nonsense")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its challenge: it is malformed at byte 8"
        );
        for last in [&b""[..], b"rspauth=", &challenge] {
            let mut exchange = begin();
            exchange.step(Some(&challenge)).unwrap();
            assert_eq!(exchange.step(Some(last)).unwrap_err(), SaslError::Unproven);
        }
        let mut exchange = begin();
        exchange.step(Some(&challenge)).unwrap();
        assert_eq!(exchange.step(None).unwrap_err(), SaslError::NoToken);
    }
}
