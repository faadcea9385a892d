//! Clients that move about in an ensemble.
#![allow(
    clippy::await_holding_lock,
    reason = "a test has the ensemble to itself, on a thread of its own"
)]

#[macro_use]
mod support;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use homing::{Client, SessionState};
use homing_protocol::{ConnectRequest, SessionPassword, put_buffer, put_string};
use homing_testkit::real::{Ensemble, ZooKeeper, requirement};
use homing_testkit::{FakeEnsemble, FakeServer};
use support::proxy::Proxy;
use support::states::patiently;
use support::{Backend, until};

on_each_backend! {
    a_client_moves_from_member_to_member
    a_client_returns_to_the_member_that_it_prefers
    a_client_follows_members_that_leave_and_join
    a_client_follows_members_of_a_fake_ensemble
    a_client_follows_what_a_fake_server_tells
}

/// The ensemble that all tests here share, one after the other, whole again for each.
fn ensemble() -> Option<MutexGuard<'static, Ensemble>> {
    static SHARED: OnceLock<Mutex<Ensemble>> = OnceLock::new();
    requirement()?;
    let start = || {
        let id = homing_protocol::digest::id_of("super:pw");
        let digest = "zookeeper.DigestAuthenticationProvider.superDigest";
        let each = ZooKeeper::builder().system_property(digest, &id);
        Mutex::new(Ensemble::builder().each(each).start().unwrap())
    };
    let shared = SHARED.get_or_init(start).lock();
    let mut ensemble = shared.unwrap_or_else(PoisonError::into_inner);
    ensemble.heal().unwrap();
    Some(ensemble)
}

async fn a_client_moves_from_member_to_member(backend: Backend) {
    let Some(ensemble) = ensemble() else { return };
    let builder = backend.builder(&ensemble.connect_string());
    let client = builder.connect().await.unwrap();
    let (id, first) = (session_id(&client), at(&client));
    client.create("/moves", b"").ephemeral().await.unwrap();
    let (_, gone) = client.exists("/moves").watch().await.unwrap();

    // Requests that are on their way are answered, whatever happens to the connection.
    let set = |_| client.set("/moves", b"busy").submit().unwrap();
    let sets: Vec<_> = (0..200).map(set).collect();
    let second = client.reconnect().await.unwrap().server;
    assert_ne!(second, first);
    for set in sets {
        set.await.unwrap();
    }
    let node = client.get("/moves").await.unwrap();
    assert_eq!((node.stat.ephemeral_owner, node.stat.version), (id, 200));

    // The list loses the member that it is at.
    let rest = ensemble.members().iter().map(ZooKeeper::addr);
    let rest: Vec<_> = rest.filter(|addr| *addr != second).collect();
    let list: Vec<_> = rest.iter().map(ToString::to_string).collect();
    client.set_servers(&list.join(",")).unwrap();
    until("it has moved", || {
        at_or_none(&client).is_some_and(|at| rest.contains(&at))
    });
    assert_eq!(session_id(&client), id);
    client.delete("/moves").await.unwrap();
    assert_eq!(gone.await.unwrap().path, "/moves");
    let stats = client.stats().session;
    assert_eq!((stats.moved, stats.lost()), (2, 0));
    client.close().await.unwrap();
}

async fn a_client_returns_to_the_member_that_it_prefers(backend: Backend) {
    let Some(mut ensemble) = ensemble() else {
        return;
    };
    // Not the leader, so that it is missed by nobody else.
    let leader = ensemble.leader().unwrap();
    let near = (leader + 1) % 3;
    let addr = ensemble.members()[near].addr();
    let builder = backend.builder(&ensemble.connect_string());
    let builder = builder.prefer(&addr.to_string(), Duration::from_millis(500));
    let client = builder.connect().await.unwrap();
    assert_eq!(at(&client), addr);
    let id = session_id(&client);

    ensemble.member_mut(near).kill();
    until("it is elsewhere", || {
        at_or_none(&client).is_some_and(|at| at != addr)
    });
    client.exists("/").await.unwrap();
    ensemble.heal().unwrap();
    until("it has returned", || at_or_none(&client) == Some(addr));
    assert_eq!(session_id(&client), id);
    client.close().await.unwrap();
}

async fn a_client_follows_members_that_leave_and_join(backend: Backend) {
    let Some(ensemble) = ensemble() else { return };
    let members = ensemble.members().iter().map(ZooKeeper::addr);
    follow(backend, members.collect()).await;
}

async fn a_client_follows_members_of_a_fake_ensemble(backend: Backend) {
    let ensemble = FakeEnsemble::builder().config(|config| {
        let digest = homing_protocol::digest::id_of("super:pw");
        config.super_digest = Some(digest.into());
        config.reconfig_enabled = true;
    });
    let ensemble = ensemble.start().unwrap();
    let members = ensemble.members().iter().map(FakeServer::addr);
    follow(backend, members.collect()).await;
}

