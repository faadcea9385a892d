//! A group whose members come and go: each is an ephemeral node, which goes away with its
//! session, and everybody can follow the list.
//!
//! ```text
//! cargo run -p homing-examples --bin ephemeral_members
//! ```
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use homing::{Client, Error, ErrorCode};
use homing_examples::Servers;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What the observer has seen: the members' names, in order.
type Seen = Receiver<Vec<String>>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let servers = Servers::from_args();
    println!("Connecting to {} …", servers.describe());
    let client = Client::connect(&servers.connect_string()).await?;
    let group = client.create("/group-", b"").sequential().await?.path;

    let (tell, mut seen) = channel(16);
    let observer = tokio::spawn(observe(client.clone(), group.clone(), tell));
    until(&mut seen, 0).await;

    println!("Ada and Bob join:");
    let ada = join(&servers, &group, "ada").await?;
    let bob = join(&servers, &group, "bob").await?;
    until(&mut seen, 2).await;

    println!("Ada leaves; her node goes away with her session:");
    ada.close().await?;
    until(&mut seen, 1).await;

    println!("Cyd joins, and detaches: nobody hears from her any more, as if she had crashed.");
    let cyd = join(&servers, &group, "cyd").await?;
    let credentials = cyd.detach().await?;
    until(&mut seen, 2).await;
    println!("Her node stays until her session times out, or is closed by an heir:");
    let heir = Client::builder(&servers.connect_string()).resume(credentials);
    heir.connect().await?.close().await?;
    until(&mut seen, 1).await;

    println!("Bob leaves:");
    bob.close().await?;
    until(&mut seen, 0).await;

    client.delete(&group).await?;
    observer.await.expect("the observer does not panic")?;
    client.close().await
}

/// Makes a client with a session of its own, and its node.
async fn join(servers: &Servers, group: &str, name: &str) -> Result<Client, Error> {
    let client = Client::connect(&servers.connect_string()).await?;
    let path = format!("{group}/{name}");
    client.create(path, b"host:port").ephemeral().await?;
    Ok(client)
}

/// Follows the list until the group is gone.
async fn observe(client: Client, group: String, tell: Sender<Vec<String>>) -> Result<(), Error> {
    loop {
        let (members, changed) = match client.children(&group).watch().await {
            Ok(answer) => answer,
            Err(error) if error.code() == Some(ErrorCode::NoNode) => return Ok(()),
            Err(error) => return Err(error),
        };
        let members: Vec<_> = members.sorted().into_iter().map(String::from).collect();
        println!("  {} members: {members:?}", members.len());
        if tell.send(members).await.is_err() {
            return Ok(());
        }
        changed.await?;
    }
}

/// Waits until the observer has seen so many members.
async fn until(seen: &mut Seen, count: usize) {
    while let Some(members) = seen.recv().await
        && members.len() != count
    {}
}
