//! Records that are part of several operations: stat, identities, access control lists.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::codec::{DecodeError, Reader, Record, put_count, put_string};
use crate::digest;

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
        // In one piece: the room for each field by itself costs more than the field.
        let mut stat = [0; Self::LEN];
        let mut fields = &mut stat[..];
        fields.put_i64(self.czxid);
        fields.put_i64(self.mzxid);
        fields.put_i64(self.ctime);
        fields.put_i64(self.mtime);
        fields.put_i32(self.version);
        fields.put_i32(self.cversion);
        fields.put_i32(self.aversion);
        fields.put_i64(self.ephemeral_owner);
        fields.put_i32(self.data_length);
        fields.put_i32(self.num_children);
        fields.put_i64(self.pzxid);
        out.put_slice(&stat);
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
/// `Debug` leaves out the hash of a `digest` identity, as servers do for readers that are not
/// the node's administrators: it is enough to guess the password from.
///
/// ```
/// use homing_protocol::{Acl, Id};
/// let anyone = Id { scheme: "world".into(), id: "anyone".into() };
/// assert_eq!(anyone, Acl::open().id);
/// let bob = Acl::digest("bob", "pw").id;
/// assert_eq!(format!("{bob:?}"), r#"Id { scheme: "digest", id: "bob:…" }"#);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Id {
    /// `world`, `auth`, `digest`, `ip`, `sasl` or `x509`.
    pub scheme: String,
    /// What the scheme knows the identity by.
    pub id: String,
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = match self.id.split_once(':') {
            Some((user, _)) if self.scheme == "digest" => Cow::Owned(format!("{user}:…")),
            _ => Cow::Borrowed(self.id.as_str()),
        };
        f.debug_struct("Id")
            .field("scheme", &self.scheme)
            .field("id", &id)
            .finish()
    }
}

/// Who a connection is, as whoAmI tells it: not the [`Id`] of an access control list, for which
/// `digest` has a hash behind the user.
///
/// ```
/// use homing_protocol::Identity;
/// let bob = Identity { scheme: "digest".into(), user: "bob".into() };
/// assert_eq!(bob.to_string(), "digest:bob");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// `ip`, `digest`, `sasl`, `x509` or `super`.
    pub scheme: String,
    /// The name: an address, a user, nothing for `super`.
    pub user: String,
}

impl Identity {
    /// Encoded size of the shortest one in bytes.
    pub const LEN_MIN: usize = 8;

    /// Reads an identity.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            scheme: reader.string("authScheme")?.into_owned(),
            user: reader.string("user")?.into_owned(),
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme, self.user)
    }
}

/// One entry of an access control list: somebody, and what they may do.
///
/// The entries of a list add up, and there are none that forbid. A node has a list of its own:
/// nothing is inherited, neither by children nor from parents. Every function here that makes
/// an entry gives [all](permission::ALL) permissions, except [`read_only`](Self::read_only);
/// [`permissions`](Self::permissions) sets others.
///
/// Wherever a list is asked for, a single entry will do.
///
/// ```
/// use homing_protocol::{Acl, permission};
/// let list = [Acl::creator_all(), Acl::open().permissions(permission::READ)];
/// assert_eq!(list[1], Acl::read_only());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acl {
    /// What is allowed: a sum of the bits in [`permission`].
    pub permissions: i32,
    /// To whom.
    pub id: Id,
}

impl Acl {
    /// Everybody may do everything. Open means open: anybody who reaches the servers can then
    /// change the node, and its list too.
    ///
    /// ```
    /// use homing_protocol::{Acl, permission};
    /// assert_eq!(Acl::open(), Acl::new("world", "anyone"));
    /// ```
    pub fn open() -> Self {
        Self::new("world", "anyone")
    }

    /// Everybody may [read](permission::READ). Alone in a list it leaves nobody who could ever
    /// change the node or the list, except a server's super user.
    pub fn read_only() -> Self {
        Self::open().permissions(permission::READ)
    }

    /// The identities that the creator has added to its client may do everything; a server puts
    /// one entry for each of them in the place of this one. Having none is an error
    /// (`InvalidAcl`).
    pub fn creator_all() -> Self {
        Self::new("auth", "")
    }

    /// Whoever authenticates with this name and password may do everything. The entry has a
    /// hash of both; the password is not kept.
    ///
    /// ```
    /// use homing_protocol::Acl;
    /// let bob = Acl::digest("bob", "pw");
    /// assert_eq!(bob.id.id, "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
    /// ```
    pub fn digest(user: &str, password: &str) -> Self {
        Self::new("digest", digest::id(user, password))
    }

    /// Whoever connects from this address, or from an address that begins with the same bits,
    /// may do everything. Servers before 3.9.4 refuse IPv6 addresses (`InvalidAcl`). What the
    /// server sees as the address is what counts, also where it is a proxy's.
    ///
    /// ```
    /// use homing_protocol::Acl;
    /// assert_eq!(Acl::ip(std::net::Ipv4Addr::LOCALHOST).id.id, "127.0.0.1");
    /// assert_eq!(Acl::ip("10.1.0.0/16").id.id, "10.1.0.0/16");
    /// ```
    pub fn ip(address: impl fmt::Display) -> Self {
        Self::new("ip", address.to_string())
    }

    /// An identity of any scheme, such as `sasl` or `x509`, may do everything. Servers refuse
    /// schemes that they do not know, and ids that the scheme does not allow (`InvalidAcl`).
    ///
    /// ```
    /// use homing_protocol::Acl;
    /// let alice = Acl::new("sasl", "alice@EXAMPLE.COM");
    /// # assert_eq!(alice.permissions, homing_protocol::permission::ALL);
    /// ```
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            permissions: permission::ALL,
            id: Id {
                scheme: scheme.into(),
                id: id.into(),
            },
        }
    }

    /// Allows exactly this: a sum of the bits in [`permission`].
    ///
    /// ```
    /// use homing_protocol::{Acl, permission};
    /// let worker = Acl::digest("worker", "pw").permissions(permission::READ | permission::WRITE);
    /// assert_eq!(worker.permissions, 3);
    /// ```
    pub fn permissions(mut self, permissions: i32) -> Self {
        self.permissions = permissions;
        self
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

    /// Reads a list with its count. A null list is an empty one.
    pub fn read_list(reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let count = reader.count("acl", Self::LEN_MIN)?.unwrap_or(0);
        (0..count).map(|_| Self::read(reader)).collect()
    }

    /// Reads an entry.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            permissions: reader.i32("perms")?,
            id: Id {
                scheme: reader.string("scheme")?.into_owned(),
                id: reader.string("id")?.into_owned(),
            },
        })
    }
}

/// A list of one.
impl From<Acl> for Cow<'_, [Acl]> {
    fn from(acl: Acl) -> Self {
        Cow::Owned(vec![acl])
    }
}

/// A list of one.
impl<'a> From<&'a Acl> for Cow<'a, [Acl]> {
    fn from(acl: &'a Acl) -> Self {
        Cow::Borrowed(std::slice::from_ref(acl))
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
