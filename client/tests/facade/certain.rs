//! What became of a write whose answer was lost, through a cable that is pulled out at the worst
//! moment.

use std::future::IntoFuture;
use std::task::Poll;
use std::time::Duration;

use homing::ops::Resolved;
use homing::{
    Acl, Client, Error, ErrorCode, Fate, OnExpiry, Retry, RetryBudget, SessionEnd, SessionState,
    Usage, is_marker, plain_name,
};

use crate::env::{Env, connection, stat, until};
use crate::support::poll_once;
use crate::support::proxy::Proxy;

/// A client behind a proxy, and another one that sees what it does.
struct Cable {
    proxy: Proxy,
    client: Client,
    other: Client,
}

impl Cable {
    async fn new(env: &Env) -> Self {
        let proxy = Proxy::start(env.servers().parse().unwrap());
        let servers = proxy.connect_string() + env.chroot();
        let client = env.backend.builder(&servers).connect().await.unwrap();
        Self {
            proxy,
            client,
            other: env.connect().await,
        }
    }

    /// The answer to the next request is lost, or the request itself.
    fn lose(&self, answer: bool) {
        // That of the session itself is none of them, nor is a handshake.
        settled(&self.client);
        until("it is connected", || {
            matches!(self.client.state(), SessionState::Connected(_))
        });
        match answer {
            true => self.proxy.lose_an_answer(),
            false => self.proxy.lose_a_request(),
        }
    }

    /// The children, once the session has nothing left to do.
    async fn children(&self, path: &str) -> Vec<String> {
        settled(&self.client);
        let children = self.other.children(path).synced().await.unwrap();
        children.sorted().into_iter().map(str::to_owned).collect()
    }
}

fn settled(client: &Client) {
    until("the session has nothing left to do", || {
        client.stats().guaranteed == 0 && client.in_flight() == Usage::default()
    });
}

pub(crate) async fn protected_nodes_are_made_once(env: &Env) {
    let cable = Cable::new(env).await;
    let client = &cable.client;
    let session_id = connection(client).session_id;
    for answer in [true, false] {
        let dir = format!("/{answer}");
        cable.other.create(&dir, b"").await.unwrap();
        let hour = Duration::from_secs(3600);
        let create = |name: &str| client.create(format!("{dir}/{name}"), b"x");
        let all = [
            create("p"),
            create("e").ephemeral(),
            create("c").container(),
            create("t").ttl(hour),
            create("s-").sequential(),
            create("").sequential(),
            create("es-").ephemeral().sequential(),
            create("ts-").ttl(hour).sequential(),
        ];
        let mut made = Vec::new();
        for node in all {
            cable.lose(answer);
            made.push(node.protected().await.unwrap());
            assert!(cable.proxy.has_lost_it());
        }
        let children = cable.children(&dir).await;
        let mut paths: Vec<_> = made.iter().map(|made| made.path.clone()).collect();
        paths.sort();
        let expected: Vec<_> = children
            .iter()
            .map(|name| format!("{dir}/{name}"))
            .collect();
        assert_eq!(paths, expected);
        for made in made {
            let name = plain_name(&made.path);
            let stat = stat(&cable.other, &made.path).await;
            assert!(made.stat.is_none_or(|told| told == stat), "{made:?}");
            let owner = if name.starts_with('e') { session_id } else { 0 };
            assert_eq!(stat.ephemeral_owner, owner, "{made:?}");
            let number = made.sequence.map(|number| format!("{number:010}"));
            assert!(
                number.is_none_or(|number| name.ends_with(&number)),
                "{made:?}"
            );
            assert_eq!(made.sequence.is_some(), name.len() > 1);
        }
    }
}

pub(crate) async fn nodes_of_former_sessions_are_not_adopted(env: &Env) {
    let former = env.connect().await;
    former.create("/locks", b"").await.unwrap();
    let lock = |client: &Client| {
        let node = client.create("/locks/lock-", b"").ephemeral().sequential();
        node.protected().into_future()
    };
    let old = lock(&former).await.unwrap();
    former.create("/leader", b"old").ephemeral().await.unwrap();

    let cable = Cable::new(env).await;
    cable.lose(false);
    let mine = lock(&cable.client).await.unwrap();
    assert_ne!(mine.path, old.path);
    let session_id = connection(&cable.client).session_id;
    assert_eq!(stat(&former, &mine.path).await.ephemeral_owner, session_id);
    assert_eq!(cable.children("/locks").await.len(), 2);

    // A name of its own that is taken is said to be, whatever is lost on the way.
    for answer in [true, false] {
        cable.lose(answer);
        let leader = cable.client.create("/leader", b"new").ephemeral();
        let error = leader.protected().await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NodeExists));
        assert!(
            error
                .to_string()
                .starts_with("create \"/leader\": NodeExists"),
            "{error}"
        );
    }
    assert_eq!(cable.children("/").await, ["leader", "locks"]);
}

