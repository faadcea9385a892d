//! What was recorded between a client and a server, played again in the place of either.

#[path = "support/clients.rs"]
mod clients;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use homing_protocol::{
    Acl, Auth, ConnectRequest, ConnectResponse, Create, CreateMode, Delete, Empty, Exists, GetAcl,
    GetChildren, GetData, Multi, MultiOp, Record, ReplyHeader, RequestHeader, SaslToken,
    SessionPassword, SetData, SetWatches, op, put_request, xid,
};
use homing_testkit::recording::{Recorder, Recording};
use homing_testkit::replay::{ReplayClient, ReplayServer};
use homing_testkit::{FakeServer, Proxy, real};

/// How long anything may take. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What goes between a server and whatever `talk` does with the address that it is given.
fn record(server: SocketAddr, recorder: Recorder, talk: impl FnOnce(SocketAddr)) -> Recording {
    let (sender, lines) = mpsc::channel();
    let recorder = recorder.observer(move |entry| sender.send(entry).unwrap());
    let proxy = Proxy::builder().observe(recorder).start(server).unwrap();
    talk(proxy.addr());
    drop(proxy);
    let recording: Recording = lines.iter().collect();
    // As a file it is the same.
    let text = recording.to_string();
    assert_eq!(text.parse::<Recording>().unwrap().to_string(), text);
    recording
}

fn fake() -> FakeServer {
    FakeServer::builder()
        .config(|config| {
            config.extended_types_enabled = true;
            config.enforce_quota = true;
            config.four_letter_words = vec!["*".into()];
        })
        .start()
        .unwrap()
}

fn real() -> Option<real::ZooKeeper> {
    real::requirement()?;
    let real = real::ZooKeeper::builder()
        .tick_time(Duration::from_secs(2))
        .system_property("zookeeper.enforceQuota", "true")
        .start();
    Some(real.unwrap())
}

/// Plays a recording to a server, and fails with what is different.
fn assert_no_difference(recording: &Recording, server: SocketAddr) {
    let client = ReplayClient::new(recording).unwrap().patience(PATIENCE);
    let differences = client.run(server).unwrap();
    let lines: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

/// Records a client on the real server and plays it to a fake one, and the other way round.
///
/// Secrets are kept, or nobody could authenticate.
fn both_ways(talk: impl Fn(SocketAddr)) {
    let Some(server) = real() else { return };
    let recording = record(server.addr(), Recorder::new().with_secrets(), &talk);
    let fresh = fake();
    assert_no_difference(&recording, fresh.addr());

    let server = fake();
    let recording = record(server.addr(), Recorder::new().with_secrets(), &talk);
    assert_no_difference(&recording, real().unwrap().addr());
}

/// A client by hand.
struct Talker {
    socket: TcpStream,
    xid: i32,
}

impl Talker {
    fn dial(server: SocketAddr) -> Self {
        let socket = TcpStream::connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, xid: 0 }
    }

    /// A connection for a session, new or taken up again.
    fn connect(server: SocketAddr, request: &ConnectRequest) -> (Self, ConnectResponse) {
        let mut talker = Self::dial(server);
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&u32::try_from(request.encoded_len()).unwrap().to_be_bytes());
        request.encode(&mut frame);
        talker.socket.write_all(&frame).unwrap();
        let response = ConnectResponse::decode(&talker.read().unwrap()).unwrap();
        (talker, response)
    }

    fn new(server: SocketAddr) -> Self {
        Self::connect(server, &NEW_SESSION).0
    }

    fn say(&mut self, op: i32, body: &impl Record) {
        self.xid += 1;
        self.say_as(self.xid, op, body);
    }

    fn say_as(&mut self, xid: i32, op: i32, body: &impl Record) {
        let mut frame = BytesMut::new();
        put_request(&mut frame, RequestHeader { xid, op }, body);
        // Should the server be gone, the next read tells.
        let _ = self.socket.write_all(&frame);
    }

    /// The next frame, or `None` at the end.
    fn read(&mut self) -> Option<Bytes> {
        let mut len = [0; 4];
        self.socket.read_exact(&mut len).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        self.socket.read_exact(&mut frame).ok()?;
        Some(frame.into())
    }

    fn read_header(&mut self) -> ReplyHeader {
        ReplyHeader::decode(&self.read().unwrap()).unwrap()
    }

    /// Asks, and reads up to the answer. Says how it ended.
    fn call(&mut self, op: i32, body: &impl Record) -> ReplyHeader {
        self.say(op, body);
        loop {
            let header = self.read_header();
            if header.xid == self.xid {
                return header;
            }
        }
    }

    fn create(&mut self, path: &str, mode: CreateMode) -> i32 {
        let acl = [Acl::open()];
        let create = Create {
            path: path.into(),
            data: b"x",
            acl: &acl,
            mode,
        };
        self.call(op::CREATE2, &create).err
    }

    fn set(&mut self, path: &str, data: &[u8]) -> i32 {
        let set = SetData {
            path: path.into(),
            data,
            version: -1,
        };
        self.call(op::SET_DATA, &set).err
    }

    fn get(&mut self, path: &str, watch: bool) -> i32 {
        let path = path.into();
        self.call(op::GET_DATA, &GetData { path, watch }).err
    }

    fn ping(&mut self) {
        self.say_as(xid::PING, op::PING, &Empty);
        assert_eq!(self.read_header().xid, xid::PING);
    }

    fn auth(&mut self) {
        let auth = Auth {
            scheme: "digest",
            proof: b"bob:pw",
        };
        self.say_as(xid::AUTH, op::AUTH, &auth);
        assert_eq!(self.read_header().xid, xid::AUTH);
    }

    fn close(mut self) {
        assert_eq!(self.call(op::CLOSE_SESSION, &Empty).err, 0);
        assert_eq!(self.read(), None);
    }
}

