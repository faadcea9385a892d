//! Random programs: all operations, most of them with a fair chance to succeed, and some of
//! everything that a server should never be sent.

use homing_protocol::op;

use crate::program::{Act, Body, Field, Program, Request, What};

/// `SplitMix64`: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The nodes that most is about: few, so that acts meet.
const PATHS: [&str; 20] = [
    "/a",
    "/a",
    "/a",
    "/b",
    "/b",
    "/c",
    "/a/x",
    "/a/x",
    "/a/y",
    "/a/x/1",
    "/b/x",
    "/b/x",
    "/b/y",
    "/c/x",
    "/a/s-0000000001",
    "/b/s-0000000002",
    "/",
    "/zookeeper",
    "/zookeeper/z",
    "/zookeeper/quota",
];

/// Those that are named in other ways, are not valid, or behave in a way of their own.
const ODD_PATHS: [&str; 28] = [
    "",
    "a",
    "a/",
    "a/b",
    "/ ",
    "/ /a",
    "//",
    "//a",
    "/a/",
    "/b/",
    "/a//x",
    "/.",
    "/a/..",
    "/a/x/.",
    "/..",
    "/a\0",
    "/a/\u{1}",
    "/a/\u{FFFD}",
    "/\u{1F600}",
    "/zookeeper/",
    "/zookeeper/config",
    "/zookeeper/config/a",
    "/a/b c",
    "/é",
    "/a/s-",
    "/b/s-",
    "/c/s-",
    "/zookeeper/quota/a",
];

/// Limits and stats, as servers of any age understand them.
pub(crate) const LIMITS: [&str; 7] = [
    "count=2,bytes=-1",
    "count=-1,bytes=4",
    "count=3,bytes=10",
    "count=-1,bytes=-1=;byteHardLimit=7;countHardLimit=3",
    "count=1,bytes=1=;byteHardLimit=-1;countHardLimit=2",
    "count=5,bytes=20=;byteHardLimit=20",
    "count=0,bytes=0",
];

/// What is no limit, or hardly one. As stats it would kill a real server, see `tolerated.txt`.
const ODD_LIMITS: [&str; 10] = [
    "",
    "garbage",
    "count=",
    ",count=5",
    ";,",
    "countHardLimit=3;=;",
    "byteHardLimit=7=9=;,",
    "countHardLimit==2",
    "countHardLimit=+3,count=x",
    "countHardLimit=\u{664}",
];

const DIGEST: &str = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";

/// A lone surrogate, and a pair of them as Java writes it, as a path or a user with a password.
const SURROGATES: &[u8] = b"/\xed\xa0\x80\xed\xa0\xbd\xed\xb8\x80:x";

/// How long the longest request may be.
const LONGEST: usize = 0xF_FFFF;

impl Program {
    /// So many acts.
    pub(crate) fn random(random: &mut Random, len: usize) -> Self {
        // Where there are quotas, everybody waits: see `tolerated.txt`.
        let quotas = random.one_in(3);
        let mut acts = groundwork(random, quotas);
        while acts.len() < len {
            let client = random.of(&[0, 0, 0, 0, 1, 1, 1, 2, 2, 3]);
            // One client does several things in a row now and then, without waiting.
            let burst = if random.one_in(12) && !quotas {
                1 + random.below(4)
            } else {
                0
            };
            for _ in 0..burst {
                let request = Make(random, quotas).request();
                acts.push(Act {
                    client,
                    what: What::Request(Request {
                        with_next: true,
                        ..request
                    }),
                });
            }
            let what = what(random, quotas);
            acts.push(Act { client, what });
        }
        acts.truncate(len);
        Self(acts)
    }
}

/// Some nodes to begin with, and a quota.
fn groundwork(random: &mut Random, quotas: bool) -> Vec<Act> {
    let mut paths: Vec<&str> = Vec::new();
    if !random.one_in(4) {
        paths.extend(["/a", "/b", "/a/x", "/b/x", "/c"]);
    }
    if quotas {
        // Without stats nothing is over a limit.
        paths.extend([
            "/zookeeper/quota/a",
            "/zookeeper/quota/a/zookeeper_limits",
            "/zookeeper/quota/a/zookeeper_stats",
        ]);
    }
    let create = |path: &str| {
        let limits = random.of(&LIMITS);
        let text = |text: &str| Field::Text(text.into());
        let fields = vec![text(path), text(limits), open(), Field::Int(0)];
        Act {
            client: 0,
            what: What::Request(Request::new(op::CREATE, Body::Fields(fields))),
        }
    };
    paths.into_iter().map(create).collect()
}

