//! What a connection says of who is there.

use std::sync::Arc;

use crate::auth::Authentication;
use crate::sasl::Sasl;

/// What identifies a client on one connection.
///
/// ```
/// use homing_session::{Authentication, Login, Secret};
/// let bob = Authentication { scheme: "digest".into(), proof: Secret::new(b"bob:pw") };
/// let login = Login { sasl: None, authentications: vec![bob.into()] };
/// assert!(!format!("{login:?}").contains("pw"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// How SASL is done before anything else; `None` leaves it to the session's configuration.
    pub sasl: Option<Sasl>,
    /// Identities that are presented before those that were added to the session.
    pub authentications: Vec<Arc<Authentication>>,
}
