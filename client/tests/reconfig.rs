//! Servers that may be reconfigured. Those that stand alone, a fake one and a real one, have
//! nobody to join them; there a super user writes to the node of the configuration. An ensemble,
//! a fake one and a real one, loses a member and gets it back.

#[macro_use]
mod support;

use homing::{ClientAddress, Error, ErrorCode, EventType, Role};
use homing_testkit::{FakeEnsemble, FakeServer, ServerConfig, real};
use support::{Backend, TEST_MAX};

on_each_backend! {
    a_change_is_told_and_read
    a_text_that_was_there_from_the_start
    a_member_leaves_and_comes_back
    a_server_joins_and_the_leader_leaves
}

const SUPER_DIGEST: &str = "zookeeper.DigestAuthenticationProvider.superDigest";
/// The hash of `super:admin`.
const SUPER: &str = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";

const TEXT: &str = "server.1=zk1:2888:3888:participant;0.0.0.0:2181
server.2=zk2:2888:3888:observer;0.0.0.0:2181
version=10000001a";

async fn a_change_is_told_and_read(backend: Backend) {
    let fake = FakeServer::builder().config(|config| {
        config.super_digest = Some(SUPER.into());
        config.reconfig_enabled = true;
    });
    let fake = fake.start().unwrap();
    check(backend, &fake.connect_string()).await;
    if real::requirement().is_some() {
        let server = real::ZooKeeper::builder()
            .property("reconfigEnabled", "true")
            .system_property(SUPER_DIGEST, SUPER)
            .start()
            .unwrap();
        check(backend, &server.connect_string()).await;
    }
}

async fn check(backend: Backend, servers: &str) {
    let client = backend.builder(servers).connect().await.unwrap();
    client.create("/app", b"").await.unwrap();
    let app = client.chroot("/app").unwrap();
    let error = app.reconfig().leave(1).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "reconfig \"/zookeeper/config\": Unimplemented (-6); the server stands alone and has no ensemble, or is older than 3.5.0"
    );
    // It keeps the connection, and so is not one that knows no reconfig.
    assert_eq!(app.supports(homing::Feature::Reconfig), None);
    let (before, changed) = app.config().watch().await.unwrap();
    assert_eq!(before.version, None);

    let admin = backend.builder(servers).connect().await.unwrap();
    admin.add_auth("digest", b"super:admin").await.unwrap();
    admin.set("/zookeeper/config", TEXT).await.unwrap();
    let event = changed.await.unwrap();
    let expected = (EventType::NodeDataChanged, "/zookeeper/config");
    assert_eq!((event.kind, event.path.as_str()), expected);
    let config = app.config().await.unwrap();
    assert_eq!(config.version, Some(0x1_0000_001a));
    let roles: Vec<_> = config.members.iter().map(|member| member.role).collect();
    assert_eq!(roles, [Role::Participant, Role::Observer]);
    assert_eq!(config.raw, TEXT);
}

async fn a_text_that_was_there_from_the_start(backend: Backend) {
    let fake = FakeServer::builder().config(|config| config.ensemble = TEXT.into());
    let fake = fake.start().unwrap();
    let builder = backend.builder(&fake.connect_string());
    let client = builder.connect().await.unwrap();
    let config = client.config().await.unwrap();
    assert_eq!(config.members.len(), 2);
    assert_eq!(config.members[1].addresses[0].host, "zk2");
    assert_eq!((config.stat.version, config.stat.aversion), (-1, -1));
}

fn settings(config: &mut ServerConfig) {
    config.super_digest = Some(SUPER.into());
    config.reconfig_enabled = true;
}

async fn a_member_leaves_and_comes_back(backend: Backend) {
    let fake = FakeEnsemble::builder().config(settings).start().unwrap();
    let leader = fake.leader().unwrap();
    leave_and_come_back(backend, &fake.member(leader).connect_string()).await;
    if real::requirement().is_none() {
        return;
    }
    let each = real::ZooKeeper::builder().system_property(SUPER_DIGEST, SUPER);
    let ensemble = real::Ensemble::builder().each(each).start().unwrap();
    let leader = ensemble.leader().unwrap();
    leave_and_come_back(backend, &ensemble.members()[leader].connect_string()).await;
}

