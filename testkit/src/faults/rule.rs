//! What goes wrong, where, and on which connections.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::faults::text::FaultsError;

/// How many notifications one [`Fault::Storm`] may have.
pub(crate) const STORM_MAX: u32 = 100_000;

/// The longest time that a fault may take.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Which way bytes go.
///
/// ```
/// use homing_testkit::faults::Way;
/// assert_eq!(Way::ToClient.to_string(), "to client");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// What clients send: handshakes, requests, pings.
    ToServer,
    /// What servers send: replies and notifications.
    ToClient,
}

impl Way {
    /// Where the bytes come from that the other ones answer.
    #[must_use]
    pub fn back(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// A number that is replaced, or moved by so much.
///
/// ```
/// use homing_testkit::faults::Change;
/// assert_eq!((Change::By(-1).of(7), Change::To(3).of(7)), (6, 3));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// So much more, or less.
    By(i64),
    /// This, whatever it was.
    To(i64),
}

impl Change {
    /// What becomes of a number.
    #[must_use]
    pub fn of(self, number: i64) -> i64 {
        match self {
            Self::By(difference) => number.wrapping_add(difference),
            Self::To(other) => other,
        }
    }
}

/// What goes wrong. The [table](crate::faults#what-can-go-wrong) has an example of each.
///
/// A fault becomes a [`Rule`] with the first method that says where it strikes.
///
/// ```
/// use homing_testkit::faults::{Fault, Point};
/// let rule = Fault::Cut.to_client().at(Point::Byte(1_200));
/// assert_eq!(rule.to_string(), "cut to client at byte 1200");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nobody listens while the script is in force: connections are refused by the system. Those
    /// that are there stay.
    Refuse,
    /// The connection is closed, both ways.
    Cut,
    /// The connection is reset, both ways.
    Reset,
    /// One way comes to its end, and the other one goes on.
    HalfClose,
    /// Nothing passes any more, either way, for so long or for good. The connection stays open.
    Hang(Option<Duration>),
    /// Nothing passes any more, one way, for so long or for good.
    Stall(Option<Duration>),
    /// Everything takes so much longer, or, at a point, one frame and what is behind it. Where the
    /// two differ, each frame is delayed by its own time in between. Order stays.
    Delay(RangeInclusive<Duration>),
    /// So many bytes pass in a second, 1 at least.
    Throttle(u64),
    /// One byte is another: that at the point, or any one of a frame's but its length.
    Corrupt,
    /// So many bytes of a frame are left, and its length says so.
    Truncate(usize),
    /// A frame comes twice.
    Duplicate,
    /// A frame changes places with the next one.
    Reorder,
    /// A frame does not come.
    Drop,
    /// A frame says that it has this length.
    Length(i32),
    /// The first number in a frame's body, mostly a length or a count, is this one.
    Count(i32),
    /// The xid of a request or a reply is another.
    Xid(Change),
    /// The zxid of a reply is another.
    Zxid(Change),
    /// A reply has this error and no body; with 0 the error alone is another.
    Error(i32),
    /// The session's id in the answer to a handshake is another.
    Session(Change),
    /// Notifications that nobody made come before a frame: so many, 100,000 at most, all of them
    /// "the data of this path has changed".
    Storm {
        /// How many.
        events: u32,
        /// Of which path.
        path: String,
    },
    /// The connection's session is ended by somebody else, before the frame goes on; before a
    /// handshake, that which it is to take up.
    ///
    /// A real server closes the connection meanwhile, and what the client has sent just before may
    /// be lost with it. The same goes for [`Move`](Self::Move).
    Expire,
    /// The connection's session is taken up by somebody else, before the frame goes on: the server
    /// closes this connection, and the session lives.
    Move,
}

impl Fault {
    /// This fault to what clients send.
    pub fn to_server(self) -> Rule {
        Rule::from(self).to_server()
    }

    /// This fault to what servers send.
    pub fn to_client(self) -> Rule {
        Rule::from(self).to_client()
    }

    /// This fault at a point.
    pub fn at(self, point: Point) -> Rule {
        Rule::from(self).at(point)
    }

    /// This fault on some connections.
    pub fn on(self, connections: Connections) -> Rule {
        Rule::from(self).on(connections)
    }

    /// Where it strikes if nothing is said.
    fn usual_place(&self) -> (Way, Point) {
        match self {
            Self::Expire | Self::Move => (Way::ToServer, Point::nth(Kind::Request, 1)),
            Self::Session(_) => (Way::ToClient, Point::each(Kind::Resumption)),
            _ => (Way::ToClient, Point::Start),
        }
    }