const NEW_SESSION: ConnectRequest = ConnectRequest {
    last_zxid_seen: 0,
    timeout_ms: 10_000,
    session_id: 0,
    password: SessionPassword::NONE,
    read_only: Some(false),
};

/// The lines of what is different when a recording is played to a server.
fn differences(recording: &Recording, server: SocketAddr) -> Vec<String> {
    let client = ReplayClient::new(recording).unwrap().patience(PATIENCE);
    let differences = client.run(server).unwrap();
    // When it was recorded is another time in each run.
    let line = |line: String| line.split_once(' ').unwrap().1.to_owned();
    differences.iter().map(|it| line(it.to_string())).collect()
}

fn assert_done(output: &Output) {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn java_s_command_line() {
    if clients::are_wanted("zkCli.sh", clients::has_zkcli()) {
        let commands = include_str!("other_clients/zkcli.txt");
        both_ways(|server| assert_done(&clients::zkcli(server, commands)));
    }
}

#[test]
fn kazoo_s_recipes() {
    if clients::are_wanted("kazoo", clients::has_kazoo()) {
        both_ways(|server| assert_done(&clients::kazoo(server)));
    }
}

/// A session that loses its connection, is taken up again, and has missed something; somebody who
/// takes it up with a wrong password; and one that was never there.
fn reattach(server: SocketAddr) {
    let (mut first, session) = Talker::connect(server, &NEW_SESSION);
    assert_eq!(first.create("/a", CreateMode::Persistent), 0);
    assert_eq!(first.create("/a/e", CreateMode::Ephemeral), 0);
    assert_eq!(first.get("/a", true), 0);
    let mut other = Talker::new(server);
    let seen = other
        .call(
            op::EXISTS,
            &Exists {
                path: "/a".into(),
                watch: false,
            },
        )
        .zxid;
    drop(first);
    assert_eq!(other.set("/a", b"missed"), 0);
    let again = ConnectRequest {
        last_zxid_seen: seen,
        session_id: session.session_id,
        password: session.password,
        ..NEW_SESSION
    };
    let (mut second, resumed) = Talker::connect(server, &again);
    assert_eq!(resumed.session_id, session.session_id);
    let (data, child) = (["/a".into()], ["/".into()]);
    let watches = SetWatches {
        relative_zxid: seen,
        data: &data,
        child: &child,
        ..SetWatches::default()
    };
    second.say_as(xid::SET_WATCHES, op::SET_WATCHES, &watches);
    assert_eq!(second.read_header().xid, xid::NOTIFICATION);
    assert_eq!(second.read_header().xid, xid::SET_WATCHES);
    second.ping();
    assert_eq!(second.create("/b", CreateMode::PersistentSequential), 0);
    // The same session from elsewhere: the connection that was there is closed.
    let (third, _) = Talker::connect(server, &again);
    assert_eq!(second.read(), None);
    third.close();
    let unknown = ConnectRequest {
        session_id: 77,
        ..NEW_SESSION
    };
    let (mut refused, response) = Talker::connect(server, &unknown);
    assert_eq!(response.timeout_ms, 0);
    assert_eq!(refused.read(), None);
    // From the future: without a word.
    let ahead = ConnectRequest {
        last_zxid_seen: seen + 1000,
        ..NEW_SESSION
    };
    let mut hung_up = Talker::dial(server);
    let mut frame = BytesMut::from(&[0, 0, 0, 45][..]);
    ahead.encode(&mut frame);
    hung_up.socket.write_all(&frame).unwrap();
    assert_eq!(hung_up.read(), None);
    other.close();
}

#[test]
fn sessions_that_are_taken_up_again() {
    // With the passwords masked: they are those of the new sessions. On a server that has come far.
    let server = fake();
    server.with_server(|server| server.set_last_zxid(1_000));
    let recording = record(server.addr(), Recorder::new(), reattach);
    // On others, which have come less far and farther, sessions and transactions have other numbers.
    for zxid in [20, 1_000_000] {
        let other = fake();
        other.with_server(|server| server.set_last_zxid(zxid));
        assert_no_difference(&recording, other.addr());
        assert_eq!(other.connections_accepted(), server.connections_accepted());
    }
}

#[test]
fn sessions_that_are_taken_up_again_on_a_real_server() {
    both_ways(reattach);
}

/// What most operations say, and what refuses them.
fn everything(server: SocketAddr) {
    let mut talker = Talker::new(server);
    talker.auth();
    let closed = [Acl::digest("bob", "pw"), Acl::read_only()];
    let create = Create {
        path: "/mine".into(),
        data: b"",
        acl: &closed,
        mode: CreateMode::Persistent,
    };
    assert_eq!(talker.call(op::CREATE, &create).err, 0);
    let path = "/mine".into();
    assert_eq!(talker.call(op::GET_ACL, &GetAcl { path }).err, 0);
    assert_eq!(talker.create("/mine", CreateMode::Persistent), -110);
    assert_eq!(talker.create("/no/where", CreateMode::Persistent), -101);
    assert_eq!(talker.create("not a path", CreateMode::Persistent), -8);
    let mut stranger = Talker::new(server);
    assert_eq!(stranger.set("/mine", b""), -102);
    let children = GetChildren {
        path: "/".into(),
        watch: true,
    };
    assert_eq!(stranger.call(op::GET_CHILDREN2, &children).err, 0);
    let ops = [
        MultiOp::Create(
            op::CREATE2,
            Create {
                path: "/m".into(),
                acl: &[Acl::open()],
                ..create
            },
        ),
        MultiOp::SetData(SetData {
            path: "/m".into(),
            data: b"m",
            version: 0,
        }),
        MultiOp::Delete(Delete {
            path: "/m".into(),
            version: 1,
        }),
    ];
    assert_eq!(talker.call(op::MULTI, &Multi(ops.into_iter())).err, 0);
    let fails = [
        MultiOp::Delete(Delete {
            path: "/m".into(),
            version: 1,
        }),
        ops[1],
    ];
    assert_eq!(talker.call(op::MULTI, &Multi(fails.into_iter())).err, 0);
    let reads = [
        MultiOp::GetData(GetData {
            path: "/mine".into(),
            watch: false,
        }),
        MultiOp::GetChildren(GetChildren {
            path: "/gone".into(),
            watch: false,
        }),
    ];
    assert_eq!(
        talker.call(op::MULTI_READ, &Multi(reads.into_iter())).err,
        0
    );
    assert_eq!(talker.call(op::WHO_AM_I, &Empty).err, 0);
    let mut word = Talker::dial(server);
    word.socket.write_all(b"ruok").unwrap();
    word.socket.read_to_string(&mut String::new()).unwrap();
    let mut word = Talker::dial(server);
    word.socket.write_all(b"srvr").unwrap();
    word.socket.read_to_string(&mut String::new()).unwrap();
    stranger.close();
    // Unknown operations end a connection.
    assert_eq!(talker.call(99, &Empty).err, -6);
    assert_eq!(talker.read(), None);
}

#[test]
fn all_kinds_of_operations() {
    both_ways(everything);
}

#[test]
fn what_is_different_is_named() {
    let server = fake();
    let recording = record(server.addr(), Recorder::new(), |server| {
        let mut talker = Talker::new(server);
        talker.create("/a", CreateMode::Persistent);
        talker.get("/a", true);
        talker.set("/a", b"one");
        talker.call(
            op::GET_CHILDREN,
            &GetChildren {
                path: "/".into(),
                watch: false,
            },
        );
        talker.close();
    });
    assert_eq!(differences(&recording, fake().addr()), [""; 0]);

    // Once more: now there is such a node already.
    let created = "in xid=1 create2 zxid=0x2 ok \"/a\" \
                   stat={czxid=0x2 mzxid=0x2 pzxid=0x2 dataLength=1}";
    let read = "in xid=2 getData zxid=0x2 ok data[1]=\"x\" \
                stat={czxid=0x2 mzxid=0x2 pzxid=0x2 dataLength=1}";
    let set = "in xid=3 setData zxid=0x3 ok \
               stat={czxid=0x2 mzxid=0x3 pzxid=0x2 version=1 dataLength=3}";
    assert_eq!(
        differences(&recording, server.addr()),
        [
            format!("connection 1: recorded ok, now NodeExists (-110), {created}"),
            format!(
                "connection 1: data from byte 0 on: recorded [1] \"x\", now [3] \"one\", {read}"
            ),
            format!("connection 1: mzxid: recorded 0x2, which is 0x2 elsewhere, now 0x3, {read}"),
            format!("connection 1: version: recorded 0, now 1, {read}"),
            format!("connection 1: dataLength: recorded 1, now 3, {read}"),
            format!("connection 1: version: recorded 1, now 2, {set}"),
        ]
    );

    // Somebody who listens, and closes.
    let closes = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closes.local_addr().unwrap();
    thread::spawn(move || drop(closes.accept()));
    assert_eq!(
        differences(&recording, address),
        [
            "connection 1: recorded connected timeOut=10000 sessionId=0x0 passwd[16]=*** \
             readOnly=false, now the server closed the connection; the rest of this connection is \
             not compared"
        ]
        .map(|line| line.replace("0x0", &session_id(&recording)))
    );
}

/// The session id in the answer to the first handshake.
fn session_id(recording: &Recording) -> String {
    let text = recording.to_string();
    let connected = text
        .lines()
        .find(|line| line.contains("<- connected"))
        .unwrap();
    let id = connected.split_once("sessionId=").unwrap().1;
    id.split(' ').next().unwrap().to_owned()
}

/// A server that answers one connection with these frames, each when another one has come in.
fn scripted(answers: &'static [&'static [&'static [u8]]]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut talker = Talker {
            socket: listener.accept().unwrap().0,
            xid: 0,
        };
        for frames in answers {
            talker.read()?;
            for frame in *frames {
                let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
                talker
                    .socket
                    .write_all(&[&len[..], frame].concat())
                    .unwrap();
            }
        }
        talker.read()
    });
    address
}

