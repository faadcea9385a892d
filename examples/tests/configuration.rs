//! A till that must not sell what the operator has taken off the shelf.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use homing::{Client, Error, SessionState};
use homing_testkit::FakeEnsemble;

/// Sells, as long as `/sale` says "on".
struct Till {
    client: Client,
    /// What `/sale` said; nothing while that may be old.
    known: Arc<Mutex<Option<String>>>,
}

impl Till {
    /// `name` is a node that goes away with the till's session.
    async fn open(client: Client, name: &str) -> Result<Self, Error> {
        client.create(name, b"").ephemeral().await?;
        let known = Arc::default();
        let till = Self { client, known };
        tokio::spawn(follow(till.client.clone(), Arc::clone(&till.known)));
        Ok(till)
    }

    /// What `/sale` says, as far as it is known: for each of many customers. An operator who
    /// waits until the tills that have not taken note are gone finds no old value in use.
    fn known(&self) -> Option<String> {
        let until = self.client.valid_until()?;
        let known = self.known.lock().unwrap().clone();
        known.filter(|_| Instant::now() < until)
    }

    /// What `/sale` says by now: for one to whom it was told that it has changed.
    async fn ask(&self) -> Result<String, Error> {
        // A server may be behind: it has to catch up first.
        let node = self.client.get("/sale").synced().await?;
        Ok(String::from_utf8_lossy(&node.data).into_owned())
    }
}

/// Keeps what is known up to date until the session ends.
async fn follow(client: Client, known: Arc<Mutex<Option<String>>>) -> Result<(), Error> {
    loop {
        let (node, changed) = match client.get("/sale").synced().watch().await {
            Err(Error::ConnectionLost { .. }) => continue, // A read can be repeated.
            answer => answer?,
        };
        let mut states = client.state_changes();
        let text = String::from_utf8_lossy(&node.data).into_owned();
        *known.lock().unwrap() = Some(text);
        let suspended = async {
            while let Some(change) = states.next().await
                && matches!(change.state, SessionState::Connected(_))
            {}
        };
        tokio::select! {
            _ = changed => {}
            () = suspended => {}
        }
        // Not before it is read anew: with the connection the lease comes back at once.
        *known.lock().unwrap() = None;
    }
}

async fn connect(ensemble: &FakeEnsemble, member: usize, timeout: Duration) -> Client {
    let builder = Client::builder(&ensemble.member(member).connect_string());
    let builder = builder.session_timeout(timeout);
    builder.connect().await.unwrap()
}

/// An ensemble with a sale, a till at its first member, and an operator at its second.
async fn open(timeout: Duration) -> (FakeEnsemble, Till, Client) {
    let ensemble = FakeEnsemble::builder()
        .session_timeouts(Duration::from_millis(100), Duration::from_secs(40))
        .tick_time(Duration::from_millis(50))
        .start()
        .unwrap();
    let operator = connect(&ensemble, 1, Duration::from_secs(40)).await;
    operator.create("/sale", b"on").await.unwrap();
    let client = connect(&ensemble, 0, timeout).await;
    let till = Till::open(client, "/till").await.unwrap();
    until(|| till.known() == Some("on".into())).await;
    (ensemble, till, operator)
}

/// Waits until something is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < limit, "it never is");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_server_that_is_behind_does_not_sell_what_is_off() {
    let (ensemble, till, operator) = open(Duration::from_secs(40)).await;
    ensemble.set_lag(0, Duration::MAX); // The till's server learns nothing more.
    operator.set("/sale", b"off").await.unwrap();

    let asked = ensemble.member(0).requests_received();
    let till = Arc::new(till);
    let asking = Arc::clone(&till);
    let answer = tokio::spawn(async move { asking.ask().await });
    until(|| ensemble.member(0).requests_received() > asked).await;
    ensemble.set_lag(0, Duration::ZERO);
    assert_eq!(answer.await.unwrap().unwrap(), "off");
}

#[tokio::test]
async fn a_till_that_is_cut_off_stops_before_the_operator_relies_on_it() {
    let (ensemble, till, operator) = open(Duration::from_millis(400)).await;
    ensemble.isolate(0);
    operator.set("/sale", b"off").await.unwrap();

    let (there, gone) = operator.exists("/till").watch().await.unwrap();
    if there.is_some() {
        gone.await.unwrap();
    }
    assert_eq!(till.known(), None, "it goes on with what may be old");
}

#[tokio::test]
async fn a_till_that_comes_back_never_shows_what_it_knew() {
    let (ensemble, till, operator) = open(Duration::from_secs(40)).await;
    ensemble.isolate(0);
    until(|| till.known().is_none()).await;
    operator.set("/sale", b"off").await.unwrap();

    ensemble.heal(0);
    until(|| match till.known().as_deref() {
        None => false,
        Some(known) => {
            assert_eq!(known, "off");
            true
        }
    })
    .await;
}
