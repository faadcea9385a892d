//! A client's answer, as ZooKeeper's servers read it, which is how Java's library does: in places
//! it takes less than the standard says, in others more.

use std::fmt;

use super::{
    Challenge, DIGEST_URI, DigestError, Directive, Directives, Key, Proof, QOP, Session, is_same,
    is_space, once, put_realm, put_text,
};
use crate::md5::Md5;
use crate::text;

/// A client's answer to a challenge.
///
/// ```
/// use homing_protocol::digest_md5::{Challenge, Response};
/// let challenge = Challenge::of_zookeeper("OA6MG9tE");
/// let (token, expected) = challenge.respond("bob", "secret", "OA6MHXh6")?;
///
/// let response = Response::parse(&token)?;
/// assert_eq!(response.user, "bob");
/// assert!(response.verify(&challenge, "guess").is_none());
/// let proof = response.verify(&challenge, "secret").expect("it is the password");
/// assert!(expected.is_in(&proof.token()));
/// # Ok::<(), homing_protocol::digest_md5::DigestError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Who it says that it is.
    pub user: String,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    cnonce: Vec<u8>,
    nonce_count: i32,
    /// As whom it wants to act, which Java's clients say though it is who they are. It counts in
    /// the arithmetic, and for nothing else: ZooKeeper goes by the user.
    authzid: Option<Vec<u8>>,
    uri: Vec<u8>,
    response: Vec<u8>,
    qop: Option<Vec<u8>>,
}

impl Response {
    /// Reads it. Names are in UTF-8, as ZooKeeper's challenges say.
    ///
    /// # Errors
    /// It is malformed, or in another alphabet. At [`DigestError::Malformed`], which a number is
    /// that is none, a real server does not answer but closes the connection.
    pub fn parse(token: &[u8]) -> Result<Self, DigestError> {
        let (mut user, mut realm, mut nonce, mut cnonce) = (None, None, None, None);
        let (mut nonce_count, mut uri, mut response) = (None, None, None);
        let (mut qop, mut charset, mut authzid) = (None, None, None);
        let (mut maxbuf, mut cipher, mut auth_param) = (None, None, None);
        let mut directives = Directives::new(token)?;
        while let Some((name, value)) = directives.next_of_java()? {
            match name.as_slice() {
                b"username" => once("username", &mut user, value)?,
                b"realm" => once("realm", &mut realm, value)?,
                b"nonce" => once("nonce", &mut nonce, value)?,
                b"cnonce" => once("cnonce", &mut cnonce, value)?,
                // The standard's name is `nc`, which Java's servers do not look for.
                b"nonce-count" => once("nonce-count", &mut nonce_count, value)?,
                b"digest-uri" => once("digest-uri", &mut uri, value)?,
                b"response" => once("response", &mut response, value)?,
                b"qop" => once("qop", &mut qop, value)?,
                b"charset" => once("charset", &mut charset, value)?,
                b"authzid" => once("authzid", &mut authzid, value)?,
                b"maxbuf" => once("maxbuf", &mut maxbuf, value)?,
                b"cipher" => once("cipher", &mut cipher, value)?,
                b"auth-param" => once("auth-param", &mut auth_param, value)?,
                _ => {}
            }
        }
        if charset.is_some_and(|charset| charset != b"utf-8") {
            return Err(DigestError::Unsupported("charset"));
        }
        // How much it takes at a time means nothing where nothing follows.
        number("maxbuf", maxbuf, 10)?;
        let user = user.ok_or(DigestError::Missing("username"))?;
        Ok(Self {
            user: text::decode_as_java_does(&user).into_owned(),
            realm: realm.unwrap_or_default(),
            nonce: nonce.ok_or(DigestError::Missing("nonce"))?,
            cnonce: cnonce.ok_or(DigestError::Missing("cnonce"))?,
            nonce_count: number("nonce-count", nonce_count, 16)?.unwrap_or(1),
            authzid,
            uri: uri.ok_or(DigestError::Missing("digest-uri"))?,
            response: response.ok_or(DigestError::Missing("response"))?,
            qop,
        })
    }

