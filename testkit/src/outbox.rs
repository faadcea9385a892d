//! What the server wants done and nobody has fetched yet.

use std::collections::VecDeque;

use crate::server::Output;

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
