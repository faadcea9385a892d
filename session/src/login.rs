//! What a connection says of who is there, and how it is got.

use std::fmt;
use std::sync::Arc;

use crate::auth::Authentication;
use crate::outside::Respondent;
use crate::sasl::Sasl;

/// What identifies a client on one connection.
///
/// ```
/// use homing_session::{Authentication, Login, Secret};
/// let bob = Authentication { scheme: "digest".into(), proof: Secret::new(b"bob:pw") };
/// let login = Login { sasl: None, authentications: vec![bob.into()] };
/// assert!(!format!("{login:?}").contains("pw"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// How SASL is done before anything else; `None` leaves it to the session's configuration.
    pub sasl: Option<Sasl>,
    /// Identities that are presented before those that were added to the session.
    pub authentications: Vec<Arc<Authentication>>,
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

    pub(crate) fn ask(&self, question: Q, respondent: Respondent<A>) {
        (self.0)(question, respondent);
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
