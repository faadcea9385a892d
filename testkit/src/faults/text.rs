//! Scripts as text: reading them, writing them, and saying what is wrong with one.

use std::collections::BTreeSet;
use std::fmt;
use std::iter::Peekable;
use std::str::FromStr;
use std::time::Duration;
use std::vec::IntoIter;

use crate::faults::Faults;
use crate::faults::rule::{CERTAIN, Change, Connections, Fault, Kind, Operation, Point, Rule, Way};

/// Why a script cannot be used.
///
/// ```
/// use homing_testkit::faults::Faults;
/// let error = "cut; hang on conection 2".parse::<Faults>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "item 2 of the faults, \"hang on conection 2\", at \"conection\": \
///      expected \"connection 2\", \"connections 2-4\" or \"every 3rd connection\""
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultsError {
    /// Which item of the script, from 1.
    item: usize,
    text: String,
    /// Where in the item.
    word: Option<String>,
    what: String,
}

impl FaultsError {
    /// Which item of the script it is, from 1. 0 where a rule was built and is in no script.
    pub fn item(&self) -> usize {
        self.item
    }

    /// A rule that makes no sense.
    pub(crate) fn rule(rule: &Rule, what: &str) -> Self {
        Self {
            item: 0,
            text: rule.to_string(),
            word: None,
            what: what.to_owned(),
        }
    }
}

impl fmt::Display for FaultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            0 => write!(f, "fault {:?}", self.text)?,
            item => write!(f, "item {item} of the faults, {:?}", self.text)?,
        }
        if let Some(word) = &self.word {
            write!(f, ", at {word:?}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for FaultsError {}

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Self, FaultsError> {
        let lines = text
            .lines()
            .map(|line| line.split_once('#').map_or(line, |(code, _)| code));
        let items = lines.flat_map(|line| line.split(';')).map(str::trim);
        let mut items = items.filter(|item| !item.is_empty()).zip(1..);
        let mut has_seed = false;
        items.try_fold(Self::new(), |faults: Self, (text, item)| {
            let located = |error| FaultsError {
                item,
                text: text.to_owned(),
                ..error
            };
            let mut words = Words::new(text);
            if words.take("seed") {
                let seed = words.number("a number: \"seed 42\"").map_err(located)?;
                words.end().map_err(located)?;
                if std::mem::replace(&mut has_seed, true) {
                    let what = "a script has one seed, and there is one above";
                    return wrong(Some("seed"), what).map_err(located);
                }
                return Ok(faults.seed(seed));
            }
            let rule = words.rule().map_err(located)?;
            faults.with(rule).map_err(located)
        })
    }
}

/// What is left of an item.
struct Words<'a>(Peekable<IntoIter<&'a str>>);

impl<'a> Words<'a> {
    fn new(item: &'a str) -> Self {
        let words: Vec<_> = item.split_whitespace().collect();
        Self(words.into_iter().peekable())
    }

    fn rule(&mut self) -> Result<Rule, FaultsError> {
        let mut rule = Rule::from(self.fault()?);
        let mut said = BTreeSet::new();
        let mut before = self.0.clone();
        while let Some(clause) = self.0.next() {
            let what = self.clause(clause, &mut rule)?;
            if !said.insert(what) {
                let taken = before.len() - self.0.len();
                let clause: Vec<_> = before.take(taken).collect();
                let what = format!("{what} has been said already: another fault is another item");
                return wrong(Some(&clause.join(" ")), &what);
            }
            before = self.0.clone();
        }
        Ok(rule)
    }