fn what(random: &mut Random, quotas: bool) -> What {
    if !random.one_in(25) {
        return What::Request(Make(random, quotas).request());
    }
    match random.below(16) {
        0..4 => What::Reconnect,
        4..7 => What::Drop,
        7..9 => What::Intrude,
        9..10 => What::Haunt,
        10..13 => {
            let body = Body::Fields(Vec::new());
            What::Request(Request::new(op::CLOSE_SESSION, body))
        }
        13..14 => What::Raw(
            random
                .of(&[
                    // Frames that are nothing, too short for a header, of no possible length, or longer
                    // than any may be.
                    &[0, 0, 0, 0][..],
                    &[0, 0, 0, 3, 1, 2, 3],
                    &[0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0],
                    &[0xff, 0xff, 0xff, 0xff],
                    &[0x80, 0, 0, 0],
                    &[0x7f, 0xff, 0xff, 0xff],
                    &[0, 0x10, 0, 0],
                ])
                .to_vec(),
        ),
        _ => What::Handshake(handshake(random)),
    }
}

fn handshake(random: &mut Random) -> Vec<Field> {
    let session = random.of(&[0, 0, 0, 77, -1]);
    let last_zxid = match random.below(4) {
        0 => Field::Since(1_000_000),
        1 => Field::Long(-1),
        _ => Field::Long(0),
    };
    let password = match random.below(5) {
        0 => Field::Null,
        1 => Field::Bytes(Vec::new()),
        2 => Field::Bytes(vec![5; 7]),
        _ => Field::Bytes(vec![0; 16]),
    };
    let mut fields = vec![
        Field::Int(random.of(&[0, 0, 7, -1])),
        last_zxid,
        Field::Int(random.of(&[30_000, 0, -1, 1, i32::MAX, 5000])),
        Field::Long(session),
        password,
    ];
    match random.below(4) {
        0 => {}
        1 => fields.push(Field::Byte(1)),
        _ => fields.push(Field::Byte(0)),
    }
    if random.one_in(8) {
        fields.truncate(random.below(fields.len()));
    }
    fields
}

/// Makes up requests, those about quotas among them if it is so told.
struct Make<'a>(&'a mut Random, bool);

