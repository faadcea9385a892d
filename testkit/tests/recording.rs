//! A recording is a file that people read and programs read back.

mod support;

use std::time::Duration;

use bytes::BytesMut;
use homing_protocol::{
    Acl, Auth, ConnectResponse, Create, CreateMode, Record, RequestHeader, SessionPassword, op,
    put_request, xid,
};
use homing_testkit::decode::Way;
use homing_testkit::recording::{Entry, Happening, Raw, Recorder, Recording};

fn framed(body: &impl Record) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&u32::try_from(body.encoded_len()).unwrap().to_be_bytes());
    body.encode(&mut frame);
    frame
}

fn request(xid: i32, op: i32, body: &impl Record) -> BytesMut {
    let mut frame = BytesMut::new();
    put_request(&mut frame, RequestHeader { xid, op }, body);
    frame
}

/// A connection on which a client authenticates and makes a node that is its own.
fn confidential(mut recorder: Recorder) -> Recording {
    let at = Duration::from_micros;
    let password = SessionPassword::new(b"0123456789abcdef").unwrap();
    let welcome = ConnectResponse {
        timeout_ms: 30_000,
        session_id: 5,
        password,
        read_only: Some(false),
    };
    let create = Create {
        path: "/mine".into(),
        data: b"visible",
        acl: &[Acl::new("digest", "bob:hash")],
        mode: CreateMode::Persistent,
    };
    let auth = Auth {
        scheme: "digest",
        proof: b"bob:pw",
    };
    let hello = framed(&support::new_session(30_000));
    let mut entries = vec![recorder.opened(at(0), 1)];
    // However the bytes are cut, there is one line for each frame.
    let (front, back) = hello.split_at(20);
    entries.extend(recorder.bytes(at(1), 1, Way::ToServer, front));
    entries.extend(recorder.bytes(at(2), 1, Way::ToServer, back));
    entries.extend(recorder.bytes(at(1_000_003), 1, Way::ToClient, &framed(&welcome)));
    let both = [
        request(xid::AUTH, op::AUTH, &auth),
        request(1, op::CREATE, &create),
    ]
    .concat();
    entries.extend(recorder.bytes(at(1_000_004), 1, Way::ToServer, &both));
    entries.extend(recorder.bytes(at(1_000_005), 1, Way::ToServer, b"\0\0\0\x09cut"));
    entries.extend(recorder.ended(at(1_000_006), 1, Way::ToServer));
    entries.extend(recorder.ended(at(1_000_007), 1, Way::ToClient));
    entries.into_iter().collect()
}

const MASKED: &str = "# homing-testkit recording 1
0.000000 1 +
0.000002 1 -> connect lastZxidSeen=0x0 timeOut=30000 sessionId=0 passwd[16]=*** readOnly=false\t\
0000002d000000000000000000000000000075300000000000000000000000100000000000000000000000000000000000
1.000003 1 <- connected timeOut=30000 sessionId=0x5 passwd[16]=*** readOnly=false\t\
00000025000000000000753000000000000000050000001\
0********************************00
1.000004 1 -> auth scheme=\"digest\" auth[6]=***\t\
00000020fffffffc00000064000000000000000664696765737400000006************
1.000004 1 -> xid=1 create \"/mine\" data[7]=\"visible\" acl=[digest:bob:…:cdrwa] flags=PERSISTENT\t\
0000003e0000000100000001000000052f6d696e650000000776697369626c65000000010000001f\
0000000664696765737400000008626f623a********00000000
1.000006 1 -> undecodable: 3 of 9 bytes\t**************
1.000006 1 ->|
1.000007 1 |<-
";

#[test]
fn it_reads_like_this_and_has_no_secrets() {
    assert_eq!(confidential(Recorder::new()).to_string(), MASKED);
}

