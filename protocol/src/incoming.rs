//! Request bodies, as a server reads them. Each reader begins behind the request's header.
//!
//! Whatever a peer may send as null comes out as `None`, since servers treat a null path or a
//! null list differently from operation to operation. Bytes behind a record are left unread;
//! ZooKeeper's servers ignore them too. Strings are read as by [`text`].

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::codec::{DecodeError, Reader};

/// A path that may be null on the wire.
pub type NullablePath<'a> = Option<Cow<'a, str>>;

/// Text as a Java server reads it. What is no UTF-8 becomes U+FFFD, and so does each surrogate of
/// those that Java itself writes for a character above U+FFFF: a client joins them, a server does
/// not.
///
/// ```
/// use homing_protocol::incoming;
/// assert_eq!(incoming::text("größe".as_bytes()), "größe");
/// assert_eq!(incoming::text(b"\xED\xA0\xBD\xED\xB8\x80:x"), "\u{FFFD}\u{FFFD}:x");
/// ```
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    crate::text::decode_as_java_does(bytes)
}

/// The body of sync, getACL, getAllChildrenNumber and getEphemerals: a path.
pub fn path<'a>(reader: &mut Reader<'a>) -> Result<NullablePath<'a>, DecodeError> {
    reader.nullable_java_string("path")
}

/// The body of exists, getData, getChildren and getChildren2: a path, and whether to watch it.
///
/// ```
/// use homing_protocol::{Reader, incoming};
/// let body = bytes::Bytes::from_static(b"\0\0\0\x02/a\x01");
/// let (path, watch) = incoming::path_and_watch(&mut Reader::new(&body))?;
/// assert_eq!((path.as_deref(), watch), (Some("/a"), true));
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
pub fn path_and_watch<'a>(
    reader: &mut Reader<'a>,
) -> Result<(NullablePath<'a>, bool), DecodeError> {
    Ok((path(reader)?, reader.bool("watch")?))
}

/// The body of delete and check: a path and the version that the node must have.
pub fn path_and_version<'a>(
    reader: &mut Reader<'a>,
) -> Result<(NullablePath<'a>, i32), DecodeError> {
    Ok((path(reader)?, reader.i32("version")?))
}

/// The body of addWatch (a path and a mode), checkWatches and removeWatches (a path and a kind
/// of watcher). The number is not judged here.
pub fn path_and_kind<'a>(reader: &mut Reader<'a>) -> Result<(NullablePath<'a>, i32), DecodeError> {
    Ok((path(reader)?, reader.i32("type")?))
}

/// The body of create, create2, createContainer and createTTL.
///
/// ```
/// use homing_protocol::{Acl, CreateMode, Reader, Record, incoming};
/// let acl = [Acl::open()];
/// let sent = homing_protocol::Create {
///     path: "/a".into(),
///     data: b"hi",
///     acl: &acl,
///     mode: CreateMode::Ephemeral,
/// };
/// let mut body = bytes::BytesMut::new();
/// sent.encode(&mut body);
/// let body = body.freeze();
/// let read = incoming::Create::read(&mut Reader::new(&body))?;
/// assert_eq!((read.path.as_deref(), read.flags, read.ttl), (Some("/a"), 1, None));
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create<'a> {
    /// The node, or the name to which a number is appended.
    pub path: NullablePath<'a>,
    /// Its data, as a slice of the frame.
    pub data: Option<Bytes>,
    /// Its access control list, as the client wrote it.
    pub acl: Option<Vec<AclEntry>>,
    /// The create mode; an unknown one is not an error here.
    pub flags: i32,
    /// The time to live in milliseconds, where the operation has one.
    pub ttl: Option<i64>,
}

impl<'a> Create<'a> {
    /// Reads the body of create, create2 or createContainer.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            path: path(reader)?,
            data: reader.buffer("data")?,
            acl: acl_list(reader)?,
            flags: reader.i32("flags")?,
            ttl: None,
        })
    }

    /// Reads the body of createTTL.
    pub fn read_with_ttl(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let create = Self::read(reader)?;
        Ok(Self {
            ttl: Some(reader.i64("ttl")?),
            ..create
        })
    }
}

