//! Servers that shake hands and then send what no server should: never a wrong answer, never a
//! panic, never a hang; and where only one reply is bad, only its request fails.

#[macro_use]
mod support;

use std::io;
use std::sync::{Arc, Mutex};

use homing::{Client, Error, ErrorCode, SessionEnd, SessionState};
use support::script::{
    Peer, SESSION_ID, Script, buffer, data_and_stat, frame, handshake, reply, stat,
};
use support::{Backend, bytes_of};

on_each_backend! {
    replies_out_of_order
    a_reply_that_nobody_asked_for
    a_reply_that_comes_twice
    xids_that_are_no_requests
    a_server_that_knows_less_than_before
    zxids_that_say_nothing
    pings_that_nobody_asked_for
    events_that_nobody_asked_for
    events_that_make_no_sense
    bodies_cut_at_every_byte
    bytes_behind_a_body_mean_nothing
    counts_and_lengths_that_cannot_be
    names_that_are_no_text
    null_data_is_not_empty_data
    paths_from_elsewhere
    codes_that_nobody_knows
    results_that_do_not_fit_the_transaction
    results_that_do_not_fit_the_reads
    counts_and_names_that_cannot_be
    a_reply_in_single_bytes
    a_reply_over_the_limit
    a_reply_over_the_limit_that_never_ends
    an_event_over_the_limit
    half_a_reply
    another_session_in_place_of_ours
    random_bytes
}

/// A server that is bad to its first client connection and good to all that follow.
fn bad_once(be_bad: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static) -> Script {
    Script::start(move |index, mut peer| {
        peer.shake_hands()?;
        if index == 0 {
            be_bad(&mut peer)?;
            return peer.listen_only();
        }
        peer.serve_data(b"good")
    })
}

/// A server that answers its requests with these bodies, one after the other, and then goes on
/// with good data.
fn bodies(bodies: Vec<Vec<u8>>) -> Script {
    Script::start(move |_, mut peer| {
        peer.shake_hands()?;
        for body in &bodies {
            let asked = peer.read_request()?;
            peer.send(&reply(asked.xid, 0, 0, body))?;
        }
        peer.serve_data(b"good")
    })
}

async fn connect(backend: Backend, script: &Script) -> Client {
    let builder = backend.builder(&script.connect_string());
    builder.connect().await.unwrap()
}

fn is_lost(error: &Error, what: &str) {
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    assert!(error.may_have_been_applied());
    let text = error.to_string();
    assert!(text.contains(what), "{text:?} does not say {what:?}");
}

fn is_malformed(error: &Error, what: &str) {
    assert!(matches!(error, Error::MalformedReply { .. }), "{error:?}");
    assert!(error.may_have_been_applied());
    let text = error.to_string();
    assert!(text.contains("the reply is malformed: "), "{text}");
    assert!(text.contains(what), "{text:?} does not say {what:?}");
}

/// The session lives, and gives right answers.
async fn is_well(client: &Client) {
    assert_eq!(client.get("/any").await.unwrap().data, "good");
    assert_eq!(client.credentials().unwrap().session_id(), SESSION_ID);
}

async fn replies_out_of_order(backend: Backend) {
    let script = bad_once(|peer| {
        let first = peer.read_request()?;
        let second = peer.read_request()?;
        peer.send(&reply(second.xid, 0, 0, &data_and_stat(Some(b"second"))))?;
        peer.send(&reply(first.xid, 0, 0, &data_and_stat(Some(b"first"))))
    });
    let client = connect(backend, &script).await;
    let first = client.get("/first").submit().unwrap();
    let second = client.get("/second").submit().unwrap();
    let what = "the server sent a reply with xid 2 where 1 was due";
    is_lost(&first.await.unwrap_err(), what);
    is_lost(&second.await.unwrap_err(), what);
    is_well(&client).await;
    assert_eq!(script.accepted(), 2);
}

async fn a_reply_that_nobody_asked_for(backend: Backend) {
    let script = bad_once(|peer| peer.send(&reply(1, 0, 0, &data_and_stat(Some(b"spam")))));
    let client = connect(backend, &script).await;
    let mut states = client.state_changes();
    loop {
        if let SessionState::Suspended { why, .. } = states.next().await.unwrap().state {
            let text = why.to_string();
            assert!(
                text.ends_with("a reply with xid 1 that nobody asked for"),
                "{text}"
            );
            break;
        }
    }
    is_well(&client).await;
}

