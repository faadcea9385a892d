//! The SASL mechanism `DIGEST-MD5` (RFC 2831), as far as ZooKeeper uses it: what stands in its
//! tokens, and the arithmetic. Both ends use it.
//!
//! ```text
//!   client                                       server
//!     | (an empty token)                            |
//!     |-------------------------------------------->|
//!     |   realm="…",nonce="…",charset=utf-8,…       |  Challenge
//!     |<--------------------------------------------|
//!     |   username="…",realm="…",cnonce="…",…       |  Response
//!     |-------------------------------------------->|
//!     |   rspauth=…                                 |  proves that the server knows it too
//!     |<--------------------------------------------|
//! ```
//!
//! Neither token is trusted: whatever bytes they are, reading them gives a value or a
//! [`DigestError`] that names what was wrong.

mod response;

use std::fmt;

use crate::md5::Md5;

pub use response::Response;

/// The realm of ZooKeeper's servers.
pub const REALM: &str = "zk-sasl-md5";

/// The service and the name of the server, which are the same for all of ZooKeeper's.
pub const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";

/// The longest token that is read, in bytes. The standard asks for 2,048 at least.
pub const TOKEN_LEN_MAX: usize = 8 << 10;

/// Both sides use a nonce once: this many responses with it.
const NONCE_COUNT: &str = "00000001";

/// Authentication, without protection of what follows.
const QOP: &str = "auth";

/// A server's challenge.
///
/// ```
/// use homing_protocol::digest_md5::Challenge;
/// let token = br#"realm="zk-sasl-md5",nonce="OA6MG9tE",charset=utf-8,algorithm=md5-sess"#;
/// let challenge = Challenge::parse(token)?;
/// assert_eq!((&*challenge.nonce, challenge.is_utf8), (&b"OA6MG9tE"[..], true));
/// assert_eq!(Challenge::parse(b"nonce=1").unwrap_err().to_string(), "its algorithm is missing");
/// # Ok::<(), homing_protocol::digest_md5::DigestError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The realm, of several the first; `None` if the server names none.
    pub realm: Option<Vec<u8>>,
    /// What the server has made for this exchange alone.
    pub nonce: Vec<u8>,
    /// Names and passwords are in UTF-8, and not in ISO 8859-1.
    pub is_utf8: bool,
}

impl Challenge {
    /// Reads it.
    ///
    /// # Errors
    /// It is malformed, or asks for what nobody here can do.
    pub fn parse(token: &[u8]) -> Result<Self, DigestError> {
        let (mut realm, mut nonce, mut algorithm, mut charset) = (None, None, None, None);
        let mut qop: Option<Vec<u8>> = None;
        for directive in Directives::new(token)? {
            let (name, value) = directive?;
            match name.as_slice() {
                b"realm" => realm = realm.or(Some(value)),
                b"nonce" => once("nonce", &mut nonce, value)?,
                b"algorithm" => once("algorithm", &mut algorithm, value)?,
                b"charset" => once("charset", &mut charset, value)?,
                b"qop" => once("qop", &mut qop, value)?,
                // `stale`, `maxbuf`, `cipher` mean nothing here, and others are to be ignored.
                _ => {}
            }
        }
        let algorithm = algorithm.ok_or(DigestError::Missing("algorithm"))?;
        if !algorithm.eq_ignore_ascii_case(b"md5-sess") {
            return Err(DigestError::Unsupported("algorithm"));
        }
        // Where nothing is said, it is authentication alone.
        if qop.is_some_and(|qop| !has_word(&qop, QOP)) {
            return Err(DigestError::Unsupported("qop"));
        }
        let is_utf8 = charset.is_some();
        if charset.is_some_and(|charset| !charset.eq_ignore_ascii_case(b"utf-8")) {
            return Err(DigestError::Unsupported("charset"));
        }
        Ok(Self {
            realm,
            nonce: nonce.ok_or(DigestError::Missing("nonce"))?,
            is_utf8,
        })
    }

    /// As ZooKeeper's servers write it.
    ///
    /// ```
    /// use homing_protocol::digest_md5::Challenge;
    /// let token = Challenge::of_zookeeper("OA6MG9tE").token();
    /// assert!(token.starts_with(br#"realm="zk-sasl-md5",nonce="OA6MG9tE","#));
    /// ```
    pub fn token(&self) -> Vec<u8> {
        let mut token = Vec::new();
        if let Some(realm) = &self.realm {
            put_quoted(&mut token, "realm", realm);
        }
        put_quoted(&mut token, "nonce", &self.nonce);
        if self.is_utf8 {
            put(&mut token, "charset", b"utf-8");
        }
        put(&mut token, "algorithm", b"md5-sess");
        token
    }