pub(crate) async fn a_create_that_is_dropped_is_undone(env: &Env) {
    let cable = Cable::new(env).await;
    let client = &cable.client;
    client.create("/locks", b"").await.unwrap();
    for lost in [None, Some(true), Some(false)] {
        let node = client.create("/locks/lock-", b"").ephemeral().sequential();
        let mut create = node.protected().into_future();
        lost.into_iter().for_each(|answer| cable.lose(answer));
        if let Poll::Ready(made) = poll_once(&mut create) {
            // This thread was slower than the answer, and so it is nothing that could be dropped.
            client.delete(made.unwrap().path).await.unwrap();
            continue;
        }
        assert_eq!(client.stats().guaranteed, 1);
        if lost.is_some() {
            until("it is lost", || cable.proxy.has_lost_it());
        }
        drop(create);
        assert_eq!(cable.children("/locks").await, [""; 0]);
        // Behind it, all goes on.
        client.get("/locks").await.unwrap();
    }
}

pub(crate) async fn a_marker_may_be_refused(env: &Env) {
    let client = env.connect().await;
    client.add_auth("digest", b"bob:secret").await.unwrap();
    client
        .create("/closed", b"")
        .acl(Acl::read_only())
        .await
        .unwrap_or_else(|error| {
            panic!("{error}");
        });
    // Made before it was closed to everybody.
    let open = client.create("/half", b"").await.unwrap();
    client.create("/half/n", b"").await.unwrap();
    client.set_acl(&open.path, Acl::read_only()).await.unwrap();

    client.set("/half/n", b"1").await.unwrap();
    let error = client.set("/half/n", b"2").resolved().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoAuth));
    let text = error.to_string();
    assert!(
        text.starts_with("set \"/half/n\": NoAuth (-102); that is about the marker"),
        "{text}"
    );
    assert_eq!(client.get("/half/n").await.unwrap().data, "1");
    // A node that may not be made there is told of as ever.
    let error = client
        .create("/closed/n", b"")
        .protected()
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("create \"/closed/n\": NoAuth"),
        "{error}"
    );
    assert!(!error.to_string().contains("marker"), "{error}");
    settled(&client);
}

pub(crate) async fn fates_of_writes_are_found_out(env: &Env) {
    let cable = Cable::new(env).await;
    let (client, other) = (&cable.client, &cable.other);
    client.create("/n", b"0").await.unwrap();
    client.create("/gone", b"").await.unwrap();

    // With nothing lost, the answer is that of any request.
    let done = client.set("/n", b"1").version(0).resolved().await.unwrap();
    assert_eq!(done.answer().map(|stat| stat.version), Some(1));
    let error = client
        .set("/n", b"1")
        .version(0)
        .resolved()
        .await
        .unwrap_err();
    assert!(
        error.to_string().starts_with("set \"/n\": BadVersion"),
        "{error}"
    );

    cable.lose(true);
    let done = client.set("/n", b"2").version(1).resolved().await.unwrap();
    let zxid = stat(other, "/n").await.mzxid;
    assert_eq!(done, Resolved::Applied { zxid });

    cable.lose(false);
    let error = client
        .set("/n", b"3")
        .version(2)
        .resolved()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotApplied { .. }), "{error:?}");
    assert!(!error.may_have_been_applied());
    assert_eq!(other.get("/n").await.unwrap().data, "2");

    cable.lose(true);
    let refused = client
        .set("/n", b"3")
        .version(7)
        .resolved()
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::NotApplied { .. }), "{refused:?}");

    cable.lose(false);
    let error = client
        .delete("/gone")
        .version(0)
        .resolved()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotApplied { .. }), "{error:?}");
    cable.lose(true);
    let done = client.delete("/gone").version(0).resolved().await.unwrap();
    assert!(matches!(done, Resolved::Applied { .. }), "{done:?}");

    cable.lose(true);
    let both = client
        .transaction()
        .create("/a", b"")
        .create("/a/b", b"")
        .delete("/n");
    let done = both.resolved().await.unwrap();
    assert_eq!(done.zxid(), Some(stat(other, "/a/b").await.czxid));
    let error = client
        .transaction()
        .check("/a", 7)
        .resolved()
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Transaction { index: 0, .. }),
        "{error:?}"
    );
    assert_eq!(cable.children("/").await, ["a"]);
}

