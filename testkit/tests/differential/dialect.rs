//! Which dialect a real server speaks, so that the fake one is set to the same.

use homing_testkit::{ServerConfig, real};

use crate::side;

/// The fake's settings for what the server says of itself (`srvr`), and for what distributions
/// have brought to versions that do not have it by themselves.
pub(crate) fn config(server: &real::ZooKeeper) -> Result<ServerConfig, String> {
    let mut config = ServerConfig::default();
    let spoken = config.speak_version(server.version());
    spoken.map_err(|unknown| unknown.to_string())?;
    let (exists_needs_read, events_need_read) = side::probe(server.addr());
    config.exists_needs_read |= exists_needs_read;
    config.events_need_read |= events_need_read;
    Ok(config)
}