const WELCOME: &[u8] = &[
    0, 0, 0, 0, 0, 0, 0x27, 0x10, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 16, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 0,
];
const DELETED: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\
                         \0\0\0\x02\0\0\0\x03\0\0\0\x02/a";
const DONE: &[u8] = b"\0\0\0\x01\0\0\0\0\0\0\0\x09\0\0\0\0";

/// Deletes a node that it watches, and reads two frames.
fn watch_and_delete(server: SocketAddr) {
    let mut talker = Talker::new(server);
    let delete = Delete {
        path: "/a".into(),
        version: -1,
    };
    talker.say(op::DELETE, &delete);
    talker.read().unwrap();
    talker.read().unwrap();
}

#[test]
fn an_event_comes_before_the_answer_that_shows_it() {
    let right = || scripted(&[&[WELCOME], &[DELETED, DONE]]);
    let recording = record(right(), Recorder::new(), watch_and_delete);
    assert_eq!(differences(&recording, right()), [""; 0]);
    let wrong = scripted(&[&[WELCOME], &[DONE, DELETED]]);
    assert_eq!(
        differences(&recording, wrong),
        [
            "connection 1: recorded event zxid=-1 NodeDeleted \"/a\" before, now behind \
             xid=1 delete zxid=0x9 ok"
        ]
    );
}

