//! One node at a time: create, get, set, delete, exists.

use homing::{Error, ErrorCode};

use crate::env::{Env, connection, stat};
use crate::support::bytes_of;

pub(crate) async fn create_and_get(env: &Env) {
    let client = env.connect().await;
    let made = client.create("/config", b"v1").await.unwrap();
    assert_eq!(made.path, "/config");
    assert_eq!(made.sequence, None);
    let node = client.get("/config").await.unwrap();
    assert_eq!(node.data, "v1");
    assert!(!node.is_null);
    assert_eq!(made.stat, Some(node.stat));
    assert_eq!((node.stat.version, node.stat.data_length), (0, 2));
    assert!(!node.stat.is_ephemeral());
    // Owned and borrowed paths and data of any kind do.
    let path = String::from("/config/below");
    client.create(path.clone(), "text").await.unwrap();
    client.set(&path, &vec![1, 2, 3]).await.unwrap();
    let node = client.get(path).await.unwrap();
    assert_eq!(node.data[..], [1, 2, 3]);
}

pub(crate) async fn create_in_all_four_modes(env: &Env) {
    let client = env.connect().await;
    let session_id = connection(&client).session_id;
    client.create("/all", b"").await.unwrap();
    let mut modes = vec![
        client.create("/all/plain", b"p").await.unwrap(),
        client.create("/all/short", b"e").ephemeral().await.unwrap(),
        client.create("/all/row-", b"s").sequential().await.unwrap(),
    ];
    let both = client.create("/all/both-", b"b").ephemeral().sequential();
    modes.push(both.await.unwrap());
    let both = client.create("/all/both-", b"b").sequential().ephemeral();
    modes.push(both.await.unwrap());
    // Every child counts, whatever its mode.
    let expected = [
        ("/all/plain", None, 0),
        ("/all/short", None, session_id),
        ("/all/row-0000000002", Some(2), 0),
        ("/all/both-0000000003", Some(3), session_id),
        ("/all/both-0000000004", Some(4), session_id),
    ];
    for (made, (path, sequence, owner)) in modes.iter().zip(expected) {
        assert_eq!((&*made.path, made.sequence), (path, sequence));
        let stat = stat(&client, path).await;
        assert_eq!((made.stat, stat.ephemeral_owner), (Some(stat), owner));
    }
    // What is persistent outlives the session.
    client.close().await.unwrap();
    let next = env.connect().await;
    let left = next.children("/all").await.unwrap();
    assert_eq!(left.sorted(), ["plain", "row-0000000002"]);
}

pub(crate) async fn a_trailing_slash_names_a_node_by_its_number(env: &Env) {
    let client = env.connect().await;
    client.create("/queue", b"").await.unwrap();
    for (sequence, path) in [(0, "/queue/0000000000"), (1, "/queue/0000000001")] {
        let made = client.create("/queue/", b"").sequential().await.unwrap();
        assert_eq!((&*made.path, made.sequence), (path, Some(sequence)));
    }
    // Below the chroot's own root too: "queue" was its first child.
    let made = client.create("/", b"").sequential().await.unwrap();
    assert_eq!((&*made.path, made.sequence), ("/0000000001", Some(1)));
    // Without a number there would be no name.
    let error = client.create("/queue/", b"").await.unwrap_err();
    assert!(matches!(error, Error::BadPath { .. }), "{error}");
}

pub(crate) async fn data_of_every_size(env: &Env) {
    let client = env.connect().await;
    // Around the size below which data is copied out of the read buffer, and around those of
    // read buffers.
    let sizes = [
        0, 1, 2, 1_022, 1_023, 1_024, 1_025, 8_191, 8_192, 8_193, 65_535, 65_536, 300_000,
    ];
    for (seed, size) in (0..).zip(sizes) {
        let data = bytes_of(size, seed);
        let path = format!("/size-{size}");
        client.create(&path, &data).await.unwrap();
        let node = client.get(&path).await.unwrap();
        assert!(node.data == data, "{size} bytes came back as others");
        assert!(!node.is_null, "{size} bytes");
        assert_eq!(usize::try_from(node.stat.data_length), Ok(size));
    }
    // The same in one go, so that replies share read buffers.
    let paths = sizes.map(|size| format!("/size-{size}"));
    let gets: Vec<_> = paths
        .iter()
        .map(|path| client.get(path).submit().unwrap())
        .collect();
    for ((seed, size), get) in (0..).zip(sizes).zip(gets) {
        let data = get.await.unwrap().data;
        assert!(data == bytes_of(size, seed), "{size} bytes, pipelined");
    }
}

