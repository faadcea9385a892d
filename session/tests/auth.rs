//! Identities: presented in their place, and on every connection again.

mod common;

use std::sync::Arc;

use common::*;
use homing_protocol::{Acl, Create, CreateMode, Id, op, permission};
use homing_session::{Answer, Authentication, Cause, Note, Secret, SessionEnd, WatchKind};
use homing_transport::{Request, Ticket};

fn bob() -> Arc<Authentication> {
    Arc::new(Authentication {
        scheme: "digest".into(),
        proof: Secret::new(b"bob:pw"),
    })
}

impl World {
    fn add_auth(&self, authentication: Arc<Authentication>) -> Ticket<Answer> {
        self.shared.authentications.add(Arc::clone(&authentication));
        let request = Request {
            len: authentication.frame_len(),
            within: None,
            note: Note::Auth {
                scheme: authentication.scheme.clone(),
            },
        };
        self.shared
            .queue
            .submit_aside(request, |out| authentication.put_frame(out))
            .unwrap()
    }

    /// A node that only Bob can read.
    fn create_for_bob(&self, path: &str) -> Ticket<Answer> {
        // The hash of bob:pw, as a server shows it.
        let id = Id {
            scheme: "digest".into(),
            id: "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=".into(),
        };
        let acl = [Acl {
            permissions: permission::ALL,
            id,
        }];
        let body = Create {
            path: path.into(),
            data: b"",
            acl: &acl,
            mode: CreateMode::Persistent,
        };
        self.submit(op::CREATE2, &body, None).unwrap()
    }
}

#[test]
fn it_counts_for_what_is_submitted_behind_it() {
    let mut world = connected();
    let made = world.create_for_bob("/secret");
    let before = world.get("/secret");
    let auth = world.add_auth(bob());
    let after = world.get("/secret");
    world.settle();
    assert_eq!(reply(made).err, 0);
    // The server reads an identity when it comes, so it may count for what is just before it.
    assert!([0, -102].contains(&reply(before).err));
    assert_eq!(reply(auth).err, 0);
    assert_eq!(reply(after).err, 0);
    assert_eq!(world.shared.queue.usage().requests, 0);
}

#[test]
fn every_connection_has_it_before_any_request() {
    let mut world = connected();
    let made = world.create_for_bob("/secret");
    let auth = world.add_auth(bob());
    world.settle();
    drop((made, auth));
    for _ in 0..3 {
        world.sim.cut();
        let read = world.get("/secret");
        world.connect();
        world.settle();
        assert_eq!(reply(read).err, 0);
    }
}

#[test]
fn the_reply_may_overtake_others() {
    let mut world = connected();
    world.sim.set_tamper(|_| Vec::new());
    let first = world.get("/a");
    let auth = world.add_auth(bob());
    let second = world.get("/b");
    world.settle();
    let frame = |xid: i32| {
        let mut frame = b"\0\0\0\x10".to_vec();
        frame.extend_from_slice(&xid.to_be_bytes());
        frame.extend_from_slice(b"\0\0\0\0\0\0\0\x01");
        frame.extend_from_slice(&if xid == -4 { 0_i32 } else { -101 }.to_be_bytes());
        frame
    };
    world.sim.inject(&[frame(-4), frame(1), frame(2)].concat());
    world.sim.step();
    assert_eq!(reply(auth).err, 0);
    assert_eq!(reply(first).err, -101);
    assert_eq!(reply(second).err, -101);
    assert!(world.is_connected());
}

#[test]
fn a_refusal_ends_the_session_for_everybody() {
    let mut world = connected();
    let nobody = Authentication {
        scheme: "nonsense".into(),
        proof: Secret::new(b"x"),
    };
    let auth = world.add_auth(Arc::new(nobody));
    let waiting = world.get("/");
    let end = world.run_until_ended(SECOND);
    assert_eq!(
        end,
        SessionEnd::AuthFailed {
            scheme: "nonsense".into()
        }
    );
    assert_eq!(reply(auth).err, -115);
    // At once: it is not asked a second time.
    assert_eq!(world.shared.status.stats().connections, 1);
    let mut waiting = waiting;
    assert!(waiting.try_pull().is_some());
    assert!(world.shared.status.report().is_some());
}