    /// The challenge of a ZooKeeper server with this nonce.
    pub fn of_zookeeper(nonce: &str) -> Self {
        Self {
            realm: Some(REALM.into()),
            nonce: nonce.into(),
            is_utf8: true,
        }
    }

    /// The answer of somebody who knows a password. `cnonce` is to be made for this exchange
    /// alone, in a way that nobody can foresee.
    ///
    /// # Errors
    /// The server asks for ISO 8859-1, in which the name or the password cannot be written.
    pub fn respond(
        &self,
        user: &str,
        password: &str,
        cnonce: &str,
    ) -> Result<(Vec<u8>, Proof), DigestError> {
        let realm = self.realm.as_deref().unwrap_or_default();
        let mut first = Md5::new();
        put_text(&mut first, user, self.is_utf8)?;
        first.update(b":");
        put_realm(&mut first, realm, self.is_utf8);
        first.update(b":");
        put_text(&mut first, password, self.is_utf8)?;
        let session = Session {
            key: Key::new(first, &self.nonce, cnonce.as_bytes(), None),
            nonce: &self.nonce,
            cnonce: cnonce.as_bytes(),
            uri: DIGEST_URI.as_bytes(),
        };

        let mut token = Vec::new();
        if self.is_utf8 {
            put(&mut token, "charset", b"utf-8");
            put_quoted(&mut token, "username", user.as_bytes());
        } else {
            let latin: Vec<u8> = user.chars().map(|c| latin1(c).unwrap_or(b'?')).collect();
            put_quoted(&mut token, "username", &latin);
        }
        if self.realm.is_some() {
            put_quoted(&mut token, "realm", realm);
        }
        put_quoted(&mut token, "nonce", &self.nonce);
        put(&mut token, "nc", NONCE_COUNT.as_bytes());
        put_quoted(&mut token, "cnonce", cnonce.as_bytes());
        put_quoted(&mut token, "digest-uri", DIGEST_URI.as_bytes());
        put(&mut token, "maxbuf", b"65536");
        put(&mut token, "response", &session.proof("AUTHENTICATE:").0);
        put(&mut token, "qop", QOP.as_bytes());
        Ok((token, session.proof(":")))
    }
}

/// What proves to the client that the server knows the password too. Wiped when it is dropped.
///
/// ```
/// use homing_protocol::digest_md5::Challenge;
/// let (_, proof) = Challenge::of_zookeeper("OA6MG9tE").respond("bob", "secret", "OA6MHXh6")?;
/// assert!(proof.is_in(&proof.token()));
/// assert!(!proof.is_in(b"rspauth=00000000000000000000000000000000"));
/// assert_eq!(format!("{proof:?}"), "Proof([redacted])");
/// # Ok::<(), homing_protocol::digest_md5::DigestError>(())
/// ```
pub struct Proof([u8; 32]);

impl Proof {
    /// The server's last token.
    pub fn token(&self) -> Vec<u8> {
        let mut token = Vec::new();
        put(&mut token, "rspauth", &self.0);
        token
    }

