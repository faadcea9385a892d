//! Several operations in one request: all or nothing for writes, each by itself for reads.

use homing_protocol::{DecodeError, ErrorCode, Reader, incoming, op};

use crate::processor::Applied;
use crate::reply::Reply;
use crate::server::Rules;
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
    /// The operation is the one that it comes to.
    Create(i32, incoming::Create<'a>),
    Delete(incoming::NullablePath<'a>, i32),
    SetData(incoming::SetData<'a>),
    Check(incoming::NullablePath<'a>, i32),
    /// A read: getData or getChildren. A multi of nothing else is taken in before it is refused,
    /// which shows in the transaction number if a path is null.
    NotOne(i32, incoming::NullablePath<'a>),
}

/// Why a list came to nothing.
#[derive(Debug)]
pub(crate) struct Spoiled {
    /// The server stumbled before it had a number.
    pub(crate) is_free: bool,
}

impl From<DecodeError> for Spoiled {
    fn from(_: DecodeError) -> Self {
        Self { is_free: false }
    }
}

/// Reads the whole list of a multi or a multiRead before anything is done. Any other operation in
/// it spoils it, and so do one that the server does not know and reads among writes.
pub(crate) fn list<'a>(reader: &mut Reader<'a>, rules: &Rules) -> Result<Vec<Write<'a>>, Spoiled> {
    let spoiled = Spoiled { is_free: false };
    let mut writes = Vec::new();
    while let Some(op) = incoming::multi_header(reader)? {
        writes.push(match op {
            unknown if rules.unknown_operations.contains(&unknown) => return Err(spoiled),
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER => {
                let create = incoming::Create::read(reader)?;
                create_of(op, create, rules)?
            }
            op::CREATE_TTL => {
                let create = incoming::Create::read_with_ttl(reader)?;
                Write::Create(by_mode(create.flags, op::CREATE, rules), create)
            }
            op::DELETE => {
                let (path, version) = incoming::path_and_version(reader)?;
                Write::Delete(path, version)
            }
            op::SET_DATA => Write::SetData(incoming::SetData::read(reader)?),
            op::CHECK => {
                let (path, version) = incoming::path_and_version(reader)?;
                Write::Check(path, version)
            }
            op::GET_DATA | op::GET_CHILDREN if !rules.multi_holds_no_reads => {
                let (path, _) = incoming::path_and_watch(reader)?;
                Write::NotOne(op, path)
            }
            _ => return Err(spoiled),
        });
    }
    let reads = writes
        .iter()
        .filter(|write| matches!(write, Write::NotOne(..)))
        .count();
    if reads > 0 && reads < writes.len() {
        return Err(spoiled);
    }
    Ok(writes)
}

/// A create that brings no time to live.
fn create_of<'a>(
    op: i32,
    create: incoming::Create<'a>,
    rules: &Rules,
) -> Result<Write<'a>, Spoiled> {
    if !rules.multi_keeps_operations {
        let op = by_mode(create.flags, op::CREATE, rules);
        return Ok(Write::Create(op, create));
    }
    if !(0..=6).contains(&create.flags) {
        return Err(Spoiled { is_free: false });
    }
    if create.acl.is_none() {
        return Err(Spoiled { is_free: true });
    }
    match by_mode(create.flags, op, rules) {
        op::CREATE_TTL => Err(Spoiled { is_free: false }),
        op => Ok(Write::Create(op, create)),
    }
}

/// What the mode of a create makes of it, where the server knows that mode.
fn by_mode(flags: i32, otherwise: i32, rules: &Rules) -> i32 {
    let special = match flags {
        4 => op::CREATE_CONTAINER,
        5 | 6 => op::CREATE_TTL,
        _ => otherwise,
    };
    match rules.unknown_operations.contains(&special) {
        true => otherwise,
        false => special,
    }
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
                // Where it is needed and was not brought, the server stumbles.
                if *op == op::CREATE_TTL && create.ttl.is_none() {
                    return Err(ErrorCode::MarshallingError);
                }
                let (path, stat) = transaction.create(create, *op)?;
                // All that make something special are answered as create2.
                let plain = *op == op::CREATE;
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
