//! What not every server knows.

use homing_protocol::op;

use crate::client::Client;

/// Something that came with a later version of ZooKeeper than 3.4.
///
/// ```
/// use homing::{Client, Feature};
/// fn may_read_in_batches(client: &Client) -> bool {
///     client.supports(Feature::MultiRead) != Some(false)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// [`Client::create`] tells the stat of the node (3.5.0). Without it, the stat is `None`.
    CreateStat,
    /// [`Client::reconfig`] (3.5.0).
    Reconfig,
    /// Removing a watch at the server (3.5.0). Without it, watches that nobody wants stay there
    /// until they fire, and nobody is told.
    RemoveWatches,
    /// [Containers](crate::Request::<crate::ops::Create>::container) (3.5.1).
    Container,
    /// Nodes with a [time to live](crate::Request::<crate::ops::Create>::ttl) (3.5.3). A server
    /// that knows them may have them switched off, which this does not tell.
    Ttl,
    /// [`Client::watch`] (3.6.0).
    PersistentWatches,
    /// [`Client::read_many`] (3.6.0).
    MultiRead,
    /// [`Client::ephemerals`] (3.6.0).
    Ephemerals,
    /// [`Client::descendant_count`] (3.6.0).
    DescendantCount,
    /// [`Client::whoami`] (3.7.0).
    WhoAmI,
}

impl Feature {
    pub(crate) fn op(self) -> i32 {
        match self {
            Self::CreateStat => op::CREATE2,
            Self::Reconfig => op::RECONFIG,
            Self::RemoveWatches => op::REMOVE_WATCHES,
            Self::Container => op::CREATE_CONTAINER,
            Self::Ttl => op::CREATE_TTL,
            Self::PersistentWatches => op::ADD_WATCH,
            Self::MultiRead => op::MULTI_READ,
            Self::Ephemerals => op::GET_EPHEMERALS,
            Self::DescendantCount => op::GET_ALL_CHILDREN_NUMBER,
            Self::WhoAmI => op::WHO_AM_I,
        }
    }
}

impl Client {
    /// Whether the server that this client is connected to, or was last, knows the feature:
    /// `None` until it has shown that by an answer. Nothing is asked for this.
    ///
    /// To ask a server for what it does not know costs something: it refuses with
    /// `Unimplemented` and closes the connection. The session goes on over the next one, but
    /// other requests that were on their way end as [lost](crate::Error::ConnectionLost). What is
    /// learned so is remembered for each server, as long as the session lasts.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// use homing::Feature;
    /// assert_eq!(client.supports(Feature::CreateStat), None);
    /// client.create("/a", b"").await?;
    /// assert_eq!(client.supports(Feature::CreateStat), Some(true));
    /// # Ok(())
    /// # }
    /// ```
    pub fn supports(&self, feature: Feature) -> Option<bool> {
        self.scope.core.shared.knowledge.of(feature.op())
    }
}
