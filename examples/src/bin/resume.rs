//! A session that outlives its process: detach, hand the credentials over, resume.
//!
//! ```text
//! cargo run -p homing-examples --bin resume
//! ```
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use homing::{Client, Credentials, Error, SessionEnd};
use homing_examples::Servers;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let servers = Servers::from_args();
    println!("Connecting to {} …", servers.describe());

    // The old process holds something that must not be let go of: an ephemeral node.
    let old = Client::connect(&servers.connect_string()).await?;
    let lock = old.create("/lock-", b"").ephemeral().sequential().await?;
    println!("old process: has made {}", lock.path);

    // `close` would end the session, and the node with it. `detach` only leaves it: from now on
    // it lives until its time-out, which is the time that there is to resume it.
    let credentials = old.detach().await?;
    println!("old process: has left {credentials:?}");

    // The id and the password are all that it takes. Whoever has them can take the session over,
    // so they are to be kept like a password: a file of one's own, a pipe to the successor.
    let (session_id, password) = (credentials.session_id(), credentials.password().to_vec());

    let credentials = Credentials::new(session_id, &password).expect("what was kept is whole");
    let new = Client::builder(&servers.connect_string())
        .resume(credentials)
        .connect()
        .await?;
    let stat = new.exists(&lock.path).await?.expect("it has lived on");
    println!(
        "new process: holds {} now, its owner is still session {:#x}",
        lock.path, stat.ephemeral_owner
    );
    new.close().await?;
    println!("new process: has closed the session; the node is gone with it");

    // Too late is too late: it never becomes another session without a word.
    let late = Client::builder(&servers.connect_string())
        .resume(credentials)
        .connect()
        .await;
    match late {
        Err(Error::SessionEnded {
            end: SessionEnd::Expired { session_id },
            ..
        }) => println!("a third one: cannot resume session {session_id:#x}, which is over"),
        Err(error) => return Err(error),
        Ok(_) => println!("a third one: unexpectedly it could be resumed"),
    }
    Ok(())
}
