//! Secrets are used in all that a client does, with all levels of logging on: none is ever
//! printed, in whatever form.

mod support;

use std::fmt::{Debug, Display};
use std::future::IntoFuture;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use homing::{
    Acl, Client, Credentials, Error, ErrorCode, Login, Sasl, SessionEnd, SessionState, StartError,
    Transport,
};
use homing_protocol::digest_md5::Challenge;
use homing_protocol::{
    ConnectRequest, ConnectResponse, CreateMode, Multi, MultiOp, Reader, Record, SessionPassword,
    incoming, reply,
};
use homing_session::{Authentication, Authentications, Config, Reply, Secret, Session};
use homing_testkit::{FakeServer, SaslConfig};
use homing_transport::{Action, Down, Driver, Engine, Outgoing, Slot};
use support::script::Script;
use support::{Backend, poll_once, run};
use tracing_subscriber::filter::LevelFilter;

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

/// All that is logged in this process, at all levels.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn of_this_process() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let writer = log.clone();
            tracing_subscriber::fmt()
                .with_max_level(LevelFilter::TRACE)
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .init();
            log
        })
    }

    fn text(&self) -> String {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    }
}

/// All that was printed by hand.
#[derive(Default)]
struct Prints(Mutex<String>);

impl Prints {
    fn debug(&self, thing: impl Debug) {
        self.add(&format!("{thing:?}\n{thing:#?}\n"));
    }

    fn error(&self, error: &Error) {
        self.debug(error);
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            self.add(&format!("{error}\n{error:?}\n"));
            cause = error.source();
        }
    }

    fn display(&self, thing: impl Display) {
        self.add(&format!("{thing}\n{thing:#}\n"));
    }

    fn add(&self, text: &str) {
        let mut prints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prints.push_str(text);
    }

    fn text(&self) -> String {
        let prints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prints.clone()
    }
}

/// What must not be found.
#[derive(Default)]
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    fn add(&mut self, what: &str, secret: &[u8]) {
        // Long enough not to be found by chance.
        assert!(secret.len() >= 12, "{what}");
        self.0.push((what.into(), secret.to_vec()));
    }

    /// The first that is found, and in which form.
    fn find(&self, text: &str) -> Option<String> {
        // Lists may stand on many lines.
        let words: Vec<_> = text.split_whitespace().collect();
        let text = &format!("{text}\n{}", words.join(" "));
        let lower = text.to_lowercase();
        for (what, secret) in &self.0 {
            // A part is too much already.
            for part in [secret, &secret[..12], &secret[secret.len() - 12..]] {
                for (form, needle) in forms(part) {
                    let is_found = match form {
                        "hexadecimal" => lower.contains(&needle),
                        _ => text.contains(&needle),
                    };
                    if is_found {
                        return Some(format!("{what}, {form}"));
                    }
                }
            }
        }
        None
    }
}

fn forms(secret: &[u8]) -> Vec<(&'static str, String)> {
    let join = |separator: &str, show: fn(&u8) -> String| {
        let shown: Vec<_> = secret.iter().map(show).collect();
        shown.join(separator)
    };
    let mut forms = vec![
        ("as it is", String::from_utf8_lossy(secret).into_owned()),
        ("escaped", secret.escape_ascii().to_string()),
        ("hexadecimal", join("", |byte| format!("{byte:02x}"))),
        ("hexadecimal", join(" ", |byte| format!("{byte:02x}"))),
        ("hexadecimal", join(", ", |byte| format!("{byte:02x}"))),
        ("hexadecimal", join(", ", |byte| format!("0x{byte:02x}"))),
        ("decimal", join(", ", u8::to_string)),
    ];
    // Wherever it begins in what was encoded.
    for before in 0..3 {
        let padded = [&vec![0; before][..], secret].concat();
        let whole = padded.len() / 3 * 3;
        let encoded = base64(&padded[..whole]);
        forms.push(("base64", encoded[if before > 0 { 4 } else { 0 }..].into()));
    }
    forms
}

/// Of a multiple of three bytes.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(ALPHABET[(bits >> shift & 63) as usize]));
        }
    }
    text
}

#[test]
fn a_secret_is_found_in_every_form() {
    let mut secrets = Secrets::default();
    secrets.add("it", b"\x00\xffthe secret\"\n of it");
    let secret = &secrets.0[0].1;
    assert_eq!(secrets.find("nothing of the kind"), None);
    for shown in [
        format!("{secret:?}"),
        format!("{secret:#?}"),
        format!("{secret:02x?}"),
        format!("<{}>", secret.escape_ascii()),
        format!("{:?}", Bytes::from(secret.clone())),
        String::from_utf8_lossy(secret).into_owned(),
        base64(&[b"bob:", &secret[..], b"12"].concat()[..24]),
        base64(&[b"bob:1", &secret[..], b"12"].concat()[..24]),
        base64(&[b"bob:12", &secret[..], b"12"].concat()[..24]),
    ] {
        assert!(secrets.find(&shown).is_some(), "{shown}");
    }
}

/// Looks at what a transport is given to drive.
#[derive(Debug, Clone)]
struct Peek<T> {
    inner: T,
    prints: Arc<Prints>,
}

impl<T: Transport> Transport for Peek<T> {
    fn start(&self, engine: Box<dyn Engine>) -> Result<Arc<dyn Driver>, StartError> {
        self.prints.debug(&engine);
        self.inner.start(Box::new(Watched {
            engine,
            prints: Arc::clone(&self.prints),
        }))
    }
}

