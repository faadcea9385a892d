//! Operations that are made of several requests.

use std::sync::atomic::{AtomicBool, Ordering};

use homing::{Acl, Client, Error, ErrorCode, Feature, Found, Usage, permission};

use crate::env::{Env, stat, until};
use crate::support::{bytes_of, on_plain_thread};

// ---- Many reads --------------------------------------------------------------------------------

fn node(found: &Result<Found, Error>) -> &homing::Node {
    found.as_ref().unwrap().node().unwrap()
}

pub(crate) async fn each_read_has_an_outcome_of_its_own(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"data").await.unwrap();
    client.create("/a/x", b"").await.unwrap();
    client.create("/a/\u{e9}", b"").await.unwrap();
    client.create("/secret", b"").await.unwrap();
    let list = Acl::digest("bob", "pw");
    client.set_acl("/secret", list).await.unwrap();
    let reads = || {
        let reads = client.read_many().get("/a").get("/no").children("/a");
        reads
            .get("/secret")
            .children("/no")
            .children("/a/x")
            .get("/")
    };
    let found = reads().await.unwrap();
    assert_eq!(found.len(), 7);
    let get = client.get("/a").await.unwrap();
    assert_eq!((node(&found[0]), &*get.data), (&get, &b"data"[..]));
    let names = found[2].as_ref().unwrap().names().unwrap();
    assert_eq!((names.len(), names.sorted()), (2, vec!["x", "\u{e9}"]));
    assert!(found[5].as_ref().unwrap().names().unwrap().is_empty());
    assert_eq!(*node(&found[6]), client.get("/").await.unwrap());
    for (at, op, path, code) in [
        (1, "get", "/no", ErrorCode::NoNode),
        (3, "get", "/secret", ErrorCode::NoAuth),
        (4, "children", "/no", ErrorCode::NoNode),
    ] {
        let error = found[at].as_ref().unwrap_err();
        let request = error.request().unwrap();
        assert_eq!(error.code(), Some(code));
        assert_eq!((request.op, &*request.path), (op, path));
    }
    let text = found[1].as_ref().unwrap_err().to_string();
    assert!(text.contains("below the chroot"), "{text}");
    let waited = on_plain_thread(|| reads().synced().wait()).unwrap();
    assert_eq!(node(&waited[0]), node(&found[0]));
    assert_eq!(client.supports(Feature::MultiRead), Some(true));
    // Nothing at all is no error.
    assert_eq!(client.read_many().await.unwrap().len(), 0);
    // A bad path spoils all, before anything is sent.
    let error = client
        .read_many()
        .get("/a")
        .children("/a/")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "children \"/a/\": not a path: it ends with a slash"
    );
}

/// More than go into a request, by their number and by the length of their paths.
pub(crate) async fn thousands_of_reads(env: &Env) {
    let client = env
        .builder()
        .request_len_max(20_000)
        .connect()
        .await
        .unwrap();
    client.create("/all", b"").await.unwrap();
    for hundred in 0..10 {
        let mut all = client.transaction();
        for number in hundred * 100..hundred * 100 + 100 {
            let data = if number % 2 == 0 { "even" } else { "" };
            all = all.create(format!("/all/{number:03}"), data);
        }
        all.await.unwrap();
    }
    let mut reads = client.read_many();
    for number in 0..2_500 {
        reads = reads.get(format!("/all/{number:03}"));
    }
    let found = reads.await.unwrap();
    assert_eq!(found.len(), 2_500);
    for (number, found) in found.iter().enumerate() {
        match found {
            Ok(found) => {
                let expected = if number % 2 == 0 { "even" } else { "" };
                assert_eq!(found.node().unwrap().data, expected, "{number}");
            }
            Err(error) => {
                assert!(number >= 1_000, "{number}: {error}");
                assert_eq!(error.request().unwrap().path, format!("/all/{number}"));
            }
        }
    }
}

pub(crate) async fn answers_that_are_too_large_are_asked_for_in_pieces(env: &Env) {
    let client = env.builder().reply_len_max(10_000).connect().await.unwrap();
    client.create("/all", b"").await.unwrap();
    for number in 0..20 {
        let len = if number == 7 { 20_000 } else { 2_000 };
        let data = bytes_of(len, number);
        client
            .create(format!("/all/{number}"), &data)
            .await
            .unwrap();
    }
    let reads = || {
        (0..20).fold(client.read_many(), |reads, number| {
            reads.get(format!("/all/{number}"))
        })
    };
    // The worst guess, the right one, and one by one.
    for expected in [0, 2_100, 1 << 30] {
        let found = reads().expect_bytes(expected).await.unwrap();
        assert_eq!(found.len(), 20);
        for (number, found) in (0..20).zip(&found) {
            match found {
                Ok(found) => {
                    assert_eq!(found.node().unwrap().data, bytes_of(2_000, number));
                }
                Err(error) => {
                    assert_eq!(number, 7);
                    assert!(
                        matches!(error, Error::ReplyTooLarge { limit: 10_000, .. }),
                        "{error}"
                    );
                    assert_eq!(error.request().unwrap().to_string(), "get \"/all/7\"");
                }
            }
        }
        assert!(found[7].is_err());
    }
    assert_eq!(client.in_flight(), Usage::default());
}

