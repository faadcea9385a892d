//! Several operations in one request: multi, which does all of its writes or none, and
//! multiRead, each of whose reads stands for itself.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Record};
use crate::data::Stat;
use crate::op;
use crate::reply;
use crate::request::{Check, Create, Delete, GetChildren, GetData, SetData};

/// The body of multi and multiRead: operations, and what stands behind the last. The iterator is
/// gone through twice, once for the length and once for the bytes, and must give the same.
///
/// ```
/// use homing_protocol::{Delete, Multi, MultiOp, Record};
/// let delete = MultiOp::Delete(Delete { path: "/b".into(), version: -1 });
/// let multi = Multi([delete].into_iter());
/// // A header of nine bytes before each, and one behind them.
/// assert_eq!(multi.encoded_len(), 9 + 10 + 9);
/// ```
#[derive(Debug, Clone)]
pub struct Multi<I>(pub I);

impl<'a, I: Iterator<Item = MultiOp<'a>> + Clone> Record for Multi<I> {
    fn encoded_len(&self) -> usize {
        let ops = self.0.clone().map(|op| HEADER_LEN + op.body_len());
        ops.sum::<usize>() + HEADER_LEN
    }

    fn encode(&self, out: &mut BytesMut) {
        for op in self.0.clone() {
            put_header(out, op.code(), false);
            op.encode_body(out);
        }
        put_header(out, END, true);
    }
}

