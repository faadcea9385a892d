//! SASL with DIGEST-MD5: what the fake server answers, and that a real one answers the same.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use homing_protocol::digest_md5::{Challenge, Proof, REALM};
use homing_testkit::{FakeServer, SaslConfig, ServerConfig, real};

const PATIENCE: Duration = Duration::from_secs(30);

/// What a server makes of one frame: an error and a token, or the end of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Challenge,
    Proof,
    /// An error, and no token.
    Null(i32),
    /// Something else: the error and how long the body is.
    Reply(i32, usize),
    Nothing,
}

struct Raw {
    stream: TcpStream,
    xid: i32,
    challenge: Option<Challenge>,
    proof: Option<Proof>,
}

impl Raw {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut raw = Self {
            stream,
            xid: 0,
            challenge: None,
            proof: None,
        };
        let mut handshake = vec![0; 45];
        handshake[14] = 0x75; // A session time-out of 30,000 ms.
        handshake[15] = 0x30;
        handshake[27] = 16; // The length of a password of zeros.
        raw.send(&handshake);
        assert_eq!(raw.receive().unwrap().len(), 37);
        raw
    }

    fn send(&mut self, frame: &[u8]) {
        let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.stream.write_all(&[&len[..], frame].concat()).unwrap();
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        self.stream.read_exact(&mut frame).ok()?;
        Some(frame)
    }

    fn request(&mut self, xid: i32, op: i32, body: &[u8]) -> Said {
        self.send(&[&xid.to_be_bytes()[..], &op.to_be_bytes()[..], body].concat());
        let Some(frame) = self.receive() else {
            return Said::Nothing;
        };
        assert_eq!(frame[..4], xid.to_be_bytes());
        let err = i32::from_be_bytes(frame[12..16].try_into().unwrap());
        match &frame[16..] {
            [0xff, 0xff, 0xff, 0xff] => Said::Null(err),
            body if op != 102 || body.len() < 4 => Said::Reply(err, body.len()),
            body => self.token(err, &body[4..]),
        }
    }

    fn token(&mut self, err: i32, token: &[u8]) -> Said {
        if let Some(proof) = &self.proof
            && proof.is_in(token)
        {
            return Said::Proof;
        }
        match Challenge::parse(token) {
            Ok(challenge) => {
                assert_eq!(challenge.realm.as_deref(), Some(REALM.as_bytes()));
                assert!(challenge.is_utf8);
                self.challenge = Some(challenge);
                Said::Challenge
            }
            Err(_) => Said::Reply(err, token.len() + 4),
        }
    }

    fn sasl(&mut self, token: Option<&[u8]>) -> Said {
        self.xid += 1;
        let len = token.map_or(-1, |token| i32::try_from(token.len()).unwrap());
        let body = [&len.to_be_bytes()[..], token.unwrap_or_default()].concat();
        self.request(self.xid, 102, &body)
    }

    fn respond(&mut self, user: &str, password: &str) -> Vec<u8> {
        let challenge = self.challenge.as_ref().expect("a challenge");
        let (token, proof) = challenge.respond(user, password, "0123456789").unwrap();
        self.proof = Some(proof);
        token
    }

    fn who_am_i(&mut self) -> Vec<String> {
        self.xid += 1;
        let header = [self.xid.to_be_bytes(), 107_i32.to_be_bytes()].concat();
        self.send(&header);
        let frame = self.receive().unwrap();
        let mut rest = &frame[20..];
        let mut texts = Vec::new();
        while let Some((len, tail)) = rest.split_first_chunk() {
            let (text, tail) = tail.split_at(u32::from_be_bytes(*len) as usize);
            texts.push(String::from_utf8(text.to_vec()).unwrap());
            rest = tail;
        }
        let mut ids: Vec<_> = texts.chunks(2).map(|pair| pair.join(":")).collect();
        // In which order they are shown is up to a hash table.
        ids.sort_unstable();
        ids
    }

    /// Nothing more is said, whatever is sent.
    fn is_closed(&mut self) -> bool {
        self.receive().is_none()
    }
}