#[test]
fn what_a_server_says_to_a_client_that_has_gone_it_need_not_say() {
    let right = || scripted(&[&[WELCOME], &[DELETED, DONE]]);
    let recording = record(right(), Recorder::new(), watch_and_delete).to_string();
    let frame: String = DELETED.iter().map(|byte| format!("{byte:02x}")).collect();
    // How it ended need not have been seen. This is how it may have been.
    let said = recording
        .lines()
        .filter(|line| !line.ends_with('|') && !line.contains("|<-"));
    let said: String = said.map(|line| format!("{line}\n")).collect();
    let late = format!("9.0 1 <- event\t{:08x}{frame}", DELETED.len());
    let recording = format!("{said}9.0 1 ->|\n{late}\n9.0 1 |<-\n");
    assert_eq!(differences(&recording.parse().unwrap(), right()), [""; 0]);
}

#[test]
fn a_server_that_is_not_there_closes_connections() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    let recording = record(nobody, Recorder::new(), |server| {
        assert_eq!(Talker::dial(server).read(), None);
    });
    let text = recording.to_string();
    let arrows = text
        .lines()
        .skip(1)
        .map(|line| line.rsplit(' ').next().unwrap());
    let arrows: Vec<_> = arrows.collect();
    assert!(arrows.starts_with(&["+", "|<-"]), "{text}");
}

