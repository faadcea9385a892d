//! A recording, made ready to be played.

use std::collections::BTreeMap;
use std::time::Duration;

use homing_protocol::op;

use crate::decode::{Piece, Stream, Way, What};
use crate::recording::{Entry, Happening, Recording};
use crate::replay::ReplayError;

/// One thing that happened, and is to happen again.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) connection: u64,
    pub(super) action: Action,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Open,
    Say(Way, Piece),
    End(Way),
}

/// The steps of a recording, or why it cannot be played.
pub(super) fn of(recording: &Recording) -> Result<Vec<Step>, ReplayError> {
    let mut streams = BTreeMap::<u64, Stream>::new();
    let mut steps = Vec::new();
    for entry in recording.entries() {
        let stream = streams.entry(entry.connection).or_default();
        let step = |action| Step {
            at: entry.at,
            connection: entry.connection,
            action,
        };
        match &entry.happening {
            Happening::Opened => steps.push(step(Action::Open)),
            Happening::Ended(way) => steps.push(step(Action::End(*way))),
            Happening::Said { way, raw, .. } => {
                let raw = raw.as_ref().ok_or_else(|| ReplayError::no_bytes(entry))?;
                stream.push(*way, raw.bytes());
                let whole = std::iter::from_fn(|| stream.next(*way));
                let mut pieces: Vec<_> = whole.collect();
                pieces.extend(stream.finish(*way));
                for piece in pieces {
                    check(entry, *way, &piece, raw.is_masked())?;
                    steps.push(step(Action::Say(*way, piece)));
                }
            }
        }
    }
    match steps
        .iter()
        .any(|step| matches!(step.action, Action::Say(..)))
    {
        true => Ok(steps),
        false => Err(ReplayError::silent()),
    }
}

fn check(entry: &Entry, way: Way, piece: &Piece, is_masked: bool) -> Result<(), ReplayError> {
    match piece.decoded().map(|decoded| decoded.what) {
        Some(What::Request { op: op::SASL, .. }) => Err(ReplayError::sasl(entry)),
        // The password is that of the session as it is now.
        Some(What::ConnectRequest) => Ok(()),
        _ if is_masked && way == Way::ToServer => Err(ReplayError::masked(entry)),
        _ => Ok(()),
    }
}

impl Step {
    /// Whether it is a ping or its answer, which come whenever a client is idle.
    pub(super) fn is_ping(&self) -> bool {
        matches!(&self.action, Action::Say(_, piece) if is_ping(piece))
    }

    pub(super) fn is_said_by_client(&self) -> bool {
        matches!(&self.action, Action::Say(Way::ToServer, _))
    }
}

pub(super) fn is_ping(piece: &Piece) -> bool {
    let what = piece.decoded().map(|decoded| decoded.what);
    matches!(
        what,
        Some(
            What::Request { op: op::PING, .. }
                | What::Reply {
                    op: Some(op::PING),
                    ..
                }
        )
    )
}