/// A life of a connection, and what was said in it.
fn lives(address: SocketAddr) -> Vec<(&'static str, Vec<Said>)> {
    let connect = || Raw::connect(address);
    let mut lives = Vec::new();

    let users = [("bob", "secret"), ("bäb", "gehäim"), ("Жан", "π\"q\\")];
    for (user, password) in users {
        let mut raw = connect();
        let mut said = vec![raw.sasl(Some(b""))];
        let token = raw.respond(user, password);
        said.push(raw.sasl(Some(&token)));
        assert_eq!(raw.who_am_i(), ["ip:127.0.0.1", &format!("sasl:{user}")]);
        lives.push(("the right password", said));
    }

    // A real server of 3.8.0 takes a user that it does not know for the one that came before, and
    // lets him in who has the password of that one. Here nobody has.
    for (user, password) in [("bob", "wrong"), ("nobody", "nothing")] {
        let mut raw = connect();
        let mut said = vec![raw.sasl(Some(b""))];
        let token = raw.respond(user, password);
        said.push(raw.sasl(Some(&token)));
        assert!(raw.is_closed());
        lives.push(("a wrong password, nobody", said));
    }

    let mut raw = connect();
    let said = vec![raw.sasl(Some(b"hello"))];
    assert_eq!(raw.who_am_i(), ["ip:127.0.0.1"]);
    lives.push(("something in the first token", said));

    for token in [&b"nonsense"[..], b"", b"username=\"bob\""] {
        let mut raw = connect();
        let said = vec![raw.sasl(Some(b"")), raw.sasl(Some(token))];
        lives.push(("nonsense in place of a response", said));
    }

    let mut raw = connect();
    let mut said = vec![raw.sasl(Some(b""))];
    let mut other = connect();
    other.sasl(Some(b""));
    let token = other.respond("bob", "secret");
    said.push(raw.sasl(Some(&token)));
    lives.push(("the response to another challenge", said));

    lives.extend(changed(address));
    lives.extend(too_many_and_too_long(address));

    // The client that does not try is let in all the same, and so is one that gave up.
    let mut raw = connect();
    let said = vec![raw.sasl(Some(b"")), raw.request(-2, 11, b"")];
    lives.push(("requests in the middle", said));
    lives
}

/// What is made of a right response that says something more, or less, or says it otherwise.
fn changed(address: SocketAddr) -> Vec<(&'static str, Vec<Said>)> {
    let rows: [(&str, &str, &str); 16] = [
        ("charset=utf-8", "", "no charset"),
        ("utf-8", "\"utf-8\"", "a charset in quotes"),
        ("utf-8", "latin1", "another charset"),
        ("utf-8", "UTF-8", "a charset in capitals"),
        ("nc=00000001,", "", "no count"),
        ("nc=00000001", "nc=x", "a count that is none"),
        ("nc=00000001", "nonce-count=x", "the same by its other name"),
        ("nc=00000001", "nonce-count=2", "another count"),
        ("qop=auth", "qop=auth,abc", "a name at the end"),
        ("qop=auth", "qop=auth,a=b=c", "a value with a sign"),
        ("qop=auth", "qop=auth,a=", "no value at the end"),
        ("qop=auth", "qop=auth,maxbuf=1", "a size twice"),
        (",", " ", "spaces in place of commas"),
        ("65536", "abc", "a size that is none"),
        ("65536", "-1", "a size below zero"),
        ("username=\"bob\"", "username=\"\"", "nobody's name"),
    ];
    let change = |(from, to, what)| {
        let mut raw = Raw::connect(address);
        let challenge = raw.sasl(Some(b""));
        let token = String::from_utf8(raw.respond("bob", "secret")).unwrap();
        assert!(token.contains(from), "{token}");
        let said = raw.sasl(Some(token.replace(from, to).as_bytes()));
        match said {
            Said::Proof => assert_eq!(raw.who_am_i(), ["ip:127.0.0.1", "sasl:bob"]),
            _ => assert!(raw.is_closed(), "{what}"),
        }
        (what, vec![challenge, said])
    };
    rows.map(change).into()
}

