//! Secrets are used in all that a client does, with all levels of logging on: none is ever
//! printed, in whatever form.

mod find;
mod peek;
#[path = "../support/mod.rs"]
mod support;
mod types;

use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use find::{Log, Prints, Secrets};
use homing::{Acl, Client, Credentials, Error, ErrorCode, Login, Sasl, SessionEnd, SessionState};
use homing_protocol::digest_md5::Challenge;
use homing_testkit::{FakeServer, SaslConfig};
use peek::peek;
use support::script::Script;
use support::{Backend, poll_once, run, until};

const MOMENT: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(feature = "nio")]
#[test]
fn nothing_is_told_on_nio() {
    run(Backend::Nio, nothing_is_told);
}

#[cfg(feature = "tokio")]
#[test]
fn nothing_is_told_on_tokio() {
    run(Backend::Tokio, nothing_is_told);
}

async fn nothing_is_told(backend: Backend) {
    let log = Log::of_this_process();
    let prints = Arc::new(Prints::default());
    let mut secrets = Secrets::default();
    everyday(backend, &prints, &mut secrets).await;
    refused_identities(backend, &prints, &mut secrets).await;
    logins(backend, &prints, &mut secrets).await;
    bad_days(backend, &prints, &mut secrets).await;
    parrots(backend, &prints, &mut secrets).await;

    let (logged, printed) = (log.text(), prints.text());
    for (what, text) in [("logged", &logged), ("printed", &printed)] {
        if let Some(found) = secrets.find(text) {
            panic!("{found}: {what}");
        }
    }
    // It was on, and there was something to be told.
    for part in ["connected to", "suspended", "has expired", "watch event"] {
        assert!(logged.contains(part), "{part:?} was not logged");
    }
    for level in ["TRACE", "INFO", "WARN"] {
        assert!(logged.contains(level), "{level}");
    }
    eprintln!(
        "{backend:?}: {} secrets, {} bytes logged, {} printed",
        secrets.0.len(),
        logged.len(),
        printed.len()
    );
}

/// Identities, lists, and all that can be printed of a client that is well.
async fn everyday(backend: Backend, prints: &Arc<Prints>, secrets: &mut Secrets) {
    const PASSWORD: &str = "canary-of-bob-0xB0B";
    const OTHER: &str = "canary-of-ann-0xA22";
    let server = FakeServer::start();
    secrets.add("Bob's password", PASSWORD.as_bytes());
    secrets.add("Ann's password", OTHER.as_bytes());
    let proof = format!("bob:{PASSWORD}");

    let builder = peek(backend, prints, &server.connect_string());
    prints.debug(&builder);
    let connecting = builder.connect();
    prints.debug(&connecting);
    let client = connecting.await.unwrap();
    prints.debug(&client);
    let credentials = client.credentials().unwrap();
    prints.debug(credentials);
    secrets.add("the session's password", credentials.password());

    let adding = client.add_auth("digest", proof.as_bytes());
    prints.debug(&adding);
    let adding = adding.submit().unwrap();
    prints.debug(&adding);
    adding.await.unwrap();
    let acl = [Acl::digest("bob", PASSWORD), Acl::digest("ann", OTHER)];
    for entry in &acl {
        let hash = entry.id.id.split_once(':').unwrap().1;
        secrets.add("a hash", hash.as_bytes());
        prints.debug(entry);
        prints.debug(&entry.id);
    }
    let creating = client.create("/a", b"1").acl(&acl[..]);
    prints.debug(&creating);
    let creating = creating.submit().unwrap();
    prints.debug(&creating);
    prints.debug(creating.await.unwrap());
    let setting = client.set_acl("/a", &acl[..]);
    prints.debug(&setting);
    prints.debug(setting.await.unwrap());
    prints.debug(client.acl("/a").await.unwrap());
    more_nodes(&client, &acl, prints).await;
    pools(backend, prints, &server, &client).await;
    prints.debug(&server);
    let mut default = peek(backend, prints, &server.connect_string());
    default = default.resume(credentials);
    prints.debug(&default);

    let (node, watcher) = client.get("/a").watch().await.unwrap();
    prints.debug((&node, &watcher));
    client.set("/a", b"2").await.unwrap();
    prints.debug(watcher.await.unwrap());
    let running = client.get("/a").into_future();
    prints.debug(&running);
    prints.debug(running.await.unwrap());
    prints.debug(client.children("/").await.unwrap());
    prints.debug(client.stats());
    prints.debug(client.in_flight());

    // Over a new connection all of it is presented again.
    let mut states = client.state_changes();
    prints.debug(&states);
    server.cut_connections();
    while client.stats().session.connections < 2 {
        let change = states.next().await.unwrap();
        prints.debug(&change);
        prints.display(&change.state);
    }
    client.get("/a").await.unwrap();

    // Somebody else is refused.
    let stranger = peek(backend, prints, &server.connect_string());
    let stranger = stranger.connect().await.unwrap();
    let error = stranger.get("/a").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoAuth));
    prints.error(&error);
    prints.error(&stranger.set_acl("/a", &acl[..]).await.unwrap_err());

    // The session goes from hand to hand.
    let detaching = client.detach();
    prints.debug(&detaching);
    let credentials = detaching.await.unwrap();
    prints.error(&client.get("/a").await.unwrap_err());
    let heir = peek(backend, prints, &server.connect_string()).resume(credentials);
    prints.debug(&heir);
    let heir = heir.connect().await.unwrap();
    prints.debug(heir.credentials());
    let mut wrong = [b'w'; 16];
    wrong[..14].copy_from_slice(b"canary-session");
    secrets.add("a wrong password", &wrong[..14]);
    let wrong = Credentials::new(credentials.session_id(), &wrong).unwrap();
    let wrong = peek(backend, prints, &server.connect_string()).resume(wrong);
    prints.error(&wrong.connect().await.unwrap_err());
    prints.error(&Error::Misuse {
        what: format!("{:?}", Credentials::new(1, &[0; 65]).unwrap_err()),
    });
    let closing = heir.close();
    prints.debug(&closing);
    let closing = closing.submit();
    prints.debug(&closing);
    closing.await.unwrap();
    prints.error(&heir.add_auth("digest", proof.as_bytes()).await.unwrap_err());
}

