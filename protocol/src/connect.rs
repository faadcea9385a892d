//! The handshake: the first frame in each direction, without a header.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Record, put_buffer};

/// The longest session password that is accepted from a peer, in bytes. ZooKeeper's have 16.
pub const PASSWORD_LEN_MAX: usize = 64;

/// What proves that a session is one's own: whoever has it and the session's id can take the
/// session over. It never shows in `Debug`.
///
/// ```
/// use homing_protocol::SessionPassword;
/// let password = SessionPassword::new(b"0123456789abcdef")?;
/// assert_eq!(format!("{password:?}"), "SessionPassword([redacted])");
/// assert_eq!(password.as_bytes(), b"0123456789abcdef");
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionPassword {
    bytes: [u8; PASSWORD_LEN_MAX],
    /// At most [`PASSWORD_LEN_MAX`].
    len: usize,
}

impl SessionPassword {
    /// Sixteen zero bytes: what a client presents when it asks for a new session.
    pub const NONE: Self = Self {
        bytes: [0; PASSWORD_LEN_MAX],
        len: 16,
    };

    const EMPTY: Self = Self {
        bytes: [0; PASSWORD_LEN_MAX],
        len: 0,
    };

    /// A password of at most [`PASSWORD_LEN_MAX`] bytes.
    ///
    /// # Errors
    /// It is longer than that.
    pub fn new(password: &[u8]) -> Result<Self, DecodeError> {
        let mut bytes = [0; PASSWORD_LEN_MAX];
        match bytes.get_mut(..password.len()) {
            Some(front) => front.copy_from_slice(password),
            None => {
                let kind = DecodeErrorKind::TooMany {
                    count: password.len(),
                    left: PASSWORD_LEN_MAX,
                };
                return Err(DecodeError {
                    field: "passwd",
                    at: 0,
                    kind,
                });
            }
        }
        Ok(Self {
            bytes,
            len: password.len(),
        })
    }

    /// The bytes themselves, to be kept as secret as any password.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for SessionPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionPassword([redacted])")
    }
}

/// The first frame that a client sends.
///
/// ```
/// use homing_protocol::{ConnectRequest, Record, SessionPassword};
/// let request = ConnectRequest {
///     last_zxid_seen: 0,
///     timeout_ms: 30_000,
///     session_id: 0,
///     password: SessionPassword::NONE,
///     read_only: Some(false),
/// };
/// let mut frame = bytes::BytesMut::new();
/// request.encode(&mut frame);
/// assert_eq!(frame.len(), 45);
/// assert_eq!(ConnectRequest::decode(&frame.freeze())?, request);
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// The highest zxid that the client took from replies; 0 at first. A server that is behind
    /// it closes the connection without a word.
    pub last_zxid_seen: i64,
    /// The session time-out that is asked for, in milliseconds.
    pub timeout_ms: i32,
    /// The session to resume, or 0 for a new one.
    pub session_id: i64,
    /// Its password, or [`SessionPassword::NONE`].
    pub password: SessionPassword,
    /// Whether a read-only server will do. `None` leaves the byte out, as clients before 3.4 did.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    /// Reads a whole frame, as a server does. A null password reads as an empty one, and so does
    /// one of more than [`PASSWORD_LEN_MAX`] bytes: it is no session's, and reading it is no fault.
    pub fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        reader.i32("protocolVersion")?;
        let last_zxid_seen = reader.i64("lastZxidSeen")?;
        let timeout_ms = reader.i32("timeOut")?;
        let session_id = reader.i64("sessionId")?;
        let password = reader.buffer("passwd")?.unwrap_or_default();
        let password = SessionPassword::new(&password).unwrap_or(SessionPassword::EMPTY);
        let read_only = read_trailing_bool(&mut reader)?;
        Ok(Self {
            last_zxid_seen,
            timeout_ms,
            session_id,
            password,
            read_only,
        })
    }
}

impl Record for ConnectRequest {
    fn encoded_len(&self) -> usize {
        4 + 8 + 4 + 8 + 4 + self.password.as_bytes().len() + usize::from(self.read_only.is_some())
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(PROTOCOL_VERSION);
        out.put_i64(self.last_zxid_seen);
        out.put_i32(self.timeout_ms);
        out.put_i64(self.session_id);
        put_buffer(out, Some(self.password.as_bytes()));
        if let Some(read_only) = self.read_only {
            out.put_u8(read_only.into());
        }
    }
}

/// The first frame that a server sends.
///
/// ```
/// use homing_protocol::{ConnectResponse, Record, SessionPassword};
/// let mut frame = bytes::BytesMut::new();
/// ConnectResponse::EXPIRED.encode(&mut frame);
/// assert!(ConnectResponse::decode(&frame.freeze())?.timeout_ms <= 0);
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectResponse {
    /// The session time-out that the server granted, in milliseconds. Zero or less means that
    /// the session which was asked for is gone.
    pub timeout_ms: i32,
    /// The session, or 0 when it is gone.
    pub session_id: i64,
    /// What to present to resume it.
    pub password: SessionPassword,
    /// Whether this server is read-only. `None` where the byte is missing (before 3.4), which
    /// means that it is not.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// Encoded size without the trailing byte: a first frame that is shorter is something else
    /// (a read-only server of 3.7 and later refuses with a bare reply header of 16 bytes).
    pub const LEN_MIN: usize = 36;

    /// What a server answers when the session that was asked for is gone.
    pub const EXPIRED: Self = Self {
        timeout_ms: 0,
        session_id: 0,
        password: SessionPassword::NONE,
        read_only: None,
    };

    /// Reads a whole frame.
    pub fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        reader.i32("protocolVersion")?;
        let timeout_ms = reader.i32("timeOut")?;
        let session_id = reader.i64("sessionId")?;
        let password = read_password(&mut reader)?;
        let read_only = read_trailing_bool(&mut reader)?;
        Ok(Self {
            timeout_ms,
            session_id,
            password,
            read_only,
        })
    }
}

impl Record for ConnectResponse {
    fn encoded_len(&self) -> usize {
        4 + 4 + 8 + 4 + self.password.as_bytes().len() + usize::from(self.read_only.is_some())
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(PROTOCOL_VERSION);
        out.put_i32(self.timeout_ms);
        out.put_i64(self.session_id);
        put_buffer(out, Some(self.password.as_bytes()));
        if let Some(read_only) = self.read_only {
            out.put_u8(read_only.into());
        }
    }
}

/// The only one there is; servers ignore what a client sends.
const PROTOCOL_VERSION: i32 = 0;

fn read_password(reader: &mut Reader<'_>) -> Result<SessionPassword, DecodeError> {
    let at = reader.position();
    let bytes = reader.buffer("passwd")?.unwrap_or_default();
    SessionPassword::new(&bytes).map_err(|error| DecodeError { at, ..error })
}

fn read_trailing_bool(reader: &mut Reader<'_>) -> Result<Option<bool>, DecodeError> {
    if reader.remaining() == 0 {
        Ok(None)
    } else {
        reader.bool("readOnly").map(Some)
    }
}
