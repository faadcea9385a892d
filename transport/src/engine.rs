//! What a driver drives.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::ask::{Asked, Question};
use crate::outgoing::Outgoing;
use crate::secure::{Layer, SecureError};

/// A session, seen from below: a state machine that owns no socket and reads no clock.
///
/// # How to write a driver
/// A driver owns a byte stream (or is about to get one), an [`Outgoing`] buffer, an input
/// buffer, and one engine. It works in *turns*:
///
/// 1. Tell what happened since the last turn, each with one call, in the order in which it
///    happened: [`handle_resolved`](Self::handle_resolved) for a lookup that was asked for,
///    [`handle_answer`](Self::handle_answer) for a question,
///    [`handle_connected`](Self::handle_connected) when the stream is open,
///    [`handle_bytes`](Self::handle_bytes) after each read,
///    [`handle_disconnected`](Self::handle_disconnected) when the stream is gone or could not
///    be opened.
/// 2. Call [`handle_turn`](Self::handle_turn), in every turn, whatever woke the driver. It
///    comes after what was read, so that an answer which is there already counts before a
///    deadline does, even if the driver itself was late.
/// 3. Carry out every [`poll_action`](Self::poll_action) until it answers `None`. Where an
///    action leads to a call of step 1 at once, make it, and go on.
/// 4. If the stream is open, call [`poll_transmit`](Self::poll_transmit) and write what
///    [`Outgoing`] holds, as far as the stream takes it, in as few calls as possible. If the
///    stream breaks here, offer what arrived before it broke, say `handle_disconnected`, and go
///    back to step 3: the engine may want another one.
/// 5. Call [`take_wakers`](Self::take_wakers) and wake them all, with no lock held.
/// 6. Sleep until the stream is ready, somebody [rings](crate::Driver::ring), a lookup or a
///    question is answered, or [`poll_timeout`](Self::poll_timeout) has passed. Right before it sleeps a
///    driver calls [`park`](Self::park); if the answer is `false`, it takes another turn at once.
///    From then on a ring must not be lost: one that comes before the driver sleeps ends the
///    sleep. A driver that has left something undone, so that others have their turn, does not
///    sleep either.
///
/// **The life of a stream.** An [`Action::Dial`] or [`Action::DialSecure`] is answered with
/// exactly one `handle_disconnected`, sooner or later, and at most one `handle_connected` before
/// it. An
/// [`Action::HangUp`] means: close the stream now, or stop dialling, and say
/// `handle_disconnected` with [`Down::HungUp`]; if the stream has just gone by itself, it asks
/// for nothing. There is at most one stream; after `handle_disconnected` the driver forgets its
/// input, and starts the next stream with an empty [`Outgoing`]. Whatever has arrived before the
/// end of a stream is offered before the end is told.
///
/// **Handing over.** A request counts as handed over when the stream accepted its first byte:
/// the server may have seen it. So a driver calls [`Outgoing::advance`] with exactly what each
/// write accepted, and gives the rest back in `handle_disconnected`.
///
/// **Layers.** An [`Action::DialSecure`] asks for a stream with a layer, such as TLS, between it
/// and the engine. [`Passage`](crate::Passage) has all that there is to do about it; through one
/// that is plain, a driver does both kinds of dials alike. A driver that has no layers answers
/// such a dial with [`Down::Secure`], or drops the engine; it never opens a stream without one.
///
/// **Time** is the same clock in every call, [`clock::now`](crate::clock::now), read once a turn:
/// monotonic, and it goes on while the machine sleeps. A driver that finds that the machine has
/// slept says so with [`handle_sleep`](Self::handle_sleep), before anything else of that turn. A
/// turn that comes too early is harmless, one that comes late delays pings and deadlines.
///
/// **The end.** After [`Action::Stop`] the driver drops the engine. It may also drop it at any
/// other time (its runtime is gone, say): an engine that is dropped completes every slot, and
/// calls the wakers itself.
pub trait Engine: fmt::Debug + Send {
    /// Takes in what callers submitted, and lets time pass.
    fn handle_turn(&mut self, now: Instant);

    /// The machine has slept for so long since the last turn. `now` counts it already; this tells
    /// sleep from a driver that is late.
    fn handle_sleep(&mut self, slept: Duration) {
        let _ = slept;
    }

