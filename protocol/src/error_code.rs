//! Why a server refused a request.

use std::fmt;

/// An error code of a reply, by ZooKeeper's name for it.
///
/// ```
/// use homing_protocol::ErrorCode;
/// assert_eq!(ErrorCode::NoNode.to_string(), "NoNode (-101)");
/// assert_eq!(ErrorCode::from_code(-101), ErrorCode::NoNode);
/// // A server may know codes that this crate does not.
/// assert_eq!(ErrorCode::from_code(-999), ErrorCode::Unknown(-999));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// Something went wrong inside the server.
    SystemError,
    /// In a transaction: this operation stood behind the one that failed.
    RuntimeInconsistency,
    /// The server could not read the request.
    MarshallingError,
    /// The server does not know this operation, or has it switched off.
    Unimplemented,
    /// The server took too long inside.
    OperationTimeout,
    /// An argument is not valid: a path, flags, a time to live.
    BadArguments,
    /// The server does not know the session.
    UnknownSession,
    /// A reconfiguration has no quorum of servers that are in sync.
    NewConfigNoQuorum,
    /// Another reconfiguration is under way.
    ReconfigInProgress,
    /// There is no such node.
    NoNode,
    /// The access control list does not allow it.
    NoAuth,
    /// The version that was asked for is not the node's.
    BadVersion,
    /// An ephemeral node cannot have children.
    NoChildrenForEphemerals,
    /// There is such a node already.
    NodeExists,
    /// The node has children.
    NotEmpty,
    /// The session is over.
    SessionExpired,
    /// The access control list is empty or not valid.
    InvalidAcl,
    /// The authentication was refused.
    AuthFailed,
    /// The session has moved to another server.
    SessionMoved,
    /// The server is read-only.
    NotReadOnly,
    /// A local session cannot have ephemeral nodes.
    EphemeralOnLocalSession,
    /// There is no such watch.
    NoWatcher,
    /// Reconfiguration is switched off.
    ReconfigDisabled,
    /// The server wants an authentication first.
    SessionClosedRequireSaslAuth,
    /// A hard quota does not allow it.
    QuotaExceeded,
    /// The server was too busy and did not do it.
    ThrottledOp,
    /// A code that is none of the above.
    Unknown(i32),
}

/// Codes and names, in one place for both directions.
const CODES: [(ErrorCode, i32, &str); 26] = [
    (ErrorCode::SystemError, -1, "SystemError"),
    (ErrorCode::RuntimeInconsistency, -2, "RuntimeInconsistency"),
    (ErrorCode::MarshallingError, -5, "MarshallingError"),
    (ErrorCode::Unimplemented, -6, "Unimplemented"),
    (ErrorCode::OperationTimeout, -7, "OperationTimeout"),
    (ErrorCode::BadArguments, -8, "BadArguments"),
    (ErrorCode::UnknownSession, -12, "UnknownSession"),
    (ErrorCode::NewConfigNoQuorum, -13, "NewConfigNoQuorum"),
    (ErrorCode::ReconfigInProgress, -14, "ReconfigInProgress"),
    (ErrorCode::NoNode, -101, "NoNode"),
    (ErrorCode::NoAuth, -102, "NoAuth"),
    (ErrorCode::BadVersion, -103, "BadVersion"),
    (
        ErrorCode::NoChildrenForEphemerals,
        -108,
        "NoChildrenForEphemerals",
    ),
    (ErrorCode::NodeExists, -110, "NodeExists"),
    (ErrorCode::NotEmpty, -111, "NotEmpty"),
    (ErrorCode::SessionExpired, -112, "SessionExpired"),
    (ErrorCode::InvalidAcl, -114, "InvalidAcl"),
    (ErrorCode::AuthFailed, -115, "AuthFailed"),
    (ErrorCode::SessionMoved, -118, "SessionMoved"),
    (ErrorCode::NotReadOnly, -119, "NotReadOnly"),
    (
        ErrorCode::EphemeralOnLocalSession,
        -120,
        "EphemeralOnLocalSession",
    ),
    (ErrorCode::NoWatcher, -121, "NoWatcher"),
    (ErrorCode::ReconfigDisabled, -123, "ReconfigDisabled"),
    (
        ErrorCode::SessionClosedRequireSaslAuth,
        -124,
        "SessionClosedRequireSaslAuth",
    ),
    (ErrorCode::QuotaExceeded, -125, "QuotaExceeded"),
    (ErrorCode::ThrottledOp, -127, "ThrottledOp"),
];

impl ErrorCode {
    /// The code's meaning; [`Unknown`](Self::Unknown) for one that has none here.
    pub fn from_code(code: i32) -> Self {
        let known = CODES.iter().find(|(_, number, _)| *number == code);
        known.map_or(Self::Unknown(code), |(meaning, _, _)| *meaning)
    }

    /// The code on the wire.
    pub fn code(self) -> i32 {
        match self {
            Self::Unknown(code) => code,
            known => CODES
                .iter()
                .find(|row| row.0 == known)
                .map_or(0, |row| row.1),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = CODES
            .iter()
            .find(|row| row.0 == *self)
            .map_or("unknown error code", |row| row.2);
        write!(f, "{name} ({})", self.code())
    }
}
