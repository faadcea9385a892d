//! Saying who one is.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use homing_protocol::ErrorCode;
use homing_session::{Answer, Authentication, Cause, Note, Secret};
use homing_transport::{Request as Submission, Ticket, block_on};

use crate::client::{Client, Core};
use crate::error::{Error, Subject};

impl Client {
    /// Adds an identity to the session: for the scheme `digest` the user's name, a colon and the
    /// password. It counts for every request that is submitted behind it, and is presented on
    /// every later connection before anything else.
    ///
    /// A password is sent in clear. Identities cannot be taken back.
    ///
    /// # Errors
    /// A server that refuses it ends the session, with
    /// [`SessionEnd::AuthFailed`](crate::SessionEnd) for everybody: `AuthFailed` here. A
    /// connection that is lost meanwhile is no failure, since the next one is told anew.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.add_auth("digest", b"bob:secret").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_auth(&self, scheme: &str, proof: &[u8]) -> AddAuth {
        let proof = Secret::new(proof);
        AddAuth {
            core: Arc::clone(&self.scope.core),
            authentication: Arc::new(Authentication {
                scheme: scheme.into(),
                proof,
            }),
            deadline: self.scope.core.settings.deadline,
        }
    }
}

/// An identity that has not been added yet; see [`Client::add_auth`]. It is run like a
/// [`Request`](crate::Request).
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// let adding = client.add_auth("digest", b"bob:secret");
/// assert!(!format!("{adding:?}").contains("secret"));
/// adding.wait()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is added until it is awaited, submitted or waited for"]
pub struct AddAuth {
    core: Arc<Core>,
    authentication: Arc<Authentication>,
    deadline: Option<Duration>,
}

impl AddAuth {
    /// Puts it in line now, to be awaited later.
    ///
    /// # Errors
    /// [`Error::Closed`] or [`Error::SessionEnded`] when the session is over.
    pub fn submit(self) -> Result<PendingAuth, Error> {
        let shared = &self.core.shared;
        // First for all later connections: one that begins right now has it twice, which does
        // no harm, rather than not at all.
        shared.authentications.add(Arc::clone(&self.authentication));
        let len = self.authentication.frame_len();
        let submission = Submission {
            len,
            within: self.deadline,
            note: Note::Auth {
                scheme: self.authentication.scheme.clone(),
            },
        };
        let put = |out: &mut _| self.authentication.put_frame(out);
        match shared.queue.submit_aside(submission, put) {
            Ok(ticket) => {
                let scheme = self.authentication.scheme.clone();
                Ok(PendingAuth {
                    core: self.core,
                    scheme,
                    ticket,
                })
            }
            Err(refused) => {
                let request = subject(&self.authentication.scheme);
                Err(self.core.refused(request, refused))
            }
        }
    }

    /// Blocks this thread until the server has accepted it.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent.
    pub fn wait(self) -> Result<(), Error> {
        self.core
            .driver
            .may_block()
            .map_err(Error::must_not_block)?;
        self.submit()?.wait()
    }
}

impl IntoFuture for AddAuth {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.submit()?.await })
    }
}

impl fmt::Debug for AddAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AddAuth")
            .field(&self.authentication)
            .finish()
    }
}

/// An identity that is on its way; see [`Client::add_auth`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// let added = client.add_auth("digest", b"bob:secret").submit()?;
/// let root = client.get("/").await?; // in Bob's name
/// added.await?;
/// # let _ = root;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it is added all the same, but nobody learns the outcome"]
pub struct PendingAuth {
    core: Arc<Core>,
    scheme: String,
    ticket: Ticket<Answer>,
}

impl PendingAuth {
    /// Blocks this thread until the server has accepted it.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked.
    pub fn wait(self) -> Result<(), Error> {
        let core = Arc::clone(&self.core);
        block_on(&*core.driver, self).map_err(Error::must_not_block)?
    }
}

impl Future for PendingAuth {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.ticket).poll(cx));
        let request = subject(&self.scheme);
        Poll::Ready(match answer {
            Ok(reply) if reply.err == 0 => Ok(()),
            Ok(reply) => {
                let code = ErrorCode::from_code(reply.err);
                Err(Error::Server {
                    request,
                    code,
                    chroot: String::new(),
                    hint: None,
                })
            }
            // The next connection is told anew, before anything else.
            Err(unanswered) if matches!(unanswered.cause, Cause::Lost(_)) => Ok(()),
            Err(unanswered) => Err(Error::unanswered(request, unanswered)),
        })
    }
}

fn subject(scheme: &str) -> Subject {
    Subject {
        op: "add_auth",
        path: scheme.into(),
    }
}
