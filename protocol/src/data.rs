//! Records that are part of several operations: stat, identities, access control lists.

use bytes::{BufMut, BytesMut};

use crate::codec::{DecodeError, Reader, Record, put_count, put_string};

/// What a server keeps about a node beside its data. Field names are ZooKeeper's own.
///
/// ```
/// use homing_protocol::Stat;
/// let stat = Stat { version: 3, ..Stat::default() };
/// assert!(!stat.is_ephemeral());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Stat {
    /// The transaction that created the node.
    pub czxid: i64,
    /// The transaction that last set its data (at first `czxid`).
    pub mzxid: i64,
    /// When it was created, in milliseconds since the Unix epoch, by the server's clock.
    pub ctime: i64,
    /// When its data was last set, in milliseconds since the Unix epoch, by the server's clock.
    pub mtime: i64,
    /// How often its data was set. A conditional write compares this one.
    pub version: i32,
    /// How often a child was created or deleted.
    pub cversion: i32,
    /// How often its access control list was set.
    pub aversion: i32,
    /// The session that an ephemeral node belongs to; 0 for any other node.
    pub ephemeral_owner: i64,
    /// The length of its data in bytes; 0 for null data too.
    pub data_length: i32,
    /// How many children it has.
    pub num_children: i32,
    /// The transaction that last created or deleted a child (at first `czxid`).
    pub pzxid: i64,
}

impl Stat {
    /// Encoded size in bytes.
    pub const LEN: usize = 68;

    /// Whether the node goes away with the session that made it.
    pub fn is_ephemeral(&self) -> bool {
        self.ephemeral_owner != 0
    }

    /// Reads a stat.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            czxid: reader.i64("czxid")?,
            mzxid: reader.i64("mzxid")?,
            ctime: reader.i64("ctime")?,
            mtime: reader.i64("mtime")?,
            version: reader.i32("version")?,
            cversion: reader.i32("cversion")?,
            aversion: reader.i32("aversion")?,
            ephemeral_owner: reader.i64("ephemeralOwner")?,
            data_length: reader.i32("dataLength")?,
            num_children: reader.i32("numChildren")?,
            pzxid: reader.i64("pzxid")?,
        })
    }
}

impl Record for Stat {
    fn encoded_len(&self) -> usize {
        Self::LEN
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i64(self.czxid);
        out.put_i64(self.mzxid);
        out.put_i64(self.ctime);
        out.put_i64(self.mtime);
        out.put_i32(self.version);
        out.put_i32(self.cversion);
        out.put_i32(self.aversion);
        out.put_i64(self.ephemeral_owner);
        out.put_i32(self.data_length);
        out.put_i32(self.num_children);
        out.put_i64(self.pzxid);
    }
}

/// Bits of [`Acl::permissions`].
pub mod permission {
    /// Read data, list children, see the stat.
    pub const READ: i32 = 1;
    /// Set data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children: it is checked on the parent.
    pub const DELETE: i32 = 8;
    /// Set the access control list.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

/// An identity: whom an [`Acl`] is about.
///
/// ```
/// let anyone = homing_protocol::Id { scheme: "world".into(), id: "anyone".into() };
/// assert_eq!(anyone, homing_protocol::Acl::open()[0].id);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id {
    /// `world`, `auth`, `digest`, `ip`, `sasl` or `x509`.
    pub scheme: String,
    /// What the scheme knows the identity by.
    pub id: String,
}

/// One entry of an access control list.
///
/// ```
/// use homing_protocol::{Acl, permission};
/// let open = Acl::open();
/// assert_eq!(open[0].permissions, permission::ALL);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acl {
    /// What is allowed: a sum of the bits in [`permission`].
    pub permissions: i32,
    /// To whom.
    pub id: Id,
}

impl Acl {
    /// Everybody may do everything. Open means open: there is no other protection in
    /// ZooKeeper than access control lists, and children do not inherit them.
    pub fn open() -> Vec<Self> {
        let id = Id {
            scheme: "world".into(),
            id: "anyone".into(),
        };
        vec![Self {
            permissions: permission::ALL,
            id,
        }]
    }

    /// Encoded size of the shortest entry in bytes.
    pub const LEN_MIN: usize = 12;

    /// Encoded size of a list with its count, in bytes.
    pub fn list_len(list: &[Self]) -> usize {
        4 + list.iter().map(Self::encoded_len).sum::<usize>()
    }

    /// Appends a list with its count.
    pub fn put_list(out: &mut BytesMut, list: &[Self]) {
        put_count(out, list.len());
        for acl in list {
            acl.encode(out);
        }
    }
}

impl Record for Acl {
    fn encoded_len(&self) -> usize {
        4 + 4 + self.id.scheme.len() + 4 + self.id.id.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(self.permissions);
        put_string(out, &self.id.scheme);
        put_string(out, &self.id.id);
    }
}
