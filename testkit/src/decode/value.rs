//! The values of fields, and how they look in a line.

use std::fmt::{self, Write};
use std::ops::Range;

use bytes::Bytes;
use homing_protocol::incoming::AclEntry;
use homing_protocol::{DecodeError, DecodeErrorKind, ErrorCode, Reader, Stat};

use super::schema::{ERROR_RESULT, Kind, Names, Operation, Spec};

/// How much of a text, of other bytes and of a list a line shows.
const TEXT_MAX: usize = 120;
const HEX_MAX: usize = 32;
const LIST_MAX: usize = 20;

/// A field that was read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
}

/// What a field holds. Nothing here is a secret but the hash in an access control list, which
/// `Display` leaves out.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(Option<String>),
    Data(Option<Bytes>),
    Number(i64),
    Flag(bool),
    Named(Names, i32),
    Zxid(i64),
    Session(i64),
    /// Its length.
    Secret(Option<usize>),
    Acl(Option<Vec<AclEntry>>),
    Texts(Option<Vec<Option<String>>>),
    Stat(Stat),
    Parts(Vec<Part>),
}

/// An operation of a transaction, or its result.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<Field>,
}

/// Reads fields one by one, and notes where the secrets among them lie.
pub(super) struct FieldReader<'a> {
    reader: Reader<'a>,
    /// In bytes of the frame.
    pub(super) secrets: Vec<Range<usize>>,
}

impl<'a> FieldReader<'a> {
    /// At the first byte of `frame`.
    pub(super) fn new(frame: &'a Bytes) -> Self {
        Self {
            reader: Reader::new(frame),
            secrets: Vec::new(),
        }
    }

    pub(super) fn remaining(&self) -> usize {
        self.reader.remaining()
    }

    pub(super) fn i32(&mut self, name: &'static str) -> Result<i32, DecodeError> {
        self.reader.i32(name)
    }

    pub(super) fn i64(&mut self, name: &'static str) -> Result<i64, DecodeError> {
        self.reader.i64(name)
    }

