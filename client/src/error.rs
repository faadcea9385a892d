//! The one error, sorted by who is to blame and by what became of the request.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use homing_protocol::{DecodeError, ErrorCode, PathError};
use homing_session::{
    Attempt, Cause, ConnectStringError, ConnectionLost, SessionEnd, Unanswered, Unavailable,
    WatchEnd,
};
use homing_transport::{Fate, MustNotBlock, StartError};

/// Everything that can go wrong.
///
/// [`code`](Self::code) has the server's answer where there is one, and
/// [`may_have_been_applied`](Self::may_have_been_applied) what is known of a request that ended
/// without one. The text says what happened, to which path, and what to do about it where that
/// is known.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// use homing::ErrorCode;
/// let error = client.get("/nowhere").await.unwrap_err();
/// assert_eq!(error.code(), Some(ErrorCode::NoNode));
/// assert_eq!(error.to_string(), "get \"/nowhere\": NoNode (-101)");
/// assert!(!error.may_have_been_applied());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The server refused the request. It was not applied.
    Server {
        /// What was asked.
        request: Subject,
        /// Why it refused.
        code: ErrorCode,
        /// The chroot under which it was asked; empty for none.
        chroot: String,
        /// What the settings of the request add to the code. (The text of the error has this, or
        /// what can be said about the code in general.)
        hint: Option<&'static str>,
    },
    /// The server refused one operation of a transaction, and so all of it. Nothing of it was
    /// applied.
    Transaction {
        /// The operation that was refused: its own name and path, as they were given.
        request: Subject,
        /// Its place in the transaction; the first has 0.
        index: usize,
        /// Why it was refused.
        code: ErrorCode,
        /// The chroot under which it was asked; empty for none.
        chroot: String,
        /// What the settings of the operation add to the code, as for a single one.
        hint: Option<&'static str>,
    },
    /// No answer came, and the servers were asked what became of the request, as
    /// [`resolved`](crate::Request::resolved) does: it was not applied, and will not be.
    NotApplied {
        /// What was asked.
        request: Subject,
        /// Why no answer came.
        cause: Box<Self>,
    },
    /// No answer came, and it could not be found out what became of the request.
    Unresolved {
        /// What was asked.
        request: Subject,
        /// Why no answer came.
        cause: Box<Self>,
        /// What came of asking the servers.
        why: Box<Self>,
    },
    /// The request had been sent when the connection was lost, and no answer came: it may have
    /// been applied or not. (One that had not been sent would have waited for the next
    /// connection.)
    ConnectionLost {
        /// What was asked.
        request: Subject,
        /// Which connection, and how it was lost.
        lost: Arc<ConnectionLost>,
    },
    /// The deadline passed before an answer came. The session and other requests go on.
    Deadline {
        /// What was asked.
        request: Subject,
        /// Whether the server can have seen it.
        fate: Fate,
    },
    /// The session is over: it has expired, was detached, an identity was refused, or nothing
    /// drives it any more. Make a new client.
    SessionEnded {
        /// What was asked.
        request: Subject,
        /// Whether the server can have seen it.
        fate: Fate,
        /// How the session ended.
        end: SessionEnd,
    },
    /// No server could be connected to in so many rounds that
    /// [nobody is to wait](crate::Builder::fail_fast_after). It was not sent. The client goes on
    /// trying.
    Unavailable {
        /// What was asked.
        request: Subject,
        /// How often all servers were tried, and what went wrong last with each.
        unavailable: Arc<Unavailable>,
    },
    /// A persistent watch is over: the session has moved to a server that does not have such
    /// watches. The session goes on, and so do one-shot watches.
    WatchEnded {
        /// What was watched.
        request: Subject,
        /// Which server it is, and what it said.
        end: WatchEnd,
    },
    /// The client was closed before this was asked, or while it waited. It was not applied.
    Closed {
        /// What was asked.
        request: Subject,
    },
    /// As many requests or bytes are on their way as the client's limits allow. Nothing was
    /// sent. `.await` and `.wait()` wait instead.
    Busy {
        /// What was asked.
        request: Subject,
    },
    /// As many guaranteed deletions and protected creates are under way as the session keeps
    /// room for. Nothing was sent.
    TooManyGuaranteed {
        /// What was asked.
        request: Subject,
        /// The limit, see [`Builder::guaranteed_max`](crate::Builder::guaranteed_max).
        limit: usize,
    },
    /// The reply is over the limit and was thrown away. A write was applied.
    ReplyTooLarge {
        /// What was asked.
        request: Subject,
        /// The length of the reply in bytes.
        len: usize,
        /// The limit in bytes, see [`Builder::reply_len_max`](crate::Builder::reply_len_max).
        limit: usize,
    },
    /// The reply makes no sense. The session and other requests go on.
    MalformedReply {
        /// What was asked.
        request: Subject,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// The path is not one. Nothing was sent.
    BadPath {
        /// What was asked.
        request: Subject,
        /// What is wrong with it.
        why: PathError,
    },
    /// The request is larger than a server takes. Nothing was sent.
    RequestTooLarge {
        /// What was asked.
        request: Subject,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes, see
        /// [`Builder::request_len_max`](crate::Builder::request_len_max).
        limit: usize,
    },
    /// The connect string is not one.
    ConnectString(ConnectStringError),
    /// No server accepted the session in time.
    Connect {
        /// How long it was tried.
        after: Duration,
        /// What went wrong last with each server.
        attempts: Vec<Attempt>,
    },
    /// The transport cannot run here.
    Start(StartError),
    /// The client was used in a way that cannot work.
    Misuse {
        /// What it is, and what to do instead.
        what: String,
    },
}

