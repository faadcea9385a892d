//! Both ends of TLS, with nothing between them but what the test puts there.

mod pki;

use bytes::BytesMut;
use homing_transport_tls::{
    ClientAuth, Secure, SecureAccept, SecureError, SecureStream, Tls, TlsServer,
};
use pki::{Authority, Pair, WRONG, forge, trusting, with_certificate};

/// Two ends, and what has arrived at each.
struct Ends {
    client: Box<dyn SecureStream>,
    server: Box<dyn SecureStream>,
    at_client: BytesMut,
    at_server: BytesMut,
}

impl Ends {
    fn new(client: &Tls, host: &str, server: &TlsServer) -> Self {
        Self {
            client: client.begin(host).unwrap(),
            server: server.accept().unwrap(),
            at_client: BytesMut::new(),
            at_server: BytesMut::new(),
        }
    }

    /// Carries bytes in pieces until nobody has any. Errors are the client's and the server's.
    fn carry(&mut self, piece_len: usize) -> (Option<SecureError>, Option<SecureError>) {
        let (mut client_error, mut server_error) = (None, None);
        loop {
            let up = piece(&mut *self.client, piece_len);
            let down = piece(&mut *self.server, piece_len);
            if up.is_empty() && down.is_empty() {
                return (client_error, server_error);
            }
            if server_error.is_none() {
                server_error = self.server.receive(&up, &mut self.at_server).err();
            }
            if client_error.is_none() {
                client_error = self.client.receive(&down, &mut self.at_client).err();
            }
        }
    }

    fn open(client: &Tls, server: &TlsServer) -> Self {
        let mut ends = Self::new(client, "127.0.0.1", server);
        assert_eq!(ends.carry(usize::MAX), (None, None));
        assert!(ends.client.is_open() && ends.server.is_open());
        ends
    }
}

fn piece(from: &mut dyn SecureStream, len: usize) -> Vec<u8> {
    let len = from.pending().len().min(len);
    let piece = from.pending()[..len].to_vec();
    from.advance(len);
    piece
}

/// What a client says of this server, and the server of it.
fn refusal(client: &Tls, host: &str, server: &TlsServer) -> (String, String) {
    let mut ends = Ends::new(client, host, server);
    let (client, server) = ends.carry(usize::MAX);
    let text = |error: Option<SecureError>| error.map(|it| it.to_string()).unwrap_or_default();
    (text(client), text(server))
}

fn good() -> (Authority, Pair) {
    let authority = Authority::new("CA");
    let pair = authority.server(|_| {});
    (authority, pair)
}

#[test]
fn bytes_pass_in_pieces_of_any_length() {
    let (authority, pair) = good();
    for piece_len in [1, 2, 7, 1_000, usize::MAX] {
        let server = pair.acceptor();
        let mut ends = Ends::new(&trusting(&authority), "localhost", &server);
        assert_eq!(ends.client.send(b"too early").unwrap(), 0);
        assert_eq!(ends.carry(piece_len), (None, None));
        assert_eq!(ends.client.send(b"question").unwrap(), 8);
        assert_eq!(ends.client.send(b"another").unwrap(), 0, "it is busy");
        assert_eq!(ends.server.send(b"answer").unwrap(), 6);
        assert_eq!(ends.carry(piece_len), (None, None));
        assert_eq!(&ends.at_server[..], b"question");
        assert_eq!(&ends.at_client[..], b"answer");
    }
}

#[test]
fn much_passes_a_part_at_a_time() {
    let (authority, pair) = good();
    let mut ends = Ends::open(&trusting(&authority), &pair.acceptor());
    let data: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let taken = ends.client.send(rest).unwrap();
        assert!((1..=64 << 10).contains(&taken), "{taken}");
        rest = &rest[taken..];
        assert_eq!(ends.carry(usize::MAX), (None, None));
    }
    assert!(ends.at_server[..] == data[..]);
}