/// One operation of a [`Multi`]. Writes and checks go into a multi, reads into a multiRead;
/// whatever is in the wrong one spoils it as a whole.
///
/// ```
/// use homing_protocol::{Check, MultiOp, op};
/// let check = MultiOp::Check(Check { path: "/a".into(), version: 1 });
/// assert_eq!(check.code(), op::CHECK);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiOp<'a> {
    /// One of the operations that make a node, by its code, and its body.
    Create(i32, Create<'a>),
    /// Removes a node.
    Delete(Delete<'a>),
    /// Replaces a node's data.
    SetData(SetData<'a>),
    /// Does nothing, if the node has the version.
    Check(Check<'a>),
    /// Reads a node's data and stat. Its watch is ignored by servers.
    GetData(GetData<'a>),
    /// Lists a node's children. Its watch is ignored by servers.
    GetChildren(GetChildren<'a>),
}

impl MultiOp<'_> {
    /// The operation's code, which stands in its header.
    pub fn code(&self) -> i32 {
        match self {
            Self::Create(code, _) => *code,
            Self::Delete(_) => op::DELETE,
            Self::SetData(_) => op::SET_DATA,
            Self::Check(_) => op::CHECK,
            Self::GetData(_) => op::GET_DATA,
            Self::GetChildren(_) => op::GET_CHILDREN,
        }
    }

    fn body_len(&self) -> usize {
        match self {
            Self::Create(_, body) => body.encoded_len(),
            Self::Delete(body) => body.encoded_len(),
            Self::SetData(body) => body.encoded_len(),
            Self::Check(body) => body.encoded_len(),
            Self::GetData(body) => body.encoded_len(),
            Self::GetChildren(body) => body.encoded_len(),
        }
    }

    fn encode_body(&self, out: &mut BytesMut) {
        match self {
            Self::Create(_, body) => body.encode(out),
            Self::Delete(body) => body.encode(out),
            Self::SetData(body) => body.encode(out),
            Self::Check(body) => body.encode(out),
            Self::GetData(body) => body.encode(out),
            Self::GetChildren(body) => body.encode(out),
        }
    }
}

/// The type, whether it is the end, and an error: always −1 in a request.
const HEADER_LEN: usize = 4 + 1 + 4;

/// The type in the header behind the last operation, and in that of an error.
const END: i32 = -1;

fn put_header(out: &mut BytesMut, code: i32, done: bool) {
    out.put_i32(code);
    out.put_u8(done.into());
    out.put_i32(-1);
}

/// One result in the reply to a multi or multiRead. It need not fit the operation: whoever sent
/// that compares.
///
/// ```
/// use homing_protocol::MultiResult;
/// assert_ne!(MultiResult::Deleted, MultiResult::Failed(-101));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiResult {
    /// A node was made: its path, and its stat. To a create2, servers before 3.7.2 and 3.8.2
    /// tell no stat; a container or a node with a time to live always comes with it.
    Created(String, Option<Stat>),
    /// A node was removed.
    Deleted,
    /// A node's data was replaced: its new stat.
    Set(Stat),
    /// A node has the version.
    Checked,
    /// A node's data, `None` where it is null, and its stat.
    Data(Option<Bytes>, Stat),
    /// How many children a node has, and their names, each behind its length. All were checked
    /// to lie inside those bytes, and none is null.
    Children(usize, Bytes),
    /// An error code. In a multi that failed, everything is one: 0 where nothing was wrong, the
    /// culprit's own, and −2 for what stands behind it.
    Failed(i32),
}

/// The results of a multi or multiRead, read one by one: as many as the server has sent, so that
/// nobody makes room for more than were asked for. It ends behind the first that cannot be read.
///
/// ```
/// use homing_protocol::{MultiResult, reply};
/// let mut frame = bytes::BytesMut::zeroed(16);
/// frame.extend_from_slice(b"\0\0\0\x02\0\0\0\0\0"); // a delete was done
/// frame.extend_from_slice(b"\xff\xff\xff\xff\x01\xff\xff\xff\xff");
/// let frame = frame.freeze();
/// let mut results = reply::multi(&frame)?;
/// assert_eq!(results.next(), Some(Ok(MultiResult::Deleted)));
/// assert_eq!(results.next(), None);
/// # Ok::<(), homing_protocol::DecodeError>(())
/// ```
#[derive(Clone)]
pub struct MultiResults<'a> {
    reader: Reader<'a>,
    frame: &'a Bytes,
    is_over: bool,
}

impl fmt::Debug for MultiResults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiResults")
            .field("reader", &self.reader)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

impl<'a> MultiResults<'a> {
    pub(crate) fn new(frame: &'a Bytes) -> Result<Self, DecodeError> {
        let reader = reply::body(frame)?;
        Ok(Self {
            reader,
            frame,
            is_over: false,
        })
    }

    /// An error at this place: what was read last is not what was asked for, or it is missing.
    pub fn unexpected(&self) -> DecodeError {
        DecodeError {
            field: "results",
            at: self.reader.position(),
            kind: DecodeErrorKind::Mismatch,
        }
    }

    fn read(&mut self) -> Result<Option<MultiResult>, DecodeError> {
        let reader = &mut self.reader;
        let at = reader.position();
        let code = reader.i32("type")?;
        let is_end = reader.bool("done")?;
        reader.i32("err")?;
        if is_end {
            return Ok(None);
        }
        Ok(Some(match code {
            op::CREATE => MultiResult::Created(reader.string("path")?.into_owned(), None),
            op::CREATE2 => {
                let path = reader.string("path")?.into_owned();
                MultiResult::Created(path, Some(Stat::read(reader)?))
            }
            op::DELETE => MultiResult::Deleted,
            op::SET_DATA => MultiResult::Set(Stat::read(reader)?),
            op::CHECK => MultiResult::Checked,
            op::GET_DATA => MultiResult::Data(reader.buffer("data")?, Stat::read(reader)?),
            op::GET_CHILDREN => {
                let (count, names) = reply::names(reader, self.frame)?;
                MultiResult::Children(count, names)
            }
            END => MultiResult::Failed(reader.i32("err")?),
            _ => {
                return Err(DecodeError {
                    field: "type",
                    at,
                    kind: DecodeErrorKind::Unknown(code.into()),
                });
            }
        }))
    }
}

impl Iterator for MultiResults<'_> {
    type Item = Result<MultiResult, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let result = self.read().transpose();
        self.is_over = !matches!(result, Some(Ok(_)));
        result
    }
}
