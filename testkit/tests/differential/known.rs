//! What one side knows of its server, and what it makes of an answer: a text in which everything
//! is left out, or told from the beginning of the program, that two servers may do differently.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::{DecodeError, Reader, ReplyHeader, Stat, op, xid};

use crate::program::{Body, Field, Request, name};

/// The nodes that are there from the start and outlive every program.
pub(crate) const RESERVED: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", CONFIG];
pub(crate) const CONFIG: &str = "/zookeeper/config";

/// By name and number.
pub(crate) type Tally = BTreeMap<(String, i32), usize>;

/// What is known of one server since the beginning of a program.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The last transaction before the program.
    pub(crate) base: i64,
    /// Session ids in the order in which they were seen.
    pub(crate) sessions: Vec<i64>,
    /// Versions of data and of access control lists before the program.
    pub(crate) reserved: BTreeMap<String, (i32, i32)>,
    /// The same as last told, of all nodes.
    pub(crate) seen: BTreeMap<String, (i32, i32)>,
    /// How often each operation was answered with each error, and each kind of event was heard of.
    pub(crate) tally: Tally,
    /// What a multi has failed with.
    pub(crate) culprit: Option<i32>,
    /// Paths that were told and are spoken of later.
    pub(crate) registers: BTreeMap<u8, String>,
}

/// A request as it was sent.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) op: i32,
    /// The first path, and those of a multi's operations.
    paths: Vec<String>,
    into: Option<u8>,
}

impl Asked {
    /// Of which nothing is to be known.
    pub(crate) fn bare(op: i32) -> Self {
        Self {
            op,
            paths: Vec::new(),
            into: None,
        }
    }
}

// ---- what is sent ------------------------------------------------------------------------------

impl Known {
    /// The body of a request, and what to remember for its answer.
    pub(crate) fn encode(&self, request: &Request) -> (Asked, BytesMut) {
        let (asked, body) = self.encode_with(request, 0);
        // The header and the rest of the body have their place in it.
        let (asked, mut body) = match request.body.fill() {
            Some(len) => self.encode_with(request, len.saturating_sub(8 + body.len())),
            None => (asked, body),
        };
        body.truncate(request.cut.unwrap_or(usize::MAX));
        (asked, body)
    }

    fn encode_with(&self, request: &Request, fill: usize) -> (Asked, BytesMut) {
        let mut body = BytesMut::new();
        let paths = match &request.body {
            Body::Fields(fields) => vec![self.fields(request.op, fields, fill, &mut body)],
            Body::Ops(ops) => {
                let mut paths = Vec::new();
                for (op, fields) in ops {
                    put_multi_header(&mut body, *op, false);
                    paths.push(self.fields(*op, fields, fill, &mut body));
                }
                put_multi_header(&mut body, -1, true);
                paths
            }
        };
        let asked = Asked {
            op: request.op,
            paths,
            into: request.into,
        };
        (asked, body)
    }

    /// Encodes the fields of an operation and returns its path.
    pub(crate) fn fields(
        &self,
        op: i32,
        fields: &[Field],
        fill: usize,
        body: &mut BytesMut,
    ) -> String {
        let path = match fields.first() {
            Some(Field::Text(path)) => named(&self.resolve(path)),
            _ => String::new(),
        };
        for field in fields {
            self.field((op, &path), field, fill, body);
        }
        path
    }

    fn field(&self, whose: (i32, &str), field: &Field, fill: usize, body: &mut BytesMut) {
        match field {
            Field::Int(number) => body.put_i32(*number),
            Field::Long(number) => body.put_i64(*number),
            Field::Byte(byte) => body.put_u8(*byte),
            Field::Text(text) => put_buffer(body, self.resolve(text).as_bytes()),
            Field::Bytes(bytes) => put_buffer(body, bytes),
            Field::Null => body.put_i32(-1),
            Field::Version(version) => body.put_i32(self.version(whose, *version)),
            Field::SeenVersion => body.put_i32(pick(whose, self.seen.get(whose.1))),
            Field::Since(since) => body.put_i64(self.base + since),
            Field::List(entries) => {
                body.put_i32(entries.len() as i32);
                for field in entries.iter().flatten() {
                    self.field(whose, field, fill, body);
                }
            }
            Field::Fill(_) => put_buffer(body, &vec![b'f'; fill]),
        }
    }

    /// Nodes that outlive programs have versions that count from the beginning of this one.
    fn version(&self, whose: (i32, &str), version: i32) -> i32 {
        if version < 0 {
            return version;
        }
        version.wrapping_add(pick(whose, self.reserved.get(whose.1)))
    }

