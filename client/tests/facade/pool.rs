//! Reading by means of several sessions. (What it takes several servers for is in `tests/pool/`.)

use std::time::Duration;

use homing::pool::User;
use homing::{Acl, Error, ErrorCode, Pool};

use crate::env::{Env, SOON, until};
use crate::support::on_plain_thread;

fn pool(env: &Env) -> Pool {
    env.builder().pool().capacity(3).grow_at(1).start().unwrap()
}

pub(crate) async fn a_pool_reads_what_a_client_reads(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"data").await.unwrap();
    client.create("/a/x", b"").await.unwrap();
    client.create("/a/y", b"").await.unwrap();
    let user = pool(env).user();
    user.seen(client.last_zxid());
    assert_eq!(
        user.get("/a").await.unwrap(),
        client.get("/a").await.unwrap()
    );
    assert_eq!(
        user.exists("/a/x").await.unwrap(),
        client.exists("/a/x").await.unwrap()
    );
    assert_eq!(user.exists("/none").await.unwrap(), None);
    let children = user.children("/a").await.unwrap();
    assert_eq!(children.sorted(), ["x", "y"]);
    assert_eq!(children.stat().num_children, 2);
    assert_eq!(user.acl("/a").await.unwrap().entries, [Acl::open()]);
    assert_eq!(user.descendant_count("/a").await.unwrap(), 2);
    // Paths may be given away, and answers are awaited whenever.
    let reading = user.get(String::from("/a")).synced().submit().unwrap();
    let other = user.children("/a").submit().unwrap();
    assert_eq!(other.await.unwrap().len(), 2);
    assert_eq!(reading.await.unwrap().data, "data");
}

pub(crate) async fn errors_are_those_of_a_client(env: &Env) {
    let user = pool(env).user();
    let error = user.get("/none").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    let request = error.request().unwrap();
    assert_eq!((request.op, request.path.as_str()), ("get", "/none"));
    let error = user.children("none").await.unwrap_err();
    assert!(matches!(error, Error::BadPath { .. }), "{error:?}");
    let error = user.acl("/a//b").submit().unwrap_err();
    assert!(matches!(error, Error::BadPath { .. }), "{error:?}");
    let error = user.get("/").deadline(Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
    assert!(!error.may_have_been_applied());
}

pub(crate) async fn whoever_wrote_sees_it(env: &Env) {
    let client = env.connect().await;
    let pool = pool(env);
    let user = pool.user();
    client.create("/a", b"").await.unwrap();
    for n in 0..50_i32 {
        let before = client.last_zxid();
        let stat = client.set("/a", &n.to_string()).await.unwrap();
        assert!(stat.mzxid > before && client.last_zxid() >= stat.mzxid);
        user.seen(client.last_zxid());
        let node = user.get("/a").await.unwrap();
        assert_eq!(node.stat.version, stat.version);
        assert!(user.last_zxid() >= stat.mzxid);
    }
    client.delete("/a").await.unwrap();
    user.seen(client.last_zxid());
    assert_eq!(user.exists("/a").await.unwrap(), None);
}

pub(crate) async fn a_thread_reads_through_a_pool(env: &Env) {
    let pool = pool(env);
    on_plain_thread(|| {
        let user = pool.user();
        assert!(user.exists("/").wait().unwrap().is_some());
        let children = user.children("/").submit().unwrap();
        let none = user.get("/none").synced().wait().unwrap_err();
        assert_eq!(none.code(), Some(ErrorCode::NoNode));
        assert_eq!(children.wait().unwrap().len(), 0);
        pool.close().wait().unwrap();
        let error = user.get("/").wait().unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    });
}

pub(crate) async fn many_reads_at_once(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"data").await.unwrap();
    let pool = pool(env);
    let user = pool.user();
    let read_all = async |user: &User| {
        let readings: Vec<_> = (0..100).map(|_| user.get("/a").submit().unwrap()).collect();
        for reading in readings {
            assert_eq!(reading.await.unwrap().data, "data");
        }
    };
    user.seen(client.last_zxid());
    // Until it has as many sessions as it may have.
    let deadline = std::time::Instant::now() + SOON;
    while pool.stats().connected < 3 {
        assert!(std::time::Instant::now() < deadline, "{pool:?}");
        read_all(&user).await;
    }
    read_all(&user).await;
    let stats = pool.stats();
    assert_eq!((stats.started, stats.failed, stats.in_flight), (3, 0, 0));
}

pub(crate) async fn a_pool_is_closed(env: &Env) {
    let pool = pool(env);
    let user = pool.user();
    user.get("/").await.unwrap();
    assert_eq!(pool.stats().connected, 1);
    pool.close().await.unwrap();
    until("it is closed", || pool.stats().connected == 0);
    let error = user.get("/").await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    pool.clone().close().await.unwrap();
}
