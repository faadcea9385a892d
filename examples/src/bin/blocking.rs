//! The same client on plain threads: no async runtime in the process.
//!
//! ```text
//! cargo run -p homing-examples --bin blocking
//! ```
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use std::thread;

use homing::{Client, Error, ErrorCode};
use homing_examples::Servers;

/// How many threads, and how often each counts.
const THREADS: usize = 4;
const COUNTS: usize = 25;

fn main() -> Result<(), Error> {
    let servers = Servers::from_args();
    println!("Connecting to {} …", servers.describe());
    // `.nio()` puts the session on a thread of its own; `.wait()` blocks this one.
    let client = Client::builder(&servers.connect_string())
        .nio()
        .connect()
        .wait()?;

    let counter = client.create("/counter-", b"0").sequential().wait()?.path;
    println!(
        "{THREADS} threads count to {} at {counter} …",
        THREADS * COUNTS
    );
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            // A handle is cheap to clone; all of them share the session.
            let (client, counter) = (client.clone(), counter.clone());
            thread::spawn(move || (0..COUNTS).try_fold(0, |n, _| Ok(n + count(&client, &counter)?)))
        })
        .collect();
    let mut retries = 0;
    for thread in threads {
        retries += thread.join().expect("no thread panics")?;
    }
    let node = client.get(&counter).wait()?;
    println!(
        "The counter stands at {} (version {}); {retries} times somebody else was faster.",
        String::from_utf8_lossy(&node.data),
        node.stat.version
    );

    client.delete(&counter).wait()?;
    client.close().wait()?;
    println!("Closed.");
    Ok(())
}

/// Adds one, and says how often another thread came in between.
fn count(client: &Client, counter: &str) -> Result<usize, Error> {
    let mut retries = 0;
    loop {
        let node = client.get(counter).wait()?;
        let number: u64 = String::from_utf8_lossy(&node.data).parse().unwrap_or(0);
        let next = (number + 1).to_string();
        match client.set(counter, &next).version(node.stat.version).wait() {
            Ok(_) => return Ok(retries),
            Err(error) if error.code() == Some(ErrorCode::BadVersion) => retries += 1,
            Err(error) => return Err(error),
        }
    }
}
