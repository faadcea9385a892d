//! The crate `tokio-zookeeper`, unchanged. Of lost connections there is nothing here: version 0.4
//! does not survive them, whoever its server is.

use futures::{Stream, StreamExt};
use homing_compat::{LONG, Notes, Servers};
use tokio_zookeeper::{
    Acl, CreateMode, MultiResponse, Permission, Stat, WatchedEvent, ZooKeeper, ZooKeeperBuilder,
};

async fn connect(address: &str) -> (ZooKeeper, impl Stream<Item = WatchedEvent> + use<>) {
    let mut builder = ZooKeeperBuilder::default();
    builder.set_timeout(LONG);
    builder.connect(&address.parse().unwrap()).await.unwrap()
}

async fn create(client: &ZooKeeper, path: &str, mode: CreateMode) -> impl std::fmt::Debug {
    let open = Acl::open_unsafe();
    client.create(path, &b"data"[..], open, mode).await
}

homing_compat::plain!(Stat);

fn told(event: Option<WatchedEvent>) -> String {
    format!("{:?}", event.map(|event| (event.event_type, event.path)))
}

#[test]
fn nodes_of_all_kinds() {
    Servers::alike().agree(async |server, notes| {
        let (client, _events) = connect(&server.connect_string()).await;
        let kinds = [
            ("/plain", CreateMode::Persistent),
            ("/plain/s-", CreateMode::PersistentSequential),
            ("/plain/e", CreateMode::Ephemeral),
            ("/plain/es-", CreateMode::EphemeralSequential),
            ("/box", CreateMode::Container),
            ("/plain", CreateMode::Persistent),
            ("/nope/child", CreateMode::Persistent),
            ("/plain/e/child", CreateMode::Persistent),
        ];
        for (path, kind) in kinds {
            notes.note(path, create(&client, path, kind).await);
        }
        reads_and_writes(&client, notes).await;
        let acl = client.get_acl("/plain").await.unwrap();
        notes.note("acl", acl.map(|(acl, stat)| (acl, plain(stat))));
        let shown = [Acl::new(Permission::READ, "world", "anyone")];
        let set = client.set_acl("/plain", shown.to_vec(), Some(0)).await;
        notes.note("acl", set.unwrap().map(plain));
        let set = client.set_data("/plain", None, &b"no"[..]).await;
        notes.note("not any more", set.unwrap());
    });
}

async fn reads_and_writes(client: &ZooKeeper, notes: &mut Notes) {
    for path in ["/plain", "/nope"] {
        let got = client.get_data(path).await.unwrap();
        notes.note("get", got.map(|(data, stat)| (data, plain(stat))));
        notes.note("stat", client.exists(path).await.unwrap().map(plain));
        let names = client.get_children(path).await.unwrap();
        notes.note(
            "children",
            names.map(|mut names| {
                names.sort_unstable();
                names
            }),
        );
        for version in [Some(7), Some(0), None] {
            let set = client.set_data(path, version, &b"new"[..]).await;
            notes.note("set", set.unwrap().map(plain));
        }
    }
    for (path, version) in [
        ("/plain", None),
        ("/plain/e", Some(7)),
        ("/plain/e", Some(0)),
    ] {
        notes.note("delete", client.delete(path, version).await);
    }
    notes.note("delete", client.delete("/nope", None).await);
}

#[test]
fn watches_and_transactions() {
    Servers::alike().agree(async |server, notes| {
        let (client, mut events) = connect(&server.connect_string()).await;
        let (other, _) = connect(&server.connect_string()).await;
        let made = create(&client, "/a", CreateMode::Persistent).await;
        notes.note("made", made);
        let watched = client.with_watcher().get_data("/a").await.unwrap();
        let (data, _, _) = watched.unwrap();
        client.watch().get_children("/a").await.unwrap();
        let (absent, stat) = client.with_watcher().exists("/b").await.unwrap();
        notes.note("absent", stat);

        let both = other
            .multi()
            .create("/b", &b""[..], Acl::open_unsafe(), CreateMode::Persistent);
        let results = both
            .set_data("/a", Some(0), &b"new"[..])
            .check("/b", 0)
            .run()
            .await
            .unwrap();
        for result in results {
            match result {
                Ok(MultiResponse::SetData(stat)) => notes.note("set", plain(stat)),
                other => notes.note("result", other),
            }
        }
        notes.note("data", told(data.await.ok()));
        notes.note("created", told(absent.await.ok()));
        let made = create(&other, "/a/child", CreateMode::Persistent).await;
        notes.note("made", made);
        // Whoever has no watcher of its own is told by the client's.
        for _ in 0..3 {
            notes.note("told", told(events.next().await));
        }

        let refused = other
            .multi()
            .delete("/b", None)
            .check("/a", 7)
            .delete("/nope", None);
        notes.note("refused", refused.run().await.unwrap());
        notes.note("still there", other.exists("/b").await.unwrap().map(plain));
    });
}

#[test]
fn what_is_ephemeral_goes_with_its_session() {
    Servers::alike().agree(async |server, notes| {
        let (client, _events) = connect(&server.connect_string()).await;
        let made = create(&client, "/mine", CreateMode::Ephemeral).await;
        notes.note("made", made);
        let (other, _) = connect(&server.connect_string()).await;
        let (gone, stat) = other.with_watcher().exists("/mine").await.unwrap();
        notes.note("there", stat.map(plain));
        drop(client);
        notes.note("gone", told(gone.await.ok()));
    });
}