/// What a request was about: its operation, and its path in the terms of the client's handle.
///
/// ```
/// let subject = homing::Subject { op: "get", path: "/config".into() };
/// assert_eq!(subject.to_string(), "get \"/config\"");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The name of the method that made the request.
    pub op: &'static str,
    /// The path that it was given; empty if it takes none, or several.
    pub path: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() && has_no_path(self.op) {
            true => f.write_str(self.op),
            false => write!(f, "{} {:?}", self.op, self.path),
        }
    }
}

impl Error {
    /// The server's error code, if the server refused the request or, of a transaction, one of
    /// its operations.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Server { code, .. } | Self::Transaction { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// What was asked, if this is about a request; of a transaction, the operation that was
    /// refused.
    pub fn request(&self) -> Option<&Subject> {
        match self {
            Self::Server { request, .. }
            | Self::Transaction { request, .. }
            | Self::NotApplied { request, .. }
            | Self::Unresolved { request, .. }
            | Self::TooManyGuaranteed { request, .. }
            | Self::ConnectionLost { request, .. }
            | Self::Deadline { request, .. }
            | Self::SessionEnded { request, .. }
            | Self::Unavailable { request, .. }
            | Self::WatchEnded { request, .. }
            | Self::Closed { request }
            | Self::Busy { request }
            | Self::ReplyTooLarge { request, .. }
            | Self::MalformedReply { request, .. }
            | Self::BadPath { request, .. }
            | Self::RequestTooLarge { request, .. } => Some(request),
            Self::ConnectString(_)
            | Self::Connect { .. }
            | Self::Start(_)
            | Self::Misuse { .. } => None,
        }
    }

    /// Whether the server may have applied the request. If not, it is safe to repeat.
    pub fn may_have_been_applied(&self) -> bool {
        match self {
            Self::ConnectionLost { .. }
            | Self::Unresolved { .. }
            | Self::ReplyTooLarge { .. }
            | Self::MalformedReply { .. } => true,
            Self::Deadline { fate, .. } | Self::SessionEnded { fate, .. } => {
                *fate == Fate::MaybeApplied
            }
            _ => false,
        }
    }

    /// Whether an answer may still be found out: it is not known what became of the request, and
    /// the session goes on.
    pub(crate) fn is_open(&self) -> bool {
        self.may_have_been_applied() && !matches!(self, Self::SessionEnded { .. })
    }

