//! What a broken or hostile peer can send: every decoder gets valid frames cut at every byte,
//! with every length and count replaced by a bad one, and noise. It must answer with an error
//! that names the place, without a panic, and without an allocation that the frame's own size
//! does not justify: an allocator that counts watches over that.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::frame::{self, FrameError};
use homing_protocol::{
    ConnectRequest, ConnectResponse, DecodeError, DecodeErrorKind, EventType, MultiResult, Reader,
    Record, ReplyHeader, RequestHeader, SessionPassword, Stat, WatchedEvent, incoming, op,
    put_buffer, put_count, put_string, reply,
};
use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn a_frame_that_ends_too_early() {
    for case in cases() {
        (case.decode)(&case.frame).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        for len in 0..case.frame.len() {
            let cut = case.frame.slice(..len);
            let result = frugally(case.name, &cut, case.decode);
            if case.ends_early_at == Some(len) {
                assert_eq!(result, Ok(()), "{} at {len}", case.name);
                continue;
            }
            let error = result.expect_err(case.name);
            assert!(error.at <= len, "{} at {len}: {error}", case.name);
            let left = match error.kind {
                DecodeErrorKind::TooShort { left, wanted } if left < wanted => left,
                DecodeErrorKind::TooMany { left, .. } => left,
                _ => panic!("{} at {len}: {error}", case.name),
            };
            assert!(left <= len, "{} at {len}: {error}", case.name);
        }
    }
}

#[test]
fn a_length_that_is_not_true() {
    for case in cases() {
        for field in &case.lengths {
            for bad in [0x7fff_ffff, 0x1000_0000, -5, i32::MIN] {
                let result = frugally(case.name, &with(&case, field, bad), case.decode);
                if bad < 0 && field.element_len_min.is_some() && is_lenient(case.name) {
                    // It is empty, and the frame is misread from there on, but in bounds.
                    let refused = matches!(&result, Err(error) if error.at == field.at);
                    assert!(!refused, "{} at {}: {result:?}", case.name, field.at);
                    continue;
                }
                let error = result.expect_err(case.name);
                let place = format!("{} at {} with {bad}: {error}", case.name, field.at);
                assert!((field.at..=field.at + 4).contains(&error.at), "{place}");
                match error.kind {
                    DecodeErrorKind::TooShort { wanted, .. } => {
                        assert_eq!(i32::try_from(wanted), Ok(bad), "{place}");
                    }
                    DecodeErrorKind::TooMany { count, .. } => {
                        assert_eq!(i32::try_from(count), Ok(bad), "{place}");
                    }
                    kind => assert_eq!(kind, DecodeErrorKind::NegativeLength(bad), "{place}"),
                }
            }
        }
    }
}

/// Whether it is a request with lists, of which a server takes those of fewer than no entries for
/// empty ones.
fn is_lenient(name: &str) -> bool {
    ["create", "createTTL", "setACL", "setWatches", "setWatches2"].contains(&name)
}

#[test]
fn a_count_of_one_more_than_there_is_room_for() {
    for case in cases() {
        for field in &case.lengths {
            let Some(element_len_min) = field.element_len_min else {
                continue;
            };
            let left = case.frame.len() - field.at - 4;
            let count = left / element_len_min + 1;
            let bad = i32::try_from(count).unwrap();
            let error =
                frugally(case.name, &with(&case, field, bad), case.decode).expect_err(case.name);
            let kind = DecodeErrorKind::TooMany { count, left };
            assert_eq!((error.at, error.kind), (field.at, kind), "{}", case.name);
        }
    }
}