    /// How long it lasts at most.
    fn time(&self) -> Duration {
        match self {
            Self::Hang(time) | Self::Stall(time) => time.unwrap_or_default(),
            Self::Delay(range) => *range.end(),
            _ => Duration::ZERO,
        }
    }

    /// It changes frames, or comes with one.
    fn needs_a_frame(&self) -> bool {
        !matches!(
            self,
            Self::Refuse
                | Self::Cut
                | Self::Reset
                | Self::HalfClose
                | Self::Hang(_)
                | Self::Stall(_)
                | Self::Delay(_)
                | Self::Throttle(_)
                | Self::Corrupt
        )
    }
}

/// Where in a connection a fault strikes.
///
/// ```
/// use homing_testkit::faults::{Fault, Kind, Point};
/// let rule = Fault::Drop.at(Point::nth(Kind::Event, 3));
/// assert_eq!(rule.to_string(), "drop at event 3");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Point {
    /// When the connection is made; at once on those that are there when the script is set.
    Start,
    /// When so many bytes have passed that way, on each connection; 1 is the first.
    Byte(u64),
    /// At frames of a kind: before one, or to one.
    Frame {
        /// Of which kind.
        kind: Kind,
        /// Which of them, from 1, or each.
        nth: Option<u64>,
    },
}

impl Point {
    /// At every frame of a kind.
    pub fn each(kind: Kind) -> Self {
        Self::Frame { kind, nth: None }
    }

    /// At the `nth` frame of a kind, from 1. Frames of [any kind](Kind::Frame) are counted on
    /// each connection, all others over all connections that the rule is for, from when the script
    /// was set.
    pub fn nth(kind: Kind, nth: u64) -> Self {
        let nth = Some(nth);
        Self::Frame { kind, nth }
    }
}

/// What a frame is. On the way to the client, requests stand for their replies.
///
/// ```
/// use homing_testkit::faults::{Fault, Kind, Point};
/// let kind = Kind::operation("getData").unwrap();
/// assert_eq!(Fault::Duplicate.at(Point::each(kind)).to_string(), "duplicate at getData");
/// assert_eq!(Kind::operation("getDate"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Anything.
    Frame,
    /// The first frame of a connection, either way.
    Handshake,
    /// The same where it takes up a session that was there before.
    Resumption,
    /// A notification of a watch.
    Event,
    /// What a user may have asked for: all but handshakes, pings, authentications, and the watches
    /// that are set anew behind a handshake.
    Request,
    /// A request that changes nothing.
    Read,
    /// A request that changes something: `create` and its like, `delete`, `setData`, `setACL`,
    /// `multi`, `reconfig`.
    Write,
    /// An operation, or its like: `create` is any of four, `getChildren` and `setWatches` any of
    /// two.
    Operation(Operation),
}

impl Kind {
    /// An operation by ZooKeeper's name: `create`, `getData`, `setACL`, `ping`, …
    pub fn operation(name: &str) -> Option<Self> {
        let mut all = OPERATIONS.iter();
        let named = all.find(|(known, _)| *known == name);
        named.map(|(name, codes)| Self::Operation(Operation { name, codes }))
    }
}

/// Operations that have a name in common.
///
/// ```
/// use homing_testkit::faults::Kind;
/// let Some(Kind::Operation(create)) = Kind::operation("create") else { panic!() };
/// assert_eq!(create.name(), "create");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    name: &'static str,
    pub(crate) codes: &'static [i32],
}

impl Operation {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// All there are, by their names.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        OPERATIONS.iter().map(|(name, _)| *name)
    }
}

