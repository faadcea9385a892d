//! Four-letter words: what an administrator asks a server, without a session.
//!
//! Each goes over a short connection of its own, to one server, and tells about that server. A
//! server answers only the words in its whitelist (`4lw.commands.whitelist`): `srvr`, unless its
//! administrator has allowed more.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), homing::admin::Error> {
//! # let server = homing_testkit::FakeServer::start();
//! # let server = server.connect_string();
//! use homing::admin;
//!
//! let srvr = admin::srvr(&server).await?; // "zk1:2181"
//! println!("{} since {:#x}, {:?} nodes", srvr.mode, srvr.zxid, srvr.node_count);
//!
//! let text = admin::four_letter(&server, "srvr").await?; // any word, as the server wrote it
//! assert!(text.starts_with("Zookeeper version: "));
//!
//! let error = admin::four_letter(&server, "mntr").await.unwrap_err();
//! assert_eq!(error.why, admin::Why::NotInWhitelist);
//! # Ok(())
//! # }
//! ```
//!
//! They are rare and short, so there is no driver behind them, and no runtime is needed: a
//! plain thread asks, with time-outs, the one that called `wait` or, for `.await`, one that ends
//! with the answer.

mod ask;
mod parse;

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use homing_transport::{Secure, Slot};

pub use parse::{Isro, Mntr, Srvr};

/// Asks a server any four-letter word, and gives the answer as it is. The server is written as
/// in a connect string: `zk1:2181`, or `tls://zk1:2281`.
///
/// ```
/// # fn main() -> Result<(), homing::admin::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let server = server.connect_string();
/// let text = homing::admin::four_letter(&server, "srvr").wait()?;
/// assert!(text.contains("Mode: standalone"));
/// # Ok(())
/// # }
/// ```
pub fn four_letter(server: &str, word: &str) -> FourLetter<String> {
    FourLetter::new(server, word, Ok)
}

/// Asks `srvr`: version, role, last transaction, and a few figures.
///
/// ```
/// # fn main() -> Result<(), homing::admin::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let server = server.connect_string();
/// assert_eq!(homing::admin::srvr(&server).wait()?.mode, "standalone");
/// # Ok(())
/// # }
/// ```
pub fn srvr(server: &str) -> FourLetter<Srvr> {
    FourLetter::new(server, "srvr", |text| Srvr::parse(&text))
}

/// Asks `mntr`: everything that the server counts.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = homing_testkit::FakeServer::builder()
/// #     .config(|config| config.four_letter_words = vec!["*".into()])
/// #     .start()?;
/// # let server = server.connect_string();
/// let mntr = homing::admin::mntr(&server).wait()?;
/// println!("{:?} watches, {:?}", mntr.watch_count, mntr.get("zk_approximate_data_size"));
/// # Ok(())
/// # }
/// ```
pub fn mntr(server: &str) -> FourLetter<Mntr> {
    FourLetter::new(server, "mntr", |text| Mntr::parse(&text))
}

/// Asks `isro`: whether the server is read-only, for want of a quorum.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = homing_testkit::FakeServer::builder()
/// #     .config(|config| config.four_letter_words = vec!["isro".into()])
/// #     .start()?;
/// # let server = server.connect_string();
/// use homing::admin::{Isro, isro};
/// assert_eq!(isro(&server).wait()?, Isro::ReadWrite);
/// # Ok(())
/// # }
/// ```
pub fn isro(server: &str) -> FourLetter<Isro> {
    FourLetter::new(server, "isro", |text| Isro::parse(&text))
}

/// A question to a server that has not been asked. `.await` it, or `.wait()` for it on a plain
/// thread.
///
/// ```
/// # fn main() -> Result<(), homing::admin::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let server = server.connect_string();
/// use std::time::Duration;
/// let srvr = homing::admin::srvr(&server).within(Duration::from_secs(1)).wait()?;
/// # let _ = srvr;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is asked until it is awaited or waited for"]
pub struct FourLetter<T> {
    question: Question,
    parse: fn(String) -> Result<T, String>,
}

/// What to ask whom.
#[derive(Debug, Clone)]
struct Question {
    server: String,
    word: String,
    within: Duration,
    secure: Option<Arc<dyn Secure>>,
}

/// How long a server may take, unless it is set.
const WITHIN: Duration = Duration::from_secs(5);