/// Other requests that carry lists.
async fn more_nodes(client: &Client, acl: &[Acl], prints: &Prints) {
    let all = client
        .transaction()
        .create("/t", b"1")
        .acl(acl)
        .check("/a", -1);
    prints.debug(&all);
    let all = all.submit().unwrap();
    prints.debug(&all);
    prints.debug(all.await.unwrap());
    let refused = client.transaction().create("/t", b"1").acl(acl);
    prints.error(&refused.await.unwrap_err());
    let parents = client.create("/p/q/r", b"1").acl(acl).parents();
    prints.debug(&parents);
    prints.debug(parents.await.unwrap());
}

/// Those who read have no identities of their own, and may have been told a default list.
async fn pools(backend: Backend, prints: &Arc<Prints>, server: &FakeServer, client: &Client) {
    let list = client.acl("/a").await.unwrap().entries;
    let builder = peek(backend, prints, &server.connect_string()).default_acl(&list);
    let builder = builder.pool();
    prints.debug(&builder);
    let pool = builder.start().unwrap();
    let user = pool.user();
    prints.debug((&pool, &user));
    let request = user.acl("/p");
    prints.debug(&request);
    let reading = request.submit().unwrap();
    prints.debug(&reading);
    prints.debug(reading.await.unwrap());
    prints.error(&user.acl("/a").await.unwrap_err());
    prints.debug((&pool, &user, pool.stats()));
    let closing = pool.close();
    prints.debug(&closing);
    let closing = closing.submit();
    prints.debug(&closing);
    closing.await.unwrap();
}

/// A server does not like what it is presented.
async fn refused_identities(backend: Backend, prints: &Arc<Prints>, secrets: &mut Secrets) {
    const PROOF: &[u8] = b"canary-of-nobody-0xCAFE";
    let server = FakeServer::start();
    secrets.add("a proof", PROOF);
    let client = peek(backend, prints, &server.connect_string());
    let client = client.connect().await.unwrap();
    let (_, watcher) = client.exists("/a").watch().await.unwrap();
    prints.error(&client.add_auth("nonsense", PROOF).await.unwrap_err());
    prints.error(&watcher.await.unwrap_err());
    prints.error(&client.get("/").await.unwrap_err());
    let report = client.expiry_report().expect("a report");
    assert!(matches!(report.end, SessionEnd::AuthFailed { .. }));
    prints.debug(&report);
    prints.display(&report);
}

