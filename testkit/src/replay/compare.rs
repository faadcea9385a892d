//! What a server said, compared with what was recorded.

use bytes::Bytes;
use homing_protocol::Stat;
use homing_protocol::incoming::AclEntry;

use super::relation::{Progress, Relation};
use crate::decode::{Decoded, Field, Name, Part, Value, What, Zxid, digest, error, is_write};
use crate::recording::is_masked;

/// Compares the frames of one run with those of another. Transactions and sessions have other
/// numbers there, which have to stand for the same ones everywhere; times are not compared.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) progress: Progress,
    transactions: Relation,
    sessions: Relation,
}

impl Comparison {
    /// All that differs, each in a few words.
    pub(super) fn differences(&mut self, recorded: &Decoded, now: &Decoded) -> Vec<String> {
        let is_alike = std::mem::discriminant(&recorded.what) == std::mem::discriminant(&now.what);
        if !is_alike || recorded.error() != now.error() {
            return vec![format!("recorded {recorded}, now {now}")];
        }
        let mut differences = Vec::new();
        if self.headers(recorded.what, now.what, &mut differences) {
            self.bodies(recorded, now, &mut differences);
        }
        let named = differences.iter().map(|it| format!("{it}, in {recorded}"));
        named.collect()
    }

    /// Compares headers of one kind. Says whether bodies are to be compared too.
    fn headers(&mut self, recorded: What, now: What, into: &mut Vec<String>) -> bool {
        match (recorded, now) {
            (
                What::Reply { xid, op, zxid, err },
                What::Reply {
                    xid: xid_now,
                    zxid: zxid_now,
                    err: err_now,
                    ..
                },
            ) => {
                if xid != xid_now {
                    into.push(format!("xid: recorded {xid}, now {xid_now}"));
                }
                self.progress.saw(zxid, zxid_now);
                let is_same = same_error(err, err_now, into);
                // A write tells its own transaction, whatever else the newest one that the server
                // knew of, which other clients have a part in.
                match op {
                    Some(op) if is_same && is_write(op) => {
                        self.transaction("zxid", zxid, zxid_now, into);
                    }
                    _ => same_sign(zxid, zxid_now, into),
                }
                is_same
            }
            (
                What::Event { zxid, err },
                What::Event {
                    zxid: zxid_now,
                    err: err_now,
                },
            ) => {
                same_sign(zxid, zxid_now, into);
                same_error(err, err_now, into)
            }
            (What::Request { op, .. }, What::Request { op: op_now, .. }) => {
                if op != op_now {
                    let (op, op_now) = (Name(Some(op)), Name(Some(op_now)));
                    into.push(format!("recorded {op}, now {op_now}"));
                }
                op == op_now
            }
            _ => true,
        }
    }

    fn bodies(&mut self, recorded: &Decoded, now: &Decoded, into: &mut Vec<String>) {
        if recorded.fields.len() != now.fields.len() {
            let (fields, fields_now) = (recorded.fields.len(), now.fields.len());
            return into.push(format!("fields: recorded {fields}, now {fields_now}"));
        }
        self.fields(&recorded.fields, &now.fields, into);
        if recorded.rest != now.rest {
            let (rest, rest_now) = (recorded.rest, now.rest);
            into.push(format!("bytes behind it: recorded {rest}, now {rest_now}"));
        }
    }

    /// Compares the numbers of two transactions, which have to be the same one everywhere.
    fn transaction(&mut self, name: &str, recorded: i64, now: i64, into: &mut Vec<String>) {
        if self.transactions.agrees(recorded, now) {
            return;
        }
        let elsewhere = match self.transactions.now(recorded) {
            Some(elsewhere) => format!("which is {} elsewhere", Zxid(elsewhere)),
            None => "which is another one elsewhere".into(),
        };
        let (recorded, now) = (Zxid(recorded), Zxid(now));
        into.push(format!(
            "{name}: recorded {recorded}, {elsewhere}, now {now}"
        ));
    }

    fn fields(&mut self, recorded: &[Field], now: &[Field], into: &mut Vec<String>) {
        for (recorded, now) in recorded.iter().zip(now) {
            self.field(recorded, now, into);
        }
    }

    fn field(&mut self, recorded: &Field, now: &Field, into: &mut Vec<String>) {
        let is_same = match (&recorded.value, &now.value) {
            (Value::Stat(recorded), Value::Stat(now)) => return self.stat(recorded, now, into),
            (Value::Parts(recorded), Value::Parts(now)) => return self.parts(recorded, now, into),
            (Value::Zxid(recorded), Value::Zxid(now)) => recorded.signum() == now.signum(),
            (Value::Session(recorded), Value::Session(now)) => {
                self.sessions.agrees(*recorded, *now)
            }
            // A proof and a password are made anew each time.
            (Value::Secret(recorded), Value::Secret(now)) => recorded.is_some() == now.is_some(),
            (Value::Acl(Some(recorded)), Value::Acl(Some(now))) => same_acl(recorded, now),
            (Value::Texts(recorded), Value::Texts(now)) => sorted(recorded) == sorted(now),
            (recorded, now) => recorded == now,
        };
        if !is_same {
            into.push(different(recorded, now));
        }
    }

