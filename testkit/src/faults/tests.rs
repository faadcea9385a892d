//! Each fault in the filter alone, in virtual time.

mod ends;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use homing_protocol::{
    ConnectRequest, ConnectResponse, Empty, GetData, Record, ReplyHeader, RequestHeader,
    SessionPassword, op, put_request,
};

use super::{Action, Faults, Filter, Passed, Plan, Session, Strikes, Way};

const SECOND: Duration = Duration::from_secs(1);

/// A connection under a script, and what came out at both ends.
struct Rig {
    filter: Filter,
    plan: Arc<Plan>,
    start: Instant,
    now: Instant,
    to_server: BytesMut,
    to_client: BytesMut,
    ended: Vec<Way>,
    actions: Vec<Action>,
}

impl Rig {
    fn new(script: &str) -> Self {
        let faults: Faults = script.parse().unwrap();
        let plan = Arc::new(Plan::new(&faults));
        Self::of(&plan)
    }

    /// The next connection.
    fn of(plan: &Arc<Plan>) -> Self {
        let now = Instant::now();
        let mut rig = Self {
            filter: Filter::new(now, plan, None),
            plan: Arc::clone(plan),
            start: now,
            now,
            to_server: BytesMut::new(),
            to_client: BytesMut::new(),
            ended: Vec::new(),
            actions: Vec::new(),
        };
        rig.drain();
        rig
    }

    /// With a session behind its handshake.
    fn attached(script: &str) -> Self {
        let mut rig = Self::new(script);
        rig.handshake(0);
        rig
    }

    fn handshake(&mut self, session: i64) {
        self.request(&handshake(session));
        self.reply(&response(0x77));
    }

    fn struck(&self, rule: usize) -> u64 {
        Strikes(Arc::clone(&self.plan)).of(rule)
    }

    fn request(&mut self, frame: &[u8]) {
        self.give(Way::ToServer, frame);
    }

    fn reply(&mut self, frame: &[u8]) {
        self.give(Way::ToClient, frame);
    }

    fn give(&mut self, way: Way, bytes: &[u8]) {
        self.filter.give(self.now, way, bytes);
        self.drain();
    }

    /// Time passes, with each moment that matters.
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.filter.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.filter.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        for (way, out) in [
            (Way::ToServer, &mut self.to_server),
            (Way::ToClient, &mut self.to_client),
        ] {
            while let Some(passed) = self.filter.poll(way) {
                match passed {
                    Passed::Bytes(bytes) => out.extend_from_slice(&bytes),
                    Passed::End => self.ended.push(way),
                }
            }
        }
        while let Some(action) = self.filter.poll_action() {
            self.actions.push(action);
        }
    }

    /// What the client got since the last time.
    fn got(&mut self) -> Vec<u8> {
        self.to_client.split().to_vec()
    }

    /// What the server got since the last time.
    fn heard(&mut self) -> Vec<u8> {
        self.to_server.split().to_vec()
    }
}

fn framed(record: &impl Record) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&(record.encoded_len() as u32).to_be_bytes());
    record.encode(&mut frame);
    frame.to_vec()
}

fn handshake(session_id: i64) -> Vec<u8> {
    framed(&ConnectRequest {
        last_zxid_seen: 0,
        timeout_ms: 10_000,
        session_id,
        password: SessionPassword::NONE,
        read_only: Some(false),
    })
}

fn response(session_id: i64) -> Vec<u8> {
    framed(&ConnectResponse {
        timeout_ms: 10_000,
        session_id,
        password: SessionPassword::new(b"0123456789abcdef").unwrap(),
        read_only: Some(false),
    })
}

fn request(xid: i32, op: i32) -> Vec<u8> {
    let mut frame = BytesMut::new();
    let header = RequestHeader { xid, op };
    match op {
        op::PING | op::CLOSE_SESSION => put_request(&mut frame, header, &Empty),
        _ => {
            let body = GetData {
                path: "/a".into(),
                watch: false,
            };
            put_request(&mut frame, header, &body);
        }
    }
    frame.to_vec()
}

/// A header and the data "data".
fn reply(xid: i32, zxid: i64) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&[0, 0, 0, 24]);
    ReplyHeader { xid, zxid, err: 0 }.encode(&mut frame);
    frame.extend_from_slice(b"\0\0\0\x04data");
    frame.to_vec()
}

