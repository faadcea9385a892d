//! Reply bodies, as a client reads them. Each function takes the whole frame, header included,
//! of a reply whose `err` was 0.

use bytes::Bytes;

use crate::codec::{DecodeError, DecodeErrorKind, Reader};
use crate::data::{Acl, Identity, Stat};
use crate::header::ReplyHeader;
use crate::multi::MultiResults;

/// The transaction that any reply reports; see [`ReplyHeader::zxid`].
pub fn zxid(frame: &Bytes) -> Result<i64, DecodeError> {
    Ok(ReplyHeader::decode(frame)?.zxid)
}

/// create: the node's path.
pub fn create(frame: &Bytes) -> Result<String, DecodeError> {
    Ok(body(frame)?.string("path")?.into_owned())
}

/// create2, createContainer, createTTL: the node's path and its stat.
pub fn create2(frame: &Bytes) -> Result<(String, Stat), DecodeError> {
    let mut reader = body(frame)?;
    let path = reader.string("path")?.into_owned();
    Ok((path, Stat::read(&mut reader)?))
}

/// getData, reconfig: the node's data, `None` where it is null, and its stat.
pub fn get_data(frame: &Bytes) -> Result<(Option<Bytes>, Stat), DecodeError> {
    let mut reader = body(frame)?;
    let data = reader.buffer("data")?;
    Ok((data, Stat::read(&mut reader)?))
}

/// getACL: the node's access control list and its stat.
///
/// ```
/// use homing_protocol::{Acl, Record, Stat, reply};
/// let mut frame = bytes::BytesMut::zeroed(16);
/// Acl::put_list(&mut frame, &[Acl::open()]);
/// Stat::default().encode(&mut frame);
/// let (list, _stat) = reply::get_acl(&frame.freeze())?;
/// assert_eq!(list, [Acl::open()]);
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
pub fn get_acl(frame: &Bytes) -> Result<(Vec<Acl>, Stat), DecodeError> {
    let mut reader = body(frame)?;
    Ok((Acl::read_list(&mut reader)?, Stat::read(&mut reader)?))
}

/// exists, setData, setACL: a stat.
pub fn stat(frame: &Bytes) -> Result<Stat, DecodeError> {
    Stat::read(&mut body(frame)?)
}

/// getChildren2: how many names there are, the bytes that hold them, each behind its length,
/// and the node's stat. All names were checked to lie inside those bytes, and none is null.
///
/// ```
/// use homing_protocol::reply;
/// let mut frame = bytes::BytesMut::zeroed(16);
/// frame.extend_from_slice(b"\0\0\0\x02\0\0\0\x01a\0\0\0\x02bc");
/// frame.resize(frame.len() + 68, 0);
/// let (count, names, _stat) = reply::get_children2(&frame.freeze())?;
/// assert_eq!((count, &names[..]), (2, &b"\0\0\0\x01a\0\0\0\x02bc"[..]));
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
pub fn get_children2(frame: &Bytes) -> Result<(usize, Bytes, Stat), DecodeError> {
    let mut reader = body(frame)?;
    let (count, names) = names(&mut reader, frame)?;
    Ok((count, names, Stat::read(&mut reader)?))
}

/// multi, multiRead: one result for each operation.
pub fn multi(frame: &Bytes) -> Result<MultiResults<'_>, DecodeError> {
    MultiResults::new(frame)
}

/// getEphemerals: paths.
///
/// ```
/// use homing_protocol::reply;
/// let mut frame = bytes::BytesMut::zeroed(16);
/// frame.extend_from_slice(b"\0\0\0\x01\0\0\0\x02/a");
/// assert_eq!(reply::ephemerals(&frame.freeze())?, ["/a"]);
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
pub fn ephemerals(frame: &Bytes) -> Result<Vec<String>, DecodeError> {
    let mut reader = body(frame)?;
    let count = reader.count("ephemerals", 4)?.unwrap_or(0);
    let path = |_| Ok(reader.string("ephemeral")?.into_owned());
    (0..count).map(path).collect()
}

/// getAllChildrenNumber: how many there are.
pub fn all_children_number(frame: &Bytes) -> Result<i32, DecodeError> {
    body(frame)?.i32("totalNumber")
}

/// whoAmI: the identities of the connection, in no particular order.
pub fn who_am_i(frame: &Bytes) -> Result<Vec<Identity>, DecodeError> {
    let mut reader = body(frame)?;
    let count = reader.count("clientInfo", Identity::LEN_MIN)?.unwrap_or(0);
    (0..count).map(|_| Identity::read(&mut reader)).collect()
}

/// A list of names: how many there are, and the bytes that hold them.
pub(crate) fn names(reader: &mut Reader<'_>, frame: &Bytes) -> Result<(usize, Bytes), DecodeError> {
    let count = reader.count("children", 4)?.unwrap_or(0);
    let start = reader.position();
    for _ in 0..count {
        let at = reader.position();
        if reader.buffer("child")?.is_none() {
            let kind = DecodeErrorKind::Null;
            let field = "child";
            return Err(DecodeError { field, at, kind });
        }
    }
    Ok((count, frame.slice(start..reader.position())))
}

pub(crate) fn body(frame: &Bytes) -> Result<Reader<'_>, DecodeError> {
    ReplyHeader::decode(frame)?;
    let mut reader = Reader::new(frame);
    reader.skip(ReplyHeader::LEN, "header")?;
    Ok(reader)
}
