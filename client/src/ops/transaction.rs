//! Several writes that are done together or not at all.

use std::borrow::Cow;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{
    Acl, CreateMode, DecodeError, ErrorCode, Multi, MultiOp, MultiResult, MultiResults, PathRef,
    Stat, op, reply, validate_path,
};
use homing_session::{Note, Pledge, Reply};

use super::Path;
use super::create::{Create, Created};
use super::delete::Delete;
use super::set::Set;
use crate::client::{Client, Scope};
use crate::error::{Error, Subject};
use crate::request::{Operation, Request, sealed};

impl Client {
    /// Several writes that are done together or not at all: the methods add one after the other,
    /// and settings are those of the operation right before them.
    ///
    /// | operation | settings |
    /// | --- | --- |
    /// | `create` | `ephemeral`, `sequential`, `container`, `ttl`, `acl`, as for a [single one](Self::create) |
    /// | `set`, `delete` | `version` |
    /// | `check` | |
    ///
    /// The server checks each operation against what those before it have done: a node can be
    /// made and then a child of it. Nobody ever sees some of the changes without the others, and
    /// all have the same zxid. What is sent is one request, with one answer and one deadline; it
    /// must be [small enough](crate::Builder::request_len_max) as a whole. A transaction without
    /// any operation is one too, and succeeds.
    ///
    /// # Errors
    /// [`Error::Transaction`] with the first operation that was refused: its name and path, its
    /// place, and the code that it would have had alone. Nothing was applied then. Nothing is
    /// sent if one of the paths is not one, or a setting follows an operation that has no such.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use homing::{Error, ErrorCode};
    /// client.create("/accounts", b"").await?;
    /// client.create("/accounts/a", b"100").await?;
    /// client.create("/accounts/b", b"0").await?;
    ///
    /// let done = client
    ///     .transaction()
    ///     .set("/accounts/a", b"70").version(0)
    ///     .set("/accounts/b", b"30").version(0)
    ///     .create("/accounts/log-", b"a b 30").sequential()
    ///     .await?;
    /// assert_eq!(done.results[0].stat().map(|stat| stat.version), Some(1));
    /// assert_eq!(done.created(2).map(|node| node.sequence), Some(Some(2)));
    ///
    /// let stale = client.transaction().delete("/accounts/a").set("/accounts/b", b"0").version(0);
    /// let error = stale.await.unwrap_err();
    /// assert!(matches!(&error, Error::Transaction { index: 1, code: ErrorCode::BadVersion, .. }));
    /// client.get("/accounts/a").await?; // it is still there
    /// # Ok(())
    /// # }
    /// ```
    pub fn transaction<'a>(&self) -> Request<Transaction<'a>> {
        Request::new(&self.scope, Transaction::default())
    }
}

/// The operation of [`Client::transaction`]. Adding to it keeps its type, so a loop can.
///
/// ```
/// use homing::{Client, Request, ops::Transaction};
/// fn delete_all<'a>(client: &Client, paths: &'a [String]) -> Request<Transaction<'a>> {
///     paths.iter().fold(client.transaction(), |all, path| all.delete(path))
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Transaction<'a> {
    ops: Vec<Op<'a>>,
    /// What is wrong with the first setting that followed an operation that has no such.
    misplaced: Option<String>,
    marker: Option<Marker>,
}

/// A node that is made with all the rest, last, to see afterwards whether it was done.
#[derive(Debug, Clone)]
struct Marker {
    /// The server's.
    path: String,
    acl: [Acl; 1],
    pledge: Arc<Pledge>,
}

