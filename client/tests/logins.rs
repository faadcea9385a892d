//! Logins from a provider: anew for every connection, late, wrong, or never.

#[macro_use]
mod support;

use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homing::{
    Acl, BoxError, Client, Error, Failure, Login, LoginProvider, Peer, Sasl, SessionEnd,
    SessionState, async_trait,
};
use homing_testkit::{FakeServer, SaslConfig};
use support::{Backend, until};

const PATIENCE: Duration = Duration::from_secs(60);

on_each_backend! {
    a_password_changes_between_two_connections
    both_kinds_of_identities_come_from_it
    a_provider_that_fails_is_asked_again
    a_provider_that_hangs_costs_an_attempt
    a_provider_that_panics_costs_an_attempt
    a_provider_that_blocks_disturbs_nobody
    a_login_that_a_server_refuses_is_the_end
    a_login_is_added_to_those_of_the_client
    a_client_that_waits_for_a_login_can_be_closed
}

/// Has a password, which can be changed, and counts who asked.
#[derive(Clone, Default)]
struct Vault(Arc<Mutex<(String, Vec<String>)>>);

impl Vault {
    fn put(&self, password: &str) {
        self.0.lock().unwrap().0 = password.into();
    }

    fn asked_for(&self) -> Vec<String> {
        self.0.lock().unwrap().1.clone()
    }
}

#[async_trait]
impl LoginProvider for Vault {
    async fn login(&self, peer: &Peer) -> Result<Login, BoxError> {
        let mut vault = self.0.lock().unwrap();
        vault.1.push(peer.address.to_string());
        if vault.0.is_empty() {
            return Err("the vault is sealed".into());
        }
        Ok(Login::new().sasl(Sasl::digest_md5("bob", &vault.0)))
    }
}

fn server_of_bob(password: &str) -> FakeServer {
    let users = SaslConfig::new().user("bob", password);
    let builder = FakeServer::builder().config(|config| config.sasl = Some(users));
    builder.start().unwrap()
}

fn until_connected(client: &Client, connections: u64) {
    until("it is connected", || {
        client.stats().session.connections >= connections
    });
}

async fn a_password_changes_between_two_connections(backend: Backend) {
    let server = server_of_bob("one");
    let vault = Vault::default();
    vault.put("one");
    let builder = backend.builder(&server.connect_string());
    let bob = builder.login(vault.clone()).connect().await.unwrap();
    bob.create("/mine", b"")
        .acl(Acl::creator_all())
        .await
        .unwrap();
    vault.put("two");
    let users = SaslConfig::new().user("bob", "two");
    server.with_server(|server| server.set_sasl(Some(users)));
    // The connection that is there stays.
    bob.get("/mine").await.unwrap();
    server.cut_connections();
    until_connected(&bob, 2);
    bob.get("/mine").await.unwrap();
    assert_eq!(
        vault.asked_for(),
        [server.addr().to_string(), server.addr().to_string()]
    );
}

async fn both_kinds_of_identities_come_from_it(backend: Backend) {
    let server = server_of_bob("secret");
    let login = Login::new()
        .sasl(Sasl::digest_md5("bob", "secret"))
        .digest("ann", "pw")
        .auth("digest", b"eve:pw");
    let builder = backend.builder(&server.connect_string());
    let client = builder.login(login).connect().await.unwrap();
    for connections in 1..=2 {
        until_connected(&client, connections);
        let path = format!("/mine-{connections}");
        client
            .create(&path, b"")
            .acl(Acl::creator_all())
            .await
            .unwrap();
        let expected = [
            Acl::new("sasl", "bob"),
            Acl::digest("ann", "pw"),
            Acl::digest("eve", "pw"),
        ];
        assert_eq!(client.acl(&path).await.unwrap().entries, expected);
        server.cut_connections();
    }
}

async fn a_provider_that_fails_is_asked_again(backend: Backend) {
    let server = server_of_bob("secret");
    let vault = Vault::default();
    let builder = backend
        .builder(&server.connect_string())
        .login(vault.clone());
    let brief = builder.clone().connect_timeout(Duration::from_millis(300));
    let error = brief.connect().await.unwrap_err();
    let Error::Connect { attempts, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        attempts[0].failure,
        Failure::Login("the vault is sealed".into())
    );
    assert!(error.to_string().contains("the vault is sealed"), "{error}");

    let client = builder.start().unwrap();
    let get = client.get("/").deadline(PATIENCE).submit().unwrap();
    until("it has failed", || !client.failures().is_empty());
    vault.put("secret");
    get.await.unwrap();
}

/// Never answers at first.
struct Hangs(AtomicU32);

#[async_trait]
impl LoginProvider for Hangs {
    async fn login(&self, _peer: &Peer) -> Result<Login, BoxError> {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            return pending().await;
        }
        Ok(Login::new())
    }
}

async fn a_provider_that_hangs_costs_an_attempt(backend: Backend) {
    let server = FakeServer::start();
    let builder = backend.builder(&server.connect_string());
    let builder = builder.login_timeout(Duration::from_millis(50));
    let builder = builder
        .connect_timeout(PATIENCE)
        .login(Hangs(AtomicU32::new(0)));
    let client = builder.connect().await.unwrap();
    let failures = client.failures();
    assert_eq!(failures[0].failure, Failure::LoginTimedOut);
}

