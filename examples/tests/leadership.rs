//! A leader that must stop before another one begins.

use std::time::{Duration, Instant};

use homing::{Client, Error, ErrorCode, SessionState};
use homing_testkit::FakeEnsemble;

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
            let (other, gone) = session.exists("/leader").watch().await?;
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
                () = tokio::time::sleep_until(until.into()) => {}
                _ = changes.next() => {}
            }
        }
    }
}

/// Three servers, which let sessions expire soon.
fn ensemble() -> FakeEnsemble {
    let ensemble = FakeEnsemble::builder().tick_time(Duration::from_millis(50));
    ensemble.start().unwrap()
}

/// A client of one member. Its session lasts 400 ms without an answer.
async fn connect(ensemble: &FakeEnsemble, member: usize) -> Client {
    let builder = Client::builder(&ensemble.member(member).connect_string());
    let builder = builder.session_timeout(Duration::from_millis(400));
    builder.connect().await.unwrap()
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_the_next_one_begins() {
    let ensemble = ensemble();
    let (one, two) = (connect(&ensemble, 0).await, connect(&ensemble, 1).await);
    let first = Leadership::gain(&one).await.unwrap();
    assert!(first.holds_until().is_some());

    // The others let its session expire, and cannot tell it.
    ensemble.isolate(0);
    let second = Leadership::gain(&two).await.unwrap();
    assert!(first.holds_until().is_none(), "there are two leaders");
    assert!(second.holds_until().is_some());
}

#[tokio::test]
async fn a_leader_whose_session_is_ended_gives_up() {
    let ensemble = ensemble();
    let client = connect(&ensemble, 0).await;
    let leadership = Leadership::gain(&client).await.unwrap();
    let work = async {
        leadership.lost().await;
        "stopped"
    };

    // By an administrator, say.
    let session = client.credentials().unwrap().session_id();
    assert!(ensemble.expire_session(session));
    assert_eq!(work.await, "stopped");
    let next = connect(&ensemble, 1).await;
    Leadership::gain(&next).await.unwrap();
}

#[tokio::test]
async fn a_leader_that_only_changes_its_server_goes_on() {
    let ensemble = ensemble();
    let builder = Client::builder(&ensemble.connect_string());
    let client = builder.connect().await.unwrap();
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
