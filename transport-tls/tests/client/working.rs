//! What works without TLS works with it.

use homing::{Acl, Client, Connection, Error, SessionState};
use homing_transport_tls::ClientAuth;

use crate::Backend;
use crate::proxy::Proxy;
use crate::server::{Kind, World};

crate::everywhere! {
    requests_and_watches
    much_data_both_ways
    many_requests_at_once
    a_session_outlives_the_server
    a_certificate_is_an_identity
    a_certificate_that_is_wanted_can_be_missing
}

crate::on_each_backend! {
    what_tls_has_not_taken_was_not_sent
    some_servers_with_tls_and_some_without
    a_server_that_is_down_leads_to_one_with_tls
}

async fn connect(backend: Backend, world: &World) -> Client {
    let builder = backend.builder(&world.connect_string()).tls(world.tls());
    builder.connect().await.unwrap()
}

fn connection(client: &Client) -> Connection {
    match client.state() {
        SessionState::Connected(connection) => connection,
        other => panic!("{other}"),
    }
}

async fn requests_and_watches(backend: Backend, kind: Kind) {
    let world = World::new(kind, ClientAuth::None);
    let client = connect(backend, &world).await;
    client.create("/a", b"one").await.unwrap();
    let (node, changed) = client.get("/a").watch().await.unwrap();
    assert_eq!(&node.data[..], b"one");
    client.set("/a", b"two").await.unwrap();
    assert_eq!(changed.await.unwrap().path, "/a");
    assert_eq!(&client.get("/a").await.unwrap().data[..], b"two");
    client.delete("/a").await.unwrap();
    assert!(client.exists("/a").await.unwrap().is_none());
    client.close().await.unwrap();
}

async fn much_data_both_ways(backend: Backend, kind: Kind) {
    let world = World::new(kind, ClientAuth::None);
    let client = connect(backend, &world).await;
    client.create("/much", b"").await.unwrap();
    // As much as a server takes, less what stands around it.
    let data: Vec<u8> = (0..1_048_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    for _ in 0..3 {
        client.set("/much", &data).await.unwrap();
        assert!(client.get("/much").await.unwrap().data[..] == data[..]);
    }
    client.close().await.unwrap();
}

async fn many_requests_at_once(backend: Backend, kind: Kind) {
    let world = World::new(kind, ClientAuth::None);
    let client = connect(backend, &world).await;
    client.create("/n", b"").await.unwrap();
    let values: Vec<_> = (0..5_000_u32).map(u32::to_be_bytes).collect();
    let set = |value: &'static [u8; 4]| client.set("/n", value).submit().unwrap();
    let values: &'static [[u8; 4]] = values.leak();
    let writes: Vec<_> = values.iter().map(set).collect();
    let last = client.get("/n").submit().unwrap();
    for (version, write) in (1..).zip(writes) {
        assert_eq!(write.await.unwrap().version, version);
    }
    assert_eq!(last.await.unwrap().data[..], 4_999_u32.to_be_bytes());
    client.close().await.unwrap();
}

async fn a_session_outlives_the_server(backend: Backend, kind: Kind) {
    let mut world = World::new(kind, ClientAuth::None);
    let client = connect(backend, &world).await;
    client.create("/me", b"").ephemeral().await.unwrap();
    let session = connection(&client).session_id;
    world.kill();
    let mut changes = client.state_changes();
    while !matches!(
        changes.next().await.unwrap().state,
        SessionState::Suspended { .. }
    ) {}
    world.restart();
    assert!(client.exists("/me").await.unwrap().is_some());
    assert_eq!(client.connected().await.unwrap().session_id, session);
    client.close().await.unwrap();
}

async fn a_certificate_is_an_identity(backend: Backend, kind: Kind) {
    let world = World::new(kind, ClientAuth::Need);
    let connect = async |name: &str| {
        let builder = backend.builder(&world.connect_string());
        builder.tls(world.tls_as(name)).connect().await.unwrap()
    };
    let bob = connect("bob").await;
    let create = bob.create("/bobs", b"secret").acl(Acl::creator_all());
    create.await.unwrap();
    let entries = bob.acl("/bobs").await.unwrap().entries;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].id.scheme, "x509");
    assert_eq!(entries[0].id.id, "O=Homing,CN=bob");
    assert_eq!(&bob.get("/bobs").await.unwrap().data[..], b"secret");
    let eve = connect("eve").await;
    let error = eve.get("/bobs").await.unwrap_err();
    assert_eq!(error.code(), Some(homing::ErrorCode::NoAuth), "{error}");
    // She can be named, too, and so can whoever has a name that Java reads.
    let name = async |name: &str| {
        let mut both = Acl::creator_all();
        (both.id.scheme, both.id.id) = ("x509".into(), name.into());
        let list = bob.set_acl("/bobs", vec![entries[0].clone(), both]);
        list.await.map_err(|error| error.code())
    };
    for wrong in ["eve", "foo=bar", "CN=a,b", "CN=a,", "CN=\"a", "CN=#0401"] {
        let error = name(wrong).await.unwrap_err();
        assert_eq!(error, Some(homing::ErrorCode::InvalidAcl), "{wrong}");
    }
    for right in ["", "cn=a;O=\"b,c\"", "1.2.3=x", "O=Homing,CN=eve"] {
        assert!(name(right).await.is_ok(), "{right}");
    }
    assert_eq!(&eve.get("/bobs").await.unwrap().data[..], b"secret");
    bob.close().await.unwrap();
    eve.close().await.unwrap();
}