impl<T> FourLetter<T> {
    fn new(server: &str, word: &str, parse: fn(String) -> Result<T, String>) -> Self {
        Self {
            question: Question {
                server: server.into(),
                word: word.into(),
                within: WITHIN,
                secure: None,
            },
            parse,
        }
    }

    /// How long it may take in all, the look-up of the server's name included; 5 s by default.
    pub fn within(mut self, duration: Duration) -> Self {
        self.question.within = duration;
        self
    }

    /// What makes the TLS, for a server that has `tls://` in front of its name: another
    /// implementation than the one that comes with this crate, which `tls` takes.
    pub fn secure(mut self, secure: impl Secure + 'static) -> Self {
        self.question.secure = Some(Arc::new(secure));
        self
    }

    /// Asks, and blocks this thread until there is an answer or the time is over. It does not
    /// need any other thread to go on, so no runtime is in danger; its worker is busy meanwhile,
    /// though.
    ///
    /// # Errors
    /// See [`Why`].
    pub fn wait(self) -> Result<T, Error> {
        let error = |why| self.question.error(why);
        let text = self.question.ask().map_err(error)?;
        (self.parse)(text).map_err(|what| error(Why::Malformed(what)))
    }
}

impl<T: Send + 'static> IntoFuture for FourLetter<T> {
    type Output = Result<T, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (slot, ticket) = Slot::new();
            let question = self.question.clone();
            let started = thread::Builder::new()
                .name("homing-admin".into())
                .spawn(move || {
                    // Nobody waits any more, if it is not taken.
                    if let Ok(Some(waker)) = slot.fill(self.wait()) {
                        waker.wake();
                    }
                });
            match started {
                Ok(_) => ticket.await,
                Err(error) => Err(question.error(Why::Connect(error.to_string()))),
            }
        })
    }
}

impl Question {
    fn error(&self, why: Why) -> Error {
        Error {
            server: self.server.clone(),
            word: self.word.clone(),
            why,
        }
    }
}

/// A four-letter word that was not answered.
///
/// ```
/// let error = homing::admin::four_letter("zk1:2181", "hello").wait().unwrap_err();
/// assert_eq!(error.to_string(), "hello at zk1:2181: it is no word of four letters");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Error {
    /// Who was asked, as it was written.
    pub server: String,
    /// What was asked.
    pub word: String,
    /// Why there is no answer.
    pub why: Why,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.word, self.server, self.why)
    }
}

impl std::error::Error for Error {}

/// Why a four-letter word was not answered.
///
/// ```
/// use homing::admin::Why;
/// assert_eq!(
///     Why::NotInWhitelist.to_string(),
///     "the server does not answer it: it is not in its whitelist (`4lw.commands.whitelist`)"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It is not one of them.
    NotAWord,
    /// The server is not written as one, and this is what is wrong.
    BadServer(String),
    /// The server could not be connected to, or the connection broke.
    Connect(String),
    /// It was to speak TLS, and that came to nothing; or it speaks TLS and was not to.
    Tls(String),
    /// It took longer than it may.
    TimedOut(Duration),
    /// The server is not allowed to answer this word.
    NotInWhitelist,
    /// The server is up, and has no quorum or is not ready yet.
    NotServing,
    /// The server closed the connection instead. It does not know the word, or it speaks TLS.
    NoAnswer,
    /// The answer is longer than this, in bytes.
    TooLong(usize),
    /// The answer makes no sense, and this is where.
    Malformed(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAWord => f.write_str("it is no word of four letters"),
            Self::BadServer(what) => f.write_str(what),
            Self::Connect(error) => write!(f, "the connection failed: {error}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::TimedOut(within) => write!(f, "no answer within {within:?}"),
            Self::NotInWhitelist => f.write_str(
                "the server does not answer it: it is not in its whitelist (`4lw.commands.whitelist`)",
            ),
            Self::NotServing => f.write_str("the server is not serving requests: it has no quorum"),
            Self::NoAnswer => f.write_str(
                "the server closed the connection: it does not know the word, or it speaks TLS only (`tls://`)",
            ),
            Self::TooLong(limit) => write!(f, "the answer has more than {limit} bytes"),
            Self::Malformed(what) => write!(f, "the answer makes no sense: {what}"),
        }
    }
}
