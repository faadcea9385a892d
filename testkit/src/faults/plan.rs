//! A script in force: what its rules have counted, and its dice.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::faults::Faults;
use crate::faults::rule::{CERTAIN, Fault, Kind, Point, Rule, Way};
use crate::faults::tracker::Seen;

/// A script that is in force, shared by all connections.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    seed: u64,
    pub(crate) lines: Vec<Line>,
    /// How many connections have been made under it.
    connections: AtomicU64,
    /// How many that were there before have come under it.
    earlier: AtomicU64,
}

/// Which connection it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Number {
    /// As rules count: from 1, and 0 for all that were there before.
    counted: u64,
    /// To the dice each is another.
    dice: u64,
}

/// A rule and what it has counted.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) rule: Rule,
    pub(crate) way: Way,
    pub(crate) point: Point,
    /// Frames of its kind, on all connections that it is for.
    met: AtomicU64,
    struck: AtomicU64,
}

/// A place where a fault may strike, as far as it matters to the dice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) connection: Number,
    pub(crate) way: Way,
    /// Which frame of the connection that way, from 1; 0 for what is no frame.
    pub(crate) frame: u64,
}

impl Plan {
    pub(crate) fn new(faults: &Faults) -> Self {
        let lines = faults.rules.iter().map(|rule| {
            let (way, point) = rule.strikes();
            Line {
                rule: rule.clone(),
                way,
                point,
                met: AtomicU64::new(0),
                struck: AtomicU64::new(0),
            }
        });
        Self {
            seed: faults.seed,
            lines: lines.collect(),
            connections: AtomicU64::new(0),
            earlier: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The number of the next connection.
    pub(crate) fn next_connection(&self) -> Number {
        let counted = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let dice = counted;
        Number { counted, dice }
    }

    /// The number of the next one that was there before.
    pub(crate) fn earlier_connection(&self) -> Number {
        let counted = 0;
        // As far from those that are counted as can be.
        let dice = u64::MAX - self.earlier.fetch_add(1, Ordering::Relaxed);
        Number { counted, dice }
    }

    /// Whether nobody is to listen.
    pub(crate) fn refuses(&self) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|line| line.rule.fault == Fault::Refuse)
    }

    /// The rules that strike a connection when it begins.
    pub(crate) fn at_start(&self, connection: Number) -> Vec<usize> {
        let at = |way| Place {
            connection,
            way,
            frame: 0,
        };
        let lines = self.numbered(connection);
        let lines = lines.filter(|(_, line)| line.point == Point::Start);
        let hit = lines.filter(|(index, line)| self.dice(*index, at(line.way)).hit(line));
        hit.map(|(index, _)| index).collect()
    }

    /// The bytes at which rules strike a connection, in their order.
    pub(crate) fn at_bytes(&self, connection: Number, way: Way) -> Vec<(u64, usize)> {
        let lines = self
            .numbered(connection)
            .filter(|(_, line)| line.way == way);
        let marks = lines.filter_map(|(index, line)| match line.point {
            Point::Byte(byte) => Some((byte, index)),
            _ => None,
        });
        let frame = 0;
        let place = Place {
            connection,
            way,
            frame,
        };
        let mut marks: Vec<_> = marks
            .filter(|(_, index)| {
                let line = self.lines.get(*index);
                line.is_some_and(|line| self.dice(*index, place).hit(line))
            })
            .collect();
        marks.sort_unstable();
        marks
    }

    /// The rules that strike a frame.
    pub(crate) fn at_frame(&self, place: Place, seen: &Seen) -> Vec<usize> {
        let lines = self.numbered(place.connection);
        let lines = lines.filter(|(_, line)| line.way == place.way);
        let lines = lines.filter(|(_, line)| line.meets(place, seen));
        let hit = lines.filter(|(index, line)| self.dice(*index, place).hit(line));
        hit.map(|(index, _)| index).collect()
    }

    /// Something that no seed has told before, for what a fault leaves open.
    pub(crate) fn number(&self, index: usize, place: Place) -> u64 {
        self.dice(index, place).roll()
    }

