//! SASL through the client, on both transports: against the fake server, and a real one that has
//! the same users.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use homing::{
    Acl, Builder, Client, Error, ErrorCode, Failure, Sasl, SaslRefusal, SessionEnd, SessionState,
};
use homing_testkit::{FakeServer, SaslConfig, real};
use support::{Backend, on_plain_thread, run};

const PATIENCE: Duration = Duration::from_secs(60);

const USERS: [(&str, &str); 4] = [
    ("bob", "secret"),
    ("ann", "other \"word\""),
    ("jürgen", "grün"),
    ("Жан", "π"),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Fake,
    Real,
}

/// A server with these users, started anew.
#[derive(Debug)]
enum Server {
    Fake(FakeServer),
    Real(Box<real::ZooKeeper>),
}

/// Nobody else uses the shared server meanwhile.
struct Turn(#[allow(dead_code, reason = "it is for dropping")] MutexGuard<'static, ()>);

fn fake_users(users: &[(&str, &str)]) -> SaslConfig {
    let add = |config: SaslConfig, (user, password): &(&str, &str)| config.user(user, password);
    users.iter().fold(SaslConfig::new(), add)
}

impl Server {
    fn start(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Fake => {
                let builder = FakeServer::builder();
                let builder = builder.config(|config| config.sasl = Some(fake_users(&USERS)));
                Self::Fake(builder.start().unwrap())
            }
            Kind::Real => {
                real::requirement()?;
                let file = real::jaas_with_users(&USERS);
                let builder = real::ZooKeeper::builder().jaas(&file);
                let server = builder.start().unwrap_or_else(|error| panic!("{error}"));
                Self::Real(Box::new(server))
            }
        })
    }

    /// The one that tests share which leave it as it is.
    /// While one test has it, no other does: the real one (3.8.0) keeps the name of the user who
    /// logs in where the next one overwrites it, and may refuse one of two who come at once.
    fn shared(kind: Kind) -> Option<(&'static Self, Turn)> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = Turn(TURN.lock().unwrap_or_else(PoisonError::into_inner));
        static FAKE: OnceLock<Option<Server>> = OnceLock::new();
        static REAL: OnceLock<Option<Server>> = OnceLock::new();
        let place = match kind {
            Kind::Fake => &FAKE,
            Kind::Real => &REAL,
        };
        let server = place.get_or_init(|| Self::start(kind)).as_ref()?;
        Some((server, turn))
    }

    fn connect_string(&self) -> String {
        match self {
            Self::Fake(server) => server.connect_string(),
            Self::Real(server) => server.connect_string(),
        }
    }

    /// Kills it and starts it again, with other users.
    fn restart(&mut self, users: &[(&str, &str)]) {
        match self {
            Self::Fake(server) => {
                server.stop();
                server.with_server(|server| server.set_sasl(Some(fake_users(users))));
                server.restart().unwrap();
            }
            Self::Real(server) => {
                server.kill();
                let file = real::jaas_with_users(users);
                std::fs::write(server.folder().join("jaas.conf"), file).unwrap();
                server.restart().unwrap();
            }
        }
    }
}

/// One `#[test]` for each body, on each kind of server and each backend.
macro_rules! everywhere {
    ($($body:ident)*) => {
        everywhere! { @ on_the_fake Fake; $($body)* }
        everywhere! { @ on_a_real_one Real; $($body)* }
    };
    (@ $module:ident $kind:ident; $($body:ident)*) => {
        mod $module {
            use crate::Kind::$kind;
            #[cfg(feature = "nio")]
            mod nio {
                $(#[test] fn $body() {
                    crate::support::run(crate::Backend::Nio, async |backend| crate::$body(super::$kind, backend).await);
                })*
            }
            #[cfg(feature = "tokio")]
            mod tokio {
                $(#[test] fn $body() {
                    crate::support::run(crate::Backend::Tokio, async |backend| crate::$body(super::$kind, backend).await);
                })*
            }
        }
    };
}

everywhere! {
    users_are_who_they_prove_to_be
    a_wrong_password_and_an_unknown_user
    a_thread_waits_for_it
    requests_wait_for_it_in_their_order
    every_connection_has_an_exchange_of_its_own
}

