//! Messages of DNS (RFC 1035), as far as it takes to find servers: one question, and answers of
//! three kinds. Nothing in an answer is trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    A = 1,
    Aaaa = 28,
    Srv = 33,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Address(IpAddr),
    /// A host name and a port.
    Service(String, u16),
}

/// What a name server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Found(Vec<Record>),
    NoSuchName,
    /// There is more than fits.
    Truncated,
    /// It could not or would not answer, with this code.
    Refused(u8),
}

/// How many records of an answer are looked at. Nobody has so many servers.
const RECORDS_MAX: usize = 256;

const HEADER_LEN: usize = 12;
const CLASS_INTERNET: u16 = 1;

/// A question, for a server that asks others itself. `name` is one that DNS could have.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_LEN + name.len() + 6);
    // Recursion is desired; one question, and nothing else.
    for field in [id, 0x0100, 1, 0, 0, 0] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&(kind as u16).to_be_bytes());
    message.extend_from_slice(&CLASS_INTERNET.to_be_bytes());
    message
}

/// Reads the answer to a question. `None` if it is none, or malformed.
pub(super) fn read(message: &[u8], id: u16, name: &str, kind: Kind) -> Option<Reply> {
    let mut reader = Reader { message, at: 0 };
    let is_for_it = reader.u16()? == id;
    let flags = reader.u16()?;
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    reader.at = HEADER_LEN;
    let is_answer = flags & 0x8000 != 0;
    if !is_for_it || !is_answer || questions != 1 {
        return None;
    }
    let asked = reader.name()?;
    let is_same = asked.eq_ignore_ascii_case(name.trim_end_matches('.'));
    if !is_same || reader.u16()? != kind as u16 || reader.u16()? != CLASS_INTERNET {
        return None;
    }
    match u8::try_from(flags & 15).unwrap_or(15) {
        _ if flags & 0x0200 != 0 => return Some(Reply::Truncated),
        0 => {}
        3 => return Some(Reply::NoSuchName),
        code => return Some(Reply::Refused(code)),
    }
    let mut found = Vec::new();
    for _ in 0..usize::from(answers).min(RECORDS_MAX) {
        found.extend(reader.record(kind)?);
    }
    Some(Reply::Found(found))
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.message.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(*bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    /// One of the kind that was asked for; `Some(None)` for another one, such as an alias.
    fn record(&mut self, wanted: Kind) -> Option<Option<Record>> {
        self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        let _time_to_live: [u8; 4] = self.take()?;
        let len = usize::from(self.u16()?);
        let end = self.at.checked_add(len)?;
        if end > self.message.len() {
            return None;
        }
        let is_wanted = kind == wanted as u16 && class == CLASS_INTERNET;
        let record = match wanted {
            _ if !is_wanted => None,
            Kind::A => Some(Record::Address(Ipv4Addr::from(self.take::<4>()?).into())),
            Kind::Aaaa => Some(Record::Address(Ipv6Addr::from(self.take::<16>()?).into())),
            Kind::Srv => {
                let _priority_and_weight: [u8; 4] = self.take()?;
                let port = self.u16()?;
                Some(Record::Service(self.name()?, port))
            }
        };
        if is_wanted && self.at != end {
            return None;
        }
        self.at = end;
        Some(record)
    }

    /// A name, and the reader behind it. Parts of it may be elsewhere, always further in front,
    /// so that there is an end to it.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut behind = None;
        let mut limit = self.at;
        loop {
            let len = self.u8()?;
            match len {
                0 => break,
                1..64 => {
                    let end = self.at + usize::from(len);
                    let label = self.message.get(self.at..end)?;
                    self.at = end;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    // What is no letter of a host name is refused by whoever uses the name.
                    name.extend(label.iter().map(|byte| match byte {
                        b'.' => '\u{fffd}',
                        byte => char::from(*byte),
                    }));
                    if name.len() > 512 {
                        return None;
                    }
                }
                0xc0.. => {
                    let target = usize::from(u16::from_be_bytes([len & 0x3f, self.u8()?]));
                    behind.get_or_insert(self.at);
                    if target >= limit {
                        return None;
                    }
                    (self.at, limit) = (target, target);
                }
                _ => return None,
            }
        }
        self.at = behind.unwrap_or(self.at);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "_zk._tcp.example.org";

    /// An answer with these records, whose names are the question's.
    fn answer(kind: Kind, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = question(7, NAME, kind);
        message[2] |= 0x80;
        message[7] = u8::try_from(records.len()).unwrap();
        for (kind, data) in records {
            message.extend_from_slice(&[0xc0, 12]);
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            message.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    const SERVICE: (u16, &[u8]) = (33, b"\0\0\0\0\x08\x85\x03zk1\xc0\x15");
    const ALIAS: (u16, &[u8]) = (5, b"\x01x\0");

    #[test]
    fn answers_are_read() {
        let message = answer(Kind::Srv, &[ALIAS, SERVICE]);
        let found = vec![Record::Service("zk1.example.org".into(), 2181)];
        assert_eq!(
            read(&message, 7, NAME, Kind::Srv),
            Some(Reply::Found(found))
        );
        let message = answer(Kind::A, &[ALIAS, (1, &[10, 0, 0, 1])]);
        let found = vec![Record::Address([10, 0, 0, 1].into())];
        assert_eq!(read(&message, 7, NAME, Kind::A), Some(Reply::Found(found)));
        let message = answer(Kind::Aaaa, &[(28, &[0; 16]), (1, &[10, 0, 0, 1])]);
        let found = vec![Record::Address([0_u16; 8].into())];
        let upper = NAME.to_uppercase() + ".";
        assert_eq!(
            read(&message, 7, &upper, Kind::Aaaa),
            Some(Reply::Found(found))
        );
        for (flags, reply) in [
            ([0x81, 3], Reply::NoSuchName),
            ([0x81, 2], Reply::Refused(2)),
            ([0x83, 0], Reply::Truncated),
        ] {
            let mut message = question(7, NAME, Kind::A);
            message[2..4].copy_from_slice(&flags);
            assert_eq!(read(&message, 7, NAME, Kind::A), Some(reply));
        }
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_none() {
        let message = answer(Kind::Srv, &[SERVICE]);
        assert_eq!(read(&message, 8, NAME, Kind::Srv), None);
        assert_eq!(read(&message, 7, "zk1.example.org", Kind::Srv), None);
        assert_eq!(read(&message, 7, NAME, Kind::A), None);
        assert_eq!(
            read(&question(7, NAME, Kind::Srv), 7, NAME, Kind::Srv),
            None
        );
        let bad: [(u16, &[u8]); 5] = [
            (33, b"\0\0\0\0\x08\x85\xc0\xff"),
            (33, b"\0\0\0\0\x08\x85\x03zk1\xc0\x43"),
            (33, b"\0\0\0\0\x08\x85\x80\0"),
            (33, b"\0\0\0\0\x08\x85\0\0"),
            (33, b"\0\0\0\0"),
        ];
        for record in bad {
            let message = answer(Kind::Srv, &[record]);
            assert_eq!(read(&message, 7, NAME, Kind::Srv), None, "{record:?}");
        }
    }

    /// Cut at each byte, and with each byte changed to each value.
    #[test]
    fn hostile_answers_are_harmless() {
        let message = answer(Kind::Srv, &[ALIAS, SERVICE, SERVICE]);
        for at in 0..message.len() {
            assert_eq!(read(&message[..at], 7, NAME, Kind::Srv), None, "{at}");
            for byte in 0..=255 {
                let mut changed = message.clone();
                changed[at] = byte;
                if let Some(Reply::Found(found)) = read(&changed, 7, NAME, Kind::Srv) {
                    assert!(found.len() <= 2);
                }
            }
        }
        // A name that is made of itself, over and over, and one that is long.
        let long = [
            b"\0\0\0\0\x08\x85".to_vec(),
            [&b"\x3f"[..], &[b'x'; 63]].concat().repeat(9),
        ];
        let message = answer(Kind::Srv, &[(33, &long.concat())]);
        assert_eq!(read(&message, 7, NAME, Kind::Srv), None);
    }
}
