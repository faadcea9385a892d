//! Strings, paths and servers that are not what they should be: each ends in an error that says
//! what is wrong, in time, and nobody is busy while waiting.
//!
//! All in one test, so that the process's CPU time is known to belong to it.

mod support;

use std::fs;
use std::io;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use homing::{Client, Error};
use homing_testkit::FakeServer;
use support::script::{Peer, Script, frame, handshake, reply};
use support::{Backend, with_watchdog};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How much later than that an error may come on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// How often a server may be asked meanwhile, at the most.
const MOST_ATTEMPTS: usize = 40;

/// A server, and what is said about it.
struct Row {
    name: &'static str,
    serve: fn(&mut Peer) -> io::Result<()>,
    /// What the error must say. The server's address stands for `{}`.
    says: &'static str,
}

/// Those that never give a session: connecting fails.
const STRANGERS: &[Row] = &[
    Row {
        name: "closes at once",
        serve: |_| Ok(()),
        says: "{}: it accepted the connection and closed it without an answer",
    },
    Row {
        name: "closes after the request",
        serve: |peer| peer.read_frame().map(drop),
        says: "{}: it accepted the connection and closed it without an answer",
    },
    Row {
        name: "closes in the middle of its answer",
        serve: |peer| {
            peer.read_frame()?;
            peer.send(&handshake(30_000, 1)[..20])
        },
        says: "{}: it accepted the connection and closed it without an answer",
    },
    Row {
        name: "never answers",
        serve: Peer::listen_only,
        says: "{}: it accepted the connection and did not answer the handshake in time",
    },
    Row {
        name: "stops in the middle of its answer",
        serve: |peer| {
            peer.send(&handshake(30_000, 1)[..20])?;
            peer.listen_only()
        },
        says: "{}: it accepted the connection and did not answer the handshake in time",
    },
    Row {
        name: "speaks HTTP",
        serve: |peer| {
            peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?;
            peer.listen_only()
        },
        says: "{}: it does not speak ZooKeeper's protocol: it answers in HTTP",
    },
    Row {
        name: "speaks HTTP and closes",
        serve: |peer| {
            peer.read_frame()?;
            peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        },
        says: "{}: it does not speak ZooKeeper's protocol: it answers in HTTP",
    },
    Row {
        name: "sends a TLS alert",
        serve: |peer| {
            peer.read_frame()?;
            peer.send(&[21, 3, 3, 0, 2, 2, 40])
        },
        says: "{}: it does not speak ZooKeeper's protocol: it answers in TLS",
    },
    Row {
        name: "greets like an SSH server",
        serve: |peer| {
            peer.send(b"SSH-2.0-OpenSSH_9.6\r\n")?;
            peer.listen_only()
        },
        says: "{}: it does not speak ZooKeeper's protocol: its handshake begins with a frame of 1397966893 bytes",
    },
    Row {
        name: "sends garbage",
        serve: |peer| {
            peer.send(&[0xDE, 0xAD, 0xBE, 0xEF].repeat(100))?;
            peer.listen_only()
        },
        says: "{}: it does not speak ZooKeeper's protocol: its handshake begins with a frame of -559038737 bytes",
    },
    Row {
        name: "announces 2 GiB",
        serve: |peer| {
            peer.send(&0x7FFF_FFFFi32.to_be_bytes())?;
            peer.listen_only()
        },
        says: "{}: it does not speak ZooKeeper's protocol: its handshake begins with a frame of 2147483647 bytes, over the limit",
    },
    Row {
        name: "announces -5 bytes",
        serve: |peer| {
            peer.send(&(-5i32).to_be_bytes())?;
            peer.listen_only()
        },
        says: "{}: it does not speak ZooKeeper's protocol: its handshake begins with a frame of -5 bytes",
    },
    Row {
        name: "answers in too few bytes",
        serve: |peer| {
            peer.send(&frame(b"hello"))?;
            peer.listen_only()
        },
        says: "{}: it does not speak ZooKeeper's protocol: its handshake has 5 bytes",
    },
    Row {
        name: "gives an endless password",
        serve: |peer| {
            let mut answer = handshake(30_000, 1);
            answer[4 + 16..4 + 20].copy_from_slice(&0x7FFF_FFFFi32.to_be_bytes());
            peer.send(&answer)?;
            peer.listen_only()
        },
        says: "{}: it does not speak ZooKeeper's protocol: its handshake is malformed: passwd",
    },
    Row {
        name: "gives no session",
        serve: |peer| {
            peer.send(&handshake(30_000, 0))?;
            peer.listen_only()
        },
        says: "{}: it does not speak ZooKeeper's protocol: it gave a session without an id",
    },
    Row {
        name: "refuses a new session as if it had expired",
        serve: |peer| {
            peer.send(&handshake(0, 0))?;
            peer.listen_only()
        },
        says: "{}: it does not speak ZooKeeper's protocol: it refused a new session",
    },
    Row {
        name: "is read-only",
        serve: |peer| {
            let mut answer = handshake(30_000, 1);
            *answer.last_mut().expect("a flag") = 1;
            peer.send(&answer)?;
            peer.listen_only()
        },
        says: "{}: it is read-only",
    },
];