    fn parts(&mut self, recorded: &[Part], now: &[Part], into: &mut Vec<String>) {
        if recorded.len() != now.len() {
            let (recorded, now) = (recorded.len(), now.len());
            return into.push(format!("results: recorded {recorded}, now {now}"));
        }
        for (at, (recorded, now)) in recorded.iter().zip(now).enumerate() {
            if recorded.name != now.name || recorded.fields.len() != now.fields.len() {
                into.push(format!("result {at}: recorded {recorded}, now {now}"));
                continue;
            }
            let mut differences = Vec::new();
            self.fields(&recorded.fields, &now.fields, &mut differences);
            let named = differences.iter().map(|it| format!("result {at}: {it}"));
            into.extend(named);
        }
    }

    fn stat(&mut self, recorded: &Stat, now: &Stat, into: &mut Vec<String>) {
        for (name, recorded, now) in [
            ("czxid", recorded.czxid, now.czxid),
            ("mzxid", recorded.mzxid, now.mzxid),
            ("pzxid", recorded.pzxid, now.pzxid),
        ] {
            self.transaction(name, recorded, now, into);
        }
        let (owner, owner_now) = (recorded.ephemeral_owner, now.ephemeral_owner);
        if !self.sessions.agrees(owner, owner_now) {
            into.push(format!(
                "ephemeralOwner: recorded {owner:#x}, now another session, {owner_now:#x}"
            ));
        }
        for (name, recorded, now) in [
            ("ctime", recorded.ctime.signum(), now.ctime.signum()),
            ("mtime", recorded.mtime.signum(), now.mtime.signum()),
            ("version", recorded.version.into(), now.version.into()),
            ("cversion", recorded.cversion.into(), now.cversion.into()),
            ("aversion", recorded.aversion.into(), now.aversion.into()),
            (
                "dataLength",
                recorded.data_length.into(),
                now.data_length.into(),
            ),
            (
                "numChildren",
                recorded.num_children.into(),
                now.num_children.into(),
            ),
        ] {
            if recorded != now {
                into.push(format!("{name}: recorded {recorded}, now {now}"));
            }
        }
    }
}

/// Numbers of transactions that are above zero may be any.
fn same_sign(recorded: i64, now: i64, into: &mut Vec<String>) {
    if recorded.signum() != now.signum() {
        let (recorded, now) = (Zxid(recorded), Zxid(now));
        into.push(format!("zxid: recorded {recorded}, now {now}"));
    }
}

fn same_error(recorded: i32, now: i32, into: &mut Vec<String>) -> bool {
    if recorded != now {
        let (recorded, now) = (error(recorded.into()), error(now.into()));
        into.push(format!("recorded {recorded}, now {now}"));
    }
    recorded == now
}

fn different(recorded: &Field, now: &Field) -> String {
    let name = recorded.name;
    if let (Value::Data(Some(recorded)), Value::Data(Some(now))) = (&recorded.value, &now.value) {
        return different_data(name, recorded, now);
    }
    let (recorded, now) = (&recorded.value, &now.value);
    format!("{name}: recorded {recorded}, now {now}")
}

/// Where long data differs need not be at its beginning, which is all that is shown.
fn different_data(name: &str, recorded: &Bytes, now: &Bytes) -> String {
    let at = recorded
        .iter()
        .zip(now)
        .position(|(one, other)| one != other);
    let at = at.unwrap_or(recorded.len().min(now.len()));
    let (len, len_now) = (recorded.len(), now.len());
    let shown = |data: &Bytes| Value::Data(Some(data.clone()));
    let (recorded, now) = (shown(recorded), shown(now));
    format!("{name} from byte {at} on: recorded [{len}] {recorded}, now [{len_now}] {now}")
}

/// Lists come in no order: a server keeps names in a hash table.
fn sorted(texts: &Option<Vec<Option<String>>>) -> Option<Vec<&Option<String>>> {
    let mut texts: Vec<_> = texts.as_ref()?.iter().collect();
    texts.sort();
    Some(texts)
}

fn same_acl(recorded: &[AclEntry], now: &[AclEntry]) -> bool {
    let same = |(recorded, now): (&AclEntry, &AclEntry)| {
        recorded == now || {
            let users = digest(recorded).zip(digest(now));
            let is_same_user = users.is_some_and(|((user, hash), (user_now, hash_now))| {
                user == user_now && (is_masked(hash) || is_masked(hash_now))
            });
            is_same_user && recorded.permissions == now.permissions
        }
    };
    recorded.len() == now.len() && recorded.iter().zip(now).all(same)
}

/// How the answer to a four-letter word differs from the recorded one. A short one is compared as
/// it is; of a long one, which has figures and addresses in it, what each line is about.
pub(super) fn same_text(recorded: &[u8], now: &[u8]) -> Option<String> {
    let is_same = match recorded.contains(&b'\n') {
        true => topics(recorded) == topics(now),
        false => recorded == now,
    };
    let shown = |text: &[u8]| Value::Data(Some(Bytes::copy_from_slice(text)));
    let (recorded, now) = (shown(recorded), shown(now));
    (!is_same).then(|| format!("recorded text {recorded}, now text {now}"))
}

fn topics(text: &[u8]) -> Vec<&[u8]> {
    let lines = text.split(|byte| *byte == b'\n');
    // Those that are indented have one client each.
    let lines = lines.filter(|line| !line.starts_with(b" "));
    let is_end = |byte: &u8| matches!(byte, b':' | b'=' | b'\t');
    lines.filter_map(|line| line.split(is_end).next()).collect()
}
