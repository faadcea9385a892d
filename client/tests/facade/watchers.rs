//! Watchers of any kind, for tests that do not care which.

use std::collections::VecDeque;
use std::task::Poll;

use homing::{Client, Error, EventType, PersistentWatcher, WatchItem, Watcher};

use crate::support::poll_once;

/// An event, in short.
pub(crate) type Told = (EventType, String);

/// A watcher of any kind.
#[derive(Debug)]
pub(crate) enum Any {
    Once(Watcher),
    Stays(PersistentWatcher),
}

impl Any {
    pub(crate) async fn data(client: &Client, path: &str) -> Result<Self, Error> {
        Ok(Self::Once(client.get(path).watch().await?.1))
    }

    pub(crate) async fn exist(client: &Client, path: &str) -> Result<Self, Error> {
        Ok(Self::Once(client.exists(path).watch().await?.1))
    }

    pub(crate) async fn child(client: &Client, path: &str) -> Result<Self, Error> {
        Ok(Self::Once(client.children(path).watch().await?.1))
    }

    pub(crate) async fn persistent(client: &Client, path: &str) -> Result<Self, Error> {
        Ok(Self::Stays(client.watch(path).await?))
    }

    pub(crate) async fn recursive(client: &Client, path: &str) -> Result<Self, Error> {
        Ok(Self::Stays(client.watch(path).recursive().await?))
    }

    pub(crate) fn stays(&self) -> bool {
        matches!(self, Self::Stays(_))
    }

    /// What it tells and was not asked for yet. What there was to tell came before an answer that
    /// is here.
    pub(crate) async fn told(&mut self, client: &Client) -> Vec<Told> {
        client.sync("/").await.unwrap();
        self.ready()
    }

    /// What it has told already.
    pub(crate) fn ready(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        match self {
            Self::Once(watcher) => {
                while let Poll::Ready(Some(event)) = poll_once(&mut Box::pin(watcher.next())) {
                    let event = event.unwrap();
                    told.push((event.kind, event.path));
                }
            }
            Self::Stays(watcher) => {
                for item in items(watcher) {
                    match item {
                        WatchItem::Event(event) => told.push((event.kind, event.path)),
                        other => panic!("{other}"),
                    }
                }
            }
        }
        told
    }
}

/// All that is there to be told.
pub(crate) fn items(watcher: &mut PersistentWatcher) -> VecDeque<WatchItem> {
    let mut items = VecDeque::new();
    while let Poll::Ready(Some(item)) = poll_once(&mut Box::pin(watcher.next())) {
        items.push_back(item.unwrap());
    }
    items
}
