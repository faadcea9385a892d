//! Requests: which operation is which, and what each answers.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use homing_protocol::{
    DecodeError, ErrorCode, Reader, ReplyHeader, RequestHeader, incoming, op, permission, xid,
};

use crate::acl::Identities;
use crate::config::SuperDigest;
use crate::cuts::Cut;
use crate::journal::CloseReason;
use crate::multi;
use crate::operation::{self, CREATE_SESSION, DELETE_CONTAINER};
use crate::replica;
use crate::reply::Reply;
use crate::server::{Asker, ConnectionId, Now, Server};
use crate::transaction::Transaction;
use crate::tree::Node;
use crate::watches::Change;

impl Server {
    /// Handles a frame of a connection that speaks for a session.
    pub(crate) fn process(
        &mut self,
        now: Now,
        connection: ConnectionId,
        session: i64,
        frame: &Bytes,
    ) {
        let mut reader = Reader::new(frame);
        let Ok(RequestHeader { op, .. }) = RequestHeader::read(&mut reader) else {
            return self.close_because(connection, CloseReason::BadRequest);
        };
        self.requests_received += 1;
        if self.is_sign_of_life(connection, op) {
            self.touch(now, connection, session);
        }
        if self.replica.is_some() && !self.may_pass(connection, op, frame) {
            return;
        }
        self.serve(now, (connection, session), frame);
    }

    /// Whether a request keeps its session alive. Identities and tokens do not: a server is done
    /// with them before it looks at the session, and so it is with somebody who has no say yet.
    fn is_sign_of_life(&self, connection: ConnectionId, op: i32) -> bool {
        match op {
            op::AUTH => self.config.auth_keeps_alive,
            op::SASL => false,
            _ => self.is_authenticated(connection),
        }
    }

    /// Handles a frame whose turn it is.
    pub(crate) fn serve(&mut self, now: Now, caller: (ConnectionId, i64), frame: &Bytes) {
        let (connection, session) = caller;
        let mut reader = Reader::new(frame);
        let Ok(RequestHeader { xid, op }) = RequestHeader::read(&mut reader) else {
            return self.close_because(connection, CloseReason::BadRequest);
        };
        if let Some(known) = self.connections.get_mut(&connection) {
            known.traffic.begin(op);
        }
        match op {
            op if self.config.unknown_operations.contains(&op) => self.refuse(connection, xid, op),
            op::CHECK if !self.knows_lone_check() => self.refuse(connection, xid, op),
            op::AUTH => self.authenticate(connection, xid, reader),
            op::SASL => self.sasl(connection, xid, reader),
            _ if !self.is_authenticated(connection) => {
                let err = ErrorCode::SessionClosedRequireSaslAuth.code();
                let zxid = 0;
                self.reply(connection, ReplyHeader { xid, zxid, err }, Reply::new());
                self.close_because(connection, CloseReason::AuthRequired);
            }
            op if self.is_read_only_at(connection) && operation::needs_quorum(op) => {
                let result = Err(ErrorCode::NotReadOnly);
                self.answer(connection, xid, result, Reply::new());
            }
            op::PING => {
                // Whatever number the ping had, its answer has this one.
                self.answer(connection, xid::PING, Ok(()), Reply::new());
            }
            op if self.is_proposed(session, op) => {
                self.propose(connection, session, RequestHeader { xid, op }, frame);
            }
            op::CLOSE_SESSION => {
                self.end_session(now, session);
                if !self.config.close_is_not_answered {
                    self.answer(connection, xid, Ok(()), Reply::new());
                }
                self.close_because(connection, CloseReason::SessionClosed);
            }
            op if operation::is_change(op) => {
                self.write(now, caller, RequestHeader { xid, op }, reader);
            }
            op::CHECK => self.check(now, caller, xid, reader),
            op::RECONFIG | DELETE_CONTAINER | CREATE_SESSION => {
                match (self.stumbles(op, reader.clone()), op) {
                    (Some(_), op::RECONFIG) if self.has_leader(session) => {
                        self.propose(connection, session, RequestHeader { xid, op }, frame);
                    }
                    (Some(error), _) => self.stumble(now, caller, xid, error),
                    // Unlike other writes this one is read before it takes a number.
                    (None, op::RECONFIG) => {
                        let result = Err(ErrorCode::MarshallingError);
                        self.answer(connection, xid, result, Reply::new());
                    }
                    (None, DELETE_CONTAINER) => {
                        self.write(now, caller, RequestHeader { xid, op }, reader);
                    }
                    (None, _) => self.begin_again(now, caller, xid, reader),
                }
            }
            op if op == op::SYNC || operation::is_read(op) => {
                let mut reply = self.blank();
                let result = self.read(caller, op, reader, &mut reply);
                match op {
                    // What was read before it stumbled is sent.
                    op::MULTI_READ => self.answer_whole(connection, xid, result, reply),
                    _ => self.answer(connection, xid, result, reply),
                }
            }
            _ => self.refuse(connection, xid, op),
        }
    }

