//! What is refused, by whom, and what the error says.

use homing::{Error, ErrorCode, SessionState};

use crate::env::{Env, SOON, connection};
use crate::support::bytes_of;

pub(crate) async fn refusals_have_code_operation_and_path(env: &Env) {
    let client = env.connect_to_root().await.chroot(env.chroot()).unwrap();
    client.create("/full", b"").await.unwrap();
    client.create("/full/child", b"").ephemeral().await.unwrap();
    let refusal = |result: Result<(), Error>, code: ErrorCode, op: &str, path: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.code(), Some(code), "{error}");
        let request = error.request().unwrap();
        assert_eq!((request.op, &*request.path), (op, path));
        let text = format!("{op} {path:?}: {code}");
        assert!(error.to_string().starts_with(&text), "{error}");
        assert!(!error.may_have_been_applied(), "{error}");
    };
    let done = |_| ();
    let result = client.create("/full", b"").await.map(done);
    refusal(result, ErrorCode::NodeExists, "create", "/full");
    let result = client.create("/no/child", b"").await.map(done);
    refusal(result, ErrorCode::NoNode, "create", "/no/child");
    let result = client.create("/full/child/x", b"").await.map(done);
    refusal(
        result,
        ErrorCode::NoChildrenForEphemerals,
        "create",
        "/full/child/x",
    );
    let result = client.get("/no").await.map(|_| ());
    refusal(result, ErrorCode::NoNode, "get", "/no");
    let result = client.set("/no", b"").await.map(|_| ());
    refusal(result, ErrorCode::NoNode, "set", "/no");
    let result = client.set("/full", b"").version(9).await.map(|_| ());
    refusal(result, ErrorCode::BadVersion, "set", "/full");
    let result = client.delete("/full").await;
    refusal(result, ErrorCode::NotEmpty, "delete", "/full");
    let result = client.delete("/no").await;
    refusal(result, ErrorCode::NoNode, "delete", "/no");
    let result = client.delete("/full/child").version(9).await;
    refusal(result, ErrorCode::BadVersion, "delete", "/full/child");
    let result = client.children("/no").await.map(|_| ());
    refusal(result, ErrorCode::NoNode, "children", "/no");
    // What was refused has changed nothing.
    let node = client.get("/full").await.unwrap();
    assert_eq!((node.stat.version, node.stat.num_children), (0, 1));
}

/// Paths that are none, and what is wrong with them.
const BAD_PATHS: [(&str, &str); 9] = [
    ("", "it is empty"),
    ("a", "it does not begin with a slash"),
    ("/a/", "it ends with a slash"),
    ("/a//b", "an empty component at byte 3"),
    ("//", "it ends with a slash"),
    ("/a/./b", "a component `.` or `..` at byte 3"),
    ("/..", "a component `.` or `..` at byte 1"),
    ("/a\0", "the character U+0000 at byte 2 is not allowed"),
    (
        "/\u{1F54A}",
        "the character U+1F54A at byte 1 is not allowed",
    ),
];

pub(crate) async fn bad_paths_are_refused_here(env: &Env) {
    let client = env.connect().await;
    for (path, why) in BAD_PATHS {
        let errors = [
            client.create(path, b"").await.map(|_| ()),
            client.get(path).await.map(|_| ()),
            client.set(path, b"").await.map(|_| ()),
            client.delete(path).await,
            client.exists(path).await.map(|_| ()),
            client.children(path).await.map(|_| ()),
            client.sync(path).await,
            client.get(path).submit().map(|_| ()),
        ];
        let ops = [
            "create", "get", "set", "delete", "exists", "children", "sync", "get",
        ];
        for (result, op) in errors.into_iter().zip(ops) {
            let error = result.unwrap_err();
            let text = format!("{op} {path:?}: not a path: {why}");
            assert_eq!(error.to_string(), text);
            assert!(matches!(error, Error::BadPath { .. }));
            assert!(!error.may_have_been_applied());
        }
    }
    // Sequential ones lose a slash at the end, and no other fault.
    for path in ["/a//", "a/", "/a/../", "//"] {
        let error = client.create(path, b"").sequential().await.unwrap_err();
        assert!(matches!(error, Error::BadPath { .. }), "{path:?}: {error}");
    }
    assert_eq!(client.in_flight(), homing::Usage::default());
    client.exists("/").await.unwrap();
}

pub(crate) async fn bad_paths_are_not_sent(env: &Env) {
    let client = env.connect().await;
    client.exists("/").await.unwrap();
    let before = env.fake().requests_received();
    for (path, _) in BAD_PATHS {
        client.get(path).await.unwrap_err();
        client.create(path, b"").await.unwrap_err();
    }
    client.exists("/").await.unwrap();
    assert_eq!(env.fake().requests_received(), before + 1);
}

pub(crate) async fn requests_over_the_limit_are_refused_here(env: &Env) {
    let client = env
        .builder()
        .request_len_max(1_000)
        .connect()
        .await
        .unwrap();
    client.create("/node", &[0; 900]).await.unwrap();
    let session_id = connection(&client).session_id;
    let error = client.set("/node", &[1; 1_000]).await.unwrap_err();
    let Error::RequestTooLarge { len, limit, .. } = &error else {
        panic!("{error}");
    };
    assert!((1_001..1_100).contains(len), "{len}");
    assert_eq!(*limit, 1_000);
    assert!(!error.may_have_been_applied());
    let text = format!(
        "set \"/node\": the request has {len} bytes, over the limit of 1000 (`request_len_max`); it was not sent"
    );
    assert_eq!(error.to_string(), text);
    // To the byte.
    let fits = [1; 1_000];
    let fits = &fits[..1_000 - (len - 1_000)];
    client.set("/node", fits).await.unwrap();
    // Reads are requests too.
    let long = format!("/{}", "x".repeat(1_000));
    let errors = [
        client.get(&long).await.map(|_| ()),
        client.exists(&long).submit().map(|_| ()),
        client.sync(&long).await,
        client.delete(&long).await,
    ];
    for error in errors.map(Result::unwrap_err) {
        assert!(matches!(error, Error::RequestTooLarge { .. }), "{error}");
    }
    assert_eq!(connection(&client).session_id, session_id);
    assert_eq!(client.get("/node").await.unwrap().data, fits);
}

pub(crate) async fn a_server_hangs_up_on_what_is_too_large_for_it(env: &Env) {
    let builder = env.builder().request_len_max(4 << 20).deadline(SOON);
    let client = builder.connect().await.unwrap();
    let session_id = connection(&client).session_id;
    client.create("/node", b"small").ephemeral().await.unwrap();
    let error = client
        .set("/node", &bytes_of(2 << 20, 1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    assert!(error.may_have_been_applied());
    // Nothing else is harmed: the session finds its way back.
    assert_eq!(client.get("/node").await.unwrap().data, "small");
    assert!(matches!(client.state(), SessionState::Connected(_)));
    assert_eq!(connection(&client).session_id, session_id);
}
