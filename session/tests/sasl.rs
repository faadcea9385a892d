//! Who is there: found out before anything else is said, anew on every connection.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use homing_protocol::digest_md5::Challenge;
use homing_protocol::{CreateMode, ErrorCode};
use homing_session::{
    Ask, Authentication, Cause, Config, ConnectString, DigestMd5, Failure, Login, OnExpiry, Peer,
    Respondent, Sasl, SaslError, SaslExchange, SaslMechanism, SaslRefusal, SaslStep, Secret,
    Session, SessionEnd, SessionState,
};
use homing_testkit::sim::{Behaviour, Event, Sim};
use homing_testkit::{SaslConfig, Server, ServerConfig};
use homing_transport::Fate;

const MS: Duration = Duration::from_millis(1);

fn users() -> SaslConfig {
    SaslConfig::new().user("bob", "secret").user("ann", "other")
}

fn bob(password: &str) -> Sasl {
    Sasl::new(DigestMd5::new("bob", password, || [7; 16]))
}

/// A session that has not begun, and a server that is set like this.
fn world_of(server: impl FnOnce(&mut ServerConfig), client: impl FnOnce(&mut Config)) -> World {
    let mut config = Config::new(
        "10.0.0.1,10.0.0.2"
            .parse::<ConnectString>()
            .unwrap()
            .servers,
    );
    config.seed = 7;
    client(&mut config);
    let mut server_config = ServerConfig::default();
    server(&mut server_config);
    let (session, shared) = Session::new(config);
    let sim = Sim::with_server(session, Server::new(server_config));
    World { sim, shared }
}

fn world_of_bob(password: &str) -> World {
    world_of(
        |server| server.sasl = Some(users()),
        |client| client.sasl = Some(bob(password)),
    )
}

/// The xids of what the server sends from now on.
fn log_answers(world: &mut World) -> Rc<RefCell<Vec<i32>>> {
    let answered = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&answered);
    world.sim.set_tamper(move |piece| {
        let xid = piece[4..8].try_into().unwrap();
        log.borrow_mut().push(i32::from_be_bytes(xid));
        vec![piece]
    });
    answered
}

#[test]
fn requests_wait_until_it_is_done_and_go_in_their_order() {
    let mut world = world_of(
        |server| {
            server.sasl = Some(users());
            // Whatever comes before is refused.
            server.required_schemes = vec!["sasl".into()];
        },
        |client| client.sasl = Some(bob("secret")),
    );
    let made: Vec<_> = (0..3)
        .map(|n| world.create(&format!("/{n}"), CreateMode::Persistent))
        .collect();
    let answered = log_answers(&mut world);
    world.connect();
    let late = world.get("/2");
    world.settle();
    // The handshake, two tokens, requests.
    assert_eq!(*answered.borrow(), [0, 1, 2, 1, 2, 3, 4]);
    for ticket in made {
        assert_eq!(reply(ticket).err, 0);
    }
    assert_eq!(reply(late).err, 0);
    let stats = world.shared.status.stats();
    assert_eq!((stats.connections, stats.failed_attempts), (1, 0));
}

#[test]
fn an_old_session_is_closed_by_somebody_who_has_proved_who_he_is() {
    for schemes in [["sasl"], ["digest"]] {
        let mut world = world_of(
            |server| {
                server.sasl = Some(users());
                server.required_schemes = schemes.iter().map(|&s| s.to_owned()).collect();
            },
            |client| {
                client.sasl = Some(bob("secret"));
                client.on_expiry = OnExpiry::Renew;
                client.presume_expired_after = Some(T / 4);
            },
        );
        let bob = Authentication {
            scheme: "digest".into(),
            proof: Secret::new(b"bob:secret"),
        };
        world.shared.authentications.add(Arc::new(bob));
        world.connect();
        let made = world.create("/e", CreateMode::Ephemeral);
        world.settle();
        assert_eq!(reply(made).err, 0);
        let old = world.session_id();
        for last in 1..=2 {
            world.sim.set_behaviour(address(last), Behaviour::Refuse);
        }
        world.sim.cut();
        world.sim.run_for(T / 2);
        assert!(matches!(world.state(), SessionState::Renewing(_)));
        assert!(world.sim.server().node_exists("/e"), "it lives");
        for last in 1..=2 {
            world.sim.set_behaviour(address(last), Behaviour::Serve);
        }
        world.connect();
        assert_ne!(world.session_id(), old);
        assert!(!world.sim.server().node_exists("/e"));
        let sessions: Vec<_> = world.sim.server().sessions().iter().map(|s| s.id).collect();
        assert_eq!(sessions, [world.session_id()]);
    }
}