    /// A reply that shows the last transaction, as nearly all do.
    pub(crate) fn answer(
        &mut self,
        connection: ConnectionId,
        xid: i32,
        result: Result<(), ErrorCode>,
        reply: Reply,
    ) {
        let header = self.note_answered(connection, xid, result);
        let len = self.reply(connection, header, reply);
        self.totals.count_response(xid, len);
    }

    /// The same, with whatever stands in the body even behind an error.
    fn answer_whole(
        &mut self,
        connection: ConnectionId,
        xid: i32,
        result: Result<(), ErrorCode>,
        reply: Reply,
    ) {
        let header = self.note_answered(connection, xid, result);
        let len = self.reply_whole(connection, header, reply);
        self.totals.count_response(xid, len);
    }

    /// Counts an answer, and says what stands before it.
    fn note_answered(
        &mut self,
        connection: ConnectionId,
        xid: i32,
        result: Result<(), ErrorCode>,
    ) -> ReplyHeader {
        let (zxid, err) = (self.last_zxid, code(result));
        let header = ReplyHeader { xid, zxid, err };
        if let Some(known) = self.connections.get_mut(&connection) {
            self.totals.count_handled(known.traffic.answered(header));
        }
        header
    }

    /// What a server says to an operation that it does not know. The session stays.
    fn refuse(&mut self, connection: ConnectionId, xid: i32, op: i32) {
        if !self.config.unknown_is_not_answered {
            let err = ErrorCode::Unimplemented.code();
            self.reply(connection, ReplyHeader { xid, zxid: -1, err }, Reply::new());
        }
        self.close_because(connection, CloseReason::UnknownOperation(op));
    }

    /// A new identity holds for all that follows. Refused credentials cost the connection, and
    /// not the session.
    fn authenticate(&mut self, connection: ConnectionId, xid: i32, mut reader: Reader<'_>) {
        // It is handled apart from all other requests, and what cannot be read ends the
        // connection there.
        let Ok(auth) = incoming::Auth::read(&mut reader) else {
            return self.close_because(connection, CloseReason::BadRequest);
        };
        let super_digest = self.config.super_digest.as_ref();
        let super_digest = super_digest.map(SuperDigest::as_str);
        let Some(known) = self.connections.get_mut(&connection) else {
            return;
        };
        let (scheme, credentials) = (auth.scheme.as_deref(), auth.credentials.as_deref());
        let result =
            Arc::make_mut(&mut known.identities).authenticate(scheme, credentials, super_digest);
        let header = ReplyHeader {
            xid,
            zxid: 0,
            err: code(result),
        };
        self.reply(connection, header, Reply::new());
        if result.is_err() {
            self.close_because(connection, CloseReason::AuthFailed);
        }
    }

