//! Transactions: all or nothing.

use std::time::Duration;

use homing::{Acl, Committed, Created, Done, Error, ErrorCode, Usage};

use crate::env::{Env, SOON, connection, stat};
use crate::support::{bytes_of, on_plain_thread};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) async fn all_of_it_is_done(env: &Env) {
    let client = env.connect().await;
    client.create("/set", b"old").await.unwrap();
    client.create("/gone", b"").await.unwrap();
    let done = client
        .transaction()
        .check("/set", 0)
        .create("/made", b"made")
        .set("/set", b"new")
        .delete("/gone")
        .await
        .unwrap();
    assert_eq!(done.results.len(), 4);
    assert_eq!(done.results[0], Done::Checked);
    let made = done.created(1).unwrap();
    assert_eq!((&*made.path, made.sequence), ("/made", None));
    let set = *done.results[2].stat().unwrap();
    assert_eq!((set.version, set.data_length), (1, 3));
    assert_eq!(done.results[3], Done::Deleted);
    assert_eq!(done.created(0), None);
    assert_eq!(done.created(9), None);

    assert_eq!(client.get("/made").await.unwrap().data, "made");
    assert_eq!(client.get("/set").await.unwrap().data, "new");
    assert_eq!(client.exists("/gone").await.unwrap(), None);
    // One transaction, with one number.
    assert_eq!(stat(&client, "/made").await.czxid, done.zxid);
    assert_eq!(stat(&client, "/set").await, set);
    assert_eq!((set.mzxid, set.czxid < done.zxid), (done.zxid, true));
    assert_eq!(stat(&client, "/").await.pzxid, done.zxid);
}

pub(crate) async fn every_mode_of_create(env: &Env) {
    let client = env.connect().await;
    let list = [Acl::open(), Acl::read_only()];
    client.create("/n", b"").await.unwrap();
    let done = client
        .transaction()
        .create("/n/p", b"p")
        .create("/n/e", b"")
        .ephemeral()
        .create("/n/s-", b"")
        .sequential()
        .create("/n/es-", b"")
        .ephemeral()
        .sequential()
        .create("/n/", b"")
        .sequential()
        .create("/n/c", b"c")
        .container()
        .create("/n/t", b"t")
        .ttl(HOUR)
        .create("/n/ts-", b"")
        .sequential()
        .ttl(HOUR)
        .create("/n/a", b"")
        .acl(&list)
        .await
        .unwrap();
    let expected = [
        ("/n/p", None),
        ("/n/e", None),
        ("/n/s-0000000002", Some(2)),
        ("/n/es-0000000003", Some(3)),
        ("/n/0000000004", Some(4)),
        ("/n/c", None),
        ("/n/t", None),
        ("/n/ts-0000000007", Some(7)),
        ("/n/a", None),
    ];
    let owner = connection(&client).session_id;
    for (index, (path, sequence)) in expected.into_iter().enumerate() {
        let Done::Created(made) = &done.results[index] else {
            panic!("{:?}", done.results[index]);
        };
        assert_eq!((&*made.path, made.sequence), (path, sequence));
        let is = stat(&client, path).await;
        let is_ephemeral = matches!(index, 1 | 3);
        assert_eq!(is.ephemeral_owner, if is_ephemeral { owner } else { 0 });
        // A server tells it or does not. What it tells is true.
        assert!(made.stat.is_none_or(|told| told == is), "{made:?}");
    }
    for index in [5, 6, 7] {
        assert!(done.results[index].stat().is_some(), "{index}");
    }
    assert_eq!(client.acl("/n/a").await.unwrap().entries, list);
    // The client's own list is that of a transaction too.
    let other = env.builder().default_acl(&list).connect().await.unwrap();
    other.transaction().create("/n/d", b"").await.unwrap();
    assert_eq!(client.acl("/n/d").await.unwrap().entries, list);
}

pub(crate) async fn later_operations_see_earlier_ones(env: &Env) {
    let client = env.connect().await;
    let done = client
        .transaction()
        .create("/a", b"1")
        .create("/a/b", b"")
        .check("/a", 0)
        .set("/a", b"2")
        .check("/a", 1)
        .set("/a", b"3")
        .version(1)
        .delete("/a/b")
        .version(0)
        .create("/a/b", b"again")
        .await
        .unwrap();
    let versions = [3, 5].map(|at| done.results[at].stat().unwrap().version);
    assert_eq!(versions, [1, 2]);
    assert_eq!(client.get("/a").await.unwrap().data, "3");
    assert_eq!(client.get("/a/b").await.unwrap().data, "again");
    assert_eq!(stat(&client, "/a").await.cversion, 3);
}