/// Those that give a session and go bad then: the request that is on its way fails.
const TRAITORS: &[Row] = &[
    Row {
        name: "closes after the handshake",
        serve: |peer| {
            peer.shake_hands()?;
            peer.read_request().map(drop)
        },
        says: "the connection to {} was lost: the server closed it; it may have been applied or not",
    },
    Row {
        name: "announces a reply of 2 GiB",
        serve: |peer| {
            peer.shake_hands()?;
            peer.read_request()?;
            peer.send(&0x7FFF_FFFFi32.to_be_bytes())?;
            peer.listen_only()
        },
        says: "the connection to {} was lost: the server sent a frame of 2147483647 bytes, over the limit",
    },
    Row {
        name: "announces a reply of -5 bytes",
        serve: |peer| {
            peer.shake_hands()?;
            peer.read_request()?;
            peer.send(&(-5i32).to_be_bytes())?;
            peer.listen_only()
        },
        says: "the connection to {} was lost: the server sent a frame of -5 bytes",
    },
    Row {
        name: "replies in too few bytes",
        serve: |peer| {
            peer.shake_hands()?;
            peer.read_request()?;
            peer.send(&frame(b"hello"))?;
            peer.listen_only()
        },
        says: "the connection to {} was lost: the server sent a malformed frame: zxid at byte 4",
    },
    Row {
        name: "replies with nothing",
        serve: |peer| {
            peer.shake_hands()?;
            peer.read_request()?;
            peer.send(&frame(b""))?;
            peer.listen_only()
        },
        says: "the connection to {} was lost: the server sent a malformed frame: xid at byte 0",
    },
    Row {
        name: "replies to somebody else",
        serve: |peer| {
            peer.shake_hands()?;
            peer.read_request()?;
            peer.send(&reply(77, 0, 0, &[]))?;
            peer.listen_only()
        },
        says: "the connection to {} was lost: the server sent a reply with xid 77 where 1 was due",
    },
];

#[test]
fn bad_input() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        usual(info);
    }));
    for backend in Backend::ALL {
        with_watchdog(|| backend.block_on(bad_strings(*backend)));
        with_watchdog(|| backend.block_on(tls_without_settings(*backend)));
        with_watchdog(|| backend.block_on(bad_requests(*backend)));
    }
    let (cpu, since) = (cpu_time(), Instant::now());
    thread::scope(|scope| {
        for backend in Backend::ALL {
            scope.spawn(|| with_watchdog(|| backend.block_on(bad_servers(*backend))));
        }
    });
    let (cpu, waited) = (cpu_time() - cpu, since.elapsed());
    let share = cpu.as_secs_f64() / waited.as_secs_f64() * 100.0;
    eprintln!("{cpu:?} of CPU time in {waited:?}: {share:.1} %");
    assert!(share < 5.0, "busy while it waits: {share:.1} %");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "something panicked");
}