    /// The same error, told of another request.
    pub(crate) fn about(mut self, subject: &Subject) -> Self {
        match &mut self {
            Self::Server { request, .. }
            | Self::NotApplied { request, .. }
            | Self::Unresolved { request, .. }
            | Self::TooManyGuaranteed { request, .. }
            | Self::ConnectionLost { request, .. }
            | Self::Deadline { request, .. }
            | Self::SessionEnded { request, .. }
            | Self::Unavailable { request, .. }
            | Self::WatchEnded { request, .. }
            | Self::Closed { request }
            | Self::Busy { request }
            | Self::ReplyTooLarge { request, .. }
            | Self::MalformedReply { request, .. }
            | Self::BadPath { request, .. }
            | Self::RequestTooLarge { request, .. } => request.clone_from(subject),
            // Of a transaction, the operation is named that was refused.
            Self::Transaction { .. }
            | Self::ConnectString(_)
            | Self::Connect { .. }
            | Self::Start(_)
            | Self::Misuse { .. } => {}
        }
        self
    }

    pub(crate) fn bad_path(request: Subject, why: PathError) -> Self {
        Self::BadPath { request, why }
    }

    pub(crate) fn unanswered(request: Subject, unanswered: Unanswered) -> Self {
        let fate = unanswered.fate;
        match unanswered.cause {
            Cause::Deadline => Self::Deadline { request, fate },
            Cause::Lost(lost) => Self::ConnectionLost { request, lost },
            Cause::Ended(end) => Self::session_ended(request, fate, end),
            Cause::Unavailable(unavailable) => Self::Unavailable {
                request,
                unavailable,
            },
            Cause::ReplyTooLarge { len, limit } => Self::ReplyTooLarge {
                request,
                len,
                limit,
            },
            other => Self::Misuse {
                what: format!("{request}: {other}"),
            },
        }
    }

    pub(crate) fn session_ended(request: Subject, fate: Fate, end: SessionEnd) -> Self {
        match (end, fate) {
            (SessionEnd::Closed, Fate::NotSent) => Self::Closed { request },
            (end, fate) => Self::SessionEnded { request, fate, end },
        }
    }

    pub(crate) fn must_not_block(error: MustNotBlock) -> Self {
        Self::Misuse {
            what: error.to_string(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server {
                request,
                code,
                chroot,
                hint,
            } => write_refusal(f, request, *code, chroot, *hint),
            Self::Transaction {
                request,
                index,
                code,
                chroot,
                hint,
            } => {
                write!(f, "transaction[{index}]: ")?;
                write_refusal(f, request, *code, chroot, *hint)?;
                f.write_str("; nothing of the transaction was applied")
            }
            Self::NotApplied { request, cause } => {
                write!(f, "{request}: ")?;
                write_cause(f, cause)?;
                f.write_str("; the servers were asked since: it was not applied")
            }
            Self::Unresolved {
                request,
                cause,
                why,
            } => {
                write!(f, "{request}: ")?;
                write_cause(f, cause)?;
                write!(
                    f,
                    "; what became of it could not be found out: {why}; it may have been applied or not"
                )
            }
            Self::TooManyGuaranteed { request, limit } => write!(
                f,
                "{request}: `guaranteed_max` is reached: {limit} guaranteed deletions and protected creates are under way, or the paths of fewer are very long; it was not sent"
            ),
            Self::ConnectionLost { request, lost } => {
                write!(f, "{request}: {lost}; it may have been applied or not")
            }
            Self::Deadline { request, fate } => {
                write!(f, "{request}: the deadline passed; {}", fate_text(*fate))
            }
            Self::SessionEnded { request, fate, end } => {
                let fate = fate_text(*fate);
                let advice = match end {
                    SessionEnd::Expired { .. }
                    | SessionEnd::Replaced { .. }
                    | SessionEnd::PresumedExpired { .. } => {
                        "it takes a new session to go on, see `on_expiry`"
                    }
                    _ => "it takes a new client to go on",
                };
                write!(f, "{request}: {end}; {fate}; {advice}")
            }
            Self::Unavailable {
                request,
                unavailable,
            } => write!(f, "{request}: {unavailable}; it was not sent"),
            Self::WatchEnded { request, end } => write!(f, "{request}: {end}"),
            Self::Closed { request } => {
                write!(f, "{request}: the client was closed; it was not sent")
            }
            Self::Busy { request } => write!(
                f,
                "{request}: `requests_in_flight` or `bytes_in_flight` is reached, too many requests are on their way; it was not sent"
            ),
            Self::ReplyTooLarge {
                request,
                len,
                limit,
            } => write!(
                f,
                "{request}: the reply has {len} bytes, over the limit of {limit} (`reply_len_max`){}",
                if is_read(request.op) {
                    ""
                } else {
                    "; it was applied"
                }
            ),
            Self::MalformedReply { request, error } => {
                write!(
                    f,
                    "{request}: the reply is malformed: {error}; a write may have been applied"
                )
            }
            Self::BadPath { request, why } => write!(f, "{request}: not a path: {why}"),
            Self::RequestTooLarge {
                request,
                len,
                limit,
            } => write!(
                f,
                "{request}: the request has {len} bytes, over the limit of {limit} (`request_len_max`); it was not sent"
            ),
            Self::ConnectString(error) => error.fmt(f),
            Self::Connect { after, attempts } => {
                write!(f, "no server accepted the session within {after:?}")?;
                for attempt in attempts {
                    write!(f, "; {attempt}")?;
                }
                Ok(())
            }
            Self::Start(error) => error.fmt(f),
            Self::Misuse { what } => f.write_str(what),
        }
    }
}

fn write_refusal(
    f: &mut fmt::Formatter<'_>,
    request: &Subject,
    code: ErrorCode,
    chroot: &str,
    hint: Option<&'static str>,
) -> fmt::Result {
    write!(f, "{request}: {code}")?;
    if code == ErrorCode::NoNode && !chroot.is_empty() {
        write!(
            f,
            ", below the chroot {chroot:?}, which may itself not exist"
        )?;
    }
    match hint.map(Cow::Borrowed).or_else(|| advice(request.op, code)) {
        Some(hint) => write!(f, "; {hint}"),
        None => Ok(()),
    }
}

/// Why no answer came, without what that may mean: it was found out since.
fn write_cause(f: &mut fmt::Formatter<'_>, cause: &Error) -> fmt::Result {
    match cause {
        Error::ConnectionLost { lost, .. } => write!(f, "{lost}"),
        Error::Deadline { .. } => f.write_str("the deadline passed"),
        Error::MalformedReply { error, .. } => write!(f, "the reply is malformed: {error}"),
        Error::ReplyTooLarge { len, .. } => write!(f, "the reply has {len} bytes"),
        other => write!(f, "{other}"),
    }
}

fn fate_text(fate: Fate) -> &'static str {
    match fate {
        Fate::NotSent => "it was not sent",
        Fate::MaybeApplied => "it may have been applied or not",
    }
}