pub(crate) async fn nothing_is_done_if_one_is_refused(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"old").await.unwrap();
    let before = stat(&client, "/a").await;
    let (_, mut changed) = client.get("/a").watch().await.unwrap();
    let refused = client
        .transaction()
        .set("/a", b"new")
        .create("/b", b"")
        .create("/a/s-", b"")
        .sequential()
        .delete("/nowhere")
        .delete("/a");
    let error = refused.await.unwrap_err();
    assert!(!error.may_have_been_applied());
    assert_eq!(
        error.to_string(),
        format!(
            "transaction[3]: delete \"/nowhere\": NoNode (-101), below the chroot {:?}, which may itself not exist; nothing of the transaction was applied",
            env.chroot()
        )
    );
    assert_eq!(stat(&client, "/a").await, before);
    assert_eq!(client.exists("/b").await.unwrap(), None);
    // Nobody was told of anything, and no number was used up.
    let made = client.create("/a/s-", b"").sequential().await.unwrap();
    assert_eq!(made.sequence, Some(0));
    client.set("/a", b"by itself").await.unwrap();
    let mzxid = stat(&client, "/a").await.mzxid;
    let event = on_plain_thread(|| changed.wait(SOON)).unwrap().unwrap();
    assert!(event.zxid.is_none_or(|zxid| zxid == mzxid), "{event:?}");
}

pub(crate) async fn the_error_is_that_of_the_operation(env: &Env) {
    let client = env.connect_to_root().await.chroot(env.chroot()).unwrap();
    client.create("/full", b"").await.unwrap();
    client.create("/full/e", b"").ephemeral().await.unwrap();
    let first = || client.transaction().check("/full", 0);
    let none: [Acl; 0] = [];
    let rows = [
        (
            first().create("/full", b""),
            ErrorCode::NodeExists,
            "create",
            "/full",
        ),
        (
            first().create("/no/a", b""),
            ErrorCode::NoNode,
            "create",
            "/no/a",
        ),
        (
            first().create("/full/e/a", b""),
            ErrorCode::NoChildrenForEphemerals,
            "create",
            "/full/e/a",
        ),
        (
            first().create("/a", b"").acl(&none),
            ErrorCode::InvalidAcl,
            "create",
            "/a",
        ),
        (first().set("/no", b""), ErrorCode::NoNode, "set", "/no"),
        (
            first().set("/full", b"").version(7),
            ErrorCode::BadVersion,
            "set",
            "/full",
        ),
        (first().delete("/no"), ErrorCode::NoNode, "delete", "/no"),
        (
            first().delete("/full"),
            ErrorCode::NotEmpty,
            "delete",
            "/full",
        ),
        (
            first().delete("/full/e").version(7),
            ErrorCode::BadVersion,
            "delete",
            "/full/e",
        ),
        (first().check("/no", -1), ErrorCode::NoNode, "check", "/no"),
        (
            first().check("/full", 7),
            ErrorCode::BadVersion,
            "check",
            "/full",
        ),
    ];
    for (transaction, expected, op, at) in rows {
        let error = transaction.set("/full", b"behind").await.unwrap_err();
        let Error::Transaction {
            request,
            index,
            code,
            chroot,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((request.op, &*request.path, *index), (op, at, 1));
        assert_eq!((*code, error.code()), (expected, Some(expected)));
        assert_eq!((error.request(), &**chroot), (Some(request), env.chroot()));
        let text = format!("transaction[1]: {op} {at:?}: {expected}");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
    assert_eq!(stat(&client, "/full").await.version, 0);
    // What to do is said as for a single operation.
    let taken = client.transaction().create("/full/e", b"").ephemeral();
    let error = taken.await.unwrap_err().to_string();
    assert!(
        error.contains("; if it is of a former session, it goes away"),
        "{error}"
    );
}

pub(crate) async fn a_transaction_of_nothing(env: &Env) {
    let client = env.connect().await;
    let done = client.transaction().await.unwrap();
    assert_eq!(done.results, []);
    assert!(done.zxid > 0);
}

pub(crate) async fn it_knows_its_chroot(env: &Env) {
    let root = env.connect_to_root().await;
    let client = root.chroot(env.chroot()).unwrap();
    let app = client.chroot("/app").unwrap();
    // The chroot itself can be made by it.
    let done = app
        .transaction()
        .create("/", b"")
        .create("/n-", b"")
        .sequential()
        .set("/", b"x")
        .await
        .unwrap();
    let paths = [0, 1].map(|at| &*done.created(at).unwrap().path);
    assert_eq!(paths, ["/", "/n-0000000000"]);
    assert_eq!(done.created(1).unwrap().sequence, Some(0));
    assert_eq!(client.get("/app").await.unwrap().data, "x");
    let at_server = format!("{}/app/n-0000000000", env.chroot());
    root.get(&at_server).await.unwrap();
    let error = app.transaction().delete("/").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotEmpty));
    assert_eq!(error.request().unwrap().path, "/");
}

