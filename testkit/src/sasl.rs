//! SASL with DIGEST-MD5, as a ZooKeeper server has it that was given users and passwords.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use homing_protocol::digest_md5::{Challenge, DigestError, Response};
use homing_protocol::{ErrorCode, Reader, ReplyHeader};

use crate::journal::CloseReason;
use crate::reply::Reply;
use crate::server::{ConnectionId, Server};

/// Whom SASL lets in; see [`ServerConfig::sasl`](crate::ServerConfig::sasl).
///
/// One fault of a real 3.8.0 server is left out: it takes a user that it does not know for the one
/// that it knows and heard of last, and lets him in, as who he says that he is, if he has that
/// one's password. Here nobody gets in whom nobody knows.
///
/// ```
/// use homing_testkit::{FakeServer, SaslConfig};
/// let server = FakeServer::builder()
///     .config(|config| config.sasl = Some(SaslConfig::new().user("bob", "secret")))
///     .start()?;
/// let sasl = server.with_server(|server| format!("{:?}", server.config().sasl));
/// assert!(sasl.contains("bob") && !sasl.contains("secret"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SaslConfig {
    users: BTreeMap<String, String>,
    /// Whom nobody knows, or who has a wrong password, is let in without an identity
    /// (`zookeeper.allowSaslFailedClients`). Off.
    pub allow_failed: bool,
    /// The user that is a super user (`zookeeper.superUser`). Nobody.
    pub super_user: Option<String>,
    /// What the nonces are made from, which are the same for the same connections. Fit for
    /// tests, and for nothing else.
    pub seed: u64,
}

impl SaslConfig {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets somebody in who knows the password; replaces the one that the user had.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.insert(name.into(), password.into());
        self
    }
}

impl fmt::Debug for SaslConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslConfig")
            .field("users", &self.users.keys())
            .field("allow_failed", &self.allow_failed)
            .field("super_user", &self.super_user)
            .finish_non_exhaustive()
    }
}

/// The longest token that Java's library reads, in bytes; a longer one is refused, and counts as if
/// it had not been there.
const TOKEN_LEN_MAX: usize = 4096;

/// A token at which a real server stumbles, so that it answers nothing.
struct Stumble;

/// How far a connection has come with it.
#[derive(Debug, Default)]
pub(crate) enum Exchange {
    /// The first token is to come. Whatever is in it means nothing.
    #[default]
    New,
    Challenged(Challenge),
    Over,
}

impl Server {
    /// Answers a token.
    pub(crate) fn sasl(&mut self, connection: ConnectionId, xid: i32, mut reader: Reader<'_>) {
        // A real server asks a null token for its length, and stumbles.
        let Ok(Some(token)) = reader.buffer("token") else {
            return self.close_because(connection, CloseReason::BadRequest);
        };
        let requires_sasl = self.requires("sasl");
        let (Some(config), Some(known)) =
            (&self.config.sasl, self.connections.get_mut(&connection))
        else {
            // A server that has no SASL says yes, and null.
            return self.answer_token(connection, xid, Ok(None));
        };
        let answer = match &known.sasl {
            _ if token.len() > TOKEN_LEN_MAX => None,
            Exchange::New => {
                let challenge = Challenge::of_zookeeper(&nonce(config.seed, connection));
                let token = challenge.token();
                known.sasl = Exchange::Challenged(challenge);
                Some(token)
            }
            Exchange::Challenged(challenge) => {
                let name_and_proof = accept(config, challenge, &token);
                known.sasl = Exchange::Over;
                let Ok(name_and_proof) = name_and_proof else {
                    return self.close_because(connection, CloseReason::BadRequest);
                };
                name_and_proof.map(|(name, mut proof)| {
                    let is_super = config.super_user.as_deref() == Some(name.as_str());
                    Arc::make_mut(&mut known.identities).add_sasl(&name, is_super);
                    if self.lies_in_sasl {
                        tamper(&mut proof);
                    }
                    proof
                })
            }
            Exchange::Over => None,
        };
        let refusal = match answer {
            Some(_) => None,
            None if requires_sasl => Some(ErrorCode::SessionClosedRequireSaslAuth),
            None if config.allow_failed => None,
            None => Some(ErrorCode::AuthFailed),
        };
        let is_refused = refusal.is_some();
        self.answer_token(connection, xid, refusal.map_or(Ok(answer), Err));
        if is_refused {
            self.close_because(connection, CloseReason::AuthFailed);
        }
    }

    fn answer_token(
        &mut self,
        connection: ConnectionId,
        xid: i32,
        answer: Result<Option<Vec<u8>>, ErrorCode>,
    ) {
        let (token, err) = match answer {
            Ok(token) => (token, 0),
            Err(code) => (None, code.code()),
        };
        let mut reply = Reply::new();
        reply.put_buffer(token.as_deref());
        let header = ReplyHeader { xid, zxid: 0, err };
        self.reply_whole(connection, header, reply);
    }

    /// Whether a connection may ask for anything.
    pub(crate) fn is_authenticated(&self, connection: ConnectionId) -> bool {
        let schemes = &self.config.required_schemes;
        let known = self.connections.get(&connection);
        schemes.is_empty() || known.is_some_and(|known| known.identities.has_any(schemes))
    }

    fn requires(&self, scheme: &str) -> bool {
        let mut schemes = self.config.required_schemes.iter();
        schemes.any(|required| required == scheme)
    }
}

/// The user's name and what proves that the server knows the password, if the client does.
fn accept(
    config: &SaslConfig,
    challenge: &Challenge,
    token: &[u8],
) -> Result<Option<(String, Vec<u8>)>, Stumble> {
    let response = match Response::parse(token) {
        Ok(response) if response.user.is_empty() => return Err(Stumble),
        Ok(response) => response,
        Err(DigestError::Malformed(_)) => return Err(Stumble),
        Err(_) => return Ok(None),
    };
    let password = config.users.get(&response.user);
    let proof = password.and_then(|password| response.verify(challenge, password));
    Ok(proof.map(|proof| (response.user, proof.token())))
}

/// Something that a client has not seen before.
fn nonce(seed: u64, connection: ConnectionId) -> String {
    let mut state = seed ^ connection.number().rotate_left(32);
    let mut next = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    (0..3).map(|_| format!("{:016x}", next())).collect()
}

/// Turns one digit into another one.
fn tamper(proof: &mut [u8]) {
    if let Some(last) = proof.last_mut() {
        *last = if *last == b'0' { b'1' } else { b'0' };
    }
}