/// The body of setData.
///
/// ```
/// use homing_protocol::{Reader, incoming};
/// let body = bytes::Bytes::from_static(b"\0\0\0\x02/a\xff\xff\xff\xff\0\0\0\x07");
/// let set = incoming::SetData::read(&mut Reader::new(&body))?;
/// assert_eq!((set.data, set.version), (None, 7));
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetData<'a> {
    /// The node.
    pub path: NullablePath<'a>,
    /// Its new data, as a slice of the frame.
    pub data: Option<Bytes>,
    /// The version that it must have, or −1 for any.
    pub version: i32,
}

impl<'a> SetData<'a> {
    /// Reads it.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            path: path(reader)?,
            data: reader.buffer("data")?,
            version: reader.i32("version")?,
        })
    }
}

/// The body of setACL.
///
/// ```
/// use homing_protocol::{Reader, incoming};
/// let body = bytes::Bytes::from_static(b"\0\0\0\x02/a\0\0\0\0\xff\xff\xff\xff");
/// let set = incoming::SetAcl::read(&mut Reader::new(&body))?;
/// assert_eq!((set.acl, set.version), (Some(vec![]), -1));
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAcl<'a> {
    /// The node.
    pub path: NullablePath<'a>,
    /// Its new access control list, as the client wrote it.
    pub acl: Option<Vec<AclEntry>>,
    /// The version that the list must have, or −1 for any.
    pub version: i32,
}

impl<'a> SetAcl<'a> {
    /// Reads it.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            path: path(reader)?,
            acl: acl_list(reader)?,
            version: reader.i32("version")?,
        })
    }
}

/// One entry of an access control list before anybody has checked it: see
/// [`Acl`](crate::Acl) for one that is in force.
///
/// ```
/// use homing_protocol::incoming::AclEntry;
/// let entry = AclEntry { permissions: 31, scheme: Some("auth".into()), id: None };
/// assert!(entry.id.is_none());
/// // What comes behind a user's name is a hash, or was to become one.
/// let entry = AclEntry { id: Some("bob:secret".into()), ..entry };
/// assert!(!format!("{entry:?}").contains("secret"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AclEntry {
    /// What is allowed.
    pub permissions: i32,
    /// The scheme of the identity.
    pub scheme: Option<String>,
    /// The identity within its scheme.
    pub id: Option<String>,
}

impl fmt::Debug for AclEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.id.as_ref().map(|id| match id.split_once(':') {
            Some((user, _)) => Cow::Owned(format!("{user}:…")),
            None => Cow::Borrowed(id.as_str()),
        });
        f.debug_struct("AclEntry")
            .field("permissions", &self.permissions)
            .field("scheme", &self.scheme)
            .field("id", &user)
            .finish()
    }
}

/// The body of auth.
///
/// ```
/// use homing_protocol::{Reader, incoming};
/// let body = bytes::Bytes::from_static(b"\0\0\0\0\0\0\0\x06digest\0\0\0\x06bob:pw");
/// let auth = incoming::Auth::read(&mut Reader::new(&body))?;
/// assert_eq!(auth.scheme.as_deref(), Some("digest"));
/// assert_eq!(auth.credentials.as_deref(), Some(&b"bob:pw"[..]));
/// // A password stays out of logs.
/// assert!(!format!("{auth:?}").contains("bob"));
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Auth<'a> {
    /// The scheme that is to judge the credentials.
    pub scheme: Option<Cow<'a, str>>,
    /// What the scheme asks for; for `digest` it is `user:password`.
    pub credentials: Option<Bytes>,
}

impl fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

impl<'a> Auth<'a> {
    /// Reads it. The number in front, which is always 0, is passed over.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.i32("type")?;
        Ok(Self {
            scheme: reader.nullable_java_string("scheme")?,
            credentials: reader.buffer("auth")?,
        })
    }
}

/// The body of setWatches and setWatches2.
///
/// ```
/// use homing_protocol::{Reader, incoming};
/// let body = b"\0\0\0\0\0\0\0\x02\0\0\0\x01\0\0\0\x02/a\0\0\0\0\0\0\0\0";
/// let body = bytes::Bytes::from_static(body);
/// let watches = incoming::SetWatches::read(&mut Reader::new(&body))?;
/// assert_eq!((watches.relative_zxid, watches.data), (2, Some(vec![Some("/a".into())])));
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetWatches<'a> {
    /// The last transaction that the client knows of.
    pub relative_zxid: i64,
    /// Nodes whose data is watched.
    pub data: Option<Vec<NullablePath<'a>>>,
    /// Nodes that are waited for.
    pub exist: Option<Vec<NullablePath<'a>>>,
    /// Nodes whose children are watched.
    pub child: Option<Vec<NullablePath<'a>>>,
    /// Nodes with a persistent watch; empty in setWatches.
    pub persistent: Option<Vec<NullablePath<'a>>>,
    /// Nodes with a persistent watch on everything below too; empty in setWatches.
    pub persistent_recursive: Option<Vec<NullablePath<'a>>>,
}