#[test]
fn every_connection_has_an_exchange_of_its_own() {
    let mut world = world_of_bob("secret");
    world.connect();
    for n in 0..3 {
        world.sim.cut();
        let waiting = world.create(&format!("/{n}"), CreateMode::Persistent);
        let answered = log_answers(&mut world);
        world.connect();
        world.settle();
        assert_eq!(answered.borrow()[..3], [0, 1, 2]);
        assert_eq!(reply(waiting).err, 0);
    }
    assert_eq!(world.shared.status.stats().connections, 4);
}

#[test]
fn a_wrong_password_and_an_unknown_user_end_the_session() {
    for (user, password) in [("bob", "wrong"), ("nobody", "secret")] {
        let sasl = Sasl::new(DigestMd5::new(user, password, || [7; 16]));
        let mut world = world_of(
            |server| server.sasl = Some(users()),
            |client| client.sasl = Some(sasl),
        );
        let waiting = world.get("/");
        let end = world.run_until_ended(SECOND);
        let expected = SessionEnd::SaslFailed {
            mechanism: "DIGEST-MD5".into(),
            why: SaslRefusal::Refused(ErrorCode::AuthFailed),
        };
        assert_eq!(end, expected);
        assert_eq!(
            end.to_string(),
            "a server did not accept SASL with DIGEST-MD5: it refused, with AuthFailed (-115)"
        );
        let told = unanswered(waiting);
        assert_eq!(told.fate, Fate::NotSent);
        assert!(matches!(
            told.cause,
            Cause::Ended(SessionEnd::SaslFailed { .. })
        ));
        // Nobody was asked a second time.
        assert_eq!(world.sim.dials().len(), 1);
        assert!(world.shared.status.report().is_some());
    }
}

#[test]
fn a_password_that_is_changed_under_way_ends_the_session_at_the_next_connection() {
    let mut world = world_of_bob("secret");
    world.connect();
    let users = SaslConfig::new().user("bob", "new");
    world.sim.server().set_sasl(Some(users));
    world.sim.cut();
    let end = world.run_until_ended(SECOND);
    assert!(matches!(end, SessionEnd::SaslFailed { .. }), "{end}");
}

#[test]
fn a_server_that_insists_says_so() {
    let enforce = |server: &mut ServerConfig| {
        server.sasl = Some(users());
        server.required_schemes = vec!["sasl".into()];
    };
    let mut world = world_of(enforce, |client| client.sasl = Some(bob("wrong")));
    let end = world.run_until_ended(SECOND);
    let why = SaslRefusal::Refused(ErrorCode::SessionClosedRequireSaslAuth);
    let mechanism = "DIGEST-MD5".into();
    assert_eq!(end, SessionEnd::SaslFailed { mechanism, why });

    // Whoever does not try is told by the answer to his first request, or to a ping.
    let mut world = world_of(enforce, |_| {});
    world.connect();
    let get = world.get("/");
    assert_eq!(world.run_until_ended(SECOND), SessionEnd::AuthRequired);
    assert_eq!(reply(get).err, -124);
    let mut world = world_of(enforce, |_| {});
    assert_eq!(world.run_until_ended(T), SessionEnd::AuthRequired);
    assert_eq!(world.shared.status.stats().connections, 1);
}

#[test]
fn a_server_without_it_is_taken_only_if_that_was_said() {
    let mut world = world_of(|_| {}, |client| client.sasl = Some(bob("secret")));
    let mechanism = String::from("DIGEST-MD5");
    let why = SaslRefusal::NotOffered;
    let expected = SessionEnd::SaslFailed { mechanism, why };
    assert_eq!(world.run_until_ended(SECOND), expected);

    let optional = |client: &mut Config| client.sasl = Some(bob("secret").optional());
    let mut world = world_of(|_| {}, optional);
    let get = world.get("/");
    world.connect();
    world.settle();
    assert_eq!(reply(get).err, 0);
    // Where there is SASL, it has to succeed.
    let wrong = |client: &mut Config| client.sasl = Some(bob("wrong").optional());
    let mut world = world_of(|server| server.sasl = Some(users()), wrong);
    let end = world.run_until_ended(SECOND);
    assert!(matches!(end, SessionEnd::SaslFailed { .. }), "{end}");
}

