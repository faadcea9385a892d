//! Many reads in few requests.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::Range;
use std::pin::Pin;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{
    DecodeError, ErrorCode, GetData, Multi, MultiOp, MultiResult, MultiResults, op, reply,
    validate_path,
};
use homing_transport::block_on;

use super::children::{GetChildren, Names};
use super::get::{Get, Node};
use super::{Path, many};
use crate::client::{Client, Scope};
use crate::error::{Error, Subject};
use crate::feature::Feature;
use crate::request::{Operation, Request, sealed};

impl Client {
    /// Reads many nodes in few requests: [`get`](ReadMany::get) and
    /// [`children`](ReadMany::children) add one read after the other. Each succeeds or fails by
    /// itself, and the outcomes come in the order in which the reads were added.
    ///
    /// It is no snapshot: writes of others can come in between. A read that is to be seen
    /// together with others belongs into a [`transaction`](Self::transaction) as a `check`.
    ///
    /// # How it is cut
    /// The reads go out in as few requests as their answers are expected to fit into, all at
    /// once; the protocol has no limit on an answer, and one over
    /// [`reply_len_max`](crate::Builder::reply_len_max) is thrown away. So the length of an
    /// answer is guessed: [4 KiB for each read](ReadMany::expect_bytes), unless told otherwise,
    /// and no more than 1,000 reads in a request. Where the guess was wrong, **the reads of that
    /// request are asked again**, in smaller pieces, down to one by one; reads change nothing, so
    /// the price is time. A single one that is too large fails with `ReplyTooLarge`. (Beyond
    /// 64 MiB an answer is not even read to be thrown away: it costs the connection.)
    ///
    /// A server before 3.6 knows no such request. It is asked for each node by itself then, also
    /// when this is only found out by its refusal, which [costs](Self::supports) a connection. (So
    /// long as it is not known, the first request goes out alone.)
    ///
    /// This may be several requests, so it cannot be submitted, only awaited or waited for.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/a", b"1").await?;
    /// client.create("/a/x", b"").await?;
    /// let found = client.read_many().get("/a").get("/nowhere").children("/a").await?;
    /// assert_eq!(found[0].as_ref().ok().and_then(|found| found.node()).unwrap().data, "1");
    /// assert_eq!(found[1].as_ref().unwrap_err().to_string(), "get \"/nowhere\": NoNode (-101)");
    /// assert_eq!(found[2].as_ref().ok().and_then(|found| found.names()).unwrap().sorted(), ["x"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_many<'a>(&self) -> ReadMany<'a> {
        ReadMany {
            first: Request::new(&self.scope, Batch::default()),
            reads: Vec::new(),
            expected: EXPECTED,
        }
    }
}

/// How long the answer to one read is expected to be, in bytes.
const EXPECTED: usize = 4 << 10;
/// So many reads go into a request at most.
const READS_MAX: usize = 1_000;

/// Reads that are to be made together; see [`Client::read_many`].
///
/// # Errors
/// Of all at once: [`Error::BadPath`] for a path that is none, before anything is sent; what
/// keeps a request from being answered, such as a lost connection. Of each by itself: those of
/// [`Client::get`] and [`Client::children`], and [`Error::ReplyTooLarge`].
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// let names = ["/zookeeper", "/zookeeper/quota"];
/// let reads = names.iter().fold(client.read_many(), |reads, name| reads.get(*name));
/// assert!(reads.wait()?.iter().all(Result::is_ok));
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is read until it is awaited or waited for"]
pub struct ReadMany<'a> {
    /// The first request, without the reads: what others are made like.
    first: Request<Batch<'a>>,
    reads: Vec<One<'a>>,
    expected: usize,
}

#[derive(Debug, Clone)]
enum One<'a> {
    Get(Path<'a>),
    Children(Path<'a>),
}

/// What one read has found.
///
/// ```
/// use homing::Found;
/// fn length(found: &Found) -> usize {
///     found.node().map_or(0, |node| node.data.len())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// `get`: the node's data and stat.
    Node(Node),
    /// `children`: the names of the node's children. Its stat is not told.
    Children(Names),
}

impl Found {
    /// The node that was read by a `get`.
    pub fn node(&self) -> Option<&Node> {
        match self {
            Self::Node(node) => Some(node),
            Self::Children(_) => None,
        }
    }

    /// The names that were listed by a `children`.
    pub fn names(&self) -> Option<&Names> {
        match self {
            Self::Node(_) => None,
            Self::Children(names) => Some(names),
        }
    }
}

/// What became of each read.
type Outcomes = Vec<Result<Found, Error>>;

impl<'a> ReadMany<'a> {
    /// Reads a node's data and stat; see [`Client::get`].
    pub fn get(mut self, path: impl Into<Cow<'a, str>>) -> Self {
        self.reads.push(One::Get(path.into()));
        self
    }

    /// Lists the names of a node's children; see [`Client::children`].
    pub fn children(mut self, path: impl Into<Cow<'a, str>>) -> Self {
        self.reads.push(One::Children(path.into()));
        self
    }

