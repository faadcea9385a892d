//! What went over some connections, as a file of readable lines.
//!
//! A recording begins with a line that says what it is. Each other line is one happening: seconds
//! since the first connection, the number of the connection, an arrow, and what was said; behind a tab
//! follow the bytes as they went over the connection, so that they can be played again
//! by a replay. `cut -f1` leaves what is to be read:
//!
//! ```text
//! # homing-testkit recording 1
//! 0.000000 1 +
//! 0.000514 1 -> connect lastZxidSeen=0x0 timeOut=30000 sessionId=0 passwd[16]=*** readOnly=false
//! 0.002950 1 <- connected timeOut=30000 sessionId=0x100001be8c40000 passwd[16]=*** readOnly=false
//! 0.004104 1 -> xid=1 getData "/a" watch=false
//! 0.004390 1 <- xid=1 getData zxid=0x2 NoNode (-101)
//! 0.005001 1 ->|
//! 0.005173 1 |<-
//! ```
//!
//! | arrow | what happened |
//! | --- | --- |
//! | `+` | the connection was opened |
//! | `->` | the client said something |
//! | `<-` | the server said something |
//! | <code>-&gt;&#124;</code> | the client has nothing more to say |
//! | <code>&#124;&lt;-</code> | the server has nothing more to say |
//!
//! Other lines that begin with `#`, and empty ones, are remarks. A line break ends each line; where
//! the last one has none, it is cut off, and the file is no recording until it is deleted.
//!
//! # Secrets
//! The readable text never has passwords, credentials, SASL tokens or the hashes of access control
//! lists. They are masked among the bytes as well, unless [`Recorder::with_secrets`] was asked
//! for. The data of nodes is recorded as it is.

mod raw;
mod recorder;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::decode::Way;

pub(crate) use raw::is_masked;
pub use raw::{Raw, RawError};
pub use recorder::Recorder;

/// What a recording begins with, without its version.
const HEAD: &str = "# homing-testkit recording ";

/// The version of what is written here.
const VERSION: &str = "1";

/// What went over some connections, in the order in which it was seen.
///
/// `Display` and `FromStr` are its file:
///
/// ```
/// use homing_testkit::recording::{Happening, Recording};
/// let text = "# homing-testkit recording 1\n\
///             0.000000 1 +\n\
///             0.000514 1 -> word \"ruok\"\t72756f6b\n\
///             0.000702 1 <- text \"imok\"\t696d6f6b\n\
///             0.000702 1 |<-\n";
/// let recording: Recording = text.parse()?;
/// assert_eq!(recording.entries().len(), 4);
/// assert_eq!(recording.entries()[0].happening, Happening::Opened);
/// assert_eq!(recording.to_string(), text);
/// # Ok::<(), homing_testkit::recording::RecordingError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    entries: Vec<Entry>,
}

impl Recording {
    /// What happened, in its order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The first line of its file, without a line break.
    pub fn head() -> String {
        format!("{HEAD}{VERSION}")
    }
}

impl FromIterator<Entry> for Recording {
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        let entries = entries.into_iter().collect();
        Self { entries }
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Self::head())?;
        let mut entries = self.entries.iter();
        entries.try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

impl FromStr for Recording {
    type Err = RecordingError;

    fn from_str(text: &str) -> Result<Self, RecordingError> {
        let head = text.lines().next().unwrap_or("").trim_end();
        match head.strip_prefix(HEAD) {
            Some(VERSION) => {}
            Some(other) => return Err(Problem::Version(other.into()).at(1)),
            None => return Err(Problem::Head.at(1)),
        }
        let (whole, torn) = text.split_at(text.rfind('\n').map_or(0, |at| at + 1));
        let lines = (1..).zip(whole.lines());
        let lines = lines.filter(|(_, line)| !is_remark(line));
        let entries = lines.map(|(at, line)| Entry::parse(line).map_err(|it| it.at(at)));
        let recording = entries.collect::<Result<_, _>>()?;
        match is_remark(torn) {
            true => Ok(recording),
            // What is left of it may look like something that was not said.
            false => Err(Problem::CutOff.at(whole.lines().count() + 1)),
        }
    }
}

/// Whether a line says nothing. The first one, which says what a file is, looks like one too.
fn is_remark(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

/// One line of a recording.
///
/// ```
/// use std::time::Duration;
/// use homing_testkit::recording::{Entry, Happening};
/// let entry = Entry { at: Duration::from_millis(20), connection: 3, happening: Happening::Opened };
/// assert_eq!(entry.to_string(), "0.020000 3 +");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was seen, since the first connection. Kept in microseconds.
    pub at: Duration,
    /// On which connection: they are counted from 1, in the order in which they were opened.
    pub connection: u64,
    /// What happened.
    pub happening: Happening,
}

