//! What a session has, who it is, and how much there is.

use homing::{Error, ErrorCode, Feature};

use crate::env::Env;
use crate::support::on_plain_thread;

fn sorted(mut paths: Vec<String>) -> Vec<String> {
    paths.sort();
    paths
}

pub(crate) async fn ephemerals_of_this_session(env: &Env) {
    let client = env.connect().await;
    assert_eq!(client.ephemerals("/").await.unwrap(), [""; 0]);
    for path in ["/a", "/ab"] {
        client.create(path, b"").await.unwrap();
    }
    for path in ["/a/x", "/a/y", "/ab/z", "/b"] {
        client.create(path, b"").ephemeral().await.unwrap();
    }
    let other = env.connect().await;
    other.create("/a/others", b"").ephemeral().await.unwrap();
    let rows: [(&str, &[&str]); 6] = [
        ("/", &["/a/x", "/a/y", "/ab/z", "/b"]),
        ("/a", &["/a/x", "/a/y"]),
        ("/ab", &["/ab/z"]),
        ("/b", &["/b"]),
        ("/a/x", &["/a/x"]),
        ("/nowhere", &[]),
    ];
    for (path, expected) in rows {
        let found = client.ephemerals(path).await.unwrap();
        assert_eq!(sorted(found), expected, "{path}");
    }
    assert_eq!(client.supports(Feature::Ephemerals), Some(true));
    client.delete("/a/x").await.unwrap();
    let left = on_plain_thread(|| client.ephemerals("/a").wait()).unwrap();
    assert_eq!(left, ["/a/y"]);
    let error = client.ephemerals("/a/").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "ephemerals \"/a/\": not a path: it ends with a slash"
    );
}

/// A handle sees what lies below its chroot, under the names that it has there.
pub(crate) async fn ephemerals_below_a_chroot(env: &Env) {
    let root = env.connect_to_root().await;
    let client = root.chroot(env.chroot()).unwrap();
    client.create("/app", b"").await.unwrap();
    let app = client.chroot("/app").unwrap();
    app.create("/x", b"").ephemeral().await.unwrap();
    // Its name begins like the chroot's, and it is not below it.
    client.create("/apple", b"").ephemeral().await.unwrap();
    assert_eq!(app.ephemerals("/").await.unwrap(), ["/x"]);
    assert_eq!(app.ephemerals("/x").await.unwrap(), ["/x"]);
    let found = client.ephemerals("/").await.unwrap();
    assert_eq!(sorted(found), ["/app/x", "/apple"]);
    assert_eq!(client.ephemerals("/app").await.unwrap(), ["/app/x"]);
    let at_server = ["/app/x", "/apple"].map(|path| format!("{}{path}", env.chroot()));
    assert_eq!(sorted(root.ephemerals("/").await.unwrap()), at_server);
    // The chroot can be ephemeral itself.
    let apple = client.chroot("/apple").unwrap();
    assert_eq!(apple.ephemerals("/").await.unwrap(), ["/"]);
}

pub(crate) async fn descendants_are_counted(env: &Env) {
    let client = env.connect().await;
    assert_eq!(client.descendant_count("/").await.unwrap(), 0);
    client.create("/a/b/c", b"").parents().await.unwrap();
    client.create("/a/d", b"").await.unwrap();
    // Its name begins alike.
    client.create("/ab", b"").await.unwrap();
    for (path, expected) in [("/", 5), ("/a", 3), ("/a/b", 1), ("/a/b/c", 0), ("/ab", 0)] {
        let count = client.descendant_count(path).await.unwrap();
        assert_eq!(count, expected, "{path}");
    }
    let count = on_plain_thread(|| client.descendant_count("/a").wait());
    assert_eq!(count.unwrap(), 3);
    let error = client.descendant_count("/no").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    assert!(
        error
            .to_string()
            .starts_with("descendant_count \"/no\": NoNode")
    );
    assert_eq!(client.supports(Feature::DescendantCount), Some(true));
}

pub(crate) async fn who_this_is(env: &Env) {
    let client = env.connect().await;
    let names = async || {
        let me = client.whoami().await.unwrap();
        let mut names: Vec<_> = me.iter().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(names().await, ["ip:127.0.0.1"]);
    client.add_auth("digest", b"bob:secret").await.unwrap();
    client.add_auth("digest", b"eve").await.unwrap();
    let all = ["digest:bob", "digest:eve", "ip:127.0.0.1"];
    assert_eq!(names().await, all);
    let me = on_plain_thread(|| client.whoami().wait()).unwrap();
    assert_eq!(me.len(), 3);
    assert_eq!(client.supports(Feature::WhoAmI), Some(true));
    client.close().await.unwrap();
    let error = client.whoami().await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "whoami: the client was closed; it was not sent"
    );
}