async fn bad_strings(backend: Backend) {
    let rows = [
        ("", "connect string \"\": server 1, \"\": there is no host"),
        ("zk1,,zk2", "server 2, \"\": there is no host"),
        (
            "zk1:x",
            "server 1, \"zk1:x\": the port is not a number from 1 to 65535",
        ),
        ("zk1:0", "the port is not a number from 1 to 65535"),
        ("zk1:65536", "the port is not a number from 1 to 65535"),
        ("[::1", "a bracket is not closed"),
        ("zk one", "the host has a character that no host name has"),
        ("zk1/app/", "the chroot is not a path: it ends with a slash"),
        (
            "zk1/a//b",
            "the chroot is not a path: an empty component at byte 3",
        ),
        (
            "zk1/../b",
            "the chroot is not a path: a component `.` or `..` at byte 1",
        ),
        ("http://zk1", "a scheme (http) is no part of it"),
        (
            "tls://zk1",
            "server 1, \"tls://zk1\": a port must follow: there is no usual one for TLS",
        ),
        ("zk1,tls:/zk2", "the port is not a number"),
    ];
    for (text, says) in rows {
        let since = Instant::now();
        let errors = [
            backend.builder(text).connect().await.unwrap_err(),
            backend.builder(text).start().unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::ConnectString(_)), "{error:?}");
            let error = error.to_string();
            let quoted = format!("connect string {text:?}: ");
            assert!(
                error.starts_with(&quoted) && error.contains(says),
                "{error}"
            );
        }
        assert!(since.elapsed() < SLACK, "{text:?}");
    }
}

/// TLS that was not set up, or is not compiled in, is never left out in silence.
async fn tls_without_settings(backend: Backend) {
    let builder = backend.builder("zk1,tls://zk2:2281/app");
    let error = builder.start().unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error:?}");
    let error = error.to_string();
    let says = "the connect string has tls://zk2:2281, and TLS is not set up: ";
    assert!(error.starts_with(says), "{error}");
    assert!(error.contains("`Builder::tls"), "{error}");
    let names_feature = error.contains("the feature `tls`");
    assert_eq!(names_feature, cfg!(not(feature = "tls")), "{error}");
}

async fn bad_requests(backend: Backend) {
    let server = FakeServer::start();
    let client = connect(backend, &server.connect_string()).await;
    let received = server.requests_received();
    let rows = [
        ("", "get \"\": not a path: it is empty"),
        ("a", "get \"a\": not a path: it does not begin with a slash"),
        ("/a/", "get \"/a/\": not a path: it ends with a slash"),
        (
            "/a//b",
            "get \"/a//b\": not a path: an empty component at byte 3",
        ),
        (
            "/a/../b",
            "get \"/a/../b\": not a path: a component `.` or `..` at byte 3",
        ),
        (
            "/\u{7f}",
            "get \"/\\u{7f}\": not a path: the character U+007F at byte 1 is not allowed",
        ),
    ];
    for (path, says) in rows {
        let error = client.get(path).await.unwrap_err();
        assert_eq!(error.to_string(), says);
    }
    let large = vec![0; 1 << 20];
    for error in [
        client.create("/a", &large).await.map(drop).unwrap_err(),
        client.set("/a", &large).await.map(drop).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            text.contains("over the limit of 1048575 (`request_len_max`)"),
            "{text}"
        );
        assert!(text.ends_with("it was not sent"), "{text}");
    }
    assert_eq!(server.requests_received(), received, "something was sent");
    client.close().await.unwrap();
}

async fn bad_servers(backend: Backend) {
    for row in STRANGERS {
        let script = Script::start(|_, mut peer| (row.serve)(&mut peer));
        let addr = script.addr().to_string();
        refused(backend, &addr, &[&row.says.replace("{}", &addr)], row.name).await;
        // Again and again would be a busy loop: there are pauses in between.
        let attempts = script.accepted();
        assert!(
            (1..=MOST_ATTEMPTS).contains(&attempts),
            "{}: {attempts} attempts",
            row.name
        );
    }
    for row in TRAITORS {
        let script = Script::start(|_, mut peer| (row.serve)(&mut peer));
        let addr = script.addr().to_string();
        let client = connect(backend, &addr).await;
        let since = Instant::now();
        let error = client.get("/a").await.unwrap_err();
        assert!(since.elapsed() < CONNECT_TIMEOUT + SLACK, "{}", row.name);
        assert!(
            matches!(error, Error::ConnectionLost { .. }),
            "{}: {error}",
            row.name
        );
        says(&error, &row.says.replace("{}", &addr), row.name);
    }
    accepts_and_closes_for_ever(backend).await;
    nobody_listens(backend).await;
    nobody_has_the_name(backend).await;
    each_server_has_its_reason(backend).await;
}