fn header(frame: &[u8]) -> ReplyHeader {
    ReplyHeader::decode(&Bytes::copy_from_slice(&frame[4..])).unwrap()
}

/// What a client gets for its first getData.
fn answer(script: &str) -> Vec<u8> {
    let mut rig = Rig::attached(script);
    rig.got();
    rig.request(&request(1, op::GET_DATA));
    rig.reply(&reply(1, 9));
    assert_eq!(rig.struck(1), 1, "{script}");
    rig.got()
}

#[test]
fn without_faults_bytes_pass_as_they_come() {
    let mut rig = Rig::new("");
    let mut stream = handshake(0);
    stream.extend(request(1, op::GET_DATA));
    stream.extend(request(2, op::GET_DATA));
    for byte in &stream {
        rig.request(&[*byte]);
    }
    assert_eq!(rig.heard(), stream);
    rig.filter.end(rig.now, Way::ToServer);
    rig.drain();
    assert_eq!(rig.ended, [Way::ToServer]);
}

#[test]
fn what_is_no_frame_passes_too() {
    for stream in [
        &b"srvr"[..],
        b"\x16\x03\x01\x02\0TLS, say, and more of it",
        b"\xff\xff\xff\xff\0\0",
        b"\0\0\0\0\0\0\0\0",
        b"half",
    ] {
        let mut rig = Rig::new("drop at frame; corrupt to server at frame");
        rig.request(stream);
        rig.reply(stream);
        assert_eq!((rig.heard(), rig.got()), (stream.to_vec(), stream.to_vec()));
    }
    // Half a frame comes with the end.
    let mut rig = Rig::new("drop to server at frame");
    rig.request(&handshake(0)[..20]);
    assert_eq!(rig.heard(), b"");
    rig.filter.end(rig.now, Way::ToServer);
    rig.drain();
    assert_eq!(rig.heard(), handshake(0)[..20]);
}

#[test]
fn a_frame_that_is_too_long_passes_and_the_next_one_is_met() {
    let plan = Arc::new(Plan::new(&"drop to server at ping".parse().unwrap()));
    let mut rig = Rig::of(&plan);
    rig.filter = Filter::new(rig.now, &plan, Some(100));
    let mut long = vec![0, 0, 0, 200];
    long.extend([7; 200]);
    rig.request(&handshake(0));
    rig.request(&long);
    rig.request(&request(-2, op::PING));
    rig.request(&request(1, op::GET_DATA));
    let expected = [handshake(0), long, request(1, op::GET_DATA)].concat();
    assert_eq!(rig.heard(), expected);
}

#[test]
fn connections_are_cut_and_reset_when_they_are_made() {
    let plan = Arc::new(Plan::new(
        &"cut on connection 1; reset on connections 2-3"
            .parse()
            .unwrap(),
    ));
    let actions: Vec<_> = (0..4).map(|_| Rig::of(&plan).actions).collect();
    assert_eq!(
        actions,
        [
            vec![Action::Cut],
            vec![Action::Reset],
            vec![Action::Reset],
            vec![]
        ]
    );
}

#[test]
fn every_third_connection() {
    let plan = Arc::new(Plan::new(&"cut on every 3rd connection".parse().unwrap()));
    let cut: Vec<_> = (1..=7)
        .filter(|_| !Rig::of(&plan).actions.is_empty())
        .collect();
    assert_eq!(cut, [3, 6]);
}

#[test]
fn a_stream_is_cut_behind_a_byte() {
    for len in 1..60 {
        let mut rig = Rig::new(&format!("cut to client at byte {len}"));
        rig.request(&handshake(0));
        let stream = [response(1), reply(1, 2)].concat();
        rig.reply(&stream);
        assert_eq!(rig.got(), stream[..len]);
        assert_eq!(rig.actions, [Action::Cut]);
        rig.request(&request(1, op::GET_DATA));
        assert_eq!(rig.heard(), handshake(0), "nothing passes behind it");
    }
}

#[test]
fn a_hung_connection_lets_nothing_pass() {
    let mut rig = Rig::new("hang");
    rig.handshake(0);
    rig.advance(SECOND * 3_600);
    assert_eq!((rig.heard(), rig.got()), (vec![], vec![]));
    assert_eq!(rig.filter.poll_timeout(), None);

    let mut rig = Rig::new("hang 2s");
    rig.handshake(0);
    rig.advance(SECOND);
    assert_eq!(rig.heard(), b"");
    rig.advance(SECOND);
    assert_eq!((rig.heard(), rig.got()), (handshake(0), response(0x77)));
}

