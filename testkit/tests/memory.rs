//! What nodes take of memory. Alone in its file, so that the process has nothing else.
#![cfg(target_os = "linux")]

#[path = "support/client.rs"]
mod client;

use std::fs;

use client::Client;
use homing_protocol::{Acl, Create, CreateMode, op};
use homing_testkit::FakeServer;

const NODES: usize = 100_000;
const LIMIT: usize = 64 << 20;

/// Requests that are on their way together: so many replies fit into a socket's buffer.
const PIPELINED: usize = 500;

#[test]
fn a_hundred_thousand_nodes_of_100_bytes_take_less_than_64_mib() {
    let server = FakeServer::start();
    let mut client = Client::connect(server.addr());
    // The buffers have their size before anything is measured.
    make(&mut client, 0);
    let before = resident();
    for parent in 1..=NODES / 1000 {
        make(&mut client, parent);
    }
    let grown = resident() - before;
    let nodes = server.with_server(|server| server.node_count()) - 1001;
    assert!(nodes >= NODES);
    println!(
        "{nodes} nodes: {} KiB, {} bytes each",
        grown >> 10,
        grown / nodes
    );
    assert!(grown < LIMIT, "{} MiB for {nodes} nodes", grown >> 20);
}

/// A parent with a thousand children.
fn make(client: &mut Client, parent: usize) {
    let parent = format!("/parent-{parent:03}");
    create(client, &parent);
    assert_eq!(client.receive().unwrap().0.err, 0);
    for batch in 0..1000 / PIPELINED {
        for child in 0..PIPELINED {
            create(client, &format!("{parent}/child-{batch:02}-{child:03}"));
        }
        for _ in 0..PIPELINED {
            assert_eq!(client.receive().unwrap().0.err, 0);
        }
    }
}

fn create(client: &mut Client, path: &str) {
    let acl = [Acl::open()];
    let create = Create {
        path: path.into(),
        data: &[b'x'; 100],
        acl: &acl,
        mode: CreateMode::Persistent,
    };
    client.send(op::CREATE, &create);
}

/// How much memory the process really has, in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<usize>().unwrap() << 10
}
