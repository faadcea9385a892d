//! What a server said, compared with what was recorded.

use bytes::Bytes;
use homing_protocol::Stat;
use homing_protocol::incoming::AclEntry;

use super::relation::{Progress, Relation};
use crate::decode::{Decoded, Field, Name, Part, Value, What, Zxid, digest, error};
use crate::operation::is_transaction;
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
                    Some(op) if is_same && is_transaction(op) => {
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

#[cfg(test)]
mod tests {
    use bytes::{BufMut, Bytes, BytesMut};
    use homing_protocol::{
        Acl, ConnectResponse, Empty, Record, ReplyHeader, RequestHeader, SessionPassword, Stat, op,
        put_buffer, put_count, put_string,
    };

    use super::{Comparison, same_text};
    use crate::decode::{Decoded, Decoder, Way};

    /// The answer to an operation.
    fn answer(op: i32, zxid: i64, err: i32, body: &dyn Fn(&mut BytesMut)) -> Decoded {
        let mut decoder = Decoder::new();
        decoder.decode(Way::ToServer, &encoded(&Empty));
        decoder.decode(Way::ToClient, &encoded(&Empty));
        let xid = 1;
        decoder.decode(Way::ToServer, &encoded(&RequestHeader { xid, op }));
        let mut frame = BytesMut::from(&encoded(&ReplyHeader { xid, zxid, err })[..]);
        body(&mut frame);
        decoder.decode(Way::ToClient, &frame.freeze())
    }

    fn encoded(record: &impl Record) -> Bytes {
        let mut out = BytesMut::new();
        record.encode(&mut out);
        out.freeze()
    }

    /// What differs, without the frame in which it does.
    fn differences(comparison: &mut Comparison, recorded: &Decoded, now: &Decoded) -> Vec<String> {
        let differences = comparison.differences(recorded, now);
        let context = format!(", in {recorded}");
        let short = |it: &String| it.strip_suffix(&context).unwrap_or(it).to_owned();
        differences.iter().map(short).collect()
    }

    fn stat(of: Stat) -> Decoded {
        answer(op::EXISTS, 1, 0, &|out| of.encode(out))
    }

    const STAT: Stat = Stat {
        czxid: 2,
        mzxid: 3,
        ctime: 1,
        mtime: 2,
        version: 4,
        cversion: 5,
        aversion: 6,
        ephemeral_owner: 7,
        data_length: 8,
        num_children: 9,
        pzxid: 10,
    };

    #[test]
    fn every_field_of_a_stat_counts() {
        let same = |now: Stat| {
            let mut comparison = Comparison::default();
            // What is known already: who owns it, and when it was made.
            assert_eq!(comparison.differences(&stat(STAT), &stat(STAT)), [""; 0]);
            differences(&mut comparison, &stat(STAT), &stat(now))
        };
        for (now, difference) in [
            (
                Stat {
                    ctime: 99,
                    mtime: 98,
                    ..STAT
                },
                None,
            ),
            (Stat { ctime: 0, ..STAT }, Some("ctime: recorded 1, now 0")),
            (Stat { mtime: 0, ..STAT }, Some("mtime: recorded 1, now 0")),
            (
                Stat { czxid: 9, ..STAT },
                Some("czxid: recorded 0x2, which is 0x2 elsewhere, now 0x9"),
            ),
            (
                Stat { mzxid: 9, ..STAT },
                Some("mzxid: recorded 0x3, which is 0x3 elsewhere, now 0x9"),
            ),
            (
                Stat { pzxid: 9, ..STAT },
                Some("pzxid: recorded 0xa, which is 0xa elsewhere, now 0x9"),
            ),
            (
                Stat { version: 0, ..STAT },
                Some("version: recorded 4, now 0"),
            ),
            (
                Stat {
                    cversion: 0,
                    ..STAT
                },
                Some("cversion: recorded 5, now 0"),
            ),
            (
                Stat {
                    aversion: 0,
                    ..STAT
                },
                Some("aversion: recorded 6, now 0"),
            ),
            (
                Stat {
                    data_length: 0,
                    ..STAT
                },
                Some("dataLength: recorded 8, now 0"),
            ),
            (
                Stat {
                    num_children: 0,
                    ..STAT
                },
                Some("numChildren: recorded 9, now 0"),
            ),
            (
                Stat {
                    ephemeral_owner: 8,
                    ..STAT
                },
                Some("ephemeralOwner: recorded 0x7, now another session, 0x8"),
            ),
        ] {
            assert_eq!(same(now), Vec::from_iter(difference), "{now:?}");
        }
    }

    #[test]
    fn transactions_have_other_numbers_and_stay_what_they_are() {
        let write = |zxid| answer(op::DELETE, zxid, 0, &|_| ());
        let made = |czxid| {
            stat(Stat {
                czxid,
                ..Stat::default()
            })
        };
        let mut comparison = Comparison::default();
        let mut differences = |recorded, now| differences(&mut comparison, &recorded, &now);
        assert_eq!(differences(write(5), write(105)), [""; 0]);
        assert_eq!(differences(write(6), write(107)), [""; 0]);
        assert_eq!(differences(made(5), made(105)), [""; 0]);
        assert_eq!(
            differences(made(5), made(107)),
            ["czxid: recorded 0x5, which is 0x69 elsewhere, now 0x6b"]
        );
        assert_eq!(
            differences(made(7), made(107)),
            ["czxid: recorded 0x7, which is another one elsewhere, now 0x6b"]
        );
        // A read tells the last one that the server knew of, and there can be others' between.
        let read = |zxid| answer(op::SYNC, zxid, -101, &|_| ());
        assert_eq!(differences(read(5), read(200)), [""; 0]);
        assert_eq!(
            differences(read(5), read(-1)),
            ["zxid: recorded 0x5, now -1"]
        );
    }

    #[test]
    fn errors_and_data_count() {
        let mut comparison = Comparison::default();
        let data = |data: &'static [u8]| {
            answer(op::GET_DATA, 1, 0, &|out| {
                put_buffer(out, Some(data));
                Stat::default().encode(out);
            })
        };
        let mut differences = |recorded, now| differences(&mut comparison, &recorded, &now);
        assert_eq!(
            differences(data(b"same one"), data(b"same two")),
            [r#"data from byte 5 on: recorded [8] "same one", now [8] "same two""#]
        );
        assert_eq!(
            differences(data(b"longer"), data(b"long")),
            [r#"data from byte 4 on: recorded [6] "longer", now [4] "long""#]
        );
        let failed = answer(op::GET_DATA, 1, -101, &|_| ());
        assert_eq!(
            differences(data(b""), failed),
            ["recorded ok, now NoNode (-101)"]
        );
        let cut = answer(op::GET_DATA, 1, 0, &|out| out.put_i32(5));
        let now = cut.to_string();
        assert_eq!(
            differences(data(b""), cut),
            [format!("recorded {}, now {now}", data(b""))]
        );
    }

    #[test]
    fn names_come_in_no_order() {
        let names = |names: &'static [&'static str]| {
            answer(op::GET_CHILDREN, 1, 0, &|out| {
                put_count(out, names.len());
                names.iter().for_each(|name| put_string(out, name));
            })
        };
        let mut comparison = Comparison::default();
        let mut differences = |recorded, now| differences(&mut comparison, &recorded, &now);
        assert_eq!(differences(names(&["a", "b"]), names(&["b", "a"])), [""; 0]);
        assert_eq!(
            differences(names(&["a", "b"]), names(&["a", "c"])),
            [r#"children: recorded ["a", "b"], now ["a", "c"]"#]
        );
    }

    #[test]
    fn access_control_lists_count_but_for_masked_hashes() {
        let list = |user: &'static str, permissions| {
            answer(op::GET_ACL, 1, 0, &move |out| {
                let acl = Acl::new("digest", user).permissions(permissions);
                Acl::put_list(out, &[acl]);
                Stat::default().encode(out);
            })
        };
        let mut comparison = Comparison::default();
        let mut differ = |recorded, now| !comparison.differences(&recorded, &now).is_empty();
        assert!(!differ(list("bob:hash", 31), list("bob:hash", 31)));
        assert!(!differ(list("bob:****", 31), list("bob:hash", 31)));
        assert!(differ(list("bob:hash", 31), list("bob:other", 31)));
        assert!(differ(list("bob:****", 31), list("eve:hash", 31)));
        assert!(differ(list("bob:****", 31), list("bob:hash", 1)));
        assert!(differ(list("bob:hash", 31), list("bob:hash", 1)));
    }

    #[test]
    fn a_handshake_is_compared_but_for_its_secrets() {
        let welcome = |timeout_ms, session_id, password| {
            let response = ConnectResponse {
                timeout_ms,
                session_id,
                password: SessionPassword::new(password).unwrap(),
                read_only: Some(false),
            };
            Decoder::new().decode(Way::ToClient, &encoded(&response))
        };
        let one = welcome(4_000, 7, b"0123456789abcdef");
        let mut comparison = Comparison::default();
        let mut differences = |now| differences(&mut comparison, &one, &now);
        assert_eq!(differences(welcome(4_000, 9, b"fedcba9876543210")), [""; 0]);
        assert_eq!(
            differences(welcome(6_000, 9, b"fedcba9876543210")),
            ["timeOut: recorded 4000, now 6000"]
        );
        assert_eq!(
            differences(welcome(4_000, 0, &[0; 16])),
            ["sessionId: recorded 0x7, now 0"]
        );
    }

    #[test]
    fn of_a_long_text_what_it_is_about_is_compared() {
        let long = b"Mode: standalone\nZxid: 0x5\nClients:\n /127.0.0.1:5[0](x)\n";
        let other = b"Mode: leader\nZxid: 0x7\nClients:\n";
        assert_eq!(same_text(long, other), None);
        assert!(same_text(long, b"Mode: standalone\nClients:\n").is_some());
        assert_eq!(same_text(b"imok", b"imok"), None);
        assert!(same_text(b"rw", b"ro").is_some());
    }
}
