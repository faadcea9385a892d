//! What a caller sees when the server stalls: deadlines, limits, and a session that is suspended.
//!
//! ```text
//! cargo run -p homing-examples --bin deadlines
//! ```
//!
//! It stalls its own fake server, so it takes no connect string.
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use std::time::{Duration, Instant};

use homing::{Client, Error, SessionState};
use homing_testkit::FakeServer;

#[tokio::main]
async fn main() -> Result<(), Error> {
    // Short sessions, so that nobody has to wait: with a server's defaults they last 4 s at least.
    let server = FakeServer::builder()
        .tick_time(Duration::from_millis(200))
        .start()
        .expect("a fake server starts");
    let client = Client::builder(&server.connect_string())
        .session_timeout(Duration::from_secs(3))
        .requests_in_flight(4)
        .connect()
        .await?;
    client.create("/counter", b"0").await?;

    println!("The server stalls: connections stay open, and it answers nothing.");
    server.pause();

    println!("\nEvery request has a deadline, 30 s unless set otherwise:");
    let start = Instant::now();
    let patient = client.get("/counter").submit()?;
    let hurried = client
        .set("/counter", b"1")
        .deadline(Duration::from_millis(100));
    match hurried.await {
        Err(error) => println!("  after {:.1?}: {error}", start.elapsed()),
        Ok(_) => println!("  unexpectedly it was answered"),
    }

    println!("\nMemory is bounded; `submit` says so, `.await` waits for room:");
    let _third = client.get("/counter").submit()?;
    let _fourth = client.get("/counter").submit()?;
    match client.get("/counter").submit() {
        Err(error) => println!("  {error}"),
        Ok(_) => println!("  unexpectedly there was room"),
    }

    println!("\nThe server goes on. Others were not disturbed, and the late reply is thrown away:");
    server.resume();
    println!("  the patient one read {:?}", patient.await?.data);
    // It had been sent, so it may have been applied. Now it can be seen that it was.
    println!("  the counter is {:?}", client.get("/counter").await?.data);

    println!("\nA server that stays silent for two thirds of the session time-out is given up:");
    let mut states = client.state_changes();
    let start = Instant::now();
    server.pause();
    let mut was_suspended = false;
    while let Some(change) = states.next().await {
        println!("  after {:.1?}: {}", start.elapsed(), change.state);
        match change.state {
            // Another server would be tried now. Here there is but one, and it recovers in time.
            SessionState::Suspended { .. } => {
                was_suspended = true;
                server.resume();
            }
            SessionState::Connected(_) if was_suspended => break,
            _ => {}
        }
    }
    println!(
        "\nThe same session goes on: {:?}",
        client.get("/counter").await?.data
    );
    client.close().await
}
