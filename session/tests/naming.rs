//! What names mean and which servers there are, where a session asks somebody else.

mod common;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use homing_session::{Ask, ConnectString, Failure, Respondent, Server, ServerSource, SessionState};
use homing_testkit::sim::{Behaviour, Event, Lookup};

const MS: Duration = Duration::from_millis(1);

type Asked<Q, A> = Arc<Mutex<Vec<(Q, Respondent<A>)>>>;
type Addresses = Result<Option<Vec<SocketAddr>>, String>;
type Servers = Result<Option<Vec<Server>>, String>;

fn questions<Q: Send + 'static, A: Send + 'static>() -> (Ask<Q, A>, Asked<Q, A>) {
    let asked = Asked::default();
    let questions = Arc::clone(&asked);
    let ask = move |question, respondent| questions.lock().unwrap().push((question, respondent));
    (Ask::new(ask), asked)
}

fn servers(list: &str) -> Vec<Server> {
    list.parse::<ConnectString>().unwrap().servers
}

fn next<Q, A>(world: &mut World, asked: &Asked<Q, A>) -> (Q, Respondent<A>) {
    let is_asked = world
        .sim
        .run_until(60 * SECOND, |_| !asked.lock().unwrap().is_empty());
    assert!(is_asked, "{:?}", world.sim);
    asked.lock().unwrap().remove(0)
}

/// What is told of an error, of an answer with nothing in it, and of none.
fn useless_answers<Q, T>(
    world: &mut World,
    asked: &Asked<Q, Result<Option<Vec<T>>, String>>,
) -> [String; 3] {
    let answers = [
        Some(Err("no such name".into())),
        Some(Ok(Some(vec![]))),
        None,
    ];
    answers.map(|answer| {
        let (_, respondent) = next(world, asked);
        match answer {
            Some(answer) => respondent.answer(answer),
            None => drop(respondent),
        }
        world.sim.run_for(Duration::ZERO);
        world.shared.status.failures()[0].to_string()
    })
}

fn named() -> (World, Asked<Server, Addresses>) {
    let (ask, asked) = questions();
    let world = world_with("zk1", |config| config.names = Some(ask));
    (world, asked)
}

#[test]
fn somebody_else_knows_the_addresses() {
    let (mut world, asked) = named();
    let (server, respondent) = next(&mut world, &asked);
    assert_eq!(server.to_string(), "zk1:2181");
    // Another port than the name has is fine.
    respondent.answer(Ok(Some(vec![([10, 0, 0, 5], 7).into()])));
    world.connect();
    assert_eq!(world.sim.dials()[0].1, ([10, 0, 0, 5], 7).into());
    assert!(!has_asked_the_system(&world));
    // Anew for every attempt.
    world.sim.cut();
    let (_, respondent) = next(&mut world, &asked);
    respondent.answer(Ok(Some(vec![address(1)])));
    world.connect();
    assert_eq!(world.sim.dials()[1].1, address(1));
}

fn has_asked_the_system(world: &World) -> bool {
    let mut events = world.sim.trace().iter();
    events.any(|(_, event)| matches!(event, Event::Resolve(_)))
}

#[test]
fn a_name_can_be_left_to_the_system() {
    let (mut world, asked) = named();
    let ip = address(3).ip();
    world.sim.set_name("zk1", Lookup::Finds(vec![ip]));
    let (_, respondent) = next(&mut world, &asked);
    respondent.answer(Ok(None));
    world.connect();
    assert_eq!(world.sim.dials()[0].1, address(3));
    assert!(has_asked_the_system(&world));
}

#[test]
fn whoever_does_not_know_costs_an_attempt() {
    let (mut world, asked) = named();
    let why = "zk1:2181: its name could not be looked up";
    let told = [
        "no such name",
        "the name has no address",
        "whoever was asked went away",
    ];
    let told = told.map(|told| format!("{why}: {told}"));
    assert_eq!(useless_answers(&mut world, &asked), told);
    // He who never says is not waited for.
    let (_, respondent) = next(&mut world, &asked);
    assert!(respondent.within() <= 10 * SECOND);
    let (_, last) = next(&mut world, &asked);
    assert!(!respondent.is_awaited());
    assert_eq!(
        world.shared.status.failures()[0].failure,
        Failure::ResolveTimedOut
    );
    last.answer(Ok(Some(vec![address(1)])));
    world.connect();
}

