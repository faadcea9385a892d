//! Removing a node together with everything below it.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use homing_protocol::ErrorCode;
use homing_transport::block_on;

use super::children::GetChildren;
use super::delete::Delete;
use super::many;
use super::transaction::Transaction;
use crate::error::Error;
use crate::request::{Operation, Request};

impl<'a> Request<Delete<'a>> {
    /// Removes everything below the node too. The last setting; a
    /// [version](Self::version) is that of the node itself, which goes last.
    ///
    /// This is many requests, and not atomic: nodes are listed and removed from the bottom up,
    /// 64 of them at a time, and those together or not at all. What others remove meanwhile is
    /// fine; children that they make meanwhile are removed too, up to a limit beyond which it
    /// gives up with `NotEmpty`. One request that fails, or a future that is dropped, leaves what
    /// was not removed by then: all nodes that are left still have their parents. Each request has
    /// the deadline that was given.
    ///
    /// It cannot be [submitted](Self::submit), only awaited or waited for. `/` without a chroot
    /// is refused.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/app/config/db", b"").parents().await?;
    /// client.delete("/app").recursive().await?;
    /// assert!(client.exists("/app").await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn recursive(self) -> DeleteRecursive<'a> {
        DeleteRecursive { top: self }
    }
}

/// A node that is to be removed with everything below it; see
/// [`recursive`](Request::<Delete>::recursive).
///
/// # Errors
/// `NoNode` if there is no such node to begin with. Those of [`delete`](crate::Client::delete)
/// and [`children`](crate::Client::children), for the node whose path is in the error.
///
/// ```
/// # fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::builder(&server.connect_string()).own_thread().connect().wait()?;
/// client.create("/a/b/c", b"").parents().wait()?;
/// client.delete("/a").recursive().wait()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is removed until it is awaited or waited for"]
pub struct DeleteRecursive<'a> {
    top: Request<Delete<'a>>,
}

/// So many nodes are listed, or removed, at a time.
const BATCH: usize = 64;
/// How often a node may have got new children by the time that it is to be removed.
const REFILLED_MAX: usize = 1_000;

impl DeleteRecursive<'_> {
    /// Blocks this thread until all is removed.
    ///
    /// # Errors
    /// As for `.await`; [`Error::Misuse`] on a thread that must not be blocked, before anything
    /// was sent.
    pub fn wait(self) -> Result<(), Error> {
        let core = Arc::clone(&self.top.scope.core);
        block_on(&*core.driver, self.run()).map_err(Error::must_not_block)?
    }

    async fn run(self) -> Result<(), Error> {
        let top = self.top.op.path();
        if top == "/" && self.top.scope.chroot.is_empty() {
            return Err(Error::Misuse {
                what: "delete \"/\": everything there is would be removed; it was not sent".into(),
            });
        }
        // Mostly there is something below. If not, or if the version is wrong, this is all.
        match self.top.clone().await {
            Err(error) if error.code() == Some(ErrorCode::NotEmpty) => {}
            done => return done,
        }
        let mut refilled = 0;
        loop {
            self.remove_below(top, &mut refilled).await?;
            match self.top.clone().await {
                Err(error) if error.code() == Some(ErrorCode::NoNode) => return Ok(()),
                Err(error) if error.code() == Some(ErrorCode::NotEmpty) => {
                    count(1, &mut refilled, error)?;
                }
                done => return done,
            }
        }
    }

    async fn remove_below(&self, top: &str, refilled: &mut usize) -> Result<(), Error> {
        let mut todo = Vec::new();
        let mut batch = Vec::new();
        self.list(vec![top.into()], &mut todo, &mut batch).await?;
        // The node itself is not to be removed here.
        batch.clear();
        if !todo.is_empty() {
            todo.remove(0);
        }
        while !todo.is_empty() || !batch.is_empty() {
            if todo.is_empty() || batch.len() >= BATCH {
                let rest = batch.split_off(batch.len().min(BATCH));
                let left = self.remove(std::mem::replace(&mut batch, rest)).await?;
                if let Some((_, error)) = left.last() {
                    count(left.len(), refilled, error.clone())?;
                }
                // The first is the deepest, and so is the first to be looked at again.
                todo.extend(left.into_iter().rev().map(|(node, _)| Todo::List(node)));
            } else {
                let mut nodes = Vec::new();
                while nodes.len() < BATCH
                    && let Some(Todo::List(node)) = todo.pop_if(|todo| todo.is_list())
                {
                    nodes.push(node);
                }
                match nodes.is_empty() {
                    false => self.list(nodes, &mut todo, &mut batch).await?,
                    true => batch.extend(todo.pop().map(Todo::into_node)),
                }
            }
        }
        Ok(())
    }

    /// Nodes without children can be removed; of others the children come first.
    async fn list(
        &self,
        nodes: Vec<String>,
        todo: &mut Vec<Todo>,
        batch: &mut Vec<String>,
    ) -> Result<(), Error> {
        let requests = nodes
            .iter()
            .map(|node| self.top.alike(GetChildren::new(node)));
        let lists = many::all(requests.collect::<Vec<_>>()).await;
        for (node, list) in nodes.into_iter().zip(lists) {
            let children = match list {
                Err(error) if error.code() == Some(ErrorCode::NoNode) => continue,
                list => list?,
            };
            if children.is_empty() {
                batch.push(node);
                continue;
            }
            let parent = if node == "/" { "" } else { &node };
            let paths = children
                .iter()
                .map(|name| Todo::List(format!("{parent}/{name}")));
            let paths: Vec<_> = paths.collect();
            todo.push(Todo::Remove(node));
            todo.extend(paths);
        }
        Ok(())
    }

    /// Removes these nodes, the deepest first, and gives those that have children again. Whoever
    /// is gone is gone.
    async fn remove(&self, batch: Vec<String>) -> Result<Vec<(String, Error)>, Error> {
        let together = batch
            .iter()
            .fold(Transaction::default(), |all, node| all.deleting(node));
        match self.top.alike(together).await {
            Ok(_) => return Ok(Vec::new()),
            // One by one then: somebody else is at work here, or the paths are very long.
            Err(Error::Transaction { .. } | Error::RequestTooLarge { .. }) => {}
            Err(error) => return Err(error),
        }
        let requests = batch
            .iter()
            .map(|node| self.top.alike(Delete::new(node.into())));
        let outcomes = many::all(requests.collect::<Vec<_>>()).await;
        let mut left = Vec::new();
        for (node, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Err(error) if error.code() == Some(ErrorCode::NotEmpty) => {
                    left.push((node.clone(), error));
                }
                Err(error) if error.code() != Some(ErrorCode::NoNode) => return Err(error),
                _ => {}
            }
        }
        Ok(left)
    }
}

/// A node that has not been removed.
#[derive(Debug)]
enum Todo {
    /// It may have children.
    List(String),
    /// Its children stand above it, or are being removed.
    Remove(String),
}

impl Todo {
    fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }

    fn into_node(self) -> String {
        match self {
            Self::List(node) | Self::Remove(node) => node,
        }
    }
}

/// Counts nodes that have got children again, and gives up when there were too many.
fn count(nodes: usize, refilled: &mut usize, error: Error) -> Result<(), Error> {
    *refilled += nodes;
    match *refilled > REFILLED_MAX {
        true => Err(error),
        false => Ok(()),
    }
}

impl<'a> IntoFuture for DeleteRecursive<'a> {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for DeleteRecursive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeleteRecursive").field(&self.top).finish()
    }
}