/// SASL, with right and wrong passwords, from the builder and from a provider.
async fn logins(backend: Backend, prints: &Arc<Prints>, secrets: &mut Secrets) {
    const PASSWORD: &str = "canary-of-sasl-0x5A51";
    const WRONG: &str = "canary-that-is-wrong-0x0";
    const DIGEST: &str = "canary-of-a-login-0xD16";
    secrets.add("a password of SASL", PASSWORD.as_bytes());
    secrets.add("a wrong password of SASL", WRONG.as_bytes());
    secrets.add("a password of a login", DIGEST.as_bytes());
    let users = SaslConfig::new().user("bob", PASSWORD);
    prints.debug(&users);
    let server = FakeServer::builder().config(|config| config.sasl = Some(users));
    prints.debug(&server);
    let server = server.start().unwrap();
    let right = Sasl::digest_md5("bob", PASSWORD);
    let login = Login::new()
        .sasl(right.clone())
        .digest("ann", DIGEST)
        .auth("digest", format!("eve:{DIGEST}").as_bytes());
    prints.debug((&right, &login));
    let builder = peek(backend, prints, &server.connect_string());
    let builder = builder.sasl(right.clone()).login(login);
    prints.debug(&builder);
    let client = builder.connect().await.unwrap();
    client
        .create("/mine", b"")
        .acl(Acl::creator_all())
        .await
        .unwrap();
    prints.debug(&client);
    prints.debug(client.stats());
    for entry in client.acl("/mine").await.unwrap().entries {
        if let Some((_, hash)) = entry.id.id.split_once(':') {
            secrets.add("a hash", hash.as_bytes());
        }
    }
    server.cut_connections();
    until("it is back", || client.stats().session.connections > 1);
    client.get("/mine").await.unwrap();

    // What the server is sent is as good as a password to somebody who guesses.
    let wrong = peek(backend, prints, &server.connect_string());
    let wrong = wrong.sasl(Sasl::digest_md5("bob", WRONG));
    prints.error(&wrong.connect().await.unwrap_err());
    server.with_server(|server| server.lie_in_sasl(true));
    let liar = peek(backend, prints, &server.connect_string()).sasl(right.clone());
    let liar = liar.connect_timeout(MOMENT * 10).connect().await;
    prints.error(&liar.unwrap_err());
    server.with_server(|server| server.set_sasl(None));
    let without = peek(backend, prints, &server.connect_string()).sasl(right.clone());
    prints.error(&without.connect().await.unwrap_err());
    let without = peek(backend, prints, &server.connect_string()).sasl(right.optional());
    without.connect().await.unwrap();
}

/// Everything that goes wrong without anybody's fault.
async fn bad_days(backend: Backend, prints: &Arc<Prints>, secrets: &mut Secrets) {
    const PROOF: &[u8] = b"bob:canary-of-bad-days-1";
    let server = FakeServer::start();
    secrets.add("a password", &PROOF[4..]);
    let builder = peek(backend, prints, &server.connect_string());
    let client = builder.requests_in_flight(3).reply_len_max(1_000);
    let client = client.connect().await.unwrap();
    let credentials = client.credentials().unwrap();
    secrets.add("a session's password", credentials.password());
    client.add_auth("digest", PROOF).await.unwrap();
    client.create("/large", &[0; 5_000]).await.unwrap();
    prints.error(&client.get("/large").await.unwrap_err());
    prints.error(&client.get("no path").await.unwrap_err());
    let too_large = vec![0; 2 << 20];
    prints.error(&client.set("/large", &too_large).await.unwrap_err());
    let acl = [Acl::digest("bob", "canary-of-bad-days-2")];
    secrets.add("a password in a list", b"canary-of-bad-days-2");
    prints.error(
        &client
            .create("/none/a", b"")
            .acl(&acl[..])
            .await
            .unwrap_err(),
    );

    server.pause();
    let mut pending: Vec<_> = (0..2).map(|_| client.get("/").submit().unwrap()).collect();
    let adding = client.add_auth("digest", PROOF).submit().unwrap();
    prints.error(&client.get("/").submit().unwrap_err());
    let mut waiting = client.get("/").into_future();
    assert!(poll_once(&mut waiting).is_pending());
    prints.debug(&waiting);
    prints.debug(&client);
    prints.debug(&pending);
    prints.error(&client.get("/").deadline(MOMENT).await.unwrap_err());
    prints.debug(&adding);
    server.cut_connections();
    prints.error(&pending.remove(0).await.unwrap_err());
    server.resume();
    adding.await.unwrap();

    until("it is connected", || client.stats().session.connections > 1);
    assert!(server.expire_session(credentials.session_id()));
    let mut states = client.state_changes();
    while let Some(change) = states.next().await {
        prints.debug(&change);
        prints.display(&change.state);
    }
    assert!(matches!(client.state(), SessionState::Ended(_)));
    let report = client.expiry_report().expect("a report");
    prints.debug(&report);
    prints.display(&report);
    prints.debug(client.failures());

    // Nobody is there at all.
    server.stop();
    let nobody = peek(backend, prints, &server.connect_string()).resume(credentials);
    let nobody = nobody.connect_timeout(MOMENT * 5).connect().await;
    prints.error(&nobody.unwrap_err());
    let misused = peek(backend, prints, "zk1:not-a-port").resume(credentials);
    prints.error(&misused.start().unwrap_err());
}

