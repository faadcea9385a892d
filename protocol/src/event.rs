//! Watch notifications.

use bytes::{BufMut, BytesMut};

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Record, put_string};

/// What happened to a node, on the wire.
///
/// ```
/// use homing_protocol::EventType;
/// assert_eq!(EventType::NodeDataChanged as i32, 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// It was created.
    NodeCreated = 1,
    /// It was deleted.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child was created or deleted.
    NodeChildrenChanged = 4,
}

/// The body of a notification (a frame with xid −1).
///
/// ```
/// use homing_protocol::{EventType, Reader, Record, WatchedEvent};
/// let event = WatchedEvent { kind: EventType::NodeCreated, path: "/b".into() };
/// let mut body = bytes::BytesMut::new();
/// event.encode(&mut body);
/// assert_eq!(WatchedEvent::read(&mut Reader::new(&body.freeze()))?, event);
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedEvent {
    /// What happened.
    pub kind: EventType,
    /// To which node: the server's path, before any chroot is taken off.
    pub path: String,
}

impl WatchedEvent {
    /// Reads the body of a notification.
    ///
    /// The keeper state between the two is ignored: every server sends 3 (sync-connected).
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.position();
        let kind = match reader.i32("type")? {
            1 => EventType::NodeCreated,
            2 => EventType::NodeDeleted,
            3 => EventType::NodeDataChanged,
            4 => EventType::NodeChildrenChanged,
            other => {
                let kind = DecodeErrorKind::Unknown(other.into());
                return Err(DecodeError {
                    field: "type",
                    at,
                    kind,
                });
            }
        };
        reader.i32("state")?;
        Ok(Self {
            kind,
            path: reader.string("path")?.into_owned(),
        })
    }
}

impl Record for WatchedEvent {
    fn encoded_len(&self) -> usize {
        4 + 4 + 4 + self.path.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(self.kind as i32);
        out.put_i32(SYNC_CONNECTED);
        put_string(out, &self.path);
    }
}

/// The only keeper state that servers send.
const SYNC_CONNECTED: i32 = 3;
