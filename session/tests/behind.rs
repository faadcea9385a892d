//! Servers that know less than the client has seen: they say nothing, and are suspected.

mod common;

use common::*;
use homing_protocol::CreateMode;
use homing_session::{OnExpiry, SessionEnd};
use homing_testkit::sim::Behaviour;

/// Has seen a transaction, and the servers lose their data.
fn forgotten(on_expiry: OnExpiry) -> (World, i64) {
    let mut world = world_with("10.0.0.1,10.0.0.2,10.0.0.3", |config| {
        config.on_expiry = on_expiry;
    });
    world.connect();
    world
        .sim
        .with_server_now(|server, _| server.set_last_zxid(0x4_0000_0000));
    let made = world.create("/a", CreateMode::Persistent);
    world.settle();
    let zxid = reply(made).zxid;
    assert_eq!(zxid, 0x4_0000_0001);
    world
        .sim
        .with_server_now(|server, _| server.set_last_zxid(7));
    (world, zxid)
}

#[test]
fn the_report_suspects_that_the_servers_are_behind() {
    let (mut world, zxid) = forgotten(OnExpiry::End);
    world.sim.cut();
    let end = world.run_until_ended(2 * T);
    assert!(matches!(end, SessionEnd::PresumedExpired { .. }), "{end}");
    let report = world.shared.status.report().unwrap();
    assert_eq!(report.suspects_behind, Some(zxid));
    let text = report.to_string();
    assert!(text.contains("behind zxid 0x400000001"), "{text}");
}

#[test]
fn whoever_cannot_be_reached_is_not_suspected() {
    let (mut world, _) = forgotten(OnExpiry::End);
    world.sim.set_behaviour(address(2), Behaviour::Refuse);
    world.sim.cut();
    world.run_until_ended(2 * T);
    let report = world.shared.status.report().unwrap();
    assert_eq!(report.suspects_behind, None);
    assert!(!report.to_string().contains("zxid"), "{report}");
}

#[test]
fn a_client_that_has_seen_nothing_suspects_nobody() {
    let mut world = connected();
    world.servers(Behaviour::AcceptAndClose);
    world.sim.cut();
    world.run_until_ended(2 * T);
    let report = world.shared.status.report().unwrap();
    assert_eq!(report.suspects_behind, None);
}

#[test]
fn a_session_that_is_renewed_begins_with_nothing_seen() {
    let (mut world, _) = forgotten(OnExpiry::Renew);
    let old = world.session_id();
    world.sim.cut();
    // Soon after the old one is given up, and not after having waited as long again.
    world.sim.run_for(2 * T);
    assert!(world.is_connected(), "{:?}", world.state());
    assert_ne!(world.session_id(), old);
}

#[test]
fn servers_that_lose_their_data_while_it_is_renewed_are_followed_in_the_end() {
    let (mut world, _) = forgotten(OnExpiry::Renew);
    world.servers(Behaviour::Refuse);
    world.sim.cut();
    world.sim.run_for(2 * T);
    assert_eq!(world.shared.queue.era(), 1, "presumed");
    world.servers(Behaviour::Serve);
    world.sim.run_for(T);
    assert!(!world.is_connected(), "it does not go back in time at once");
    world.sim.run_for(T);
    assert!(world.is_connected(), "{:?}", world.state());
}