#[test]
fn one_way_stalls_and_the_other_one_does_not() {
    let mut rig = Rig::new("stall to client at getData 1");
    rig.handshake(0);
    assert_eq!(rig.got(), response(0x77));
    for xid in 1..3 {
        rig.request(&request(xid, op::GET_DATA));
        rig.reply(&reply(xid, 1));
    }
    rig.advance(SECOND * 60);
    assert_eq!(rig.got(), b"");
    assert_eq!(rig.heard().len(), 49 + 2 * 19);
    assert_eq!(rig.filter.held(Way::ToClient), 2 * 28);

    let (now, none) = (rig.now, Arc::new(Plan::new(&Faults::new())));
    rig.filter.replace(now, &none);
    rig.drain();
    assert_eq!(rig.got(), [reply(1, 1), reply(2, 1)].concat());
}

#[test]
fn a_hang_outlasts_what_is_said_for_the_session_meanwhile() {
    let mut rig = Rig::attached("expire at getData 2; hang to client at getData 1");
    for xid in 1..3 {
        rig.request(&request(xid, op::GET_DATA));
    }
    rig.heard();
    assert!(matches!(rig.actions[..], [Action::Expire(_)]));
    rig.reply(&reply(1, 1));
    let now = rig.now;
    rig.filter.errand_done(now);
    rig.advance(SECOND);
    assert_eq!(rig.heard(), b"");
}

#[test]
fn one_way_ends_and_the_other_one_goes_on() {
    let mut rig = Rig::attached("half-close to client at getData 2");
    rig.got();
    for xid in 1..4 {
        rig.request(&request(xid, op::GET_DATA));
        rig.reply(&reply(xid, 1));
    }
    assert_eq!(rig.got(), reply(1, 1));
    assert_eq!(
        (&rig.ended[..], &rig.actions[..]),
        (&[Way::ToClient][..], &[][..])
    );
    assert_eq!(rig.filter.held(Way::ToClient), 0);
    rig.heard();
    rig.request(&request(4, op::GET_DATA));
    assert_eq!(rig.heard(), request(4, op::GET_DATA));
}

#[test]
fn everything_is_delayed_and_keeps_its_order() {
    let mut rig = Rig::new("delay 10ms-90ms; delay 5ms");
    rig.request(&handshake(0));
    let stream: Vec<u8> = (0..50).flat_map(|xid| reply(xid, 1)).collect();
    rig.reply(&response(0x77));
    rig.reply(&stream);
    rig.advance(Duration::from_millis(14));
    assert_eq!(rig.got(), b"");
    rig.advance(Duration::from_millis(81));
    assert_eq!(rig.got(), [response(0x77), stream].concat());
    assert_eq!(rig.heard(), handshake(0));
}

#[test]
fn one_frame_is_delayed_with_what_is_behind_it() {
    let mut rig = Rig::attached("delay 3s at getData 1");
    rig.got();
    for xid in 1..3 {
        rig.request(&request(xid, op::GET_DATA));
        rig.reply(&reply(xid, 1));
    }
    rig.advance(SECOND * 2);
    assert_eq!(rig.got(), b"");
    rig.advance(SECOND);
    assert_eq!(rig.got().len(), 2 * 28);
    rig.request(&request(3, op::GET_DATA));
    rig.reply(&reply(3, 1));
    assert_eq!(rig.got().len(), 28);
}

#[test]
fn what_is_delayed_does_not_wait_for_a_script_that_is_over() {
    let mut rig = Rig::new("delay 3600s; throttle 1");
    rig.reply(&response(0x77));
    let (now, none) = (rig.now, Arc::new(Plan::new(&Faults::new())));
    rig.filter.replace(now, &none);
    rig.drain();
    assert_eq!(rig.got(), response(0x77));
}

#[test]
fn so_many_bytes_pass_in_a_second() {
    for rate in [1, 7, 100, 2_000] {
        let mut rig = Rig::new(&format!("throttle {rate}"));
        rig.request(&handshake(0));
        let stream: Vec<u8> = [response(0x77), reply(1, 1).repeat(1_000)].concat();
        rig.reply(&stream);
        rig.got();
        let from = rig.now;
        rig.advance(SECOND * 10);
        let passed = rig.got().len();
        let expected = rate * 10;
        assert!(
            passed.abs_diff(expected) <= expected / 50 + 1,
            "{passed} bytes at {rate} since {from:?}"
        );
    }
}

