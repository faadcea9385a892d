//! What kind of operation a code stands for. Whoever treats writes apart asks here.
//!
//! There is one list of writes, [`is_change`]. What else is like a write depends on who asks, and
//! each of the questions says what it has besides:
//!
//! ```text
//!                     changes  reconfig  sync  closeSession  check, deleteContainer  createSession
//!   is_change            +
//!   is_write             +         +
//!   is_transaction       +         +                +                   +                  +
//!   needs_leader         +                +         +
//!   needs_quorum         +         +      +                             +
//! ```

use homing_protocol::op;

/// The handshake's own operation, which clients have no use for. A server takes it from them, and
/// looks for a time-out in it.
pub(crate) const CREATE_SESSION: i32 = -10;

/// What removes containers, which a server asks itself for.
pub(crate) const DELETE_CONTAINER: i32 = 20;

/// What changes nodes, and nothing else does that clients have a use for.
pub(crate) fn is_change(op: i32) -> bool {
    is_create(op) || matches!(op, op::DELETE | op::SET_DATA | op::SET_ACL | op::MULTI)
}

fn is_create(op: i32) -> bool {
    matches!(
        op,
        op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL
    )
}

/// What a client means to change something with: nodes, or, with reconfig, the ensemble and the
/// node that tells of it.
pub(crate) fn is_write(op: i32) -> bool {
    is_change(op) || op == op::RECONFIG
}

/// What has a transaction number of its own, whether it succeeds or fails. The end of a session
/// has one, since its ephemeral nodes go; and so has what a server takes from clients that have no
/// use for it.
pub(crate) fn is_transaction(op: i32) -> bool {
    is_write(op)
        || matches!(
            op,
            op::CLOSE_SESSION | op::CHECK | DELETE_CONTAINER | CREATE_SESSION
        )
}

/// What a member of an ensemble hands over to the leader and waits for. A sync changes nothing, but
/// it is the leader who knows what there is to wait for. A reconfig is the leader's as well, but what
/// cannot be read of one takes no number, so that the member looks first; and a session's beginning
/// goes there by another way.
pub(crate) fn needs_leader(op: i32) -> bool {
    is_change(op) || matches!(op, op::SYNC | op::CLOSE_SESSION)
}

/// What a server without a quorum refuses before it has looked at it. A session that it began
/// itself may end there, so closing one is not among it.
pub(crate) fn needs_quorum(op: i32) -> bool {
    is_write(op) || matches!(op, op::SYNC | op::CHECK | DELETE_CONTAINER)
}

/// What any server answers by itself, and what changes no more than the connection's own watches.
pub(crate) fn is_read(op: i32) -> bool {
    matches!(
        op,
        op::EXISTS
            | op::GET_DATA
            | op::GET_ACL
            | op::GET_CHILDREN
            | op::GET_CHILDREN2
            | op::MULTI_READ
            | op::GET_EPHEMERALS
            | op::GET_ALL_CHILDREN_NUMBER
            | op::WHO_AM_I
            | op::SET_WATCHES
            | op::SET_WATCHES2
            | op::ADD_WATCH
            | op::CHECK_WATCHES
            | op::REMOVE_WATCHES
    )
}

/// What clients send by themselves, whatever they are used for.
pub(crate) fn is_upkeep(op: i32) -> bool {
    matches!(
        op,
        op::PING | op::AUTH | op::SASL | op::SET_WATCHES | op::SET_WATCHES2
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Question = fn(i32) -> bool;

    fn all(question: Question) -> Vec<i32> {
        (-20..=200).filter(|op| question(*op)).collect()
    }

    #[test]
    fn what_is_like_a_write_depends_on_who_asks() {
        let changes = [1, 2, 5, 7, 14, 15, 19, 21];
        let rows: [(Question, &[i32]); 5] = [
            (is_change, &[]),
            (is_write, &[op::RECONFIG]),
            (
                is_transaction,
                &[
                    op::RECONFIG,
                    op::CLOSE_SESSION,
                    op::CHECK,
                    DELETE_CONTAINER,
                    CREATE_SESSION,
                ],
            ),
            (needs_leader, &[op::SYNC, op::CLOSE_SESSION]),
            (
                needs_quorum,
                &[op::RECONFIG, op::SYNC, op::CHECK, DELETE_CONTAINER],
            ),
        ];
        for (question, besides) in rows {
            let mut expected = [&changes, besides].concat();
            expected.sort();
            assert_eq!(all(question), expected);
        }
    }

    #[test]
    fn nothing_is_a_read_and_a_write() {
        for op in all(is_read) {
            let writes = is_transaction(op) || needs_leader(op) || needs_quorum(op);
            assert!(!writes, "{op}");
        }
    }
}
