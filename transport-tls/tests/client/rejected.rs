//! Who is not let in, on either side, and what is said about it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use homing::{Error, Failure};
use homing_testkit::FakeServer;
use homing_transport_tls::{ClientAuth, SecureAccept, Tls, TlsServer};

use crate::pki::{Authority, Pair, WRONG, forge, trusting, with_certificate};
use crate::server::{Kind, World};
use crate::{Backend, until};

crate::on_each_backend! {
    wrong_certificates
    another_host
    an_unknown_authority
    a_forged_signature
    a_handshake_that_is_cut
    a_handshake_that_is_never_finished
    an_answer_in_plain_text
    settings_are_missing
    a_certificate_of_another_host_that_is_accepted
    each_server_has_its_own_reason
}

crate::everywhere! {
    a_client_certificate_is_missing
    a_client_certificate_of_an_unknown_authority
    a_plain_server_where_tls_was_asked
    a_tls_server_where_plain_was_asked
}

/// What a client says of this server, once it says anything.
fn failure(backend: Backend, servers: &str, tls: Option<Tls>) -> Failure {
    let builder = backend.builder(servers);
    let builder = match tls {
        Some(tls) => builder.tls(tls),
        None => builder,
    };
    let client = builder.start().unwrap();
    until("an attempt has failed", || {
        Some(client.failures().first()?.failure.clone())
    })
}

fn fake(server: TlsServer) -> FakeServer {
    FakeServer::builder().tls(server).start().unwrap()
}

#[track_caller]
fn expect(backend: Backend, server: &FakeServer, tls: Tls, says: &str) {
    let failure = failure(backend, &server.connect_string(), Some(tls));
    assert_eq!(failure, Failure::Tls(says.into()));
    assert_eq!(failure.to_string(), format!("TLS: {says}"));
    // It has heard nothing that was meant for a server.
    assert_eq!(server.requests_received(), 0);
    assert!(server.with_server(|server| server.sessions().is_empty()));
}

async fn wrong_certificates(backend: Backend) {
    let authority = Authority::new("CA");
    for (_, change, says) in WRONG {
        let server = fake(authority.server(change).acceptor());
        expect(backend, &server, trusting(&authority), says);
    }
}

async fn another_host(backend: Backend) {
    let authority = Authority::new("CA");
    let other = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names = vec![crate::pki::dns("zk2.example")];
    };
    let server = fake(authority.server(other).acceptor());
    let servers = format!("tls://localhost:{}", server.addr().port());
    // A name may have an address of IPv6, where nobody listens.
    let builder = backend.builder(&servers).tls(trusting(&authority));
    let client = builder.start().unwrap();
    let says = "its certificate does not name the host localhost: it is for the name zk2.example";
    until("it is refused", || {
        let failures = client.failures();
        let failure = &failures.first()?.failure;
        (*failure == Failure::Tls(says.into())).then_some(())
    });
}

async fn an_unknown_authority(backend: Backend) {
    let server = fake(Authority::new("CA").server(|_| {}).acceptor());
    let tls = trusting(&Authority::new("another CA"));
    let says = "its certificate is not signed by an authority that is trusted here";
    expect(backend, &server, tls, says);
}

async fn a_forged_signature(backend: Backend) {
    let authority = Authority::new("CA");
    let server = fake(forge(&authority.server(|_| {})).acceptor());
    let says = "the signature of its certificate is wrong";
    expect(backend, &server, trusting(&authority), says);
}

async fn a_client_certificate_is_missing(backend: Backend, kind: Kind) {
    let world = World::new(kind, ClientAuth::Need);
    let failure = failure(backend, &world.connect_string(), Some(world.tls()));
    let text = failure.to_string();
    let says = "TLS: it asks for a client certificate, and none is set";
    assert!(text.starts_with(says), "{text}");
}

async fn a_client_certificate_of_an_unknown_authority(backend: Backend, kind: Kind) {
    let world = World::new(kind, ClientAuth::Need);
    let stranger = Authority::new("another CA").client("bob");
    let tls = with_certificate(world.tls(), &stranger);
    let failure = failure(backend, &world.connect_string(), Some(tls));
    let text = failure.to_string();
    // What a server says about it is its own affair.
    assert!(text.starts_with("TLS: it "), "{text}");
    assert!(text.contains("our certificate"), "{text}");
}

async fn a_plain_server_where_tls_was_asked(backend: Backend, kind: Kind) {
    let plain = FakeServer::start();
    let world = World::new(kind, ClientAuth::None);
    let address = world.plain().unwrap_or_else(|| plain.connect_string());
    let servers = format!("tls://{address}");
    let failure = failure(backend, &servers, Some(world.tls()));
    let text = failure.to_string();
    assert!(matches!(failure, Failure::Tls(_)), "{text}");
    assert!(
        text.ends_with("without an answer to the handshake: it may not speak TLS on this port"),
        "{text}"
    );
}

