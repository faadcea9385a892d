//! Listing the session's ephemeral nodes.

use std::borrow::Cow;

use bytes::Bytes;
use homing_protocol::{DecodeError, GetEphemerals, op, reply};

use super::Path;
use crate::client::{Client, Scope};
use crate::request::{Operation, Request, sealed};

impl Client {
    /// The ephemeral nodes of this client's session at and below a path, in no particular order:
    /// `/` for all that this handle can see. Paths are the handle's: nodes outside its
    /// [chroot](Self::chroot) are left out, although the session owns them too.
    ///
    /// What counts are whole names: `/a` stands for `/a` and `/a/b`, and not for `/ab`.
    /// (ZooKeeper itself compares mere text. This client asks for that, and picks.)
    ///
    /// It takes servers since 3.6.0; see [`Feature::Ephemerals`](crate::Feature).
    ///
    /// # Errors
    /// None of its own: that there are none is an answer.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.create("/workers", b"").await?;
    /// client.create("/workers/w-", b"").ephemeral().sequential().await?;
    /// client.create("/lock", b"").ephemeral().await?;
    /// assert_eq!(client.ephemerals("/workers").await?, ["/workers/w-0000000000"]);
    /// assert_eq!(client.ephemerals("/").await?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn ephemerals<'a>(&self, path: impl Into<Cow<'a, str>>) -> Request<Ephemerals<'a>> {
        Request::new(&self.scope, Ephemerals { path: path.into() })
    }
}

/// The operation of [`Client::ephemerals`].
///
/// ```
/// use homing::{Client, Request, ops::Ephemerals};
/// fn all_of(client: &Client) -> Request<Ephemerals<'static>> {
///     client.ephemerals("/")
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Ephemerals<'a> {
    path: Path<'a>,
}

impl sealed::Sealed for Ephemerals<'_> {}

impl Operation for Ephemerals<'_> {
    type Output = Vec<String>;
    const NAME: &'static str = "ephemerals";
    type Body<'b>
        = GetEphemerals<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::GET_EPHEMERALS
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> GetEphemerals<'b> {
        GetEphemerals {
            prefix: scope.server_path(&self.path),
        }
    }

    fn decode(&mut self, scope: &Scope, frame: &Bytes) -> Result<Vec<String>, DecodeError> {
        let mut paths = reply::ephemerals(frame)?;
        paths.retain_mut(|path| match scope.path_below(path) {
            Some(below) if is_at_or_below(below, &self.path) => {
                *path = below.into();
                true
            }
            _ => false,
        });
        Ok(paths)
    }
}

fn is_at_or_below(path: &str, top: &str) -> bool {
    match path.strip_prefix(top) {
        Some(rest) => top == "/" || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_at_or_below;

    #[test]
    fn whole_names_count() {
        for (path, top, expected) in [
            ("/a", "/", true),
            ("/", "/", true),
            ("/a/b", "/a", true),
            ("/a", "/a", true),
            ("/ab", "/a", false),
            ("/b", "/a", false),
            ("/", "/a", false),
        ] {
            assert_eq!(is_at_or_below(path, top), expected, "{path} {top}");
        }
    }
}
