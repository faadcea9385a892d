//! The ensemble's configuration. The servers here stand alone, and have none.

use homing::{Error, ErrorCode};

use crate::env::{Env, SOON};
use crate::support::on_plain_thread;

pub(crate) async fn a_server_that_stands_alone_has_no_members(env: &Env) {
    let client = env.connect().await;
    let config = client.config().await.unwrap();
    assert_eq!((config.members.len(), config.version), (0, None));
    assert!(config.raw.is_empty());
    // It is the server's own node, whatever the chroot.
    let root = env.connect_to_root().await;
    let node = root.get("/zookeeper/config").await.unwrap();
    assert_eq!(config.stat, node.stat);
    let config = on_plain_thread(|| client.config().synced().wait());
    assert_eq!(config.unwrap().stat, node.stat);
}

pub(crate) async fn no_server_here_can_be_reconfigured(env: &Env) {
    let client = env.connect().await;
    let join = "server.2=127.0.0.1:2888:3888:participant;2181";
    let requests = [
        client.reconfig().join(join),
        client.reconfig().leave(1).from_config(7),
        client.reconfig().members(join),
    ];
    for request in requests {
        let error = request.await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "reconfig \"/zookeeper/config\": ReconfigDisabled (-123); servers allow it with `reconfigEnabled=true`"
        );
        assert!(!error.may_have_been_applied());
    }
    let waited = on_plain_thread(|| client.reconfig().leave(1).leave(2).wait());
    let code = waited.unwrap_err().code();
    assert_eq!(code, Some(ErrorCode::ReconfigDisabled));
    let rows = [
        (
            client.reconfig(),
            "nobody is to `join` or `leave`, and no `members` are given",
        ),
        (
            client.reconfig().members(join).leave(1),
            "`members` excludes `join` and `leave`",
        ),
    ];
    for (request, what) in rows {
        let error = request.await.unwrap_err();
        assert!(matches!(error, Error::Misuse { .. }), "{error}");
        let text = format!("reconfig \"/zookeeper/config\": {what}; it was not sent");
        assert_eq!(error.to_string(), text);
    }
}

pub(crate) async fn a_configuration_is_watched(env: &Env) {
    let client = env.connect().await;
    let (config, mut changed) = client.config().watch().await.unwrap();
    assert_eq!(changed.path(), "/zookeeper/config");
    // Nobody here may change it. The watch is one like any other.
    let other = env.connect().await;
    assert_eq!(other.config().await.unwrap(), config);
    client.close().await.unwrap();
    let ended = on_plain_thread(|| changed.wait(SOON)).unwrap_err();
    assert_eq!(ended.request().unwrap().path, "/zookeeper/config");
}