#[test]
fn what_was_not_recorded_and_what_is_missing_is_different() {
    let recording = record(
        scripted(&[&[WELCOME], &[DELETED, DONE]]),
        Recorder::new(),
        watch_and_delete,
    );
    let too_much = scripted(&[&[WELCOME], &[DELETED, DONE, DONE]]);
    assert_eq!(
        differences(&recording, too_much),
        ["connection 1: recorded nothing more, now xid=1 reply to nothing zxid=0x9 ok"]
    );
    let too_little = scripted(&[&[WELCOME], &[DELETED]]);
    let client = ReplayClient::new(&recording).unwrap();
    let client = client.patience(Duration::from_millis(200));
    let differences = client.run(too_little).unwrap();
    let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
    let [difference] = &differences[..] else {
        panic!("{differences:?}");
    };
    let line = "recorded xid=1 delete zxid=0x9 ok, now nothing came within 200ms; \
                the rest of this connection is not compared";
    assert!(difference.ends_with(line), "{difference}");
}

#[test]
fn what_cannot_be_said_again_is_refused() {
    let authenticates = |server| Talker::new(server).auth();
    let sets_a_password = |server| {
        let acl = [Acl::digest("bob", "pw")];
        let create = Create {
            path: "/mine".into(),
            data: b"",
            acl: &acl,
            mode: CreateMode::Persistent,
        };
        Talker::new(server).call(op::CREATE, &create);
    };
    let sasl = |server| {
        let mut talker = Talker::new(server);
        talker.say(op::SASL, &SaslToken(b""));
        talker.read().unwrap();
    };
    let why = |recorder, talk: &dyn Fn(SocketAddr)| {
        let recording = record(fake().addr(), recorder, talk);
        let errors = [
            ReplayClient::new(&recording)
                .map(drop)
                .unwrap_err()
                .to_string(),
            ReplayServer::start(&recording)
                .map(drop)
                .unwrap_err()
                .to_string(),
        ];
        // When it was recorded is another time in each run.
        errors.map(|error| error.split_once(" 1 ->").unwrap().1.to_owned())
    };
    let masked = "is recorded with its secrets masked: record it again with --with-secrets";
    let auth = format!(" auth scheme=\"digest\" auth[6]=***\" {masked}");
    assert_eq!(why(Recorder::new(), &authenticates)[0], auth);
    let create = format!(
        " xid=1 create \"/mine\" data[0]=\"\" acl=[digest:bob:…:cdrwa] flags=PERSISTENT\" {masked}"
    );
    assert_eq!(why(Recorder::new(), &sets_a_password)[0], create);
    let sasl = why(Recorder::new().with_secrets(), &sasl);
    let line = " xid=1 sasl token[0]=***\" is SASL, whose proofs hold for one exchange: \
                record a client that does without";
    assert_eq!(sasl, [line, line]);
    let bare = why(Recorder::new().without_raw(), &authenticates);
    assert!(bare[1].ends_with("is recorded without its bytes: record it again without --no-raw"));
}

