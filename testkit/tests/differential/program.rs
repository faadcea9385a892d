//! Programs: what is done to both servers, and how it is written down.
//!
//! One act a line: who does it, what, and with which fields, in the order of the wire.
//!
//! ```text
//! # A comment.
//! 0 create "/a" "data" [31 "world" "anyone"] 2 -> $1
//! 1 getData "$1" 1b
//! 0 multi { check "/a" v=; setData "/a" null v0 }
//! 0 setWatches @12 ["/a", "/b"] [] []
//! 2 reconnect
//! ```
//!
//! | field | what it is |
//! | --- | --- |
//! | `5`, `5L`, `1b` | 32 bits, 64 bits, a byte |
//! | `"text"`, `x"0aff"`, `null` | a string or a buffer, as text or in hexadecimal |
//! | `$1` at the start of a text | what the last create with `-> $1` has told, `/unset` before |
//! | `v-1`, `v2`, `v=` | a version: as it stands, or the one that was last seen of that path |
//! | `@12` | a transaction: so many behind the beginning of the program |
//! | `[a b, a b]` | a list |
//! | `fill:1048575` | a buffer that makes the frame so long |
//!
//! In front of a request may stand `xid=-4`, behind it `cut 7`, which leaves out all of the body
//! but seven bytes, and `+`, which sends it together with the same client's next one.
//!
//! Every act can be done whatever went before: a client that has no connection takes up its
//! session first, or begins one. So each part of a program is a program.

use std::fmt;
use std::ops::Range;

use homing_protocol::op;

/// What is done to both servers, from the same state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program(pub(crate) Vec<Act>);

impl Program {
    /// The acts that are done together: requests of one client that do not wait for each other.
    pub(crate) fn steps(&self) -> Vec<Range<usize>> {
        let mut steps = Vec::new();
        let mut from = 0;
        for at in 0..self.0.len() {
            let joins = |next: &Act| self.0[at].goes_with(next);
            if !self.0.get(at + 1).is_some_and(joins) {
                steps.push(from..at + 1);
                from = at + 1;
            }
        }
        steps
    }
}

impl Act {
    fn goes_with(&self, next: &Self) -> bool {
        let (What::Request(this), What::Request(that)) = (&self.what, &next.what) else {
            return false;
        };
        let orderly = this.is_orderly() && that.is_orderly();
        this.with_next && orderly && self.client == next.client
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) client: usize,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Request(Request),
    /// These bytes, after which the server hangs up.
    Raw(Vec<u8>),
    /// Another connection, for the time of its handshake: the fields of a connect request.
    Handshake(Vec<Field>),
    /// A new connection takes up the session while the old one stands.
    Reconnect,
    /// Somebody tries to take up the session with another password.
    Intrude,
    /// The connection ends, and the session goes on.
    Drop,
    /// Somebody tries to take up the session that this client has closed last.
    Haunt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The next number if there is none.
    pub(crate) xid: Option<i32>,
    pub(crate) op: i32,
    pub(crate) body: Body,
    /// How much of the body is sent.
    pub(crate) cut: Option<usize>,
    /// Where the path goes that is told.
    pub(crate) into: Option<u8>,
    /// It does not wait for its answer before this client's next one is sent.
    pub(crate) with_next: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Fields(Vec<Field>),
    /// Of a multi or a multiRead.
    Ops(Vec<(i32, Vec<Field>)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Int(i32),
    Long(i64),
    Byte(u8),
    Text(String),
    Bytes(Vec<u8>),
    Null,
    Version(i32),
    SeenVersion,
    Since(i64),
    List(Vec<Vec<Self>>),
    Fill(usize),
}

impl Request {
    pub(crate) fn new(op: i32, body: Body) -> Self {
        Self {
            xid: None,
            op,
            body,
            cut: None,
            into: None,
            with_next: false,
        }
    }

