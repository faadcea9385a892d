//! A leader that must stop before another one begins.

use std::thread;
use std::time::{Duration, Instant};

use homing::{Client, Error, ErrorCode, Retry, SessionState};
use homing_testkit::FakeEnsemble;
use tokio::runtime::Builder;
use tokio::time::{sleep_until, timeout};

/// The right to do what only one may do at a time.
struct Leadership {
    /// A handle to the session that has made the node, and to none that follows it.
    session: Client,
}

impl Leadership {
    /// Waits until nobody else leads.
    async fn gain(client: &Client) -> Result<Self, Error> {
        let session = client.pinned();
        loop {
            match session.create("/leader", b"").ephemeral().protected().await {
                Ok(_) => return Ok(Self { session }),
                Err(error) if error.code() == Some(ErrorCode::NodeExists) => {}
                Err(error) => return Err(error),
            }
            let look = session.exists("/leader").watch().retry(Retry::new());
            let (other, gone) = look.await?;
            if other.is_some() {
                gone.await?;
            }
        }
    }

    /// Until when nobody else can lead; `None` once that is not certain any more. To be asked
    /// right before whatever only the leader may do.
    fn holds_until(&self) -> Option<Instant> {
        let until = self.session.valid_until()?;
        let is_over = matches!(self.session.state(), SessionState::Ended(_));
        (!is_over && Instant::now() < until).then_some(until)
    }

    /// Waits until it is lost, so that what is going on can be stopped.
    async fn lost(&self) {
        let mut changes = self.session.state_changes();
        while let Some(until) = self.holds_until() {
            // The lease grows with each answer, so it is looked at again when it should be over.
            tokio::select! {
                () = sleep_until(until.into()) => {}
                change = changes.next() => if change.is_none() { return },
            }
        }
    }
}

/// A session that ends soon without an answer, and one that does not.
const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(40);

/// Three servers that let sessions expire when their time is over, and not much later.
fn ensemble() -> FakeEnsemble {
    FakeEnsemble::builder()
        .tick_time(Duration::from_millis(10))
        .session_timeouts(SHORT, LONG)
        .start()
        .unwrap()
}

async fn connect(servers: &str, session_timeout: Duration) -> Client {
    let builder = Client::builder(servers).session_timeout(session_timeout);
    builder.connect().await.unwrap()
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_the_next_one_begins() {
    let ensemble = ensemble();
    let one = connect(&ensemble.member(0).connect_string(), SHORT).await;
    let two = connect(&ensemble.member(1).connect_string(), LONG).await;
    let first = Leadership::gain(&one).await.unwrap();
    assert!(first.holds_until().is_some());

    // Nothing comes through any more. The others let the session expire, and cannot tell it.
    ensemble.member(0).pause();
    ensemble.isolate(0);
    let second = Leadership::gain(&two).await.unwrap();
    assert!(first.holds_until().is_none(), "there are two leaders");
    assert!(second.holds_until().is_some());
}

#[tokio::test]
async fn a_leader_whose_process_stood_still_does_not_go_on() {
    let ensemble = ensemble();
    let servers = ensemble.connect_string();
    let one = connect(&servers, SHORT).await;
    let first = Leadership::gain(&one).await.unwrap();

    // No task of this thread runs meanwhile, pings of the tokio transport included: as if the
    // process had been stopped.
    let second = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let two = connect(&servers, LONG).await;
            Leadership::gain(&two).await.map(|second| (second, two))
        })
    });
    let second = second.join().unwrap();
    assert!(second.is_ok());
    assert!(first.holds_until().is_none(), "there are two leaders");
}

#[tokio::test]
async fn a_leader_whose_session_is_ended_gives_up() {
    let ensemble = ensemble();
    let client = connect(&ensemble.connect_string(), LONG).await;
    let leadership = Leadership::gain(&client).await.unwrap();
    let session = client.credentials().unwrap().session_id();
    assert!(ensemble.expire_session(session)); // By an administrator, say.

    let lost = timeout(LONG / 2, leadership.lost()).await;
    lost.expect("it goes on until its lease is over");
    assert!(leadership.holds_until().is_none());
    let next = connect(&ensemble.connect_string(), LONG).await;
    Leadership::gain(&next).await.unwrap();
}

#[tokio::test]
async fn a_leader_that_only_changes_its_server_goes_on() {
    let ensemble = ensemble();
    let client = connect(&ensemble.connect_string(), LONG).await;
    let leadership = Leadership::gain(&client).await.unwrap();

    let mut states = client.state_changes();
    let server = client.connected().await.unwrap().server.to_string();
    let mut members = ensemble.members().iter();
    let member = members.find(|member| member.connect_string() == server);
    member.unwrap().stop();
    while !matches!(
        states.next().await.unwrap().state,
        SessionState::Suspended { .. }
    ) {}
    client.set("/leader", b"still me").await.unwrap();
    assert!(leadership.holds_until().is_some());
}