    /// The answer to [`Action::Resolve`]: addresses, or why there are none.
    fn handle_resolved(&mut self, now: Instant, addresses: io::Result<Vec<SocketAddr>>);

    /// The answer to [`Action::Ask`], or why there is none.
    fn handle_answer(&mut self, now: Instant, answer: io::Result<Asked>) {
        let _ = (now, answer);
    }

    /// The stream that was asked for is open.
    fn handle_connected(&mut self, now: Instant);

    /// Bytes have arrived. The engine takes whole frames off the front of `input`; what it
    /// leaves is the beginning of one, to which the driver appends what it reads next.
    fn handle_bytes(&mut self, now: Instant, input: &mut BytesMut);

    /// The stream is gone or could not be opened. `unsent` is the driver's outgoing buffer with
    /// what was not written.
    fn handle_disconnected(&mut self, now: Instant, unsent: Outgoing, why: Down);

    /// What to do next; ask again after every `handle_*`, until it answers `None`.
    #[must_use]
    fn poll_action(&mut self) -> Option<Action>;

    /// Appends what is to be written to `out`. Only called while the stream is open; ask after
    /// every `handle_*`, and again when everything was written.
    fn poll_transmit(&mut self, now: Instant, out: &mut Outgoing);

    /// When to take the next turn if nothing happens before; `None` means that only an event
    /// can change anything. The answer may change with every other call.
    #[must_use]
    fn poll_timeout(&self) -> Option<Instant>;

    /// Moves the wakers of all slots that were filled to `into`. They are called when no lock is
    /// held, and never by the engine.
    fn take_wakers(&mut self, into: &mut Vec<Waker>);

    /// Declares that the driver is about to sleep, so that from now on a submission rings.
    /// `false` if something was submitted since [`handle_turn`](Self::handle_turn), which it
    /// would miss: then it does not sleep.
    #[must_use]
    fn park(&mut self) -> bool;
}

/// What an [`Engine`] wants its driver to do.
///
/// ```
/// use homing_transport::Action;
/// let action = Action::Dial { address: "127.0.0.1:2181".parse()? };
/// assert_eq!(format!("{action:?}"), "Dial { address: 127.0.0.1:2181 }");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look the name up (see [`resolve`](crate::resolve)) without blocking the driver, and give
    /// the answer to [`Engine::handle_resolved`]. There is at most one lookup or
    /// [question](Self::Ask) that matters: an answer to an earlier one is dropped by the driver.
    Resolve {
        /// A host name.
        host: String,
        /// The port that goes into the addresses.
        port: u16,
    },
    /// Open a stream to this address, without blocking. There is no stream at this time.
    Dial {
        /// Where to.
        address: SocketAddr,
    },
    /// The same, with a layer between the stream and the engine. It counts as open when the
    /// layer's handshake is done.
    DialSecure {
        /// Where to.
        address: SocketAddr,
        /// Which layer, and who the peer has to be.
        layer: Layer,
    },
    /// Ask a server something over a connection of its own, beside the stream if there is one
    /// (see [`ask`](crate::ask)), without blocking the driver, and give the answer to
    /// [`Engine::handle_answer`]. An answer to an earlier lookup or question is dropped.
    Ask(Question),
    /// Close the stream, or give up dialling.
    HangUp,
    /// It is over: drop the engine.
    Stop,
}

/// Why there is no stream (any more).
///
/// ```
/// use homing_transport::Down;
/// assert_eq!(Down::Closed.to_string(), "the peer closed the connection");
/// ```
#[derive(Debug)]
pub enum Down {
    /// It could not be opened.
    Dial(io::Error),
    /// The layer between stream and engine failed: it could not be begun, its handshake came to
    /// nothing, or the peer broke its rules later.
    Secure(SecureError),
    /// Reading or writing failed.
    Failed(io::Error),
    /// The peer closed it.
    Closed,
    /// The engine had asked for it with [`Action::HangUp`].
    HungUp,
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => write!(f, "could not connect: {error}"),
            Self::Secure(error) => write!(f, "TLS: {error}"),
            Self::Failed(error) => write!(f, "the connection failed: {error}"),
            Self::Closed => f.write_str("the peer closed the connection"),
            Self::HungUp => f.write_str("the connection was given up"),
        }
    }
}
