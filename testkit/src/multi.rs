//! Several operations in one request: all or nothing for writes, each by itself for reads.

use homing_protocol::{ErrorCode, Reader, incoming, op};

use crate::processor::{Applied, malformed};
use crate::reply::Reply;
use crate::transaction::Transaction;

/// Applies a multi and writes its results, or why there are none.
///
/// `Applied::Failed` means that the transaction is to be rolled back and that the reply is
/// nonetheless complete: header without error, and a list of errors behind it.
pub(crate) fn apply(
    transaction: &mut Transaction<'_>,
    writes: &[Write<'_>],
    reply: &mut Reply,
) -> Result<Applied, ErrorCode> {
    for (at, write) in writes.iter().enumerate() {
        let Err(error) = write.apply(transaction, reply) else {
            continue;
        };
        // This is a server that stumbled, not an operation that was refused.
        if error == ErrorCode::MarshallingError {
            return Err(error);
        }
        reply.clear();
        for other in 0..writes.len() {
            let code = match other.cmp(&at) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => error.code(),
                std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.code(),
            };
            put_error(reply, code);
        }
        put_end(reply);
        return Ok(Applied::Failed);
    }
    put_end(reply);
    Ok(Applied::Done)
}

/// A result that is an error.
pub(crate) fn put_error(reply: &mut Reply, code: i32) {
    reply.put_multi_header(-1, false, code);
    reply.put_i32(code);
}

/// What stands behind the last result.
pub(crate) fn put_end(reply: &mut Reply) {
    reply.put_multi_header(-1, true, -1);
}

/// One write of a multi.
#[derive(Debug)]
pub(crate) enum Write<'a> {
    Create(i32, incoming::Create<'a>),
    Delete(incoming::NullablePath<'a>, i32),
    SetData(incoming::SetData<'a>),
    Check(incoming::NullablePath<'a>, i32),
    /// A read: getData or getChildren. A multi of nothing else is taken in before it is refused,
    /// which shows in the transaction number if a path is null.
    NotOne(i32, incoming::NullablePath<'a>),
}

/// Reads the whole list of a multi or a multiRead before anything is done. Any other operation in
/// it spoils it, and so do one that the server does not know and reads among writes.
pub(crate) fn list<'a>(
    reader: &mut Reader<'a>,
    unknown_operations: &[i32],
) -> Result<Vec<Write<'a>>, ErrorCode> {
    let mut writes = Vec::new();
    while let Some(op) = malformed(incoming::multi_header(reader))? {
        writes.push(match op {
            unknown if unknown_operations.contains(&unknown) => {
                return Err(ErrorCode::MarshallingError);
            }
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER => {
                Write::Create(op, malformed(incoming::Create::read(reader))?)
            }
            op::CREATE_TTL => {
                Write::Create(op, malformed(incoming::Create::read_with_ttl(reader))?)
            }
            op::DELETE => {
                let (path, version) = malformed(incoming::path_and_version(reader))?;
                Write::Delete(path, version)
            }
            op::SET_DATA => Write::SetData(malformed(incoming::SetData::read(reader))?),
            op::CHECK => {
                let (path, version) = malformed(incoming::path_and_version(reader))?;
                Write::Check(path, version)
            }
            op::GET_DATA | op::GET_CHILDREN => {
                let (path, _) = malformed(incoming::path_and_watch(reader))?;
                Write::NotOne(op, path)
            }
            _ => return Err(ErrorCode::MarshallingError),
        });
    }
    let reads = writes
        .iter()
        .filter(|write| matches!(write, Write::NotOne(..)))
        .count();
    if reads > 0 && reads < writes.len() {
        return Err(ErrorCode::MarshallingError);
    }
    Ok(writes)
}

impl Write<'_> {
    pub(crate) fn lacks_path(&self) -> bool {
        match self {
            Self::Create(_, incoming::Create { path, .. })
            | Self::Delete(path, _)
            | Self::SetData(incoming::SetData { path, .. })
            | Self::Check(path, _)
            | Self::NotOne(_, path) => path.is_none(),
        }
    }

    fn apply(&self, transaction: &mut Transaction<'_>, reply: &mut Reply) -> Result<(), ErrorCode> {
        match self {
            Self::Create(op, create) => {
                // In a multi the flags decide, and not the operation. Only createTTL brings a
                // time to live; without one that the flags ask for, the server stumbles.
                let by_flags = match create.flags {
                    4 => op::CREATE_CONTAINER,
                    5 | 6 => op::CREATE_TTL,
                    _ => op::CREATE,
                };
                if by_flags == op::CREATE_TTL && *op != op::CREATE_TTL {
                    return Err(ErrorCode::MarshallingError);
                }
                let (path, stat) = transaction.create(create, by_flags)?;
                // To 3.8.1 a create2 is answered as a create, and all that make something
                // special as create2.
                let plain = by_flags == op::CREATE;
                reply.put_multi_header(if plain { op::CREATE } else { op::CREATE2 }, false, 0);
                reply.put_string(&path);
                if !plain {
                    reply.put_stat(&stat);
                }
            }
            Self::Delete(path, version) => {
                transaction.delete(path, *version)?;
                reply.put_multi_header(op::DELETE, false, 0);
            }
            Self::SetData(set) => {
                let stat = transaction.set_data(set)?;
                reply.put_multi_header(op::SET_DATA, false, 0);
                reply.put_stat(&stat);
            }
            Self::Check(path, version) => {
                transaction.check(path, *version)?;
                reply.put_multi_header(op::CHECK, false, 0);
            }
            Self::NotOne(..) => return Err(ErrorCode::MarshallingError),
        }
        Ok(())
    }
}
