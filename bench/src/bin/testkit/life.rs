//! How long it takes until a server can be connected to, and until it is gone.

use std::error::Error;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use homing_testkit::FakeServer;

pub fn measure(servers: usize) -> Result<(), Box<dyn Error>> {
    let (mut start, mut connect, mut close) = (Vec::new(), Vec::new(), Vec::new());
    let mut close_busy = Vec::new();
    for _ in 0..servers {
        let begun = Instant::now();
        let server = FakeServer::start();
        start.push(begun.elapsed());
        let client = TcpStream::connect(server.addr())?;
        connect.push(begun.elapsed());
        drop(client);
        let begun = Instant::now();
        drop(server);
        close.push(begun.elapsed());
    }
    for _ in 0..servers {
        let server = FakeServer::start();
        let clients: Result<Vec<_>, _> =
            (0..4).map(|_| TcpStream::connect(server.addr())).collect();
        let clients = clients?;
        let begun = Instant::now();
        drop(server);
        close_busy.push(begun.elapsed());
        drop(clients);
    }
    println!("{servers} servers, one after the other:");
    report("start", start);
    report("start, and connect", connect);
    report("drop", close);
    report("drop with four connections", close_busy);
    Ok(())
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |part: usize| took.get((took.len() * part / 1000).min(took.len() - 1));
    let micros = |part| at(part).map_or(0.0, |took| took.as_secs_f64() * 1e6);
    println!(
        "  {what:28} median {:7.1} µs   p99 {:7.1} µs   longest {:7.1} µs",
        micros(500),
        micros(990),
        micros(1000)
    );
}