async fn a_reply_that_comes_twice(backend: Backend) {
    let script = bad_once(|peer| {
        let asked = peer.read_request()?;
        let answer = reply(asked.xid, 0, 0, &data_and_stat(Some(b"once")));
        // The second request is on its way when the first is answered once more.
        peer.read_request()?;
        peer.send(&[&answer[..], &answer].concat())
    });
    let client = connect(backend, &script).await;
    let first = client.get("/first").submit().unwrap();
    let second = client.get("/second").submit().unwrap();
    assert_eq!(first.await.unwrap().data, "once");
    is_lost(
        &second.await.unwrap_err(),
        "the server sent a reply with xid 1 where 2 was due",
    );
    is_well(&client).await;
}

async fn xids_that_are_no_requests(backend: Backend) {
    for xid in [0, -3, -4, -8, i32::MIN] {
        let script = bad_once(move |peer| {
            peer.read_request()?;
            peer.send(&reply(xid, 0, 0, &data_and_stat(Some(b"no"))))
        });
        let client = connect(backend, &script).await;
        let error = client.get("/a").await.unwrap_err();
        is_lost(&error, &format!("a reply with xid {xid} where 1 was due"));
        is_well(&client).await;
    }
}

async fn a_server_that_knows_less_than_before(backend: Backend) {
    let asked_with = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked_with);
    let script = Script::start(move |index, mut peer| {
        let request = peer.read_frame()?;
        let zxid = i64::from_be_bytes(request[4..12].try_into().expect("eight bytes"));
        seen.lock().expect("no panic").push(zxid);
        peer.send(&handshake(30_000, SESSION_ID))?;
        if index > 0 {
            return peer.serve_data(b"good");
        }
        for zxid in [0x100, 0x100, 0x101, 0x50] {
            let asked = peer.read_request()?;
            peer.send(&reply(asked.xid, zxid, 0, &data_and_stat(Some(b"news"))))?;
        }
        peer.listen_only()
    });
    let client = connect(backend, &script).await;
    for _ in 0..3 {
        assert_eq!(client.get("/a").await.unwrap().data, "news");
    }
    let error = client.get("/a").await.unwrap_err();
    is_lost(&error, "the server sent zxid 0x50 after 0x101");
    is_well(&client).await;
    // No server that is behind would accept it now.
    assert_eq!(*asked_with.lock().unwrap(), [0, 0x101]);
}

async fn zxids_that_say_nothing(backend: Backend) {
    let script = Script::start(|_, mut peer| {
        peer.shake_hands()?;
        for zxid in [7, 0, -1, i64::MIN, 7] {
            let asked = peer.read_request()?;
            peer.send(&reply(asked.xid, zxid, 0, &data_and_stat(Some(b"fine"))))?;
        }
        peer.serve_data(b"good")
    });
    let client = connect(backend, &script).await;
    for _ in 0..5 {
        assert_eq!(client.get("/a").await.unwrap().data, "fine");
    }
    is_well(&client).await;
    assert_eq!(script.accepted(), 1);
}

async fn pings_that_nobody_asked_for(backend: Backend) {
    let script = Script::start(|_, mut peer| {
        peer.shake_hands()?;
        peer.send(&reply(-2, 0, 0, &[]).repeat(10_000))?;
        let asked = peer.read_request()?;
        let answer = reply(asked.xid, 0, 0, &data_and_stat(Some(b"good")));
        peer.send(&[reply(-2, 99, -7, b"??"), answer, reply(-2, 0, 0, &[])].concat())?;
        peer.serve_data(b"good")
    });
    let client = connect(backend, &script).await;
    is_well(&client).await;
    is_well(&client).await;
    assert_eq!(script.accepted(), 1);
}

/// A notification.
fn event(kind: i32, state: i32, path: &[u8]) -> Vec<u8> {
    let body = [&kind.to_be_bytes()[..], &state.to_be_bytes()];
    reply(-1, -1, 0, &[body.concat(), buffer(Some(path))].concat())
}

