//! Servers from somewhere else: a resolver of the user's own, and DNS with a list of them.

#[macro_use]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use homing::{
    BoxError, Client, ConnectString, Error, Failure, Resolver, Server, SessionEnd, SessionState,
    SrvResolver, async_trait,
};
use homing_testkit::FakeServer;
use support::{Backend, until};

const PATIENCE: Duration = Duration::from_secs(60);

on_each_backend! {
    names_of_a_users_own
    a_list_of_a_users_own_changes
    a_resolver_that_fails_is_asked_again
    servers_that_dns_lists
    a_long_list_comes_over_tcp
    answers_of_others_are_passed_over
    a_list_that_changes_is_followed
    what_dns_does_not_have
    the_next_name_server_is_asked
}

/// Knows what it was told.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    addresses: Vec<SocketAddr>,
    servers: Option<Vec<Server>>,
    asked: Vec<String>,
}

#[async_trait]
impl Resolver for Book {
    async fn addresses(&self, host: &str, port: u16) -> Result<Option<Vec<SocketAddr>>, BoxError> {
        let mut pages = self.0.lock().unwrap();
        pages.asked.push(format!("{host}:{port}"));
        if pages.addresses.is_empty() {
            return Err("nobody of that name".into());
        }
        Ok(Some(pages.addresses.clone()))
    }

    async fn servers(&self) -> Result<Option<Vec<Server>>, BoxError> {
        Ok(self.0.lock().unwrap().servers.clone())
    }
}

fn servers(list: &str) -> Vec<Server> {
    list.parse::<ConnectString>().unwrap().servers
}

async fn names_of_a_users_own(backend: Backend) {
    let server = FakeServer::start();
    let book = Book::default();
    book.0.lock().unwrap().addresses = vec![server.addr()];
    let builder = backend.builder("zk1.nowhere:7").resolver(book.clone());
    let client = builder.connect().await.unwrap();
    client.get("/").await.unwrap();
    assert_eq!(book.0.lock().unwrap().asked, ["zk1.nowhere:7"]);
}

async fn a_list_of_a_users_own_changes(backend: Backend) {
    let (first, second) = (FakeServer::start(), FakeServer::start());
    // It knows all that the client has seen, but not its session.
    second.with_server(|server| server.set_last_zxid(100));
    let book = Book::default();
    let builder = backend.builder(&first.connect_string());
    let builder = builder.resolver(book.clone()).session_timeout(PATIENCE);
    let client = builder.start().unwrap();
    client.get("/").deadline(PATIENCE).await.unwrap();
    book.0.lock().unwrap().servers = Some(servers(&second.connect_string()));
    first.stop();
    until("the second one is asked", || {
        matches!(
            client.state(),
            SessionState::Ended(SessionEnd::Expired { .. })
        )
    });
}

async fn a_resolver_that_fails_is_asked_again(backend: Backend) {
    let server = FakeServer::start();
    let book = Book::default();
    let builder = backend.builder("zk1.nowhere").resolver(book.clone());
    let brief = builder.clone().connect_timeout(Duration::from_millis(300));
    let error = brief.connect().await.unwrap_err();
    let Error::Connect { attempts, .. } = &error else {
        panic!("{error}");
    };
    let failure = Failure::Resolve("nobody of that name".into());
    assert_eq!(attempts[0].failure, failure);
    let client = builder.start().unwrap();
    until("it has failed", || !client.failures().is_empty());
    book.0.lock().unwrap().addresses = vec![server.addr()];
    client.get("/").deadline(PATIENCE).await.unwrap();
}

/// A name server, with one thread for UDP and one for TCP.
struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    /// Ports on 127.0.0.1, each of a host of its own.
    services: Vec<u16>,
    /// Answers do not fit into UDP.
    is_long: bool,
    /// Others answer first.
    is_spoofed: bool,
    code: u8,
    asked: Vec<&'static str>,
}

const NAME: &str = "_zookeeper._tcp.example.org";

impl NameServer {
    fn start(services: &[u16]) -> Self {
        // The port has to be free for both.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone {
            services: services.into(),
            ..Zone::default()
        }));
        let (for_udp, for_tcp) = (Arc::clone(&zone), Arc::clone(&zone));
        // They end with the process.
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok((len, from)) = udp.recv_from(&mut buffer) {
                for answer in for_udp.lock().unwrap().answer(&buffer[..len], "udp") {
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut len = [0; 2];
                let _ = stream.read_exact(&mut len);
                let mut question = vec![0; u16::from_be_bytes(len).into()];
                let _ = stream.read_exact(&mut question);
                let mut answers = for_tcp.lock().unwrap().answer(&question, "tcp");
                let answer = answers.pop().unwrap();
                let len = u16::try_from(answer.len()).unwrap().to_be_bytes();
                let _ = stream.write_all(&len);
                let _ = stream.write_all(&answer);
            }
        });
        Self { address, zone }
    }

    fn resolver(&self) -> SrvResolver {
        SrvResolver::new(NAME).nameservers(&[self.address])
    }

    fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.zone.lock().unwrap());
    }
}

