//! A service that follows its configuration, through changes by others and a restart of the
//! server.
//!
//! ```text
//! cargo run -p homing-examples --bin watch_config
//! ```
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use std::time::Duration;

use homing::{Client, Error, ErrorCode, SessionState};
use homing_examples::Servers;
use tokio::sync::mpsc::{Receiver, Sender, channel};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let servers = Servers::from_args();
    println!("Connecting to {} …", servers.describe());
    let operator = Client::connect(&servers.connect_string()).await?;
    let config = operator.create("/config-", b"colour=blue").sequential();
    let config = config.await?.path;

    // The service is a task with a client of its own, as it would be in another process.
    let (tell, mut runs_with) = channel(16);
    let service = tokio::spawn(serve(servers.connect_string(), config.clone(), tell));
    until(&mut runs_with, "colour=blue").await;

    println!("operator: sets it to red");
    set(&operator, &config, "colour=red").await?;
    until(&mut runs_with, "colour=red").await;

    if let Servers::Fake(server) = &servers {
        println!("server:   stops, and is away for a while");
        server.stop();
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.restart().expect("the server gets its port back");
        println!("server:   is back, with what it had stored");
    }

    println!("operator: sets it to green");
    set(&operator, &config, "colour=green").await?;
    until(&mut runs_with, "colour=green").await;

    println!("operator: removes it");
    operator.delete(&config).await?;
    service.await.expect("the service does not panic")?;
    operator.close().await
}

/// Follows the configuration until it is removed.
async fn serve(servers: String, config: String, tell: Sender<String>) -> Result<(), Error> {
    let client = Client::connect(&servers).await?;
    tokio::spawn(tell_states(client.clone()));
    loop {
        // Answer and watcher belong together: the next change behind this answer is told.
        let (node, changed) = match client.get(&config).watch().await {
            Ok(answer) => answer,
            Err(error) if error.code() == Some(ErrorCode::NoNode) => {
                println!("service:  the configuration is gone, and so am I");
                return client.close().await;
            }
            // The connection broke while the request was on its way. To read again does no harm.
            Err(Error::ConnectionLost { .. }) => continue,
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&node.data).into_owned();
        println!("service:  runs with {text} (version {})", node.stat.version);
        let _ = tell.send(text).await;
        // A watcher outlives connections: it stays pending while there is none, and is told
        // afterwards of what happened meanwhile. It tells of one change; several in a row can
        // show as one.
        let event = changed.await?;
        println!("service:  was told: {event}");
    }
}

/// A set that can as well be applied twice. It waits for a connection by itself; only if one
/// breaks while it is on its way is it up to us whether it is safe to repeat.
async fn set(client: &Client, path: &str, data: &str) -> Result<(), Error> {
    loop {
        match client.set(path, data).await {
            Err(Error::ConnectionLost { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

/// Nothing has to be done about a session that is suspended, but a log is glad to hear of it.
async fn tell_states(client: Client) {
    let mut states = client.state_changes();
    // A stream keeps no session alive, a handle does.
    drop(client);
    while let Some(change) = states.next().await {
        match change.state {
            SessionState::Suspended { why, .. } => println!("service:  is suspended: {why}"),
            state => println!("service:  is {state}"),
        }
    }
}

/// Waits until the service runs with this.
async fn until(runs_with: &mut Receiver<String>, text: &str) {
    while let Some(now) = runs_with.recv().await
        && now != text
    {}
}
