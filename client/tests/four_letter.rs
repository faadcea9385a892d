//! Four-letter words, asked of the fake server and of a real one.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use homing::admin::{self, Isro, Why};
use homing_testkit::{FakeServer, real};
use support::{Backend, with_watchdog};

/// A fake server that answers all that it knows, and the real one where there is one. Each with
/// a node more than at first.
fn servers() -> Vec<String> {
    static FAKE: std::sync::OnceLock<FakeServer> = std::sync::OnceLock::new();
    let fake = FAKE.get_or_init(|| {
        FakeServer::builder()
            .config(|config| config.four_letter_words = vec!["*".into()])
            .start()
            .unwrap()
    });
    let real = real::shared().map(real::ZooKeeper::connect_string);
    [Some(fake.connect_string()), real]
        .into_iter()
        .flatten()
        .collect()
}

/// Longer than any server takes, however busy the machine.
const SOON: Duration = Duration::from_secs(60);

/// A server that does this with each connection.
fn scripted(serve: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut word = [0; 4];
            let _ = stream.read_exact(&mut word);
            serve(&mut stream);
        }
    });
    address.to_string()
}

#[test]
fn answers_with_a_shape() {
    with_watchdog(|| {
        for server in servers() {
            let srvr = admin::srvr(&server).within(SOON).wait().unwrap();
            assert!(srvr.version.starts_with("3."), "{srvr:?}");
            assert_eq!(srvr.mode, "standalone");
            assert!(srvr.node_count >= Some(5), "{srvr:?}");
            assert!(srvr.received.is_some() && srvr.latency_ms.is_some());
            assert_eq!(srvr.others, [], "{server}");

            let mntr = admin::mntr(&server).within(SOON).wait().unwrap();
            assert_eq!(mntr.version, srvr.version);
            assert_eq!(mntr.server_state, "standalone");
            assert!(mntr.znode_count >= Some(5), "{mntr:?}");
            assert!(mntr.watch_count.is_some() && mntr.num_alive_connections.is_some());
            assert_eq!(mntr.get("zk_server_state"), Some("standalone"));
            assert_eq!(mntr.get("zk_no_such_thing"), None);

            assert_eq!(
                admin::isro(&server).within(SOON).wait().unwrap(),
                Isro::ReadWrite
            );
            assert_eq!(
                admin::four_letter(&server, "ruok")
                    .within(SOON)
                    .wait()
                    .unwrap(),
                "imok"
            );
        }
    });
}

#[test]
fn they_can_be_awaited_on_any_executor() {
    for backend in Backend::ALL {
        with_watchdog(|| {
            backend.block_on(async {
                for server in servers() {
                    let (srvr, isro) = (
                        admin::srvr(&server).within(SOON),
                        admin::isro(&server).within(SOON),
                    );
                    assert_eq!(srvr.await.unwrap().mode, "standalone");
                    assert_eq!(isro.await.unwrap(), Isro::ReadWrite);
                    // One that is dropped does no harm.
                    drop(admin::srvr(&server).into_future());
                }
            });
        });
    }
}

#[test]
fn a_name_is_looked_up() {
    let server = FakeServer::start();
    let server = format!("localhost:{}", server.addr().port());
    assert_eq!(
        admin::srvr(&server).within(SOON).wait().unwrap().mode,
        "standalone"
    );
}

#[test]
fn what_is_not_allowed_says_so() {
    let server = FakeServer::start().connect_string();
    let error = admin::mntr(&server).within(SOON).wait().unwrap_err();
    // The server is gone already.
    assert!(matches!(error.why, Why::Connect(_)), "{error}");
    let server = FakeServer::start();
    let error = admin::mntr(&server.connect_string()).wait().unwrap_err();
    assert_eq!(error.why, Why::NotInWhitelist);
    assert_eq!(
        error.to_string(),
        format!(
            "mntr at {}: the server does not answer it: it is not in its whitelist (`4lw.commands.whitelist`)",
            server.connect_string()
        )
    );
    // A word that no server knows is taken for the length of a request.
    for server in servers() {
        let error = admin::four_letter(&server, "xyzw")
            .within(SOON)
            .wait()
            .unwrap_err();
        assert_eq!(error.why, Why::NoAnswer, "{error}");
    }
}

#[test]
fn questions_that_cannot_be_asked() {
    let says = |server, word| {
        admin::four_letter(server, word)
            .wait()
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        says("zk1", "status"),
        "status at zk1: it is no word of four letters"
    );
    assert_eq!(
        says("zk1,zk2", "srvr"),
        "srvr at zk1,zk2: one server is asked, not 2"
    );
    assert_eq!(
        says("zk1/app", "srvr"),
        "srvr at zk1/app: a server has no chroot"
    );
    assert!(says("zk1:x", "srvr").contains("the port is not a number"));
    let tls = says("tls://zk1:2281", "srvr");
    assert!(tls.contains("TLS: it is not set up: "), "{tls}");
    assert!(tls.contains("`Builder::tls"), "{tls}");
}

#[test]
fn a_server_that_says_nothing_is_left_in_time() {
    with_watchdog(|| {
        let server = scripted(|stream| while let Ok(1..) = stream.read(&mut [0]) {});
        let started = Instant::now();
        let within = Duration::from_millis(50);
        let error = admin::srvr(&server).within(within).wait().unwrap_err();
        assert_eq!(error.why, Why::TimedOut(within));
        assert!(started.elapsed() >= within);
        // So is one that goes on for ever, however little it says at a time.
        let server = scripted(|stream| while stream.write_all(b"Mode").is_ok() {});
        let error = admin::srvr(&server).within(within).wait().unwrap_err();
        let is_left = matches!(error.why, Why::TimedOut(_) | Why::TooLong(_));
        assert!(is_left, "{error}");
    });
}

#[test]
fn an_answer_over_the_limit_is_not_kept() {
    with_watchdog(|| {
        let server = scripted(|stream| while stream.write_all(&[b'x'; 64 << 10]).is_ok() {});
        let error = admin::srvr(&server).within(Duration::from_secs(100)).wait();
        assert_eq!(error.unwrap_err().why, Why::TooLong(16 << 20));
    });
}

#[test]
fn answers_that_make_no_sense() {
    let answers = |answer: &'static [u8]| {
        let server = scripted(move |stream| stream.write_all(answer).unwrap());
        admin::srvr(&server).within(SOON).wait().unwrap_err().why
    };
    assert_eq!(
        answers(b"\xff\xfe"),
        Why::Malformed("there is no version".into())
    );
    assert_eq!(
        answers(b"This ZooKeeper instance is not currently serving requests\n"),
        Why::NotServing
    );
    assert!(matches!(answers(&[21, 3, 3, 0, 2, 2, 10]), Why::Tls(_)));
}
