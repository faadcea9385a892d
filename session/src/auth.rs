//! Identities that are added to every connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use homing_protocol::{Auth, RequestHeader, op, put_request, request_len, xid};

use crate::secret::Secret;

/// An identity to be presented: a scheme, and what proves it.
///
/// ```
/// use homing_session::{Authentication, Secret};
/// let bob = Authentication { scheme: "digest".into(), proof: Secret::new(b"bob:pw") };
/// assert!(!format!("{bob:?}").contains("pw"));
/// ```
#[derive(Debug, Clone)]
pub struct Authentication {
    /// `digest`, or another one that servers know.
    pub scheme: String,
    /// For `digest` the user's name, a colon, and the password in clear: it is sent like that.
    pub proof: Secret,
}

impl Authentication {
    /// The length of its frame in bytes.
    pub fn frame_len(&self) -> usize {
        request_len(&self.body())
    }

    /// Appends it as a frame.
    pub fn put_frame(&self, out: &mut BytesMut) {
        let header = RequestHeader {
            xid: xid::AUTH,
            op: op::AUTH,
        };
        put_request(out, header, &self.body());
    }

    fn body(&self) -> Auth<'_> {
        Auth {
            scheme: &self.scheme,
            proof: self.proof.reveal(),
        }
    }
}

/// All identities of a session, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Authentications {
    list: Mutex<Vec<Arc<Authentication>>>,
}

impl Authentications {
    /// Has it presented on every connection from the next one on.
    pub fn add(&self, authentication: Arc<Authentication>) {
        self.list().push(authentication);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Authentication>> {
        self.list().clone()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Authentication>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