#[derive(Debug, Clone)]
enum Op<'a> {
    Create(Create<'a>),
    Set(Set<'a>),
    Delete(Delete<'a>),
    Check(Check<'a>),
}

#[derive(Debug, Clone)]
struct Check<'a> {
    path: Path<'a>,
    version: i32,
}

impl<'a> Request<Transaction<'a>> {
    /// Makes a node; see [`Client::create`].
    pub fn create<D>(mut self, path: impl Into<Cow<'a, str>>, data: &'a D) -> Self
    where
        D: AsRef<[u8]> + ?Sized,
    {
        let create = Create::new(path.into(), data.as_ref());
        self.op.ops.push(Op::Create(create));
        self
    }

    /// Replaces a node's data; see [`Client::set`].
    pub fn set<D>(mut self, path: impl Into<Cow<'a, str>>, data: &'a D) -> Self
    where
        D: AsRef<[u8]> + ?Sized,
    {
        let set = Set::new(path.into(), data.as_ref());
        self.op.ops.push(Op::Set(set));
        self
    }

    /// Removes a node; see [`Client::delete`].
    pub fn delete(mut self, path: impl Into<Cow<'a, str>>) -> Self {
        self.op.ops.push(Op::Delete(Delete::new(path.into())));
        self
    }

    /// Changes nothing, and fails the transaction unless the node is there and at this version
    /// ([`Stat::version`]); −1 for any.
    pub fn check(mut self, path: impl Into<Cow<'a, str>>, version: i32) -> Self {
        let path = path.into();
        self.op.ops.push(Op::Check(Check { path, version }));
        self
    }

    /// The node that is made goes away with the session; see
    /// [`ephemeral`](Request::<Create>::ephemeral).
    pub fn ephemeral(self) -> Self {
        self.last_create("ephemeral", |create| create.is_ephemeral = true)
    }

    /// The server appends a number to the node's name; see
    /// [`sequential`](Request::<Create>::sequential).
    pub fn sequential(self) -> Self {
        self.last_create("sequential", |create| create.is_sequential = true)
    }

    /// The node that is made goes away after its last child; see
    /// [`container`](Request::<Create>::container).
    pub fn container(self) -> Self {
        self.last_create("container", |create| create.is_container = true)
    }

    /// The node that is made goes away when it was not set for so long; see
    /// [`ttl`](Request::<Create>::ttl).
    pub fn ttl(self, ttl: Duration) -> Self {
        self.last_create("ttl", |create| create.ttl = Some(ttl))
    }

    /// The access control list of the node that is made; see [`acl`](Request::<Create>::acl).
    pub fn acl(self, acl: impl Into<Cow<'a, [Acl]>>) -> Self {
        self.last_create("acl", |create| create.acl = Some(acl.into()))
    }

    /// Only if the node that is set or deleted is at this version ([`Stat::version`]); by
    /// default at any.
    pub fn version(mut self, version: i32) -> Self {
        match self.op.ops.last_mut() {
            Some(Op::Set(set)) => set.version = version,
            Some(Op::Delete(delete)) => delete.version = version,
            _ => self.op.misplace("version"),
        }
        self
    }

    fn last_create(mut self, setting: &'static str, set: impl FnOnce(&mut Create<'a>)) -> Self {
        match self.op.ops.last_mut() {
            Some(Op::Create(create)) => set(create),
            _ => self.op.misplace(setting),
        }
        self
    }
}

/// What a transaction has done.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// let done = client.transaction().create("/a", b"").create("/a/b", b"").await?;
/// assert_eq!(done.created(1).map(|node| node.path.as_str()), Some("/a/b"));
/// let stat = client.exists("/a/b").await?;
/// assert_eq!(stat.map(|stat| stat.czxid), Some(done.zxid));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The zxid of the transaction, which all nodes bear that it has changed.
    pub zxid: i64,
    /// One result for each operation, in their order.
    pub results: Vec<Done>,
}

impl Committed {
    /// The node that the operation at this place has made, if it was a `create`.
    pub fn created(&self, index: usize) -> Option<&Created> {
        self.results.get(index)?.created()
    }
}

/// What one operation of a transaction has done.
///
/// ```
/// assert_eq!(homing::Done::Deleted.stat(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Done {
    /// `create` made this node. Its stat is `None` from a server that does not tell it in a
    /// transaction (before 3.7.2 and 3.8.2), except for containers and nodes with a time to
    /// live.
    Created(Created),
    /// `set`: the stat of the node right behind this operation.
    Set(Stat),
    /// `delete`.
    Deleted,
    /// `check`: the node was at the version.
    Checked,
}

impl Done {
    /// The node that was made.
    pub fn created(&self) -> Option<&Created> {
        match self {
            Self::Created(created) => Some(created),
            _ => None,
        }
    }

    /// The stat that the server told.
    pub fn stat(&self) -> Option<&Stat> {
        match self {
            Self::Created(created) => created.stat.as_ref(),
            Self::Set(stat) => Some(stat),
            Self::Deleted | Self::Checked => None,
        }
    }
}

impl sealed::Sealed for Transaction<'_> {}

