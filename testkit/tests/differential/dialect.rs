//! Which dialect a real server speaks, so that the fake one is set to the same.

use std::net::SocketAddr;

use homing_testkit::{ServerConfig, real};

use crate::side;

/// The fake's settings for what the server says of itself (`srvr`), and for what distributions
/// have brought to versions that do not have it by themselves.
pub(crate) fn config(server: &real::ZooKeeper) -> Result<ServerConfig, String> {
    let mut config = of_version(server.version())?;
    let patched = patches(server.addr());
    config.exists_needs_read |= patched.exists_needs_read;
    config.events_need_read |= patched.events_need_read;
    Ok(config)
}

/// What is known of a version.
fn of_version(version: &str) -> Result<ServerConfig, String> {
    let mut parts = version.split(['.', '-']).map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) =
        (parts.next(), parts.next(), parts.next())
    else {
        return Err(format!("{version:?} is no version of ZooKeeper"));
    };
    let version: (u32, u32, u32) = (major, minor, patch);
    let reads_guarded = version >= (3, 9, 2) || ((3, 8, 4)..(3, 9, 0)).contains(&version);
    let mut config = ServerConfig::default();
    config.exists_needs_read = reads_guarded;
    config.events_need_read = reads_guarded;
    config.events_tell_zxid = version >= (3, 9, 0);
    config.watches_side_by_side = version >= (3, 9, 0);
    Ok(config)
}

struct Patches {
    exists_needs_read: bool,
    events_need_read: bool,
}

fn patches(address: SocketAddr) -> Patches {
    let (exists_needs_read, events_need_read) = side::probe(address);
    Patches {
        exists_needs_read,
        events_need_read,
    }
}

#[test]
fn the_dialect_follows_the_version() {
    let of = |version| {
        let config = of_version(version).unwrap();
        (config.exists_needs_read, config.watches_side_by_side)
    };
    assert_eq!(of("3.8.0"), (false, false));
    assert_eq!(of("3.8.4"), (true, false));
    assert_eq!(of("3.9.0"), (false, true));
    assert_eq!(of("3.9.3-SNAPSHOT"), (true, true));
    assert!(of_version("new").is_err());
}