pub(crate) async fn guaranteed_deletions_are_done(env: &Env) {
    let cable = Cable::new(env).await;
    let client = &cable.client;
    for path in ["/a", "/b", "/c", "/c/d"] {
        client.create(path, b"").await.unwrap();
    }
    cable.lose(true);
    client.delete("/a").guaranteed().await.unwrap();
    cable.lose(false);
    client.delete("/b").guaranteed().await.unwrap();
    assert_eq!(cable.children("/").await, ["c"]);

    // Refused as any deletion is; with a lost one before it, nobody knows.
    let error = client.delete("/a").guaranteed().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    let error = client.delete("/c").guaranteed().await.unwrap_err();
    assert!(
        matches!(error.code(), Some(ErrorCode::NotEmpty)),
        "{error:?}"
    );
    cable.lose(false);
    let error = client.delete("/c").guaranteed().await.unwrap_err();
    assert!(matches!(error, Error::Unresolved { .. }), "{error:?}");
    assert!(error.may_have_been_applied());

    // Whoever goes away, it is done.
    cable.proxy.cut();
    // What is sent before that is noticed would be repeated behind what is not.
    until("the cut is noticed", || {
        !matches!(client.state(), SessionState::Connected(_))
    });
    drop(client.delete("/c/d").guaranteed().submit().unwrap());
    let late = client.delete("/c").guaranteed().submit().unwrap();
    cable.proxy.mend();
    late.await.unwrap();
    assert_eq!(cable.children("/").await, [""; 0]);
    let error = client.delete("/bad/").guaranteed().submit().unwrap_err();
    assert!(matches!(error, Error::BadPath { .. }), "{error:?}");

    client.close().await.unwrap();
    let error = client.delete("/a").guaranteed().await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
}

pub(crate) async fn retries_where_they_were_asked_for(env: &Env) {
    let cable = Cable::new(env).await;
    let client = &cable.client;
    client.create("/n", b"0").await.unwrap();

    // A read can always be repeated; a write only if somebody says so.
    cable.lose(true);
    assert_eq!(
        client.get("/n").retry(Retry::new()).await.unwrap().data,
        "0"
    );
    cable.lose(true);
    let error = client
        .set("/n", b"1")
        .retry(Retry::new())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    cable.lose(true);
    let set = client.set("/n", b"2").retry(Retry::new().idempotent());
    assert_eq!(set.await.unwrap().version, 3);

    // Refusals are answers, and never repeated.
    let error = client.get("/none").retry(Retry::new()).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoNode));

    // As often as was said, and as the budget allows.
    cable.lose(true);
    let once = client.get("/n").retry(Retry::new().attempts(1)).await;
    assert!(
        matches!(once, Err(Error::ConnectionLost { .. })),
        "{once:?}"
    );
    let budget = RetryBudget::new(1);
    for is_left in [true, false] {
        cable.lose(true);
        let got = client.get("/n").retry(Retry::new().budget(&budget)).await;
        assert_eq!(got.is_ok(), is_left, "{got:?}");
        assert_eq!(budget.left(), 0);
    }

    // While nobody is there it waits, for no longer than was said.
    cable.proxy.cut();
    let brief = Duration::from_millis(20);
    let within = Retry::new().base(brief).within(Duration::from_millis(300));
    let error = client
        .get("/n")
        .deadline(brief)
        .retry(within)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
    let patient = Retry::new().base(brief).within(Duration::from_secs(60));
    let mut get = client
        .get("/n")
        .deadline(Duration::from_secs(5))
        .retry(patient)
        .into_future();
    assert!(poll_once(&mut get).is_pending());
    cable.proxy.mend();
    assert_eq!(get.await.unwrap().data, "2");
}

pub(crate) async fn protected_below_parents_that_are_missing(env: &Env) {
    let cable = Cable::new(env).await;
    for answer in [true, false] {
        let path = format!("/{answer}/locks/lock-");
        cable.lose(answer);
        let lock = cable.client.create(&path, b"").ephemeral().sequential();
        let mine = lock.container_parents().protected().await.unwrap();
        assert_eq!(mine.sequence, Some(0));
        assert_eq!(cable.children(&format!("/{answer}/locks")).await.len(), 1);
        // And the parent is lost that is made, not the node.
        let path = format!("/{answer}/b/c");
        let create = cable.client.create(&path, b"").parents().protected();
        cable.lose(answer);
        create.await.unwrap();
        assert_eq!(cable.children(&format!("/{answer}/b")).await, ["c"]);
    }
}