#[test]
fn a_byte_is_corrupted_and_never_one_of_the_length() {
    let whole = reply(1, 9);
    for seed in 0..200 {
        let broken = answer(&format!("corrupt at getData 1; seed {seed}"));
        let changed = broken.iter().zip(&whole).filter(|(a, b)| a != b).count();
        assert_eq!((broken.len(), changed), (whole.len(), 1), "seed {seed}");
        assert_eq!(broken[..4], whole[..4]);
    }
}

#[test]
fn a_byte_is_corrupted_by_its_place() {
    let mut rig = Rig::new("corrupt at byte 50");
    rig.handshake(0);
    rig.reply(&reply(1, 9));
    let got = rig.got();
    let expected = [response(0x77), reply(1, 9)].concat();
    let differ: Vec<_> = (0..got.len())
        .filter(|at| got[*at] != expected[*at])
        .collect();
    assert_eq!(differ, [49]);
    assert_eq!(rig.struck(1), 1);
}

#[test]
fn frames_are_changed() {
    let whole = reply(1, 9);
    assert_eq!(answer("duplicate at getData"), whole.repeat(2));
    assert_eq!(answer("drop at getData"), b"");
    let mut truncated = whole[..4 + 18].to_vec();
    truncated[3] = 18;
    assert_eq!(answer("truncate 18 at getData"), truncated);
    assert_eq!(
        answer("length -1 at getData"),
        [&[0xFF; 4], &whole[4..]].concat()
    );
    assert_eq!(answer("count 65536 at getData")[20..24], [0, 1, 0, 0]);
    assert_eq!(header(&answer("xid +1 at getData")).xid, 2);
    assert_eq!(header(&answer("xid =-7 at getData")).xid, -7);
    assert_eq!(header(&answer("zxid -5 at getData")).zxid, 4);
    assert_eq!(header(&answer("zxid =0x10 at getData")).zxid, 16);
    let refused = answer("error -7777 at getData");
    assert_eq!(
        (header(&refused).err, refused.len(), refused[3]),
        (-7777, 20, 16)
    );
    let odd = answer("xid +1 at getData; zxid +1 at read; error 0 at request");
    assert_eq!(
        header(&odd),
        ReplyHeader {
            xid: 2,
            zxid: 10,
            err: 0
        }
    );
}

#[test]
fn a_frame_lets_the_next_one_go_first() {
    let mut rig = Rig::attached("reorder at getData 1");
    rig.got();
    rig.request(&request(1, op::GET_DATA));
    rig.request(&request(2, op::GET_DATA));
    rig.reply(&reply(1, 1));
    assert_eq!(rig.got(), b"");
    rig.reply(&reply(2, 2));
    assert_eq!(rig.got(), [reply(2, 2), reply(1, 1)].concat());
}

#[test]
fn a_storm_comes_before_a_frame() {
    let got = answer("storm 1000 /a at getData");
    let event = crate::reply::notification(-1, homing_protocol::EventType::NodeDataChanged, "/a");
    assert_eq!(got, [event.repeat(1_000), reply(1, 9)].concat());
}

#[test]
fn the_session_is_another_where_it_is_taken_up() {
    let mut rig = Rig::new("session +1");
    rig.handshake(0);
    assert_eq!(rig.got(), response(0x77));
    let mut rig = Rig::new("session +1");
    rig.handshake(0x77);
    assert_eq!(rig.got(), response(0x78));
    assert_eq!(rig.struck(1), 1);
}

#[test]
fn requests_and_their_replies_are_told_by_their_kind() {
    for (script, hit) in [
        ("drop at ping", 2),
        ("drop at read 1", 0),
        ("drop at write", 1),
        ("drop at create", 1),
        ("drop at request 3", 3),
        ("drop at frame 5", 3),
    ] {
        let mut rig = Rig::attached(script);
        rig.got();
        let asked = [
            (1, op::GET_DATA),
            (2, op::CREATE2),
            (-2, op::PING),
            (3, op::EXISTS),
        ];
        for (xid, op) in asked {
            rig.request(&request(xid, op));
        }
        let replies = asked.map(|(xid, _)| reply(xid, 1));
        replies.iter().for_each(|reply| rig.reply(reply));
        let left: Vec<_> = (0..4).filter(|at| *at != hit).collect();
        let left: Vec<_> = left.iter().flat_map(|at| replies[*at].clone()).collect();
        assert_eq!(rig.got(), left, "{script}");
    }
}

