//! Chroots: in the connect string, of a handle, and missing ones.

use homing::{Error, ErrorCode};

use crate::env::{Env, gone, stat};

pub(crate) async fn a_chroot_in_the_connect_string(env: &Env) {
    let (client, root) = (env.connect().await, env.connect_to_root().await);
    let at_server = |path: &str| format!("{}{path}", env.chroot());
    let made = client.create("/a", b"1").await.unwrap();
    assert_eq!(made.path, "/a");
    assert_eq!(root.get(at_server("/a")).await.unwrap().data, "1");

    let made = client.create("/a/n-", b"").sequential().await.unwrap();
    assert_eq!(made.path, "/a/n-0000000000");
    let names = root.children(at_server("/a")).await.unwrap();
    assert_eq!(names.sorted(), ["n-0000000000"]);

    client.set("/a", b"2").await.unwrap();
    assert_eq!(root.get(at_server("/a")).await.unwrap().data, "2");
    assert_eq!(client.children("/").await.unwrap().sorted(), ["a"]);
    client.delete("/a/n-0000000000").await.unwrap();
    client.delete("/a").await.unwrap();
    gone(&root, &at_server("/a")).await;
    // It sees nothing outside.
    assert_eq!(client.exists(env.chroot()).await.unwrap(), None);
    client.sync("/").await.unwrap();
}

pub(crate) async fn a_chroot_of_a_handle(env: &Env) {
    let client = env.connect().await;
    client.create("/app", b"").await.unwrap();
    client.create("/apple", b"another").await.unwrap();
    let app = client.chroot("/app").unwrap();
    assert_eq!(app.create("/config", b"v1").await.unwrap().path, "/config");
    assert_eq!(client.get("/app/config").await.unwrap().data, "v1");
    assert_eq!(app.exists("/le").await.unwrap(), None);

    // One below the other, and one that changes nothing.
    let config = app.chroot("/config").unwrap().chroot("/").unwrap();
    let made = config.create("/x-", b"").ephemeral().sequential();
    assert_eq!(made.await.unwrap().path, "/x-0000000000");
    let children = client.children("/app/config").await.unwrap();
    assert_eq!(children.sorted(), ["x-0000000000"]);

    // It is the same session: it lives as long as any of its handles.
    let owner = stat(&config, "/x-0000000000").await.ephemeral_owner;
    assert_eq!(client.credentials().unwrap().session_id(), owner);
    drop((client, app));
    config.get("/x-0000000000").await.unwrap();
    drop(config);
    let next = env.connect().await;
    gone(&next, "/app/config/x-0000000000").await;
}

pub(crate) async fn the_root_of_a_chroot(env: &Env) {
    let client = env.connect().await;
    client.set("/", b"the chroot's own").await.unwrap();
    let root = env.connect_to_root().await;
    let node = root.get(env.chroot()).await.unwrap();
    assert_eq!(node.data, "the chroot's own");
    assert_eq!(client.exists("/").await.unwrap(), Some(node.stat));

    // A chroot can be made through itself.
    let below = client.chroot("/below").unwrap();
    assert_eq!(below.create("/", b"made").await.unwrap().path, "/");
    assert_eq!(client.get("/below").await.unwrap().data, "made");
    below.delete("/").await.unwrap();
    assert_eq!(client.exists("/below").await.unwrap(), None);
}

pub(crate) async fn a_missing_chroot_is_named_in_the_error(env: &Env) {
    let below = env.connect_string() + "/missing";
    let builder = env.backend.builder(&below);
    let client = builder.connect().await.unwrap();
    let chroot = format!("{}/missing", env.chroot());
    let hint = format!("below the chroot {chroot:?}, which may itself not exist");
    for error in [
        client.get("/a").await.map(|_| ()).unwrap_err(),
        client.create("/a", b"").await.map(|_| ()).unwrap_err(),
        client.children("/").await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.code(), Some(ErrorCode::NoNode));
        assert!(error.to_string().ends_with(&hint), "{error}");
    }
    assert_eq!(client.exists("/a").await.unwrap(), None);
    // Without a chroot there is nothing to say about one.
    let root = env.connect_to_root().await;
    let error = root.get("/nowhere").await.unwrap_err();
    assert_eq!(error.to_string(), "get \"/nowhere\": NoNode (-101)");
}

pub(crate) async fn a_bad_chroot_is_refused(env: &Env) {
    let client = env.connect().await;
    for (path, why) in [
        ("app", "it does not begin with a slash"),
        ("", "it is empty"),
        ("/app/", "it ends with a slash"),
        ("/a//b", "an empty component at byte 3"),
    ] {
        let error = client.chroot(path).unwrap_err();
        assert!(matches!(error, Error::BadPath { .. }), "{path:?}: {error}");
        let text = format!("chroot {path:?}: not a path: {why}");
        assert_eq!(error.to_string(), text);
    }
}