impl Operation for Transaction<'_> {
    type Output = Committed;
    const NAME: &'static str = "transaction";
    type Body<'b>
        = Multi<Bodies<'b>>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::MULTI
    }

    fn path(&self) -> &str {
        ""
    }

    fn check_path(&self) -> Result<(), Error> {
        self.ops.iter().try_for_each(Op::check_path)
    }

    fn check_settings(&self) -> Result<(), String> {
        if let Some(what) = &self.misplaced {
            return Err(what.clone());
        }
        for (index, op) in self.ops.iter().enumerate() {
            if let Op::Create(create) = op {
                let wrong = |what| format!("[{index}] {}: {what}", create.subject());
                create.check_settings().map_err(wrong)?;
            }
        }
        Ok(())
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> Multi<Bodies<'b>> {
        Multi(Bodies {
            ops: self.ops.iter(),
            marker: self.marker.as_ref(),
            scope,
        })
    }

    fn prepare(&mut self, scope: &Arc<Scope>) -> Note {
        self.creates().for_each(|create| create.suit(scope));
        let op = op::MULTI;
        let is_ephemeral = self.creates().any(|create| create.is_ephemeral);
        match &self.marker {
            Some(marker) => marker.pledge.note(op, is_ephemeral),
            None if is_ephemeral => Note::Ephemeral { op },
            None => Note::Plain { op },
        }
    }

    /// A server that does not know create2 cannot read a transaction that has one, and says just
    /// that: it keeps the connection.
    fn fall_back(&mut self, refusal: &Reply) -> bool {
        let mut falls = false;
        if refusal.err == ErrorCode::MarshallingError.code() {
            for create in self.creates().filter(|create| create.code() == op::CREATE2) {
                create.is_old = true;
                falls = true;
            }
        }
        falls
    }

    fn decode(&mut self, scope: &Scope, frame: &Bytes) -> Result<Committed, DecodeError> {
        let mut results = reply::multi(frame)?;
        let done = self.ops.iter().map(|op| op.done(scope, &mut results));
        let done = done.collect::<Result<_, _>>()?;
        if self.marker.is_some() && !matches!(results.next(), Some(Ok(MultiResult::Created(..)))) {
            return Err(results.unexpected());
        }
        match results.next() {
            None => Ok(Committed {
                zxid: reply::zxid(frame)?,
                results: done,
            }),
            Some(result) => result.and_then(|_| Err(results.unexpected())),
        }
    }

    fn finish(&mut self, scope: &Scope, frame: &Bytes) -> Result<Committed, Error> {
        match self.failure(frame) {
            Ok(Some((_, None, code))) => Err(self.no_marker(code)),
            Ok(Some((index, Some(op), code))) => Err(Error::Transaction {
                request: op.subject(),
                index,
                code,
                chroot: scope.chroot.clone(),
                hint: op.hint(code),
            }),
            Ok(None) => self
                .decode(scope, frame)
                .map_err(|error| self.malformed(error)),
            Err(error) => Err(self.malformed(error)),
        }
    }
}

impl<'a> Transaction<'a> {
    fn creates(&mut self) -> impl Iterator<Item = &mut Create<'a>> {
        self.ops.iter_mut().filter_map(|op| match op {
            Op::Create(create) => Some(create),
            _ => None,
        })
    }

    /// One more node is removed.
    pub(super) fn deleting(mut self, path: &'a str) -> Self {
        self.ops.push(Op::Delete(Delete::new(path.into())));
        self
    }

    fn misplace(&mut self, setting: &'static str) {
        self.misplaced.get_or_insert_with(|| match self.ops.last() {
            Some(op) => {
                let index = self.ops.len() - 1;
                format!("[{index}] {}: it has no setting `{setting}`", op.subject())
            }
            None => format!("`{setting}` stands before any operation"),
        });
    }

    /// The operation that was refused, `None` for the marker. A transaction that failed has a
    /// list of errors in place of results, and those of the operations before the one that was
    /// refused are 0.
    #[allow(clippy::type_complexity, reason = "three things that belong together")]
    fn failure(
        &self,
        frame: &Bytes,
    ) -> Result<Option<(usize, Option<&Op<'_>>, ErrorCode)>, DecodeError> {
        for (at, result) in reply::multi(frame)?.enumerate() {
            match (result?, self.ops.get(at)) {
                (MultiResult::Failed(0), _) => {}
                (MultiResult::Failed(code), op) if op.is_some() || self.is_marker(at) => {
                    return Ok(Some((at, op, ErrorCode::from_code(code))));
                }
                _ => break,
            }
        }
        Ok(None)
    }

    fn is_marker(&self, at: usize) -> bool {
        self.marker.is_some() && at == self.ops.len()
    }

    fn no_marker(&self, code: ErrorCode) -> Error {
        Error::Server {
            request: self.subject(),
            code,
            chroot: String::new(),
            hint: Some(
                "that is about the marker next to the node, by which it would be found out what became of the write (`resolved`, `protected`): it takes CREATE on the parent; nothing was applied",
            ),
        }
    }

    /// Where a marker is sure to find a parent, by the server's path, whatever the operations
    /// do: the parent of the node that is the least deep. It is neither made nor deleted here,
    /// or it would be that node itself.
    pub(super) fn marker_parent(&self, scope: &Scope) -> String {
        let paths = self.ops.iter().map(|op| op.server_path(scope));
        let highest = paths.min_by_key(|path| path.matches('/').count());
        match highest.as_deref().and_then(|path| path.rsplit_once('/')) {
            Some(("", _)) => "/".into(),
            Some((parent, _)) => parent.into(),
            None if scope.chroot.is_empty() => "/".into(),
            None => scope.chroot.clone(),
        }
    }

    fn malformed(&self, error: DecodeError) -> Error {
        Error::MalformedReply {
            request: self.subject(),
            error,
        }
    }
}

