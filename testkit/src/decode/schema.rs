//! What stands in the requests and replies of each operation, in ZooKeeper's order and by its
//! names: one table, which reads like the protocol's.

use homing_protocol::op;

/// An operation, and the fields of its two bodies.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) code: i32,
    pub(super) name: &'static str,
    pub(super) request: &'static [Spec],
    pub(super) reply: &'static [Spec],
}

/// A field, and how it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// How a field is written, and what it means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Data,
    Int,
    Long,
    Flag,
    /// An `i32` that stands for a name.
    Named(Names),
    Zxid,
    Session,
    /// A buffer that nobody is to see.
    Secret,
    Acl,
    Texts,
    /// A list of schemes and users.
    Identities,
    Stat,
    /// The operations of a transaction, each behind its header.
    Operations,
    /// Their results.
    Results,
}

/// Numbers and what they are called.
pub(super) type Names = &'static [(i32, &'static str)];

const fn spec(name: &'static str, kind: Kind) -> Spec {
    Spec { name, kind }
}

const PATH: Spec = spec("path", Kind::Text);
const DATA: Spec = spec("data", Kind::Data);
const ACL: Spec = spec("acl", Kind::Acl);
const FLAGS: Spec = spec("flags", Kind::Named(CREATE_MODES));
const TTL: Spec = spec("ttl", Kind::Long);
const VERSION: Spec = spec("version", Kind::Int);
const WATCH: Spec = spec("watch", Kind::Flag);
const STAT: Spec = spec("stat", Kind::Stat);
const CHILDREN: Spec = spec("children", Kind::Texts);
const WATCHER_TYPE: Spec = spec("type", Kind::Named(WATCHER_TYPES));
const RELATIVE_ZXID: Spec = spec("relativeZxid", Kind::Zxid);
const DATA_WATCHES: Spec = spec("dataWatches", Kind::Texts);
const EXIST_WATCHES: Spec = spec("existWatches", Kind::Texts);
const CHILD_WATCHES: Spec = spec("childWatches", Kind::Texts);
const OPS: Spec = spec("ops", Kind::Operations);
const RESULTS: Spec = spec("results", Kind::Results);
const TOKEN: Spec = spec("token", Kind::Secret);

/// The first frame that a client sends. The last field may be missing.
pub(super) const CONNECT_REQUEST: &[Spec] = &[
    spec("protocolVersion", Kind::Int),
    spec("lastZxidSeen", Kind::Zxid),
    spec("timeOut", Kind::Int),
    spec("sessionId", Kind::Session),
    spec("passwd", Kind::Secret),
];

/// The first frame that a server sends. The last field may be missing.
pub(super) const CONNECT_RESPONSE: &[Spec] = &[
    spec("protocolVersion", Kind::Int),
    spec("timeOut", Kind::Int),
    spec("sessionId", Kind::Session),
    spec("passwd", Kind::Secret),
];

/// The byte behind either of them, which came with 3.4.
pub(super) const READ_ONLY: &[Spec] = &[spec("readOnly", Kind::Flag)];

/// A notification.
pub(super) const EVENT: &[Spec] = &[
    spec("event", Kind::Named(EVENT_TYPES)),
    spec("state", Kind::Named(KEEPER_STATES)),
    PATH,
];

/// Behind the header of a result that is an error.
pub(super) const ERROR_RESULT: &[Spec] = &[spec("err", Kind::Int)];