/// Looks at a session while it lives: behind what has arrived, before what leaves.
#[derive(Debug)]
struct Watched {
    engine: Box<dyn Engine>,
    prints: Arc<Prints>,
}

impl Engine for Watched {
    fn handle_turn(&mut self, now: Instant) {
        self.engine.handle_turn(now);
    }

    fn handle_sleep(&mut self, slept: Duration) {
        self.engine.handle_sleep(slept);
    }

    fn handle_resolved(&mut self, now: Instant, addresses: io::Result<Vec<SocketAddr>>) {
        self.engine.handle_resolved(now, addresses);
    }

    fn handle_connected(&mut self, now: Instant) {
        self.engine.handle_connected(now);
    }

    fn handle_bytes(&mut self, now: Instant, input: &mut BytesMut) {
        self.engine.handle_bytes(now, input);
        self.prints.add(&format!("{:?}\n", self.engine));
    }

    fn handle_disconnected(&mut self, now: Instant, unsent: Outgoing, why: Down) {
        self.prints.add(&format!("{unsent:?} {why:?}\n"));
        self.engine.handle_disconnected(now, unsent, why);
        self.prints.add(&format!("{:?}\n", self.engine));
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.engine.poll_action()
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outgoing) {
        self.engine.poll_transmit(now, out);
        if !out.is_empty() {
            self.prints.add(&format!("{out:?}\n"));
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    fn take_wakers(&mut self, into: &mut Vec<Waker>) {
        self.engine.take_wakers(into);
    }

    fn park(&mut self) -> bool {
        self.engine.park()
    }
}

impl Debug for Prints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prints")
    }
}

fn peek(backend: Backend, prints: &Arc<Prints>, servers: &str) -> homing::Builder {
    let builder = Client::builder(servers);
    let prints = Arc::clone(prints);
    match backend {
        #[cfg(feature = "nio")]
        Backend::Nio => builder.transport(Peek {
            inner: homing::Nio::new(),
            prints,
        }),
        #[cfg(feature = "tokio")]
        Backend::Tokio => builder.transport(Peek {
            inner: homing::Tokio::new(),
            prints,
        }),
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        std::thread::yield_now();
    }
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

/// All public types of the lower floors that can have a secret in them.
#[test]
fn no_type_shows_its_secret() {
    const PASSWORD: &[u8; 16] = b"canary-session-1";
    const PROOF: &[u8] = b"bob:canary-of-a-type";
    let prints = Prints::default();
    let mut secrets = Secrets::default();
    let acl = [Acl::digest("bob", "canary-of-a-type")];
    let hash = acl[0].id.id.split_once(':').unwrap().1;
    secrets.add("a session's password", PASSWORD);
    secrets.add("a password", &PROOF[4..]);
    secrets.add("a hash", hash.as_bytes());

    // The wire.
    let password = SessionPassword::new(PASSWORD).unwrap();
    let request = ConnectRequest {
        last_zxid_seen: 0,
        timeout_ms: 1,
        session_id: 1,
        password,
        read_only: None,
    };
    let response = ConnectResponse {
        timeout_ms: 1,
        session_id: 1,
        password,
        read_only: None,
    };
    prints.debug((&password, &request, &response));
    let frame = encoded(&request);
    prints.debug(Reader::new(&frame));
    let create = homing_protocol::Create {
        path: "/a".into(),
        data: b"",
        acl: &acl,
        mode: CreateMode::Persistent,
    };
    let set = homing_protocol::SetAcl {
        path: "/a".into(),
        acl: &acl,
        version: 1,
    };
    prints.debug((&create, &set, &acl));
    prints.debug(MultiOp::Create(homing_protocol::op::CREATE, create));
    prints.debug(Multi([MultiOp::Create(1, create)].into_iter()));
    let (create, set) = (encoded(&create), encoded(&set));
    let mut reader = Reader::new(&create);
    prints.debug(incoming::Create::read(&mut reader).unwrap());
    prints.debug(reader);
    prints.debug(incoming::SetAcl::read(&mut Reader::new(&set)).unwrap());
    let auth = [&[0; 4][..], b"\0\0\0\x06digest", b"\0\0\0\x14", PROOF].concat();
    let auth = Bytes::from(auth);
    prints.debug(incoming::Auth::read(&mut Reader::new(&auth)).unwrap());
    let results = [&[0; 16][..], PROOF].concat();
    prints.debug(reply::multi(&Bytes::from(results)).unwrap());

    // The session.
    let credentials = Credentials::new(1, PASSWORD).unwrap();
    let authentication = Authentication {
        scheme: "digest".into(),
        proof: Secret::new(PROOF),
    };
    let authentications = Authentications::default();
    authentications.add(Arc::new(authentication.clone()));
    let mut config = Config::new(Vec::new());
    config.resume = Some(credentials);
    prints.debug((&credentials, &authentication, &authentications, &config));
    prints.debug((Secret::new(PROOF), Session::new(config)));
    let reply = Reply {
        zxid: 1,
        err: 0,
        frame: create.clone(),
    };
    let (slot, ticket) = Slot::new();
    drop(slot.fill(reply.clone()));
    prints.debug((&reply, &slot, &ticket));

    // The transport.
    let mut out = Outgoing::new();
    out.put_control(|bytes| authentication.put_frame(bytes));
    out.put_control(|bytes| request.encode(bytes));
    out.advance(5);
    prints.debug(&out);
    if let Some(found) = secrets.find(&prints.text()) {
        panic!("{found}: in {}", prints.text());
    }
}

fn encoded(record: &impl Record) -> Bytes {
    let mut bytes = BytesMut::new();
    record.encode(&mut bytes);
    bytes.freeze()
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
