//! The two ways of a connection.

/// Which way bytes go.
///
/// ```
/// use homing_testkit::decode::Way;
/// assert_eq!(Way::ToClient.back(), Way::ToServer);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// What clients send: handshakes, requests, pings.
    ToServer,
    /// What servers send: replies and notifications.
    ToClient,
}

impl Way {
    /// Where the bytes come from that the other ones answer.
    #[must_use]
    pub fn back(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}
