//! Pauses between passes over the servers, of one client and of a thousand.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::*;
use homing_testkit::sim::Behaviour;
use homing_testkit::{Server, ServerConfig};

const MS: fn(u64) -> Duration = Duration::from_millis;

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
fn each_pass_tries_every_server_once_and_pauses_keep_their_bounds() {
    let mut world = world();
    world.servers(Behaviour::Refuse);
    world.sim.run_for(60 * SECOND);
    let passes = passes(&world, 0);
    for (index, (at, pause)) in passes.iter().enumerate().skip(1) {
        let began = *at - *pause;
        let bounds = match index {
            1 => MS(0)..=MS(1_000),
            _ if began >= 10 * SECOND => MS(1_500)..=MS(5_000),
            _ => MS(300)..=MS(1_000),
        };
        // An attempt takes a moment itself.
        let is_kept = *pause >= *bounds.start() && *pause <= *bounds.end() + MS(2);
        assert!(is_kept, "pass {index} at {at:?}: {pause:?}");
    }
    // About 15 passes in 10 s, about 15 in the other 50.
    assert!((20..45).contains(&passes.len()), "{}", passes.len());
}

#[test]
fn pauses_differ_from_client_to_client() {
    let firsts: BTreeSet<_> = (0..50)
        .map(|seed| {
            let mut world = world_with("10.0.0.1,10.0.0.2,10.0.0.3", |config| config.seed = seed);
            world.servers(Behaviour::Refuse);
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
    world.servers(Behaviour::AcceptAndClose);
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
    world.servers(Behaviour::Refuse);
    let before = world.sim.dials().len();
    world.sim.cut();
    world.sim.run_for(MS(3));
    assert_eq!(world.sim.dials().len() - before, 3);
}

/// How many clients a storm has.
const CLIENTS: u64 = 1_000;

/// A client that has lived for a while when its servers begin to behave like this and its
/// connection is cut. Its session outlives that.
fn cut_off(seed: u64, behaviour: Behaviour) -> World {
    let mut world = world_with("10.0.0.1,10.0.0.2,10.0.0.3", |config| {
        config.seed = seed;
        config.session_timeout = 120 * SECOND;
    });
    let mut lenient = ServerConfig::default();
    lenient.max_session_timeout = Some(120 * SECOND);
    *world.sim.server() = Server::new(lenient);
    world.connect();
    world.sim.run_for(6 * SECOND);
    world.servers(behaviour);
    world.sim.cut();
    world
}

/// When the passes began in which the client was cut off, counted from then. The connection it
/// had before took one attempt.
fn passes_since(world: &World, cut: Duration) -> Vec<Duration> {
    let passes = passes(world, 1);
    passes.into_iter().map(|(at, _)| at - cut).collect()
}

#[test]
fn a_thousand_clients_do_not_storm_servers_that_accept_and_then_close() {
    let mut buckets = vec![0; 300];
    let (mut early_max, mut passes_max) = (0, 0);
    for seed in 0..CLIENTS {
        let mut world = cut_off(seed, Behaviour::AcceptAndClose);
        let cut = world.sim.elapsed();
        world.sim.run_for(30 * SECOND);
        let passes = passes_since(&world, cut);
        let early = passes.iter().filter(|at| **at < SECOND).count();
        assert!(
            early <= 6,
            "client {seed}: {early} passes in the first second"
        );
        assert!(passes.len() <= 35, "client {seed}: {} passes", passes.len());
        early_max = early_max.max(early);
        passes_max = passes_max.max(passes.len());
        let bucket = |at: &Duration| usize::try_from(at.as_millis() / 100).unwrap();
        let mine: BTreeSet<_> = passes.iter().skip(1).map(bucket).collect();
        mine.into_iter()
            .for_each(|bucket| buckets[bucket.min(299)] += 1);

        world.servers(Behaviour::Serve);
        let shared = std::sync::Arc::clone(&world.shared);
        let is_back = world.sim.run_until(6 * SECOND, |_| is_connected(&shared));
        assert!(is_back, "client {seed} is not back after 6 s");
    }
    let fullest = buckets.iter().max().unwrap();
    println!(
        "at most {fullest} clients in a tenth of a second, {early_max} passes in the first second, {passes_max} in 30 s"
    );
    assert!(
        *fullest <= CLIENTS / 5,
        "{fullest} clients in a tenth of a second: {buckets:?}"
    );
}

#[test]
fn an_ensemble_that_is_back_is_found_soon() {
    let outages = [
        50, 100, 200, 380, 500, 800, 1_300, 2_200, 3_500, 5_000, 7_000, 9_900,
    ];
    let mut all_waits = Vec::new();
    for behaviour in [Behaviour::Refuse, Behaviour::AcceptAndClose] {
        for outage in outages.map(MS) {
            let mut waits: Vec<_> = (0..CLIENTS / 5)
                .map(|seed| wait_after(outage, behaviour, seed))
                .collect();
            let (half, most, longest) = spread(&mut waits);
            println!("{behaviour:?} for {outage:?}: p50 {half:?}, p99 {most:?}, max {longest:?}");
            // Of so few, half may be a little late by chance.
            assert!(half <= MS(450) && most <= SECOND && longest <= 2 * SECOND);
            all_waits.append(&mut waits);
        }
    }
    let (half, most, longest) = spread(&mut all_waits);
    println!("all: p50 {half:?}, p99 {most:?}, max {longest:?}");
    assert!(half <= MS(350) && most <= SECOND && longest <= 2 * SECOND);
}

/// How long after the end of such an outage the client has its first answer.
fn wait_after(outage: Duration, behaviour: Behaviour, seed: u64) -> Duration {
    let mut world = cut_off(seed, behaviour);
    world.sim.run_for(outage);
    world.servers(Behaviour::Serve);
    let back = world.sim.elapsed();
    let mut asked = world.get("/");
    while asked.try_pull().is_none() {
        assert!(world.sim.step(), "it never answers");
    }
    world.sim.elapsed() - back
}

/// The median, the 99th percentile, and the longest.
fn spread(waits: &mut [Duration]) -> (Duration, Duration, Duration) {
    waits.sort();
    let at = |part: usize| waits[waits.len() * part / 100];
    (at(50), at(99), waits[waits.len() - 1])
}