fn listed(list: &str) -> (World, Asked<(), Servers>) {
    let (ask, asked) = questions();
    let world = world_with("10.0.0.1", |config| {
        config.servers = if list.is_empty() {
            vec![]
        } else {
            servers(list)
        };
        let name = servers("_zk._tcp.example.org").remove(0);
        config.server_list = Some(ServerSource { name, ask });
    });
    (world, asked)
}

#[test]
fn a_session_without_servers_waits_for_the_list() {
    let (mut world, asked) = listed("");
    let get = world.get("/");
    let (_, respondent) = next(&mut world, &asked);
    world.sim.run_for(SECOND);
    assert_eq!(world.sim.dials(), []);
    assert!(asked.lock().unwrap().is_empty(), "one question at a time");
    let before = world.sim.elapsed();
    respondent.answer(Ok(Some(servers("10.0.0.7,10.0.0.8,10.0.0.7"))));
    world.connect();
    // At once, whatever pause it was in.
    assert!(world.sim.elapsed() < before + 10 * MS);
    world.settle();
    assert_eq!(reply(get).err, 0);
}

#[test]
fn a_list_that_cannot_be_had_is_reported_and_asked_for_again() {
    let (mut world, asked) = listed("");
    let why = "_zk._tcp.example.org:2181: the list of servers could not be had";
    let told = [
        "no such name",
        "there are none",
        "whoever was asked went away",
    ];
    let told = told.map(|told| format!("{why}: {told}"));
    assert_eq!(useless_answers(&mut world, &asked), told);
    let (_, late) = next(&mut world, &asked);
    let (_, respondent) = next(&mut world, &asked);
    assert!(!late.is_awaited());
    assert_eq!(
        world.shared.status.failures()[0].failure,
        Failure::ServersTimedOut
    );
    respondent.answer(Ok(Some(servers("10.0.0.7"))));
    world.connect();
    assert_eq!(world.sim.dials()[0].1, address(7));
}

#[test]
fn nothing_waits_for_a_list_where_servers_are_known() {
    let (mut world, asked) = listed("10.0.0.1,10.0.0.2");
    world.connect();
    let (_, respondent) = next(&mut world, &asked);
    // It is asked for, and may hang: the failover goes on.
    world.sim.cut();
    world.connect();
    assert_eq!(world.sim.dials().len(), 2);
    assert!(respondent.is_awaited());
    // A list that still has the server, and is no longer, moves nobody.
    respondent.answer(Ok(Some(servers("10.0.0.1,10.0.0.2"))));
    world.sim.run_for(SECOND);
    assert_eq!(world.sim.dials().len(), 2);
    assert!(world.is_connected());
}

#[test]
fn a_list_without_the_server_moves_the_session() {
    let (mut world, asked) = listed("10.0.0.1,10.0.0.2");
    world.connect();
    let (_, respondent) = next(&mut world, &asked);
    respondent.answer(Ok(Some(servers("10.0.0.3"))));
    world.sim.run_for(SECOND);
    world.connect();
    assert_eq!(world.sim.dials()[1].1, address(3));
}

#[test]
fn a_lost_connection_asks_for_others() {
    let (mut world, asked) = listed("10.0.0.1,10.0.0.2");
    world.connect();
    let (_, respondent) = next(&mut world, &asked);
    respondent.answer(Ok(None));
    world.sim.run_for(60 * SECOND);
    assert!(asked.lock().unwrap().is_empty(), "all is well");
    world.sim.cut();
    assert_eq!(asked.lock().unwrap().len(), 1);
    world.connect();
}

#[test]
fn a_server_that_is_listed_twice_is_one() {
    let (mut world, asked) = listed("");
    let (_, respondent) = next(&mut world, &asked);
    for last in [7, 8] {
        world.sim.set_behaviour(address(last), Behaviour::Refuse);
    }
    let list = "10.0.0.7,10.0.0.8,10.0.0.7,10.0.0.8";
    respondent.answer(Ok(Some(servers(list))));
    // Between passes there is another question.
    next(&mut world, &asked);
    assert_eq!(world.sim.dials().len(), 2);
}

#[test]
fn a_fruitless_pass_asks_for_others() {
    let (mut world, asked) = listed("10.0.0.1");
    world.sim.set_behaviour(address(1), Behaviour::Refuse);
    let (_, respondent) = next(&mut world, &asked);
    respondent.answer(Ok(None));
    let (_, respondent) = next(&mut world, &asked);
    assert_eq!(world.state(), SessionState::Connecting);
    respondent.answer(Ok(Some(servers("10.0.0.1,10.0.0.4"))));
    world.connect();
    assert_eq!(world.sim.dials().last().unwrap().1, address(4));
}