impl Make<'_> {
    fn request(&mut self) -> Request {
        let op = self.op();
        let mut body = match op {
            op::MULTI | op::MULTI_READ => Body::Ops(self.ops(op)),
            _ => Body::Fields(self.fields(op, false)),
        };
        if let Body::Fields(fields) = &mut body
            && self.0.one_in(40)
        {
            self.spoil(op, fields);
        }
        let mut request = Request::new(op, body);
        if op == op::AUTH {
            request.xid = Some(-4);
        }
        if self.0.one_in(80) {
            request.xid = Some(self.0.of(&[0, -4, -8, -2, 7, i32::MAX, i32::MIN]));
        }
        if self.0.one_in(50) {
            // Cut short anywhere; what is decoded before it counts for nothing.
            request.cut = Some(self.0.below(40));
        }
        if matches!(op, op::CREATE | op::CREATE2 | op::MULTI) && self.0.one_in(2) {
            request.into = Some(self.0.below(4) as u8);
        }
        request
    }

    /// Puts something else in the place of a field: a length that lies, or a body that is read in
    /// other pieces than it was written in. Not where `tolerated.txt` has reasons against it.
    fn spoil(&mut self, op: i32, fields: &mut [Field]) {
        let dangerous = matches!(op, op::ADD_WATCH | op::SET_WATCHES2 | op::CREATE_TTL) || self.1;
        if dangerous || fields.is_empty() {
            return;
        }
        let at = self.0.below(fields.len());
        // A version counts from the beginning of the program, which a bare number does not.
        if matches!(fields[at], Field::Version(_) | Field::SeenVersion) {
            return;
        }
        fields[at] = match self.0.below(8) {
            0 => Field::Null,
            1 => Field::Byte(1),
            2 => Field::Long(-1),
            3 => Field::Text("/a".into()),
            4 => Field::List(vec![vec![Field::Text("/a".into())]]),
            _ => Field::Int(
                self.0
                    .of(&[-2, 1, 3, 0xF_FFFF, 0x10_0000, i32::MAX, i32::MIN]),
            ),
        };
    }

    fn op(&mut self) -> i32 {
        match self.0.below(120) {
            0..18 => self.0.of(&[
                op::CREATE,
                op::CREATE,
                op::CREATE2,
                op::CREATE2,
                op::CREATE_CONTAINER,
                op::CREATE_TTL,
            ]),
            18..26 => op::DELETE,
            26..35 => op::SET_DATA,
            35..42 => op::EXISTS,
            42..51 => op::GET_DATA,
            51..58 => self.0.of(&[op::GET_CHILDREN, op::GET_CHILDREN2]),
            58..62 => op::GET_ACL,
            62..67 => op::SET_ACL,
            67..69 => op::SYNC,
            69..82 => op::MULTI,
            82..85 => op::MULTI_READ,
            85..91 => op::ADD_WATCH,
            91..96 => self.0.of(&[op::CHECK_WATCHES, op::REMOVE_WATCHES]),
            96..102 => self.0.of(&[op::SET_WATCHES, op::SET_WATCHES2]),
            102..104 => op::WHO_AM_I,
            104..106 => op::GET_EPHEMERALS,
            106..108 => op::GET_ALL_CHILDREN_NUMBER,
            108..113 => op::AUTH,
            113..114 => op::RECONFIG,
            114..115 => op::SASL,
            115..116 => op::PING,
            116..117 => self.0.of(&[0, 10, 20, 23, 99, 108, -1, -10, 1000]),
            _ => op::GET_DATA,
        }
    }

    fn ops(&mut self, op: i32) -> Vec<(i32, Vec<Field>)> {
        let odd = self.0.one_in(20);
        let len = self.0.below(5);
        let sub = |make: &mut Self| match (op, odd) {
            (op::MULTI, false) => make.0.of(&[
                op::CREATE,
                op::CREATE,
                op::CREATE2,
                op::CREATE_TTL,
                op::CREATE_CONTAINER,
                op::DELETE,
                op::SET_DATA,
                op::SET_DATA,
                op::CHECK,
                op::CHECK,
            ]),
            (_, false) => make.0.of(&[op::GET_DATA, op::GET_CHILDREN]),
            _ => make
                .0
                .of(&[op::GET_DATA, op::SET_DATA, op::DELETE, op::SYNC]),
        };
        let one = |_| {
            let op = sub(self);
            (op, self.fields(op, true))
        };
        (0..len).map(one).collect()
    }

    fn fields(&mut self, op: i32, in_multi: bool) -> Vec<Field> {
        match op {
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
                self.create(op, in_multi)
            }
            op::DELETE | op::CHECK => vec![self.path(), self.version()],
            op::SET_DATA if self.1 && self.0.one_in(15) => {
                let path = self.quota_path();
                let is_known = path.ends_with("zookeeper_stats");
                let limits = self.limits(!is_known);
                vec![Field::Text(path.into()), limits, self.version()]
            }
            op::SET_DATA => vec![self.path(), self.data(in_multi), self.version()],
            op::EXISTS | op::GET_DATA | op::GET_CHILDREN | op::GET_CHILDREN2 => {
                vec![self.path(), Field::Byte(self.0.of(&[0, 1, 1, 0x80]))]
            }
            op::GET_ACL | op::SYNC | op::GET_ALL_CHILDREN_NUMBER | op::GET_EPHEMERALS => {
                vec![self.path()]
            }
            op::SET_ACL => vec![self.path(), self.acl(false), self.version()],
            op::ADD_WATCH => {
                let path = self.path_to_watch();
                vec![
                    path,
                    Field::Int(self.0.of(&[0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, -1])),
                ]
            }
            op::CHECK_WATCHES | op::REMOVE_WATCHES => {
                vec![
                    self.path(),
                    Field::Int(self.0.of(&[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 4, 5, 0])),
                ]
            }
            op::SET_WATCHES | op::SET_WATCHES2 => self.set_watches(op),
            op::AUTH => self.auth(),
            op::RECONFIG => vec![Field::Null, Field::Null, Field::Null, Field::Long(-1)],
            op::SASL => vec![Field::Int(self.0.of(&[0, -1, 4]))],
            _ => Vec::new(),
        }
    }

    fn create(&mut self, op: i32, in_multi: bool) -> Vec<Field> {
        if self.1 && self.0.one_in(12) && op != op::CREATE_TTL {
            let path = Field::Text(self.quota_path().into());
            return vec![path, self.limits(true), open(), Field::Int(0)];
        }
        let flags = match op {
            // An ephemeral one outside of a multi is not asked for: see `tolerated.txt`.
            op::CREATE_CONTAINER if in_multi => self.0.of(&[4, 4, 4, 0, 1, 2]),
            op::CREATE_CONTAINER => self.0.of(&[4, 4, 4, 4, 0, 2]),
            op::CREATE_TTL => self.0.of(&[5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 0, 1, 4]),
            _ if self.0.one_in(10) => self.0.of(&[4, 5, 6, 7, -1]),
            _ => self.0.of(&[0, 0, 0, 0, 1, 1, 2, 2, 3]),
        };
        let path = match flags {
            2 | 3 | 6 if self.0.one_in(2) => {
                let path = self.0.of(&["/a/s-", "/b/s-", "/b/", "/s-", "$0/s-"]);
                Field::Text(path.into())
            }
            _ => self.path(),
        };
        let (data, acl) = (self.data(in_multi), self.acl(in_multi));
        let mut fields = vec![path, data, acl, Field::Int(flags)];
        if op == op::CREATE_TTL {
            let ttl = match self.0.below(6) {
                0 => self.0.of(&[0, 1 << 40, (1 << 40) - 1, -5]),
                _ => 100_000_000,
            };
            // See `tolerated.txt`.
            let ttl = if matches!(flags, 5 | 6) {
                ttl
            } else {
                ttl.max(0)
            };
            fields.push(Field::Long(ttl));
        }
        fields
    }

    fn quota_path(&mut self) -> &'static str {
        self.0.of(&[
            "/zookeeper/quota/a",
            "/zookeeper/quota/a/zookeeper_limits",
            "/zookeeper/quota/a/zookeeper_limits",
            "/zookeeper/quota/a/zookeeper_stats",
            "/zookeeper/quota/a/x",
            "/zookeeper/quota/b",
            "/zookeeper/quota/b/zookeeper_limits",
            "/zookeeper/quota/b/zookeeper_stats",
        ])
    }

    fn limits(&mut self, may_be_odd: bool) -> Field {
        match self.0.below(8) {
            0 if may_be_odd => Field::Null,
            1..3 if may_be_odd => Field::Text(self.0.of(&ODD_LIMITS).into()),
            _ => Field::Text(self.0.of(&LIMITS).into()),
        }
    }

    fn set_watches(&mut self, op: i32) -> Vec<Field> {
        let since = self.0.below(150) as i64;
        let mut fields = vec![Field::Since(since)];
        for list in 0..if op == op::SET_WATCHES { 3 } else { 5 } {
            let paths = (0..self.0.below(3)).map(|_| match list {
                0..3 => vec![self.path()],
                _ => vec![self.path_to_watch()],
            });
            fields.push(Field::List(paths.collect()));
        }
        if self.0.one_in(40) {
            fields[1] = Field::Null;
        }
        fields
    }

    fn auth(&mut self) -> Vec<Field> {
        let (scheme, credentials) = self.0.of(&[
            ("digest", "bob:pw"),
            ("digest", "bob:pw"),
            ("digest", "bob:pw"),
            ("digest", "eve:pw"),
            ("digest", "eve:pw"),
            ("digest", "nocolon"),
            ("digest", "super:admin"),
            ("digest", "super:wrong"),
            ("digest", "a:b:c"),
            ("digest", ""),
            ("ip", "anything"),
            ("world", "anyone"),
            ("sasl", "x"),
            ("nonsense", ""),
        ]);
        let text = |text: &str| Field::Text(text.into());
        let credentials = match self.0.below(20) {
            0 => Field::Bytes(SURROGATES.to_vec()),
            _ => text(credentials),
        };
        vec![Field::Int(0), text(scheme), credentials]
    }

    fn path(&mut self) -> Field {
        match self.0.below(60) {
            0 => Field::Null,
            1 => Field::Bytes(
                self.0
                    .of(&[&b"/a/\xc3"[..], b"/\xff", b"/a\xed\xa0", SURROGATES])
                    .to_vec(),
            ),
            2..8 => Field::Text(self.0.of(&ODD_PATHS).into()),
            8..14 => Field::Text(self.0.of(&["$0", "$1", "$2", "$3", "$0/x", "$1/s-"]).into()),
            _ => Field::Text(self.0.of(&PATHS).into()),
        }
    }

    /// One that is watched more often than others.
    fn path_watched(&mut self) -> Field {
        if self.0.one_in(2) {
            return self.path();
        }
        Field::Text(self.0.of(&["/a", "/a", "/b", "/a/x", "/"]).into())
    }

    /// A path for a persistent watch, which is never null: see `tolerated.txt`.
    fn path_to_watch(&mut self) -> Field {
        loop {
            match self.path_watched() {
                Field::Null => {}
                path => return path,
            }
        }
    }

    fn version(&mut self) -> Field {
        match self.0.below(12) {
            0..5 => Field::Version(-1),
            5..9 => Field::SeenVersion,
            9 => Field::Version(0),
            10 => Field::Version(self.0.of(&[1, 2, 3])),
            _ => Field::Version(-2),
        }
    }

    fn data(&mut self, in_multi: bool) -> Field {
        if !in_multi && self.0.one_in(400) {
            return Field::Fill(self.0.of(&[LONGEST, LONGEST - 1, LONGEST + 1, 600_000]));
        }
        match self.0.below(8) {
            0..2 => Field::Null,
            2 => Field::Text(String::new()),
            3 => Field::Bytes(vec![0, 0xff, 0x80, 3]),
            _ => Field::Text(self.0.of(&["abc", "a", "abcdefghij"]).into()),
        }
    }

    fn acl(&mut self, in_multi: bool) -> Field {
        match self.0.below(40) {
            0 => Field::Null,
            1..4 => {
                let len = self.0.below(4);
                Field::List((0..len).map(|_| self.acl_entry(in_multi)).collect())
            }
            4..12 => {
                let len = 1 + self.0.below(2);
                Field::List((0..len).map(|_| self.valid_entry()).collect())
            }
            _ => open(),
        }
    }

    /// One that leaves something out, most of the time.
    fn valid_entry(&mut self) -> Vec<Field> {
        let permissions = self.0.of(&[31, 31, 1, 2, 4, 8, 16, 17, 30, 15, 27, 29]);
        let (scheme, id) = self.0.of(&[
            ("world", "anyone"),
            ("world", "anyone"),
            ("auth", ""),
            ("digest", DIGEST),
            ("ip", "127.0.0.1"),
            ("ip", "10.0.0.1"),
        ]);
        let text = |text: &str| Field::Text(text.into());
        vec![Field::Int(permissions), text(scheme), text(id)]
    }

    fn acl_entry(&mut self, in_multi: bool) -> Vec<Field> {
        let permissions = self.0.of(&[31, 31, 31, 1, 0, 255, 16, 12, 30, 23]);
        let (scheme, id) = self.0.of(&[
            (Some("world"), Some("anyone")),
            (Some("world"), Some("anyone")),
            (Some("world"), Some("anyone")),
            (Some("world"), Some("nobody")),
            (Some("auth"), Some("")),
            (Some("auth"), Some("")),
            (Some("auth"), None),
            (Some("digest"), Some(DIGEST)),
            (Some("digest"), Some(DIGEST)),
            (Some("digest"), Some("x")),
            (Some("digest"), Some(":x")),
            (Some("digest"), Some("x:")),
            (Some("digest"), Some("x:y:z")),
            (Some("digest"), Some("x:y::")),
            (Some("digest"), Some(":y:")),
            (Some("digest"), Some("x:y\nz\u{2028}:")),
            (Some("digest"), Some("\u{1F600}:x")),
            (Some("ip"), Some("127.0.0.1")),
            (Some("ip"), Some("127.0.0.0/8")),
            (Some("ip"), Some("10.0.0.1/0")),
            (Some("ip"), Some("10.0.0.1")),
            (Some("ip"), Some("10.0.0.1/33")),
            (Some("ip"), Some("::1")),
            (Some("ip"), Some("10.0.1")),
            (Some("ip"), Some("127.-0.0.\u{661}")),
            (Some("ip"), Some("10.0.0.1/-0")),
            (Some("ip"), Some("10.0.0.1/")),
            (Some("sasl"), Some("x")),
            (Some("super"), Some("")),
            (Some("world"), None),
            (None, Some("anyone")),
            (Some("digest"), None),
        ]);
        // See `tolerated.txt`.
        let id = id.filter(|id| !in_multi || id.chars().all(|c| c <= '\u{FFFF}'));
        let text = |text: Option<&str>| text.map_or(Field::Null, |it| Field::Text(it.into()));
        vec![Field::Int(permissions), text(scheme), text(id)]
    }
}

/// Anybody may do anything.
fn open() -> Field {
    let text = |text: &str| Field::Text(text.into());
    Field::List(vec![vec![Field::Int(31), text("world"), text("anyone")]])
}