    /// A text as it is sent: `$1` at its beginning stands for a path.
    fn resolve(&self, text: &str) -> String {
        let Some(rest) = text.strip_prefix('$') else {
            return text.to_owned();
        };
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let (register, tail) = rest.split_at(digits.unwrap_or(rest.len()));
        let Ok(register) = register.parse::<u8>() else {
            return text.to_owned();
        };
        let path = self.registers.get(&register);
        path.map_or("/unset", String::as_str).to_owned() + tail
    }
}

/// Which of the two versions an operation compares.
fn pick((op, _): (i32, &str), versions: Option<&(i32, i32)>) -> i32 {
    let (version, aversion) = versions.copied().unwrap_or_default();
    if op == op::SET_ACL { aversion } else { version }
}

/// The root has two names.
fn named(path: &str) -> String {
    if path.is_empty() { "/" } else { path }.to_owned()
}

fn put_buffer(body: &mut BytesMut, bytes: &[u8]) {
    body.put_i32(bytes.len() as i32);
    body.put_slice(bytes);
}

fn put_multi_header(body: &mut BytesMut, op: i32, done: bool) {
    body.put_i32(op);
    body.put_u8(done.into());
    body.put_i32(-1);
}

// ---- what comes back ---------------------------------------------------------------------------

impl Known {
    /// A session by its number in this program, as in `s0`.
    pub(crate) fn session(&mut self, id: i64) -> String {
        let known = self.sessions.iter().position(|known| *known == id);
        let at = known.unwrap_or_else(|| {
            self.sessions.push(id);
            self.sessions.len() - 1
        });
        format!("s{at}")
    }

    /// A transaction, counted from the beginning of the program.
    fn zxid(&self, zxid: i64) -> String {
        if zxid <= 0 {
            return zxid.to_string();
        }
        format!("@{}", zxid - self.base)
    }

    /// A frame in words; `asked` is what it answers, unless it is an event.
    pub(crate) fn text(&mut self, asked: Option<&Asked>, frame: &Bytes) -> String {
        let text = match asked {
            Some(asked) if !is_event(frame) => self.reply(asked, frame),
            _ => self.event(frame),
        };
        text.unwrap_or_else(|error| format!("unreadable ({error}): {frame:?}"))
    }

    fn reply(&mut self, asked: &Asked, frame: &Bytes) -> Result<String, DecodeError> {
        let header = ReplyHeader::decode(frame)?;
        let mut reader = Reader::new(frame);
        reader.skip(ReplyHeader::LEN, "header")?;
        let reader = &mut reader;
        let zxid = self.zxid(header.zxid);
        let mut text = format!("xid {} zxid {zxid} err {}", header.xid, header.err);
        // A multiRead sends what it has read before it stumbled.
        let stumbled =
            matches!(asked.op, op::MULTI | op::MULTI_READ) && frame.len() > ReplyHeader::LEN;
        if header.err == 0 || stumbled {
            text += &self.body(asked, reader)?;
        }
        let err = self.culprit.take().unwrap_or(header.err);
        *self.tally.entry((name(asked.op), err)).or_default() += 1;
        let rest = frame.slice(reader.position()..);
        if !rest.is_empty() {
            write!(text, " and {}", shown(&rest)).unwrap();
        }
        Ok(text)
    }

