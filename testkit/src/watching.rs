//! Requests about watches: to add, find and remove them, and to take them up again.

use homing_protocol::{ErrorCode, EventType, Reader, incoming};

use crate::processor::malformed;
use crate::reply::Reply;
use crate::server::{ConnectionId, Server};
use crate::watches::Which;

impl Server {
    /// Watches for good. The node need not be there, and nobody is asked.
    pub(crate) fn add_watch(
        &mut self,
        connection: ConnectionId,
        reader: &mut Reader<'_>,
        reply: &mut Reply,
    ) -> Result<(), ErrorCode> {
        let (path, mode) = malformed(incoming::path_and_kind(reader))?;
        let recursive = match mode {
            0 => false,
            1 => true,
            _ => return Err(ErrorCode::MarshallingError),
        };
        // A null path may be watched too; there is nothing to see.
        if let Some(path) = path {
            self.watches.add_lasting(&path, connection, recursive);
        }
        reply.put_i32(0);
        Ok(())
    }

    pub(crate) fn check_watches(
        &self,
        connection: ConnectionId,
        reader: &mut Reader<'_>,
    ) -> Result<(), ErrorCode> {
        let (path, kind) = malformed(incoming::path_and_kind(reader))?;
        let which = self.which(kind)?;
        found(self.watches.contains(path.as_deref(), connection, which)?)
    }

    pub(crate) fn remove_watches(
        &mut self,
        connection: ConnectionId,
        reader: &mut Reader<'_>,
    ) -> Result<(), ErrorCode> {
        let (path, kind) = malformed(incoming::path_and_kind(reader))?;
        let which = self.which(kind)?;
        found(path.is_some_and(|path| self.watches.remove(&path, connection, which)))
    }

    /// Takes up the watches of a former connection: whatever has changed since is told at once,
    /// and before the reply; the rest is watched again.
    pub(crate) fn set_watches(
        &mut self,
        connection: ConnectionId,
        watches: &incoming::SetWatches<'_>,
    ) -> Result<(), ErrorCode> {
        let incoming::SetWatches {
            data,
            exist,
            child,
            persistent,
            persistent_recursive,
            ..
        } = watches;
        let lists = [data, exist, child, persistent, persistent_recursive];
        let [data, exist, child, persistent, recursive] =
            lists.map(|list| list.as_deref().ok_or(ErrorCode::MarshallingError));
        let since = watches.relative_zxid;
        // A null path or list ends it where it stands: what came before has been told and set.
        for path in data? {
            let path = path.as_deref().ok_or(ErrorCode::MarshallingError)?;
            match self.tree.get(path).map(|node| node.stat().mzxid > since) {
                None => self.notify(connection, EventType::NodeDeleted, path),
                Some(true) => self.notify(connection, EventType::NodeDataChanged, path),
                Some(false) => self.watches.add_data(path, connection),
            }
        }
        for path in exist? {
            let path = path.as_deref().ok_or(ErrorCode::MarshallingError)?;
            match self.tree.get(path) {
                Some(_) => self.notify(connection, EventType::NodeCreated, path),
                None => self.watches.add_data(path, connection),
            }
        }
        for path in child? {
            let path = path.as_deref().ok_or(ErrorCode::MarshallingError)?;
            match self.tree.get(path).map(|node| node.stat().pzxid > since) {
                None => self.notify(connection, EventType::NodeDeleted, path),
                Some(true) => self.notify(connection, EventType::NodeChildrenChanged, path),
                Some(false) => self.watches.add_child(path, connection),
            }
        }
        // What these have missed is missed for good.
        for path in persistent?.iter().flatten() {
            self.watches.add_lasting(path, connection, false);
        }
        for path in recursive?.iter().flatten() {
            self.watches.add_lasting(path, connection, true);
        }
        Ok(())
    }

    /// What a client means. Two kinds came with 3.9.
    fn which(&self, kind: i32) -> Result<Which, ErrorCode> {
        match kind {
            1 => Ok(Which::Children),
            2 => Ok(Which::Data),
            3 => Ok(Which::Any),
            4 if self.watches.is_side_by_side() => Ok(Which::Persistent),
            5 if self.watches.is_side_by_side() => Ok(Which::Recursive),
            _ => Err(ErrorCode::MarshallingError),
        }
    }
}

fn found(any: bool) -> Result<(), ErrorCode> {
    if any {
        Ok(())
    } else {
        Err(ErrorCode::NoWatcher)
    }
}
