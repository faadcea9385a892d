//! The operations, one file each: the method on [`Client`](crate::Client), its settings, and
//! what its answer is turned into.

mod acl;
mod children;
mod create;
mod delete;
mod exists;
mod get;
mod parents;
mod set;
mod sync;
mod transaction;

pub use crate::watcher::Watched;
pub use acl::{GetAcl, NodeAcl, SetAcl};
pub use children::{ChildNames, Children, GetChildren};
pub use create::{Create, Created};
pub use delete::Delete;
pub use exists::Exists;
pub use get::{Get, Node};
pub use parents::CreateWithParents;
pub use set::Set;
pub use sync::Sync;
pub use transaction::{Committed, Done, Transaction};

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
        match path.strip_prefix(&*self.chroot) {
            Some("") => "/".into(),
            Some(below) if below.starts_with('/') => below.into(),
            _ => path.into(),
        }
    }
}