    /// How many bytes the answer to one read is expected to have on average: data or names, and
    /// some 80 bytes beside. 4 KiB unless set; 0 counts as one. A guess too high makes more
    /// requests than it takes, one too low has answers thrown away.
    pub fn expect_bytes(mut self, len: usize) -> Self {
        self.expected = len.max(1);
        self
    }

    /// How long an answer is waited for, to each of the requests; see [`Request::deadline`].
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.first = self.first.deadline(deadline);
        self
    }

    /// Puts a sync in line right before them; see [`Request::synced`].
    pub fn synced(mut self) -> Self {
        self.first.set_synced();
        self
    }

    /// Blocks this thread until all is read.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent.
    pub fn wait(self) -> Result<Vec<Result<Found, Error>>, Error> {
        let core = Arc::clone(&self.first.scope.core);
        block_on(&*core.driver, self.run()).map_err(Error::must_not_block)?
    }

    async fn run(self) -> Result<Outcomes, Error> {
        self.reads.iter().try_for_each(One::check_path)?;
        let knowledge = &self.first.scope.core.shared.knowledge;
        let is_known = knowledge.of(Feature::MultiRead.op());
        if is_known == Some(false) {
            return self.one_by_one().await;
        }
        let mut outcomes: Vec<Option<Result<Found, Error>>> = Vec::new();
        outcomes.resize_with(self.reads.len(), || None);
        let mut todo = self.plan();
        // A server that may not know it is asked once, and not for all pieces at once.
        let mut later = match is_known {
            None if todo.len() > 1 => todo.split_off(1),
            _ => Vec::new(),
        };
        while !todo.is_empty() {
            let pieces = std::mem::take(&mut todo);
            todo.append(&mut later);
            let requests = pieces.iter().map(|piece| self.request(piece.clone()));
            let answers = many::all(requests.collect::<Vec<_>>()).await;
            if answers.iter().any(is_unimplemented) {
                return self.one_by_one().await;
            }
            for (piece, answer) in pieces.into_iter().zip(answers) {
                match answer {
                    Ok(found) => {
                        let places = outcomes.iter_mut().skip(piece.start);
                        places
                            .zip(found)
                            .for_each(|(place, found)| *place = Some(found));
                    }
                    Err(error) => match split(&piece, &error) {
                        Some(pieces) => todo.extend(pieces),
                        None => outcomes[piece.start] = Some(Err(self.alone(&piece, error)?)),
                    },
                }
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Which reads go together.
    fn plan(&self) -> Vec<Range<usize>> {
        let scope = &self.first.scope;
        let settings = &scope.core.settings;
        let reads_max = (settings.reply_len_max / self.expected).clamp(1, READS_MAX);
        let mut pieces = Vec::new();
        let (mut start, mut len) = (0, ENVELOPE_LEN);
        for (at, read) in self.reads.iter().enumerate() {
            let read_len = READ_LEN + scope.chroot.len() + read.path().len();
            let is_full = at - start >= reads_max || len + read_len > settings.request_len_max;
            if is_full && at > start {
                pieces.push(start..at);
                (start, len) = (at, ENVELOPE_LEN);
            }
            len += read_len;
        }
        if start < self.reads.len() {
            pieces.push(start..self.reads.len());
        }
        pieces
    }

    fn request(&self, piece: Range<usize>) -> Request<Batch<'a>> {
        let reads = self.reads[piece.clone()].to_vec();
        let mut request = self.first.alike(Batch { reads });
        // One sync is enough for all that are in line behind it.
        if self.first.is_synced() && piece.start == 0 {
            request.set_synced();
        }
        request
    }

    /// The error of a single read, if it is none of all.
    fn alone(&self, piece: &Range<usize>, error: Error) -> Result<Error, Error> {
        match error {
            Error::ReplyTooLarge { len, limit, .. } if piece.len() == 1 => {
                Ok(Error::ReplyTooLarge {
                    request: self.reads[piece.start].subject(),
                    len,
                    limit,
                })
            }
            error => Err(error),
        }
    }

    /// For servers that know nothing else.
    async fn one_by_one(self) -> Result<Outcomes, Error> {
        let like = &self.first;
        let gets = self.reads.iter().filter_map(|read| match read {
            One::Get(path) => Some(like.alike(Get::new(path.clone()))),
            One::Children(_) => None,
        });
        let lists = self.reads.iter().filter_map(|read| match read {
            One::Get(_) => None,
            One::Children(path) => Some(like.alike(GetChildren::new(path.clone()))),
        });
        if like.is_synced() {
            like.alike(super::Sync::root()).await?;
        }
        let (gets, lists): (Vec<_>, Vec<_>) = (gets.collect(), lists.collect());
        let mut nodes = many::all(gets).await.into_iter();
        let mut names = many::all(lists).await.into_iter();
        let mut outcomes = Vec::with_capacity(self.reads.len());
        for read in &self.reads {
            let outcome = match read {
                One::Get(_) => nodes.next().map(|node| node.map(Found::Node)),
                One::Children(_) => names
                    .next()
                    .map(|names| names.map(|names| Found::Children(names.into()))),
            };
            match outcome {
                Some(Ok(found)) => outcomes.push(Ok(found)),
                Some(Err(error)) => match error {
                    Error::Server { .. } | Error::ReplyTooLarge { .. } => outcomes.push(Err(error)),
                    error => return Err(error),
                },
                None => {}
            }
        }
        Ok(outcomes)
    }
}

/// The frame's length, the header, and what stands behind the last read: in bytes.
const ENVELOPE_LEN: usize = 8 + 9;
/// A read without its path: the header before it, the path's length, the watch.
const READ_LEN: usize = 9 + 4 + 1;

fn is_unimplemented<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(error) if error.code() == Some(ErrorCode::Unimplemented))
}