#[test]
fn a_write_is_cut_before_or_behind_the_server() {
    let mut rig = Rig::attached("cut to server at write 2");
    rig.heard();
    for (xid, op) in [(1, op::CREATE), (2, op::GET_DATA), (3, op::DELETE)] {
        rig.request(&request(xid, op));
    }
    assert_eq!(rig.heard().len(), 2 * 19);
    assert_eq!(rig.actions, [Action::Cut]);

    let mut rig = Rig::attached("cut to client at write 1");
    rig.got();
    rig.heard();
    rig.request(&request(1, op::CREATE));
    assert_eq!(rig.heard(), request(1, op::CREATE));
    rig.reply(&reply(1, 1));
    assert_eq!((rig.got(), &rig.actions[..]), (vec![], &[Action::Cut][..]));
}

#[test]
fn requests_are_counted_over_connections() {
    let plan = Arc::new(Plan::new(&"cut to server at getData 3".parse().unwrap()));
    for expected in [0, 0, 1, 0] {
        let mut rig = Rig::of(&plan);
        rig.handshake(0);
        rig.request(&request(1, op::GET_DATA));
        assert_eq!(rig.actions.len(), expected);
    }
}

#[test]
fn a_fault_strikes_so_many_times() {
    let mut rig = Rig::attached("drop to server at ping 2 times");
    rig.heard();
    (0..5).for_each(|_| rig.request(&request(-2, op::PING)));
    assert_eq!(rig.heard(), request(-2, op::PING).repeat(3));
    assert_eq!(rig.struck(1), 2);
}

#[test]
fn somebody_else_ends_a_session_or_takes_it_up() {
    let session = Session {
        id: 0x77,
        password: SessionPassword::new(b"0123456789abcdef").unwrap(),
        timeout_ms: 10_000,
    };
    for (script, action) in [
        ("expire at ping 1", Action::Expire(session)),
        ("move at ping 1", Action::Move(session)),
    ] {
        let mut rig = Rig::attached(script);
        rig.heard();
        rig.request(&request(-2, op::PING));
        assert_eq!(rig.actions, [action]);
        let shown = format!("{:?}", rig.actions);
        assert!(!shown.contains("0123"), "no password is shown");
        assert_eq!(rig.heard(), b"", "the client waits");
        let now = rig.now;
        rig.filter.errand_done(now);
        rig.drain();
        assert_eq!(rig.heard(), request(-2, op::PING));
    }
}

#[test]
fn a_session_is_ended_before_it_is_taken_up_again() {
    for script in [
        "expire at resumption",
        "expire at handshake",
        "expire at frame 1",
    ] {
        let plan = Arc::new(Plan::new(&script.parse().unwrap()));
        let mut rig = Rig::of(&plan);
        rig.handshake(0);
        assert_eq!((&rig.actions[..], rig.struck(1)), (&[][..], 0), "{script}");
        let mut rig = Rig::of(&plan);
        rig.request(&handshake(0x77));
        let [Action::Expire(session)] = &rig.actions[..] else {
            panic!("{script}: {:?}", rig.actions);
        };
        assert_eq!(
            (session.id, session.password),
            (0x77, SessionPassword::NONE)
        );
        assert_eq!((rig.heard(), rig.struck(1)), (vec![], 1), "{script}");
    }
    // Where any frame is meant, it is the first behind the handshake.
    let mut rig = Rig::new("move to server at frame once");
    rig.request(&handshake(0x77));
    assert_eq!((&rig.actions[..], rig.struck(1)), (&[][..], 0));
    rig.reply(&response(0x77));
    rig.request(&request(1, op::GET_DATA));
    assert!(matches!(rig.actions[..], [Action::Move(_)]));
}

#[test]
fn a_script_is_set_amid_a_connection() {
    let plan = Arc::new(Plan::new(
        &"drop at getData 1 on connection 0; expire at request 2"
            .parse()
            .unwrap(),
    ));
    let mut rig = Rig::new("");
    rig.filter = Filter::amid(rig.now, &plan, 1 << 20, Some(0x77));
    rig.request(&request(1, op::GET_DATA));
    rig.reply(&reply(1, 1));
    assert_eq!((rig.got(), rig.heard()), (vec![], request(1, op::GET_DATA)));
    rig.request(&request(2, op::GET_DATA));
    assert!(matches!(&rig.actions[..], [Action::Expire(session)] if session.id == 0x77));
}