#[test]
fn it_comes_before_watches_and_requests() {
    let mut world = connected();
    let auth = world.add_auth(bob());
    world.settle();
    assert_eq!(reply(auth).err, 0);
    let (asked, watch) = world.watch(WatchKind::Exist, "/a");
    world.settle();
    assert_eq!(reply(asked).err, -101);

    // The server answers them as it reads them.
    let answered = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let log = std::rc::Rc::clone(&answered);
    world.sim.cut();
    world.sim.set_tamper(move |piece| {
        log.borrow_mut()
            .push(i32::from_be_bytes(piece[4..8].try_into().unwrap()));
        vec![piece]
    });
    let read = world.get("/");
    world.connect();
    world.settle();
    assert_eq!(reply(read).err, 0);
    // The handshake, of which these bytes are its version; identity, watches, request.
    let [0, -4, -8, xid] = answered.borrow()[..] else {
        panic!("{answered:?}");
    };
    assert!(xid > 0);
    drop(watch);
}

#[test]
fn the_one_that_was_refused_is_named() {
    let mut world = connected();
    let nobody = Authentication {
        scheme: "nonsense".into(),
        proof: Secret::new(b"x"),
    };
    // Others were accepted before it, and others are behind it.
    let before = world.add_auth(bob());
    let refused = world.add_auth(Arc::new(nobody));
    let behind = world.add_auth(bob());
    let end = world.run_until_ended(SECOND);
    let scheme = "nonsense".into();
    assert_eq!(end, SessionEnd::AuthFailed { scheme });
    assert_eq!(reply(before).err, 0);
    assert_eq!(reply(refused).err, -115);
    assert!(matches!(
        unanswered(behind).cause,
        Cause::Ended(SessionEnd::AuthFailed { .. })
    ));
}

#[test]
fn a_refusal_on_a_later_connection_does_too() {
    let mut world = connected();
    let auth = world.add_auth(bob());
    world.settle();
    assert_eq!(reply(auth).err, 0);
    world.sim.set_tamper(|mut piece| {
        if piece[4..8] == *b"\xff\xff\xff\xfc" {
            let mut refused = piece.to_vec();
            refused[16..20].copy_from_slice(&(-115_i32).to_be_bytes());
            piece = refused.into();
        }
        vec![piece]
    });
    world.sim.cut();
    let end = world.run_until_ended(SECOND);
    assert_eq!(
        end,
        SessionEnd::AuthFailed {
            scheme: "digest".into()
        }
    );
}

#[test]
fn identities_alone_keep_no_session_alive_so_that_it_pings() {
    let mut world = connected();
    let session = world.session_id();
    let beginning = world.sim.elapsed();
    while world.sim.elapsed() - beginning < 4 * T {
        let auth = world.add_auth(bob());
        world.sim.run_for(T / 4);
        assert_eq!(reply(auth).err, 0);
    }
    assert!(world.is_connected());
    assert_eq!(world.session_id(), session);
    assert_eq!(world.sim.dials().len(), 1);
    let valid_until = world.shared.status.valid_until();
    assert!(
        valid_until > Some(world.sim.now() + T / 2),
        "pings extend it"
    );
}

#[test]
fn identities_extend_no_lease_and_hold_none_back() {
    let mut world = connected();
    let before = world.shared.status.valid_until();
    world.sim.run_for(SECOND);
    for _ in 0..3 {
        drop(world.add_auth(bob()));
        world.settle();
    }
    assert_eq!(world.shared.status.valid_until(), before);
    let sent_at = world.sim.now();
    drop(world.get("/"));
    world.settle();
    assert_eq!(world.shared.status.valid_until(), Some(sent_at + T));
}