#[test]
fn secrets_are_kept_for_who_asks_for_them() {
    let recording = confidential(Recorder::new().with_secrets()).to_string();
    // bob:pw
    assert!(recording.contains("00000006626f623a7077\n"), "{recording}");
    let mut bytes = recording.lines().filter_map(|line| line.split_once('\t'));
    assert!(bytes.all(|(_, bytes)| !bytes.contains('*')), "{recording}");
    // The text is the same for everybody.
    let texts = |recording: &str| {
        let lines = recording.lines().map(|line| line.split('\t').next());
        lines
            .map(|line| line.unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(&recording), texts(MASKED));
}

#[test]
fn bytes_can_be_left_out() {
    let recording = confidential(Recorder::new().without_raw()).to_string();
    assert!(!recording.contains('\t'), "{recording}");
    assert_eq!(recording.lines().count(), MASKED.lines().count());
}

#[test]
fn what_is_written_is_read_back() {
    for recorder in [
        Recorder::new(),
        Recorder::new().with_secrets(),
        Recorder::new().without_raw(),
    ] {
        let recording = confidential(recorder);
        assert_eq!(recording.to_string().parse(), Ok(recording));
    }
}

#[test]
fn remarks_and_empty_lines_are_passed_over() {
    let text = "# homing-testkit recording 1\r\n\n# a remark\n0.5 12 +\r\n \n12.25 12 ->|\n";
    let recording: Recording = text.parse().unwrap();
    let entry = |at, happening| Entry {
        at,
        connection: 12,
        happening,
    };
    assert_eq!(
        recording.entries(),
        [
            entry(Duration::from_millis(500), Happening::Opened),
            entry(
                Duration::from_millis(12_250),
                Happening::Ended(Way::ToServer)
            ),
        ]
    );
}

#[test]
fn a_line_that_is_wrong_is_named() {
    let head = "# homing-testkit recording 1";
    for (line, error) in [
        ("", "line 1: this is no recording: it has to begin with"),
        (
            "hello",
            "line 1: this is no recording: it has to begin with",
        ),
        (
            "# homing-testkit recording 2",
            "line 1: a recording of version \"2\", and this program reads version 1: record it again",
        ),
    ] {
        let got = line.parse::<Recording>().unwrap_err();
        assert!(got.to_string().starts_with(error), "{got}");
    }
    for (line, error) in [
        (
            "soon 1 +",
            "\"soon\" is no number of seconds, such as 0.000514",
        ),
        (
            "-1.0 1 +",
            "\"-1.0\" is no number of seconds, such as 0.000514",
        ),
        ("1. 1 +", "\"1.\" is no number of seconds, such as 0.000514"),
        (
            "9999999999.0 1 +",
            "\"9999999999.0\" is no number of seconds",
        ),
        ("0.1 one +", "\"one\" is no number of a connection"),
        (
            "0.1 1 =>",
            "\"=>\" is none of the arrows: +, ->, <-, ->| or |<-",
        ),
        (
            "0.1",
            "no connection: a line has seconds, a connection, an arrow, a text",
        ),
        (
            "0.1 1",
            "no arrow: a line has seconds, a connection, an arrow, a text",
        ),
        (
            "0.1 1 -> ping\t0g",
            "the bytes behind the tab: byte 0 is neither two hexadecimal",
        ),
        (
            "0.1 1 -> ping\t00000",
            "the bytes behind the tab: byte 2 is neither two hexadecimal",
        ),
        (
            "0.1 1 -> ping\tüü",
            "the bytes behind the tab: byte 0 is neither two hexadecimal",
        ),
    ] {
        let text = format!("{head}\n\n0.0 1 +\n{line}\n");
        let got = text.parse::<Recording>().unwrap_err();
        assert_eq!(got.line(), 4, "{line}");
        assert!(
            got.to_string().starts_with(&format!("line 4: {error}")),
            "{got}"
        );
    }
}

#[test]
fn a_recording_that_is_cut_off_is_what_stands_before_or_nothing() {
    let head = Recording::head().len();
    let whole: Recording = MASKED.parse().unwrap();
    for len in 0..=MASKED.len() {
        // In the middle of a character too.
        let cut = String::from_utf8_lossy(&MASKED.as_bytes()[..len]);
        let breaks = cut.matches('\n').count();
        match cut.parse::<Recording>() {
            Ok(recording) => {
                assert!(len == head || cut.ends_with('\n'), "{cut}");
                let before = &whole.entries()[..breaks.saturating_sub(1)];
                assert_eq!(recording.entries(), before);
            }
            Err(error) if len < head => assert_eq!(error.line(), 1),
            Err(error) => {
                let expected = format!("line {}: it is cut off, ", breaks + 1);
                assert!(error.to_string().starts_with(&expected), "{cut}: {error}");
            }
        }
    }
    // What says nothing need not be whole, and what is wrong before is said first.
    let remark = format!("{MASKED}# a rem").parse();
    assert_eq!(remark, Ok(whole));
    let error = "# homing-testkit recording 1\n0.0\n0.1".parse::<Recording>();
    assert_eq!(error.unwrap_err().line(), 2);
}

#[test]
fn masked_ranges_are_read_back_wherever_they_are() {
    let bytes = bytes::Bytes::from_static(b"0123456789");
    for (masked, text) in [
        (&[][..], "30313233343536373839"),
        (&[0..2, 8..10], "****323334353637****"),
        (&[2..4, 4..5, 3..6], "3031********36373839"),
        (&[10..10, 5..5], "30313233343536373839"),
    ] {
        let raw = Raw::new(bytes.clone(), masked);
        assert_eq!(raw.to_string(), text);
        assert_eq!(text.parse(), Ok(raw.clone()));
        assert_eq!(raw.is_masked(), text.contains('*'));
        assert_eq!(raw.bytes().len(), 10);
    }
}