async fn events_that_nobody_asked_for(backend: Backend) {
    let script = Script::start(|_, mut peer| {
        peer.shake_hands()?;
        let asked = peer.read_request()?;
        peer.send(&event(3, 3, b"/a").repeat(100_000))?;
        peer.send(&reply(asked.xid, 0, 0, &data_and_stat(Some(b"good"))))?;
        peer.send(&event(4, 3, "/ö/\u{fffd}".as_bytes()))?;
        peer.serve_data(b"good")
    });
    let client = connect(backend, &script).await;
    is_well(&client).await;
    is_well(&client).await;
    assert_eq!(script.accepted(), 1);
}

async fn events_that_make_no_sense(backend: Backend) {
    let whole = event(3, 3, b"/a");
    let cut = frame(&whole[4..whole.len() - 1]);
    let no_path = frame(&whole[4..whole.len() - 6]);
    for (bad, what) in [
        (cut, "a malformed frame: path at byte 28"),
        (no_path, "a malformed frame: path at byte 24"),
        (
            event(99, 3, b"/a"),
            "a malformed frame: type at byte 16: the unknown value 99",
        ),
        (reply(-1, -1, 0, &[]), "a malformed frame: type at byte 16"),
    ] {
        let script = bad_once(move |peer| {
            peer.read_request()?;
            peer.send(&bad)
        });
        let client = connect(backend, &script).await;
        is_lost(&client.get("/a").await.unwrap_err(), what);
        is_well(&client).await;
    }
}

async fn bodies_cut_at_every_byte(backend: Backend) {
    let names = [
        &2i32.to_be_bytes()[..],
        &buffer(Some(b"x")),
        &buffer(Some(b"yz")),
        &stat(0),
    ];
    let path = [&buffer(Some(b"/made"))[..], &stat(4)];
    let (get, exists) = (data_and_stat(Some(b"data")), stat(4).to_vec());
    let (names, path) = (names.concat(), path.concat());
    // In the order in which they are asked for below.
    let cut = |body: &[u8]| -> Vec<_> { (0..body.len()).map(|len| body[..len].to_vec()).collect() };
    let script = bodies(
        [&get, &exists, &exists, &names, &path]
            .iter()
            .flat_map(|body| cut(body))
            .collect(),
    );
    let client = connect(backend, &script).await;
    for _ in 0..get.len() {
        is_malformed(&client.get("/a").await.unwrap_err(), "get \"/a\"");
    }
    for _ in 0..exists.len() {
        is_malformed(&client.exists("/a").await.unwrap_err(), "exists \"/a\"");
    }
    for _ in 0..exists.len() {
        is_malformed(&client.set("/a", b"").await.unwrap_err(), "set \"/a\"");
    }
    for _ in 0..names.len() {
        is_malformed(&client.children("/a").await.unwrap_err(), "children \"/a\"");
    }
    for _ in 0..path.len() {
        is_malformed(
            &client.create("/a", b"").await.unwrap_err(),
            "create \"/a\"",
        );
    }
    is_well(&client).await;
    assert_eq!(script.accepted(), 1);
    // Where nothing is expected, nothing can be missing.
    client.delete("/a").await.unwrap();
    client.sync("/a").await.unwrap();
}

async fn bytes_behind_a_body_mean_nothing(backend: Backend) {
    let longer = |mut body: Vec<u8>| {
        body.extend([0xFF; 9]);
        body
    };
    let names = [&1i32.to_be_bytes()[..], &buffer(Some(b"x")), &stat(0)].concat();
    let path = [&buffer(Some(b"/made"))[..], &stat(0)].concat();
    let script = bodies(vec![
        longer(data_and_stat(Some(b"data"))),
        longer(stat(4).to_vec()),
        longer(names),
        longer(path),
        longer(Vec::new()),
    ]);
    let client = connect(backend, &script).await;
    assert_eq!(client.get("/a").await.unwrap().data, "data");
    let found = client.exists("/a").await.unwrap();
    assert_eq!(found.unwrap().data_length, 4);
    assert_eq!(client.children("/a").await.unwrap().sorted(), ["x"]);
    assert_eq!(client.create("/a", b"").await.unwrap().path, "/made");
    client.delete("/a").await.unwrap();
    is_well(&client).await;
}

