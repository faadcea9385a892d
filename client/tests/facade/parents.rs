//! Nodes that are made together with the parents that they lack.

use homing::{Acl, Error, ErrorCode, permission};

use crate::env::{Env, connection, stat};
use crate::support::on_plain_thread;

pub(crate) async fn missing_parents_are_made(env: &Env) {
    let client = env.connect().await;
    let made = client.create("/a/b/c/d", b"deep").parents().await.unwrap();
    assert_eq!((&*made.path, made.sequence), ("/a/b/c/d", None));
    assert_eq!(client.get("/a/b/c/d").await.unwrap().data, "deep");
    for path in ["/a", "/a/b", "/a/b/c"] {
        let node = client.get(path).await.unwrap();
        assert!(node.data.is_empty() && !node.is_null, "{path}");
        assert_eq!(node.stat.num_children, 1, "{path}");
    }
    // Some are there, all are there, none is needed.
    client.create("/a/b/x/y", b"").parents().await.unwrap();
    client.create("/a/b/x/z", b"").parents().await.unwrap();
    client.create("/top", b"").parents().await.unwrap();
    assert_eq!(stat(&client, "/a/b").await.cversion, 2);
    let names = client.children("/a/b/x").await.unwrap();
    assert_eq!(names.sorted(), ["y", "z"]);
    // That the node itself is there is as much of an error as without parents.
    let error = client.create("/a/b", b"").parents().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NodeExists), "{error}");
    let many = format!("/many{}", "/x".repeat(100));
    client.create(&many, b"").parents().await.unwrap();
    stat(&client, &many).await;
}

pub(crate) async fn the_node_has_its_own_settings(env: &Env) {
    let client = env.connect().await;
    let session_id = connection(&client).session_id;
    let both = client.create("/w/e-", b"").ephemeral().sequential();
    let made = both.parents().await.unwrap();
    assert_eq!((&*made.path, made.sequence), ("/w/e-0000000000", Some(0)));
    assert_eq!(made.stat.unwrap().ephemeral_owner, session_id);
    // The name can be the number alone.
    let numbered = client.create("/n/m/", b"").sequential().parents();
    assert_eq!(numbered.await.unwrap().path, "/n/m/0000000000");
    let root = client.create("/", b"").sequential().parents();
    assert_eq!(root.await.unwrap().path, "/0000000002");
    // A list is the node's alone: its parents have the client's.
    let private = client.create("/p/q/r", b"").acl(Acl::read_only());
    private.parents().await.unwrap();
    let rows = [
        ("/p", Acl::open()),
        ("/p/q", Acl::open()),
        ("/p/q/r", Acl::read_only()),
    ];
    for (path, acl) in rows {
        assert_eq!(client.acl(path).await.unwrap().entries, [acl], "{path}");
    }
    let list = [Acl::open(), Acl::read_only()];
    let other = env.builder().default_acl(&list);
    let other = other.connect().await.unwrap();
    other.create("/d/e/f", b"").parents().await.unwrap();
    for path in ["/d", "/d/e", "/d/e/f"] {
        assert_eq!(client.acl(path).await.unwrap().entries, list, "{path}");
    }
    // Containers look like others from here.
    let contained = client.create("/c/d/e", b"").container_parents();
    assert_eq!(contained.await.unwrap().path, "/c/d/e");
    assert!(!stat(&client, "/c/d").await.is_ephemeral());
}

pub(crate) async fn a_thread_makes_parents(env: &Env) {
    let client = env.connect().await;
    let made = on_plain_thread(|| client.create("/a/b/c", b"").parents().wait());
    assert_eq!(made.unwrap().path, "/a/b/c");
    if !env.backend.may_wait_here() {
        let error = client.create("/x/y", b"").parents().wait().unwrap_err();
        assert!(matches!(error, Error::Misuse { .. }), "{error}");
        assert_eq!(client.exists("/x").await.unwrap(), None);
    }
}

pub(crate) async fn an_error_names_the_node_that_it_is_about(env: &Env) {
    let client = env.connect().await;
    client.create("/e", b"").ephemeral().await.unwrap();
    let error = client.create("/e/a/b", b"").parents().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "create \"/e/a\": NoChildrenForEphemerals (-108); its parent is ephemeral"
    );
    client
        .create("/r", b"")
        .acl(Acl::read_only())
        .await
        .unwrap();
    let error = client.create("/r/a/b/c", b"").parents().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoAuth));
    assert_eq!(error.request().unwrap().path, "/r/a");
    let error = client.create("/a//b", b"").parents().await.unwrap_err();
    assert!(matches!(error, Error::BadPath { .. }), "{error}");
    // A chroot is not made, and the error says that it may be missing.
    let below = client.chroot("/missing/chroot").unwrap();
    let error = below.create("/a/b", b"").parents().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    assert_eq!(error.request().unwrap().path, "/a");
    let text = format!(
        "below the chroot \"{}/missing/chroot\", which may itself not exist",
        env.chroot()
    );
    assert!(error.to_string().contains(&text), "{error}");
}

/// Where a parent is there already, whether this client could have made it does not matter.
pub(crate) async fn parents_that_are_there_are_not_made(env: &Env) {
    let client = env.connect().await;
    client.create("/locked", b"").await.unwrap();
    client.create("/locked/open", b"").await.unwrap();
    let list = Acl::open().permissions(permission::READ);
    client.set_acl("/locked", list).await.unwrap();
    client
        .create("/locked/open/a/b", b"")
        .parents()
        .await
        .unwrap();
    stat(&client, "/locked/open/a/b").await;
}

pub(crate) async fn as_few_requests_as_it_takes(env: &Env) {
    let client = env.connect().await;
    let requests = async |path: &str| {
        let before = env.fake().requests_received();
        client.create(path, b"").parents().await.unwrap();
        env.fake().requests_received() - before
    };
    // A ping in between would be one more; none is due yet.
    assert_eq!(requests("/a").await, 1);
    assert_eq!(requests("/a/b").await, 1);
    // The node, its parent, the node again.
    assert_eq!(requests("/a/c/d").await, 3);
    // Up to what is there, and down again.
    assert_eq!(requests("/x/y/z").await, 5);
}

/// Everybody makes the same parents at once.
pub(crate) async fn others_make_the_same_parents(env: &Env) {
    let servers = env.connect_string();
    let makers: Vec<_> = (0..4)
        .map(|maker| {
            let (servers, backend) = (servers.clone(), env.backend);
            std::thread::spawn(move || {
                backend.block_on(async {
                    let client = backend.builder(&servers).connect().await.unwrap();
                    for round in 0..20 {
                        let path = format!("/r{round}/a/b/c/{maker}");
                        client.create(path, b"").parents().await.unwrap();
                    }
                    client.close().await.unwrap();
                });
            })
        })
        .collect();
    for maker in makers {
        maker.join().unwrap();
    }
    let client = env.connect().await;
    for round in 0..20 {
        let names = client.children(format!("/r{round}/a/b/c")).await.unwrap();
        assert_eq!(names.sorted(), ["0", "1", "2", "3"], "{round}");
    }
}
