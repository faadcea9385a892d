//! A till that must not sell what the operator has taken off the shelf.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use homing::{Client, Error, Retry, SessionState};
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
        let read = client.get("/sale").synced().watch().retry(Retry::new());
        let (node, changed) = read.await?;
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

/// A session that ends soon without an answer, and one that does not.
const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(40);

/// An ensemble with a sale, a till at its first member, and an operator at its second.
async fn open(till_timeout: Duration) -> (FakeEnsemble, Till, Client) {
    let ensemble = FakeEnsemble::builder().session_timeouts(SHORT, LONG);
    let ensemble = ensemble
        .tick_time(Duration::from_millis(10))
        .start()
        .unwrap();
    let client = |member: usize, session_timeout| {
        let builder = Client::builder(&ensemble.member(member).connect_string());
        builder.session_timeout(session_timeout)
    };
    // The operator's is not driven by this runtime.
    let operator = client(1, LONG).own_thread().connect().await.unwrap();
    operator.create("/sale", b"on").await.unwrap();
    let client = client(0, till_timeout).connect().await.unwrap();
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
async fn a_till_that_is_told_of_a_change_finds_it_at_a_server_that_is_behind() {
    let (ensemble, till, operator) = open(LONG).await;
    ensemble.set_lag(0, Duration::MAX); // The till's server learns nothing more.
    operator.set("/sale", b"off").await.unwrap();

    let asked = ensemble.member(0).requests_received();
    let answer = tokio::spawn(async move { till.ask().await });
    until(|| ensemble.member(0).requests_received() > asked).await;
    ensemble.set_lag(0, Duration::ZERO);
    assert_eq!(answer.await.unwrap().unwrap(), "off");
}

#[tokio::test]
async fn a_till_whose_process_stood_still_does_not_use_what_it_knew() {
    let (_ensemble, till, operator) = open(SHORT).await;
    // No task of this thread runs meanwhile, pings of the tokio transport included: as if the
    // process had been stopped.
    let others = thread::spawn(move || {
        operator.set("/sale", b"off").wait()?;
        let (till, mut gone) = operator.exists("/till").watch().wait()?;
        match till {
            Some(_) => gone.wait(None).map(drop),
            None => Ok(()),
        }
    });
    others.join().unwrap().unwrap();
    assert_eq!(
        till.known(),
        None,
        "it sells what the operator has taken off"
    );
}

#[tokio::test]
async fn a_till_that_comes_back_does_not_use_what_it_knew() {
    let (ensemble, till, operator) = open(LONG).await;
    ensemble.isolate(0);
    until(|| till.known().is_none()).await;
    operator.set("/sale", b"off").await.unwrap();

    ensemble.heal(0);
    until(|| till.known().is_some()).await;
    assert_eq!(till.known().as_deref(), Some("off"));
}