    /// What is answered with an error that takes a number, although nothing is looked up or changed.
    pub(crate) fn stumbles(&self, op: i32, mut reader: Reader<'_>) -> Option<ErrorCode> {
        match op {
            // What a server says that stands alone, if it was told to allow this at all. In an
            // ensemble the leader decides.
            op::RECONFIG => incoming::Reconfig::read(&mut reader).ok().map(|_| {
                match self.config.reconfig_enabled {
                    true => ErrorCode::Unimplemented,
                    false => ErrorCode::ReconfigDisabled,
                }
            }),
            // It takes the whole frame for the path, and that has a zero byte in it.
            DELETE_CONTAINER if !self.takes_reaping() => Some(ErrorCode::BadArguments),
            CREATE_SESSION if reader.i32("timeout").is_err() => Some(ErrorCode::MarshallingError),
            _ => None,
        }
    }

    /// Whether anybody may tell it to reap a node. The members of an ensemble do not listen.
    fn takes_reaping(&self) -> bool {
        self.config.anybody_may_reap && self.replica.is_none()
    }

    /// Whether check is anything outside a multi. The members of an ensemble do not bother.
    fn knows_lone_check(&self) -> bool {
        !self.config.check_in_multi_only && self.replica.is_none()
    }

    /// A check that is in no multi is a transaction too. Nobody meant it to be: a real server
    /// breaks down over the answer when there is nothing wrong.
    fn check(&mut self, now: Now, caller: (ConnectionId, i64), xid: i32, mut reader: Reader<'_>) {
        let (connection, session) = caller;
        let read = malformed(incoming::path_and_version(&mut reader));
        let asker = Asker::Here(connection, session);
        let result = self.transact(now, asker, |transaction| {
            let (path, version) = read?;
            transaction.check(&path, version)
        });
        if result.is_err() || self.config.lone_check_is_answered {
            self.answer(connection, xid, result, Reply::new());
        }
    }

    /// An error that takes a number.
    fn stumble(&mut self, now: Now, caller: (ConnectionId, i64), xid: i32, error: ErrorCode) {
        let (connection, session) = caller;
        if self.has_leader(session) {
            return self.propose_refusal(connection, xid, error);
        }
        self.next_stamp(now);
        self.answer(connection, xid, Err(error), Reply::new());
    }

    fn write(
        &mut self,
        now: Now,
        caller: (ConnectionId, i64),
        header: RequestHeader,
        reader: Reader<'_>,
    ) {
        let (connection, session) = caller;
        let cut = self.cuts.next();
        if cut == Some(Cut::Before) {
            return self.close_because(connection, CloseReason::Fault);
        }
        let asker = Asker::Here(connection, session);
        let outcome = self.carry_out(now, asker, header.op, reader);
        let lost = cut == Some(Cut::After);
        self.tell(Some(connection), header.xid, outcome, lost);
    }

    /// A write takes a transaction number whether it succeeds, fails, or cannot even be read.
    pub(crate) fn carry_out(
        &mut self,
        now: Now,
        asker: Asker<'_>,
        op: i32,
        mut reader: Reader<'_>,
    ) -> Outcome {
        let mut reply = self.blank();
        let own = self.rules();
        let rules = match asker {
            Asker::Here(..) => &own,
            Asker::Elsewhere(_, rules) => rules,
        };
        let multi = (op == op::MULTI).then(|| multi::list(&mut reader, rules));
        let is_free = rules.unreadable_writes_are_free;
        let stumbles = match &multi {
            Some(Err(spoiled)) => spoiled.is_free,
            Some(Ok(writes)) if writes.iter().any(multi::Write::lacks_path) => {
                // A real server stumbles over this when it has a number but no transaction yet.
                // From 3.9 on it makes an error of it, which shows the number.
                self.waste_zxid();
                if is_free {
                    self.last_zxid = self.zxid_counter;
                }
                true
            }
            Some(Ok(_)) => false,
            None => is_free && !is_readable(op, reader.clone()),
        };
        if stumbles {
            // Without an error of its own there is an empty list of results to send.
            if !is_free {
                multi::put_end(&mut reply);
            }
            return Outcome {
                reply,
                is_whole: true,
                ..Outcome::failure(ErrorCode::MarshallingError)
            };
        }
        let (result, changes) = self.transact(now, asker, |mut transaction| {
            let result = match multi {
                Some(Ok(writes)) => multi::apply(&mut transaction, &writes, &mut reply),
                Some(Err(_)) => Err(ErrorCode::MarshallingError),
                None => apply(&mut transaction, op, reader, &mut reply),
            };
            match result {
                Ok(Applied::Done) => (Ok(()), transaction.commit()),
                // What a failed multi answers is no error to look at, but a list of them.
                Ok(Applied::Failed) => {
                    transaction.roll_back();
                    (Ok(()), Vec::new())
                }
                Err(error) => {
                    transaction.roll_back();
                    (Err(error), Vec::new())
                }
            }
        });
        Outcome {
            result,
            changes,
            reply,
            is_whole: false,
        }
    }

