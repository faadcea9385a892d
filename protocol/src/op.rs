//! Operation codes, by the names of ZooKeeper's `OpCode`.

/// Makes a node; the reply has its path.
pub const CREATE: i32 = 1;
/// Removes a node.
pub const DELETE: i32 = 2;
/// Reads a node's stat.
pub const EXISTS: i32 = 3;
/// Reads a node's data and stat.
pub const GET_DATA: i32 = 4;
/// Replaces a node's data.
pub const SET_DATA: i32 = 5;
/// Reads a node's access control list.
pub const GET_ACL: i32 = 6;
/// Replaces a node's access control list.
pub const SET_ACL: i32 = 7;
/// Lists the names of a node's children.
pub const GET_CHILDREN: i32 = 8;
/// Waits until the server has caught up with its leader.
pub const SYNC: i32 = 9;
/// Keeps the session alive.
pub const PING: i32 = 11;
/// Lists the names of a node's children and reads its stat.
pub const GET_CHILDREN2: i32 = 12;
/// Checks a version, inside a transaction.
pub const CHECK: i32 = 13;
/// A transaction.
pub const MULTI: i32 = 14;
/// Makes a node; the reply has its path and stat (since 3.5.0).
pub const CREATE2: i32 = 15;
/// Changes the ensemble's membership (since 3.5.0).
pub const RECONFIG: i32 = 16;
/// Asks whether a watch is set (since 3.5.0).
pub const CHECK_WATCHES: i32 = 17;
/// Removes watches (since 3.5.0).
pub const REMOVE_WATCHES: i32 = 18;
/// Makes a container node (since 3.5.1).
pub const CREATE_CONTAINER: i32 = 19;
/// Makes a node with a time to live (since 3.5.3).
pub const CREATE_TTL: i32 = 21;
/// Several reads in one request (since 3.6.0).
pub const MULTI_READ: i32 = 22;
/// Adds an identity to the connection.
pub const AUTH: i32 = 100;
/// Sets the one-shot watches of a former connection again.
pub const SET_WATCHES: i32 = 101;
/// One round of a SASL exchange.
pub const SASL: i32 = 102;
/// Lists the session's ephemeral nodes (since 3.6.0).
pub const GET_EPHEMERALS: i32 = 103;
/// Counts all descendants of a node (since 3.6.0).
pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
/// As [`SET_WATCHES`], with persistent watches too (since 3.6.0).
pub const SET_WATCHES2: i32 = 105;
/// Sets a persistent watch (since 3.6.0).
pub const ADD_WATCH: i32 = 106;
/// Lists the connection's identities (since 3.7.0).
pub const WHO_AM_I: i32 = 107;
/// Ends the session.
pub const CLOSE_SESSION: i32 = -11;
