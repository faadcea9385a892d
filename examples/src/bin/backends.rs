//! The same code over both transports: which one moves the bytes is chosen in the builder.
//!
//! ```text
//! cargo run -p homing-examples --bin backends
//! ```
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use homing::{Client, Error, Tokio};
use homing_examples::Servers;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let servers = Servers::from_args();
    println!("Talking to {}.", servers.describe());
    let builder = || Client::builder(&servers.connect_string());

    println!("\ntokio: the session is a task of this program's runtime.");
    visit(builder().tokio().connect().await?).await?;

    println!("\ntokio on a private thread: this program may block its runtime as it likes.");
    visit(
        builder()
            .transport(Tokio::private_thread())
            .connect()
            .await?,
    )
    .await?;

    println!("\nnio: the session has a thread of its own and needs no runtime; it serves any.");
    visit(builder().nio().connect().await?).await?;
    Ok(())
}

/// Knows nothing of transports.
async fn visit(client: Client) -> Result<(), Error> {
    let made = client
        .create("/visit-", b"was here")
        .ephemeral()
        .sequential()
        .await?;
    let node = client.get(&made.path).await?;
    println!("  {} holds {:?}", made.path, node.data);
    client.close().await
}