    /// Tells whoever watches of a write, and then the connection that has asked for it, if it is
    /// one of this server's; that one is closed instead where its answer is to be lost.
    pub(crate) fn tell(
        &mut self,
        asker: Option<ConnectionId>,
        xid: i32,
        outcome: Outcome,
        lost: bool,
    ) {
        let Outcome {
            result,
            changes,
            reply,
            is_whole,
        } = outcome;
        self.announce(&changes, asker.filter(|_| lost));
        match asker {
            Some(connection) if lost => self.close_because(connection, CloseReason::Fault),
            Some(connection) if is_whole => self.answer_whole(connection, xid, result, reply),
            Some(connection) => self.answer(connection, xid, result, reply),
            None => {}
        }
    }

    /// Everything that takes no transaction.
    fn read(
        &mut self,
        caller: (ConnectionId, i64),
        op: i32,
        mut reader: Reader<'_>,
        reply: &mut Reply,
    ) -> Result<(), ErrorCode> {
        let (connection, session) = caller;
        let reader = &mut reader;
        match op {
            op::EXISTS => self.exists(connection, reader, reply),
            op::GET_DATA => {
                let (path, watch) = node_and_watch(reader)?;
                get_data(self.readable(connection, &path)?, reply);
                if watch {
                    self.watches.add_data(&path, connection);
                }
                Ok(())
            }
            op::GET_CHILDREN | op::GET_CHILDREN2 => {
                let (path, watch) = node_and_watch(reader)?;
                let node = self.readable(connection, &path)?;
                get_children(node, reply);
                if op == op::GET_CHILDREN2 {
                    reply.put_stat(&node.stat());
                }
                if watch {
                    self.watches.add_child(&path, connection);
                }
                Ok(())
            }
            op::GET_ACL => self.get_acl(connection, reader, reply),
            op::GET_ALL_CHILDREN_NUMBER => {
                let path = required(malformed(incoming::path(reader))?)?;
                self.readable(connection, &path)?;
                let count = self.tree.count_descendants(&path);
                reply.put_count(count);
                Ok(())
            }
            op::SYNC => {
                // There is nobody to catch up with.
                replica::sync(reader, reply)
            }
            op::MULTI_READ => self.multi_read(connection, reader, reply),
            op::GET_EPHEMERALS => {
                let prefix = malformed(incoming::path(reader))?.unwrap_or_default();
                // Java trims whatever is not above the space, and nothing else.
                let all = matches!(prefix.trim_matches(|c| c <= ' '), "" | "/");
                let mine = self.tree.ephemerals(session);
                let mine: Vec<_> = mine
                    .filter(|path| all || path.starts_with(&*prefix))
                    .collect();
                reply.put_count(mine.len());
                mine.iter().for_each(|path| reply.put_string(path));
                Ok(())
            }
            op::WHO_AM_I => {
                let who = self.identities(connection)?.who_am_i();
                reply.put_count(who.len());
                for (scheme, user) in who {
                    reply.put_string(scheme);
                    reply.put_string(user);
                }
                Ok(())
            }
            op::SET_WATCHES => {
                let watches = malformed(incoming::SetWatches::read(reader))?;
                self.set_watches(connection, &watches)
            }
            op::SET_WATCHES2 => {
                let watches = malformed(incoming::SetWatches::read2(reader))?;
                self.set_watches(connection, &watches)
            }
            op::ADD_WATCH => self.add_watch(connection, reader, reply),
            op::CHECK_WATCHES => self.check_watches(connection, reader),
            op::REMOVE_WATCHES => self.remove_watches(connection, reader),
            _ => Err(ErrorCode::Unimplemented),
        }
    }

