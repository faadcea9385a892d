//! What was recorded between a client and a server, played again in the place of either.

#[path = "../support/clients.rs"]
mod clients;
mod talker;
mod to_clients;
mod to_servers;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use bytes::BytesMut;
use homing_protocol::{
    Acl, ConnectRequest, Create, CreateMode, Delete, Empty, Exists, GetAcl, GetChildren, GetData,
    Multi, MultiOp, Record, SaslToken, SetData, SetWatches, op, xid,
};
use homing_testkit::recording::{Recorder, Recording};
use homing_testkit::replay::{ReplayClient, ReplayServer};
use homing_testkit::{FakeServer, Proxy, real};

use talker::{NEW_SESSION, Talker};

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

#[test]
fn a_recording_in_which_nobody_says_anything_cannot_be_played() {
    for text in ["", "0.0 1 +\n", "0.0 1 +\n0.1 1 ->|\n0.1 1 |<-\n"] {
        let recording = format!("# homing-testkit recording 1\n{text}");
        let recording: Recording = recording.parse().unwrap();
        let client = ReplayClient::new(&recording).map(drop);
        let server = ReplayServer::start(&recording).map(drop);
        for error in [client.unwrap_err(), server.unwrap_err()] {
            let error = error.to_string();
            assert!(error.starts_with("nobody says anything in it: "), "{error}");
        }
    }
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