    /// Whether it answers this challenge by somebody who knows the password: then what proves
    /// the same of the server.
    pub fn verify(&self, challenge: &Challenge, password: &str) -> Option<Proof> {
        let is_of_it = self.nonce == challenge.nonce
            && Some(&self.realm) == challenge.realm.as_ref()
            && self.nonce_count == 1
            && self.uri.eq_ignore_ascii_case(DIGEST_URI.as_bytes())
            && self.qop.as_deref().is_none_or(|qop| qop == QOP.as_bytes());
        if !is_of_it {
            return None;
        }
        let mut first = Md5::new();
        put_text(&mut first, &self.user, true).ok()?;
        first.update(b":");
        put_realm(&mut first, &self.realm, true);
        first.update(b":");
        put_text(&mut first, password, true).ok()?;
        let session = Session {
            key: Key::new(first, &self.nonce, &self.cnonce, self.authzid.as_deref()),
            nonce: &self.nonce,
            cnonce: &self.cnonce,
            uri: &self.uri,
        };
        let expected = session.proof("AUTHENTICATE:");
        is_same(&expected.0, &self.response).then(|| session.proof(":"))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What proves the password is as good as the password to somebody who guesses.
        f.debug_struct("Response")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The number that a directive has, if it is there.
fn number(
    name: &'static str,
    value: Option<Vec<u8>>,
    radix: u32,
) -> Result<Option<i32>, DigestError> {
    let Some(value) = value else {
        return Ok(None);
    };
    let number = std::str::from_utf8(&value).ok();
    let number = number.and_then(|digits| i32::from_str_radix(digits, radix).ok());
    number.map(Some).ok_or(DigestError::Malformed(name))
}

impl Directives<'_> {
    /// The next directive as Java's server reads it: values without quotes may have anything in
    /// them but a space or a comma, spaces separate as well as commas, and the last directive may
    /// be a name alone.
    fn next_of_java(&mut self) -> Result<Option<Directive>, DigestError> {
        self.skip_while(is_separator);
        if self.peek().is_none() {
            return Ok(None);
        }
        let name = self.skip_while(|byte| byte != b'=' && !is_separator(byte));
        let name = name.to_ascii_lowercase();
        if self.peek().is_none() {
            return Ok(Some((name, Vec::new())));
        }
        self.skip_while(is_space);
        if name.is_empty() || self.peek() != Some(b'=') {
            return Err(DigestError::Syntax(self.at));
        }
        self.at += 1;
        self.skip_while(is_space);
        let value = match self.peek() {
            None => return Err(DigestError::Syntax(self.at)),
            Some(b'"') => self.quoted()?,
            Some(_) => self.skip_while(|byte| !is_separator(byte)).to_vec(),
        };
        match self.peek().is_none_or(is_separator) {
            true => Ok(Some((name, value))),
            false => Err(DigestError::Syntax(self.at)),
        }
    }
}

fn is_separator(byte: u8) -> bool {
    byte == b',' || is_space(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"username="bob",nonce=n,cnonce=c,digest-uri=u,response=r"#;

    #[test]
    fn what_java_takes() {
        let rows = [
            "",
            ",charset=utf-8",
            ",charset=\"utf-8\"",
            ",nc=00000002,nc=x",
            ",nonce-count=1",
            ",maxbuf=-1",
            ",abc",
            ",a=b=c",
            ",a=b\"c\"",
            ",a=,b=\"\"",
            " a=b\tc=\"d\"\r\ne = f , , g=h  ",
            ",\0=\x7f,\u{fc}=\\",
        ];
        for end in rows {
            let response = Response::parse(format!("{FIRST}{end}").as_bytes());
            assert_eq!(response.map(|it| it.user).as_deref(), Ok("bob"), "{end:?}");
        }
        let spaced = FIRST.replace(',', " ");
        assert!(Response::parse(spaced.as_bytes()).is_ok());
    }

    #[test]
    fn what_java_refuses_says_why() {
        let at = |behind: usize| DigestError::Syntax(FIRST.len() + behind);
        let rows = [
            (",charset=latin1", DigestError::Unsupported("charset")),
            (",charset=UTF-8", DigestError::Unsupported("charset")),
            (",maxbuf=abc", DigestError::Malformed("maxbuf")),
            (",maxbuf=", at(8)),
            (",maxbuf=,", DigestError::Malformed("maxbuf")),
            (",nonce-count=g", DigestError::Malformed("nonce-count")),
            (",maxbuf=1,MAXBUF=1", DigestError::Twice("maxbuf")),
            (",cipher=a,cipher=a", DigestError::Twice("cipher")),
            (",nonce", DigestError::Twice("nonce")),
            (",a,b=c", at(2)),
            (",a b=c", at(3)),
            (",=b", at(1)),
            (",a=", at(3)),
            (",a=\"b", at(5)),
            (",a=\"b\"c", at(6)),
        ];
        for (end, error) in rows {
            let response = Response::parse(format!("{FIRST}{end}").as_bytes());
            assert_eq!(response, Err(error), "{end:?}");
        }
        for name in ["username", "nonce", "cnonce", "digest-uri", "response"] {
            let other = format!(",{FIRST}").replace(&format!(",{name}="), ",x=");
            let response = Response::parse(other.as_bytes());
            assert_eq!(response, Err(DigestError::Missing(name)));
        }
    }

    #[test]
    fn a_count_that_is_said_has_to_be_one() {
        let challenge = Challenge::of_zookeeper("nonce");
        let (token, _) = challenge.respond("bob", "pw", "cnonce").unwrap();
        for (count, is_right) in [("1", true), ("+0001", true), ("2", false), ("10", false)] {
            let token = [&token, &b",nonce-count="[..], count.as_bytes()].concat();
            let proof = Response::parse(&token).unwrap().verify(&challenge, "pw");
            assert_eq!(proof.is_some(), is_right, "{count}");
        }
    }
}