    /// The one read that watches what is not there, and that to 3.8.3 asked for no permission.
    fn exists(
        &mut self,
        connection: ConnectionId,
        reader: &mut Reader<'_>,
        reply: &mut Reply,
    ) -> Result<(), ErrorCode> {
        let (path, watch) = node_and_watch(reader)?;
        if path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        if self.config.exists_needs_read && self.tree.get(&path).is_some() {
            self.readable(connection, &path)?;
        }
        if watch {
            self.watches.add_data(&path, connection);
        }
        let node = self.tree.get(&path).ok_or(ErrorCode::NoNode)?;
        reply.put_stat(&node.stat());
        Ok(())
    }

    fn get_acl(
        &self,
        connection: ConnectionId,
        reader: &mut Reader<'_>,
        reply: &mut Reply,
    ) -> Result<(), ErrorCode> {
        let path = required(malformed(incoming::path(reader))?)?;
        let needed = permission::READ | permission::ADMIN;
        let node = match self.config.acls_are_public {
            true => self.tree.get(&path).ok_or(ErrorCode::NoNode)?,
            false => self.permitted(connection, &path, needed)?,
        };
        match self.config.acls_are_public {
            true => reply.put_acl(&node.acl),
            false => reply.put_acl(&self.identities(connection)?.redact(&node.acl)),
        }
        reply.put_stat(&node.stat());
        Ok(())
    }

    /// Several reads in one reply. Each may fail by itself, and none sets a watch.
    fn multi_read(
        &self,
        connection: ConnectionId,
        reader: &mut Reader<'_>,
        reply: &mut Reply,
    ) -> Result<(), ErrorCode> {
        let reads = multi::list(reader, &self.rules());
        for read in reads.map_err(|_| ErrorCode::MarshallingError)? {
            if reply.is_too_long() {
                return Err(ErrorCode::MarshallingError);
            }
            // A list of writes is taken in as well, and stumbled over like a null path.
            let multi::Write::NotOne(op, Some(path)) = read else {
                multi::put_end(reply);
                return Err(ErrorCode::MarshallingError);
            };
            match self.readable(connection, &path) {
                Ok(node) => {
                    reply.put_multi_header(op, false, 0);
                    match op {
                        op::GET_DATA => get_data(node, reply),
                        _ => get_children(node, reply),
                    }
                }
                Err(error) => multi::put_error(reply, error.code()),
            }
        }
        multi::put_end(reply);
        Ok(())
    }

    fn readable(&self, connection: ConnectionId, path: &str) -> Result<&Node, ErrorCode> {
        self.permitted(connection, path, permission::READ)
    }

