//! Identities that are added to every connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, BytesMut};
use homing_protocol::{Record, RequestHeader, op, put_buffer, put_string, xid};

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
        4 + RequestHeader::LEN + 4 + 4 + self.scheme.len() + 4 + self.proof.reveal().len()
    }

    /// Appends it as a frame.
    pub fn put_frame(&self, out: &mut BytesMut) {
        let len = self.frame_len() - 4;
        out.put_i32(i32::try_from(len).unwrap_or(i32::MAX));
        RequestHeader {
            xid: xid::AUTH,
            op: op::AUTH,
        }
        .encode(out);
        // The type is always 0.
        out.put_i32(0);
        put_string(out, &self.scheme);
        put_buffer(out, Some(self.proof.reveal()));
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