async fn a_certificate_that_is_wanted_can_be_missing(backend: Backend, kind: Kind) {
    let world = World::new(kind, ClientAuth::Want);
    for tls in [world.tls_as("bob"), world.tls()] {
        let builder = backend.builder(&world.connect_string());
        let client = builder.tls(tls).connect().await.unwrap();
        assert!(client.exists("/").await.unwrap().is_some());
        client.close().await.unwrap();
    }
}

/// The server reads nothing while much is written, and dies. What was handed over by then was
/// not applied; what was not handed over is applied later, once.
async fn what_tls_has_not_taken_was_not_sent(backend: Backend) {
    let world = World::new(Kind::Fake, ClientAuth::None);
    let client = connect(backend, &world).await;
    client.create("/n", b"").await.unwrap();
    world.fake().pause();
    // More than sockets, TLS and buffers take.
    let data: &'static [u8] = vec![7; 100_000].leak();
    let writes: Vec<_> = (0..400)
        .map(|_| client.set("/n", data).submit().unwrap())
        .collect();
    world.fake().stop();
    world.fake().restart().unwrap();
    let (mut lost, mut applied) = (0, 0);
    for write in writes {
        match write.await {
            Ok(stat) => {
                applied += 1;
                assert_eq!(stat.version, applied, "in order, and none twice");
            }
            Err(Error::ConnectionLost { .. }) => {
                assert_eq!(applied, 0, "a later one was handed over before");
                lost += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(lost + applied, 400);
    assert!(applied > 0, "{lost} lost");
    let stat = client.exists("/n").await.unwrap().unwrap();
    assert_eq!(stat.version, applied);
    client.close().await.unwrap();
}

/// One server, with a port of each kind and a cable to each.
async fn some_servers_with_tls_and_some_without(backend: Backend) {
    if !Kind::Real.is_there() {
        return;
    }
    let world = World::new(Kind::Real, ClientAuth::None);
    let address = |text: &str| text.trim_start_matches("tls://").parse().unwrap();
    let plain = Proxy::start(address(&world.plain().unwrap()));
    let secure = Proxy::start(address(&world.connect_string()));
    let (plain_at, secure_at) = (plain.connect_string(), secure.connect_string());
    let servers = format!("{plain_at},tls://{secure_at}");
    secure.cut();
    let builder = backend.builder(&servers).tls(world.tls());
    let client = builder.connect().await.unwrap();
    let session = connection(&client).session_id;
    client.create("/me", b"").ephemeral().await.unwrap();
    for (cut, other, at) in [
        (&plain, &secure, &secure_at),
        (&secure, &plain, &plain_at),
        (&plain, &secure, &secure_at),
    ] {
        other.mend();
        cut.cut();
        // A request that is lost with the cut has been sent before it was noticed.
        while client.exists("/me").await.is_err() {}
        let now = client.connected().await.unwrap();
        assert_eq!(
            (now.session_id, now.server.to_string()),
            (session, at.clone())
        );
    }
    client.close().await.unwrap();
}

async fn a_server_that_is_down_leads_to_one_with_tls(backend: Backend) {
    let down = homing_testkit::FakeServer::start();
    down.stop();
    let world = World::new(Kind::Fake, ClientAuth::None);
    let servers = format!("{},{}", down.connect_string(), world.connect_string());
    for seed in 0..4 {
        let builder = backend.builder(&servers).tls(world.tls()).seed(seed);
        let client = builder.connect().await.unwrap();
        client.close().await.unwrap();
    }
}