/// What somebody can do about a refusal who knows nothing but its code, and the operation.
fn advice(op: &str, code: ErrorCode) -> Option<Cow<'static, str>> {
    let text = match code {
        ErrorCode::SystemError => "something failed inside the server: its log may say what",
        ErrorCode::MarshallingError => {
            "the server could not read the request, and may be too old for it"
        }
        ErrorCode::Unimplemented => "the server does not know it, or has it switched off",
        ErrorCode::BadArguments if op == "delete" => {
            "`/` and the nodes of ZooKeeper itself cannot be deleted"
        }
        ErrorCode::BadArguments if op == "reconfig" => {
            "a server's text is not one, or too few would be left"
        }
        ErrorCode::BadArguments => "the server does not accept the path, or a setting",
        ErrorCode::NoAuth => {
            let (permission, node) = match op {
                "create" => ("CREATE", "the parent"),
                "delete" => ("DELETE", "the parent"),
                "set" => ("WRITE", "the node"),
                "set_acl" => ("ADMIN", "the node"),
                "acl" => ("READ or ADMIN", "the node"),
                "reconfig" => (
                    "WRITE",
                    "the node, which by default only the super user has",
                ),
                _ => ("READ", "the node"),
            };
            return Some(Cow::Owned(format!(
                "it takes {permission} on {node}: add an identity (`add_auth`) that has it in the access control list (`acl`)"
            )));
        }
        ErrorCode::BadVersion if op == "set_acl" => {
            "the list was set meanwhile: read it again (`acl`) for its `aversion`"
        }
        ErrorCode::BadVersion if op == "reconfig" => {
            "the configuration was changed meanwhile: read it again (`config`) for its `version`"
        }
        ErrorCode::BadVersion => "the node was set meanwhile: read it again for its `version`",
        ErrorCode::NewConfigNoQuorum => {
            "most of the new members must be connected to the leader and up to date first"
        }
        ErrorCode::ReconfigInProgress => "wait until the other one is done",
        ErrorCode::ReconfigDisabled => "servers allow it with `reconfigEnabled=true`",
        ErrorCode::NoChildrenForEphemerals => "its parent is ephemeral",
        ErrorCode::NotEmpty => "it has children, which must be deleted first",
        ErrorCode::SessionExpired => "the session ended before the server came to it",
        ErrorCode::InvalidAcl => {
            "the access control list is empty, or has a scheme or an id that the server does not accept; scheme `auth` takes an identity that was added before (`add_auth`)"
        }
        ErrorCode::AuthFailed => {
            "the server does not know the scheme or refuses the proof, and the session ends"
        }
        ErrorCode::NotReadOnly => {
            "the server is cut off from its ensemble and only serves reads until it is back"
        }
        ErrorCode::EphemeralOnLocalSession => {
            "the servers keep sessions local and do not upgrade them (`localSessionsUpgradingEnabled`)"
        }
        ErrorCode::SessionClosedRequireSaslAuth => {
            "the server serves nobody without an identity of the schemes that it enforces"
        }
        ErrorCode::QuotaExceeded => {
            "a hard limit of this node or one above it, set below `/zookeeper/quota`, is reached"
        }
        ErrorCode::ThrottledOp => "the server is overloaded and did not do it: try again later",
        _ => return None,
    };
    Some(Cow::Borrowed(text))
}

