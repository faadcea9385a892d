//! What says who is there: identities, and the tokens of a SASL exchange.

use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::codec::{Record, put_buffer, put_string};

/// The body of auth: an identity that is added to the connection. `Debug` shows the scheme alone.
///
/// ```
/// use homing_protocol::{Auth, Record};
/// let auth = Auth { scheme: "digest", proof: b"bob:pw" };
/// assert_eq!(auth.encoded_len(), 24);
/// assert_eq!(format!("{auth:?}"), "Auth(\"digest\")");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// `digest`, or another one that servers know.
    pub scheme: &'a str,
    /// For `digest` the user's name, a colon, and the password in clear.
    pub proof: &'a [u8],
}

impl Record for Auth<'_> {
    fn encoded_len(&self) -> usize {
        4 + 4 + self.scheme.len() + 4 + self.proof.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        // The type, which is always 0.
        out.put_i32(0);
        put_string(out, self.scheme);
        put_buffer(out, Some(self.proof));
    }
}

impl fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Auth").field(&self.scheme).finish()
    }
}

/// The body of sasl: one token of an exchange. `Debug` shows its length alone.
///
/// ```
/// use homing_protocol::{Record, SaslToken};
/// let token = SaslToken(b"secret");
/// assert_eq!(token.encoded_len(), 10);
/// assert_eq!(format!("{token:?}"), "SaslToken(6 bytes)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslToken<'a>(pub &'a [u8]);

impl Record for SaslToken<'_> {
    fn encoded_len(&self) -> usize {
        4 + self.0.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        put_buffer(out, Some(self.0));
    }
}

impl fmt::Debug for SaslToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SaslToken({} bytes)", self.0.len())
    }
}