    /// Whether it can change anything that other clients see.
    pub(crate) fn writes(&self) -> bool {
        !matches!(
            self.op,
            op::EXISTS
                | op::GET_DATA
                | op::GET_ACL
                | op::GET_CHILDREN
                | op::GET_CHILDREN2
                | op::SYNC
                | op::PING
                | op::GET_EPHEMERALS
                | op::GET_ALL_CHILDREN_NUMBER
                | op::WHO_AM_I
                | op::AUTH
        )
    }

    /// Whether its answer comes in its turn, the connection goes on after it, and what comes right
    /// behind sees what it did. One that is too long takes the answers to earlier ones away with
    /// the connection; for setACL and multi see `tolerated.txt`.
    pub(crate) fn is_orderly(&self) -> bool {
        let known = NAMES.iter().any(|(_, op)| *op == self.op);
        let fits = self.body.fill().is_none();
        known
            && fits
            && !matches!(
                self.op,
                op::AUTH | op::SASL | op::CLOSE_SESSION | op::SET_ACL | op::MULTI
            )
    }
}

impl Body {
    /// How long the whole frame is to be made.
    pub(crate) fn fill(&self) -> Option<usize> {
        let fields: Vec<&Field> = match self {
            Self::Fields(fields) => fields.iter().collect(),
            Self::Ops(ops) => ops.iter().flat_map(|(_, fields)| fields).collect(),
        };
        fields.into_iter().find_map(|field| match field {
            Field::Fill(len) => Some(*len),
            _ => None,
        })
    }
}

/// The operations, under the names that the protocol has for them.
pub(crate) const NAMES: [(&str, i32); 29] = [
    ("create", op::CREATE),
    ("delete", op::DELETE),
    ("exists", op::EXISTS),
    ("getData", op::GET_DATA),
    ("setData", op::SET_DATA),
    ("getACL", op::GET_ACL),
    ("setACL", op::SET_ACL),
    ("getChildren", op::GET_CHILDREN),
    ("sync", op::SYNC),
    ("ping", op::PING),
    ("getChildren2", op::GET_CHILDREN2),
    ("check", op::CHECK),
    ("multi", op::MULTI),
    ("create2", op::CREATE2),
    ("reconfig", op::RECONFIG),
    ("checkWatches", op::CHECK_WATCHES),
    ("removeWatches", op::REMOVE_WATCHES),
    ("createContainer", op::CREATE_CONTAINER),
    ("createTTL", op::CREATE_TTL),
    ("multiRead", op::MULTI_READ),
    ("auth", op::AUTH),
    ("setWatches", op::SET_WATCHES),
    ("sasl", op::SASL),
    ("getEphemerals", op::GET_EPHEMERALS),
    ("getAllChildrenNumber", op::GET_ALL_CHILDREN_NUMBER),
    ("setWatches2", op::SET_WATCHES2),
    ("addWatch", op::ADD_WATCH),
    ("whoAmI", op::WHO_AM_I),
    ("closeSession", op::CLOSE_SESSION),
];

pub(crate) fn name(op: i32) -> String {
    let known = NAMES.iter().find(|(_, code)| *code == op);
    known.map_or_else(|| format!("op{op}"), |(name, _)| (*name).to_owned())
}

fn code(name: &str) -> Option<i32> {
    let known = NAMES.iter().find(|(known, _)| *known == name);
    match known {
        Some((_, code)) => Some(*code),
        None => name.strip_prefix("op")?.parse().ok(),
    }
}

// ---- writing -----------------------------------------------------------------------------------

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|act| writeln!(f, "{act}"))
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.client)?;
        match &self.what {
            What::Request(request) => write!(f, "{request}"),
            What::Raw(bytes) => write!(f, "raw {}", Field::Bytes(bytes.clone())),
            What::Handshake(fields) => write!(f, "handshake{}", Spaced(fields)),
            What::Reconnect => f.write_str("reconnect"),
            What::Intrude => f.write_str("intrude"),
            What::Drop => f.write_str("drop"),
            What::Haunt => f.write_str("haunt"),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(xid) = self.xid {
            write!(f, "xid={xid} ")?;
        }
        f.write_str(&name(self.op))?;
        match &self.body {
            Body::Fields(fields) => write!(f, "{}", Spaced(fields))?,
            Body::Ops(ops) => {
                let one =
                    |(op, fields): &(i32, Vec<Field>)| name(*op) + &Spaced(fields).to_string();
                let ops: Vec<_> = ops.iter().map(one).collect();
                write!(f, " {{ {} }}", ops.join("; "))?;
            }
        }
        if let Some(cut) = self.cut {
            write!(f, " cut {cut}")?;
        }
        if let Some(into) = self.into {
            write!(f, " -> ${into}")?;
        }
        f.write_str(if self.with_next { " +" } else { "" })
    }
}

