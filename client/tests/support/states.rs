//! The states of a session one after the other, none of which is passed over.

use homing::{Client, Connection, Error, SessionState, StateChanges};

pub async fn connected(states: &mut StateChanges) -> Connection {
    match next(states).await {
        SessionState::Connected(connection) => connection,
        other => panic!("{other}"),
    }
}

/// How the connection was lost.
pub async fn suspended(states: &mut StateChanges) -> String {
    match next(states).await {
        SessionState::Suspended { why, .. } => why.to_string(),
        other => panic!("{other}"),
    }
}

pub async fn next(states: &mut StateChanges) -> SessionState {
    let change = states.next().await.expect("another state");
    assert_eq!(change.missed, 0);
    change.state
}

/// The next connection that is as it should be, whatever comes before it.
pub async fn next_connection(
    states: &mut StateChanges,
    is_so: impl Fn(&Connection) -> bool,
) -> Connection {
    loop {
        let change = states.next().await.expect("it has not ended");
        if let SessionState::Connected(connection) = change.state
            && is_so(&connection)
        {
            return connection;
        }
    }
}

/// Where the client is connected now.
pub fn connection(client: &Client) -> Connection {
    match client.state() {
        SessionState::Connected(connection) => connection,
        other => panic!("{other}"),
    }
}

/// Asks again while connections are lost, as they are around elections.
pub async fn patiently<T>(ask: impl AsyncFn() -> Result<T, Error>) -> T {
    loop {
        match ask().await {
            Err(Error::ConnectionLost { .. }) => {}
            done => return done.unwrap(),
        }
    }
}