impl<'a> SetWatches<'a> {
    /// Reads the body of setWatches.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            relative_zxid: reader.i64("relativeZxid")?,
            data: paths(reader, "dataWatches")?,
            exist: paths(reader, "existWatches")?,
            child: paths(reader, "childWatches")?,
            persistent: Some(Vec::new()),
            persistent_recursive: Some(Vec::new()),
        })
    }

    /// Reads the body of setWatches2.
    pub fn read2(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let watches = Self::read(reader)?;
        Ok(Self {
            persistent: paths(reader, "persistentWatches")?,
            persistent_recursive: paths(reader, "persistentRecursiveWatches")?,
            ..watches
        })
    }
}

/// The body of reconfig.
///
/// ```
/// use homing_protocol::{Reader, incoming};
/// let body = b"\xff\xff\xff\xff\0\0\0\x013\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
/// let body = bytes::Bytes::from_static(body);
/// let change = incoming::Reconfig::read(&mut Reader::new(&body))?;
/// assert_eq!((change.leaving.as_deref(), change.from_config), (Some("3"), -1));
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconfig<'a> {
    /// Servers that join, with commas between them.
    pub joining: Option<Cow<'a, str>>,
    /// The numbers of those that leave.
    pub leaving: Option<Cow<'a, str>>,
    /// All servers, in place of those that are there.
    pub members: Option<Cow<'a, str>>,
    /// The version of the configuration that is to be replaced, −1 for any.
    pub from_config: i64,
}

impl<'a> Reconfig<'a> {
    /// Reads the body of reconfig.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            joining: reader.nullable_java_string("joiningServers")?,
            leaving: reader.nullable_java_string("leavingServers")?,
            members: reader.nullable_java_string("newMembers")?,
            from_config: reader.i64("curConfigId")?,
        })
    }
}

/// What stands before each operation of multi and multiRead: `Some` is its operation code,
/// `None` is the end of the list.
///
/// ```
/// use homing_protocol::{Reader, incoming, op};
/// let list = b"\0\0\0\x02\0\xff\xff\xff\xff\xff\xff\xff\xff\x01\xff\xff\xff\xff";
/// let list = bytes::Bytes::from_static(list);
/// let mut reader = Reader::new(&list);
/// assert_eq!(incoming::multi_header(&mut reader)?, Some(op::DELETE));
/// assert_eq!(incoming::multi_header(&mut reader)?, None);
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
pub fn multi_header(reader: &mut Reader<'_>) -> Result<Option<i32>, DecodeError> {
    let op = reader.i32("type")?;
    let done = reader.bool("done")?;
    reader.i32("err")?;
    Ok((!done).then_some(op))
}

fn acl_list(reader: &mut Reader<'_>) -> Result<Option<Vec<AclEntry>>, DecodeError> {
    let Some(count) = count(reader, "acl", ACL_LEN_MIN)? else {
        return Ok(None);
    };
    let entry = |_| {
        Ok(AclEntry {
            permissions: reader.i32("perms")?,
            scheme: reader.nullable_java_string("scheme")?.map(Cow::into_owned),
            id: reader.nullable_java_string("id")?.map(Cow::into_owned),
        })
    };
    (0..count).map(entry).collect::<Result<_, _>>().map(Some)
}

fn paths<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
) -> Result<Option<Vec<NullablePath<'a>>>, DecodeError> {
    let Some(count) = count(reader, field, 4)? else {
        return Ok(None);
    };
    let paths = (0..count).map(|_| reader.nullable_java_string(field));
    paths.collect::<Result<_, _>>().map(Some)
}

/// As [`Reader::count`], but what is below −1 is an empty vector, as it is to a Java server.
fn count(
    reader: &mut Reader<'_>,
    field: &'static str,
    element_len_min: usize,
) -> Result<Option<usize>, DecodeError> {
    if reader.clone().i32(field)? < -1 {
        reader.skip(4, field)?;
        return Ok(Some(0));
    }
    reader.count(field, element_len_min)
}

/// Encoded size of the shortest entry: permissions and two null strings.
const ACL_LEN_MIN: usize = 12;
