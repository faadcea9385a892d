//! Answers from outside: what somebody else finds out for a session, on a thread of theirs.
//!
//! A session waits for nobody. What can take time and is no I/O of the connection's (fresh
//! credentials, say) is asked for at the beginning of a step, and looked for at every turn until
//! the step's time is over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use homing_transport::{Queue, Slot, Ticket};

use crate::answer::{Answer, Note};

/// A question that a session has asked.
#[derive(Debug)]
pub(crate) struct Inquiry<T> {
    ticket: Ticket<Option<T>>,
}

impl<T> Inquiry<T> {
    /// A question, and what it is answered with. The session waits for so long.
    pub(crate) fn new(queue: &Arc<Queue<Note, Answer>>, within: Duration) -> (Self, Respondent<T>) {
        let (slot, ticket) = Slot::new();
        let queue = Arc::clone(queue);
        let respondent = Respondent {
            slot,
            queue,
            within,
        };
        (Self { ticket }, respondent)
    }

    /// The answer, if it is there: `Some(None)` if there will be none.
    pub(crate) fn poll(&mut self) -> Option<Option<T>> {
        self.ticket.try_pull()
    }
}

/// How a session is told what it has asked for: once, from any thread, at any time.
///
/// Dropping it tells that there will be no answer.
///
/// ```
/// fn tell(respondent: homing_session::Respondent<u32>) {
///     std::thread::spawn(move || respondent.answer(7));
/// }
/// ```
pub struct Respondent<T> {
    slot: Arc<Slot<Option<T>>>,
    queue: Arc<Queue<Note, Answer>>,
    within: Duration,
}

impl<T> Respondent<T> {
    /// Gives the answer, and makes the session look.
    pub fn answer(self, answer: T) {
        self.fill(Some(answer));
    }

    /// How long the session waits, counted from the question.
    pub fn within(&self) -> Duration {
        self.within
    }

    /// Whether the session still waits for it.
    pub fn is_awaited(&self) -> bool {
        self.slot.is_awaited()
    }

    fn fill(&self, answer: Option<T>) {
        // Nobody polls the other side: the session looks when it takes a turn.
        if self.slot.fill(answer).is_ok() {
            self.queue.nudge();
        }
    }
}

impl<T> Drop for Respondent<T> {
    fn drop(&mut self) {
        self.fill(None);
    }
}

impl<T> fmt::Debug for Respondent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Respondent")
    }
}

/// How a session asks somebody else, who answers when he can: a function that must not block.
///
/// ```
/// use homing_session::Ask;
/// let ask = Ask::new(|question: u32, respondent| {
///     std::thread::spawn(move || respondent.answer(question + 1));
/// });
/// assert_eq!(format!("{ask:?}"), "Ask");
/// ```
pub struct Ask<Q, A>(Arc<AskFn<Q, A>>);

type AskFn<Q, A> = dyn Fn(Q, Respondent<A>) + Send + Sync;

impl<Q, A> Ask<Q, A> {
    /// Asks by calling this function.
    pub fn new(ask: impl Fn(Q, Respondent<A>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Asks, and says where the answer will be, if it comes in time.
    pub(crate) fn ask(
        &self,
        queue: &Arc<Queue<Note, Answer>>,
        question: Q,
        within: Duration,
    ) -> Inquiry<A> {
        let (inquiry, respondent) = Inquiry::new(queue, within);
        (self.0)(question, respondent);
        inquiry
    }
}

impl<Q, A> Clone for Ask<Q, A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Q, A> fmt::Debug for Ask<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homing_transport::Limits;

    #[test]
    fn an_answer_is_given_once_and_makes_the_session_look() {
        let queue = Arc::new(Queue::new(Limits::default()));
        assert!(queue.park());
        let (mut inquiry, respondent) = Inquiry::new(&queue, Duration::from_secs(1));
        assert_eq!(respondent.within(), Duration::from_secs(1));
        assert!(respondent.is_awaited());
        assert_eq!(inquiry.poll(), None);
        respondent.answer(7);
        assert!(!queue.park(), "there is something to look at");
        assert_eq!(inquiry.poll(), Some(Some(7)));
        assert_eq!(inquiry.poll(), None);
    }

    #[test]
    fn somebody_who_goes_away_leaves_no_one_waiting() {
        let queue = Arc::new(Queue::new(Limits::default()));
        let (mut inquiry, respondent) = Inquiry::<u32>::new(&queue, Duration::ZERO);
        drop(respondent);
        assert_eq!(inquiry.poll(), Some(None));
    }
}