#[test]
fn a_server_that_lets_everybody_in_is_taken_only_if_that_was_said() {
    let lax = |server: &mut ServerConfig| {
        let mut users = users();
        users.allow_failed = true;
        server.sasl = Some(users);
    };
    let mut world = world_of(lax, |client| client.sasl = Some(bob("wrong")));
    let mechanism = String::from("DIGEST-MD5");
    let why = SaslRefusal::NotAccepted;
    let expected = SessionEnd::SaslFailed { mechanism, why };
    assert_eq!(world.run_until_ended(SECOND), expected);

    let mut world = world_of(lax, |client| client.sasl = Some(bob("wrong").optional()));
    let get = world.get("/");
    world.connect();
    world.settle();
    assert_eq!(reply(get).err, 0);
    let mut world = world_of(lax, |client| client.sasl = Some(bob("secret")));
    world.connect();
}

/// It may be anybody, so nothing is sent to it; but nor can it end the session.
#[test]
fn a_server_that_lies_is_not_trusted_and_ends_nothing() {
    let mut world = world_of_bob("secret");
    world.sim.server().lie_in_sasl(true);
    let waiting = world.create("/a", CreateMode::Persistent);
    world.sim.run_for(2 * SECOND);
    assert_eq!(world.state(), SessionState::Connecting);
    let failures = world.shared.status.failures();
    assert_eq!(failures.len(), 2, "both addresses were tried: {failures:?}");
    for attempt in failures {
        let what = "the server did not prove that it knows the password";
        assert_eq!(attempt.failure, Failure::Sasl(what.into()));
    }
    assert!(!world.sim.server().node_exists("/a"));
    let session = world.session_id();
    world.sim.server().lie_in_sasl(false);
    world.connect();
    world.settle();
    assert_eq!(reply(waiting).err, 0);
    assert_eq!(world.session_id(), session);
}

/// The exchange is cut behind each byte that the server sends, and in front of each that it is
/// sent: the next connection begins anew, and nothing is lost, doubled or out of order.
#[test]
fn the_exchange_is_cut_at_every_byte() {
    let whole = {
        let mut world = world_of_bob("secret");
        let bytes = Rc::new(RefCell::new(0));
        let count = Rc::clone(&bytes);
        world.sim.set_tamper(move |piece| {
            *count.borrow_mut() += piece.len();
            vec![piece]
        });
        world.connect();
        let whole: usize = *bytes.borrow();
        drop(world);
        whole
    };
    assert!(whole > 100, "{whole}");
    for at in 0..whole {
        let mut world = world_of_bob("secret");
        let made: Vec<_> = (0..2)
            .map(|n| world.create(&format!("/{n}"), CreateMode::Persistent))
            .collect();
        let mut left = at;
        let mut is_first = true;
        world.sim.set_tamper(move |piece| {
            let len = if is_first {
                piece.len().min(left)
            } else {
                piece.len()
            };
            left -= len.min(left);
            is_first &= len == piece.len();
            vec![piece.slice(..len)]
        });
        // Byte by byte, so that every state is seen.
        world.sim.set_piece_len(1);
        world.sim.run_for(20 * MS);
        assert!(!world.is_connected(), "cut at {at}: {:?}", world.sim);
        world.sim.set_tamper(|piece| vec![piece]);
        world.sim.cut();
        world.connect();
        world.settle();
        for ticket in made {
            assert_eq!(reply(ticket).err, 0, "cut at {at}");
        }
        assert_eq!(world.shared.queue.usage().requests, 0);
        let sessions = world.sim.server().sessions();
        assert!(sessions.iter().any(|s| s.id == world.session_id()), "{at}");
    }
}

#[test]
fn what_is_sent_is_cut_at_every_byte() {
    // A handshake of 49 bytes, an empty token of 16, a response of some 300.
    for at in (0..400).step_by(1) {
        let mut world = world_of_bob("secret");
        let made = world.create("/a", CreateMode::Persistent);
        world.sim.set_window(at);
        world.sim.run_for(20 * MS);
        world.sim.set_window(usize::MAX);
        world.sim.cut();
        world.connect();
        world.settle();
        let mut made = made;
        match made.try_pull().expect("an answer") {
            Ok(reply) => assert!([0, -110].contains(&reply.err), "cut at {at}"),
            // Only if the request had begun to leave.
            Err(told) => assert_eq!(told.fate, Fate::MaybeApplied, "cut at {at}"),
        }
    }
}

