//! Making a node, and knowing in the end whether it was made.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use homing_protocol::ErrorCode;
use homing_session::Undo;
use homing_transport::{Fate, block_on};

use super::children::GetChildren;
use super::create::{Create, Created};
use super::exists::Exists;
use super::resolved::{Ask, Resolved, run_marked};
use super::transaction::{Done, Transaction};
use crate::error::{Error, Subject};
use crate::request::{Operation, Request};
use crate::token::token;

impl<'a> Request<Create<'a>> {
    /// A lost answer is not the end of it: when the connection is lost behind the request, the
    /// servers are asked whether the node is there and is the one of this very call. If so, that
    /// is the answer. If not, it is made again, at the end of the line, until the deadline. It
    /// is the last setting; with missing parents to be made too, it is
    /// [`protected`](super::CreateWithParents::protected) behind `parents`.
    ///
    /// | node | how it is told from others' | what it costs |
    /// | --- | --- | --- |
    /// | sequential, of any kind | a token before its name | 39 bytes of name |
    /// | any other | a marker next to it | a second node for a moment, and its deletion |
    ///
    /// # A token
    /// The name of a sequential node begins with a token that has the session's id in it and
    /// is new for each call: `/locks/lock-` becomes
    /// `/locks/_h_00000000000000a1-4c5f8e1f77d2a903-lock-0000000007`, and [`Created::path`] has
    /// that. So the node of a former session is never taken for one's own, nor that of another
    /// call. [`plain_name`](crate::plain_name) takes the token off, for whoever sorts the
    /// children. To look for the node takes the permission to read its parent.
    ///
    /// If nobody is told the name, because the future was dropped or the deadline has passed,
    /// the node is of no use, and the session deletes it: as soon as it can be known whether it
    /// was made, over as many connections as it takes, and without any runtime. A caller that
    /// gives up leaves nothing behind. What remains possible: the session ends before that, by
    /// a [`close`](crate::Client::close) too. Then an ephemeral node goes with it, and any other
    /// may stay; a session that [follows](crate::Builder::on_expiry) does nothing about it. The node may be seen by others before it is gone. And the deletion takes the
    /// permission for it (on the parent); where it is refused the log says so.
    ///
    /// # A marker
    /// A node with a name of its own is made in one transaction with an ephemeral node without
    /// data next to it, whose name is a token: [`is_marker`](crate::is_marker) knows it. It is
    /// there if and only if the transaction was applied; the session deletes it afterwards, in
    /// the background. (The owner alone would not do: two calls of one session may make the same
    /// node, and a lost answer would leave both with the belief that it was theirs.) Whoever
    /// watches the children of the parent sees it come and go, the number of the next sequential
    /// node goes up by one more, and a quota counts it for the moment. It takes the permissions
    /// to create below the parent, which the node takes too, and to delete there; without the
    /// latter the marker stays until the session ends. (The marker of a chroot's own root lies
    /// outside of the chroot.) Some servers do not tell a node's stat in a transaction (before
    /// 3.7.2 and 3.8.2), and so [`Created::stat`] is `None`.
    ///
    /// Such a node is not deleted when the future is dropped or the deadline passes: its name is
    /// known, and somebody else's may have taken its place. The error says that it may be there.
    ///
    /// # What is certain, and what is not
    /// The question is put over a connection that was made after the loss, behind a sync, so
    /// that nothing which was on its way before can be applied any more, and no server that lags
    /// behind gives the answer. A node that somebody has deleted by then counts as not made, if
    /// it is sequential, and is made again. Whoever deletes markers or renames tokens of others
    /// takes their certainty away. What cannot be seen from here: a server that has read
    /// a request from a connection which it then closes for the next one, and that takes longer
    /// to put it in its own line than the next one takes to ask.
    ///
    /// It takes its place in the line when it is first polled, or as soon as the session has
    /// begun: before that nobody knows its id.
    ///
    /// # Errors
    /// Those of any [create](crate::Client::create), and never
    /// [`ConnectionLost`](Error::ConnectionLost):
    /// - [`Error::Deadline`]: the deadline, of all attempts together, has passed.
    /// - [`Error::SessionEnded`]: nobody can be asked any more. An ephemeral node is gone or
    ///   going then; any other is there or not, as the fate says.
    /// - [`Error::Unresolved`]: the servers did not say, for want of the permission to read.
    /// - [`Error::TooManyGuaranteed`]: nothing was sent.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/locks", b"").await?;
    /// server.cut_after_apply(1); // the answer to the next write is lost
    /// let mine = client.create("/locks/lock-", b"").ephemeral().sequential().protected().await?;
    /// assert_eq!(mine.sequence, Some(0));
    /// assert_eq!(homing::plain_name(&mine.path), "lock-0000000000");
    /// assert_eq!(client.children("/locks").await?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn protected(self) -> ProtectedCreate<'a> {
        ProtectedCreate { node: self }
    }
}