#[test]
fn what_happens_by_itself_happens_again_in_its_time() {
    let impatient = || {
        FakeServer::builder()
            .tick_time(Duration::from_millis(50))
            .session_timeouts(Duration::from_millis(200), Duration::from_secs(30))
            .start()
            .unwrap()
    };
    let server = impatient();
    let recording = record(server.addr(), Recorder::new(), |server| {
        let brief = ConnectRequest {
            timeout_ms: 200,
            ..NEW_SESSION
        };
        let (mut owner, _) = Talker::connect(server, &brief);
        assert_eq!(owner.create("/brief", CreateMode::Ephemeral), 0);
        let mut other = Talker::new(server);
        other.call(
            op::EXISTS,
            &Exists {
                path: "/brief".into(),
                watch: true,
            },
        );
        // The owner says nothing more, until it is over.
        assert_eq!(other.read_header().xid, xid::NOTIFICATION);
        assert_eq!(owner.read(), None);
        let again = other.call(
            op::EXISTS,
            &Exists {
                path: "/brief".into(),
                watch: false,
            },
        );
        assert_eq!(again.err, -101);
    });
    let client = ReplayClient::new(&recording).unwrap().patience(PATIENCE);
    let differences = client
        .clone()
        .keep_pauses()
        .run(impatient().addr())
        .unwrap();
    assert_eq!(differences, []);
    // Without pauses too: it waits for what is to come.
    assert_eq!(client.run(impatient().addr()).unwrap(), []);
}

/// Plays the server's side of a recording to somebody, and says how that ended.
fn play(recording: &Recording, talk: impl FnOnce(SocketAddr)) -> Result<(), String> {
    let server = ReplayServer::start(recording).unwrap();
    talk(server.addr());
    let outcome = server.wait(PATIENCE).expect("an end");
    // When it was recorded is another time in each run.
    outcome.map_err(|difference| {
        let line = difference.to_string();
        line.split_once(' ').unwrap().1.to_owned()
    })
}

#[test]
fn a_client_is_answered_as_it_was_recorded() {
    let recording = record(fake().addr(), Recorder::new(), reattach);
    assert_eq!(play(&recording, reattach), Ok(()));
    let recording = record(fake().addr(), Recorder::new().with_secrets(), everything);
    assert_eq!(play(&recording, everything), Ok(()));
}

#[test]
fn pings_and_numbers_of_requests_may_be_others() {
    let talk = |first_xid: i32, pings: usize| {
        move |server| {
            let mut talker = Talker::new(server);
            talker.xid = first_xid;
            assert_eq!(talker.create("/a", CreateMode::Persistent), 0);
            (0..pings).for_each(|_| talker.ping());
            assert_eq!(talker.get("/a", false), 0);
            talker.close();
        }
    };
    let recording = record(fake().addr(), Recorder::new(), talk(0, 2));
    for (first_xid, pings) in [(0, 0), (500, 1), (-70, 5)] {
        assert_eq!(play(&recording, talk(first_xid, pings)), Ok(()));
    }
}