/// Names of operations, and the codes that they stand for.
const OPERATIONS: &[(&str, &[i32])] = {
    use homing_protocol::op::*;
    &[
        ("create", &[CREATE, CREATE2, CREATE_CONTAINER, CREATE_TTL]),
        ("create2", &[CREATE2]),
        ("createContainer", &[CREATE_CONTAINER]),
        ("createTTL", &[CREATE_TTL]),
        ("delete", &[DELETE]),
        ("exists", &[EXISTS]),
        ("getData", &[GET_DATA]),
        ("setData", &[SET_DATA]),
        ("getACL", &[GET_ACL]),
        ("setACL", &[SET_ACL]),
        ("getChildren", &[GET_CHILDREN, GET_CHILDREN2]),
        ("getChildren2", &[GET_CHILDREN2]),
        ("sync", &[SYNC]),
        ("ping", &[PING]),
        ("check", &[CHECK]),
        ("multi", &[MULTI]),
        ("multiRead", &[MULTI_READ]),
        ("reconfig", &[RECONFIG]),
        ("checkWatches", &[CHECK_WATCHES]),
        ("removeWatches", &[REMOVE_WATCHES]),
        ("addWatch", &[ADD_WATCH]),
        ("setWatches", &[SET_WATCHES, SET_WATCHES2]),
        ("setWatches2", &[SET_WATCHES2]),
        ("auth", &[AUTH]),
        ("sasl", &[SASL]),
        ("getEphemerals", &[GET_EPHEMERALS]),
        ("getAllChildrenNumber", &[GET_ALL_CHILDREN_NUMBER]),
        ("whoAmI", &[WHO_AM_I]),
        ("closeSession", &[CLOSE_SESSION]),
    ]
};

/// Which connections a rule is for. They are counted from 1 since the script was set; those that
/// were there before all have the number 0.
///
/// ```
/// use homing_testkit::faults::{Connections, Fault};
/// let rule = Fault::Cut.on(Connections::Every(3));
/// assert_eq!(rule.to_string(), "cut on every 3rd connection");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connections {
    /// Every one.
    All,
    /// From one to another.
    Range(RangeInclusive<u64>),
    /// Every so manyth: with 3 the third, the sixth, and so on. With 0 none.
    Every(u64),
}

impl Connections {
    /// That one alone.
    pub fn nth(number: u64) -> Self {
        Self::Range(number..=number)
    }

    pub(crate) fn contain(&self, number: u64) -> bool {
        match self {
            Self::All => true,
            Self::Range(range) => range.contains(&number),
            Self::Every(step) => number > 0 && *step > 0 && number.is_multiple_of(*step),
        }
    }
}

/// One line of a script: a fault, and where and how often it strikes.
///
/// ```
/// use homing_testkit::faults::{Connections, Fault, Kind, Point};
/// let rule = Fault::Cut
///     .to_client()
///     .at(Point::nth(Kind::Write, 2))
///     .on(Connections::nth(1))
///     .chance(0.25);
/// assert_eq!(rule.to_string(), "cut to client at write 2 on connection 1 with 25%");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a rule does nothing until it is part of a script"]
pub struct Rule {
    pub(crate) fault: Fault,
    /// `None` where it is the usual one.
    pub(crate) way: Option<Way>,
    /// `None` where it is the usual one.
    pub(crate) point: Option<Point>,
    pub(crate) connections: Connections,
    /// In millionths.
    pub(crate) chance: u32,
    pub(crate) times: Option<u64>,
}

/// A certainty, in millionths.
pub(crate) const CERTAIN: u32 = 1_000_000;

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            way: None,
            point: None,
            connections: Connections::All,
            chance: CERTAIN,
            times: None,
        }
    }
}

impl Rule {
    /// Strikes what clients send. [`Fault::Expire`] and [`Fault::Move`] do so anyway.
    pub fn to_server(mut self) -> Self {
        self.way = Some(Way::ToServer);
        self
    }

    /// Strikes what servers send, as most faults do anyway.
    pub fn to_client(mut self) -> Self {
        self.way = Some(Way::ToClient);
        self
    }

    /// Strikes at a point. The start by default, where the fault makes sense there.
    pub fn at(mut self, point: Point) -> Self {
        self.point = Some(point);
        self
    }

    /// Strikes on some connections. On all by default.
    pub fn on(mut self, connections: Connections) -> Self {
        self.connections = connections;
        self
    }