    /// One of the clauses behind a fault, and what it says of it.
    fn clause(&mut self, clause: &str, rule: &mut Rule) -> Result<&'static str, FaultsError> {
        match clause {
            "to" => {
                rule.way = Some(match self.0.next() {
                    Some("server") => Way::ToServer,
                    Some("client") => Way::ToClient,
                    other => return wrong(other, "expected \"client\" or \"server\""),
                });
                Ok("the way")
            }
            "at" => {
                rule.point = Some(self.point()?);
                Ok("the point")
            }
            "on" => {
                rule.connections = self.connections()?;
                Ok("on which connections")
            }
            "with" => {
                rule.chance = self.chance()?;
                Ok("the probability")
            }
            "once" => {
                rule.times = Some(1);
                Ok("how often")
            }
            count if is_number(count) && self.take("times") => {
                rule.times = Some(number(Some(count), "how often: \"3 times\"")?);
                Ok("how often")
            }
            other => {
                let what = "expected \"to client\", \"to server\", \"at …\", \"on …\", \
                            \"with 10%\", \"once\" or \"3 times\"";
                wrong(Some(other), what)
            }
        }
    }

    fn fault(&mut self) -> Result<Fault, FaultsError> {
        let name = self.0.next().unwrap_or_default();
        Ok(match name {
            "refuse" => Fault::Refuse,
            "cut" => Fault::Cut,
            "reset" => Fault::Reset,
            "half-close" => Fault::HalfClose,
            "hang" => Fault::Hang(self.maybe_duration()),
            "stall" => Fault::Stall(self.maybe_duration()),
            "delay" => self.delay()?,
            "throttle" => {
                Fault::Throttle(self.number("bytes per second, as in \"throttle 1000\"")?)
            }
            "corrupt" => Fault::Corrupt,
            "truncate" => Fault::Truncate(self.number("bytes to be left: \"truncate 20\"")?),
            "duplicate" => Fault::Duplicate,
            "reorder" => Fault::Reorder,
            "drop" => Fault::Drop,
            "length" => Fault::Length(self.number("a number: \"length 2147483647\"")?),
            "count" => Fault::Count(self.number("a number: \"count 2147483647\"")?),
            "xid" => Fault::Xid(self.change("xid")?),
            "zxid" => Fault::Zxid(self.change("zxid")?),
            "error" => Fault::Error(self.number("a code: \"error -7777\"")?),
            "session" => Fault::Session(self.change("session")?),
            "storm" => self.storm()?,
            "expire" => Fault::Expire,
            "move" => Fault::Move,
            other => return wrong(Some(other), &format!("no fault; there are {NAMES}")),
        })
    }

    fn delay(&mut self) -> Result<Fault, FaultsError> {
        let word = self.0.next();
        let range = word.and_then(|word| match word.split_once('-') {
            Some((from, to)) => Some(duration(from)?..=duration(to)?),
            None => duration(word).map(|delay| delay..=delay),
        });
        match range {
            Some(range) => Ok(Fault::Delay(range)),
            None => wrong(word, "expected a time: \"delay 50ms\" or \"delay 10ms-2s\""),
        }
    }

    fn storm(&mut self) -> Result<Fault, FaultsError> {
        let events = self.number("how many events: \"storm 1000 /path\"")?;
        let path = self.0.next_if(|word| word.starts_with('/'));
        Ok(Fault::Storm {
            events,
            path: path.unwrap_or("/").to_owned(),
        })
    }

    fn maybe_duration(&mut self) -> Option<Duration> {
        let word = *self.0.peek()?;
        let duration = duration(word)?;
        self.0.next();
        Some(duration)
    }

    fn change(&mut self, name: &str) -> Result<Change, FaultsError> {
        let what = format!("a change: \"{name} +1\", \"{name} -1\" or \"{name} =7\"");
        match self.0.next() {
            Some(word) if word.starts_with(['+', '-']) => number(Some(word), &what).map(Change::By),
            Some(word) if word.starts_with('=') => {
                number(word.strip_prefix('='), &what).map(Change::To)
            }
            other => wrong(other, &format!("expected {what}")),
        }
    }

    fn point(&mut self) -> Result<Point, FaultsError> {
        let name = self.0.next();
        let kind = match name {
            Some("start") => return Ok(Point::Start),
            Some("byte") => return Ok(Point::Byte(self.number("which byte: \"byte 1200\"")?)),
            Some("frame") => Kind::Frame,
            Some("handshake") => Kind::Handshake,
            Some("resumption") => Kind::Resumption,
            Some("event") => Kind::Event,
            Some("request") => Kind::Request,
            Some("read") => Kind::Read,
            Some("write") => Kind::Write,
            other => match other.and_then(Kind::operation) {
                Some(kind) => kind,
                None => {
                    let operations: Vec<_> = Operation::names().collect();
                    let what = format!(
                        "no point; there are start, byte, frame, handshake, resumption, event, \
                         request, read, write, and the operations {}",
                        operations.join(", ")
                    );
                    return wrong(other, &what);
                }
            },
        };
        Ok(Point::Frame {
            kind,
            nth: self.maybe_nth()?,
        })
    }

    /// A number, unless it begins "3 times".
    fn maybe_nth(&mut self) -> Result<Option<u64>, FaultsError> {
        let mut ahead = self.0.clone();
        if !ahead.next().is_some_and(is_number) || ahead.next() == Some("times") {
            return Ok(None);
        }
        self.number("which of them, from 1: \"write 2\"").map(Some)
    }

    fn connections(&mut self) -> Result<Connections, FaultsError> {
        match self.0.next() {
            Some("connection") => self.number(CONNECTIONS).map(Connections::nth),
            Some("connections") => range(self.0.next()),
            Some("every") => {
                let step = ordinal(self.0.next())?;
                match self.0.next() {
                    Some("connection") => Ok(Connections::Every(step)),
                    other => wrong(other, &format!("expected {CONNECTIONS}")),
                }
            }
            other => wrong(other, &format!("expected {CONNECTIONS}")),
        }
    }

    fn chance(&mut self) -> Result<u32, FaultsError> {
        let word = self.0.next();
        let millionths = word
            .and_then(|word| word.strip_suffix('%'))
            .and_then(millionths);
        let expected = "expected a probability, with four decimals at most: \"with 12.5%\"";
        millionths.map_or_else(|| wrong(word, expected), Ok)
    }

    fn number<T: TryFrom<i128>>(&mut self, what: &str) -> Result<T, FaultsError> {
        number(self.0.next(), what)
    }

    fn take(&mut self, word: &str) -> bool {
        self.0.next_if(|next| *next == word).is_some()
    }

    fn end(&mut self) -> Result<(), FaultsError> {
        match self.0.next() {
            None => Ok(()),
            word => wrong(word, "nothing is expected here"),
        }
    }
}