impl Zone {
    /// What is sent in answer to a question; the last one is the answer.
    fn answer(&mut self, question: &[u8], how: &'static str) -> Vec<Vec<u8>> {
        let kind = question[question.len() - 3];
        self.asked.push(how);
        let records = match kind {
            33 => self.services.iter().map(|port| service(*port)).collect(),
            1 => vec![record(1, &[127, 0, 0, 1])],
            _ => vec![],
        };
        let mut answer = question.to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80 | self.code]);
        if self.code == 0 {
            answer[7] = u8::try_from(records.len()).unwrap();
        }
        if self.is_long && how == "udp" {
            answer[2] |= 2;
            answer[7] = 0;
        } else if self.code == 0 {
            answer.extend(records.concat());
        }
        let mut answers = vec![];
        if self.is_spoofed {
            let mut of_other = answer.clone();
            of_other[0] ^= 1;
            let mut other_name = answer.clone();
            other_name[13] = b'x';
            answers.extend([
                b"nonsense".to_vec(),
                of_other,
                other_name,
                question.to_vec(),
            ]);
        }
        answers.push(answer);
        answers
    }
}

fn record(kind: u8, data: &[u8]) -> Vec<u8> {
    let len = u8::try_from(data.len()).unwrap();
    let head = [0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, len];
    [&head[..], data].concat()
}

fn service(port: u16) -> Vec<u8> {
    let host = format!("zk{port}");
    let len = u8::try_from(host.len()).unwrap();
    // Behind the host's own label there is the domain of the question.
    let data = [
        &[0, 0, 0, 0][..],
        &port.to_be_bytes(),
        &[len],
        host.as_bytes(),
        &[0xc0, 12 + 16],
    ];
    record(33, &data.concat())
}

fn builder(backend: Backend, dns: &NameServer) -> homing::Builder {
    let builder = backend.builder("unused.nowhere").resolver(dns.resolver());
    builder.connect_timeout(PATIENCE).session_timeout(PATIENCE)
}

async fn servers_that_dns_lists(backend: Backend) {
    let server = FakeServer::start();
    let dns = NameServer::start(&[server.addr().port()]);
    let client = builder(backend, &dns).connect().await.unwrap();
    let SessionState::Connected(connection) = client.state() else {
        panic!("{}", client.state());
    };
    assert_eq!(connection.server, server.addr());
}

async fn a_long_list_comes_over_tcp(backend: Backend) {
    let server = FakeServer::start();
    let dns = NameServer::start(&[server.addr().port(); 60]);
    dns.change(|zone| zone.is_long = true);
    builder(backend, &dns).connect().await.unwrap();
    assert!(dns.zone.lock().unwrap().asked.contains(&"tcp"));
}

async fn answers_of_others_are_passed_over(backend: Backend) {
    let server = FakeServer::start();
    let dns = NameServer::start(&[server.addr().port()]);
    dns.change(|zone| zone.is_spoofed = true);
    builder(backend, &dns).connect().await.unwrap();
}

async fn a_list_that_changes_is_followed(backend: Backend) {
    let (first, second) = (FakeServer::start(), FakeServer::start());
    // It knows all that the client has seen, but not its session.
    second.with_server(|server| server.set_last_zxid(100));
    let dns = NameServer::start(&[first.addr().port()]);
    let client = builder(backend, &dns).connect().await.unwrap();
    dns.change(|zone| zone.services = vec![second.addr().port()]);
    first.stop();
    until("the second one is asked", || {
        matches!(
            client.state(),
            SessionState::Ended(SessionEnd::Expired { .. })
        )
    });
}

async fn what_dns_does_not_have(backend: Backend) {
    let dns = NameServer::start(&[]);
    let rows = [
        (0, "lists no servers"),
        (3, "there is no name"),
        (5, "with code 5"),
    ];
    for (code, text) in rows {
        dns.change(|zone| zone.code = code);
        let brief = Duration::from_millis(500);
        let builder = backend.builder("unused.nowhere").resolver(dns.resolver());
        let client = builder.connect_timeout(brief).start().unwrap();
        until(text, || {
            let failures = client.failures();
            failures.iter().any(
                |attempt| matches!(&attempt.failure, Failure::Servers(why) if why.contains(text)),
            )
        });
    }
}

async fn the_next_name_server_is_asked(backend: Backend) {
    let server = FakeServer::start();
    let dns = NameServer::start(&[server.addr().port()]);
    // It is there, and says nothing.
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nameservers = [mute.local_addr().unwrap(), dns.address];
    let resolver = SrvResolver::new(NAME).nameservers(&nameservers);
    let builder = backend.builder("unused.nowhere").resolver(resolver);
    builder.connect_timeout(PATIENCE).connect().await.unwrap();
}

#[test]
fn one_resolver_is_enough() {
    let builder = Client::builder("dns-srv://_zookeeper._tcp.example.org/app");
    let error = builder.resolver(Book::default()).start().unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
    let error = Client::builder("dns-srv://a,b").start().unwrap_err();
    assert!(matches!(error, Error::ConnectString(_)), "{error}");
}
