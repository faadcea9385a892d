//! The operations, one file each: the method on [`Client`](crate::Client), its settings, and
//! what its answer is turned into.

mod acl;
mod changed;
mod children;
mod config;
mod create;
mod delete;
mod delete_recursive;
mod descendants;
mod ephemerals;
mod exists;
mod get;
mod guaranteed;
mod many;
mod parents;
mod protected;
mod read_many;
mod resolved;
mod set;
mod set_or_create;
mod sync;
mod transaction;
mod watch;
mod whoami;

pub use crate::watcher::Watched;
pub use acl::{GetAcl, NodeAcl, SetAcl};
pub use changed::{ChangedSince, Changes, PendingChanges};
pub use children::{ChildNames, Children, GetChildren, Names};
pub use config::{EnsembleConfig, GetConfig, Reconfig};
pub use create::{Create, Created};
pub use delete::Delete;
pub use delete_recursive::DeleteRecursive;
pub use descendants::DescendantCount;
pub use ephemerals::Ephemerals;
pub use exists::Exists;
pub use get::{Get, Node};
pub use guaranteed::{GuaranteedDelete, GuaranteedPending};
pub use parents::CreateWithParents;
pub use protected::ProtectedCreate;
pub use read_many::{Found, ReadMany};
pub use resolved::{Resolved, Resolving};
pub use set::Set;
pub use set_or_create::{SetOrCreate, Written};
pub use sync::Sync;
pub use transaction::{Committed, Done, Transaction};
pub use watch::AddWatch;
pub use whoami::WhoAmI;

use std::borrow::Cow;

use homing_protocol::PathRef;

use crate::client::Scope;

/// A node's path, in the terms of the handle that it is used with. Borrowed or owned, so that no
/// request has to copy it.
type Path<'a> = Cow<'a, str>;

impl Scope {
    /// The path as the server knows it.
    pub(crate) fn server_path<'b>(&'b self, path: &'b str) -> PathRef<'b> {
        PathRef::new(&self.chroot, path)
    }

    /// The path as this handle knows it, of one that a server has sent. One that does not lie
    /// below the chroot is given as it is.
    pub(crate) fn client_path(&self, path: &str) -> String {
        self.path_below(path).unwrap_or(path).into()
    }

    /// The same, or `None` for one that does not lie below the chroot.
    pub(crate) fn path_below<'p>(&self, path: &'p str) -> Option<&'p str> {
        match path.strip_prefix(&*self.chroot)? {
            "" => Some("/"),
            below => below.starts_with('/').then_some(below),
        }
    }
}