async fn follow(backend: Backend, members: Vec<SocketAddr>) {
    // It is told of one of them, and finds the others.
    let builder = backend.builder(&members[0].to_string());
    let client = builder.follow_reconfig(true).connect().await.unwrap();
    let id = session_id(&client);
    let knows = |expected: &[SocketAddr]| {
        let known = client.servers();
        let known: Vec<_> = known.iter().map(ToString::to_string).collect();
        known.len() == expected.len()
            && expected
                .iter()
                .all(|addr| known.contains(&addr.to_string()))
    };
    until("it knows all members", || knows(&members));

    // The member leaves that it is at.
    until("it is connected", || at_or_none(&client).is_some());
    let left = at(&client);
    let position = members.iter().position(|it| *it == left).unwrap();
    let config = client.get("/zookeeper/config").await.unwrap();
    let config = String::from_utf8(config.data.to_vec()).unwrap();
    let key = format!("server.{}=", position + 1);
    let line = config.lines().find(|line| line.starts_with(&key)).unwrap();
    let rest: Vec<_> = members
        .iter()
        .copied()
        .filter(|addr| *addr != left)
        .collect();
    let leaves = (position + 1).to_string();
    reconfigure(rest[0], None, Some(&leaves), || knows(&rest));
    until("it is there", || {
        at_or_none(&client).is_some_and(|at| rest.contains(&at))
    });
    // Where the leader has left, the others elect another and close connections once more.
    patiently(async || client.sync("/").await).await;

    // And joins again.
    reconfigure(rest[0], Some(line), None, || knows(&members));
    until("it is connected", || at_or_none(&client).is_some());
    assert_eq!(session_id(&client), id);
    client.close().await.unwrap();
}

/// The same where no real one is installed: ways to one server play its members, and a super
/// user writes who they are.
async fn a_client_follows_what_a_fake_server_tells(backend: Backend) {
    let digest = homing_protocol::digest::id_of("super:pw");
    let server = FakeServer::builder().config(|config| config.super_digest = Some(digest.into()));
    let server = server.start().unwrap();
    let ways: Vec<_> = (0..3).map(|_| Proxy::start(server.addr())).collect();
    let admin = backend.builder(&server.connect_string());
    let admin = admin.connect().await.unwrap();
    admin.add_auth("digest", b"super:pw").await.unwrap();

    let builder = backend.builder(&format!("{}/app", server.connect_string()));
    let client = builder.follow_reconfig(true).connect().await.unwrap();
    let (id, mut version) = (session_id(&client), 0x1_0000_0000_i64);
    for members in [&ways[..], &ways[1..], &ways[..1], &ways[..2]] {
        version += 1;
        let lines = members.iter().enumerate().map(|(n, way)| {
            let port = way.connect_string().replace("127.0.0.1:", "");
            format!("server.{n}=127.0.0.1:1:2:participant;0.0.0.0:{port}\n")
        });
        let text = format!("{}version={version:x}", lines.collect::<String>());
        admin
            .set("/zookeeper/config", text.as_bytes())
            .await
            .unwrap();
        let members: Vec<_> = members.iter().map(Proxy::connect_string).collect();
        let knows = || {
            let known = client.servers();
            known.len() == members.len()
                && known
                    .iter()
                    .all(|server| members.contains(&server.to_string()))
        };
        until("it knows the members", knows);
        let is_there = || at_or_none(&client).is_some_and(|at| members.contains(&at.to_string()));
        until("it is at one of them", is_there);
    }
    assert_eq!(session_id(&client), id);
    assert_eq!(client.stats().session.lost(), 0);
    client.close().await.unwrap();
}

/// Changes the members of the ensemble, as somebody who may, until `is_done`. The answer is lost
/// when the leader is one of those who leave.
fn reconfigure(
    server: SocketAddr,
    joins: Option<&str>,
    leaves: Option<&str>,
    is_done: impl Fn() -> bool,
) {
    until("the members are others", || {
        is_done() || matches!(try_reconfigure(server, joins, leaves), Ok(0))
    });
    until("the client knows them", is_done);
}

/// The server's error code.
fn try_reconfigure(
    server: SocketAddr,
    joins: Option<&str>,
    leaves: Option<&str>,
) -> io::Result<i32> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let hello = ConnectRequest {
        last_zxid_seen: 0,
        timeout_ms: 10_000,
        session_id: 0,
        password: SessionPassword::NONE,
        read_only: Some(false),
    };
    let mut frame = BytesMut::new();
    homing_protocol::Record::encode(&hello, &mut frame);
    exchange(&mut stream, &frame)?;

    let mut auth = header(-4, 100);
    auth.extend_from_slice(&0_i32.to_be_bytes());
    put_string(&mut auth, "digest");
    put_buffer(&mut auth, Some(b"super:pw"));
    exchange(&mut stream, &auth)?;

    let mut reconfig = header(1, 16);
    for text in [joins, leaves, None] {
        put_buffer(&mut reconfig, text.map(str::as_bytes));
    }
    reconfig.extend_from_slice(&(-1_i64).to_be_bytes());
    let answer = exchange(&mut stream, &reconfig)?;
    Ok(i32::from_be_bytes(answer[12..16].try_into().unwrap()))
}

fn header(xid: i32, op: i32) -> BytesMut {
    let mut bytes = BytesMut::from(&xid.to_be_bytes()[..]);
    bytes.extend_from_slice(&op.to_be_bytes());
    bytes
}

/// Sends a frame, and reads one.
fn exchange(stream: &mut TcpStream, frame: &[u8]) -> io::Result<Vec<u8>> {
    let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
    stream.write_all(&[&len[..], frame].concat())?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut answer = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn at_or_none(client: &Client) -> Option<SocketAddr> {
    match client.state() {
        SessionState::Connected(connection) => Some(connection.server),
        _ => None,
    }
}

fn at(client: &Client) -> SocketAddr {
    at_or_none(client).expect("it is connected")
}

fn session_id(client: &Client) -> i64 {
    client.credentials().expect("it was connected").session_id()
}
