//! What the server wants done and nobody has fetched yet.
//!
//! A real server keeps what it has for a client without a limit: a reply that was made counts for
//! nothing, and whoever reads none of them is read from all the same, until the memory is gone.
//! Here that has a bound. Who has asked for much and takes nothing is not read from
//! (`BACKLOG_PAUSE` in `connection.rs`), so that it is owed that much and the replies to what was
//! read already. But others make notifications for it, and a member of an ensemble whose thread is
//! paused goes on to apply what the others decide: there the connection ends at [`BACKLOG_MAX`].

use std::collections::VecDeque;

use crate::server::{ConnectionId, Output};

/// While so many bytes wait for one client, in the server or in front of its socket, nothing that
/// others have done is told to it any more: its connection is closed. One frame may exceed the
/// limit. Whoever reads what it is sent comes nowhere near.
pub(crate) const BACKLOG_MAX: usize = 64 << 20;

/// Outputs, in their order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    /// How many bytes there are to be sent in it.
    len: usize,
}

impl Outbox {
    pub(crate) fn push(&mut self, output: Output) {
        self.len += len(&output);
        self.queue.push_back(output);
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        let output = self.queue.pop_front()?;
        self.len -= len(&output);
        Some(output)
    }

    /// Forgets what was to be sent to a connection.
    pub(crate) fn drop_sends(&mut self, connection: ConnectionId) {
        self.queue.retain(|output| match output {
            Output::Send(to, frame) if *to == connection => {
                self.len -= frame.len();
                false
            }
            Output::Send(..) | Output::Close(_) => true,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many bytes are to be sent.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn len(output: &Output) -> usize {
    match output {
        Output::Send(_, frame) => frame.len(),
        Output::Close(_) => 0,
    }
}
