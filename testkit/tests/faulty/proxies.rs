//! What a proxy is besides its faults.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use homing_protocol::{CreateMode, RequestHeader};
use homing_testkit::{FakeServer, Proxy, Sight};
use socket2::{Domain, Socket, Type};

use crate::peer::{Peer, SOON};
use crate::until;

#[test]
fn a_session_goes_through_unchanged() {
    let server = FakeServer::start();
    let proxy = Proxy::start(server.addr());
    assert_eq!(proxy.connect_string(), proxy.addr().to_string());
    let mut peer = Peer::connect(proxy.addr());
    peer.make("/a", &[7; 1_000_000]);
    assert_eq!(peer.data("/a").unwrap(), [7; 1_000_000]);
    assert_eq!(proxy.connections_accepted(), 1);
    drop(peer);
    until(|| server.with_server(|server| server.connection_count()) == 0);
}

#[test]
fn a_word_gets_its_answer_through_a_half_closed_connection() {
    let server = FakeServer::start();
    let proxy = Proxy::start(server.addr());
    proxy.faults("drop at frame; drop to server at frame".parse().unwrap());
    let mut socket = TcpStream::connect(proxy.addr()).unwrap();
    socket.write_all(b"srvr").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("Mode: standalone"), "{answer}");
}

#[test]
fn whoever_has_no_server_is_closed() {
    let server = FakeServer::start();
    let proxy = Proxy::start(server.addr());
    server.stop();
    let mut peer = Peer::dial(proxy.addr());
    assert!(peer.hear().is_over());
    server.restart().unwrap();
    Peer::connect(proxy.addr());
}

/// What a proxy with these addresses says of connections that cannot be made or are over, when
/// one has come and gone.
fn complaints(upstream: &[SocketAddr]) -> Vec<String> {
    let (sender, seen) = mpsc::channel();
    let proxy = Proxy::builder()
        .observe(move |seen| {
            let line = match &seen.what {
                Sight::Unreachable(address, error) => format!("{address}: {:?}", error.kind()),
                Sight::Closed(closer) => format!("closed by {closer}"),
                _ => return,
            };
            sender.send(line).unwrap();
        })
        .start(upstream)
        .unwrap();
    let mut socket = TcpStream::connect(proxy.addr()).unwrap();
    // It may be closed already, and is reset if nobody has read that.
    let _ = socket.write_all(b"ruok");
    let _ = socket.read_to_end(&mut Vec::new());
    drop(socket);
    let mut lines = Vec::new();
    while !lines
        .last()
        .is_some_and(|line: &String| line.starts_with("closed"))
    {
        lines.push(seen.recv_timeout(SOON).unwrap());
    }
    lines
}

#[test]
fn why_a_server_cannot_be_reached_is_seen() {
    // Both hold their ports, and nobody listens there.
    let nobody = [(); 2].map(|()| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        socket
    });
    let nobody_at = nobody.each_ref().map(|socket| {
        let address = socket.local_addr().unwrap();
        address.as_socket().unwrap()
    });
    let refused = nobody_at.map(|address| format!("{address}: ConnectionRefused"));
    let over = "closed by the proxy, which reaches no server".to_owned();
    assert_eq!(
        complaints(&nobody_at),
        [refused[0].clone(), refused[1].clone(), over]
    );
    let server = FakeServer::start();
    let over = "closed by the server".to_owned();
    assert_eq!(
        complaints(&[nobody_at[0], server.addr()]),
        [refused[0].clone(), over]
    );
}

#[test]
fn every_address_of_a_server_is_tried() {
    let server = FakeServer::start();
    // Nobody listens on a port that has been given back.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let addresses: &[SocketAddr] = &[nobody, nobody, server.addr()];
    let proxy = Proxy::builder().start(addresses).unwrap();
    let mut peer = Peer::connect(proxy.addr());
    peer.make("/a", b"data");
    assert!(Proxy::builder().start("no.such.host.invalid:2181").is_err());
    assert!(
        Proxy::builder()
            .listen(server.addr())
            .start(server.addr())
            .is_err()
    );
}

#[test]
fn it_is_not_its_own_server() {
    // A port that is kept, and can be listened on.
    let kept = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    kept.set_reuse_address(true).unwrap();
    kept.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let address = kept.local_addr().unwrap().as_socket().unwrap();
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    let server = FakeServer::start();
    for (listen, upstream) in [
        (address, address),
        (address, everywhere),
        (everywhere, address),
    ] {
        let builder = Proxy::builder().listen(listen);
        let started = builder.start(&[server.addr(), upstream][..]);
        let error = started.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(&upstream.to_string()), "{error}");
    }
    // And leaves the port as it was.
    Proxy::builder()
        .listen(address)
        .start(server.addr())
        .unwrap();
}