async fn a_tls_server_where_plain_was_asked(backend: Backend, kind: Kind) {
    let world = World::new(kind, ClientAuth::None);
    let servers = world.connect_string().replace("tls://", "");
    let client = backend.builder(&servers).start().unwrap();
    until("it is said", || {
        let failures = client.failures();
        let text = failures.first()?.to_string();
        (text.contains("TLS") && text.contains("`tls://`")).then_some(())
    });
}

/// A server that says this much of its handshake, and then closes or waits.
fn cut_at(pair: &Pair, len: usize, waits: bool) -> String {
    let acceptor = pair.acceptor();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut layer = acceptor.accept().unwrap();
            let (mut buffer, mut plain) = ([0; 4096], BytesMut::new());
            while layer.pending().is_empty() {
                match stream.read(&mut buffer) {
                    Ok(count @ 1..) => layer.receive(&buffer[..count], &mut plain).unwrap(),
                    _ => break,
                }
            }
            let answer = layer.pending();
            let _ = stream.write_all(&answer[..len.min(answer.len())]);
            if !waits {
                let _ = stream.shutdown(Shutdown::Write);
            }
            // Until the client goes.
            while let Ok(1..) = stream.read(&mut buffer) {}
        }
    });
    format!("tls://{address}")
}

async fn a_handshake_that_is_cut(backend: Backend) {
    let authority = Authority::new("CA");
    let pair = authority.server(|_| {});
    for len in [1, 3, 5, 50, 128, 200, 600] {
        let failure = failure(
            backend,
            &cut_at(&pair, len, false),
            Some(trusting(&authority)),
        );
        let says = "it closed the connection in the middle of the handshake";
        assert_eq!(failure, Failure::Tls(says.into()), "{len}");
    }
}

async fn a_handshake_that_is_never_finished(backend: Backend) {
    let authority = Authority::new("CA");
    let pair = authority.server(|_| {});
    for len in [0, 128] {
        let builder = backend.builder(&cut_at(&pair, len, true));
        let builder = builder.tls(trusting(&authority));
        let builder = builder.connect_timeout(Duration::from_millis(200));
        let client = builder.start().unwrap();
        until("it is given up", || {
            let failures = client.failures();
            (failures.first()?.failure == Failure::TlsTimedOut).then_some(())
        });
    }
}

async fn an_answer_in_plain_text(backend: Backend) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let servers = format!("tls://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            while let Ok(1..) = stream.read(&mut buffer) {}
        }
    });
    let tls = trusting(&Authority::new("CA"));
    let failure = failure(backend, &servers, Some(tls));
    assert_eq!(failure, Failure::Tls("it does not answer in TLS".into()));
}

async fn settings_are_missing(backend: Backend) {
    let error = backend.builder("zk1,tls://zk2:2281").start().unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }));
    assert_eq!(
        error.to_string(),
        "the connect string has tls://zk2:2281, and TLS is not set up: say whom to trust: `Builder::tls(Tls::new().ca_file(…))`"
    );
    let failure = failure(backend, "tls://127.0.0.1:1", Some(Tls::new()));
    assert_eq!(
        failure.to_string(),
        "TLS: no certificate authority is trusted: set one (`ca_file`)"
    );
}

async fn a_certificate_of_another_host_that_is_accepted(backend: Backend) {
    let authority = Authority::new("CA");
    let (_, change, _) = WRONG[0];
    let server = fake(authority.server(change).acceptor());
    let tls = trusting(&authority).dangerous_accept_certificates_of_other_hosts();
    let builder = backend.builder(&server.connect_string()).tls(tls);
    let client = builder.connect().await.unwrap();
    client.close().await.unwrap();
}

async fn each_server_has_its_own_reason(backend: Backend) {
    let authority = Authority::new("CA");
    let expired = fake(authority.server(WRONG[4].1).acceptor());
    let plain = FakeServer::start();
    let servers = format!("{},tls://{}", expired.connect_string(), plain.addr());
    let builder = backend.builder(&servers).tls(trusting(&authority));
    let client = builder.start().unwrap();
    let expected = [
        format!(
            "{}: TLS: its certificate has expired",
            expired.connect_string()
        ),
        format!("tls://{}: TLS: it ", plain.addr()),
    ];
    until("both are named", || {
        let failures = client.failures();
        let says = |start: &String| {
            let mut texts = failures.iter().map(ToString::to_string);
            texts.any(|text| text.starts_with(start))
        };
        expected.iter().all(says).then_some(())
    });
}
