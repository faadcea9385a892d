//! Nodes that go away by themselves, and settings that cannot be had together.

use std::time::Duration;

use homing::{Acl, Created, Error, ErrorCode, Usage};

use crate::env::{Env, connection, stat};

const HOUR: Duration = Duration::from_secs(3600);
/// 2^40 − 1 milliseconds.
const TTL_MAX: Duration = Duration::from_millis(1_099_511_627_775);

pub(crate) async fn containers_and_nodes_with_a_time_to_live(env: &Env) {
    let client = env.connect().await;
    client.create("/all", b"").await.unwrap();
    let made = [
        client.create("/all/c", b"c").container().await.unwrap(),
        client.create("/all/t", b"t").ttl(HOUR).await.unwrap(),
        client
            .create("/all/ts-", b"ts")
            .ttl(HOUR)
            .sequential()
            .await
            .unwrap(),
        client
            .create("/all/", b"")
            .sequential()
            .ttl(TTL_MAX)
            .await
            .unwrap(),
        client
            .create("/all/shortest", b"")
            .ttl(Duration::from_millis(1))
            .await
            .unwrap(),
    ];
    let expected = [
        ("/all/c", None, 1),
        ("/all/t", None, 1),
        ("/all/ts-0000000002", Some(2), 2),
        ("/all/0000000003", Some(3), 0),
        ("/all/shortest", None, 0),
    ];
    for (made, (path, sequence, length)) in made.iter().zip(expected) {
        assert_eq!((&*made.path, made.sequence), (path, sequence));
        let told = made.stat.unwrap();
        assert_eq!((told.data_length, told.ephemeral_owner), (length, 0));
        // The shortest may be gone by now.
        if path != "/all/shortest" {
            assert_eq!(told, stat(&client, path).await);
        }
    }
    // They can have children, unlike ephemeral nodes.
    for parent in ["/all/c", "/all/t"] {
        let child = client.create(format!("{parent}/x"), b"").ephemeral();
        child.await.unwrap();
        assert_eq!(stat(&client, parent).await.num_children, 1);
    }
    // And lists of their own.
    for path in ["/all/c2", "/all/t2"] {
        let node = client.create(path, b"").acl(Acl::read_only());
        match path {
            "/all/c2" => node.container().await.unwrap(),
            _ => node.ttl(HOUR).await.unwrap(),
        };
        assert_eq!(client.acl(path).await.unwrap().entries, [Acl::read_only()]);
    }
}

pub(crate) async fn refusals_are_those_of_any_create(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    client.create("/e", b"").ephemeral().await.unwrap();
    let rows = [
        ("/a", ErrorCode::NodeExists),
        ("/no/a", ErrorCode::NoNode),
        ("/e/a", ErrorCode::NoChildrenForEphemerals),
    ];
    for (path, code) in rows {
        let results = [
            client.create(path, b"").await,
            client.create(path, b"").container().await,
            client.create(path, b"").ttl(HOUR).await,
        ];
        for result in results {
            let error = result.unwrap_err();
            assert_eq!(error.code(), Some(code), "{error}");
            assert!(!error.may_have_been_applied());
        }
    }
}

pub(crate) async fn settings_that_exclude_each_other(env: &Env) {
    let client = env.connect().await;
    let node = || client.create("/a", b"");
    let two = |one: &str, other: &str| {
        format!("create \"/a\": `{one}` and `{other}` exclude each other; it was not sent")
    };
    let long = |ttl: &str| {
        format!(
            "create \"/a\": a time to live of {ttl} is not within 1 to 1099511627775 milliseconds; it was not sent"
        )
    };
    let rows = [
        (node().ephemeral().ttl(HOUR), two("ephemeral", "ttl")),
        (node().ttl(HOUR).ephemeral(), two("ephemeral", "ttl")),
        (node().container().ttl(HOUR), two("container", "ttl")),
        (
            node().ephemeral().container(),
            two("ephemeral", "container"),
        ),
        (
            node().container().sequential(),
            two("container", "sequential"),
        ),
        (
            node().sequential().ephemeral().ttl(HOUR).container(),
            two("ephemeral", "container"),
        ),
        (node().ttl(Duration::ZERO), long("0ns")),
        (node().ttl(Duration::from_micros(999)), long("999µs")),
        (
            node().ttl(TTL_MAX + Duration::from_millis(1)),
            long("1099511627.776s"),
        ),
        (
            node().ttl(Duration::MAX),
            long("18446744073709551615.999999999s"),
        ),
    ];
    for (request, text) in rows {
        let error = request.submit().map(drop).unwrap_err();
        assert!(matches!(error, Error::Misuse { .. }), "{error:?}");
        assert!(!error.may_have_been_applied());
        assert_eq!(error.to_string(), text);
    }
    let awaited = node().ephemeral().ttl(HOUR).await.unwrap_err();
    assert_eq!(awaited.to_string(), two("ephemeral", "ttl"));
    let parents = node().ephemeral().ttl(HOUR).parents().await.unwrap_err();
    assert_eq!(parents.to_string(), two("ephemeral", "ttl"));
    // The same twice is no conflict, and the last counts.
    let twice = node().ttl(Duration::ZERO).ttl(HOUR).sequential();
    twice.sequential().await.unwrap();
    assert_eq!(client.in_flight(), Usage::default());
    assert_eq!(client.exists("/a").await.unwrap(), None);
}

pub(crate) async fn an_ephemeral_of_a_former_session(env: &Env) {
    let former = env.connect().await;
    let made = former.create("/leader", b"1").ephemeral().await.unwrap();
    let client = env.connect().await;
    let error = client.create("/leader", b"2").ephemeral().await;
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        "create \"/leader\": NodeExists (-110); if it is of a former session, it goes away when that expires: see its `ephemeral_owner`"
    );
    let owner = |made: &Created| made.stat.unwrap().ephemeral_owner;
    assert_eq!(owner(&made), connection(&former).session_id);
    former.close().await.unwrap();
    let made = client.create("/leader", b"2").ephemeral().await.unwrap();
    assert_eq!(owner(&made), connection(&client).session_id);
    // A plain node says no more than that there is one.
    let error = client.create("/leader", b"3").await.unwrap_err();
    assert_eq!(error.to_string(), "create \"/leader\": NodeExists (-110)");
}