/// Fields with a space before each.
struct Spaced<'a>(&'a [Field]);

impl fmt::Display for Spaced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|field| write!(f, " {field}"))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Long(number) => write!(f, "{number}L"),
            Self::Byte(byte) => write!(f, "{byte}b"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Bytes(bytes) => {
                f.write_str("x\"")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("\"")
            }
            Self::Null => f.write_str("null"),
            Self::Version(version) => write!(f, "v{version}"),
            Self::SeenVersion => f.write_str("v="),
            Self::Since(since) => write!(f, "@{since}"),
            Self::List(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|entry| Spaced(entry).to_string())
                    .collect();
                write!(f, "[{}]", entries.join(",").trim_start())
            }
            Self::Fill(len) => write!(f, "fill:{len}"),
        }
    }
}

// ---- reading -----------------------------------------------------------------------------------

impl Program {
    /// Reads what `Display` has written, or somebody by hand.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut acts = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let act = Act::parse(line).map_err(|why| format!("line {}: {why}: {line}", number + 1));
            acts.push(act?);
        }
        Ok(Self(acts))
    }
}

impl Act {
    fn parse(line: &str) -> Result<Self, String> {
        let mut tokens = Tokens::new(line)?;
        let client = tokens.next().and_then(|token| token.parse().ok());
        let client = client.ok_or("no number of a client")?;
        let xid = tokens.peek().and_then(|token| token.strip_prefix("xid="));
        let xid = xid
            .map(|xid| xid.parse().map_err(|_| "not an xid"))
            .transpose()?;
        if xid.is_some() {
            tokens.next();
        }
        let verb = tokens.next().ok_or("no act")?;
        let what = match verb.as_str() {
            "reconnect" => What::Reconnect,
            "intrude" => What::Intrude,
            "drop" => What::Drop,
            "haunt" => What::Haunt,
            "handshake" => What::Handshake(tokens.fields()?),
            "raw" => match tokens.field()? {
                Field::Bytes(bytes) => What::Raw(bytes),
                _ => return Err("raw takes x\"…\"".into()),
            },
            verb => {
                let op = code(verb).ok_or_else(|| format!("no such act as {verb}"))?;
                let mut request = Request::new(op, tokens.body()?);
                request.xid = xid;
                tokens.ending(&mut request)?;
                What::Request(request)
            }
        };
        match tokens.next() {
            Some(more) => Err(format!("what is {more}")),
            None => Ok(Self { client, what }),
        }
    }
}

/// The words, texts and brackets of a line.
struct Tokens(std::iter::Peekable<std::vec::IntoIter<String>>);