    /// Whether a server's last token has it. How long this takes tells nothing of where they
    /// differ.
    pub fn is_in(&self, token: &[u8]) -> bool {
        let Ok(directives) = Directives::new(token) else {
            return false;
        };
        let mut rspauth = None;
        for directive in directives {
            match directive {
                Ok((name, value)) if name == b"rspauth" => {
                    if once("rspauth", &mut rspauth, value).is_err() {
                        return false;
                    }
                }
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        rspauth.is_some_and(|rspauth| is_same(&self.0, &rspauth))
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof([redacted])")
    }
}

/// A token that is not one.
///
/// ```
/// use homing_protocol::digest_md5::{Challenge, DigestError};
/// let error = Challenge::parse(b"nonce=\"a\",algorithm=sha-256").unwrap_err();
/// assert_eq!(error, DigestError::Unsupported("algorithm"));
/// assert_eq!(error.to_string(), "its algorithm is none that is known here");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DigestError {
    /// It has this many bytes, over the limit.
    TooLong(usize),
    /// It is no list of directives, from this byte on.
    Syntax(usize),
    /// A directive is missing.
    Missing(&'static str),
    /// A directive is there twice.
    Twice(&'static str),
    /// A directive's value is none that is known here.
    Unsupported(&'static str),
    /// A directive's value makes no sense.
    Malformed(&'static str),
    /// The name or the password cannot be written in the only alphabet that the peer knows.
    NotLatin,
}

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => {
                write!(f, "it has {len} bytes, over the limit of {TOKEN_LEN_MAX}")
            }
            Self::Syntax(at) => write!(f, "it is malformed at byte {at}"),
            Self::Missing(name) => write!(f, "its {name} is missing"),
            Self::Twice(name) => write!(f, "its {name} is there twice"),
            Self::Unsupported(name) => write!(f, "its {name} is none that is known here"),
            Self::Malformed(name) => write!(f, "its {name} is malformed"),
            Self::NotLatin => f.write_str(
                "it is in ISO 8859-1, in which the name or the password cannot be written",
            ),
        }
    }
}

impl std::error::Error for DigestError {}

/// What name, realm, password, nonces and, where it is said, the name to act under come to, in
/// hexadecimal. As good as the password for this one exchange.
struct Key([u8; 32]);

impl Key {
    /// `first` has taken in name, realm and password.
    fn new(first: Md5, nonce: &[u8], cnonce: &[u8], authzid: Option<&[u8]>) -> Self {
        let mut secret = first.finish();
        let mut md5 = Md5::new();
        md5.update(&secret);
        wipe(&mut secret);
        for part in [Some(nonce), Some(cnonce), authzid].into_iter().flatten() {
            md5.update(b":");
            md5.update(part);
        }
        Self(hex(md5.finish()))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

struct Session<'a> {
    key: Key,
    nonce: &'a [u8],
    cnonce: &'a [u8],
    uri: &'a [u8],
}

impl Session<'_> {
    /// The client's proof, or the server's, by what stands before the name of the service.
    fn proof(&self, method: &str) -> Proof {
        let mut second = Md5::new();
        second.update(method.as_bytes());
        second.update(self.uri);
        let second = hex(second.finish());
        let mut md5 = Md5::new();
        let parts = [
            &self.key.0,
            self.nonce,
            NONCE_COUNT.as_bytes(),
            self.cnonce,
            QOP.as_bytes(),
        ];
        for part in parts {
            md5.update(part);
            md5.update(b":");
        }
        md5.update(&second);
        Proof(hex(md5.finish()))
    }
}

fn hex(hash: [u8; 16]) -> [u8; 32] {
    let digit = |value: u8| match value {
        0..10 => b'0' + value,
        _ => b'a' + value - 10,
    };
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    digits
}

/// Compares without a hint, by the time that it takes, at how much is the same.
fn is_same(expected: &[u8; 32], given: &[u8]) -> bool {
    let differences = expected
        .iter()
        .zip(given)
        .fold(0, |differences, (a, b)| differences | (a ^ b));
    given.len() == expected.len() && std::hint::black_box(differences) == 0
}

fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}

/// Names and passwords count in ISO 8859-1 where that has all of their characters, whatever
/// alphabet was agreed on: the standard is older than UTF-8 was common.
fn put_text(md5: &mut Md5, text: &str, is_utf8: bool) -> Result<(), DigestError> {
    if text.chars().all(|c| latin1(c).is_some()) {
        for c in text.chars() {
            md5.update(&[latin1(c).unwrap_or_default()]);
        }
    } else if is_utf8 {
        md5.update(text.as_bytes());
    } else {
        return Err(DigestError::NotLatin);
    }
    Ok(())
}

fn put_realm(md5: &mut Md5, realm: &[u8], is_utf8: bool) {
    match std::str::from_utf8(realm) {
        Ok(realm) if is_utf8 => drop(put_text(md5, realm, true)),
        _ => md5.update(realm),
    }
}

fn latin1(c: char) -> Option<u8> {
    u8::try_from(u32::from(c)).ok()
}

fn put(token: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !token.is_empty() {
        token.push(b',');
    }
    token.extend_from_slice(name.as_bytes());
    token.push(b'=');
    token.extend_from_slice(value);
}

fn put_quoted(token: &mut Vec<u8>, name: &str, value: &[u8]) {
    put(token, name, b"\"");
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            token.push(b'\\');
        }
        token.push(*byte);
    }
    token.push(b'"');
}