    fn body(&mut self, asked: &Asked, reader: &mut Reader<'_>) -> Result<String, DecodeError> {
        let path = asked.paths.first().map_or("", String::as_str);
        Ok(match asked.op {
            op::CREATE => format!(" {:?}", self.told(asked, reader)?),
            op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
                let path = self.told(asked, reader)?;
                format!(" {path:?} {}", self.stat(&path, reader)?)
            }
            op::EXISTS | op::SET_DATA | op::SET_ACL => self.stat(path, reader)?,
            op::GET_DATA => format!(" {}{}", data(reader)?, self.stat(path, reader)?),
            op::GET_ACL => format!(" {}{}", acl(reader)?, self.stat(path, reader)?),
            op::GET_CHILDREN | op::GET_EPHEMERALS => format!(" {}", names(reader)?),
            op::GET_CHILDREN2 => format!(" {}{}", names(reader)?, self.stat(path, reader)?),
            op::WHO_AM_I => format!(" {}", who(reader)?),
            op::SYNC => format!(" {:?}", reader.nullable_string("path")?),
            op::GET_ALL_CHILDREN_NUMBER | op::ADD_WATCH => format!(" {}", reader.i32("number")?),
            op::SASL => format!(" {}", data(reader)?),
            op::MULTI | op::MULTI_READ => self.results(asked, reader)?,
            _ => String::new(),
        })
    }

    /// The path that a create tells.
    fn told(&mut self, asked: &Asked, reader: &mut Reader<'_>) -> Result<String, DecodeError> {
        let path = reader.string("path")?.into_owned();
        // Nodes that a quota is made of are never spoken of in this way: see `tolerated.txt`.
        if let Some(register) = asked.into
            && !path.starts_with("/zookeeper/quota/")
        {
            self.registers.insert(register, path.clone());
        }
        Ok(path)
    }

    fn results(&mut self, asked: &Asked, reader: &mut Reader<'_>) -> Result<String, DecodeError> {
        let mut text = String::new();
        for at in 0.. {
            let (kind, done, err) = (
                reader.i32("type")?,
                reader.bool("done")?,
                reader.i32("err")?,
            );
            write!(text, " [{kind} {done} {err}").unwrap();
            if done {
                break;
            }
            let path = asked.paths.get(at).map_or("", String::as_str);
            text += &match kind {
                -1 => {
                    let code = reader.i32("code")?;
                    self.culprit = self.culprit.or(Some(code).filter(|code| *code != 0));
                    format!(" {code}")
                }
                op::CREATE => format!(" {:?}", self.told(asked, reader)?),
                op::CREATE2 => {
                    let path = self.told(asked, reader)?;
                    format!(" {path:?}{}", self.stat(&path, reader)?)
                }
                op::SET_DATA => self.stat(path, reader)?,
                op::GET_DATA => format!(" {}{}", data(reader)?, self.stat(path, reader)?),
                op::GET_CHILDREN => format!(" {}", names(reader)?),
                _ => String::new(),
            };
            text.push(']');
        }
        Ok(text + "]")
    }

    fn event(&mut self, frame: &Bytes) -> Result<String, DecodeError> {
        let header = ReplyHeader::decode(frame)?;
        let mut reader = Reader::new(frame);
        reader.skip(ReplyHeader::LEN, "header")?;
        let kind = reader.i32("type")?;
        *self.tally.entry(("event".into(), kind)).or_default() += 1;
        let kind = match kind {
            1 => "created".into(),
            2 => "deleted".into(),
            3 => "data changed".into(),
            4 => "children changed".into(),
            other => format!("kind {other}"),
        };
        let state = reader.i32("state")?;
        let path = reader.string("path")?;
        let ReplyHeader { zxid, err, .. } = header;
        let zxid = self.zxid(zxid);
        let rest = shown(&frame[reader.position()..]);
        Ok(format!(
            "event {kind} {path:?} zxid {zxid} err {err} state {state} {rest}"
        ))
    }

    /// A stat without its times.
    fn stat(&mut self, path: &str, reader: &mut Reader<'_>) -> Result<String, DecodeError> {
        let stat = Stat::read(reader)?;
        let path = named(path);
        let (version, aversion) = self.reserved.get(&path).copied().unwrap_or_default();
        let owner = match stat.ephemeral_owner {
            0 => "0".into(),
            owner => self.session(owner),
        };
        self.seen.insert(path, (stat.version, stat.aversion));
        Ok(format!(
            " czxid {} mzxid {} pzxid {} version {} cversion {} aversion {} owner {owner} \
             length {} children {}",
            self.zxid(stat.czxid),
            self.zxid(stat.mzxid),
            self.zxid(stat.pzxid),
            stat.version.wrapping_sub(version),
            stat.cversion,
            stat.aversion.wrapping_sub(aversion),
            stat.data_length,
            stat.num_children,
        ))
    }
}

pub(crate) fn is_event(frame: &Bytes) -> bool {
    ReplyHeader::decode(frame).is_ok_and(|header| header.xid == xid::NOTIFICATION)
}

fn data(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let data = reader.buffer("data")?;
    Ok(data.map_or("null".into(), |data| shown(&data)))
}

/// Bytes, or what tells long ones apart.
fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= 200 {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{} bytes with the hash {:x}", bytes.len(), hasher.finish())
}

fn names(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    sorted(reader, |reader| Ok(reader.string("name")?.into_owned()))
}

fn acl(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    sorted(reader, |reader| {
        let permissions = reader.i32("perms")?;
        let scheme = reader.nullable_string("scheme")?;
        let id = reader.nullable_string("id")?;
        Ok(format!("{permissions} {scheme:?} {id:?}"))
    })
}

fn who(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    sorted(reader, |reader| {
        let scheme = reader.string("scheme")?;
        let user = reader.string("user")?;
        Ok(format!("{scheme} {user}"))
    })
}

/// A list whose order is that of a hash table.
fn sorted(
    reader: &mut Reader<'_>,
    mut entry: impl FnMut(&mut Reader<'_>) -> Result<String, DecodeError>,
) -> Result<String, DecodeError> {
    let count = reader.count("entries", 4)?;
    let Some(count) = count else {
        return Ok("null".into());
    };
    let entries: Result<Vec<_>, DecodeError> = (0..count).map(|_| entry(reader)).collect();
    let mut entries = entries?;
    entries.sort();
    Ok(format!("{entries:?}"))
}
