//! The core alone: no socket, no thread, the same bytes in and the same bytes out in every run.
//! Its instructions can be counted: `valgrind --tool=callgrind`.

use std::error::Error;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant;

use bytes::BytesMut;
use homing_testkit::{ConnectionId, Now, Output, Server, ServerConfig};

use crate::client::{Load, handshake};
use crate::workload::{Workload, preparation};

/// How many bytes come in together, as from one read of a socket.
const PIECE: usize = 64 << 10;

pub fn measure(workloads: &[Workload], requests: usize) -> Result<(), Box<dyn Error>> {
    for &workload in workloads {
        let now = Now {
            instant: Instant::now(),
            unix_ms: 1_700_000_000_000,
        };
        let mut server = Server::new(ServerConfig::default());
        let connection = server.accept(now, Ipv4Addr::LOCALHOST.into());
        server.handle_bytes(now, connection, &mut handshake());
        let _answer = server.poll_output();
        give(&mut server, now, connection, &preparation(), 1002)?;
        if workload == Workload::Delete {
            let create = Workload::Create.load(0, requests);
            give(&mut server, now, connection, &create, requests)?;
        }
        let load = workload.load(0, requests);
        let begun = Instant::now();
        give(&mut server, now, connection, &load, requests)?;
        let nanos = begun.elapsed().as_nanos() as f64 / requests as f64;
        println!("{workload:8}  {nanos:6.0} ns each, the core alone");
    }
    Ok(())
}

#[inline(never)]
fn give(
    server: &mut Server,
    now: Now,
    connection: ConnectionId,
    load: &Load,
    requests: usize,
) -> Result<(), Box<dyn Error>> {
    let (mut input, mut at) = (BytesMut::new(), 0);
    let end = load.end_of(requests);
    while at < end {
        let piece = load.piece(at, end.min(at + PIECE));
        at += piece.len();
        input.extend_from_slice(piece);
        server.handle_bytes(now, connection, &mut input);
        while let Some(output) = server.poll_output() {
            match black_box(output) {
                Output::Send(_, frame) if frame.get(16..20).is_some_and(|err| err != [0; 4]) => {
                    return Err("a request has failed".into());
                }
                Output::Send(..) => {}
                Output::Close(_) => return Err("the connection was closed".into()),
            }
        }
    }
    Ok(())
}