/// Smaller pieces, if the answer was too large and there are any.
fn split(piece: &Range<usize>, error: &Error) -> Option<Vec<Range<usize>>> {
    let parts = match error {
        Error::ReplyTooLarge { len, limit, .. } => len / (*limit).max(1) + 2,
        // A server that could not put it together.
        error if error.code() == Some(ErrorCode::MarshallingError) => 2,
        _ => return None,
    };
    if piece.len() < 2 {
        return None;
    }
    let step = (piece.len() / parts).max(1);
    let starts = piece.clone().step_by(step);
    Some(starts.map(|at| at..(at + step).min(piece.end)).collect())
}

impl<'a> IntoFuture for ReadMany<'a> {
    type Output = Result<Vec<Result<Found, Error>>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for ReadMany<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadMany")
            .field("reads", &self.reads)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

impl One<'_> {
    fn path(&self) -> &str {
        match self {
            Self::Get(path) | Self::Children(path) => path,
        }
    }

    fn subject(&self) -> Subject {
        Subject {
            op: match self {
                Self::Get(_) => Get::NAME,
                Self::Children(_) => GetChildren::NAME,
            },
            path: self.path().into(),
        }
    }

    fn check_path(&self) -> Result<(), Error> {
        validate_path(self.path()).map_err(|why| Error::bad_path(self.subject(), why))
    }

    /// What it has found, which is the next.
    fn found(
        &self,
        scope: &Scope,
        frame: &Bytes,
        results: &mut MultiResults<'_>,
    ) -> Result<Result<Found, Error>, DecodeError> {
        Ok(match (self, results.next().transpose()?) {
            (Self::Get(_), Some(MultiResult::Data(data, stat))) => {
                let data = data.map(|data| own(data, frame));
                Ok(Found::Node(Node::new(data, stat)))
            }
            (Self::Children(_), Some(MultiResult::Children(count, names))) => {
                Ok(Found::Children(Names::new(count, own(names, frame))?))
            }
            (_, Some(MultiResult::Failed(code))) => Err(Error::Server {
                request: self.subject(),
                code: ErrorCode::from_code(code),
                chroot: scope.chroot.clone(),
                hint: None,
            }),
            _ => return Err(results.unexpected()),
        })
    }
}

/// Keeping a part must not keep the whole, unless it is most of it.
fn own(part: Bytes, frame: &Bytes) -> Bytes {
    match part.len() < frame.len() / 2 {
        true => Bytes::copy_from_slice(&part),
        false => part,
    }
}

/// The reads of one request.
#[derive(Debug, Clone, Default)]
struct Batch<'a> {
    reads: Vec<One<'a>>,
}

impl sealed::Sealed for Batch<'_> {}

impl Operation for Batch<'_> {
    type Output = Outcomes;
    const NAME: &'static str = "read_many";
    type Body<'b>
        = Multi<Bodies<'b>>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::MULTI_READ
    }

    fn path(&self) -> &str {
        ""
    }

    fn check_path(&self) -> Result<(), Error> {
        Ok(())
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> Multi<Bodies<'b>> {
        Multi(Bodies {
            reads: self.reads.iter(),
            scope,
        })
    }

    fn decode(&mut self, scope: &Scope, frame: &Bytes) -> Result<Outcomes, DecodeError> {
        let mut results = reply::multi(frame)?;
        let found = self
            .reads
            .iter()
            .map(|read| read.found(scope, frame, &mut results));
        let found = found.collect::<Result<_, _>>()?;
        match results.next() {
            None => Ok(found),
            Some(result) => result.and_then(|_| Err(results.unexpected())),
        }
    }
}

/// The reads of a request as the wire has them.
#[derive(Debug, Clone)]
struct Bodies<'b> {
    reads: slice::Iter<'b, One<'b>>,
    scope: &'b Scope,
}

impl<'b> Iterator for Bodies<'b> {
    type Item = MultiOp<'b>;

    fn next(&mut self) -> Option<MultiOp<'b>> {
        // Servers ignore the watch.
        let watch = false;
        Some(match self.reads.next()? {
            One::Get(path) => MultiOp::GetData(GetData {
                path: self.scope.server_path(path),
                watch,
            }),
            One::Children(path) => MultiOp::GetChildren(homing_protocol::GetChildren {
                path: self.scope.server_path(path),
                watch,
            }),
        })
    }
}