#[test]
fn it_takes_no_longer_than_an_attempt_may() {
    let mut world = world_of_bob("secret");
    let mut frames = 0;
    world.sim.set_tamper(move |piece| {
        frames += 1;
        // The handshake is answered, and then nothing.
        if frames == 1 { vec![piece] } else { vec![] }
    });
    world.sim.run_for(SECOND);
    assert_eq!(world.sim.dials().len(), 1);
    world.sim.set_tamper(|piece| vec![piece]);
    world.connect();
    let dials = world.sim.dials();
    assert_eq!(dials.len(), 2);
    // Half of the connect time-out of 10 s.
    assert_eq!(dials[1].0, 5 * SECOND);
    let failures = world.shared.status.failures();
    assert_eq!(failures[0].failure, Failure::SaslTimedOut);
}

#[test]
fn whatever_a_server_says_instead_is_a_failure_of_its_own() {
    let frame = |xid: i32, err: i32, token: &[u8]| {
        let len = 16 + token.len();
        let mut frame = Vec::from(u32::try_from(len).unwrap().to_be_bytes());
        frame.extend_from_slice(&xid.to_be_bytes());
        frame.extend_from_slice(&[0; 8]);
        frame.extend_from_slice(&err.to_be_bytes());
        frame.extend_from_slice(token);
        frame
    };
    let with_len = |token: &[u8]| {
        let len = u32::try_from(token.len()).unwrap().to_be_bytes();
        [&len[..], token].concat()
    };
    let rows = [
        (
            frame(1, 0, &with_len(b"nonsense")),
            "its challenge: it is malformed at byte 8",
        ),
        (
            frame(1, 0, &with_len(b"nonce=1,algorithm=sha")),
            "its challenge: its algorithm is none that is known here",
        ),
        (frame(1, 0, &[]), "its answer is malformed: "),
        (frame(1, 0, &[0, 0, 0, 9]), "its answer is malformed: "),
        (
            frame(1, 0, &[0x7f, 0xff, 0xff, 0xff]),
            "its answer is malformed: ",
        ),
        (frame(2, 0, &with_len(b"x")), "it sent xid 2 in between"),
        (frame(-2, 0, &[]), "it sent xid -2 in between"),
        (frame(-1, 0, &[]), "it sent xid -1 in between"),
        (frame(1, -6, &[]), "it answered Unimplemented (-6)"),
        (vec![0x7f, 0xff, 0xff, 0xff], "it sent "),
        (vec![0xff, 0xff, 0xff, 0xff], "it sent "),
        (vec![0, 0, 0, 1, 0], "its answer is malformed: "),
    ];
    for (answer, expected) in rows {
        let mut world = world_of_bob("secret");
        let mut frames = 0;
        let shown = answer.escape_ascii().to_string();
        world.sim.set_tamper(move |piece| {
            frames += 1;
            if frames == 2 {
                vec![answer.clone().into()]
            } else {
                vec![piece]
            }
        });
        world.sim.run_for(10 * MS);
        let failures = world.shared.status.failures();
        let Some(Failure::Sasl(what)) = failures.first().map(|attempt| &attempt.failure) else {
            panic!("{shown}: {failures:?}");
        };
        assert!(what.starts_with(expected), "{shown}: {what}");
        // Another server does better.
        world.connect();
    }
}

/// Noise of all kinds in the place of each token.
#[test]
fn hostile_tokens_end_no_session_and_no_process() {
    let challenge = Challenge::of_zookeeper("nonce").token();
    for seed in 0..500_u64 {
        let mut state = seed;
        let mut random = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            u8::try_from(state >> 56).unwrap()
        };
        let mut world = world_of_bob("secret");
        let challenge = challenge.clone();
        let mut frames = 0;
        world.sim.set_tamper(move |piece| {
            frames += 1;
            let mut bytes = piece.to_vec();
            if frames == 2 {
                bytes.truncate(20);
                bytes.extend_from_slice(&challenge);
            }
            // Handshakes stay as they are.
            if piece[4..8] != [0; 4] {
                for _ in 0..=random() % 8 {
                    let at = usize::from(random()) % bytes.len();
                    bytes[at] = random();
                }
            }
            vec![bytes.into()]
        });
        world.sim.run_for(5 * SECOND);
        if let Some(end) = world.end() {
            // The noise happened to be a server's no, or null.
            assert!(
                matches!(end, SessionEnd::SaslFailed { .. }),
                "{seed}: {end}"
            );
        } else {
            world.sim.set_tamper(|piece| vec![piece]);
            world.connect();
        }
    }
}