/// Whether it is about no path, or about several.
fn has_no_path(op: &str) -> bool {
    matches!(op, "transaction" | "read_many" | "whoami" | "changed_since")
}

/// Whether it changes nothing at the server.
pub(crate) fn is_read(op: &str) -> bool {
    matches!(
        op,
        "get"
            | "exists"
            | "children"
            | "acl"
            | "sync"
            | "config"
            | "ephemerals"
            | "descendant_count"
            | "read_many"
            | "whoami"
            | "changed_since"
    )
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::MalformedReply { error, .. } => Some(error),
            Self::BadPath { why, .. } => Some(why),
            Self::SessionEnded { end, .. } => Some(end),
            Self::NotApplied { cause, .. } | Self::Unresolved { cause, .. } => Some(cause),
            Self::ConnectString(error) => Some(error),
            Self::Start(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(op: &'static str, code: ErrorCode, hint: Option<&'static str>) -> String {
        let (path, chroot) = ("/a".into(), String::new());
        let request = Subject { op, path };
        let error = Error::Server {
            request,
            code,
            chroot,
            hint,
        };
        error.to_string()
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let rows = [
            ("get", ErrorCode::NoNode, "NoNode (-101)"),
            ("create", ErrorCode::NodeExists, "NodeExists (-110)"),
            ("get", ErrorCode::Unknown(-999), "unknown error code (-999)"),
            (
                "set",
                ErrorCode::BadVersion,
                "BadVersion (-103); the node was set meanwhile: read it again for its `version`",
            ),
            (
                "delete",
                ErrorCode::NotEmpty,
                "NotEmpty (-111); it has children, which must be deleted first",
            ),
            (
                "delete",
                ErrorCode::BadArguments,
                "BadArguments (-8); `/` and the nodes of ZooKeeper itself cannot be deleted",
            ),
            (
                "set",
                ErrorCode::QuotaExceeded,
                "QuotaExceeded (-125); a hard limit of this node or one above it, set below `/zookeeper/quota`, is reached",
            ),
            (
                "set",
                ErrorCode::ThrottledOp,
                "ThrottledOp (-127); the server is overloaded and did not do it: try again later",
            ),
            (
                "create",
                ErrorCode::NotReadOnly,
                "NotReadOnly (-119); the server is cut off from its ensemble and only serves reads until it is back",
            ),
        ];
        for (op, code, text) in rows {
            assert_eq!(refused(op, code, None), format!("{op} \"/a\": {text}"));
        }
    }

    #[test]
    fn what_the_request_knows_comes_before_what_the_code_says() {
        assert_eq!(
            refused("create", ErrorCode::Unimplemented, Some("it is too old")),
            "create \"/a\": Unimplemented (-6); it is too old"
        );
        assert_eq!(
            refused("sync", ErrorCode::Unimplemented, None),
            "sync \"/a\": Unimplemented (-6); the server does not know it, or has it switched off"
        );
    }
}
