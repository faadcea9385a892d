//! How connections and sessions end, on the fake server and on a real one.

mod support;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use homing_protocol::{Acl, ConnectResponse, CreateMode, op};
use homing_testkit::{FakeServer, real};
use support::socket::{Client, SOON, ask, patiently, read_frame};
use support::{Raw, create_body, handshake_frame, new_session, path_and_kind, request_frame};

/// The shortest session that there is here, and the tick.
const BRIEF: Duration = Duration::from_millis(1000);
const TICK: Duration = Duration::from_millis(200);
/// The longest one: no test waits for its end.
const LONG: Duration = Duration::from_secs(600);

/// Runs it against a fake server, and against a real one where there is one.
fn on_both(run: impl Fn(SocketAddr)) {
    let fake = FakeServer::builder()
        .tick_time(TICK)
        .session_timeouts(BRIEF, LONG)
        .handshake_timeout(BRIEF)
        .start()
        .unwrap();
    run(fake.addr());
    if let Some(real) = real() {
        run(real.addr());
    }
}

/// One for all tests here.
fn real() -> Option<&'static real::ZooKeeper> {
    static REAL: OnceLock<Option<real::ZooKeeper>> = OnceLock::new();
    let ms = |time: Duration| time.as_millis().to_string();
    let start = || {
        real::requirement()?;
        let builder = real::ZooKeeper::builder()
            .tick_time(TICK)
            .property("minSessionTimeout", &ms(BRIEF))
            .property("maxSessionTimeout", &ms(LONG))
            .system_property("zookeeper.nio.sessionlessCnxnTimeout", &ms(BRIEF));
        Some(builder.start().unwrap())
    };
    REAL.get_or_init(start).as_ref()
}

fn session(addr: SocketAddr, timeout: Duration) -> Client {
    let timeout_ms = timeout.as_millis() as i32;
    Client::with(addr, &new_session(timeout_ms)).expect("a session")
}

/// A login that is always let in, as a body.
fn login() -> Raw {
    Raw([&[0; 4][..], b"\0\0\0\x06digest\0\0\0\x03a:b"].concat())
}

fn create(path: &str) -> BytesMut {
    let acl = [Acl::open()];
    let create = create_body(path, &acl, CreateMode::Persistent);
    request_frame(1, op::CREATE, &create)
}

/// Whether there is such a node, once it had to be.
fn is_there(addr: SocketAddr, path: &str) -> bool {
    let mut other = session(addr, LONG);
    other
        .get(path, false)
        .is_some_and(|answer| answer.err() == 0)
}

/// What comes until the connection is closed.
fn rest(socket: &mut TcpStream) -> Vec<Bytes> {
    std::iter::from_fn(|| read_frame(socket)).collect()
}

#[test]
fn somebody_who_does_nothing_but_log_in_expires() {
    on_both(|addr| {
        let mut client = session(addr, BRIEF);
        patiently(|| match client.call(op::AUTH, &login()) {
            Some(answer) => {
                assert_eq!(answer.err(), 0);
                std::thread::sleep(BRIEF / 10);
                None
            }
            None => Some(()),
        });
        let again = Client::with(addr, &client.again(0)).expect("an answer");
        assert_eq!(again.session.timeout_ms, 0, "it has expired");
    });
}

#[test]
fn whoever_expires_is_told_nothing_of_it() {
    on_both(|addr| {
        // A real server could win this race against itself, and does not.
        patiently(|| {
            let mut client = session(addr, BRIEF);
            client.create("/e", CreateMode::Ephemeral)?;
            client.call(op::ADD_WATCH, &path_and_kind("/e", 0))?;
            rest(&mut client.socket).is_empty().then_some(())
        });
    });
}

#[test]
fn what_comes_with_a_bad_frame_is_done_and_not_answered() {
    on_both(|addr| {
        let mut attempt = 0;
        patiently(|| {
            attempt += 1;
            let path = format!("/bad{attempt}");
            let mut client = session(addr, LONG);
            let bytes = [&create(&path)[..], b"\xff\xff\xff\xfb"].concat();
            client.socket.write_all(&bytes).unwrap();
            let rest = rest(&mut client.socket);
            patiently(|| is_there(addr, &path).then_some(()));
            rest.is_empty().then_some(())
        });
    });
}

#[test]
fn what_somebody_has_asked_who_says_no_more_is_done_and_not_answered() {
    on_both(|addr| {
        let mut attempt = 0;
        patiently(|| {
            attempt += 1;
            let path = format!("/half{attempt}");
            let mut client = session(addr, LONG);
            client.socket.write_all(&create(&path)).unwrap();
            client.socket.shutdown(Shutdown::Write).unwrap();
            let rest = rest(&mut client.socket);
            patiently(|| is_there(addr, &path).then_some(()));
            rest.is_empty().then_some(())
        });
        assert!(ask(addr, "srvr").contains("Mode: standalone"));
    });
}

#[test]
fn a_session_begins_once_more_with_whatever_time_out() {
    on_both(|addr| {
        let mut client = session(addr, LONG);
        let zxid = client.get("/", false).unwrap().header.zxid;
        client.send(-10, &Raw(0_i32.to_be_bytes().to_vec()));
        let frame = read_frame(&mut client.socket).unwrap();
        assert_eq!(frame.len(), 37);
        let response = ConnectResponse::decode(&frame).unwrap();
        assert_eq!(response, client.session);
        let answer = client.get("/", false).unwrap();
        assert!(answer.header.zxid > zxid, "it is a transaction");
        // Heard of, it has its own time again; and now it has none, and is silent.
        client.send(-10, &Raw(0_i32.to_be_bytes().to_vec()));
        assert_eq!(rest(&mut client.socket).len(), 1);
    });
}

#[test]
fn a_handshake_may_take_its_time_and_silence_may_not() {
    on_both(|addr| {
        let mut silent = TcpStream::connect(addr).unwrap();
        silent.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(read_frame(&mut silent), None);

        let frame = handshake_frame(&new_session(i32::MAX));
        // Whoever does not come to run for so long begins anew.
        patiently(|| {
            let mut slow = TcpStream::connect(addr).unwrap();
            slow.set_read_timeout(Some(SOON)).unwrap();
            slow.set_nodelay(true).unwrap();
            for byte in &frame {
                std::thread::sleep(2 * BRIEF / 45);
                slow.write_all(&[*byte]).ok()?;
            }
            read_frame(&mut slow)
        });
    });
}