#[test]
fn a_close_meanwhile_waits_for_it() {
    let mut world = world_of_bob("secret");
    let shared = Arc::clone(&world.shared);
    let began = world
        .sim
        .run_until(SECOND, |_| shared.status.credentials().is_some());
    assert!(began && !world.is_connected());
    let close = world.close(SECOND).unwrap();
    assert_eq!(world.run_until_ended(SECOND), SessionEnd::Closed);
    assert_eq!(reply(close).err, 0);
    assert_eq!(world.sim.server().sessions(), []);
}

#[test]
fn a_lost_connection_meanwhile_is_a_failure_and_no_more() {
    let mut world = world_of_bob("secret");
    let shared = Arc::clone(&world.shared);
    let began = world
        .sim
        .run_until(SECOND, |_| shared.status.credentials().is_some());
    assert!(began);
    let session = world.session_id();
    world.sim.cut();
    assert_eq!(world.state(), SessionState::Connecting);
    assert_eq!(
        world.shared.status.failures()[0].failure,
        Failure::ClosedInSasl
    );
    world.connect();
    assert_eq!(
        world.session_id(),
        session,
        "the server had given it already"
    );
}

/// A mechanism in which the client has the last word, as GSSAPI has it.
#[derive(Debug)]
struct LastWord;

#[derive(Debug)]
struct LastWordExchange(u32);

impl SaslMechanism for LastWord {
    fn name(&self) -> &str {
        "LAST-WORD"
    }

    fn begin(&self, peer: &Peer) -> Result<(Secret, Box<dyn SaslExchange>), SaslError> {
        assert_eq!(peer.server.to_string(), peer.address.to_string());
        Ok((Secret::new(b"one"), Box::new(LastWordExchange(0))))
    }
}

impl SaslExchange for LastWordExchange {
    fn step(&mut self, answer: Option<&[u8]>) -> Result<SaslStep, SaslError> {
        self.0 += 1;
        match (self.0, answer) {
            (1 | 2, Some(_)) => Ok(SaslStep::Send(Secret::new(b"more"))),
            (3, None) => Ok(SaslStep::Done),
            other => Err(SaslError::Failed(format!("{other:?}"))),
        }
    }
}

#[test]
fn a_mechanism_of_a_users_own_may_have_the_last_word() {
    let mut world = world_of(|_| {}, |client| client.sasl = Some(Sasl::new(LastWord)));
    let mut frames = 0;
    world.sim.set_tamper(move |piece| {
        frames += 1;
        // The server of this test says yes and null to everything.
        let is_token = (2..=3).contains(&frames);
        let mut bytes = piece.to_vec();
        if is_token {
            bytes.truncate(20);
            bytes.extend_from_slice(b"\0\0\0\x02ok");
            bytes[3] = 16 + 6;
        }
        vec![bytes.into()]
    });
    let get = world.get("/");
    world.connect();
    world.settle();
    assert_eq!(reply(get).err, 0);
    assert_eq!(
        frames_sent(&world),
        5,
        "a handshake, three tokens, a request"
    );
}

fn frames_sent(world: &World) -> usize {
    let trace = world.sim.trace().iter();
    trace
        .filter(|(_, event)| matches!(event, Event::Sent(_)))
        .count()
}

type Answers = Arc<Mutex<Vec<(Peer, Respondent<Result<Login, String>>)>>>;

/// A session that asks a test what identifies it.
fn world_that_asks(server: impl FnOnce(&mut ServerConfig)) -> (World, Answers) {
    let asked = Answers::default();
    let questions = Arc::clone(&asked);
    let world = world_of(server, |client| {
        let ask = move |peer, respondent| questions.lock().unwrap().push((peer, respondent));
        client.login = Some(Ask::new(ask));
    });
    (world, asked)
}

fn login(password: &str) -> Result<Login, String> {
    let authentication = Authentication {
        scheme: "digest".into(),
        proof: Secret::new(b"ann:pw"),
    };
    Ok(Login {
        sasl: Some(bob(password)),
        authentications: vec![Arc::new(authentication)],
    })
}

