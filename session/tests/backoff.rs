//! Pauses between passes over the servers.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::*;
use homing_testkit::sim::Behaviour;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn all(world: &mut World, behaviour: Behaviour) {
    for last in 1..=3 {
        world.sim.set_behaviour(address(last), behaviour);
    }
}

/// When each pass over three servers began, and how long the pause before it was.
fn passes(world: &World, from: usize) -> Vec<(Duration, Duration)> {
    let dials = world.sim.dials();
    let dials = &dials[from..];
    let mut passes = Vec::new();
    for (index, pass) in dials.chunks(3).enumerate() {
        if pass.len() == 3 {
            let tried: BTreeSet<_> = pass.iter().map(|(_, address)| *address).collect();
            assert_eq!(tried.len(), 3, "each server once in a pass");
        }
        let before = if index == 0 {
            pass[0].0
        } else {
            dials[index * 3 - 1].0
        };
        passes.push((pass[0].0, pass[0].0 - before));
    }
    passes
}

#[test]
fn each_pass_tries_every_server_once_and_pauses_grow() {
    let mut world = world();
    all(&mut world, Behaviour::Refuse);
    world.sim.run_for(60 * SECOND);
    let passes = passes(&world, 0);
    for (index, (at, pause)) in passes.iter().enumerate().skip(1) {
        let ceiling = match index {
            _ if *at >= 10 * SECOND + 6 * SECOND => MS(5_000),
            _ if *at >= 10 * SECOND => MS(5_000),
            1 => MS(100),
            2 => MS(200),
            3 => MS(400),
            4 => MS(800),
            _ => MS(1_000),
        };
        assert!(
            *pause <= ceiling + MS(2),
            "pass {index} at {at:?}: {pause:?}"
        );
    }
    // Half of the ceiling on average: about 20 passes in 10 s, about 20 in the other 50.
    assert!((20..80).contains(&passes.len()), "{}", passes.len());
    let late: Vec<_> = passes.iter().filter(|(at, _)| *at > 12 * SECOND).collect();
    assert!(
        late.iter().any(|(_, pause)| *pause > MS(1_100)),
        "the ceiling rose to 5 s"
    );
}

#[test]
fn pauses_differ_from_client_to_client() {
    let firsts: BTreeSet<_> = (0..50)
        .map(|seed| {
            let mut world = world_with("10.0.0.1,10.0.0.2,10.0.0.3", |config| config.seed = seed);
            all(&mut world, Behaviour::Refuse);
            world.sim.run_for(SECOND);
            passes(&world, 0)[1].1
        })
        .collect();
    assert!(firsts.len() > 40, "{} different pauses of 50", firsts.len());
}

#[test]
fn servers_that_accept_and_then_close_do_not_reset_the_pause() {
    let mut world = connected();
    // From now on each server gives a session and closes at once.
    world.sim.set_tamper(|_| Vec::new());
    all(&mut world, Behaviour::AcceptAndClose);
    world.sim.cut();
    let before = world.sim.dials().len();
    world.sim.run_for(9 * SECOND);
    let dials = world.sim.dials().len() - before;
    assert!(dials <= 3 * 35, "{dials} attempts in 9 s");
}

#[test]
fn a_connection_that_does_not_last_does_not_reset_the_pause() {
    let mut world = connected();
    let before = world.sim.dials().len();
    let end = world.sim.elapsed() + 9 * SECOND;
    while world.sim.elapsed() < end {
        world.connect();
        world.sim.run_for(MS(1));
        world.sim.cut();
    }
    let dials = world.sim.dials().len() - before;
    assert!(dials <= 3 * 35, "{dials} attempts in 9 s");
}

#[test]
fn after_a_connection_that_lasted_all_servers_are_tried_at_once() {
    let mut world = connected();
    world.sim.run_for(6 * SECOND);
    all(&mut world, Behaviour::Refuse);
    let before = world.sim.dials().len();
    world.sim.cut();
    world.sim.run_for(MS(3));
    assert_eq!(world.sim.dials().len() - before, 3);
}
