//! Four-letter words in TLS.

use std::time::Duration;

use homing::admin::{self, Why};
use homing_testkit::FakeServer;
use homing_transport_tls::ClientAuth;

use crate::server::{Kind, World};
use crate::{Backend, SOON};

crate::everywhere! {
    words_are_answered
    words_are_refused
}

async fn words_are_answered(_backend: Backend, kind: Kind) {
    let world = World::new(kind, ClientAuth::Need);
    let server = world.connect_string();
    let srvr = admin::srvr(&server).within(SOON).tls(world.tls_as("bob"));
    assert_eq!(srvr.await.unwrap().mode, "standalone");
    let waiting = server.clone();
    let text = admin::four_letter(&waiting, "srvr").within(SOON);
    let text = text.tls(world.tls_as("bob"));
    assert!(text.wait().unwrap().contains("Mode: standalone"));
}

async fn words_are_refused(_backend: Backend, kind: Kind) {
    let world = World::new(kind, ClientAuth::Need);
    let server = world.connect_string();
    let error = admin::srvr(&server).within(SOON).tls(world.tls());
    let error = error.await.unwrap_err();
    assert!(
        matches!(&error.why, Why::Tls(why) if why.contains("client certificate")),
        "{error}"
    );
    let plain = FakeServer::start().connect_string();
    let error = admin::srvr(&format!("tls://{plain}")).tls(world.tls());
    let error = error.await.unwrap_err();
    assert!(
        matches!(error.why, Why::Tls(_) | Why::Connect(_)),
        "{error}"
    );
    // In plain text to a server that expects TLS. A real one waits for a byte more.
    let plain = server.replace("tls://", "");
    let error = admin::srvr(&plain).within(Duration::from_millis(500));
    let error = error.await.unwrap_err();
    match kind {
        Kind::Fake => assert!(error.to_string().contains("TLS"), "{error}"),
        Kind::Real => assert!(matches!(error.why, Why::TimedOut(_)), "{error}"),
    }
}