/// Keeps the one value of a directive that may be there once.
fn once(
    name: &'static str,
    place: &mut Option<Vec<u8>>,
    value: Vec<u8>,
) -> Result<(), DigestError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(DigestError::Twice(name)),
    }
}

/// Whether a list, separated by commas and spaces, has this word.
fn has_word(list: &[u8], word: &str) -> bool {
    list.split(|byte| *byte == b',' || is_space(*byte))
        .any(|item| item.eq_ignore_ascii_case(word.as_bytes()))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A name in lower case, and its value.
type Directive = (Vec<u8>, Vec<u8>);

/// `name=value` or `name="value"`, separated by commas.
struct Directives<'a> {
    token: &'a [u8],
    at: usize,
}

impl<'a> Directives<'a> {
    fn new(token: &'a [u8]) -> Result<Self, DigestError> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(DigestError::TooLong(token.len()));
        }
        Ok(Self { token, at: 0 })
    }

    fn peek(&self) -> Option<u8> {
        self.token.get(self.at).copied()
    }

    fn skip_while(&mut self, is_part: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.token.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|byte| !is_part(*byte));
        let (part, _) = rest
            .split_at_checked(len.unwrap_or(rest.len()))
            .unwrap_or_default();
        self.at += part.len();
        part
    }

    fn directive(&mut self) -> Result<Directive, DigestError> {
        let name = self.skip_while(is_token).to_ascii_lowercase();
        self.skip_while(is_space);
        if name.is_empty() || self.peek() != Some(b'=') {
            return Err(DigestError::Syntax(self.at));
        }
        self.at += 1;
        self.skip_while(is_space);
        let value = match self.peek() {
            Some(b'"') => self.quoted()?,
            _ => self.skip_while(is_token).to_vec(),
        };
        self.skip_while(is_space);
        match self.peek() {
            None | Some(b',') => Ok((name, value)),
            Some(_) => Err(DigestError::Syntax(self.at)),
        }
    }

    fn quoted(&mut self) -> Result<Vec<u8>, DigestError> {
        let mut value = Vec::new();
        loop {
            self.at += 1;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => {
                    self.at += 1;
                    value.push(self.peek().ok_or(DigestError::Syntax(self.at))?);
                }
                Some(byte) => value.push(byte),
                None => return Err(DigestError::Syntax(self.at)),
            }
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !matches!(byte, b'=' | b',' | b'"' | b'\\')
}