#[test]
fn a_null_where_a_value_must_stand() {
    for case in cases() {
        for field in &case.lengths {
            let frame = with(&case, field, -1);
            let result = frugally(case.name, &frame, case.decode);
            let place = format!("{} at {}: {result:?}", case.name, field.at);
            match field.null {
                // The frame is then misread from there on, but in bounds.
                Allowed => {
                    let null = matches!(&result, Err(e) if e.kind == DecodeErrorKind::Null);
                    assert!(!null, "{place}");
                }
                Refused => {
                    let error = result.expect_err(&place);
                    assert_eq!(
                        (error.at, error.kind),
                        (field.at, DecodeErrorKind::Null),
                        "{place}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_password_that_is_too_long() {
    let mut frame = BytesMut::zeroed(16);
    put_buffer(&mut frame, Some(&[1; 65]));
    let decode: Decode = |f| ConnectResponse::decode(f).map(drop);
    let error = frugally("password", &frame.freeze(), decode).unwrap_err();
    let kind = DecodeErrorKind::TooMany {
        count: 65,
        left: 64,
    };
    assert_eq!((error.field, error.at, error.kind), ("passwd", 16, kind));
}

#[test]
fn an_event_of_no_known_kind() {
    for kind in [i32::MIN, -1, 0, 5, i32::MAX] {
        let mut frame = BytesMut::new();
        frame.put_i32(kind);
        frame.put_i32(3);
        put_string(&mut frame, "/a");
        let error = frugally("event", &frame.freeze(), event).unwrap_err();
        assert_eq!(
            (error.at, error.kind),
            (0, DecodeErrorKind::Unknown(kind.into()))
        );
    }
}

#[test]
fn results_of_no_known_kind() {
    for code in [i32::MIN, -2, 0, 3, op::CREATE_TTL, i32::MAX] {
        let mut writer = Writer::default();
        writer.header();
        writer.multi_header(op::DELETE, 0);
        writer.multi_header(code, 0);
        let frame = writer.out.freeze();
        let mut all = reply::multi(&frame).unwrap();
        assert_eq!(all.next(), Some(Ok(MultiResult::Deleted)));
        let error = all.next().unwrap().unwrap_err();
        assert_eq!(
            (error.at, error.kind),
            (25, DecodeErrorKind::Unknown(code.into()))
        );
        // Where the next would begin nobody knows.
        assert_eq!(all.next(), None);
    }
}

#[test]
fn the_length_of_a_frame_that_is_not_true() {
    const LIMIT: usize = 4 << 20;
    for bad in [0x7fff_ffff, 0x1000_0000, 0x0040_0001, -1, -5, i32::MIN] {
        let mut input = BytesMut::from(&bad.to_be_bytes()[..]);
        let (result, largest) = watched(|| frame::split(&mut input, LIMIT));
        let expected = match usize::try_from(bad) {
            Ok(len) => FrameError::TooLong { len, limit: LIMIT },
            Err(_) => FrameError::Negative(bad),
        };
        assert_eq!(result, Err(expected));
        assert_eq!(largest, 0, "bytes at once for a length of {bad}");
    }
    // The limit itself is fine, and takes no room before the frame is there.
    let mut input = BytesMut::from(&0x0040_0000_u32.to_be_bytes()[..]);
    let (result, largest) = watched(|| frame::split(&mut input, LIMIT));
    assert_eq!((result, largest), (Ok(None), 0));
}

#[test]
fn text_that_is_not_utf8_grows_at_most_fourfold() {
    // Three bytes replace each that is bad, in a string that grows by doubling.
    const LEN: usize = 1 << 20;
    let mut frame = BytesMut::zeroed(ReplyHeader::LEN);
    put_buffer(&mut frame, Some(&vec![0xFF; LEN]));
    Stat::default().encode(&mut frame);
    let frame = frame.freeze();
    let (result, largest) = watched(|| reply::create2(&frame));
    assert_eq!(result.unwrap().0, "\u{FFFD}".repeat(LEN));
    assert!(largest <= 4 * LEN, "{largest} bytes at once");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..200)) {
        let frame = Bytes::from(bytes);
        for case in cases() {
            let _ = frugally(case.name, &frame, case.decode);
        }
        prop_assert!(ReplyHeader::decode(&frame).is_ok() == (frame.len() >= ReplyHeader::LEN));
    }

    #[test]
    fn a_valid_frame_with_a_few_wrong_bytes(
        wrong in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for case in cases() {
            let mut bytes = case.frame.to_vec();
            for (at, byte) in &wrong {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let _ = frugally(case.name, &bytes.into(), case.decode);
        }
    }
}

// ---- What is decoded ---------------------------------------------------------------------------

type Decode = fn(&Bytes) -> Result<(), DecodeError>;

/// A valid frame and who reads it.
struct Case {
    name: &'static str,
    decode: Decode,
    frame: Bytes,
    /// Where a shorter frame is valid too: before an optional byte.
    ends_early_at: Option<usize>,
    /// Every length and every count in it.
    lengths: Vec<Length>,
}

struct Length {
    at: usize,
    null: Null,
    /// How many bytes an element takes at least, where it is the count of a vector.
    element_len_min: Option<usize>,
}

#[derive(Clone, Copy)]
enum Null {
    Allowed,
    Refused,
}
use Null::{Allowed, Refused};

/// `case.frame` with another length in the place of `field`.
fn with(case: &Case, field: &Length, bad: i32) -> Bytes {
    let mut frame = BytesMut::from(&case.frame[..]);
    frame[field.at..field.at + 4].copy_from_slice(&bad.to_be_bytes());
    frame.freeze()
}

fn case(name: &'static str, decode: Decode, frame: impl FnOnce(&mut Writer)) -> Case {
    let mut writer = Writer::default();
    frame(&mut writer);
    Case {
        name,
        decode,
        frame: writer.out.freeze(),
        ends_early_at: None,
        lengths: writer.lengths,
    }
}

/// Writes a frame and keeps a note of where its lengths are.
#[derive(Default)]
struct Writer {
    out: BytesMut,
    lengths: Vec<Length>,
}

impl Writer {
    fn header(&mut self) {
        ReplyHeader {
            xid: 1,
            zxid: 2,
            err: 0,
        }
        .encode(&mut self.out);
    }

    fn stat(&mut self) {
        Stat::default().encode(&mut self.out);
    }

    fn multi_header(&mut self, op: i32, done: u8) {
        self.i32(op);
        self.out.put_u8(done);
        self.i32(0);
    }

    fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    fn buffer(&mut self, null: Null, bytes: &[u8]) {
        self.length(null, None);
        put_buffer(&mut self.out, Some(bytes));
    }

    fn count(&mut self, count: usize, element_len_min: usize) {
        self.length(Allowed, Some(element_len_min));
        put_count(&mut self.out, count);
    }

    fn length(&mut self, null: Null, element_len_min: Option<usize>) {
        self.lengths.push(Length {
            at: self.out.len(),
            null,
            element_len_min,
        });
    }

    fn paths(&mut self, paths: &[&str]) {
        self.count(paths.len(), 4);
        paths
            .iter()
            .for_each(|path| self.buffer(Allowed, path.as_bytes()));
    }

    fn acl(&mut self, null: Null) {
        self.count(2, 12);
        for (scheme, id) in [("world", "anyone"), ("digest", "bob:x")] {
            self.i32(31);
            self.buffer(null, scheme.as_bytes());
            self.buffer(null, id.as_bytes());
        }
    }
}

/// Every decoder that the crate has.
fn cases() -> Vec<Case> {
    let mut cases = replies();
    cases.extend(handshakes());
    cases.extend(requests());
    cases
}

fn replies() -> Vec<Case> {
    vec![
        case(
            "header",
            |f| ReplyHeader::decode(f).map(drop),
            Writer::header,
        ),
        case(
            "stat",
            |f| reply::stat(f).map(drop),
            |w| {
                w.header();
                w.stat();
            },
        ),
        case(
            "create2",
            |f| reply::create2(f).map(drop),
            |w| {
                w.header();
                w.buffer(Refused, b"/a/b");
                w.stat();
            },
        ),
        case(
            "getData",
            |f| reply::get_data(f).map(drop),
            |w| {
                w.header();
                w.buffer(Allowed, b"data");
                w.stat();
            },
        ),
        case(
            "getACL",
            |f| reply::get_acl(f).map(drop),
            |w| {
                w.header();
                w.acl(Refused);
                w.stat();
            },
        ),
        case(
            "getChildren2",
            |f| reply::get_children2(f).map(drop),
            |w| {
                w.header();
                w.count(3, 4);
                for name in ["a", "", "zookeeper"] {
                    w.buffer(Refused, name.as_bytes());
                }
                w.stat();
            },
        ),
        case(
            "create",
            |f| reply::create(f).map(drop),
            |w| {
                w.header();
                w.buffer(Refused, b"/a/b");
            },
        ),
        case("multi", results, |w| {
            w.header();
            w.multi_header(op::CREATE, 0);
            w.buffer(Refused, b"/a/b");
            w.multi_header(op::CREATE2, 0);
            w.buffer(Refused, b"/a/c");
            w.stat();
            w.multi_header(op::DELETE, 0);
            w.multi_header(op::SET_DATA, 0);
            w.stat();
            w.multi_header(op::CHECK, 0);
            w.multi_header(-1, 1);
        }),
        case("multiRead", results, |w| {
            w.header();
            w.multi_header(op::GET_DATA, 0);
            w.buffer(Allowed, b"data");
            w.stat();
            w.multi_header(op::GET_CHILDREN, 0);
            w.count(2, 4);
            for name in ["a", "zookeeper"] {
                w.buffer(Refused, name.as_bytes());
            }
            w.multi_header(-1, 0);
            w.i32(-101);
            w.multi_header(-1, 1);
        }),
        case(
            "getEphemerals",
            |f| reply::ephemerals(f).map(drop),
            |w| {
                w.header();
                w.count(2, 4);
                w.buffer(Refused, b"/a/b");
                w.buffer(Refused, b"/c");
            },
        ),
        case(
            "getAllChildrenNumber",
            |f| reply::all_children_number(f).map(drop),
            |w| {
                w.header();
                w.i32(7);
            },
        ),
        case(
            "whoAmI",
            |f| reply::who_am_i(f).map(drop),
            |w| {
                w.header();
                w.count(2, 8);
                for (scheme, user) in [("ip", "127.0.0.1"), ("super", "")] {
                    w.buffer(Refused, scheme.as_bytes());
                    w.buffer(Refused, user.as_bytes());
                }
            },
        ),
        case("event", event, |w| {
            w.i32(EventType::NodeDeleted as i32);
            w.i32(3);
            w.buffer(Refused, b"/a/b");
        }),
    ]
}

fn results(frame: &Bytes) -> Result<(), DecodeError> {
    reply::multi(frame)?.try_for_each(|result| result.map(drop))
}

fn event(frame: &Bytes) -> Result<(), DecodeError> {
    WatchedEvent::read(&mut Reader::new(frame)).map(drop)
}

fn handshakes() -> Vec<Case> {
    let response = |w: &mut Writer| {
        w.i32(0);
        w.i32(30_000);
        w.i64(0x0100_001b_e8c4_0000);
        w.buffer(Allowed, SessionPassword::NONE.as_bytes());
        w.out.put_u8(0);
    };
    let request = |w: &mut Writer| {
        w.i32(0);
        w.i64(7);
        w.i32(30_000);
        w.i64(0);
        w.buffer(Allowed, SessionPassword::NONE.as_bytes());
        w.out.put_u8(1);
    };
    vec![
        Case {
            ends_early_at: Some(36),
            ..case(
                "ConnectResponse",
                |f| ConnectResponse::decode(f).map(drop),
                response,
            )
        },
        Case {
            ends_early_at: Some(44),
            ..case(
                "ConnectRequest",
                |f| ConnectRequest::decode(f).map(drop),
                request,
            )
        },
    ]
}

/// What a server reads.
fn requests() -> Vec<Case> {
    fn create(w: &mut Writer) {
        w.buffer(Allowed, b"/a/b");
        w.buffer(Allowed, b"data");
        w.acl(Allowed);
        w.i32(0);
    }
    fn set_watches(w: &mut Writer) {
        w.i64(2);
        w.paths(&["/a", "/b"]);
        w.paths(&[]);
        w.paths(&["/"]);
    }
    fn path_and_number(w: &mut Writer) {
        w.buffer(Allowed, b"/a/b");
        w.i32(1);
    }
    vec![
        case(
            "request header",
            |f| RequestHeader::read(&mut Reader::new(f)).map(drop),
            |w| {
                w.i64(1);
            },
        ),
        case(
            "path",
            |f| incoming::path(&mut Reader::new(f)).map(drop),
            |w| {
                w.buffer(Allowed, b"/a/b");
            },
        ),
        case(
            "path and watch",
            |f| incoming::path_and_watch(&mut Reader::new(f)).map(drop),
            |w| {
                w.buffer(Allowed, b"/a/b");
                w.out.put_u8(1);
            },
        ),
        case(
            "path and version",
            |f| incoming::path_and_version(&mut Reader::new(f)).map(drop),
            path_and_number,
        ),
        case(
            "path and kind",
            |f| incoming::path_and_kind(&mut Reader::new(f)).map(drop),
            path_and_number,
        ),
        case(
            "create",
            |f| incoming::Create::read(&mut Reader::new(f)).map(drop),
            create,
        ),
        case(
            "createTTL",
            |f| incoming::Create::read_with_ttl(&mut Reader::new(f)).map(drop),
            |w| {
                create(w);
                w.i64(1000);
            },
        ),
        case(
            "setData",
            |f| incoming::SetData::read(&mut Reader::new(f)).map(drop),
            |w| {
                w.buffer(Allowed, b"/a/b");
                w.buffer(Allowed, b"data");
                w.i32(-1);
            },
        ),
        case(
            "setACL",
            |f| incoming::SetAcl::read(&mut Reader::new(f)).map(drop),
            |w| {
                w.buffer(Allowed, b"/a/b");
                w.acl(Allowed);
                w.i32(-1);
            },
        ),
        case(
            "auth",
            |f| incoming::Auth::read(&mut Reader::new(f)).map(drop),
            |w| {
                w.i32(0);
                w.buffer(Allowed, b"digest");
                w.buffer(Allowed, b"bob:pw");
            },
        ),
        case(
            "setWatches",
            |f| incoming::SetWatches::read(&mut Reader::new(f)).map(drop),
            set_watches,
        ),
        case(
            "setWatches2",
            |f| incoming::SetWatches::read2(&mut Reader::new(f)).map(drop),
            |w| {
                set_watches(w);
                w.paths(&["/c"]);
                w.paths(&["/d", "/e"]);
            },
        ),
        case(
            "reconfig",
            |f| incoming::Reconfig::read(&mut Reader::new(f)).map(drop),
            |w| {
                for text in ["server.1=a:1:2", "2", ""] {
                    w.buffer(Allowed, text.as_bytes());
                }
                w.i64(-1);
            },
        ),
        case(
            "multi header",
            |f| incoming::multi_header(&mut Reader::new(f)).map(drop),
            |w| {
                w.i32(2);
                w.out.put_u8(0);
                w.i32(-1);
            },
        ),
    ]
}

// ---- The allocator that counts -----------------------------------------------------------------

/// Decodes, and checks that no allocation was out of proportion.
fn frugally(name: &str, frame: &Bytes, decode: Decode) -> Result<(), DecodeError> {
    let (result, largest) = watched(|| decode(frame));
    assert!(
        largest <= frame.len() + 1024,
        "{name}: {largest} bytes at once for a frame of {}",
        frame.len()
    );
    result
}

/// The size of the largest single allocation of this thread during `work`, and its result.
fn watched<T>(work: impl FnOnce() -> T) -> (T, usize) {
    LARGEST.set(0);
    let result = work();
    (result, LARGEST.get())
}

struct Counting;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

impl Counting {
    fn note(size: usize) {
        // Nothing is counted while a thread is being taken down.
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
    }
}

// SAFETY: everything is passed on unchanged to the system's allocator; `note` allocates nothing,
// for a thread-local `Cell` with a constant value and no destructor needs no room.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::note(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::note(size);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn the_allocator_counts() {
    let (_, largest) = watched(|| Vec::<u8>::with_capacity(12_345));
    assert_eq!(largest, 12_345);
}

#[test]
fn a_server_reads_passwords_of_any_length() {
    for (len, kept) in [(0, 0), (64, 64), (65, 0), (100_000, 0)] {
        let mut frame = BytesMut::zeroed(24);
        put_buffer(&mut frame, Some(&vec![7; len]));
        let request = ConnectRequest::decode(&frame.freeze()).unwrap();
        assert_eq!(request.password.as_bytes(), vec![7; kept]);
        assert_eq!(request.read_only, None);
    }
}