/// What a hundred connections get under a script.
fn run(script: &str) -> (Vec<Vec<u8>>, Vec<Duration>) {
    let plan = Arc::new(Plan::new(&script.parse().unwrap()));
    let ran = (0..100).map(|_| {
        let mut rig = Rig::of(&plan);
        rig.handshake(0);
        for xid in 1..20 {
            rig.request(&request(xid, op::GET_DATA));
            rig.reply(&reply(xid, i64::from(xid)));
        }
        rig.advance(SECOND * 10);
        (rig.got(), rig.now - rig.start)
    });
    ran.unzip()
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let script = "corrupt at getData with 10%; cut at getData with 1%; delay 1ms-1s with 50%; \
                  duplicate at frame with 5%";
    let first = run(&format!("{script}; seed 1"));
    assert_eq!(first, run(&format!("{script}; seed 1")));
    assert_ne!(first, run(&format!("{script}; seed 2")));
}

#[test]
fn probabilities_are_those_that_were_asked_for() {
    let plan = Arc::new(Plan::new(&"drop at getData with 25%".parse().unwrap()));
    let mut rig = Rig::of(&plan);
    rig.handshake(0);
    for xid in 1..=10_000 {
        rig.request(&request(xid, op::GET_DATA));
        rig.reply(&reply(xid, 1));
    }
    let struck = rig.struck(1);
    assert!((2_200..2_800).contains(&struck), "{struck}");
}

/// Numbers that look like chance.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// A connection of mostly sound frames, in pieces of any length.
fn stream(numbers: &mut Numbers, way: Way) -> Vec<u8> {
    let mut stream = match way {
        Way::ToServer => handshake(i64::try_from(numbers.below(2)).unwrap()),
        Way::ToClient => response(0x77),
    };
    for xid in 1..30 {
        let mut frame = match way {
            Way::ToServer => request(xid, i32::try_from(numbers.below(20)).unwrap()),
            Way::ToClient => reply(xid - i32::try_from(numbers.below(3)).unwrap(), 1),
        };
        if numbers.below(10) == 0 {
            let at = numbers.below(frame.len());
            frame[at] = u8::try_from(numbers.below(256)).unwrap();
        }
        stream.extend(frame);
    }
    stream
}

#[test]
fn nothing_that_comes_breaks_a_filter_and_all_of_it_comes_out_or_is_lost() {
    let examples = super::REFERENCE.split_once("connection on.\n").unwrap().1;
    let examples = examples.split_once("\n\nWay:").unwrap().0;
    let examples = examples
        .lines()
        .map(|line| line.split("  ").nth(1).unwrap());
    // Nothing comes where nobody listens.
    let examples: Vec<_> = examples.filter(|example| *example != "refuse").collect();
    for seed in 0..2_000 {
        let mut numbers = Numbers(seed);
        let mut some = || {
            let example = examples[numbers.below(examples.len())];
            example.split(" the first length").next().unwrap()
        };
        let script = format!("{}; {} with 50%; seed {seed}", some(), some());
        let mut rig = Rig::new(&script);
        let streams = [Way::ToServer, Way::ToClient].map(|way| (way, stream(&mut numbers, way)));
        for _ in 0..200 {
            let (way, stream) = &streams[numbers.below(2)];
            let from = numbers.below(stream.len());
            let to = (from + numbers.below(100)).min(stream.len());
            rig.give(*way, &stream[from..to]);
            rig.advance(Duration::from_millis(
                u64::try_from(numbers.below(50)).unwrap(),
            ));
            rig.filter.errand_done(rig.now);
        }
        rig.filter.replace(rig.now, &Arc::new(Plan::default()));
        for way in [Way::ToServer, Way::ToClient] {
            rig.filter.end(rig.now, way);
            rig.drain();
            rig.advance(SECOND);
            assert_eq!(rig.filter.held(way), 0, "{script}");
            let is_over = !rig.actions.is_empty() || rig.ended.contains(&way);
            assert!(is_over, "{script}: no end {way}");
        }
        assert_eq!(rig.filter.poll_timeout(), None, "{script}");
    }
}
