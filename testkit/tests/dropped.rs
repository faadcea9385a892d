//! A server can be dropped in the middle of anything, by any thread, and takes all with it. Alone
//! in its file, so that what the process has can be counted.
#![cfg(target_os = "linux")]

#[path = "support/client.rs"]
mod client;
#[path = "support/usage.rs"]
mod usage;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use client::{Client, dial, new_session};
use homing_protocol::{CreateMode, GetData, Record, RequestHeader, op, put_request};
use homing_testkit::FakeServer;
use usage::{Usage, allow_descriptors};

const ROUNDS: usize = 5;
const SERVERS: usize = 24;
const USERS: usize = 4;

#[test]
fn a_server_can_be_dropped_in_the_middle_of_anything() {
    allow_descriptors(1024);
    let before = Usage::now();
    for round in 0..ROUNDS {
        let servers: Vec<_> = (0..SERVERS)
            .map(|_| Arc::new(FakeServer::start()))
            .collect();
        // A client begins on each, then everybody at once.
        let begun = Barrier::new(SERVERS + USERS);
        thread::scope(|scope| {
            for server in &servers {
                let (address, begun) = (server.addr(), &begun);
                scope.spawn(move || overload(address, begun));
            }
            for user in 0..USERS {
                let (servers, begun) = (servers.clone(), &begun);
                scope.spawn(move || maltreat(servers, round * USERS + user, begun));
            }
            // The last of the users drops them.
            drop(servers);
        });
        before.assert_restored();
    }
}

/// Asks for more than it ever reads, until the server is gone; it may be stuck in that until the
/// very end.
fn overload(server: SocketAddr, begun: &Barrier) {
    let mut client = Client::connect(server);
    client.create("/big", &[7; 100_000], CreateMode::Persistent);
    let path = "/big".into();
    let get = GetData { path, watch: true };
    let mut frames = BytesMut::from(&45_u32.to_be_bytes()[..]);
    new_session().encode(&mut frames);
    for xid in 0..1000 {
        let op = op::GET_DATA;
        put_request(&mut frames, RequestHeader { xid, op }, &get);
    }
    let mut socket = dial(server);
    let mut result = socket.write_all(&frames);
    begun.wait();
    while result.is_ok() {
        result = socket.write_all(&frames[49..]);
    }
    let kind = result.unwrap_err().kind();
    assert_ne!(kind, std::io::ErrorKind::WouldBlock, "it was never dropped");
}

/// Uses every server in some way and lets go of it, in an order of its own.
fn maltreat(mut servers: Vec<Arc<FakeServer>>, user: usize, begun: &Barrier) {
    begun.wait();
    // A step that shares no factor with the number of servers meets each of them.
    let step = [1, 5, 7, 11][user % 4];
    for turn in 0..SERVERS {
        let server = &servers[turn * step % SERVERS];
        match (turn + user) % 8 {
            0 => server.pause(),
            1 => server.latency(Duration::from_millis(5)),
            2 => server.cut_connections(),
            3 => server.refuse_connections(true),
            4 => server.stop(),
            5 => {
                let sessions = server.with_server(|server| server.sessions());
                if let Some(session) = sessions.first() {
                    server.expire_session(session.id);
                }
            }
            6 => server.set_read_only(true),
            _ => server.resume(),
        }
    }
    while !servers.is_empty() {
        drop(servers.swap_remove(user % servers.len()));
    }
}
