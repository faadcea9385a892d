//! Watching for good.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use homing_protocol::{AddWatchMode, DecodeError, ErrorCode, op};
use homing_session::Note;

use super::Path;
use crate::client::{Client, Scope};
use crate::persistent::PersistentWatcher;
use crate::request::{Operation, Request, sealed};

impl Client {
    /// Watches a node for good: the answer is a [`PersistentWatcher`], a stream of all that
    /// happens to it from then on. The node need not be there.
    ///
    /// | | told of |
    /// | --- | --- |
    /// | `watch` | the node being created, set and deleted; its children being created and deleted, without saying which: `NodeChildrenChanged` |
    /// | `watch` [`.recursive()`](Request::<AddWatch>::recursive) | the node and everything below being created, set and deleted |
    ///
    /// Any number of watchers of all kinds can be on one node, on every server: before 3.9 servers
    /// keep only one of them, and this client works around it. (Where a recursive watch and
    /// another one are on the same node, the children of that node are all told of by the
    /// recursive one: a child that may not be read by this client comes and goes unnoticed then.)
    ///
    /// # Errors
    /// `Unimplemented` from servers before 3.6, which do not have it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let mut changes = client.watch("/members").await?;
    /// client.create("/members", b"").await?;
    /// client.create("/members/a", b"").await?;
    ///
    /// let mut next = async || changes.next().await.unwrap().map(|item| item.to_string());
    /// assert_eq!(next().await?, "NodeCreated \"/members\"");
    /// assert_eq!(next().await?, "NodeChildrenChanged \"/members\"");
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch<'a>(&self, path: impl Into<Cow<'a, str>>) -> Request<AddWatch<'a>> {
        let (path, mode) = (path.into(), AddWatchMode::Persistent);
        let (is_recursive, watcher) = (false, None);
        let op = AddWatch {
            path,
            is_recursive,
            mode,
            watcher,
        };
        Request::new(&self.scope, op)
    }
}

/// The operation of [`Client::watch`].
///
/// ```
/// use homing::{Client, Request, ops::AddWatch};
/// fn follow<'a>(client: &Client, path: &'a str) -> Request<AddWatch<'a>> {
///     client.watch(path).recursive()
/// }
/// ```
#[derive(Debug)]
pub struct AddWatch<'a> {
    path: Path<'a>,
    is_recursive: bool,
    /// What the server is to set.
    mode: AddWatchMode,
    /// From the submission until the answer.
    watcher: Option<PersistentWatcher>,
}

impl Request<AddWatch<'_>> {
    /// Everything below the node is watched too, at any depth. It is told of each child that is
    /// created or deleted by its own name, and not of lists of children.
    pub fn recursive(mut self) -> Self {
        self.op.is_recursive = true;
        self
    }
}

impl sealed::Sealed for AddWatch<'_> {}

impl Operation for AddWatch<'_> {
    type Output = PersistentWatcher;
    const NAME: &'static str = "watch";
    type Body<'b>
        = homing_protocol::AddWatch<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::ADD_WATCH
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> homing_protocol::AddWatch<'b> {
        homing_protocol::AddWatch {
            path: scope.server_path(&self.path),
            mode: self.mode,
        }
    }

    fn prepare(&mut self, scope: &Arc<Scope>) -> Note {
        let path = scope.server_path(&self.path).to_string();
        let watches = &scope.core.shared.watches;
        let (note, watch) = watches.prepare_lasting(path, self.is_recursive);
        self.watcher = Some(PersistentWatcher::new(scope, watch));
        Note::Watch(Box::new(note))
    }

    fn line_up(&mut self, scope: &Scope) {
        if let Some(watcher) = &self.watcher {
            let watches = &scope.core.shared.watches;
            self.mode = watches.line_up_lasting(watcher.watch());
        }
    }

    fn decode(&mut self, _: &Scope, _: &Bytes) -> Result<PersistentWatcher, DecodeError> {
        let watcher = self.watcher.take();
        Ok(watcher.expect("a request is prepared before it is in line, and answered once"))
    }

    fn hint(&self, code: ErrorCode) -> Option<&'static str> {
        match code {
            ErrorCode::Unimplemented => {
                Some("servers before 3.6 have no persistent watches: watch reads (`.watch()`)")
            }
            ErrorCode::MarshallingError => {
                Some("the server's watch manager may be one that has no persistent watches")
            }
            _ => None,
        }
    }
}