/// A path that no other test uses.
fn fresh() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("/sasl-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn builder(server: &Server, backend: Backend, user: &str, password: &str) -> Builder {
    let builder = backend.builder(&server.connect_string());
    builder
        .connect_timeout(PATIENCE)
        .sasl(Sasl::digest_md5(user, password))
}

async fn users_are_who_they_prove_to_be(kind: Kind, backend: Backend) {
    let Some((server, _turn)) = Server::shared(kind) else {
        return;
    };
    let nobody = backend.builder(&server.connect_string());
    let nobody = nobody.connect().await.unwrap();
    for (user, password) in USERS {
        let me = builder(server, backend, user, password)
            .connect()
            .await
            .unwrap();
        let path = fresh();
        me.create(&path, b"mine")
            .acl(Acl::creator_all())
            .await
            .unwrap();
        let acl = me.acl(&path).await.unwrap();
        assert_eq!(acl.entries, [Acl::new("sasl", user)]);
        assert_eq!(me.get(&path).await.unwrap().data, "mine");
        let error = nobody.get(&path).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NoAuth));
        // Somebody else can be given it by name.
        let gift = fresh();
        nobody
            .create(&gift, b"")
            .acl(Acl::new("sasl", user))
            .await
            .unwrap();
        me.set(&gift, b"thanks").await.unwrap();
    }
    let ann = builder(server, backend, USERS[1].0, USERS[1].1);
    let ann = ann.connect().await.unwrap();
    let path = fresh();
    nobody
        .create(&path, b"")
        .acl(Acl::new("sasl", "bob"))
        .await
        .unwrap();
    let error = ann.get(&path).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoAuth));
    // With a second identity, of another scheme.
    ann.add_auth("digest", b"ann:pw").await.unwrap();
    let path = fresh();
    ann.create(&path, b"")
        .acl(Acl::creator_all())
        .await
        .unwrap();
    let mut entries = ann.acl(&path).await.unwrap().entries;
    entries.sort_by(|a, b| b.id.scheme.cmp(&a.id.scheme));
    assert_eq!(entries, [Acl::new("sasl", "ann"), Acl::digest("ann", "pw")]);
    let error = nobody
        .create(fresh(), b"")
        .acl(Acl::new("sasl", "a@b@c"))
        .await;
    assert_eq!(error.unwrap_err().code(), Some(ErrorCode::InvalidAcl));
}

async fn a_wrong_password_and_an_unknown_user(kind: Kind, backend: Backend) {
    let Some((server, _turn)) = Server::shared(kind) else {
        return;
    };
    for (user, password) in [("bob", "wrong"), ("nobody", "nothing")] {
        let connecting = builder(server, backend, user, password).connect();
        let error = connecting.await.unwrap_err();
        let Error::SessionEnded { end, .. } = &error else {
            panic!("{error}");
        };
        let expected = SessionEnd::SaslFailed {
            mechanism: "DIGEST-MD5".into(),
            why: SaslRefusal::Refused(ErrorCode::AuthFailed),
        };
        assert_eq!(*end, expected);
        assert!(error.to_string().contains("AuthFailed (-115)"), "{error}");
    }
}

async fn a_thread_waits_for_it(kind: Kind, backend: Backend) {
    let Some((server, _turn)) = Server::shared(kind) else {
        return;
    };
    let _ = backend;
    let path = fresh();
    on_plain_thread(|| {
        let builder = Client::builder(&server.connect_string()).own_thread();
        let builder = builder.sasl(Sasl::digest_md5("bob", "secret"));
        let bob = builder
            .default_acl(Acl::creator_all())
            .connect()
            .wait()
            .unwrap();
        bob.create(&path, b"").wait().unwrap();
        let acl = bob.acl(&path).wait().unwrap();
        assert_eq!(acl.entries, [Acl::new("sasl", "bob")]);
        bob.close().wait().unwrap();
    });
}

