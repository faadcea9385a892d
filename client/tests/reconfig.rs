//! Servers that may be reconfigured, and stand alone: a fake one and a real one. A super user may
//! write to the node of the configuration, which is how a change comes about here.

#[macro_use]
mod support;

use homing::{EventType, Role};
use homing_testkit::{FakeServer, real};
use support::Backend;

on_each_backend! {
    a_change_is_told_and_read
    a_fake_ensemble
}

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
        let digest = "zookeeper.DigestAuthenticationProvider.superDigest";
        let server = real::ZooKeeper::builder()
            .property("reconfigEnabled", "true")
            .system_property(digest, SUPER)
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

async fn a_fake_ensemble(backend: Backend) {
    let fake = FakeServer::builder().config(|config| config.ensemble = TEXT.into());
    let fake = fake.start().unwrap();
    let builder = backend.builder(&fake.connect_string());
    let client = builder.connect().await.unwrap();
    let config = client.config().await.unwrap();
    assert_eq!(config.members.len(), 2);
    assert_eq!(config.members[1].addresses, ["zk2:2888:3888"]);
    assert_eq!((config.stat.version, config.stat.aversion), (-1, -1));
}