#[test]
fn a_server_with_a_wrong_certificate_is_refused_for_that_reason() {
    let authority = Authority::new("CA");
    for (name, change, says) in WRONG {
        let pair = authority.server(change);
        let (client, server) = refusal(&trusting(&authority), "127.0.0.1", &pair.acceptor());
        assert_eq!(client, *says, "{name}");
        assert_ne!(server, "", "{name}: the server is told");
    }
}

#[test]
fn a_host_is_verified_as_it_was_written() {
    let (authority, pair) = good();
    let tls = trusting(&authority);
    for host in ["localhost", "LOCALHOST", "127.0.0.1"] {
        assert_eq!(refusal(&tls, host, &pair.acceptor()).0, "", "{host}");
    }
    let (client, _) = refusal(&tls, "zk1", &pair.acceptor());
    assert_eq!(
        client,
        "its certificate does not name the host zk1: it is for the name localhost, the address 127.0.0.1"
    );
    let (client, _) = refusal(&tls, "::1", &pair.acceptor());
    assert!(client.contains("does not name the address ::1"), "{client}");
    let error = tls.begin("not a name").unwrap_err().to_string();
    assert_eq!(
        error,
        "\"not a name\" is no name that a certificate can be for"
    );
}

#[test]
fn an_unknown_authority_and_a_forged_signature_are_refused() {
    let (authority, pair) = good();
    // Of the same name, with another key.
    for other in ["another CA", "CA"] {
        let (client, _) = refusal(
            &trusting(&Authority::new(other)),
            "localhost",
            &pair.acceptor(),
        );
        let expected = match other {
            "CA" => "the signature of its certificate is wrong",
            _ => "its certificate is not signed by an authority that is trusted here",
        };
        assert_eq!(client, expected);
    }
    let forged = forge(&pair);
    assert_ne!(forged.certificate, pair.certificate);
    let (client, _) = refusal(&trusting(&authority), "localhost", &forged.acceptor());
    assert_eq!(client, "the signature of its certificate is wrong");
}

#[test]
fn a_certificate_of_a_dangerous_clients_server_is_verified_but_for_the_host() {
    let authority = Authority::new("CA");
    let tls = trusting(&authority).dangerous_accept_certificates_of_other_hosts();
    for (name, change, says) in WRONG {
        let pair = authority.server(change);
        let (client, _) = refusal(&tls, "127.0.0.1", &pair.acceptor());
        let expected = match says.contains("does not name") {
            true => "",
            false => says,
        };
        assert_eq!(client, expected, "{name}");
    }
    let stranger = Authority::new("another CA").server(|_| {});
    let (client, _) = refusal(&tls, "127.0.0.1", &stranger.acceptor());
    assert!(client.contains("not signed by an authority"), "{client}");
    let forged = forge(&authority.server(|_| {}));
    let (client, _) = refusal(&tls, "127.0.0.1", &forged.acceptor());
    assert!(client.contains("signature"), "{client}");
}

#[test]
fn clients_show_a_certificate_where_they_are_asked() {
    let (authority, pair) = good();
    let bob = authority.client("bob");
    let known = with_certificate(trusting(&authority), &bob);
    for mode in [ClientAuth::Want, ClientAuth::Need] {
        let server = pair.acceptor_asking(mode, &authority);
        let ends = Ends::open(&known, &server);
        assert!(ends.server.peer_certificate().is_some());
    }
    let ends = Ends::open(&known, &pair.acceptor());
    assert!(ends.server.peer_certificate().is_none());
    let wanting = pair.acceptor_asking(ClientAuth::Want, &authority);
    let ends = Ends::open(&trusting(&authority), &wanting);
    assert!(ends.server.peer_certificate().is_none());

    let needing = pair.acceptor_asking(ClientAuth::Need, &authority);
    let (client, server) = refusal(&trusting(&authority), "localhost", &needing);
    assert_eq!(client, "it asks for a client certificate, and none is set");
    assert_eq!(server, "it has shown no certificate");
    let stranger = Authority::new("another CA").client("bob");
    let tls = with_certificate(trusting(&authority), &stranger);
    let (client, _) = refusal(&tls, "localhost", &needing);
    assert_eq!(
        client,
        "it does not trust the authority that signed our certificate"
    );
    // One that is made for servers.
    let tls = with_certificate(trusting(&authority), &pair);
    let (client, server) = refusal(&tls, "localhost", &needing);
    assert_eq!(
        server,
        "its certificate is not made for clients (extended key usage)"
    );
    assert!(client.contains("certificate"), "{client}");
}