pub(crate) async fn data_up_to_the_limit(env: &Env) {
    let client = env.connect().await;
    // What a request is larger than its data is learned from the refusal.
    let limit = 0xF_FFFF;
    let data = bytes_of(limit, 7);
    let Err(Error::RequestTooLarge { len, .. }) = client.create("/large", &data).await else {
        panic!("a server would not have taken that");
    };
    let largest = &data[..limit - (len - data.len())];
    client.create("/large", largest).await.unwrap();
    let node = client.get("/large").await.unwrap();
    assert!(
        node.data == largest,
        "the largest node came back as another"
    );
    let one_more = &data[..largest.len() + 1];
    let error = client.set("/large", one_more).await.map(drop);
    assert!(error.is_ok(), "set has less around its data");
    let text = client
        .create("/large", one_more)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with(
            "create \"/large\": the request has 1048576 bytes, over the limit of 1048575"
        ),
        "{text}"
    );
}

pub(crate) async fn every_byte_survives(env: &Env) {
    let client = env.connect().await;
    let all: Vec<u8> = (0..=255).chain([0, 0, 0]).collect();
    let made = client.create("/bytes", &all).await.unwrap();
    assert_eq!(made.stat.map(|stat| stat.data_length), Some(259));
    assert_eq!(client.get("/bytes").await.unwrap().data, all);
    client.set("/bytes", b"\0").await.unwrap();
    assert_eq!(client.get("/bytes").await.unwrap().data, "\0");
}

pub(crate) async fn set_with_and_without_version(env: &Env) {
    let client = env.connect().await;
    let made = client.create("/counter", b"zero").await.unwrap();
    let first = client.set("/counter", b"one").version(0).await.unwrap();
    assert_eq!((first.version, first.data_length), (1, 3));
    assert!(first.mzxid > made.stat.unwrap().mzxid);
    let late = client.set("/counter", b"two").version(0).await.unwrap_err();
    assert_eq!(late.code(), Some(ErrorCode::BadVersion));
    assert_eq!(client.get("/counter").await.unwrap().data, "one");
    let second = client.set("/counter", b"").await.unwrap();
    assert_eq!((second.version, second.data_length), (2, 0));
    let node = client.get("/counter").await.unwrap();
    assert_eq!((node.data.len(), node.stat), (0, second));
}

pub(crate) async fn delete_with_and_without_version(env: &Env) {
    let client = env.connect().await;
    client.create("/old", b"").await.unwrap();
    client.create("/old/child", b"").await.unwrap();
    let full = client.delete("/old").await.unwrap_err();
    assert_eq!(full.code(), Some(ErrorCode::NotEmpty));
    let wrong = client.delete("/old/child").version(1).await.unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::BadVersion));
    client.set("/old/child", b"x").await.unwrap();
    client.delete("/old/child").version(1).await.unwrap();
    client.delete("/old").await.unwrap();
    assert_eq!(client.exists("/old").await.unwrap(), None);
    let gone = client.delete("/old").await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::NoNode));
}

pub(crate) async fn exists_tells_none_and_some(env: &Env) {
    let client = env.connect().await;
    assert_eq!(client.exists("/a").await.unwrap(), None);
    assert_eq!(client.exists("/a/b").await.unwrap(), None);
    let made = client.create("/a", b"data").await.unwrap();
    assert_eq!(client.exists("/a").await.unwrap(), made.stat);
    client.delete("/a").await.unwrap();
    assert_eq!(client.exists("/a").await.unwrap(), None);
}

pub(crate) async fn a_stat_tells_what_was_done(env: &Env) {
    let client = env.connect().await;
    let made = client.create("/node", b"12345").await.unwrap();
    let first = made.stat.unwrap();
    assert_eq!(first.czxid, first.mzxid);
    assert_eq!(first.czxid, first.pzxid);
    assert_eq!(first.ctime, first.mtime);
    assert!(first.czxid > 0 && first.ctime > 1_600_000_000_000);
    let counts = |stat: homing::Stat| {
        let (versions, aversion) = ((stat.version, stat.cversion), stat.aversion);
        (versions, aversion, stat.data_length, stat.num_children)
    };
    assert_eq!(counts(first), ((0, 0), 0, 5, 0));
    for child in ["/node/a", "/node/b"] {
        client.create(child, b"").await.unwrap();
    }
    client.delete("/node/a").await.unwrap();
    let set = client.set("/node", b"123").await.unwrap();
    assert_eq!(counts(set), ((1, 3), 0, 3, 1));
    assert_eq!((set.czxid, set.ctime), (first.czxid, first.ctime));
    // Each write was one transaction behind the other.
    assert!(set.mzxid > set.pzxid && set.pzxid > set.czxid);
    assert!(set.mtime >= set.ctime);
}
