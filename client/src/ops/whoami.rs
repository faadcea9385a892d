//! Asking who one is.

use bytes::Bytes;
use homing_protocol::{DecodeError, Empty, Identity, op, reply};

use crate::client::{Client, Scope};
use crate::error::Error;
use crate::request::{Operation, Request, sealed};

impl Client {
    /// Who this client is to the server, in no particular order: its address, as the server sees
    /// it, and the identities that were [added](Self::add_auth) or that its certificate shows.
    /// The names are in it and no passwords, nor hashes of them.
    ///
    /// It takes servers since 3.7.0; see [`Feature::WhoAmI`](crate::Feature).
    ///
    /// # Errors
    /// None of its own.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// client.add_auth("digest", b"bob:secret").await?;
    /// let me = client.whoami().await?;
    /// assert!(me.iter().any(|identity| identity.to_string() == "digest:bob"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn whoami(&self) -> Request<WhoAmI> {
        Request::new(&self.scope, WhoAmI { _private: () })
    }
}

/// The operation of [`Client::whoami`].
///
/// ```
/// fn ask(client: &homing::Client) -> homing::Request<homing::ops::WhoAmI> {
///     client.whoami()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct WhoAmI {
    _private: (),
}

impl sealed::Sealed for WhoAmI {}

impl Operation for WhoAmI {
    type Output = Vec<Identity>;
    const NAME: &'static str = "whoami";
    type Body<'b> = Empty;

    fn code(&self) -> i32 {
        op::WHO_AM_I
    }

    fn path(&self) -> &str {
        ""
    }

    fn check_path(&self) -> Result<(), Error> {
        Ok(())
    }

    fn body<'b>(&'b self, _: &'b Scope) -> Empty {
        Empty
    }

    fn decode(&mut self, _: &Scope, frame: &Bytes) -> Result<Vec<Identity>, DecodeError> {
        reply::who_am_i(frame)
    }
}