/// Tokens behind the last one, and tokens of more than 4,096 bytes.
fn too_many_and_too_long(address: SocketAddr) -> Vec<(&'static str, Vec<Said>)> {
    let long = |len: usize| vec![b'a'; len];
    let mut raw = Raw::connect(address);
    let said = vec![raw.sasl(Some(&long(4096)))];
    let mut lives = vec![("a long first token", said)];

    let mut raw = Raw::connect(address);
    let said = vec![raw.sasl(Some(&long(4097)))];
    assert!(raw.is_closed());
    lives.push(("a first token that is too long", said));

    for len in [4096, 4097] {
        let mut raw = Raw::connect(address);
        let mut said = vec![raw.sasl(Some(b""))];
        let mut token = raw.respond("bob", "secret");
        token.extend(b",x=");
        token.resize(len, b'a');
        said.push(raw.sasl(Some(&token)));
        lives.push(("a long second token", said));
    }

    let mut raw = Raw::connect(address);
    let mut said = vec![raw.sasl(Some(b""))];
    let token = raw.respond("bob", "secret");
    said.extend([raw.sasl(Some(&token)), raw.sasl(Some(b""))]);
    assert!(raw.is_closed());
    lives.push(("a token behind the last one", said));
    lives
}

fn users(mut config: SaslConfig) -> SaslConfig {
    for (user, password) in [("bob", "secret"), ("bäb", "gehäim"), ("Жан", "π\"q\\")] {
        config = config.user(user, password);
    }
    config
}

fn fake(set: impl FnOnce(&mut ServerConfig)) -> FakeServer {
    FakeServer::builder().config(set).start().unwrap()
}

