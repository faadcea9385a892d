//! A session that follows its ensemble.

mod common;

use std::sync::Arc;

use common::*;
use homing_protocol::{SetData, digest, op};
use homing_session::{Authentication, Config, Secret, WatchKind};
use homing_testkit::sim::Event;
use homing_testkit::{Server, ServerConfig};

const PATH: &str = "/zookeeper/config";

/// A session that may write what servers alone should write, at one of two servers.
fn world_of(configure: impl FnOnce(&mut Config)) -> World {
    let mut world = world_with("10.0.0.1,10.0.0.2", configure);
    let mut config = ServerConfig::default();
    config.super_digest = Some(digest::id_of("super:pw").into());
    *world.sim.server() = Server::new(config);
    world.shared.authentications.add(Arc::new(Authentication {
        scheme: "digest".into(),
        proof: Secret::new(b"super:pw"),
    }));
    world.connect();
    world.settle();
    world
}

fn following() -> World {
    world_of(|config| config.follow_reconfig = true)
}

/// The ensemble becomes this one: each server by the last number of its address.
fn reconfigure(world: &mut World, version: u64, servers: &[u8]) {
    let lines = servers.iter().map(|n| {
        // One member says where clients reach it, the others have a wildcard.
        let host = if *n == servers[0] {
            format!("10.0.0.{n}")
        } else {
            "0.0.0.0".into()
        };
        format!("server.{n}=10.0.0.{n}:2888:3888:participant;{host}:2181\n")
    });
    let text = lines.collect::<String>() + &format!("version={version:x}");
    set_config(world, &text);
}

fn set_config(world: &mut World, text: &str) {
    let body = SetData {
        path: PATH.into(),
        data: text.as_bytes(),
        version: -1,
    };
    let set = world.submit(op::SET_DATA, &body, None).unwrap();
    world.settle();
    assert_eq!(reply(set).err, 0);
    world.settle();
}

fn list(world: &World) -> Vec<String> {
    let servers = world.shared.status.servers();
    let mut servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    servers.sort();
    servers
}

#[test]
fn servers_that_join_and_leave_are_followed() {
    let mut world = following();
    let id = world.session_id();
    assert_eq!(
        list(&world),
        ["10.0.0.1:2181", "10.0.0.2:2181"],
        "it stands alone"
    );
    reconfigure(&mut world, 1, &[1, 2, 3]);
    assert_eq!(
        list(&world),
        ["10.0.0.1:2181", "10.0.0.2:2181", "10.0.0.3:2181"]
    );
    // Nobody is left whom it knew.
    reconfigure(&mut world, 2, &[7, 8]);
    assert_eq!(list(&world), ["10.0.0.7:2181", "10.0.0.8:2181"]);
    assert_eq!(world.session_id(), id);
    let last = world.sim.dials().last().map(|(_, address)| *address);
    assert!(last == Some(address(7)) || last == Some(address(8)));
    assert!(world.is_connected());
    // And again, over the connection that it has now.
    reconfigure(&mut world, 3, &[9]);
    assert_eq!(
        world.sim.dials().last().map(|(_, address)| *address),
        Some(address(9))
    );
}

#[test]
fn what_was_missed_is_read_over_the_next_connection() {
    let mut world = following();
    reconfigure(&mut world, 1, &[1, 2]);
    // The event is lost with the connection.
    world.sim.set_tamper(|piece| match piece[4..8] {
        [0xff, 0xff, 0xff, 0xff] => Vec::new(),
        _ => vec![piece],
    });
    reconfigure(&mut world, 2, &[1, 2, 5]);
    assert_eq!(list(&world).len(), 2);
    world.sim.cut();
    world.connect();
    world.settle();
    assert_eq!(list(&world).len(), 3);
}

#[test]
fn an_older_ensemble_is_not_followed() {
    let mut world = following();
    reconfigure(&mut world, 0x1_0000_0002, &[1, 2, 3]);
    reconfigure(&mut world, 0x1_0000_0001, &[8]);
    assert_eq!(list(&world).len(), 3);
    // Nor the same one again, which may not be what was set since.
    let servers = "10.0.0.4"
        .parse::<homing_session::ConnectString>()
        .unwrap()
        .servers;
    world.shared.set_servers(servers);
    world.settle();
    reconfigure(&mut world, 0x1_0000_0002, &[1, 2, 3]);
    assert_eq!(list(&world), ["10.0.0.4:2181"]);
}

#[test]
fn what_cannot_be_followed_changes_nothing() {
    let mut world = following();
    let before = list(&world);
    for text in [
        "",
        "version=5",
        "server.1=zk1:2888:3888:participant\nversion=5",
        "server.1=zk 1:2888:3888:participant;2181\nversion=5",
        "server.1=nonsense\nversion=5",
        "\u{1F54A}",
    ] {
        set_config(&mut world, text);
        assert_eq!(list(&world), before, "{text:?}");
    }
    assert!(world.is_connected());
    reconfigure(&mut world, 6, &[1, 2, 3]);
    assert_eq!(list(&world).len(), 3, "it still looks");
}

#[test]
fn nothing_is_asked_unless_it_was_wanted() {
    let mut world = world_of(|_| {});
    let frames = |world: &World| {
        let sent = world.sim.trace().iter();
        sent.filter(|(_, event)| matches!(event, Event::Sent(_)))
            .count()
    };
    let before = frames(&world);
    reconfigure(&mut world, 1, &[3]);
    assert_eq!(frames(&world), before + 1);
    assert_eq!(list(&world).len(), 2);
}

#[test]
fn a_watcher_of_the_same_node_and_its_end_disturb_nothing() {
    let mut world = following();
    let (read, ticket) = world.watch(WatchKind::Data, PATH);
    world.settle();
    assert_eq!(reply(read).err, 0);
    // Nobody watches it any more but the session itself.
    assert!(world.shared.watches.forget(&ticket));
    world.shared.queue.nudge();
    world.settle();
    reconfigure(&mut world, 1, &[1, 2, 3]);
    assert_eq!(list(&world).len(), 3);
}

#[test]
fn a_watch_of_the_same_node_that_stays_is_not_spoilt() {
    let mut world = following();
    let stays = world.lasting(PATH, false);
    for version in 1..=3_u8 {
        let servers: Vec<_> = (1..=version + 2).collect();
        reconfigure(&mut world, version.into(), &servers);
        assert_eq!(list(&world).len(), servers.len());
        // A new list may be a reason to move.
        let told = told(&stays)
            .into_iter()
            .filter(|item| !item.contains("gap"));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [format!("NodeDataChanged {PATH:?}")]
        );
    }
    // Twice, before the session can have read it again.
    world.set(PATH);
    world.set(PATH);
    world.settle();
    assert_eq!(told(&stays).len(), 2);
    // Nobody watches it any more but the session itself.
    world.forget_lasting(&stays);
    world.settle();
    reconfigure(&mut world, 4, &[1, 2]);
    assert_eq!(list(&world).len(), 2);
}
