//! What those who come from elsewhere do with one call, and here with what there is: rows of
//! `docs/coming_from.md` that have no other test.

use std::net::SocketAddr;
use std::time::Instant;

use homing::{
    Acl, BoxError, Error, ErrorCode, Login, Resolver, SessionState, WatchItem, async_trait,
};

use crate::env::{Env, SOON, stat};
use crate::persistent::none_is_left;
use crate::support::on_plain_thread;
use crate::watchers::items;

/// Made, or there already.
fn made_or_there<T>(outcome: Result<T, Error>) {
    if let Err(error) = outcome {
        assert_eq!(error.code(), Some(ErrorCode::NodeExists), "{error}");
    }
}

pub(crate) async fn a_client_shows_itself(env: &Env) {
    let client = env.connect().await;
    client.create("/app", b"").await.unwrap();
    let text = format!("{:?}", client.chroot("/app").unwrap());
    let chroot = format!("chroot: \"{}/app\"", env.chroot());
    assert!(
        text.starts_with("Client {") && text.contains(&chroot),
        "{text}"
    );
    let id = client.credentials().unwrap().session_id();
    assert!(text.contains(&id.to_string()), "{text}");
}

/// `quietly()` of Curator.
pub(crate) async fn nothing_to_delete_is_a_code(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let codes = [
        client.delete("/a").await.err(),
        client.delete("/a").await.err(),
    ];
    let codes = codes.map(|error| error.and_then(|error| error.code()));
    assert_eq!(codes, [None, Some(ErrorCode::NoNode)]);
}

/// `namespace` and `usingNamespace` of Curator, which makes the node by itself.
pub(crate) async fn a_namespace_is_made_once(env: &Env) {
    let root = env.connect().await;
    for _ in 0..2 {
        made_or_there(root.create("/name/space", b"").parents().await);
    }
    let inside = root.chroot("/name/space").unwrap();
    inside.create("/n", b"").await.unwrap();
    // The other handle is without it still, and in the same session.
    root.get("/name/space/n").await.unwrap();
    assert_eq!(inside.credentials(), root.credentials());
}

/// `createContainers` of Curator.
pub(crate) async fn a_path_of_containers(env: &Env) {
    let client = env.connect().await;
    for _ in 0..2 {
        let last = client.create("/a/b/c", b"").container();
        made_or_there(last.container_parents().await);
    }
    for path in ["/a", "/a/b", "/a/b/c"] {
        // No stat tells that it is a container; `create_modes.rs` sees them go.
        let shown = stat(&client, path).await;
        assert_eq!((shown.ephemeral_owner, shown.data_length), (0, 0), "{path}");
    }
}

/// `removeAllWatches`, and `removeWatchers` of Curator.
pub(crate) async fn all_watches_of_a_path_are_removed(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let (_, data) = client.get("/a").watch().await.unwrap();
    let (_, children) = client.children("/a").watch().await.unwrap();
    let stays = client.watch("/a").await.unwrap();
    let below = client.watch("/a").recursive().await.unwrap();
    let listed = client.watches();
    let [at] = listed.as_slice() else {
        panic!("{listed:?}");
    };
    assert_eq!((at.path.as_str(), at.data, at.child), ("/a", 1, 1));
    assert_eq!((at.persistent, at.recursive), (1, 1));
    drop((data, children, stays, below));
    client.set("/a", b"1").await.unwrap();
    none_is_left(env, &client);
}

/// `blockUntilConnected` of Curator, with a time and without, on a plain thread.
pub(crate) async fn a_thread_waits_until_it_is_connected(env: &Env) {
    let client = env.builder().start().unwrap();
    on_plain_thread(|| {
        let mut states = client.state_changes();
        while let Some(change) = states.wait_next().unwrap() {
            if let SessionState::Connected(_) = change.state {
                return;
            }
        }
        panic!("{}", client.state());
    });
    client.sync("/").deadline(SOON).await.unwrap();
    let builder = env.builder().own_thread().connect_timeout(SOON);
    let another = on_plain_thread(|| builder.connect().wait());
    another.unwrap().get("/").await.unwrap();
}

/// `authorization` of Curator: identities from the beginning.
pub(crate) async fn identities_are_given_to_the_builder(env: &Env) {
    let login = Login::new().digest("bob", "pw").auth("digest", b"eve:pw");
    let client = env.builder().login(login).connect().await.unwrap();
    let who = client.whoami().await.unwrap();
    for name in ["bob", "eve"] {
        assert!(who.iter().any(|identity| identity.user == name), "{who:?}");
    }
    client
        .create("/mine", b"")
        .acl(Acl::creator_all())
        .await
        .unwrap();
    let stranger = env.connect().await;
    let error = stranger.get("/mine").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoAuth));
}

/// What `ConnectionStateErrorPolicy` of Curator decides.
pub(crate) async fn it_is_known_how_long_a_session_lives(env: &Env) {
    let client = env.builder().start().unwrap();
    let before = Instant::now();
    let connection = client.connected().await.unwrap();
    client.get("/").await.unwrap();
    let certain = client.valid_until().unwrap();
    assert!(certain >= before + connection.session_timeout);
    assert!(certain <= Instant::now() + connection.session_timeout);
}

/// A name that nobody else knows.
struct Names(SocketAddr);

#[async_trait]
impl Resolver for Names {
    async fn addresses(&self, host: &str, port: u16) -> Result<Option<Vec<SocketAddr>>, BoxError> {
        match (host, port) {
            ("zk.invalid", 1) => Ok(Some(vec![self.0])),
            _ => Err("it is in no book".into()),
        }
    }
}

/// `HostProvider`, and `EnsembleProvider` of Curator.
pub(crate) async fn servers_are_found_by_a_resolver(env: &Env) {
    let names = Names(env.servers().parse().unwrap());
    let connect_string = format!("zk.invalid:1{}", env.chroot());
    let builder = env.backend.builder(&connect_string).resolver(names);
    let client = builder.connect().await.unwrap();
    client.create("/n", b"").await.unwrap();
    env.connect().await.get("/n").await.unwrap();
}

/// Persistent watches of Java's client are set again on a new connection too, and nobody learns
/// what they have missed.
pub(crate) async fn a_move_is_a_gap_to_watches_that_stay(env: &Env) {
    let (client, other) = (env.connect().await, env.connect().await);
    client.create("/a", b"").await.unwrap();
    let mut stays = client.watch("/a").recursive().await.unwrap();
    client.reconnect().await.unwrap();
    other.create("/a/b", b"").await.unwrap();
    client.sync("/").await.unwrap();
    let told: Vec<WatchItem> = items(&mut stays).into();
    let [WatchItem::Gap(_), WatchItem::Event(event)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(event.path, "/a/b");
}