pub(crate) async fn three_ways_to_run_a_transaction(env: &Env) {
    let client = env.connect().await;
    client.transaction().create("/a", b"").await.unwrap();
    let pending = client.transaction().set("/a", b"1").submit().unwrap();
    let read = client.get("/a").submit().unwrap();
    let behind = client.transaction().set("/a", b"2").submit().unwrap();
    assert_eq!(read.await.unwrap().data, "1");
    assert!(behind.await.unwrap().zxid > pending.await.unwrap().zxid);
    let done = on_plain_thread(|| client.transaction().delete("/a").wait());
    let Committed { results, .. } = done.unwrap();
    assert_eq!(results, [Done::Deleted]);
}

pub(crate) async fn what_is_wrong_here_is_not_sent(env: &Env) {
    let client = env
        .builder()
        .request_len_max(1_000)
        .connect()
        .await
        .unwrap();
    client.create("/a", b"").await.unwrap();
    let (large, good) = (bytes_of(600, 1), || client.transaction().set("/a", b"x"));
    let rows = [
        (
            good().create("/a//b", b""),
            "create \"/a//b\": not a path: an empty component at byte 3",
        ),
        (good().set("", b""), "set \"\": not a path: it is empty"),
        (
            good().delete("a"),
            "delete \"a\": not a path: it does not begin with a slash",
        ),
        (
            good().check("/a/", 0),
            "check \"/a/\": not a path: it ends with a slash",
        ),
        (
            good().create("/b", b"").ephemeral().container(),
            "transaction: [1] create \"/b\": `ephemeral` and `container` exclude each other; it was not sent",
        ),
        (
            good().create("/b", b"").ttl(Duration::ZERO),
            "transaction: [1] create \"/b\": a time to live of 0ns is not within 1 to 1099511627775 milliseconds; it was not sent",
        ),
        (
            good().sequential(),
            "transaction: [0] set \"/a\": it has no setting `sequential`; it was not sent",
        ),
        (
            good().create("/b", b"").version(0).delete("/b").ephemeral(),
            "transaction: [1] create \"/b\": it has no setting `version`; it was not sent",
        ),
        (
            client.transaction().ephemeral(),
            "transaction: `ephemeral` stands before any operation; it was not sent",
        ),
    ];
    for (transaction, text) in rows {
        let error = transaction.clone().await.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(!error.may_have_been_applied());
        let error = transaction.submit().unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    // Each would fit, and both together do not.
    let both = good().set("/a", &large).set("/a", &large);
    let error = both.await.unwrap_err();
    let Error::RequestTooLarge {
        len, limit: 1_000, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(
        error.to_string(),
        format!(
            "transaction: the request has {len} bytes, over the limit of 1000 (`request_len_max`); it was not sent"
        )
    );
    assert_eq!(client.in_flight(), Usage::default());
    assert_eq!(stat(&client, "/a").await.version, 0);
}

pub(crate) async fn a_large_transaction(env: &Env) {
    let client = env.connect().await;
    let mut all = client.transaction().create("/all", b"");
    for number in 0..1_000 {
        all = all.create(format!("/all/{number}"), b"x");
    }
    let done = all.await.unwrap();
    assert_eq!(done.results.len(), 1_001);
    let last = done
        .created(1_000)
        .map(|Created { path, .. }| path.as_str());
    assert_eq!(last, Some("/all/999"));
    assert_eq!(client.children("/all").await.unwrap().len(), 1_000);
}

pub(crate) async fn a_lost_transaction_may_have_been_applied(env: &Env) {
    let client = env.connect().await;
    env.fake().cut_after_apply(1);
    let error = client.transaction().create("/a", b"").await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    assert!(error.may_have_been_applied());
    assert!(
        error
            .to_string()
            .starts_with("transaction: the connection to "),
        "{error}"
    );
    stat(&client, "/a").await;
    env.fake().cut_before_apply(1);
    let error = client.transaction().create("/b", b"").await.unwrap_err();
    assert!(error.may_have_been_applied());
    assert_eq!(client.exists("/b").await.unwrap(), None);
}