    /// Reads what is there: fields that could be read stay in `into` when another cannot.
    pub(super) fn fields(
        &mut self,
        specs: &[Spec],
        into: &mut Vec<Field>,
    ) -> Result<(), DecodeError> {
        for Spec { name, kind } in specs {
            match kind {
                Kind::Operations => self.parts(into, name, Self::operation)?,
                Kind::Results => self.parts(into, name, Self::result)?,
                _ => {
                    let value = self.value(name, *kind)?;
                    into.push(Field { name, value });
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, name: &'static str, kind: Kind) -> Result<Value, DecodeError> {
        let reader = &mut self.reader;
        Ok(match kind {
            Kind::Text => Value::Text(self.text(name)?),
            Kind::Data => Value::Data(reader.buffer(name)?),
            Kind::Int => Value::Number(reader.i32(name)?.into()),
            Kind::Long => Value::Number(reader.i64(name)?),
            Kind::Flag => Value::Flag(reader.bool(name)?),
            Kind::Named(names) => Value::Named(names, reader.i32(name)?),
            Kind::Zxid => Value::Zxid(reader.i64(name)?),
            Kind::Session => Value::Session(reader.i64(name)?),
            Kind::Secret => Value::Secret(self.secret(name)?),
            Kind::Acl => Value::Acl(self.acl(name)?),
            Kind::Texts => Value::Texts(self.list(name, 4, |it| it.text(name))?),
            Kind::Identities => Value::Texts(self.list(name, 8, Self::identity)?),
            Kind::Stat => Value::Stat(Stat::read(reader)?),
            // These are read one by one: see `fields`.
            Kind::Operations | Kind::Results => Value::Parts(Vec::new()),
        })
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>, DecodeError> {
        let text = self.reader.nullable_string(name)?;
        Ok(text.map(std::borrow::Cow::into_owned))
    }

    fn list<T>(
        &mut self,
        name: &'static str,
        element_len_min: usize,
        element: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.reader.count(name, element_len_min)? else {
            return Ok(None);
        };
        let list = (0..count).map(|_| element(self));
        list.collect::<Result<_, _>>().map(Some)
    }

    fn secret(&mut self, name: &'static str) -> Result<Option<usize>, DecodeError> {
        let Some(secret) = self.reader.buffer(name)? else {
            return Ok(None);
        };
        // What a client presents that has no session yet: it is the same for all.
        if secret.iter().any(|byte| *byte != 0) {
            self.hide(secret.len());
        }
        Ok(Some(secret.len()))
    }

    /// Notes that the last `len` bytes are a secret.
    fn hide(&mut self, len: usize) {
        let end = self.reader.position();
        self.secrets.push(end.saturating_sub(len)..end);
    }

    fn acl(&mut self, name: &'static str) -> Result<Option<Vec<AclEntry>>, DecodeError> {
        self.list(name, 12, |it| {
            let entry = AclEntry {
                permissions: it.reader.i32("perms")?,
                scheme: it.text("scheme")?,
                id: it.text("id")?,
            };
            if let Some((_, hash)) = digest(&entry) {
                it.hide(hash.len());
            }
            Ok(entry)
        })
    }

    fn identity(&mut self) -> Result<Option<String>, DecodeError> {
        let (scheme, user) = (self.text("authScheme")?, self.text("user")?);
        let or_null = |text: Option<String>| text.unwrap_or_else(|| "null".into());
        Ok(Some(format!("{}:{}", or_null(scheme), or_null(user))))
    }

    /// Reads parts up to the end of their list. Those before one that cannot be read stay.
    fn parts(
        &mut self,
        into: &mut Vec<Field>,
        name: &'static str,
        part: impl Fn(&mut Self, i32, &mut Vec<Part>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut parts = Vec::new();
        let result = loop {
            match self.part_header() {
                Ok(None) => break Ok(()),
                Ok(Some(code)) => {
                    if let Err(error) = part(self, code, &mut parts) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        let value = Value::Parts(parts);
        into.push(Field { name, value });
        result
    }

    fn part_header(&mut self) -> Result<Option<i32>, DecodeError> {
        homing_protocol::incoming::multi_header(&mut self.reader)
    }

    fn operation(&mut self, code: i32, into: &mut Vec<Part>) -> Result<(), DecodeError> {
        let operation = self.known(code)?;
        self.part(operation.name, operation.request, into)
    }

    fn result(&mut self, code: i32, into: &mut Vec<Part>) -> Result<(), DecodeError> {
        if code == ERROR {
            return self.part("error", ERROR_RESULT, into);
        }
        let operation = self.known(code)?;
        self.part(operation.name, operation.reply, into)
    }

    fn part(
        &mut self,
        name: &'static str,
        specs: &[Spec],
        into: &mut Vec<Part>,
    ) -> Result<(), DecodeError> {
        let mut fields = Vec::new();
        let result = self.fields(specs, &mut fields);
        into.push(Part { name, fields });
        result
    }

    fn known(&self, code: i32) -> Result<&'static Operation, DecodeError> {
        Operation::find_part(code).ok_or(DecodeError {
            field: "type",
            at: self.reader.position().saturating_sub(PART_HEADER_LEN),
            kind: DecodeErrorKind::Unknown(code.into()),
        })
    }
}

/// The type in the header of a result that is an error.
const ERROR: i32 = -1;

/// A type, whether it is the end, and an error.
const PART_HEADER_LEN: usize = 4 + 1 + 4;

/// The user and the hash of an entry that has one. Behind `auth`, where servers look at nothing,
/// people write the password itself.
pub(crate) fn digest(entry: &AclEntry) -> Option<(&str, &str)> {
    let is_digest = matches!(entry.scheme.as_deref(), Some("digest" | "auth"));
    entry.id.as_ref().filter(|_| is_digest)?.split_once(':')
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.value, self.name) {
            // What a line is about needs no name.
            (value, "path" | "event" | "ops" | "results") => value.fmt(f),
            (Value::Number(code), "err") => error(*code).fmt(f),
            (Value::Data(Some(data)), name) => {
                write!(f, "{name}[{}]={}", data.len(), self.value)
            }
            (Value::Secret(Some(len)), name) => write!(f, "{name}[{len}]=***"),
            (value, name) => write!(f, "{name}={value}"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(None)
            | Self::Data(None)
            | Self::Secret(None)
            | Self::Acl(None)
            | Self::Texts(None) => f.write_str("null"),
            Self::Text(Some(text)) => quoted(f, text),
            Self::Data(Some(data)) => bytes(f, data),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Named(names, number) => match name_of(names, *number) {
                Some(name) => f.write_str(name),
                None => number.fmt(f),
            },
            Self::Zxid(zxid) => Zxid(*zxid).fmt(f),
            Self::Session(0) => f.write_str("0"),
            Self::Session(id) => write!(f, "{id:#x}"),
            Self::Secret(Some(_)) => f.write_str("***"),
            Self::Acl(Some(entries)) => list(f, ", ", entries, acl_entry),
            Self::Texts(Some(texts)) => list(f, ", ", texts, |f, text| match text {
                Some(text) => quoted(f, text),
                None => f.write_str("null"),
            }),
            Self::Stat(stat) => short_stat(f, stat),
            Self::Parts(parts) => list(f, "; ", parts, |f, part| part.fmt(f)),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.fields
            .iter()
            .try_for_each(|field| write!(f, " {field}"))
    }
}

/// A transaction's number as ZooKeeper's tools print it; those below zero stand for none.
pub(crate) struct Zxid(pub(crate) i64);

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            self.0.fmt(f)
        } else {
            write!(f, "{:#x}", self.0)
        }
    }
}

/// `ok`, or the name of an error and its code.
pub(crate) fn error(code: i64) -> impl fmt::Display {
    let code = i32::try_from(code).unwrap_or(i32::MIN);
    match code {
        0 => "ok".to_owned(),
        code => ErrorCode::from_code(code).to_string(),
    }
}

fn name_of(names: Names, number: i32) -> Option<&'static str> {
    names.iter().find(|row| row.0 == number).map(|row| row.1)
}

/// In quotes and without a line break, its beginning alone where it is long.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    let mut chars = text.chars();
    for char in chars.by_ref().take(TEXT_MAX) {
        match char {
            '\'' => f.write_char(char)?,
            _ => write!(f, "{}", char.escape_debug())?,
        }
    }
    f.write_char('"')?;
    let left = chars.count();
    if left > 0 {
        write!(f, "…{left} more")?;
    }
    Ok(())
}

/// As text where it is one, and in hexadecimal digits otherwise.
fn bytes(f: &mut fmt::Formatter<'_>, data: &[u8]) -> fmt::Result {
    let is_text = |text: &&str| {
        let is_plain = |char: char| !char.is_control() || matches!(char, '\n' | '\r' | '\t');
        text.chars().all(is_plain)
    };
    if let Some(text) = std::str::from_utf8(data).ok().filter(is_text) {
        return quoted(f, text);
    }
    f.write_str("0x")?;
    for byte in data.iter().take(HEX_MAX) {
        write!(f, "{byte:02x}")?;
    }
    if data.len() > HEX_MAX {
        write!(f, "…{} more", data.len() - HEX_MAX)?;
    }
    Ok(())
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    between: &str,
    items: &[T],
    show: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_char('[')?;
    for (at, item) in items.iter().take(LIST_MAX).enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        show(f, item)?;
    }
    if items.len() > LIST_MAX {
        write!(f, "{between}…{} more", items.len() - LIST_MAX)?;
    }
    f.write_char(']')
}

/// As the command line of ZooKeeper wants it: scheme, id, permissions.
fn acl_entry(f: &mut fmt::Formatter<'_>, entry: &AclEntry) -> fmt::Result {
    let user = digest(entry).map(|(user, _)| format!("{user}:…"));
    plain(f, entry.scheme.as_deref())?;
    f.write_char(':')?;
    plain(f, user.as_deref().or(entry.id.as_deref()))?;
    f.write_char(':')?;
    permissions(f, entry.permissions)
}

fn plain(f: &mut fmt::Formatter<'_>, text: Option<&str>) -> fmt::Result {
    let text = text.unwrap_or("null");
    text.chars()
        .take(TEXT_MAX)
        .try_for_each(|char| write!(f, "{}", char.escape_debug()))
}

fn permissions(f: &mut fmt::Formatter<'_>, bits: i32) -> fmt::Result {
    const LETTERS: [(i32, char); 5] = [(4, 'c'), (8, 'd'), (1, 'r'), (2, 'w'), (16, 'a')];
    if !(1..32).contains(&bits) {
        return write!(f, "{bits}");
    }
    let allowed = LETTERS.iter().filter(|(bit, _)| bits & bit != 0);
    allowed
        .map(|(_, letter)| letter)
        .try_for_each(|letter| f.write_char(*letter))
}

/// What is not zero, times left out.
fn short_stat(f: &mut fmt::Formatter<'_>, stat: &Stat) -> fmt::Result {
    write!(f, "{{czxid={} mzxid={}", Zxid(stat.czxid), Zxid(stat.mzxid))?;
    write!(f, " pzxid={}", Zxid(stat.pzxid))?;
    for (name, number) in [
        ("version", stat.version),
        ("cversion", stat.cversion),
        ("aversion", stat.aversion),
        ("dataLength", stat.data_length),
        ("numChildren", stat.num_children),
    ] {
        if number != 0 {
            write!(f, " {name}={number}")?;
        }
    }
    if stat.is_ephemeral() {
        write!(f, " ephemeralOwner={:#x}", stat.ephemeral_owner)?;
    }
    f.write_char('}')
}