#[test]
fn of_scripts_that_come_at_once_the_one_in_force_is_counted() {
    let server = FakeServer::start();
    let proxy = Proxy::start(server.addr());
    for _ in 0..100 {
        thread::scope(|scope| {
            for script in ["cut on connection 1", "cut on connections 1-2"] {
                let proxy = &proxy;
                scope.spawn(move || proxy.faults(script.parse().unwrap()));
            }
        });
        assert!(Peer::dial(proxy.addr()).hear().is_over());
        assert_eq!(proxy.strikes().total(), 1);
    }
}

#[test]
fn it_is_stopped_and_started_again_on_its_port() {
    let server = FakeServer::start();
    let proxy = Proxy::start(server.addr());
    let mut peer = Peer::connect(proxy.addr());
    proxy.cut_connections();
    assert!(peer.hear().is_over());
    let mut peer = peer.again(proxy.addr());
    proxy.stop();
    assert!(peer.hear().is_over());
    assert!(TcpStream::connect(proxy.addr()).is_err());
    proxy.restart().unwrap();
    let address = proxy.addr();
    let mut peer = Peer::connect(address);
    proxy.restart().unwrap();
    assert!(peer.hear().is_over());
    let mut peer = Peer::connect(address);
    drop(proxy);
    assert!(peer.hear().is_over());
    TcpListener::bind(address).unwrap();
    until(|| server.with_server(|server| server.connection_count()) == 0);
}

#[test]
fn a_server_that_is_gone_is_an_end_to_its_clients() {
    let server = FakeServer::start();
    let proxy = Proxy::start(server.addr());
    let mut peer = Peer::connect(proxy.addr());
    server.stop();
    assert!(peer.hear().is_over());
}

#[test]
fn what_nobody_reads_is_not_read_from_the_server() {
    // A server that sends for as long as somebody takes it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (sent, progress) = mpsc::channel();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        while socket.write_all(&[0; 64 << 10]).is_ok() && sent.send(64 << 10).is_ok() {}
    });
    let proxy = Proxy::start(address);
    let mut client = TcpStream::connect(proxy.addr()).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    let mut taken = 0;
    while let Ok(len) = progress.recv_timeout(Duration::from_millis(500)) {
        taken += len;
        assert!(taken < 64 << 20, "it takes without an end");
    }
    // And goes on as soon as somebody reads.
    let mut buffer = vec![0; 1 << 20];
    let mut read = 0;
    while read < taken {
        read += client.read(&mut buffer).unwrap();
    }
    progress.recv_timeout(SOON).unwrap();
}

#[test]
fn what_a_fault_holds_back_has_a_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap());
    proxy.faults("stall to server".parse().unwrap());
    let mut client = TcpStream::connect(proxy.addr()).unwrap();
    client
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut written = 0;
    while let Ok(len) = client.write(&[0; 64 << 10]) {
        written += len;
        assert!(written < 64 << 20, "it takes without an end");
    }
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    proxy.faults("".parse().unwrap());
    let mut read = 0;
    let mut buffer = vec![0; 1 << 20];
    while read < written {
        read += server.read(&mut buffer).unwrap();
    }
}

/// A proxy that tells when a connection is over.
fn telling(upstream: SocketAddr) -> (Proxy, Receiver<()>) {
    let (sender, over) = mpsc::channel();
    let builder = Proxy::builder().observe(move |seen| {
        if let Sight::Closed(_) = &seen.what {
            sender.send(()).unwrap();
        }
    });
    (builder.start(upstream).unwrap(), over)
}

#[test]
fn an_end_that_never_passes_keeps_no_connection() {
    for script in ["hang", "stall", "stall to server"] {
        let server = FakeServer::start();
        let (proxy, over) = telling(server.addr());
        let peer = Peer::connect(proxy.addr());
        proxy.faults(script.parse().unwrap());
        let session = peer.session;
        drop(peer);
        server.expire_session(session);
        over.recv_timeout(SOON).expect(script);
    }
}

