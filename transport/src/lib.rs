//! What stands between a session and whatever moves its bytes.
//!
//! The layers of Homing share one thing, a [`Queue`]. Callers put requests into it, each with a
//! [slot](Ticket) for its answer that exists before the request leaves; a session, the
//! [`Engine`], decides what leaves and fills slots from what arrives; a [`Driver`] moves bytes.
//! Nobody calls anybody back: the owner of a request pulls its answer out of the slot.
//!
//! ```text
//!   caller                      session (Engine)                driver
//!     |  try_submit               |                               |
//!     |-----> slot, xid, bytes -->|  poll_transmit   Outgoing     |
//!     |       in one queue        |------------------------------>| one write call
//!     |                           |  handle_bytes    BytesMut     |
//!     |       pop, fill slots  <--|<------------------------------| one read call
//!     |<----- pull: poll or wait  |                               |
//! ```
//!
//! Nothing in this crate knows ZooKeeper. It serves any protocol in which one connection
//! carries requests that are answered strictly in order; `examples/src/bin/other_protocol.rs`
//! has one of its own. The crate reads no clock and opens no socket (but one for each
//! question of [`ask`], on a thread): time comes in as an argument, bytes come in and go out
//! through the [`Engine`].
//!
//! **The one rule**, which links to here refer to as *the turn*: whenever something happened,
//! a driver tells the engine with a `handle_*` call, and then always drains it: actions, bytes,
//! wakers. See [`Engine`].
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

pub mod ask;
mod block;
pub mod clock;
mod driver;
mod engine;
mod outgoing;
mod queue;
pub mod resolve;
mod secure;
mod slot;
mod sync;

pub use ask::{Asked, Question};
pub use block::{Signal, block_on};
pub use driver::{Driver, MustNotBlock, StartError, Transport};
pub use engine::{Action, Down, Engine};
pub use outgoing::Outgoing;
pub use queue::{
    Admission, Fate, Limits, Line, Outbox, Permit, Queue, Refused, Request, Turn, Usage,
};
pub use secure::{Layer, Passage, Secure, SecureAccept, SecureError, SecureStream};
pub use slot::{Slot, Ticket};
