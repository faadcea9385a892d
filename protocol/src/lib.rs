//! The ZooKeeper wire protocol: bytes in, values out.
//!
//! This crate knows records, operations, error codes and frames, and nothing else: it does no
//! I/O, reads no clock, starts no thread and keeps no state. Both ends use it, the client's
//! session and the testkit's server.
//!
//! Everything is big-endian. A connection carries *frames*, an `i32` length followed by that
//! many bytes, in both directions:
//!
//! ```text
//! first frame      ConnectRequest              ConnectResponse
//! afterwards       RequestHeader, body         ReplyHeader, body (absent when err is not 0)
//! ```
//!
//! There is no operation code in a reply: whoever reads one must know which request it answers.
//!
//! Reading is total. Any bytes whatever give a value or a [`DecodeError`] that names the field
//! and the offset; nothing panics, and no length or count from the peer is used for an
//! allocation before it was compared with what is really there.
//!
//! ```
//! use homing_protocol::{GetData, ReplyHeader, RequestHeader, op, reply};
//! use bytes::{Bytes, BytesMut};
//!
//! // What a client sends for `getData("/a")` with xid 2 …
//! let request = GetData { path: "/a".into(), watch: false };
//! let mut frame = BytesMut::new();
//! homing_protocol::put_request(&mut frame, RequestHeader { xid: 2, op: op::GET_DATA }, &request);
//! assert_eq!(frame[..], *b"\0\0\0\x0f\0\0\0\x02\0\0\0\x04\0\0\0\x02/a\0");
//!
//! // … and what it makes of the answer "no such node".
//! let answer = Bytes::from_static(b"\0\0\0\x02\0\0\0\0\0\0\0\x03\xff\xff\xff\x9b");
//! let header = ReplyHeader::decode(&answer)?;
//! assert_eq!((header.xid, header.zxid, header.err), (2, 3, -101));
//! # Ok::<(), homing_protocol::DecodeError>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod codec;
mod connect;
mod data;
pub mod digest;
pub mod digest_md5;
mod ensemble;
mod error_code;
mod event;
pub mod frame;
mod header;
mod identifying;
pub mod incoming;
mod md5;
mod multi;
pub mod op;
mod path;
pub mod reply;
mod request;
mod text;
mod watching;

pub use codec::{DecodeError, DecodeErrorKind, Reader, Record, put_buffer, put_count, put_string};
pub use connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN_MAX, SessionPassword};
pub use data::{Acl, Id, Identity, Stat, permission};
pub use ensemble::{
    CONFIG_PATH, ClientAddress, EnsembleConfig, EnsembleConfigError, Member, MemberAddress, Role,
};
pub use error_code::ErrorCode;
pub use event::{EventType, WatchedEvent};
pub use header::{ReplyHeader, RequestHeader, xid};
pub use identifying::{Auth, SaslToken};
pub use multi::{Multi, MultiOp, MultiResult, MultiResults};
pub use path::{PathError, validate_path};
pub use request::{
    Check, CheckWatches, Create, CreateMode, Delete, Empty, Exists, GetAcl, GetAllChildrenNumber,
    GetChildren, GetData, GetEphemerals, PathRef, Reconfig, RemoveWatches, SetAcl, SetData, Sync,
    Ttl, WatcherType, put_request, request_len,
};
pub use watching::{AddWatch, AddWatchMode, SetWatches};