/// What stands behind "on".
const CONNECTIONS: &str = "\"connection 2\", \"connections 2-4\" or \"every 3rd connection\"";

/// All faults, for whoever has misspelt one.
const NAMES: &str = "refuse, cut, reset, half-close, hang, stall, delay, throttle, corrupt, \
                     truncate, duplicate, reorder, drop, length, count, xid, zxid, error, session, \
                     storm, expire and move";

fn wrong<T>(word: Option<&str>, what: &str) -> Result<T, FaultsError> {
    Err(FaultsError {
        item: 0,
        text: String::new(),
        word: Some(word.unwrap_or("the end").to_owned()),
        what: what.to_owned(),
    })
}

/// Decimal, or hexadecimal behind `0x`; with a sign or without.
fn integer(word: &str) -> Option<i128> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let number = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(sign * i128::from(number))
}

/// Whether a word is a number, of any size.
fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    let (digits, base) = match digits.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base))
}

/// The number that a word is, or what is wrong with it.
fn number<T: TryFrom<i128>>(word: Option<&str>, what: &str) -> Result<T, FaultsError> {
    let number = word.and_then(integer);
    if let Some(number) = number.and_then(|number| T::try_from(number).ok()) {
        return Ok(number);
    }
    let is_negative = word.is_some_and(|word| word.starts_with('-'));
    let why = match word {
        Some(word) if !is_number(word) => "",
        None => "",
        _ if is_negative && T::try_from(-1).is_err() => "is negative; ",
        _ if is_negative => "is too small; ",
        _ => "is too large; ",
    };
    wrong(word, &format!("{why}expected {what}"))
}

