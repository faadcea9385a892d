//! A server that is up, and connections that do not last.

mod common;

use std::time::Duration;

use common::*;
use homing_session::SessionState;

/// Whatever the session's time-out: there is time enough to come back before it is over.
#[test]
fn a_session_outlives_connections_that_do_not_last() {
    for timeout in [2 * SECOND, 6 * SECOND, T] {
        let mut world = world_with("10.0.0.1", |config| config.session_timeout = timeout);
        world.connect();
        let session = world.session_id();
        let granted = match world.state() {
            SessionState::Connected(connection) => connection.session_timeout,
            other => panic!("{other}"),
        };
        for _ in 0..60 {
            world.sim.cut();
            world.connect();
            assert_eq!(world.session_id(), session, "{granted:?}");
            let read = world.get("/");
            world.sim.run_for(Duration::from_millis(20));
            assert_eq!(reply(read).err, 0);
        }
        assert_eq!(world.end(), None);
    }
}