#[test]
fn an_end_tells_whether_it_was_meant() {
    let (authority, pair) = good();
    let mut ends = Ends::open(&trusting(&authority), &pair.acceptor());
    ends.server.send(b"last").unwrap();
    ends.carry(usize::MAX);
    ends.server.close();
    assert_eq!(ends.carry(usize::MAX), (None, None));
    assert!(ends.client.is_ended());
    assert_eq!(&ends.at_client[..], b"last");
    // What comes behind it is not heard.
    ends.client.receive(b"\0\0\0", &mut ends.at_client).unwrap();
    assert_eq!(&ends.at_client[..], b"last");
    // A cut means no more than the end of a stream without TLS.
    let ends = Ends::open(&trusting(&authority), &pair.acceptor());
    assert!(!ends.client.is_ended());
    assert_eq!(ends.client.ended(None), None);
}

#[test]
fn an_end_in_the_handshake_says_what_it_may_mean() {
    let (authority, pair) = good();
    let silent = trusting(&authority).begin("localhost").unwrap();
    assert_eq!(
        silent.ended(None).unwrap().to_string(),
        "it closed the connection without an answer to the handshake: it may not speak TLS on this port"
    );
    let reset = std::io::ErrorKind::ConnectionReset.into();
    assert_eq!(
        silent.ended(Some(&reset)).unwrap().to_string(),
        "it broke the connection off (connection reset) without an answer to the handshake: it may not speak TLS on this port"
    );
    // The server's part of the handshake, cut at every byte.
    let mut server = pair.acceptor().accept().unwrap();
    let mut client = trusting(&authority).begin("localhost").unwrap();
    let mut plain = BytesMut::new();
    server.receive(client.pending(), &mut plain).unwrap();
    let answer = server.pending().to_vec();
    for byte in &answer {
        assert!(!client.is_open());
        client.receive(&[*byte], &mut plain).unwrap();
        if !client.is_open() {
            assert_eq!(
                client.ended(None).unwrap().to_string(),
                "it closed the connection in the middle of the handshake"
            );
        }
    }
    assert!(client.is_open() && client.ended(None).is_none());
}

#[test]
fn who_does_not_speak_tls_is_told_so() {
    let (authority, pair) = good();
    let mut plain = BytesMut::new();
    for answer in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\0\0\0\x25\0\0\0\0\0\0\x75\x30",
    ] {
        let mut client = trusting(&authority).begin("localhost").unwrap();
        let error = client.receive(answer.as_bytes(), &mut plain).unwrap_err();
        assert_eq!(error.to_string(), "it does not answer in TLS");
    }
    let mut server = pair.acceptor().accept().unwrap();
    let error = server.receive(b"\0\0\0\x2d\0\0\0\0\0\0", &mut plain);
    assert_eq!(error.unwrap_err().to_string(), "it does not answer in TLS");
    // It is answered in TLS all the same, with an alert.
    assert_eq!(server.pending().first(), Some(&21));
}

#[test]
fn what_was_changed_on_its_way_is_noticed() {
    let (authority, pair) = good();
    for at in [5, 20] {
        let mut ends = Ends::open(&trusting(&authority), &pair.acceptor());
        ends.server.send(b"yes").unwrap();
        let mut wire = piece(&mut *ends.server, usize::MAX);
        ends.server.send(b"the truth, all of it").unwrap();
        let mut second = piece(&mut *ends.server, usize::MAX);
        second[at] ^= 1;
        wire.extend(second);
        let error = ends.client.receive(&wire, &mut ends.at_client).unwrap_err();
        assert_eq!(error.to_string(), "what it sent was changed on its way");
        // What came before is heard.
        assert_eq!(&ends.at_client[..], b"yes");
    }
}