struct Panics(AtomicU32);

#[async_trait]
impl LoginProvider for Panics {
    async fn login(&self, _peer: &Peer) -> Result<Login, BoxError> {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "as it should");
        Ok(Login::new())
    }
}

async fn a_provider_that_panics_costs_an_attempt(backend: Backend) {
    let server = FakeServer::start();
    let builder = backend.builder(&server.connect_string());
    let builder = builder
        .connect_timeout(PATIENCE)
        .login(Panics(AtomicU32::new(0)));
    let client = builder.connect().await.unwrap();
    let failures = client.failures();
    let text = failures[0].failure.to_string();
    assert!(text.contains("whoever was asked went away"), "{text}");
}

/// Blocks its thread until somebody opens the gate.
struct Blocks(Arc<Mutex<()>>);

#[async_trait]
impl LoginProvider for Blocks {
    async fn login(&self, _peer: &Peer) -> Result<Login, BoxError> {
        drop(self.0.lock());
        Ok(Login::new())
    }
}

async fn a_provider_that_blocks_disturbs_nobody(backend: Backend) {
    let server = FakeServer::start();
    let gate = Arc::new(Mutex::new(()));
    let blocked = {
        let _closed = gate.lock().unwrap();
        let builder = backend.builder(&server.connect_string());
        let builder = builder
            .login_timeout(PATIENCE)
            .login(Blocks(Arc::clone(&gate)));
        let blocked = builder.start().unwrap();
        // Others have the same driver, or the same runtime.
        support::on_plain_thread(|| {
            let other = Client::builder(&server.connect_string()).own_thread();
            other.connect().wait().unwrap().get("/").wait().unwrap();
        });
        assert_eq!(blocked.state(), SessionState::Connecting);
        blocked
    };
    blocked.get("/").deadline(PATIENCE).await.unwrap();
}

async fn a_login_that_a_server_refuses_is_the_end(backend: Backend) {
    let server = server_of_bob("secret");
    let vault = Vault::default();
    vault.put("wrong");
    let builder = backend.builder(&server.connect_string());
    let error = builder.login(vault).connect().await.unwrap_err();
    let Error::SessionEnded { end, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(end, SessionEnd::SaslFailed { .. }), "{end}");

    let builder = backend.builder(&server.connect_string());
    let login = Login::new().auth("nonsense", b"x");
    let error = builder.login(login).connect().await.unwrap_err();
    let Error::SessionEnded { end, .. } = error else {
        panic!("{error}");
    };
    let scheme = "nonsense".into();
    assert_eq!(end, SessionEnd::AuthFailed { scheme });
}

async fn a_login_is_added_to_those_of_the_client(backend: Backend) {
    let server = FakeServer::start();
    let builder = backend.builder(&server.connect_string());
    let login = Login::new().digest("bob", "pw");
    let client = builder.login(login).connect().await.unwrap();
    client.add_auth("digest", b"ann:pw").await.unwrap();
    for connections in 1..=2 {
        until_connected(&client, connections);
        let path = format!("/mine-{connections}");
        client
            .create(&path, b"")
            .acl(Acl::creator_all())
            .await
            .unwrap();
        let expected = [Acl::digest("bob", "pw"), Acl::digest("ann", "pw")];
        assert_eq!(client.acl(&path).await.unwrap().entries, expected);
        server.cut_connections();
    }
}

async fn a_client_that_waits_for_a_login_can_be_closed(backend: Backend) {
    let server = FakeServer::start();
    let builder = backend
        .builder(&server.connect_string())
        .login_timeout(PATIENCE);
    let client = builder.login(Hangs(AtomicU32::new(0))).start().unwrap();
    until("it has dialled", || server.connections_accepted() > 0);
    client.close().await.unwrap();
    assert_eq!(client.state(), SessionState::Ended(SessionEnd::Closed));
}

/// Asks what only a runtime has.
#[cfg(feature = "tokio")]
struct Sleeps;

#[cfg(feature = "tokio")]
#[async_trait]
impl LoginProvider for Sleeps {
    async fn login(&self, _peer: &Peer) -> Result<Login, BoxError> {
        ::tokio::time::sleep(Duration::from_millis(1)).await;
        let login = ::tokio::spawn(async { Login::new().digest("bob", "pw") });
        Ok(login.await?)
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_provider_finds_the_runtime_of_its_session() {
    support::run(Backend::Tokio, async |backend: Backend| {
        let server = FakeServer::start();
        let on_this_one = backend.builder(&server.connect_string());
        let on_a_private_one = Client::builder(&server.connect_string());
        let on_a_private_one = on_a_private_one.transport(homing::Tokio::private_thread());
        for builder in [on_this_one, on_a_private_one] {
            let client = builder.login(Sleeps).connect().await.unwrap();
            client.get("/").await.unwrap();
        }
    });
}

#[test]
fn a_time_out_of_zero_is_a_mistake() {
    let builder = Client::builder("127.0.0.1").login(Login::new());
    let error = builder.login_timeout(Duration::ZERO).start().unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
}