pub(crate) async fn a_good_guess_is_few_requests(env: &Env) {
    let client = env.builder().reply_len_max(10_000).connect().await.unwrap();
    client.create("/a", &bytes_of(900, 1)).await.unwrap();
    let requests = async |expected: usize, reads: usize| {
        let before = env.fake().requests_received();
        let all = (0..reads).fold(client.read_many(), |all, _| all.get("/a"));
        let found = all.expect_bytes(expected).await.unwrap();
        assert!(found.iter().all(Result::is_ok));
        env.fake().requests_received() - before
    };
    assert_eq!(requests(1_000, 10).await, 1);
    assert_eq!(requests(1_000, 30).await, 3);
    assert_eq!(requests(10_000, 5).await, 5);
    assert_eq!(requests(1 << 40, 2).await, 2);
    // One that was too large, and the pieces.
    assert_eq!(requests(1, 20).await, 1 + 4);
    let before = env.fake().requests_received();
    let synced = client.read_many().synced().expect_bytes(5_000);
    (0..6).fold(synced, |all, _| all.get("/a")).await.unwrap();
    assert_eq!(env.fake().requests_received() - before, 1 + 3);
}

pub(crate) async fn reads_that_nobody_answers(env: &Env) {
    let client = env.connect().await;
    env.fake().pause();
    let reads = client
        .read_many()
        .get("/")
        .deadline(std::time::Duration::from_millis(20));
    let error = reads.await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("read_many: the deadline passed"),
        "{error}"
    );
    env.fake().resume();
    client.get("/").await.unwrap();
    client.close().await.unwrap();
    let error = client.read_many().get("/").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "read_many: the client was closed; it was not sent"
    );
}

// ---- Set or create -----------------------------------------------------------------------------

pub(crate) async fn set_where_it_is_and_create_where_it_is_not(env: &Env) {
    let client = env.connect().await;
    let written = client.set_or_create("/a", b"1").await.unwrap();
    assert!(written.created);
    assert_eq!(written.stat, Some(stat(&client, "/a").await));
    let written = client.set_or_create("/a", b"2").await.unwrap();
    assert!(!written.created);
    assert_eq!(written.stat.map(|stat| stat.version), Some(1));
    let list = Acl::open().permissions(permission::READ | permission::ADMIN);
    let made = on_plain_thread(|| client.set_or_create("/b", b"1").acl(&list).wait());
    assert!(made.unwrap().created);
    assert_eq!(client.acl("/b").await.unwrap().entries, [list]);
    let error = client.set_or_create("/b", b"2").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoAuth));
    assert_eq!(error.request().unwrap().to_string(), "set \"/b\"");
    let error = client.set_or_create("/no/b", b"2").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    assert_eq!(error.request().unwrap().to_string(), "create \"/no/b\"");
    let error = client.set_or_create("/b/", b"2").await.unwrap_err();
    assert!(matches!(error, Error::BadPath { .. }), "{error}");
}

pub(crate) async fn everybody_writes_and_deletes_at_once(env: &Env) {
    let servers = env.connect_string();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (servers, backend) = (servers.clone(), env.backend);
            std::thread::spawn(move || {
                backend.block_on(async {
                    let client = backend.builder(&servers).connect().await.unwrap();
                    for _ in 0..50 {
                        client.set_or_create("/shared", b"x").await.unwrap();
                        client.delete("/shared").await.ok();
                    }
                    client.close().await.unwrap();
                });
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
}

// ---- Deleting a tree ---------------------------------------------------------------------------

async fn plant(client: &Client, top: &str, widths: &[usize]) -> usize {
    client.create(top, b"").await.unwrap();
    let (mut level, mut nodes) = (vec![top.to_owned()], 1);
    for width in widths {
        let mut next = Vec::new();
        for parent in &level {
            let children = (0..*width).map(|child| format!("{parent}/{child}"));
            let children: Vec<_> = children.collect();
            let all = children
                .iter()
                .fold(client.transaction(), |all, child| all.create(child, b""));
            all.await.unwrap();
            next.extend(children);
        }
        nodes += next.len();
        level = next;
    }
    nodes
}

pub(crate) async fn a_tree_is_deleted(env: &Env) {
    let client = env.connect().await;
    client.create("/leaf", b"").await.unwrap();
    client.delete("/leaf").recursive().await.unwrap();
    for widths in [&[200][..], &[3, 4, 5], &[1; 40], &[70, 2]] {
        let nodes = plant(&client, "/tree", widths).await;
        assert_eq!(client.descendant_count("/tree").await.unwrap(), nodes - 1);
        client.delete("/tree").recursive().await.unwrap();
        assert_eq!(client.exists("/tree").await.unwrap(), None, "{widths:?}");
    }
    plant(&client, "/tree", &[3, 3]).await;
    let done = on_plain_thread(|| client.delete("/tree").recursive().wait());
    done.unwrap();
    assert!(client.children("/").await.unwrap().is_empty());
    let error = client.delete("/tree").recursive().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    assert_eq!(error.request().unwrap().to_string(), "delete \"/tree\"");
}

pub(crate) async fn a_tree_at_a_version(env: &Env) {
    let client = env.connect().await;
    plant(&client, "/tree", &[3, 3]).await;
    // Nothing is touched if it is the wrong one.
    let error = client
        .delete("/tree")
        .version(7)
        .recursive()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::BadVersion));
    assert_eq!(client.descendant_count("/tree").await.unwrap(), 12);
    client.delete("/tree").version(0).recursive().await.unwrap();
    assert_eq!(client.exists("/tree").await.unwrap(), None);
}