fn real(set: impl FnOnce(real::Builder) -> real::Builder) -> Option<real::ZooKeeper> {
    real::requirement()?;
    let file = real::jaas_with_users(&[("bob", "secret"), ("bäb", "gehäim"), ("Жан", "π\"q\\")]);
    let builder = set(real::ZooKeeper::builder().jaas(&file));
    Some(builder.start().unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn both_servers_answer_tokens_alike() {
    let fake = fake(|config| config.sasl = Some(users(SaslConfig::new())));
    let of_fake = lives(fake.addr());
    let expected = [Said::Challenge, Said::Proof];
    assert_eq!(of_fake[0].1, expected);
    assert_eq!(of_fake[3].1, [Said::Challenge, Said::Null(-115)]);
    let said = |what| of_fake.iter().find(|life| life.0 == what).unwrap().1[1].clone();
    assert_eq!(said("no count"), Said::Proof);
    assert_eq!(said("another charset"), Said::Null(-115));
    assert_eq!(said("a size that is none"), Said::Nothing);
    if let Some(real) = real(|builder| builder) {
        let of_real = lives(real.addr());
        for (of_fake, of_real) in of_fake.iter().zip(&of_real) {
            assert_eq!(of_fake, of_real);
        }
    }
}

/// (allowSaslFailedClients)
#[test]
fn both_servers_let_everybody_in_who_fails() {
    let mut config = users(SaslConfig::new());
    config.allow_failed = true;
    let fake = fake(|server| server.sasl = Some(config));
    let real = real(|builder| builder.system_property("zookeeper.allowSaslFailedClients", "true"));
    for address in [Some(fake.addr()), real.as_ref().map(real::ZooKeeper::addr)] {
        let Some(address) = address else { continue };
        let mut raw = Raw::connect(address);
        assert_eq!(raw.sasl(Some(b"")), Said::Challenge);
        let token = raw.respond("bob", "wrong");
        assert_eq!(raw.sasl(Some(&token)), Said::Null(0));
        assert_eq!(raw.who_am_i(), ["ip:127.0.0.1"]);
        assert_eq!(raw.sasl(Some(b"")), Said::Null(0));

        // What is too long has not been there, and what comes behind the last token does not
        // matter.
        let mut raw = Raw::connect(address);
        assert_eq!(raw.sasl(Some(&[0; 4097])), Said::Null(0));
        assert_eq!(raw.sasl(Some(b"")), Said::Challenge);
        assert_eq!(raw.sasl(Some(&[0; 4097])), Said::Null(0));
        let token = raw.respond("bob", "secret");
        assert_eq!(raw.sasl(Some(&token)), Said::Proof);
        assert_eq!(raw.sasl(Some(&token)), Said::Null(0));
        assert_eq!(raw.who_am_i(), ["ip:127.0.0.1", "sasl:bob"]);

        // Where a real server stumbles, it does not ask whether it may let somebody in.
        let mut raw = Raw::connect(address);
        assert_eq!(raw.sasl(Some(b"")), Said::Challenge);
        let token = raw.respond("", "secret");
        assert_eq!(raw.sasl(Some(&token)), Said::Nothing);
    }
}

#[test]
fn both_servers_insist() {
    let config = users(SaslConfig::new());
    let fake = fake(|server| {
        server.sasl = Some(config);
        server.required_schemes = vec!["sasl".into()];
    });
    let real = real(|builder| {
        builder
            .system_property("zookeeper.enforce.auth.enabled", "true")
            .system_property("zookeeper.enforce.auth.schemes", "sasl")
    });
    for address in [Some(fake.addr()), real.as_ref().map(real::ZooKeeper::addr)] {
        let Some(address) = address else { continue };
        let requests = [(-2, 11, &b""[..]), (1, 3, b"\0\0\0\x01/\0"), (1, -11, b"")];
        for (xid, op, body) in requests {
            let mut raw = Raw::connect(address);
            assert_eq!(raw.request(xid, op, body), Said::Reply(-124, 0), "{op}");
            assert!(raw.is_closed());
        }
        let mut raw = Raw::connect(address);
        assert_eq!(raw.sasl(Some(b"")), Said::Challenge);
        let token = raw.respond("bob", "wrong");
        assert_eq!(raw.sasl(Some(&token)), Said::Null(-124));
        assert!(raw.is_closed());
        let mut raw = Raw::connect(address);
        assert_eq!(raw.sasl(Some(b"")), Said::Challenge);
        let token = raw.respond("bob", "secret");
        assert_eq!(raw.sasl(Some(&token)), Said::Proof);
        assert_eq!(raw.who_am_i(), ["ip:127.0.0.1", "sasl:bob"]);
    }
}

#[test]
fn a_server_without_it_says_yes_and_null() {
    let fake = FakeServer::start();
    let real = real::requirement().map(|_| real::ZooKeeper::start().unwrap());
    for address in [Some(fake.addr()), real.as_ref().map(real::ZooKeeper::addr)] {
        let Some(address) = address else { continue };
        let mut raw = Raw::connect(address);
        assert_eq!(raw.sasl(Some(b"")), Said::Null(0));
        assert_eq!(raw.who_am_i(), ["ip:127.0.0.1"]);
    }
}

#[test]
fn a_server_can_lie_and_change_its_mind() {
    let fake = fake(|config| config.sasl = Some(users(SaslConfig::new())));
    fake.with_server(|server| server.lie_in_sasl(true));
    let mut raw = Raw::connect(fake.addr());
    raw.sasl(Some(b""));
    let token = raw.respond("bob", "secret");
    assert_eq!(raw.sasl(Some(&token)), Said::Reply(0, 44));

    fake.with_server(|server| {
        server.lie_in_sasl(false);
        server.set_sasl(Some(SaslConfig::new().user("bob", "new")));
    });
    let mut nonces = Vec::new();
    for (password, said) in [("secret", Said::Null(-115)), ("new", Said::Proof)] {
        let mut raw = Raw::connect(fake.addr());
        raw.sasl(Some(b""));
        nonces.push(raw.challenge.as_ref().unwrap().nonce.clone());
        let token = raw.respond("bob", password);
        assert_eq!(raw.sasl(Some(&token)), said);
    }
    assert_ne!(nonces[0], nonces[1]);
}