async fn requests_wait_for_it_in_their_order(kind: Kind, backend: Backend) {
    let Some((server, _turn)) = Server::shared(kind) else {
        return;
    };
    let builder = builder(server, backend, "bob", "secret");
    let bob = builder.default_acl(Acl::creator_all()).start().unwrap();
    let root = fresh();
    let made = bob.create(&root, b"").submit().unwrap();
    let rows: Vec<_> = (0..100)
        .map(|_| {
            let path = format!("{root}/row-");
            bob.create(path, b"").sequential().submit().unwrap()
        })
        .collect();
    made.await.unwrap();
    for (number, row) in rows.into_iter().enumerate() {
        let made = row.await.unwrap();
        assert_eq!(made.sequence, Some(i32::try_from(number).unwrap()));
    }
    let acl = bob.acl(&root).await.unwrap();
    assert_eq!(acl.entries, [Acl::new("sasl", "bob")]);
}

async fn every_connection_has_an_exchange_of_its_own(kind: Kind, backend: Backend) {
    let Some(mut server) = Server::start(kind) else {
        return;
    };
    let builder = builder(&server, backend, "bob", "secret");
    let bob = builder.session_timeout(PATIENCE).connect().await.unwrap();
    let path = fresh();
    bob.create(&path, b"")
        .acl(Acl::creator_all())
        .await
        .unwrap();
    server.restart(&USERS);
    // It waits for the next connection, unless it was lost with the former one.
    if let Err(error) = bob.get(&path).deadline(PATIENCE).await {
        assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
        bob.get(&path).deadline(PATIENCE).await.unwrap();
    }
    assert!(bob.stats().session.connections >= 2);
    let acl = bob.acl(&path).await.unwrap();
    assert_eq!(acl.entries, [Acl::new("sasl", "bob")]);

    // The password is another one now: that is the end.
    let mut states = bob.state_changes();
    server.restart(&[("bob", "new")]);
    let end = loop {
        if let SessionState::Ended(end) = states.next().await.unwrap().state {
            break end;
        }
    };
    assert!(matches!(end, SessionEnd::SaslFailed { .. }), "{end}");
    let report = bob.expiry_report().expect("a report");
    assert_eq!(report.end, end);
}

#[cfg(feature = "nio")]
#[test]
fn servers_that_have_no_sasl_or_lie_on_nio() {
    run(Backend::Nio, servers_that_have_no_sasl_or_lie);
}

#[cfg(feature = "tokio")]
#[test]
fn servers_that_have_no_sasl_or_lie_on_tokio() {
    run(Backend::Tokio, servers_that_have_no_sasl_or_lie);
}

async fn servers_that_have_no_sasl_or_lie(backend: Backend) {
    let plain = Server::Fake(FakeServer::start());
    let error = builder(&plain, backend, "bob", "secret").connect().await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("it has no SASL"), "{error}");
    let builder = |sasl| backend.builder(&plain.connect_string()).sasl(sasl);
    let optional = Sasl::digest_md5("bob", "secret").optional();
    let nobody = builder(optional).connect().await.unwrap();
    nobody.get("/").await.unwrap();

    let Some(Server::Fake(liar)) = Server::start(Kind::Fake) else {
        panic!("it is a fake one")
    };
    liar.with_server(|server| server.lie_in_sasl(true));
    let builder = backend.builder(&liar.connect_string());
    let builder = builder.connect_timeout(Duration::from_millis(300));
    let builder = builder.sasl(Sasl::digest_md5("bob", "secret"));
    let error = builder.connect().await.unwrap_err();
    let Error::Connect { attempts, .. } = &error else {
        panic!("{error}");
    };
    let what = "the server did not prove that it knows the password";
    assert_eq!(attempts[0].failure, Failure::Sasl(what.into()));
}

/// Whoever does not try is told by the first thing that he is told.
#[cfg(feature = "nio")]
#[test]
fn a_server_that_insists() {
    let server = FakeServer::builder().config(|config| {
        config.sasl = Some(fake_users(&USERS));
        config.required_schemes = vec!["sasl".into()];
    });
    let server = Server::Fake(server.start().unwrap());
    let client = Client::builder(&server.connect_string()).nio();
    let client = client.connect().wait().unwrap();
    let error = client.get("/").wait().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::SessionClosedRequireSaslAuth));
    let error = client.get("/").wait().unwrap_err();
    let Error::SessionEnded { end, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(end, SessionEnd::AuthRequired);
    let bob = builder(&server, Backend::Nio, "bob", "secret");
    bob.connect().wait().unwrap().get("/").wait().unwrap();
}