pub(crate) async fn what_may_not_be_deleted_is_named(env: &Env) {
    let client = env.connect().await;
    plant(&client, "/tree", &[2, 2]).await;
    let list = Acl::open().permissions(permission::ALL & !permission::DELETE);
    client.set_acl("/tree/1", list).await.unwrap();
    let error = client.delete("/tree").recursive().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
    let request = error.request().unwrap();
    assert_eq!(request.op, "delete");
    assert!(request.path.starts_with("/tree/1/"), "{request}");
    stat(&client, "/tree/1/0").await;
    // The root of everything is nothing to begin with.
    let root = env.connect_to_root().await;
    let error = root.delete("/").recursive().await.unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
    // That of a chroot is.
    plant(&client, "/other", &[2, 2]).await;
    let below = client.chroot("/other/0").unwrap();
    below.delete("/").recursive().await.unwrap();
    assert_eq!(client.children("/other").await.unwrap().sorted(), ["1"]);
}

/// Others plant while it is felled, until they are told to stop.
pub(crate) async fn children_that_appear_meanwhile_are_deleted_too(env: &Env) {
    let client = env.connect().await;
    plant(&client, "/tree", &[5, 40]).await;
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let planter = {
        let (servers, backend) = (env.connect_string(), env.backend);
        let stop = std::sync::Arc::clone(&stop);
        std::thread::spawn(move || {
            backend.block_on(async {
                let client = backend.builder(&servers).connect().await.unwrap();
                let mut number = 0;
                while number < 100 && !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let path = format!("/tree/{}/new-{number}", number % 5);
                    client.create(path, b"").await.ok();
                }
                client.close().await.unwrap();
            });
        })
    };
    client.delete("/tree").recursive().await.unwrap();
    stop.store(true, Ordering::Relaxed);
    planter.join().unwrap();
    assert_eq!(client.exists("/tree").await.unwrap(), None);
}

/// Two at the same tree are none the wiser.
pub(crate) async fn two_delete_the_same_tree(env: &Env) {
    let client = env.connect().await;
    plant(&client, "/tree", &[10, 30]).await;
    let other = {
        let (servers, backend) = (env.connect_string(), env.backend);
        std::thread::spawn(move || {
            backend.block_on(async {
                let client = backend.builder(&servers).connect().await.unwrap();
                let done = client.delete("/tree").recursive().await;
                client.close().await.unwrap();
                done
            })
        })
    };
    let mine = client.delete("/tree").recursive().await;
    // Whoever comes when it is all over finds nothing to delete.
    for done in [mine, other.join().unwrap()] {
        if let Err(error) = done {
            assert_eq!(error.code(), Some(ErrorCode::NoNode), "{error}");
        }
    }
    assert_eq!(client.exists("/tree").await.unwrap(), None);
}

pub(crate) async fn a_tree_takes_few_requests(env: &Env) {
    let client = env.connect().await;
    let requests = async |widths: &[usize]| {
        plant(&client, "/tree", widths).await;
        let before = env.fake().requests_received();
        client.delete("/tree").recursive().await.unwrap();
        env.fake().requests_received() - before
    };
    // The node is tried first.
    assert_eq!(requests(&[]).await, 1);
    // Tried, listed, ten listed, all ten deleted, the node.
    assert_eq!(requests(&[10]).await, 1 + 1 + 10 + 1 + 1);
    // Deletes go by 64.
    assert_eq!(requests(&[128]).await, 1 + 1 + 128 + 2 + 1);
}

pub(crate) async fn a_delete_that_is_cut_off(env: &Env) {
    let client = env.connect().await;
    plant(&client, "/tree", &[100]).await;
    env.fake().cut_after_apply(2);
    let error = client.delete("/tree").recursive().await.unwrap_err();
    assert!(error.may_have_been_applied(), "{error}");
    // The rest can be deleted later.
    client.delete("/tree").recursive().await.unwrap();
    assert_eq!(client.exists("/tree").await.unwrap(), None);
    until("all is answered", || client.in_flight() == Usage::default());
}

pub(crate) async fn zxids_grow_with_what_is_seen(env: &Env) {
    let client = env.connect().await;
    let made = client.create("/a", b"").await.unwrap();
    let czxid = made.stat.unwrap().czxid;
    assert!(client.last_zxid() >= czxid);
    let other = env.connect().await;
    other.sync("/").await.unwrap();
    assert!(other.last_zxid() >= czxid);
    let done = other.transaction().set("/a", b"1").await.unwrap();
    assert!(other.last_zxid() >= done.zxid && done.zxid > czxid);
}