#[test]
fn an_end_behind_more_than_is_held_back_keeps_no_connection() {
    for script in ["stall to server", "stall to client"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (proxy, over) = telling(listener.local_addr().unwrap());
        proxy.faults(script.parse().unwrap());
        let mut client = TcpStream::connect(proxy.addr()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let speaker = match script {
            "stall to server" => &mut client,
            _ => &mut server,
        };
        let patience = Some(Duration::from_millis(500));
        speaker.set_write_timeout(patience).unwrap();
        while speaker.write(&[0; 64 << 10]).is_ok() {}
        drop((client, server));
        over.recv_timeout(SOON).expect(script);
    }
}

#[test]
fn an_observer_sees_frames_before_their_faults() {
    let (sender, seen) = mpsc::channel();
    let server = FakeServer::start();
    let proxy = Proxy::builder()
        .faults(
            "drop to server at ping; cut to server at create 1"
                .parse()
                .unwrap(),
        )
        .observe(move |seen| {
            let line = match &seen.what {
                Sight::Opened(_) => "opened".to_owned(),
                Sight::Frame(way, frame) => format!("{} bytes {way}", frame.len()),
                Sight::Raw(way, bytes) => format!("raw {bytes:?} {way}"),
                Sight::Closed(closer) => format!("closed by {closer}"),
                _ => return,
            };
            sender.send((seen.connection, line)).unwrap();
        })
        .start(server.addr())
        .unwrap();
    let mut peer = Peer::connect(proxy.addr());
    peer.ping();
    peer.get("/");
    peer.hear();
    peer.create("/a", CreateMode::Persistent);
    assert!(peer.hear().is_over());
    let mut word = TcpStream::connect(proxy.addr()).unwrap();
    word.write_all(b"ruok").unwrap();
    word.read_to_end(&mut Vec::new()).unwrap();
    drop(word);
    let mut lines = Vec::new();
    while !lines
        .iter()
        .any(|(number, line): &(u64, String)| *number == 2 && line.starts_with("closed"))
    {
        lines.push(seen.recv_timeout(SOON).unwrap());
    }
    let of = |number| {
        let lines = lines.iter().filter(move |(of, _)| *of == number);
        lines.map(|(_, line)| line.as_str()).collect::<Vec<_>>()
    };
    let get = RequestHeader::LEN + 4 + "/".len() + 1;
    assert_eq!(
        of(1)[..5],
        [
            "opened",
            "45 bytes to server",
            "37 bytes to client",
            "8 bytes to server",
            &format!("{get} bytes to server"),
        ]
    );
    assert_eq!(of(2)[..2], ["opened", "raw b\"ruok\" to server"]);
}

/// A proxy with this script, and why something was in vain.
fn vain(server: SocketAddr, script: &str) -> (Proxy, Receiver<String>) {
    let (sender, seen) = mpsc::channel();
    let proxy = Proxy::builder()
        .faults(script.parse().unwrap())
        .observe(move |seen| {
            if let Sight::InVain(rule, error) = &seen.what {
                sender.send(format!("{rule}: {error}")).unwrap();
            }
        })
        .start(server)
        .unwrap();
    (proxy, seen)
}

#[test]
fn a_session_that_could_not_be_ended_or_moved_does_not_count() {
    let alone = FakeServer::builder().max_client_connections(1);
    let strict = FakeServer::builder().required_schemes(["digest"]);
    let closed = "the server closed the connection";
    let refuses = "the server refuses to close the session: ";
    for (server, script, why, goes_on) in [
        (alone.clone(), "expire at getData 1", closed, true),
        (alone, "move at getData 1", closed, true),
        // Whoever is refused that has taken up the session.
        (strict, "expire at getData 1", refuses, false),
    ] {
        let server = server.start().unwrap();
        let (proxy, seen) = vain(server.addr(), script);
        let mut peer = Peer::connect(proxy.addr());
        peer.auth();
        assert_eq!(peer.hear().header().err, 0);
        peer.get("/zookeeper");
        assert_eq!(!peer.hear().is_over(), goes_on);
        let line = seen.recv_timeout(SOON).unwrap();
        assert!(line.starts_with(&format!("{script}: {why}")), "{line}");
        let sessions = server.with_server(|server| server.sessions());
        assert!(sessions.iter().any(|it| it.id == peer.session));
        assert_eq!(proxy.strikes().total(), 0);
    }
}

#[test]
fn what_was_in_vain_is_tried_again_where_it_strikes_so_many_times() {
    let server = FakeServer::start();
    let (proxy, seen) = vain(server.addr(), "expire at getData once");
    let mut peer = Peer::connect(proxy.addr());
    server.faults("refuse".parse().unwrap());
    assert!(peer.data("/zookeeper").is_some());
    let line = seen.recv_timeout(SOON).unwrap();
    let expected = "expire at getData once: Connection refused";
    assert!(line.starts_with(expected), "{line}");
    assert_eq!(proxy.strikes().total(), 0);
    server.faults("".parse().unwrap());
    peer.get("/zookeeper");
    assert!(peer.hear().is_over());
    assert_eq!(proxy.strikes().total(), 1);
    assert_eq!(peer.again(proxy.addr()).timeout_ms, 0);
    assert_eq!(seen.try_iter().count(), 0);
}

#[test]
fn a_hundred_connections_go_side_by_side() {
    let server = FakeServer::start();
    let proxy = Proxy::start(server.addr());
    let strikes = proxy.faults(
        "cut to client at setData 50; delay 1ms-5ms"
            .parse()
            .unwrap(),
    );
    let mut peers: Vec<_> = (0..100).map(|_| Peer::connect(proxy.addr())).collect();
    peers[0].make("/a", b"");
    for peer in &mut peers {
        peer.set("/a", b"data");
    }
    // The one that is set when the node is made counts as well.
    let over = peers
        .iter_mut()
        .filter_map(|peer| peer.hear().is_over().then_some(()));
    assert_eq!(over.count(), 1);
    assert_eq!(strikes.of(1), 1);
    assert_eq!(proxy.connections_accepted(), 100);
}
