//! Many requests on their way at once, without threads and without waiting for each other.
//!
//! ```text
//! cargo run -p homing-examples --bin pipelined
//! ```
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use std::time::Instant;

use homing::{Client, Error};
use homing_examples::Servers;

const NODES: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let servers = Servers::from_args();
    println!("Connecting to {} …", servers.describe());
    let client = Client::connect(&servers.connect_string()).await?;
    let root = client.create("/pipelined-", b"").sequential().await?.path;
    let paths: Vec<String> = (0..NODES).map(|n| format!("{root}/{n}")).collect();

    // `submit` puts a request in line and returns; the server sees them in this order.
    let start = Instant::now();
    let mut writes = Vec::new();
    for path in &paths {
        writes.push(client.create(path, path).submit()?);
    }
    println!(
        "\n{NODES} creates were submitted after {:?},",
        start.elapsed()
    );
    for write in writes {
        write.await?;
    }
    println!("and all were answered after {:?}.", start.elapsed());

    // A read sees every write that was submitted before it, so nothing has to be awaited in
    // between. Answers can be pulled in any order, or not at all.
    let changed = client.set(&paths[7], b"changed").submit()?;
    let read = client.get(&paths[7]).submit()?;
    println!("\nA read right behind a write: {:?}", read.await?.data);
    changed.await?;

    let start = Instant::now();
    let mut reads = Vec::new();
    for path in &paths {
        reads.push(client.get(path).submit()?);
    }
    for (path, read) in paths.iter().zip(reads).rev().step_by(2) {
        let node = read.await?;
        assert!(node.data == *path || node.data == "changed");
    }
    println!(
        "\n{NODES} reads, half of them pulled, last first: {:?}.",
        start.elapsed()
    );

    // One at a time, for comparison: each waits for the one before.
    let start = Instant::now();
    for path in &paths {
        client.get(path).await?;
    }
    println!("{NODES} reads, one after the other: {:?}.", start.elapsed());

    let mut deletes = Vec::new();
    for path in paths.iter().chain([&root]) {
        deletes.push(client.delete(path).submit()?);
    }
    for delete in deletes {
        delete.await?;
    }
    client.close().await
}