#[test]
fn an_event_is_told_when_what_brings_it_about_was_asked() {
    let talk = |server| {
        let mut watcher = Talker::new(server);
        watcher.create("/a", CreateMode::Persistent);
        watcher.get("/a", true);
        let mut writer = Talker::new(server);
        // Nothing is there to be read so far.
        watcher.socket.set_nonblocking(true).unwrap();
        let nothing = watcher.socket.peek(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        watcher.socket.set_nonblocking(false).unwrap();
        writer.set("/a", b"");
        assert_eq!(watcher.read_header().xid, xid::NOTIFICATION);
    };
    let recording = record(fake().addr(), Recorder::new(), talk);
    assert_eq!(play(&recording, talk), Ok(()));
}

#[test]
fn a_client_that_asks_something_else_is_told_what_was_expected() {
    let recording = record(fake().addr(), Recorder::new(), |server| {
        let mut talker = Talker::new(server);
        talker.create("/a", CreateMode::Persistent);
        talker.close();
    });
    let create = |path: &str, mode: &str| {
        format!("create2 \"{path}\" data[1]=\"x\" acl=[world:anyone:cdrwa] flags={mode}")
    };
    let expected = create("/a", "PERSISTENT");
    for (path, mode, shown) in [
        ("/b", CreateMode::Persistent, create("/b", "PERSISTENT")),
        ("/a", CreateMode::Ephemeral, create("/a", "EPHEMERAL")),
    ] {
        let outcome = play(&recording, |server| {
            Talker::new(server).say(
                op::CREATE2,
                &Create {
                    path: path.into(),
                    data: b"x",
                    acl: &[Acl::open()],
                    mode,
                },
            );
        });
        let line = format!("connection 1: recorded xid=1 {expected}, now xid=1 {shown}");
        assert_eq!(outcome, Err(line));
    }
    let outcome = play(&recording, |server| {
        let mut talker = Talker::new(server);
        talker.say(
            op::GET_DATA,
            &GetData {
                path: "/a".into(),
                watch: false,
            },
        );
    });
    let asked = "xid=1 getData \"/a\" watch=false";
    let line = format!("connection 1: recorded xid=1 {expected}, now {asked}");
    assert_eq!(outcome, Err(line));
    let line =
        format!("connection 1: recorded xid=1 {expected}, now the client closed the connection");
    assert_eq!(
        play(&recording, |server| drop(Talker::new(server))),
        Err(line)
    );
    let outcome = play(&recording, |server| {
        let (first, mut second) = (Talker::new(server), Talker::dial(server));
        second.socket.write_all(b"srvr").unwrap();
        let _ = (first, second).1.socket.read(&mut [0]);
    });
    let line = "connection 2: recorded no such connection, now there is one";
    assert_eq!(outcome, Err(line.into()));
}

#[test]
fn who_only_looks_whether_somebody_listens_is_no_client() {
    let look = |server| drop(Talker::dial(server));
    let talk = |server| {
        let mut talker = Talker::new(server);
        talker.create("/a", CreateMode::Persistent);
        talker.close();
    };
    let plain = record(fake().addr(), Recorder::new(), talk);
    let looked_at = record(fake().addr(), Recorder::new(), |server| {
        look(server);
        talk(server);
    });
    for recording in [&plain, &looked_at] {
        let outcome = play(recording, |server| {
            look(server);
            look(server);
            talk(server);
            look(server);
        });
        assert_eq!(outcome, Ok(()));
        assert_eq!(play(recording, talk), Ok(()));
    }
}

#[test]
fn a_server_that_nobody_talks_to_ends_at_once() {
    let recording = record(fake().addr(), Recorder::new(), |server| {
        Talker::new(server).close();
    });
    let server = ReplayServer::start(&recording).unwrap();
    let address = server.addr();
    assert_eq!(server.wait(Duration::from_millis(1)), None);
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_server_whose_client_does_not_read_ends_at_once() {
    // More than any socket holds.
    const GETS: i32 = 16;
    let get = GetData {
        path: "/big".into(),
        watch: false,
    };
    let recording = record(fake().addr(), Recorder::new(), |server| {
        let mut talker = Talker::new(server);
        talker.create("/big", CreateMode::Persistent);
        talker.set("/big", &[7; 1_000_000]);
        (0..GETS).for_each(|_| assert_eq!(talker.call(op::GET_DATA, &get).err, 0));
        talker.close();
    });
    let server = ReplayServer::start(&recording).unwrap();
    let mut talker = Talker::new(server.addr());
    talker.create("/big", CreateMode::Persistent);
    talker.set("/big", &[7; 1_000_000]);
    (0..GETS).for_each(|_| talker.say(op::GET_DATA, &get));
    // It answers, until it is stuck in that: nothing more comes for a while.
    let mut come = vec![0; 16_000_000];
    let (mut len, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        let now = talker.socket.peek(&mut come).unwrap();
        if now != len {
            (len, since) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(5));
    }
    let start = Instant::now();
    drop(server);
    // A write has half a minute.
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn java_s_command_line_is_answered_as_it_was_recorded() {
    if !clients::are_wanted("zkCli.sh", clients::has_zkcli()) {
        return;
    }
    let commands = include_str!("other_clients/zkcli.txt");
    let mut transcripts = Vec::new();
    let mut talk = |server| {
        let output = clients::zkcli(server, commands);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Events are printed by another thread, which need not come to it before the end, and so is
        // what its logger says.
        let noise = ["Connecting to", "SLF4J", "WATCHER::", "WatchedEvent"];
        let is_noise = |line: &&str| noise.iter().any(|noise| line.contains(noise));
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !is_noise(line));
        let lines: Vec<_> = lines.map(ToOwned::to_owned).collect();
        transcripts.push(lines);
    };
    let recording = record(fake().addr(), Recorder::new().with_secrets(), &mut talk);
    assert_eq!(play(&recording, &mut talk), Ok(()));
    let [recorded, played] = &transcripts[..] else {
        panic!("two transcripts");
    };
    assert_eq!(recorded, played);
}