#[test]
fn noise_neither_panics_nor_hangs() {
    let (authority, pair) = good();
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    for round in 0..300 {
        let mut ends = Ends::new(&trusting(&authority), "localhost", &pair.acceptor());
        let up = piece(&mut *ends.client, usize::MAX);
        ends.server.receive(&up, &mut ends.at_server).unwrap();
        let mut down = piece(&mut *ends.server, usize::MAX);
        for _ in 0..=round % 5 {
            let at = usize::from(next()) * 256 + usize::from(next());
            let len = down.len();
            down[at % len] = next();
        }
        // Almost always an error, and never an open connection that is not what it should be.
        let _ = ends.client.receive(&down, &mut ends.at_client);
        assert_eq!(&ends.at_client[..], b"");
    }
}

#[test]
fn settings_that_cannot_work_say_why() {
    let (authority, pair) = good();
    let other = authority.server(|_| {});
    let says = |tls: Tls| tls.begin("localhost").unwrap_err().to_string();
    assert_eq!(
        says(Tls::new()),
        "no certificate authority is trusted: set one (`ca_file`)"
    );
    assert_eq!(
        says(Tls::new().ca_pem("nothing")),
        "what was given as PEM has no certificate in PEM format"
    );
    let missing = says(Tls::new().ca_file("/nowhere/ca.pem"));
    assert!(
        missing.starts_with("cannot read the file /nowhere/ca.pem: "),
        "{missing}"
    );
    let tls = trusting(&authority).client_certificate_pem(&pair.certificate, &other.key);
    assert_eq!(
        says(tls),
        "the key in what was given as PEM is not that of the certificate in what was given as PEM"
    );
    let tls = trusting(&authority).client_certificate_pem(&pair.certificate, &pair.certificate);
    assert_eq!(
        says(tls),
        "what was given as PEM has no private key in PEM format that is not encrypted"
    );
    let cut = &pair.key[..pair.key.len() / 2];
    let tls = trusting(&authority).client_certificate_pem(&pair.certificate, cut);
    assert_eq!(
        says(tls),
        "what was given as PEM is not PEM: it has a section without an end"
    );
    let broken = pair.key.replacen("M", "%", 1).replacen("M", "%", 1);
    let tls = trusting(&authority).client_certificate_pem(&pair.certificate, broken);
    let text = says(tls);
    assert!(!pair.key.lines().any(|line| text.contains(line)), "{text}");
    let error = TlsServer::new(&pair.certificate, &other.key).unwrap_err();
    assert!(error.to_string().contains("is not that of the certificate"));
}

/// Whatever a system trusts, it is not our own authority. One that trusts nobody says so.
#[cfg(feature = "system-roots")]
#[test]
fn a_system_does_not_trust_our_authority() {
    let (_, pair) = good();
    let tls = Tls::new().system_roots();
    match tls.begin("localhost") {
        Ok(_) => {
            let (client, _) = refusal(&tls, "localhost", &pair.acceptor());
            assert!(client.contains("not signed by an authority"), "{client}");
        }
        Err(error) => assert!(error.to_string().contains("authorit"), "{error}"),
    }
}

#[test]
fn keys_are_not_shown() {
    let (authority, pair) = good();
    let tls = with_certificate(trusting(&authority), &pair);
    let server = pair.acceptor();
    let shown = format!(
        "{tls:?} {server:?} {:?} {:?}",
        tls.begin("localhost").unwrap(),
        server.accept().unwrap()
    );
    for line in pair.key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!shown.contains(line), "{shown}");
    }
    // Nor as numbers: the middle of a key would stand in no shorter list.
    assert!(shown.len() < 20_000, "{}", shown.len());
}