async fn counts_and_lengths_that_cannot_be(backend: Backend) {
    let counted = |count: i32, rest: &[u8]| [&count.to_be_bytes()[..], rest, &stat(0)].concat();
    let name = |len: i32| counted(1, &len.to_be_bytes());
    let lists = vec![
        (
            counted(i32::MAX, b""),
            "children at byte 16: a count of 2147483647 in 68 bytes",
        ),
        (
            counted(18, b""),
            "children at byte 16: a count of 18 in 68 bytes",
        ),
        (counted(-2, b""), "children at byte 16: a length of -2"),
        (
            counted(i32::MIN, b""),
            "children at byte 16: a length of -2147483648",
        ),
        (
            name(i32::MAX),
            "child at byte 24: 2147483647 more bytes announced, 68 left",
        ),
        (name(-2), "child at byte 20: a length of -2"),
        // More names than were sent: the stat is taken for one, and then something is missing.
        (counted(2, &buffer(Some(b"x"))), " at byte "),
    ];
    let data = |len: i32| [&len.to_be_bytes()[..], &stat(0)].concat();
    let data = vec![
        (
            data(i32::MAX),
            "data at byte 20: 2147483647 more bytes announced, 68 left",
        ),
        (data(-2), "data at byte 16: a length of -2"),
        (
            data(69),
            "data at byte 20: 69 more bytes announced, 68 left",
        ),
        (data(68), "czxid at byte 88: 8 more bytes announced, 0 left"),
    ];
    let all = [&lists, &data].into_iter().flatten();
    let script = bodies(all.map(|(body, _)| body.clone()).collect());
    let client = connect(backend, &script).await;
    for (_, what) in lists {
        is_malformed(&client.children("/a").await.unwrap_err(), what);
    }
    for (_, what) in data {
        is_malformed(&client.get("/a").await.unwrap_err(), what);
    }
    is_well(&client).await;
    assert_eq!(script.accepted(), 1);
}

async fn names_that_are_no_text(backend: Backend) {
    let list = |names: &[Option<&[u8]>]| {
        let count = i32::try_from(names.len()).unwrap().to_be_bytes();
        let names: Vec<_> = names.iter().flat_map(|name| buffer(*name)).collect();
        [&count[..], &names, &stat(0)].concat()
    };
    let script = bodies(vec![
        list(&[Some(b"plain"), Some(b"\xff\xfe"), Some(b"after")]),
        // U+1F600, as Java writes it: two surrogates of three bytes each.
        list(&[Some(b"\xed\xa0\xbd\xed\xb8\x80"), Some(b"")]),
        list(&[Some(b"x"), None]),
        // No list at all.
        [&(-1i32).to_be_bytes()[..], &stat(0)].concat(),
    ]);
    let client = connect(backend, &script).await;
    let names = client.children("/a").await.unwrap();
    assert_eq!(
        names.iter().collect::<Vec<_>>(),
        ["plain", "\u{fffd}\u{fffd}", "after"]
    );
    let names = client.children("/a").await.unwrap();
    assert_eq!(names.iter().collect::<Vec<_>>(), ["\u{1F600}", ""]);
    let error = client.children("/a").await.unwrap_err();
    is_malformed(&error, "child at byte");
    assert!(client.children("/a").await.unwrap().is_empty());
    is_well(&client).await;
}

async fn null_data_is_not_empty_data(backend: Backend) {
    let script = bodies(vec![data_and_stat(None), data_and_stat(Some(b""))]);
    let client = connect(backend, &script).await;
    let (null, empty) = (client.get("/a").await, client.get("/a").await);
    let (null, empty) = (null.unwrap(), empty.unwrap());
    assert!(null.data.is_empty() && null.is_null);
    assert!(empty.data.is_empty() && !empty.is_null);
}

async fn paths_from_elsewhere(backend: Backend) {
    let made = |path: &[u8]| [&buffer(Some(path))[..], &stat(0)].concat();
    let script = bodies(vec![
        made(b"/app/n-0000000007"),
        made(b"/apple/n-0000000007"),
        made(b"/app/n-x"),
        made(b"/app/n-99999999999999999999"),
        made(b"/app/n--2147483648"),
        made(b"/app"),
        made(b""),
        made(b"\xff"),
    ]);
    let servers = script.connect_string() + "/app";
    let client = backend.builder(&servers).connect().await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..8 {
        let made = client.create("/n-", b"").sequential().await.unwrap();
        answers.push((made.path, made.sequence));
    }
    let expected = [
        ("/n-0000000007", Some(7)),
        // It is not cut where it does not belong.
        ("/apple/n-0000000007", None),
        ("/n-x", None),
        ("/n-99999999999999999999", None),
        ("/n--2147483648", Some(i32::MIN)),
        ("/", None),
        ("", None),
        ("\u{fffd}", None),
    ];
    let expected = expected.map(|(path, sequence)| (path.to_owned(), sequence));
    assert_eq!(answers, expected);
}

