//! What is asked beside the stream: names, and questions to another server.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use homing_transport::{Action, Asked, Question};

use super::engine::{Event, Remote};
use super::layer::{Toy, mask};
use super::plan::Plan;
use super::{Backend, Server, connect, expect_bytes, layer, nowhere};

pub(crate) fn names_are_looked_up(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    remote.resolve("localhost", 2181);
    let Event::Resolved(Ok(addresses)) = remote.next() else {
        panic!("localhost does not resolve");
    };
    assert!(!addresses.is_empty());
    for address in addresses {
        assert!(address.ip().is_loopback(), "{address}");
        assert_eq!(address.port(), 2181);
    }
}

pub(crate) fn a_name_that_does_not_resolve_is_told(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    // No part of a name is that long: it is refused before anybody is asked.
    let host = format!("{}.invalid", "x".repeat(64));
    remote.resolve(&host, 2181);
    match remote.next() {
        Event::Resolved(Err(_)) => {}
        other => panic!("{other:?}"),
    }
}

pub(crate) fn only_the_last_lookup_is_answered(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    for port in 1..=20 {
        // The second one is asked for before anything could be done about the first.
        remote.react(move |event| match event {
            Event::Connected => vec![
                Action::Resolve {
                    host: "127.0.0.1".into(),
                    port,
                },
                Action::Resolve {
                    host: "127.0.0.1".into(),
                    port: port + 1_000,
                },
            ],
            _ => Vec::new(),
        });
        let server = Server::new();
        remote.dial(server.address());
        remote.expect_connected();
        match remote.next() {
            Event::Resolved(Ok(addresses)) => assert_eq!(addresses[0].port(), port + 1_000),
            other => panic!("{other:?}"),
        }
        remote.act(Action::HangUp);
        remote.expect_disconnected();
    }
}

fn question(address: SocketAddr) -> Question {
    Question {
        host: address.ip().to_string(),
        port: address.port(),
        question: b"well?",
        answer_len_max: 16,
        within: Duration::from_secs(60),
        layer: None,
    }
}

pub(crate) fn a_question_is_asked_beside_the_stream(backend: &impl Backend) {
    let (remote, _server, mut peer) = connect(backend, &Plan::new());
    let other = Server::new();
    for answer in [&b"yes"[..], b""] {
        remote.act(Action::Ask(question(other.address())));
        let mut asker = other.accept();
        expect_bytes(&mut asker, b"well?");
        asker.write_all(answer).unwrap();
        drop(asker);
        let asked = Asked {
            address: other.address(),
            answer: answer.to_vec(),
        };
        assert_eq!(remote.next(), Event::Answered(Ok(asked)));
    }
    // The stream knows nothing of it.
    remote.send(*b"on");
    expect_bytes(&mut peer, b"on");
}

pub(crate) fn a_question_is_asked_through_a_layer(backend: &impl Backend) {
    let (remote, server) = (Remote::start(backend, &Plan::new()), Server::new());
    // An end that is said, and one that may be a cut.
    for ends in [&b"."[..], b""] {
        let mut question = question(server.address());
        question.layer = Some(layer::layer(Toy::default()));
        remote.act(Action::Ask(question));
        let mut asker = server.accept();
        expect_bytes(&mut asker, b"HELLO");
        asker.write_all(b"WELCOME").unwrap();
        expect_bytes(&mut asker, &mask(b"well?"));
        asker
            .write_all(&[&mask(b"yes")[..], ends].concat())
            .unwrap();
        drop(asker);
        match remote.next() {
            Event::Answered(Ok(asked)) => {
                assert_eq!((&asked.answer[..], ends), (&b"yes"[..], &b"."[..]));
            }
            Event::Answered(Err(_)) => assert_eq!(ends, b""),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn a_question_that_nobody_answers_is_told(backend: &impl Backend) {
    let remote = Remote::start(backend, &Plan::new());
    remote.act(Action::Ask(question(nowhere())));
    match remote.next() {
        Event::Answered(Err(_)) => {}
        other => panic!("{other:?}"),
    }
}