/// At the leader: whoever is removed, this one stays.
async fn leave_and_come_back(backend: Backend, servers: &str) {
    let client = backend.builder(servers).connect().await.unwrap();
    let (before, changed) = client.config().watch().await.unwrap();
    assert_eq!(before.members.len(), 3);
    assert!(
        before
            .members
            .iter()
            .all(|member| member.role == Role::Participant)
    );
    let leaders_port = servers.rsplit(':').next().unwrap();
    let is_leader = |address: &Option<ClientAddress>| {
        let address = address.as_ref();
        address.is_some_and(|address| address.port.to_string() == leaders_port)
    };
    let mut members = before.members.iter();
    let leaves = members
        .find(|member| !is_leader(&member.client_address()))
        .unwrap();
    let raw = String::from_utf8(before.raw.to_vec()).unwrap();
    let line = format!("server.{}=", leaves.id);
    let line = raw.lines().find(|other| other.starts_with(&line)).unwrap();

    let error = client.reconfig().leave(leaves.id).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "reconfig \"/zookeeper/config\": NoAuth (-102); it takes WRITE on the node, which by default only the super user has: add an identity (`add_auth`) that has it in the access control list (`acl`)"
    );
    client.add_auth("digest", b"super:admin").await.unwrap();
    for (request, code) in [
        (
            client.reconfig().leave(leaves.id).from_config(7),
            ErrorCode::BadVersion,
        ),
        (client.reconfig().join("nonsense"), ErrorCode::BadArguments),
        (
            client.reconfig().members("nonsense"),
            ErrorCode::BadArguments,
        ),
    ] {
        let error = request.await.unwrap_err();
        assert_eq!(error.code(), Some(code), "{error}");
        assert!(error.to_string().contains("; "), "{error}");
    }
    let version = before.version.unwrap();
    let change = client.reconfig().leave(leaves.id).from_config(version);
    let after = change.await.unwrap();
    assert_eq!(after.members.len(), 2);
    assert!(after.version.unwrap() > version);
    let event = changed.await.unwrap();
    assert_eq!(event.path, "/zookeeper/config");
    assert_eq!(client.config().await.unwrap().members, after.members);

    // It is up to date and connected again when its reconfiguration is allowed.
    loop {
        match client.reconfig().join(line).await {
            Ok(config) => {
                assert_eq!(config.members.len(), 3);
                break;
            }
            Err(error) => assert!(
                matches!(
                    error.code(),
                    Some(ErrorCode::NewConfigNoQuorum | ErrorCode::ReconfigInProgress)
                ),
                "{error}"
            ),
        }
    }
    // All of them at once.
    let all = client.reconfig().members(raw.rsplit_once('\n').unwrap().0);
    assert_eq!(all.await.unwrap().members.len(), 3);
}

async fn a_server_joins_and_the_leader_leaves(backend: Backend) {
    let mut ensemble = FakeEnsemble::builder().config(settings).start().unwrap();
    let joins = ensemble.add_server().unwrap();
    let line = ensemble.server_line(joins);
    let builder = backend.builder(&ensemble.connect_string());
    let client = builder.connect().await.unwrap();
    client.add_auth("digest", b"super:admin").await.unwrap();
    let config = client.reconfig().join(&line).await.unwrap();
    let last = config.members.last().unwrap();
    let port = ensemble.member(joins).addr().port();
    assert_eq!((last.id, last.client_address().unwrap().port), (4, port));

    // Wherever it is asked for, the client is told or not, and it happens.
    let leader = ensemble.leader().unwrap();
    let number = i64::try_from(leader).unwrap() + 1;
    match client.reconfig().leave(number).await {
        Ok(config) => assert_eq!(config.members.len(), 3),
        Err(error) => assert!(matches!(error, Error::ConnectionLost { .. }), "{error}"),
    }
    assert_eq!(ensemble.wait_for_leader(TEST_MAX), Some(0));
    let config = loop {
        match client.config().await {
            Ok(config) => break config,
            Err(error) => assert!(matches!(error, Error::ConnectionLost { .. }), "{error}"),
        }
    };
    let ids: Vec<_> = config.members.iter().map(|member| member.id).collect();
    assert_eq!(ids, [1, 2, 4]);
    client.close().await.unwrap();
}
