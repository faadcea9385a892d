//! The first program to read: connect, then create, read, change, list and delete nodes.
//!
//! ```text
//! cargo run -p homing-examples --bin quickstart                      # a fake server, built in
//! cargo run -p homing-examples --bin quickstart -- zk1:2181,zk2:2181  # real ones
//! ```
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use homing::{Client, Error, ErrorCode, SessionState};
use homing_examples::Servers;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let servers = Servers::from_args();
    println!("Connecting to {} …", servers.describe());
    let client = Client::connect(&servers.connect_string()).await?;
    if let SessionState::Connected(connection) = client.state() {
        println!(
            "Connected. Session {:#x} lasts {:?} without a word from us; pings keep it alive.",
            connection.session_id, connection.session_timeout
        );
    }

    // A name of our own, so that the example can run twice at the same time.
    let root = client.create("/quickstart-", b"").sequential().await?.path;

    println!("\nNodes have a path and some bytes of data:");
    let config = format!("{root}/config");
    let made = client.create(&config, b"colour=blue").await?;
    println!("  create   {}", made.path);
    let node = client.get(&config).await?;
    println!(
        "  get      {config} -> {:?}, version {}",
        node.data, node.stat.version
    );

    println!("\nA write can insist on the version that was read:");
    let stat = client
        .set(&config, b"colour=red")
        .version(node.stat.version)
        .await?;
    println!(
        "  set      {config} at version {} -> version {}",
        node.stat.version, stat.version
    );
    match client
        .set(&config, b"colour=green")
        .version(node.stat.version)
        .await
    {
        Err(error) if error.code() == Some(ErrorCode::BadVersion) => {
            println!(
                "  set      again at version {} -> {error}",
                node.stat.version
            );
        }
        other => println!("  set      unexpectedly: {other:?}"),
    }

    println!("\nAn ephemeral node goes away with its session; a sequential one gets a number:");
    let workers = format!("{root}/workers");
    client.create(&workers, b"").await?;
    let me = client
        .create(format!("{workers}/worker-"), b"host-1:8080")
        .ephemeral()
        .sequential()
        .await?;
    println!("  create   {} (number {:?})", me.path, me.sequence);
    println!(
        "  exists   {} -> {}",
        me.path,
        client.exists(&me.path).await?.is_some()
    );

    println!("\nNodes have children, and children have names:");
    println!(
        "  children {root} -> {:?}",
        client.children(&root).await?.sorted()
    );
    println!(
        "  children {workers} -> {:?}",
        client.children(&workers).await?.sorted()
    );

    println!("\nCleaning up:");
    for path in [&me.path, &workers, &config, &root] {
        client.delete(path).await?;
        println!("  delete   {path}");
    }
    client.close().await?;
    println!("\nClosed. The session has ended, and with it every ephemeral node it had left.");
    Ok(())
}