/// Goes on until the session asks.
fn asked(world: &mut World, answers: &Answers) -> (Peer, Respondent<Result<Login, String>>) {
    let is_asked = world
        .sim
        .run_until(60 * SECOND, |_| !answers.lock().unwrap().is_empty());
    assert!(is_asked, "{:?}", world.sim);
    answers.lock().unwrap().pop().unwrap()
}

#[test]
fn a_login_is_asked_for_anew_on_every_connection() {
    let (mut world, answers) = world_that_asks(|server| {
        server.sasl = Some(users());
        server.required_schemes = vec!["sasl".into()];
    });
    let made = world.create("/a", CreateMode::Persistent);
    let (peer, respondent) = asked(&mut world, &answers);
    assert_eq!(peer.server.to_string(), peer.address.to_string());
    // Nothing is said meanwhile.
    world.sim.run_for(SECOND);
    assert_eq!(frames_sent(&world), 0);
    respondent.answer(login("secret"));
    let answered = log_answers(&mut world);
    world.connect();
    world.settle();
    // Handshake, two tokens, the identity, the request.
    assert_eq!(*answered.borrow(), [0, 1, 2, -4, 1]);
    assert_eq!(reply(made).err, 0);

    let users = SaslConfig::new().user("bob", "changed");
    world.sim.server().set_sasl(Some(users));
    world.sim.cut();
    let (_, respondent) = asked(&mut world, &answers);
    respondent.answer(login("changed"));
    let get = world.get("/a");
    world.connect();
    world.settle();
    assert_eq!(reply(get).err, 0);
}

#[test]
fn whoever_does_not_know_or_goes_away_costs_an_attempt() {
    let (mut world, answers) = world_that_asks(|server| server.sasl = Some(users()));
    let (_, respondent) = asked(&mut world, &answers);
    respondent.answer(Err("the vault is sealed".into()));
    let (_, respondent) = asked(&mut world, &answers);
    drop(respondent);
    let (_, respondent) = asked(&mut world, &answers);
    let failures = world.shared.status.failures();
    let texts: Vec<_> = failures
        .iter()
        .map(|attempt| attempt.failure.to_string())
        .collect();
    assert_eq!(
        texts,
        [
            "what identifies this client could not be had: the vault is sealed",
            "what identifies this client could not be had: whoever was asked went away",
        ]
    );
    // The third one hangs. The server's time is not used up meanwhile.
    let began_at = world.sim.elapsed();
    let (_, last) = asked(&mut world, &answers);
    assert!(!respondent.is_awaited(), "it is too late now");
    assert!(world.sim.elapsed() >= began_at + 5 * SECOND);
    let failures = world.shared.status.failures();
    assert_eq!(failures.last().unwrap().failure, Failure::LoginTimedOut);
    respondent.answer(login("wrong"));
    last.answer(login("secret"));
    world.connect();
}

#[test]
fn nobody_is_asked_for_a_server_that_is_not_there() {
    let (mut world, answers) = world_that_asks(|_| {});
    for last in [1, 2] {
        world.sim.set_behaviour(address(last), Behaviour::Refuse);
    }
    world.sim.run_for(SECOND);
    assert!(answers.lock().unwrap().is_empty());
    world.sim.set_behaviour(address(2), Behaviour::Serve);
    let (peer, respondent) = asked(&mut world, &answers);
    assert_eq!(peer.address, address(2));
    respondent.answer(Ok(Login::default()));
    world.connect();
}

#[test]
fn whoever_waits_for_a_login_can_be_closed_and_dropped() {
    let (mut world, answers) = world_that_asks(|_| {});
    let (_, respondent) = asked(&mut world, &answers);
    let mut close = world.close(SECOND).unwrap();
    assert_eq!(world.run_until_ended(SECOND), SessionEnd::Closed);
    assert!(close.try_pull().is_some());
    respondent.answer(Ok(Login::default()));

    let (mut world, answers) = world_that_asks(|_| {});
    let (_, respondent) = asked(&mut world, &answers);
    let World { sim, shared } = world;
    drop(sim);
    assert_eq!(shared.status.end(), Some(SessionEnd::DriverGone));
    respondent.answer(Ok(Login::default()));
}

#[test]
fn a_connection_that_is_lost_meanwhile_asks_again() {
    let (mut world, answers) = world_that_asks(|_| {});
    let (_, respondent) = asked(&mut world, &answers);
    world.sim.cut();
    assert!(!respondent.is_awaited());
    let (_, respondent) = asked(&mut world, &answers);
    respondent.answer(Ok(Login::default()));
    world.connect();
}