/// What happens on a connection.
///
/// ```
/// use homing_testkit::{decode::Way, recording::Happening};
/// let closed = Happening::Ended(Way::ToServer);
/// assert_eq!(closed.to_string(), "->|");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// The client connected.
    Opened,
    /// Somebody said something.
    Said {
        /// Who.
        way: Way,
        /// What, for people: one line.
        text: String,
        /// What, for machines, unless it was left out.
        raw: Option<Raw>,
    },
    /// Nothing more comes this way.
    Ended(Way),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at.as_secs(), self.at.subsec_micros());
        let connection = self.connection;
        write!(f, "{seconds}.{micros:06} {connection} {}", self.happening)
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened => f.write_str(OPENED),
            Self::Said { way, text, raw } => {
                write!(f, "{} {text}", arrow(*way))?;
                raw.iter().try_for_each(|raw| write!(f, "\t{raw}"))
            }
            Self::Ended(Way::ToServer) => f.write_str(CLIENT_ENDED),
            Self::Ended(Way::ToClient) => f.write_str(SERVER_ENDED),
        }
    }
}

const OPENED: &str = "+";
const CLIENT_ENDED: &str = "->|";
const SERVER_ENDED: &str = "|<-";

/// How a way is drawn.
pub(crate) fn arrow(way: Way) -> &'static str {
    match way {
        Way::ToServer => "->",
        Way::ToClient => "<-",
    }
}

impl Entry {
    fn parse(line: &str) -> Result<Self, Problem> {
        let mut parts = line.splitn(4, ' ');
        let mut part = |what| parts.next().ok_or(Problem::Missing(what));
        let (at, connection, mark) = (part("time")?, part("connection")?, part("arrow")?);
        let at = seconds(at).ok_or_else(|| Problem::Time(at.into()))?;
        let connection = connection
            .parse()
            .map_err(|_| Problem::Connection(connection.into()))?;
        let happening = match mark.trim_end() {
            OPENED => Happening::Opened,
            CLIENT_ENDED => Happening::Ended(Way::ToServer),
            SERVER_ENDED => Happening::Ended(Way::ToClient),
            "->" => said(Way::ToServer, parts.next().unwrap_or(""))?,
            "<-" => said(Way::ToClient, parts.next().unwrap_or(""))?,
            other => return Err(Problem::Arrow(other.into())),
        };
        Ok(Self {
            at,
            connection,
            happening,
        })
    }
}

fn said(way: Way, rest: &str) -> Result<Happening, Problem> {
    let (text, raw) = match rest.rsplit_once('\t') {
        Some((text, raw)) => (text, Some(raw.trim_end().parse().map_err(Problem::Raw)?)),
        None => (rest, None),
    };
    let text = text.into();
    Ok(Happening::Said { way, text, raw })
}

/// Reads seconds and their fraction, without the errors that a floating number would bring.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    // More than a century would be no time to wait for.
    let whole: u32 = whole.parse().ok()?;
    Some(Duration::new(whole.into(), nanos))
}

/// Why a file is no recording, and in which line.
///
/// ```
/// use homing_testkit::recording::Recording;
/// let text = "# homing-testkit recording 1\n0.000000 1 => hello\n";
/// let error = text.parse::<Recording>().unwrap_err();
/// assert_eq!(error.line(), 2);
/// assert_eq!(
///     error.to_string(),
///     r#"line 2: "=>" is none of the arrows: +, ->, <-, ->| or |<-"#
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingError {
    line: usize,
    problem: Problem,
}

impl RecordingError {
    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    Head,
    CutOff,
    Version(String),
    Missing(&'static str),
    Time(String),
    Connection(String),
    Arrow(String),
    Raw(RawError),
}

impl Problem {
    fn at(self, line: usize) -> RecordingError {
        RecordingError {
            line,
            problem: self,
        }
    }
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => write!(
                f,
                "this is no recording: it has to begin with \"{HEAD}{VERSION}\", as \
                 homing-testkit record writes it"
            ),
            Self::CutOff => {
                f.write_str("it is cut off, for no line break ends it: delete it to have the rest")
            }
            Self::Version(other) => write!(
                f,
                "a recording of version {other:?}, and this program reads version {VERSION}: \
                 record it again"
            ),
            Self::Missing(what) => write!(
                f,
                "no {what}: a line has seconds, a connection, an arrow, a text, a tab and bytes"
            ),
            Self::Time(text) => write!(f, "{text:?} is no number of seconds, such as 0.000514"),
            Self::Connection(text) => write!(f, "{text:?} is no number of a connection"),
            Self::Arrow(text) => write!(f, "{text:?} is none of the arrows: +, ->, <-, ->| or |<-"),
            Self::Raw(error) => write!(f, "the bytes behind the tab: {error}"),
        }
    }
}

impl std::error::Error for RecordingError {}
