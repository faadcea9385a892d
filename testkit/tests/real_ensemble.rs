//! The launcher of a real ensemble: it has a leader, outlives one of its members, serves reads
//! without a quorum if it is to, and heals.

use std::thread;
use std::time::{Duration, Instant};

use homing_testkit::real::{self, Ensemble};

#[test]
fn an_ensemble_is_broken_and_heals() {
    if real::requirement().is_none() {
        return;
    }
    let mut ensemble = Ensemble::builder().read_only().start().unwrap();
    let addrs: Vec<_> = ensemble.members().iter().map(|m| m.addr()).collect();
    let connect_string: Vec<_> = addrs.iter().map(ToString::to_string).collect();
    assert_eq!(ensemble.connect_string(), connect_string.join(","));
    assert_eq!(ensemble.position(addrs[2]), Some(2));
    assert_eq!(modes(&ensemble), ["follower", "follower", "leader"]);

    let leader = ensemble.leader().unwrap();
    ensemble.member_mut(leader).kill();
    until(&ensemble, &["follower", "leader"]);
    let leader = ensemble.leader().unwrap();
    ensemble.member_mut(leader).kill();
    until(&ensemble, &["read-only"]);

    ensemble.heal().unwrap();
    assert_eq!(modes(&ensemble), ["follower", "follower", "leader"]);
    let folders: Vec<_> = ensemble.members().iter().map(|m| m.folder()).collect();
    let folders: Vec<_> = folders.iter().map(|folder| folder.to_path_buf()).collect();
    drop(ensemble);
    assert!(folders.iter().all(|folder| !folder.exists()));
}

/// What the members that answer say that they are, in the order of the alphabet.
fn modes(ensemble: &Ensemble) -> Vec<String> {
    let state = |member: &real::ZooKeeper| member.ask("srvr").unwrap_or_default();
    let states = ensemble.members().iter().map(state);
    let mut modes: Vec<String> = states
        .filter_map(|state| {
            let line = state.lines().find_map(|line| line.strip_prefix("Mode: "));
            line.map(str::to_owned)
        })
        .collect();
    modes.sort();
    modes
}

fn until(ensemble: &Ensemble, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let modes = modes(ensemble);
        if modes == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{modes:?} in place of {expected:?}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}