/// A server that gives a session and then closes, whenever it is asked.
async fn accepts_and_closes_for_ever(backend: Backend) {
    let script = Script::start(|_, mut peer| peer.shake_hands());
    let addr = script.addr().to_string();
    let client = connect(backend, &addr).await;
    let error = client
        .get("/a")
        .deadline(CONNECT_TIMEOUT)
        .await
        .unwrap_err();
    // The request was sent just then, or never.
    let is_told = matches!(error, Error::ConnectionLost { .. } | Error::Deadline { .. });
    assert!(is_told, "{error}");
    // Whoever waits for better times learns why there are none.
    let late = client.get("/a").deadline(CONNECT_TIMEOUT * 2).await;
    late.unwrap_err();
    let failures = client.failures();
    let lost = format!("{addr}: the connection to {addr} was lost: ");
    let text = failures[0].to_string();
    assert!(text.starts_with(&lost), "{text}");
    let attempts = script.accepted();
    assert!(
        (1..=MOST_ATTEMPTS).contains(&attempts),
        "{attempts} attempts"
    );
}

async fn nobody_listens(backend: Backend) {
    // Not a port that was free a moment ago: somebody could be given it now.
    let addr = "127.0.0.1:1";
    let text = format!("{addr}: it could not be connected to: Connection refused");
    refused(backend, addr, &[&text], "nobody listens").await;
}

async fn nobody_has_the_name(backend: Backend) {
    // Reserved for ever (RFC 6761). A resolver says so at once, or does not answer in time.
    let text = "nobody.invalid:2181: its name could not be looked up";
    refused(backend, "nobody.invalid:2181", &[text], "no such name").await;
}

/// An error names all servers, each with what was wrong with it, under the names that the user
/// knows them by.
async fn each_server_has_its_reason(backend: Backend) {
    let silent = Script::start(|_, mut peer| peer.listen_only());
    let mute = Script::start(|_, mut peer| peer.listen_only());
    let web = Script::start(|_, mut peer| peer.send(b"HTTP/1.1 200 OK\r\n\r\n"));
    let (silent, mute, web) = (silent.addr(), mute.addr(), web.addr());
    let servers = format!("{silent},{web},localhost:{}", mute.port());
    let reasons = [
        &*format!("{silent}: it accepted the connection and did not answer"),
        &*format!("{web}: it does not speak"),
        &*format!("localhost:{} (", mute.port()),
    ];
    for _ in 0..3 {
        // Each time in another order.
        refused(backend, &servers, &reasons, "several").await;
    }
    // A single server has the whole time, the lookup of its name included, and still its reason
    // is told. (To the system's resolver this is a name of 127.0.0.1, and of nothing else.)
    let server = format!("127.1:{}", silent.port());
    let text = format!("{server} ({silent}): it accepted the connection and did not answer");
    refused(backend, &server, &[&text], "one with a name").await;
}

/// Connects in vain, in time, and learns why. Where a machine is too busy to give the server a
/// turn in that time, there is more of it, and more again.
async fn refused(backend: Backend, servers: &str, reasons: &[&str], name: &str) {
    for timeout in [1, 4, 16].map(|factor| factor * CONNECT_TIMEOUT) {
        let builder = backend.builder(servers).connect_timeout(timeout);
        let since = Instant::now();
        let error = builder.connect().await.unwrap_err();
        let took = since.elapsed();
        assert!(took < timeout + SLACK, "{name}: after {took:?}");
        assert!(matches!(error, Error::Connect { .. }), "{name}: {error}");
        let text = error.to_string();
        let begin = format!("no server accepted the session within {timeout:?}; ");
        let is_told = text.starts_with(&begin) && reasons.iter().all(|why| text.contains(why));
        if is_told {
            return;
        }
        assert!(
            timeout < 16 * CONNECT_TIMEOUT,
            "{name}: {text:?} does not say {reasons:?}"
        );
    }
}

async fn connect(backend: Backend, servers: &str) -> Client {
    let builder = backend.builder(servers).connect_timeout(SLACK);
    builder.connect().await.unwrap()
}

fn says(error: &Error, what: &str, name: &str) {
    let text = error.to_string();
    assert!(
        text.contains(what),
        "{name}: {text:?} does not say {what:?}"
    );
}

/// What this process has used so far, in user and system mode, to the hundredth of a second.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("a Linux system");
    // Behind the program's name, which may hold anything, come the fields from the third on.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = |n: usize| -> u64 {
        let field = fields.split_whitespace().nth(n - 3);
        field
            .and_then(|field| field.parse().ok())
            .expect("a number")
    };
    Duration::from_millis((ticks(14) + ticks(15)) * 10)
}