    fn numbered(&self, connection: Number) -> impl Iterator<Item = (usize, &Line)> {
        let lines = self.lines.iter().enumerate();
        let counted = connection.counted;
        lines.filter(move |(_, line)| line.rule.connections.contain(counted))
    }

    /// Dice that know nothing of what else happens: connections do not disturb each other.
    fn dice(&self, index: usize, place: Place) -> Dice {
        let way = match place.way {
            Way::ToServer => 0,
            Way::ToClient => 1,
        };
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        let parts = [index, place.connection.dice, way, place.frame];
        let mix = |dice: u64, part| splitmix(dice ^ splitmix(part));
        Dice(parts.into_iter().fold(splitmix(self.seed), mix))
    }
}

impl Line {
    fn meets(&self, place: Place, seen: &Seen) -> bool {
        let Point::Frame { kind, nth } = self.point else {
            return false;
        };
        if !seen.is(kind) {
            return false;
        }
        let met = self.met.fetch_add(1, Ordering::Relaxed) + 1;
        let count = match kind {
            Kind::Frame => place.frame,
            _ => met,
        };
        nth.is_none_or(|nth| nth == count)
    }

    /// Whether it may strike once more.
    pub(crate) fn is_left(&self) -> bool {
        let times = self.rule.times.unwrap_or(u64::MAX);
        self.struck.load(Ordering::Relaxed) < times
    }

    /// It has struck.
    pub(crate) fn strike(&self) {
        self.struck.fetch_add(1, Ordering::Relaxed);
    }
}

/// A strike that may turn out to be none.
#[derive(Debug)]
pub(crate) struct Strike {
    plan: Arc<Plan>,
    rule: usize,
}

impl Strike {
    pub(crate) fn new(plan: &Arc<Plan>, rule: usize) -> Self {
        let plan = Arc::clone(plan);
        Self { plan, rule }
    }

    /// What has struck.
    pub(crate) fn rule(&self) -> Option<&Rule> {
        self.plan.lines.get(self.rule).map(|line| &line.rule)
    }

    /// It has not: nothing came of it.
    pub(crate) fn take_back(&self) {
        if let Some(line) = self.plan.lines.get(self.rule) {
            line.struck.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Dice(u64);

impl Dice {
    fn hit(self, line: &Line) -> bool {
        self.0 % u64::from(CERTAIN) < u64::from(line.rule.chance)
    }

    /// Another number than that which decides whether there is a fault at all.
    fn roll(self) -> u64 {
        splitmix(self.0)
    }
}

/// Steele, Lea and Flood's SplitMix64: one step from a number to one that looks like chance.
fn splitmix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// How often each rule of a script has struck, so that a test can tell that it did. It goes on
/// counting, and costs nothing to clone.
///
/// ```
/// use homing_testkit::FakeServer;
/// let server = FakeServer::start();
/// let strikes = server.faults("cut on connection 1; hang on connection 2".parse()?);
/// assert_eq!((strikes.of(1), strikes.total()), (0, 0));
/// assert_eq!(strikes.to_string(), "0 × cut on connection 1; 0 × hang on connection 2");
/// # Ok::<(), homing_testkit::faults::FaultsError>(())
/// ```
#[derive(Clone)]
pub struct Strikes(pub(crate) Arc<Plan>);

impl Strikes {
    /// How often a rule has struck; 1 is the script's first. 0 where there is none.
    pub fn of(&self, rule: usize) -> u64 {
        let line = rule.checked_sub(1).and_then(|at| self.0.lines.get(at));
        line.map_or(0, |line| line.struck.load(Ordering::Relaxed))
    }

    /// How often any has struck.
    pub fn total(&self) -> u64 {
        (1..=self.0.lines.len()).map(|rule| self.of(rule)).sum()
    }
}

impl fmt::Display for Strikes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.0.lines.iter().zip(1..);
        let counted = lines.map(|(line, rule)| format!("{} × {}", self.of(rule), line.rule));
        f.write_str(&counted.collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Debug for Strikes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Strikes({self})")
    }
}