const OPERATIONS: &[Operation] = &[
    operation(op::CREATE, "create", &[PATH, DATA, ACL, FLAGS], &[PATH]),
    operation(op::DELETE, "delete", &[PATH, VERSION], &[]),
    operation(op::EXISTS, "exists", &[PATH, WATCH], &[STAT]),
    operation(op::GET_DATA, "getData", &[PATH, WATCH], &[DATA, STAT]),
    operation(op::SET_DATA, "setData", &[PATH, DATA, VERSION], &[STAT]),
    operation(op::GET_ACL, "getACL", &[PATH], &[ACL, STAT]),
    operation(op::SET_ACL, "setACL", &[PATH, ACL, VERSION], &[STAT]),
    operation(op::GET_CHILDREN, "getChildren", &[PATH, WATCH], &[CHILDREN]),
    operation(op::SYNC, "sync", &[PATH], &[PATH]),
    operation(op::PING, "ping", &[], &[]),
    operation(
        op::GET_CHILDREN2,
        "getChildren2",
        &[PATH, WATCH],
        &[CHILDREN, STAT],
    ),
    operation(op::CHECK, "check", &[PATH, VERSION], &[]),
    operation(op::MULTI, "multi", &[OPS], &[RESULTS]),
    operation(
        op::CREATE2,
        "create2",
        &[PATH, DATA, ACL, FLAGS],
        &[PATH, STAT],
    ),
    operation(
        op::RECONFIG,
        "reconfig",
        &[
            spec("joiningServers", Kind::Text),
            spec("leavingServers", Kind::Text),
            spec("newMembers", Kind::Text),
            spec("curConfigId", Kind::Long),
        ],
        &[DATA, STAT],
    ),
    operation(
        op::CHECK_WATCHES,
        "checkWatches",
        &[PATH, WATCHER_TYPE],
        &[],
    ),
    operation(
        op::REMOVE_WATCHES,
        "removeWatches",
        &[PATH, WATCHER_TYPE],
        &[],
    ),
    operation(
        op::CREATE_CONTAINER,
        "createContainer",
        &[PATH, DATA, ACL, FLAGS],
        &[PATH, STAT],
    ),
    // Servers use it among themselves; a client that sends it is worth seeing.
    operation(20, "deleteContainer", &[PATH], &[]),
    operation(
        op::CREATE_TTL,
        "createTTL",
        &[PATH, DATA, ACL, FLAGS, TTL],
        &[PATH, STAT],
    ),
    operation(op::MULTI_READ, "multiRead", &[OPS], &[RESULTS]),
    operation(
        op::AUTH,
        "auth",
        &[
            spec("type", Kind::Int),
            spec("scheme", Kind::Text),
            spec("auth", Kind::Secret),
        ],
        &[],
    ),
    operation(
        op::SET_WATCHES,
        "setWatches",
        &[RELATIVE_ZXID, DATA_WATCHES, EXIST_WATCHES, CHILD_WATCHES],
        &[],
    ),
    operation(op::SASL, "sasl", &[TOKEN], &[TOKEN]),
    operation(
        op::GET_EPHEMERALS,
        "getEphemerals",
        &[PATH],
        &[spec("ephemerals", Kind::Texts)],
    ),
    operation(
        op::GET_ALL_CHILDREN_NUMBER,
        "getAllChildrenNumber",
        &[PATH],
        &[spec("totalNumber", Kind::Int)],
    ),
    operation(
        op::SET_WATCHES2,
        "setWatches2",
        &[
            RELATIVE_ZXID,
            DATA_WATCHES,
            EXIST_WATCHES,
            CHILD_WATCHES,
            spec("persistentWatches", Kind::Texts),
            spec("persistentRecursiveWatches", Kind::Texts),
        ],
        &[],
    ),
    operation(
        op::ADD_WATCH,
        "addWatch",
        &[PATH, spec("mode", Kind::Named(ADD_WATCH_MODES))],
        // An `i32` that is always 0.
        &[spec("err", Kind::Int)],
    ),
    operation(
        op::WHO_AM_I,
        "whoAmI",
        &[],
        &[spec("clientInfo", Kind::Identities)],
    ),
    operation(op::CLOSE_SESSION, "closeSession", &[], &[]),
];

const fn operation(
    code: i32,
    name: &'static str,
    request: &'static [Spec],
    reply: &'static [Spec],
) -> Operation {
    Operation {
        code,
        name,
        request,
        reply,
    }
}

impl Operation {
    pub(super) fn find(code: i32) -> Option<&'static Self> {
        OPERATIONS.iter().find(|operation| operation.code == code)
    }

    /// The operation with this code, if it can stand inside a transaction: none that has
    /// operations of its own.
    pub(super) fn find_part(code: i32) -> Option<&'static Self> {
        Self::find(code).filter(|it| !matches!(it.code, op::MULTI | op::MULTI_READ))
    }
}

const CREATE_MODES: Names = &[
    (0, "PERSISTENT"),
    (1, "EPHEMERAL"),
    (2, "PERSISTENT_SEQUENTIAL"),
    (3, "EPHEMERAL_SEQUENTIAL"),
    (4, "CONTAINER"),
    (5, "PERSISTENT_WITH_TTL"),
    (6, "PERSISTENT_SEQUENTIAL_WITH_TTL"),
];

const WATCHER_TYPES: Names = &[
    (1, "Children"),
    (2, "Data"),
    (3, "Any"),
    (4, "Persistent"),
    (5, "PersistentRecursive"),
];

const ADD_WATCH_MODES: Names = &[(0, "PERSISTENT"), (1, "PERSISTENT_RECURSIVE")];

const EVENT_TYPES: Names = &[
    (1, "NodeCreated"),
    (2, "NodeDeleted"),
    (3, "NodeDataChanged"),
    (4, "NodeChildrenChanged"),
];

const KEEPER_STATES: Names = &[(3, "SyncConnected")];