    fn permitted(
        &self,
        connection: ConnectionId,
        path: &str,
        needed: i32,
    ) -> Result<&Node, ErrorCode> {
        let node = self.tree.get(path).ok_or(ErrorCode::NoNode)?;
        let allowed = self.identities(connection)?.allowed(&node.acl, needed);
        if allowed {
            Ok(node)
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    fn identities(&self, connection: ConnectionId) -> Result<&Identities, ErrorCode> {
        let known = self
            .connections
            .get(&connection)
            .ok_or(ErrorCode::UnknownSession)?;
        Ok(&known.identities)
    }
}

/// What became of a write, for the one who asked and for those who watch.
#[derive(Debug)]
pub(crate) struct Outcome {
    result: Result<(), ErrorCode>,
    changes: Vec<Change>,
    reply: Reply,
    /// What stands in the reply is sent even behind an error.
    is_whole: bool,
}

impl Outcome {
    pub(crate) fn success(changes: Vec<Change>, reply: Reply) -> Self {
        Self {
            result: Ok(()),
            changes,
            reply,
            is_whole: false,
        }
    }

    /// Nothing was changed.
    pub(crate) fn failure(error: ErrorCode) -> Self {
        Self {
            result: Err(error),
            changes: Vec::new(),
            reply: Reply::new(),
            is_whole: false,
        }
    }
}

/// What became of a write that could be carried out.
pub(crate) enum Applied {
    Done,
    /// A multi failed, and its reply says where.
    Failed,
}

fn apply(
    transaction: &mut Transaction<'_>,
    op: i32,
    mut reader: Reader<'_>,
    reply: &mut Reply,
) -> Result<Applied, ErrorCode> {
    let reader = &mut reader;
    match op {
        op::CREATE => {
            let create = malformed(incoming::Create::read(reader))?;
            let (path, _) = transaction.create(&create, op)?;
            reply.put_string(&path);
        }
        op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
            let create = malformed(match op {
                op::CREATE_TTL => incoming::Create::read_with_ttl(reader),
                _ => incoming::Create::read(reader),
            })?;
            let (path, stat) = transaction.create(&create, op)?;
            reply.put_string(&path);
            reply.put_stat(&stat);
        }
        op::DELETE => {
            let (path, version) = malformed(incoming::path_and_version(reader))?;
            transaction.delete(&path, version)?;
        }
        DELETE_CONTAINER => {
            let path = required(malformed(incoming::path(reader))?)?;
            transaction.reap(&path)?;
        }
        op::SET_DATA => {
            let set = malformed(incoming::SetData::read(reader))?;
            reply.put_stat(&transaction.set_data(&set)?);
        }
        op::SET_ACL => {
            let set = malformed(incoming::SetAcl::read(reader))?;
            reply.put_stat(&transaction.set_acl(&set)?);
        }
        _ => return Err(ErrorCode::Unimplemented),
    }
    Ok(Applied::Done)
}

/// Whether a single write can be read, whatever comes of it.
fn is_readable(op: i32, mut reader: Reader<'_>) -> bool {
    let reader = &mut reader;
    let read = match op {
        op::CREATE_TTL => incoming::Create::read_with_ttl(reader).map(drop),
        op::DELETE => incoming::path_and_version(reader).map(drop),
        op::SET_DATA => incoming::SetData::read(reader).map(drop),
        op::SET_ACL => incoming::SetAcl::read(reader).map(drop),
        DELETE_CONTAINER => return matches!(reader.buffer("path"), Ok(Some(_))),
        _ => incoming::Create::read(reader).map(drop),
    };
    read.is_ok()
}

fn get_data(node: &Node, reply: &mut Reply) {
    reply.put_buffer(node.data.as_deref());
    reply.put_stat(&node.stat());
}

fn get_children(node: &Node, reply: &mut Reply) {
    reply.put_count(node.children.len());
    node.children.iter().for_each(|name| reply.put_string(name));
}

fn node_and_watch<'a>(reader: &mut Reader<'a>) -> Result<(Cow<'a, str>, bool), ErrorCode> {
    let (path, watch) = malformed(incoming::path_and_watch(reader))?;
    Ok((required(path)?, watch))
}

/// Reads break down on a null path, which the client sees as −5.
pub(crate) fn required(path: incoming::NullablePath<'_>) -> Result<Cow<'_, str>, ErrorCode> {
    path.ok_or(ErrorCode::MarshallingError)
}

/// A body that cannot be read costs this request, and not the connection.
pub(crate) fn malformed<T>(result: Result<T, DecodeError>) -> Result<T, ErrorCode> {
    result.map_err(|_| ErrorCode::MarshallingError)
}

fn code(result: Result<(), ErrorCode>) -> i32 {
    result.map_or_else(ErrorCode::code, |()| 0)
}