async fn codes_that_nobody_knows(backend: Backend) {
    let codes = [-999, 7, i32::MIN, -101];
    let script = Script::start(move |_, mut peer| {
        peer.shake_hands()?;
        for code in codes {
            let asked = peer.read_request()?;
            // A body behind an error is not looked at.
            peer.send(&reply(asked.xid, 0, code, b"\x7f\xff\xff\xff?"))?;
        }
        peer.serve_data(b"good")
    });
    let client = connect(backend, &script).await;
    for code in codes {
        let error = client.get("/a").await.unwrap_err();
        assert_eq!(error.code().map(ErrorCode::code), Some(code));
        assert!(!error.may_have_been_applied());
        let text = error.to_string();
        assert!(text.ends_with(&format!("({code})")), "{text}");
    }
    is_well(&client).await;
}

async fn results_that_do_not_fit_the_transaction(backend: Backend) {
    let result = |code: i32, err: i32, body: &[u8]| {
        let mut bytes = code.to_be_bytes().to_vec();
        bytes.push(0);
        bytes.extend(err.to_be_bytes());
        bytes.extend(body);
        bytes
    };
    let all = |results: &[Vec<u8>]| {
        let mut bytes = results.concat();
        bytes.extend(b"\xff\xff\xff\xff\x01\xff\xff\xff\xff");
        bytes
    };
    let (deleted, checked) = (result(2, 0, &[]), result(13, 0, &[]));
    let failed = |code: i32| result(-1, code, &code.to_be_bytes());
    let refusal = all(&[failed(0), failed(-103)]);
    let rows = [
        // Too few, too many, the wrong ones, and of no known kind.
        (all(&[]), "results at byte 25: not what was asked for"),
        (
            all(std::slice::from_ref(&deleted)),
            "results at byte 34: not what was asked for",
        ),
        (
            all(&[deleted.clone(), checked.clone(), checked.clone()]),
            "results at byte 43: not what was asked for",
        ),
        (
            all(&[checked.clone(), deleted.clone()]),
            "results at byte 25: not what was asked for",
        ),
        (
            all(&[deleted.clone(), result(99, 0, &[])]),
            "type at byte 25: the unknown value 99",
        ),
        // Done and refused at once, and refused without a culprit among what was asked.
        (
            all(&[deleted.clone(), failed(-103)]),
            "results at byte 38: not what was asked for",
        ),
        (
            all(&[failed(0), failed(0), failed(-103)]),
            "results at byte 29: not what was asked for",
        ),
        // No end.
        (
            deleted.clone(),
            "type at byte 25: 4 more bytes announced, 0 left",
        ),
    ];
    let mut answers: Vec<_> = rows.iter().map(|(bytes, _)| bytes.clone()).collect();
    answers.push(refusal);
    answers.push(all(&[deleted, checked]));
    let script = bodies(answers);
    let client = connect(backend, &script).await;
    let ask = || client.transaction().delete("/a").check("/b", 3);
    for (_, what) in &rows {
        is_malformed(&ask().await.unwrap_err(), what);
    }
    let error = ask().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::BadVersion), "{error}");
    assert_eq!(error.request().unwrap().to_string(), "check \"/b\"");
    assert_eq!(ask().await.unwrap().results.len(), 2);
    is_well(&client).await;
}