impl Iterator for Directives<'_> {
    type Item = Result<Directive, DigestError>;

    fn next(&mut self) -> Option<Self::Item> {
        // There may be nothing between two commas.
        self.skip_while(|byte| byte == b',' || is_space(byte));
        self.peek()?;
        let directive = self.directive();
        if directive.is_err() {
            self.at = self.token.len();
        }
        Some(directive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the standard's section 4, with its own service.
    #[test]
    fn the_arithmetic_is_the_standards() {
        let mut first = Md5::new();
        first.update(b"chris:elwood.innosoft.com:secret");
        let (nonce, cnonce) = (b"OA6MG9tEQGm2hh", b"OA6MHXh6VqTrRk");
        let session = Session {
            key: Key::new(first, nonce, cnonce, None),
            nonce,
            cnonce,
            uri: b"imap/elwood.innosoft.com",
        };
        let client = session.proof("AUTHENTICATE:");
        assert_eq!(&client.0, b"d388dad90d4bbd760a152321f2143af7");
        assert_eq!(&session.proof(":").0, b"ea40f60335c427b5527b84dbabcdfffd");
    }

    #[test]
    fn a_response_has_all_that_a_server_asks_for() {
        let challenge = Challenge::of_zookeeper("n\"o\\nce");
        let (token, _) = challenge.respond("b\"o\\b", "pw", "c").unwrap();
        let text = String::from_utf8(token.clone()).unwrap();
        let begin = r#"charset=utf-8,username="b\"o\\b",realm="zk-sasl-md5",nonce="n\"o\\nce",nc=00000001,cnonce="c",digest-uri="zookeeper/zk-sasl-md5",maxbuf=65536,response="#;
        assert!(text.starts_with(begin), "{text}");
        assert!(text.ends_with(",qop=auth"), "{text}");
        let response = Response::parse(&token).unwrap();
        assert_eq!(response.user, "b\"o\\b");
        assert!(response.verify(&challenge, "pw").is_some());
    }

    #[test]
    fn each_part_of_the_exchange_counts() {
        let challenge = Challenge::of_zookeeper("nonce");
        for (user, password) in [
            ("bob", "pw"),
            ("", ""),
            ("bäb", "pü"),
            ("Ж", "π:x"),
            ("a:b", "c"),
        ] {
            let (token, expected) = challenge.respond(user, password, "cnonce").unwrap();
            let response = Response::parse(&token).unwrap();
            assert_eq!(response.user, user);
            let proof = response.verify(&challenge, password).unwrap();
            assert!(expected.is_in(&proof.token()));
            assert!(response.verify(&challenge, "other").is_none());
            let other = Challenge::of_zookeeper("other");
            assert!(response.verify(&other, password).is_none());
            let (_, other) = challenge.respond(user, password, "other").unwrap();
            assert!(!expected.is_in(&other.token()));
        }
    }

    #[test]
    fn a_peer_without_utf8_gets_latin_letters() {
        let challenge = Challenge {
            is_utf8: false,
            ..Challenge::of_zookeeper("nonce")
        };
        let (token, expected) = challenge.respond("bäb", "pü", "cnonce").unwrap();
        assert!(token.starts_with(b"username=\"b\xe4b\","));
        // The arithmetic is the same, since the standard counts such letters in ISO 8859-1 anyway.
        let utf8 = Challenge::of_zookeeper("nonce");
        let (_, same) = utf8.respond("bäb", "pü", "cnonce").unwrap();
        assert!(expected.is_in(&same.token()));
        let error = challenge.respond("bob", "π", "cnonce").unwrap_err();
        assert_eq!(error, DigestError::NotLatin);
    }

    #[test]
    fn what_is_accepted() {
        let rows: [&[u8]; 5] = [
            br#"realm="zk-sasl-md5",nonce="n",charset=utf-8,algorithm=md5-sess"#,
            b" , nonce = \"n\" ,, Algorithm=MD5-sess\r\n ,qop=\"auth-int, auth\", maxbuf=1,",
            b"nonce=n,algorithm=\"md5-sess\",unknown=\"a,b=\\\"c\"",
            b"nonce=n,algorithm=md5-sess,realm=\"a\",realm=\"b\"",
            b"nonce=n,algorithm=md5-sess,stale=",
        ];
        for token in rows {
            let challenge = Challenge::parse(token).unwrap();
            assert_eq!(challenge.nonce, b"n", "{}", token.escape_ascii());
        }
        assert_eq!(Challenge::parse(rows[3]).unwrap().realm.unwrap(), b"a");
    }

    #[test]
    fn what_is_refused_says_why() {
        let rows: [(&[u8], DigestError); 11] = [
            (b"", DigestError::Missing("algorithm")),
            (b"algorithm=md5-sess", DigestError::Missing("nonce")),
            (b"nonce", DigestError::Syntax(5)),
            (b"=x", DigestError::Syntax(0)),
            (b"nonce=\"a", DigestError::Syntax(8)),
            (b"nonce=\"a\\", DigestError::Syntax(9)),
            (b"nonce=\"a\"b", DigestError::Syntax(9)),
            (b"nonce=a,nonce=b", DigestError::Twice("nonce")),
            (
                b"nonce=a,algorithm=md5",
                DigestError::Unsupported("algorithm"),
            ),
            (
                b"nonce=a,algorithm=md5-sess,qop=\"auth-int,auth-conf\"",
                DigestError::Unsupported("qop"),
            ),
            (
                b"nonce=a,algorithm=md5-sess,charset=utf-16",
                DigestError::Unsupported("charset"),
            ),
        ];
        for (token, error) in rows {
            assert_eq!(
                Challenge::parse(token),
                Err(error),
                "{}",
                token.escape_ascii()
            );
        }
        let long = vec![b','; TOKEN_LEN_MAX + 1];
        let error = DigestError::TooLong(TOKEN_LEN_MAX + 1);
        assert_eq!(Challenge::parse(&long), Err(error));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let (token, proof) = Challenge::of_zookeeper("n")
            .respond("bob", "pw", "c")
            .unwrap();
        let response = Response::parse(&token).unwrap();
        assert_eq!(format!("{response:?}"), "Response { user: \"bob\", .. }");
        assert_eq!(format!("{proof:?}"), "Proof([redacted])");
    }
}