    /// Strikes with this probability, a millionth to 1 and to a millionth, wherever it could. The
    /// dice are the script's [seed](crate::faults::Faults::seed).
    pub fn chance(mut self, probability: f64) -> Self {
        let millionths = (probability.clamp(0.0, 1.0) * f64::from(CERTAIN)).round();
        // A NaN never strikes, which the check refuses.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and a million"
        )]
        let chance = millionths as u32;
        self.chance = chance;
        self
    }

    /// Strikes so many times, once at least, over all connections, and never again.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    pub(crate) fn strikes(&self) -> (Way, Point) {
        let (way, point) = self.fault.usual_place();
        let way = self.way.unwrap_or(way);
        (way, self.point.clone().unwrap_or(point))
    }

    /// Whether it can strike at all.
    pub(crate) fn check(&self) -> Result<(), FaultsError> {
        let (way, point) = self.strikes();
        let wrong = |what: &str| Err(FaultsError::rule(self, what));
        if self.fault == Fault::Refuse && *self != Self::from(Fault::Refuse) {
            return wrong("nobody listens at all: nothing can be said of where");
        }
        if self.fault.needs_a_frame() && !matches!(point, Point::Frame { .. }) {
            return wrong("needs a frame: say which, as in \"at frame 2\" or \"at getData\"");
        }
        if matches!((&self.fault, &point), (Fault::Corrupt, Point::Start)) {
            return wrong("needs a byte or a frame: say \"at byte 7\" or \"at ping\"");
        }
        if matches!(point, Point::Byte(0)) {
            return wrong(
                "bytes are counted from 1: leave the point out to strike before the first",
            );
        }
        if matches!((&self.fault, &point), (Fault::Delay(_), Point::Byte(_))) {
            return wrong("delays frames: say \"at\" with a frame, or nothing for all");
        }
        if let Some(what) = self.never() {
            return wrong(what);
        }
        if matches!(point, Point::Frame { nth: Some(0), .. }) {
            return wrong("frames are counted from 1");
        }
        if matches!(
            point,
            Point::Frame {
                kind: Kind::Event,
                ..
            }
        ) && way == Way::ToServer
        {
            return wrong("events go to clients alone");
        }
        match &self.fault {
            Fault::Zxid(_) | Fault::Error(_) | Fault::Session(_) | Fault::Storm { .. }
                if way == Way::ToServer =>
            {
                wrong("is what a server says: it goes \"to client\"")
            }
            Fault::Expire | Fault::Move if way == Way::ToClient => {
                wrong("strikes before a request: it goes \"to server\"")
            }
            Fault::Session(_) if !is_handshake(&point) => {
                wrong("is said in a handshake: \"at handshake\" or \"at resumption\"")
            }
            Fault::Xid(_) | Fault::Zxid(_) | Fault::Error(_) if is_first(&point) => {
                wrong("has no place in a handshake: say a later frame, as in \"at request 1\"")
            }
            Fault::Move if is_first(&point) => {
                wrong("changes nothing before a handshake, which takes the session back")
            }
            Fault::Storm { events, .. } if *events > STORM_MAX => {
                wrong("has 100000 events at most")
            }
            Fault::Storm { path, .. } if !is_one_word(path) => {
                wrong("has a path that begins with / and has no space, ; or # in it")
            }
            Fault::Delay(range) if range.is_empty() => wrong("ends before it begins"),
            fault if fault.time() > TIME_MAX => wrong("is too long: it takes a day at most"),
            _ => Ok(()),
        }
    }

    /// Why it strikes nowhere or changes nothing, whatever the fault.
    fn never(&self) -> Option<&'static str> {
        match &self.connections {
            Connections::Every(0) => {
                return Some("connections are counted from 1: there is no 0th");
            }
            Connections::Range(range) if range.is_empty() => {
                return Some("its connections end before they begin: say the lower one first");
            }
            _ => {}
        }
        if self.times == Some(0) {
            return Some("never strikes: 0 times is not at all, so leave it out");
        }
        if self.chance == 0 {
            return Some("never strikes: the least probability is 0.0001%; or leave it out");
        }
        match &self.fault {
            Fault::Throttle(0) => {
                Some("lets nothing pass: say \"stall\", or 1 byte a second at least")
            }
            Fault::Storm { events: 0, .. } => Some("is no storm without an event: say 1 at least"),
            Fault::Xid(Change::By(0))
            | Fault::Zxid(Change::By(0))
            | Fault::Session(Change::By(0)) => {
                Some("changes nothing: say another number than 0, or \"=0\"")
            }
            Fault::Hang(Some(Duration::ZERO)) | Fault::Stall(Some(Duration::ZERO)) => {
                Some("takes no time: say how long, or nothing for good")
            }
            Fault::Delay(range) if *range == (Duration::ZERO..=Duration::ZERO) => {
                Some("takes no time: say how long")
            }
            _ => None,
        }
    }
}

fn is_handshake(point: &Point) -> bool {
    let Point::Frame { kind, .. } = point else {
        return false;
    };
    matches!(kind, Kind::Handshake | Kind::Resumption)
}

/// Whether only a connection's first frame is meant.
fn is_first(point: &Point) -> bool {
    let first = Point::nth(Kind::Frame, 1);
    is_handshake(point) || *point == first
}

fn is_one_word(path: &str) -> bool {
    let separates = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ';' | '#');
    path.starts_with('/') && !path.contains(separates)
}