/// The operations of a transaction as the wire has them.
#[derive(Debug, Clone)]
pub struct Bodies<'b> {
    ops: slice::Iter<'b, Op<'b>>,
    marker: Option<&'b Marker>,
    scope: &'b Scope,
}

impl<'b> Iterator for Bodies<'b> {
    type Item = MultiOp<'b>;

    fn next(&mut self) -> Option<MultiOp<'b>> {
        let scope = self.scope;
        let Some(op) = self.ops.next() else {
            return self.marker.take().map(Marker::body);
        };
        Some(match op {
            Op::Create(create) => MultiOp::Create(create.code(), create.body(scope)),
            Op::Set(set) => MultiOp::SetData(set.body(scope)),
            Op::Delete(delete) => MultiOp::Delete(delete.body(scope)),
            Op::Check(check) => MultiOp::Check(homing_protocol::Check {
                path: scope.server_path(&check.path),
                version: check.version,
            }),
        })
    }
}

impl Marker {
    fn body(&self) -> MultiOp<'_> {
        let body = homing_protocol::Create {
            path: self.path.as_str().into(),
            data: b"",
            acl: &self.acl,
            mode: CreateMode::Ephemeral,
        };
        MultiOp::Create(op::CREATE, body)
    }
}

impl<'a> Transaction<'a> {
    pub(super) fn of_create(create: Create<'a>) -> Self {
        Self::of(Op::Create(create))
    }

    pub(super) fn of_set(set: Set<'a>) -> Self {
        Self::of(Op::Set(set))
    }

    pub(super) fn of_delete(delete: Delete<'a>) -> Self {
        Self::of(Op::Delete(delete))
    }

    fn of(op: Op<'a>) -> Self {
        Self {
            ops: vec![op],
            ..Self::default()
        }
    }

    /// The same, with a marker at this path of the server's.
    pub(super) fn marked(mut self, path: String, pledge: &Arc<Pledge>) -> Self {
        self.marker = Some(Marker {
            path,
            acl: [Acl::read_only()],
            pledge: Arc::clone(pledge),
        });
        self
    }
}

impl Op<'_> {
    fn server_path(&self, scope: &Scope) -> String {
        let path = match self {
            Self::Create(create) => create.path(),
            Self::Set(set) => set.path(),
            Self::Delete(delete) => delete.path(),
            Self::Check(check) => &check.path,
        };
        PathRef::new(&scope.chroot, path).to_string()
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Create(create) => create.subject(),
            Self::Set(set) => set.subject(),
            Self::Delete(delete) => delete.subject(),
            Self::Check(check) => Subject {
                op: "check",
                path: check.path.to_string(),
            },
        }
    }

    fn check_path(&self) -> Result<(), Error> {
        match self {
            Self::Create(create) => create.check_path(),
            Self::Set(set) => set.check_path(),
            Self::Delete(delete) => delete.check_path(),
            Self::Check(check) => {
                validate_path(&check.path).map_err(|why| Error::bad_path(self.subject(), why))
            }
        }
    }

    fn hint(&self, code: ErrorCode) -> Option<&'static str> {
        match self {
            Self::Create(create) => create.hint(code),
            _ => None,
        }
    }

    /// Its result, which is the next.
    fn done(&self, scope: &Scope, results: &mut MultiResults<'_>) -> Result<Done, DecodeError> {
        let result = results.next().transpose()?;
        Ok(match (self, result) {
            (Self::Create(create), Some(MultiResult::Created(path, stat))) => {
                Done::Created(create.created(scope, &path, stat))
            }
            (Self::Set(_), Some(MultiResult::Set(stat))) => Done::Set(stat),
            (Self::Delete(_), Some(MultiResult::Deleted)) => Done::Deleted,
            (Self::Check(_), Some(MultiResult::Checked)) => Done::Checked,
            _ => return Err(results.unexpected()),
        })
    }
}