/// A node that is to be made for certain; see [`protected`](Request::<Create>::protected). It is
/// several requests if need be, so it cannot be [submitted](Request::submit), only awaited or
/// waited for.
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// server.cut_after_apply(1);
/// let made = client.create("/leader", b"me").ephemeral().protected().wait()?;
/// assert_eq!(made.path, "/leader");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is made until it is awaited or waited for"]
pub struct ProtectedCreate<'a> {
    pub(super) node: Request<Create<'a>>,
}

impl<'a> ProtectedCreate<'a> {
    /// Blocks this thread until the node is made.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent.
    pub fn wait(self) -> Result<Created, Error> {
        let core = Arc::clone(&self.node.scope.core);
        block_on(&*core.driver, self.run()).map_err(Error::must_not_block)?
    }

    pub(super) async fn run(self) -> Result<Created, Error> {
        let subject = self.node.op.subject();
        // All of it is for one session, as a single request is.
        let node = self.node.clone().pinned();
        let made = match node.op.is_sequential {
            true => sequential(&node, &subject).await,
            false => exact(&node, &subject).await,
        };
        let made = self.node.scope.told(&node.scope, made);
        made.map_err(|error| error.about(&subject))
    }
}

impl<'a> IntoFuture for ProtectedCreate<'a> {
    type Output = Result<Created, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for ProtectedCreate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectedCreate")
            .field("node", &self.node)
            .finish()
    }
}

/// By a token in the name.
async fn sequential(node: &Request<Create<'_>>, subject: &Subject) -> Result<Created, Error> {
    node.checked_len()?;
    let core = &node.scope.core;
    let mut ask = Ask::begin(node, subject);
    let session_id = ask.session_id().await?;
    let (dir, name) = node.op.path().rsplit_once('/').unwrap_or_default();
    let prefix = token(session_id, core.random()) + name;
    let parent = if dir.is_empty() { "/" } else { dir };
    let undo = Undo::Sweep {
        parent: node.scope.server_path(parent).to_string(),
        prefix: prefix.clone(),
    };
    let pledge = node.scope.pledge(subject, undo)?;
    let named = node.alike(node.op.named(format!("{dir}/{prefix}"), &pledge));
    // Whenever this returns without the node, or is dropped, the pledge undoes it.
    loop {
        let attempt = named.clone().deadline(ask.overall.left());
        let error = match ask.overall.bound(attempt.into_future()).await {
            Some(Err(error)) if error.is_open() => error,
            Some(Ok(created)) => {
                pledge.release();
                return Ok(created);
            }
            Some(Err(error)) => return Err(error),
            None => return Err(ask.late(Fate::MaybeApplied)),
        };
        let found = find(&named, &mut ask, parent, &prefix, session_id);
        match found.await {
            Ok(Some(created)) => {
                pledge.release();
                return Ok(created);
            }
            Ok(None) => pledge.not_applied(),
            Err(why) => return Err(ask.unresolved(error, why)),
        }
    }
}

/// The node with this prefix, if it is the session's.
async fn find(
    named: &Request<Create<'_>>,
    ask: &mut Ask,
    parent: &str,
    prefix: &str,
    session_id: i64,
) -> Result<Option<Created>, Error> {
    let children = GetChildren::new(parent);
    let children = match ask.read(&named.alike(children)).await {
        Err(error) if error.code() == Some(ErrorCode::NoNode) => return Ok(None),
        children => children?,
    };
    let mut names = children.iter().filter(|name| name.starts_with(prefix));
    let Some(name) = names.next() else {
        return Ok(None);
    };
    let path = format!("{}/{name}", parent.trim_end_matches('/'));
    let exists = Exists::new(path.as_str());
    let stat = ask.read(&named.alike(exists)).await?;
    // A session that only one read-only server knew may have been followed by another one since,
    // before anything was written.
    let now = named.scope.core.shared.status.credentials();
    let owner = now.map_or(session_id, |credentials| credentials.session_id());
    let is_ours = |told| !named.op.is_ephemeral || told == owner;
    Ok(stat
        .filter(|stat| is_ours(stat.ephemeral_owner))
        .map(|stat| named.op.created_as(path, Some(stat))))
}

/// By a marker next to it.
async fn exact(node: &Request<Create<'_>>, subject: &Subject) -> Result<Created, Error> {
    node.checked_len()?;
    let whole = node.alike(Transaction::of_create(node.op.clone()));
    let made = |stat| node.op.created_as(node.op.path().into(), stat);
    let mut ask = Ask::begin(node, subject);
    loop {
        let zxid = match run_marked(&whole, &mut ask).await {
            Err(Error::NotApplied { .. }) => continue,
            Ok(Resolved::Applied { zxid }) => zxid,
            Ok(Resolved::Answered(done)) => {
                let told = done.results.first().and_then(Done::created).cloned();
                return Ok(told.unwrap_or_else(|| made(None)));
            }
            Err(error) => return Err(error),
        };
        // It is made, whatever can be read now.
        let exists = node.alike(Exists::new(node.op.path()));
        let stat = ask.read(&exists).await;
        let stat = stat.ok().flatten().filter(|stat| stat.czxid == zxid);
        return Ok(made(stat));
    }
}