async fn results_that_do_not_fit_the_reads(backend: Backend) {
    let head = |code: i32| [&code.to_be_bytes()[..], &[0; 5]].concat();
    let data = [head(4), data_and_stat(Some(b"x"))].concat();
    let names = [head(8), vec![0, 0, 0, 1, 0, 0, 0, 1, 0xFF]].concat();
    let end = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff".to_vec();
    let all = |results: &[&[u8]]| [&results.concat()[..], &end].concat();
    let rows = [
        (all(&[]), "results at byte 25: not what was asked for"),
        (
            all(&[&names, &data]),
            "results at byte 34: not what was asked for",
        ),
        (all(&[&data, &names, &data]), "not what was asked for"),
        (all(&[&data, &head(2)]), "not what was asked for"),
        (
            data.clone(),
            "type at byte 98: 4 more bytes announced, 0 left",
        ),
    ];
    let mut answers: Vec<_> = rows.iter().map(|(bytes, _)| bytes.clone()).collect();
    answers.push(all(&[&data, &names]));
    let script = bodies(answers);
    let client = connect(backend, &script).await;
    for (_, what) in &rows {
        let reads = client.read_many().get("/a").children("/b");
        is_malformed(&reads.await.unwrap_err(), what);
    }
    let found = client.read_many().get("/a").children("/b").await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().node().unwrap().data, "x");
    // A name that is no text.
    let names = found[1].as_ref().unwrap().names().unwrap();
    assert_eq!(names.sorted(), ["\u{FFFD}"]);
    is_well(&client).await;
}

async fn counts_and_names_that_cannot_be(backend: Backend) {
    let script = bodies(vec![
        vec![0xFF, 0xFF, 0xFF, 0xFE],
        vec![0, 0, 0],
        vec![0x7F, 0xFF, 0xFF, 0xFF],
        vec![0, 0, 0, 1, 0, 0, 0, 2, b'i', b'p', 0xFF, 0xFF, 0xFF, 0xFF],
        buffer(Some(b"server.1=a\nversion=f")),
    ]);
    let client = connect(backend, &script).await;
    let error = client.descendant_count("/").await.unwrap_err();
    is_malformed(&error, "totalNumber at byte 16: the unknown value -2");
    let error = client.descendant_count("/").await.unwrap_err();
    is_malformed(
        &error,
        "totalNumber at byte 16: 4 more bytes announced, 3 left",
    );
    let error = client.ephemerals("/").await.unwrap_err();
    is_malformed(
        &error,
        "ephemerals at byte 16: a count of 2147483647 in 0 bytes",
    );
    let error = client.whoami().await.unwrap_err();
    is_malformed(&error, "user at byte 26: null where a value must stand");
    let error = client.config().await.unwrap_err();
    is_malformed(&error, "czxid at byte 40: 8 more bytes announced, 0 left");
    is_well(&client).await;
}

async fn a_reply_in_single_bytes(backend: Backend) {
    let data = bytes_of(500, 1);
    let sent = data.clone();
    let script = Script::start(move |_, mut peer| {
        peer.read_frame()?;
        for byte in handshake(30_000, SESSION_ID) {
            peer.send(&[byte])?;
        }
        loop {
            let asked = peer.read_request()?;
            let other = event(1, 3, b"/somewhere");
            let answer = reply(asked.xid, 0, 0, &data_and_stat(Some(&sent)));
            for byte in [other, answer].concat() {
                peer.send(&[byte])?;
            }
        }
    });
    let client = connect(backend, &script).await;
    for _ in 0..5 {
        assert_eq!(client.get("/a").await.unwrap().data, data);
    }
}