impl Tokens {
    fn new(line: &str) -> Result<Self, String> {
        let mut tokens: Vec<String> = Vec::new();
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let len = match first {
                '[' | ']' | '{' | '}' | ',' | ';' => 1,
                '"' => text_len(rest)?,
                'x' if rest.starts_with("x\"") => 1 + text_len(&rest[1..])?,
                _ => rest
                    .find(|c: char| c.is_whitespace() || "[]{},;".contains(c))
                    .unwrap_or(rest.len()),
            };
            tokens.push(rest[..len].to_owned());
            rest = rest[len..].trim_start();
        }
        Ok(Self(tokens.into_iter().peekable()))
    }

    fn next(&mut self) -> Option<String> {
        self.0.next()
    }

    fn peek(&mut self) -> Option<&str> {
        self.0.peek().map(String::as_str)
    }

    fn take(&mut self, wanted: &str) -> bool {
        self.0.next_if(|token| token == wanted).is_some()
    }

    fn body(&mut self) -> Result<Body, String> {
        if !self.take("{") {
            return Ok(Body::Fields(self.fields()?));
        }
        let mut ops = Vec::new();
        while !self.take("}") {
            let verb = self.next().ok_or("no }")?;
            let op = code(&verb).ok_or_else(|| format!("no such operation as {verb}"))?;
            ops.push((op, self.fields()?));
            self.take(";");
        }
        Ok(Body::Ops(ops))
    }

    fn ending(&mut self, request: &mut Request) -> Result<(), String> {
        if self.take("cut") {
            let len = self.next().and_then(|token| token.parse().ok());
            request.cut = Some(len.ok_or("cut takes a number")?);
        }
        if self.take("->") {
            let register = self.next();
            let register = register
                .as_deref()
                .and_then(|token| token.strip_prefix('$'));
            let register = register.and_then(|token| token.parse().ok());
            request.into = Some(register.ok_or("-> takes $ and a number")?);
        }
        request.with_next = self.take("+");
        Ok(())
    }

    fn fields(&mut self) -> Result<Vec<Field>, String> {
        let mut fields = Vec::new();
        while let Some(token) = self.peek()
            && !matches!(token, "}" | ";" | "," | "]" | "cut" | "->" | "+")
        {
            fields.push(self.field()?);
        }
        Ok(fields)
    }

    fn field(&mut self) -> Result<Field, String> {
        let token = self.next().ok_or("a field is missing")?;
        if token == "[" {
            return self.list();
        }
        field(&token).ok_or_else(|| format!("not a field: {token}"))
    }

    fn list(&mut self) -> Result<Field, String> {
        let mut entries = Vec::new();
        while !self.take("]") {
            let entry = self.fields()?;
            if entry.is_empty() {
                return Err("no ]".into());
            }
            entries.push(entry);
            self.take(",");
        }
        Ok(Field::List(entries))
    }
}

/// How long the text at the beginning is, with both its quotes.
fn text_len(rest: &str) -> Result<usize, String> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return Ok(at + 1),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    Err("a text without an end".into())
}

fn field(token: &str) -> Option<Field> {
    if token == "null" {
        return Some(Field::Null);
    }
    if token == "v=" {
        return Some(Field::SeenVersion);
    }
    let inner = |token: &str| {
        token
            .strip_prefix('"')?
            .strip_suffix('"')
            .map(str::to_owned)
    };
    if let Some(text) = inner(token) {
        return unescape(&text).map(Field::Text);
    }
    if let Some(digits) = token.strip_prefix('x') {
        return from_hex(&inner(digits)?).map(Field::Bytes);
    }
    if let Some(version) = token.strip_prefix('v') {
        return version.parse().ok().map(Field::Version);
    }
    if let Some(since) = token.strip_prefix('@') {
        return since.parse().ok().map(Field::Since);
    }
    if let Some(len) = token.strip_prefix("fill:") {
        return len.parse().ok().map(Field::Fill);
    }
    if let Some(number) = token.strip_suffix('L') {
        return number.parse().ok().map(Field::Long);
    }
    if let Some(byte) = token.strip_suffix('b') {
        return byte.parse().ok().map(Field::Byte);
    }
    token.parse().ok().map(Field::Int)
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

/// The inverse of what `Debug` does to a string.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        plain.push(match rest.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            'u' => {
                let digits: String = rest.by_ref().take_while(|c| *c != '}').collect();
                let digits = digits.strip_prefix('{')?;
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            other => other,
        });
    }
    Some(plain)
}