pub(crate) async fn an_expired_session_is_asked_no_more(env: &Env) {
    let cable = Cable::new(env).await;
    let (client, server) = (&cable.client, env.fake());
    let session_id = connection(client).session_id;
    let mut persistent = client.create("/p", b"").protected().into_future();
    let node = client.create("/s-", b"").sequential().ephemeral();
    let mut ephemeral = node.protected().into_future();
    let mut deletion = client.delete("/none").guaranteed().into_future();
    server.latency(Duration::from_secs(60));
    let before = server.requests_received();
    assert!(poll_once(&mut persistent).is_pending());
    assert!(poll_once(&mut ephemeral).is_pending());
    assert!(poll_once(&mut deletion).is_pending());
    until("all three have come", || {
        server.requests_received() >= before + 3
    });
    cable.proxy.cut();
    assert!(server.expire_session(session_id));
    server.latency(Duration::ZERO);
    cable.proxy.mend();
    for error in [
        persistent.await.unwrap_err(),
        ephemeral.await.unwrap_err(),
        deletion.await.unwrap_err(),
    ] {
        let end = SessionEnd::Expired { session_id };
        match error {
            Error::SessionEnded {
                fate, end: told, ..
            } => {
                assert_eq!((fate, told), (Fate::MaybeApplied, end));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.stats().guaranteed, 0);
    let names = cable.other.children("/").await.unwrap();
    assert_eq!(names.sorted(), ["p"], "what was ephemeral is gone");
    assert!(!names.iter().any(is_marker));
}

pub(crate) async fn each_session_has_its_own_tokens(env: &Env) {
    let builder = env.builder().on_expiry(OnExpiry::Renew);
    let client = builder.connect().await.unwrap();
    let server = env.fake();
    let former = connection(&client).session_id;
    let create = || {
        let node = client.create("/s-", b"").sequential();
        node.protected().into_future()
    };
    let mut lost = create();
    let mut deletion = client.delete("/none").guaranteed().into_future();
    server.latency(Duration::from_secs(60));
    let before = server.requests_received();
    assert!(poll_once(&mut lost).is_pending());
    assert!(poll_once(&mut deletion).is_pending());
    until("both have come", || {
        server.requests_received() >= before + 2
    });
    assert!(server.expire_session(former));
    // What is held back is lost, before that is let go.
    server.cut_connections();
    server.latency(Duration::ZERO);
    // What was asked of one session is not asked of the next, and nobody else may undo it.
    for error in [lost.await.unwrap_err(), deletion.await.unwrap_err()] {
        let text = error.to_string();
        assert!(matches!(error, Error::SessionEnded { .. }), "{text}");
        assert!(error.may_have_been_applied(), "{text}");
    }
    let mine = create().await.unwrap();
    let id = connection(&client).session_id;
    assert_ne!(id, former);
    assert!(mine.path.contains(&format!("{id:016x}")), "{}", mine.path);
    assert_eq!(client.children("/").await.unwrap().len(), 2);
    client.delete(&*mine.path).guaranteed().await.unwrap();
    settled(&client);
}

pub(crate) async fn guaranteed_deletions_are_bounded(env: &Env) {
    let client = env.builder().guaranteed_max(2).connect().await.unwrap();
    env.fake().pause();
    let one = client.delete("/a").guaranteed().submit().unwrap();
    let other = client.delete("/b").guaranteed().submit().unwrap();
    for error in [
        client
            .delete("/c")
            .guaranteed()
            .submit()
            .map(drop)
            .unwrap_err(),
        client
            .create("/c", b"")
            .protected()
            .await
            .map(drop)
            .unwrap_err(),
    ] {
        assert!(
            matches!(error, Error::TooManyGuaranteed { limit: 2, .. }),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("`guaranteed_max` is reached"),
            "{error}"
        );
        assert!(!error.may_have_been_applied());
    }
    env.fake().resume();
    for deletion in [one, other] {
        assert_eq!(deletion.await.unwrap_err().code(), Some(ErrorCode::NoNode));
    }
    client.create("/c", b"").protected().await.unwrap();
}