/// Servers that send back what they were sent, in the wrong places.
async fn parrots(backend: Backend, prints: &Arc<Prints>, secrets: &mut Secrets) {
    const PASSWORD: &[u8; 16] = b"canary-parrot-01";
    const PROOF: &[u8] = b"bob:canary-of-the-parrot";
    secrets.add("what the parrot was told", PASSWORD);
    secrets.add("what the parrot was told", &PROOF[4..]);
    secrets.add("the parrot's password of SASL", b"canary-of-the-parrot");
    let credentials = Credentials::new(support::script::SESSION_ID, PASSWORD).unwrap();
    // The handshake.
    let server = Script::start(|_, mut peer| {
        let asked = peer.read_frame()?;
        peer.send(&support::script::frame(&asked))?;
        peer.send(&asked)?;
        peer.listen_only()
    });
    let client = peek(backend, prints, &server.connect_string()).resume(credentials);
    let client = client.connect_timeout(MOMENT * 10).connect().await;
    prints.error(&client.unwrap_err());
    // The identity, as if it were a reply, an event, or nothing at all.
    for xid in [None, Some(1_i32), Some(-1), Some(-4)] {
        let server = Script::start(move |_, mut peer| {
            peer.shake_hands()?;
            let mut asked = peer.read_frame()?;
            if let Some(xid) = xid {
                asked[..4].copy_from_slice(&xid.to_be_bytes());
            }
            peer.send(&support::script::frame(&asked))?;
            peer.send(&asked)?;
            peer.listen_only()
        });
        let client = peek(backend, prints, &server.connect_string());
        let client = client.presume_expired_after(MOMENT * 5).connect().await;
        let client = client.unwrap();
        let get = client.add_auth("digest", PROOF).submit().map(|_| ());
        get.unwrap();
        let error = client.get("/").deadline(PATIENCE).await.unwrap_err();
        prints.error(&error);
        prints.debug(client.failures());
        prints.debug(client.stats());
        prints.debug(client.state());
    }
    // A token, which proves the password, as the challenge, the last word, or a refusal.
    let response = Arc::new(Mutex::new(Vec::new()));
    for err in [0_i32, -115, -101] {
        let seen = Arc::clone(&response);
        let server = Script::start(move |_, mut peer| {
            peer.shake_hands()?;
            peer.read_frame()?;
            let challenge = Challenge::of_zookeeper("nonce-of-the-parrot").token();
            peer.send(&support::script::frame(&sasl_answer(1, 0, &challenge)))?;
            let asked = peer.read_frame()?;
            let token = asked.get(12..).unwrap_or_default().to_vec();
            seen.lock().unwrap().clone_from(&token);
            peer.send(&support::script::frame(&sasl_answer(2, err, &token)))?;
            peer.listen_only()
        });
        let client = peek(backend, prints, &server.connect_string());
        let client = client.sasl(Sasl::digest_md5("bob", "canary-of-the-parrot"));
        let client = client.connect_timeout(MOMENT * 10).connect().await;
        prints.error(&client.unwrap_err());
        let response = response.lock().unwrap();
        let at = response.windows(9).position(|part| part == b"response=");
        let at = at.expect("a response") + 9;
        secrets.add("what proves a password", &response[at..at + 32]);
    }
}

fn sasl_answer(xid: i32, err: i32, token: &[u8]) -> Vec<u8> {
    let len = i32::try_from(token.len()).unwrap();
    let mut answer = xid.to_be_bytes().to_vec();
    answer.extend_from_slice(&[0; 8]);
    answer.extend_from_slice(&err.to_be_bytes());
    answer.extend_from_slice(&len.to_be_bytes());
    answer.extend_from_slice(token);
    answer
}