async fn a_reply_over_the_limit(backend: Backend) {
    const LARGE: usize = 10 << 20;
    let script = Script::start(|_, mut peer| {
        peer.shake_hands()?;
        for data in [
            &b"good"[..],
            &vec![7; LARGE],
            b"good",
            &vec![7; 1_001],
            b"good",
        ] {
            let asked = peer.read_request()?;
            let mut answer = reply(asked.xid, 0, 0, data);
            if data == b"good" {
                answer = reply(asked.xid, 0, 0, &data_and_stat(Some(data)));
            }
            peer.send(&answer)?;
        }
        peer.serve_data(b"good")
    });
    let builder = backend.builder(&script.connect_string());
    let client = builder.reply_len_max(1_000).connect().await.unwrap();
    let gets: Vec<_> = (0..6).map(|_| client.get("/a").submit().unwrap()).collect();
    let mut lens = Vec::new();
    for get in gets {
        match get.await {
            Ok(node) => {
                assert_eq!(node.data, "good");
                lens.push(None);
            }
            Err(Error::ReplyTooLarge {
                len, limit: 1_000, ..
            }) => lens.push(Some(len)),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(
        lens,
        [None, Some(LARGE + 16), None, Some(1_017), None, None]
    );
    is_well(&client).await;
    assert_eq!(script.accepted(), 1);
}

async fn a_reply_over_the_limit_that_never_ends(backend: Backend) {
    let script = bad_once(|peer| {
        let asked = peer.read_request()?;
        peer.read_request()?;
        let answer = reply(asked.xid, 0, 0, &vec![7; 100_000]);
        // Then it closes.
        peer.send(&answer[..50_000])?;
        Err(io::ErrorKind::Other.into())
    });
    let builder = backend.builder(&script.connect_string());
    let client = builder.reply_len_max(1_000).connect().await.unwrap();
    let large = client.get("/large").submit().unwrap();
    let behind = client.get("/behind").submit().unwrap();
    let error = large.await.unwrap_err();
    assert!(matches!(error, Error::ReplyTooLarge { .. }), "{error}");
    assert!(error.may_have_been_applied());
    is_lost(&behind.await.unwrap_err(), "the connection to");
    is_well(&client).await;
}

async fn an_event_over_the_limit(backend: Backend) {
    let script = bad_once(|peer| {
        peer.read_request()?;
        peer.send(&event(3, 3, &[b'/'; 2_000]))
    });
    let builder = backend.builder(&script.connect_string());
    let client = builder.reply_len_max(1_000).connect().await.unwrap();
    let error = client.get("/a").await.unwrap_err();
    is_lost(
        &error,
        "a frame of 2028 bytes with xid -1, which is no reply",
    );
    is_well(&client).await;
}

async fn half_a_reply(backend: Backend) {
    let script = bad_once(|peer| {
        let asked = peer.read_request()?;
        let answer = reply(asked.xid, 0, 0, &data_and_stat(Some(b"half")));
        peer.send(&answer[..answer.len() - 1])?;
        Err(io::ErrorKind::Other.into())
    });
    let client = connect(backend, &script).await;
    is_lost(&client.get("/a").await.unwrap_err(), "the connection to");
    is_well(&client).await;
}

async fn another_session_in_place_of_ours(backend: Backend) {
    let other = 0x77;
    for (answer, end) in [
        (
            handshake(30_000, other),
            SessionEnd::Replaced {
                session_id: SESSION_ID,
                other,
            },
        ),
        (
            handshake(0, 0),
            SessionEnd::Expired {
                session_id: SESSION_ID,
            },
        ),
        (
            handshake(-1, SESSION_ID),
            SessionEnd::Expired {
                session_id: SESSION_ID,
            },
        ),
    ] {
        let script = Script::start(move |index, mut peer| {
            if index == 0 {
                peer.shake_hands()?;
                return peer.read_request().map(drop);
            }
            peer.read_frame()?;
            peer.send(&answer)?;
            peer.serve_data(b"of another session")
        });
        let client = connect(backend, &script).await;
        is_lost(&client.get("/a").await.unwrap_err(), "the connection to");
        // What was not sent does not cross over into another session.
        let error = client.get("/b").await.unwrap_err();
        assert!(matches!(error, Error::SessionEnded { .. }), "{error:?}");
        assert!(!error.may_have_been_applied());
        assert!(error.to_string().contains(&end.to_string()), "{error}");
        assert_eq!(client.state(), SessionState::Ended(end));
    }
}

async fn random_bytes(backend: Backend) {
    for seed in 0..100 {
        // Sometimes behind a length that fits, so that the garbage is inside the frame.
        let script = bad_once(move |peer| {
            let asked = peer.read_request()?;
            let garbage = bytes_of(200, seed);
            match seed % 4 {
                0 => peer.send(&garbage),
                1 => peer.send(&frame(&garbage)),
                2 => peer.send(&reply(asked.xid, 0, 0, &garbage)),
                _ => peer.send(&[reply(asked.xid, 0, 0, &garbage[..90]), garbage].concat()),
            }
        });
        let client = connect(backend, &script).await;
        let answer = if seed % 8 < 4 {
            client.get("/a").await.map(|node| node.data.len())
        } else {
            client.children("/a").await.map(|names| names.len())
        };
        match answer.unwrap_err() {
            Error::ConnectionLost { .. } | Error::MalformedReply { .. } => {}
            other => panic!("{seed}: {other}"),
        }
        assert!(!matches!(client.state(), SessionState::Ended(_)), "{seed}");
    }
}