fn duration(word: &str) -> Option<Duration> {
    let unit_at = word.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = word.split_at(unit_at);
    if number.is_empty() {
        return None;
    }
    // What is too large for a number is too long as well, and refused as that.
    let number = number.parse().unwrap_or(u64::MAX);
    match unit {
        "ns" => Some(Duration::from_nanos(number)),
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

/// `2-4`, or `2-` for the second and all after it.
fn range(word: Option<&str>) -> Result<Connections, FaultsError> {
    let ends = word.and_then(|word| word.split_once('-'));
    let Some((from, to)) = ends.filter(|(from, _)| !from.is_empty()) else {
        return wrong(word, &format!("expected {CONNECTIONS}"));
    };
    let from = number(Some(from), CONNECTIONS)?;
    let to = match to {
        "" => u64::MAX,
        to => number(Some(to), CONNECTIONS)?,
    };
    Ok(Connections::Range(from..=to))
}

/// `1st`, `2nd`, `3rd`, `4th`.
fn ordinal(word: Option<&str>) -> Result<u64, FaultsError> {
    let digits = word.map(|word| word.trim_end_matches(|c: char| c.is_ascii_lowercase()));
    match digits {
        Some(digits) if is_number(digits) => number(Some(digits), CONNECTIONS),
        _ => wrong(word, &format!("expected {CONNECTIONS}")),
    }
}

/// Percent, with four decimals at most, as millionths.
fn millionths(percent: &str) -> Option<u32> {
    let (whole, part) = percent.split_once('.').unwrap_or((percent, ""));
    if part.len() > 4 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part = format!("{part:0<4}").parse::<u32>().ok()?;
    let whole = whole.parse::<u32>().ok()?.checked_mul(CERTAIN / 100)?;
    whole.checked_add(part).filter(|chance| *chance <= CERTAIN)
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = (self.seed != 0).then(|| format!("seed {}", self.seed));
        let rules = self.rules.iter().map(Rule::to_string);
        f.write_str(&seed.into_iter().chain(rules).collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)?;
        if let Some(way) = self.way {
            write!(f, " {way}")?;
        }
        match &self.point {
            None => {}
            Some(Point::Start) => f.write_str(" at start")?,
            Some(Point::Byte(byte)) => write!(f, " at byte {byte}")?,
            Some(Point::Frame { kind, nth: None }) => write!(f, " at {kind}")?,
            Some(Point::Frame {
                kind,
                nth: Some(nth),
            }) => write!(f, " at {kind} {nth}")?,
        }
        write!(f, "{}", self.connections)?;
        if self.chance != CERTAIN {
            let (whole, part) = (self.chance / 10_000, self.chance % 10_000);
            let part = format!(".{part:04}");
            let part = part.trim_end_matches('0').trim_end_matches('.');
            write!(f, " with {whole}{part}%")?;
        }
        match self.times {
            None => Ok(()),
            Some(1) => f.write_str(" once"),
            Some(times) => write!(f, " {times} times"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse => f.write_str("refuse"),
            Self::Cut => f.write_str("cut"),
            Self::Reset => f.write_str("reset"),
            Self::HalfClose => f.write_str("half-close"),
            Self::Hang(None) => f.write_str("hang"),
            Self::Hang(Some(time)) => write!(f, "hang {}", Shown(*time)),
            Self::Stall(None) => f.write_str("stall"),
            Self::Stall(Some(time)) => write!(f, "stall {}", Shown(*time)),
            Self::Delay(range) if range.start() == range.end() => {
                write!(f, "delay {}", Shown(*range.start()))
            }
            Self::Delay(range) => {
                write!(f, "delay {}-{}", Shown(*range.start()), Shown(*range.end()))
            }
            Self::Throttle(rate) => write!(f, "throttle {rate}"),
            Self::Corrupt => f.write_str("corrupt"),
            Self::Truncate(len) => write!(f, "truncate {len}"),
            Self::Duplicate => f.write_str("duplicate"),
            Self::Reorder => f.write_str("reorder"),
            Self::Drop => f.write_str("drop"),
            Self::Length(len) => write!(f, "length {len}"),
            Self::Count(count) => write!(f, "count {count}"),
            Self::Xid(change) => write!(f, "xid {change}"),
            Self::Zxid(change) => write!(f, "zxid {change}"),
            Self::Error(code) => write!(f, "error {code}"),
            Self::Session(change) => write!(f, "session {change}"),
            Self::Storm { events, path } => write!(f, "storm {events} {path}"),
            Self::Expire => f.write_str("expire"),
            Self::Move => f.write_str("move"),
        }
    }
}

/// A time in its largest unit that has no fraction.
struct Shown(Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];
        let mut units = units.into_iter();
        let (unit, size) = units
            .find(|(_, size)| nanos.is_multiple_of(*size))
            .unwrap_or(("ns", 1));
        write!(f, "{}{unit}", nanos / size)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToServer => "to server",
            Self::ToClient => "to client",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(difference) => write!(f, "{difference:+}"),
            Self::To(number) => write!(f, "={number}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame => "frame",
            Self::Handshake => "handshake",
            Self::Resumption => "resumption",
            Self::Event => "event",
            Self::Request => "request",
            Self::Read => "read",
            Self::Write => "write",
            Self::Operation(operation) => operation.name(),
        })
    }
}

impl fmt::Display for Connections {
    /// With a space in front, or nothing for all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => Ok(()),
            Self::Range(range) if range.start() == range.end() => {
                write!(f, " on connection {}", range.start())
            }
            Self::Range(range) if *range.end() == u64::MAX => {
                write!(f, " on connections {}-", range.start())
            }
            Self::Range(range) => write!(f, " on connections {}-{}", range.start(), range.end()),
            Self::Every(step) => {
                let ending = match (step % 10, step % 100) {
                    (_, 11..=13) => "th",
                    (1, _) => "st",
                    (2, _) => "nd",
                    (3, _) => "rd",
                    _ => "th",
                };
                write!(f, " on every {step}{ending} connection")
            }
        }
    }
}
