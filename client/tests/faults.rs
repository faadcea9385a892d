//! Every fault that the testkit knows, one at a time: the client survives it or ends with the right
//! error, within bounded time; nothing that was reported as done is lost, and nothing that was read
//! is older than that.

mod support;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use homing::{Client, Error, SessionEnd};
use homing_testkit::faults::{Faults, Strikes};
use homing_testkit::{FakeServer, Proxy, real};
use support::{Backend, with_watchdog};

/// Long enough for a busy machine; a hung connection is given up after two thirds of it.
const SESSION_TIMEOUT: Duration = Duration::from_secs(15);

/// How often each client writes and reads.
const ROUNDS: u32 = 12;

/// What is to become of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its session lives, and serves on.
    Lives,
    /// Its session has expired, and that is said to whoever asks.
    Expires,
    /// So it is, since a server gave another one in its place.
    IsReplaced,
    /// No server that makes sense could be found for as long as it would have lived.
    IsPresumed,
    /// What comes back cannot be told from the truth, so that values prove nothing. It goes on, or
    /// says why not.
    Bears,
}

use Fate::{Bears, Expires, IsPresumed, IsReplaced, Lives};

/// A script, and what it does to a client that writes and reads.
const ROWS: &[(&str, Fate)] = &[
    // Connections.
    ("cut on connections 1-2", Lives),
    ("reset on connection 1", Lives),
    ("hang on connection 1", Lives),
    ("hang 1s on connection 1", Lives),
    ("half-close on connection 1", Lives),
    ("half-close to server on connection 1", Lives),
    // Bytes.
    ("cut to client at byte 1 on connection 1", Lives),
    ("cut to client at byte 41 on connection 1", Lives),
    ("cut to client at byte 100 on connections 1-3", Lives),
    ("cut to server at byte 20 on connection 1", Lives),
    ("cut to server at byte 100 on connections 1-3", Lives),
    ("reset at byte 100 on connection 1", Lives),
    ("stall at byte 100 on connection 1", Lives),
    ("stall 500ms at byte 100 on connection 1", Lives),
    ("stall to server at byte 100 on connection 1", Lives),
    ("half-close at byte 100 on connection 1", Lives),
    ("half-close to server at byte 100 on connection 1", Lives),
    ("delay 20ms; delay 20ms to server", Lives),
    ("delay 1ms-60ms", Lives),
    ("throttle 1500", Lives),
    ("throttle 1500 to server", Lives),
    // Requests.
    ("cut to client at write 3", Lives),
    ("cut to server at write 3", Lives),
    ("cut to client at write with 20%; seed 1", Lives),
    ("cut to server at write with 30%; seed 2", Lives),
    ("cut at getData 2", Lives),
    ("reset at setData 2", Lives),
    ("delay 1s at setData 2", Lives),
    ("hang at setData 2", Lives),
    // Frames.
    ("truncate 20 at getData 2", Lives),
    ("truncate 3 at getData 2", Lives),
    ("truncate 10 at handshake on connection 1", Lives),
    ("truncate 10 to server at handshake on connection 1", Lives),
    ("duplicate at getData 2", Lives),
    ("duplicate at setData 2", Lives),
    ("duplicate at handshake on connection 1", Lives),
    ("drop at getData 2", Lives),
    ("drop at setData 2", Lives),
    ("drop to server at setData 2", Lives),
    ("drop at handshake on connection 1", Lives),
    ("reorder at setData 2", Lives),
    ("length 2147483647 at getData 2", Lives),
    ("length -1 at getData 2", Lives),
    ("length 7 at getData 2", Lives),
    ("length 2147483647 to server at setData 2", Lives),
    ("length 2147483647 at handshake on connection 1", Lives),
    ("count 2147483647 at getData 2", Lives),
    ("count -2 at getData 2", Lives),
    ("count 2147483647 to server at setData 2", Lives),
    ("count 2147483647 at handshake on connection 1", Lives),
    ("xid +1 at getData 2", Lives),
    ("xid =-77 at setData 2", Lives),
    ("xid +1 to server at setData 2", Lives),
    ("zxid -5 at getData", Lives),
    ("zxid =1 at setData", Lives),
    ("error -7777 at getData 2", Lives),
    ("error -4 at getData 2", Lives),
    ("storm 5000 /nobody at getData", Lives),
    // Pings. Nothing is asked meanwhile.
    ("drop at ping 1", Lives),
    ("drop to server at ping 1", Lives),
    ("reset at ping 1", Lives),
    // Sessions.
    ("expire at request 4", Expires),
    ("move at request 4", Lives),
    ("move at write 3; move at write 5", Lives),
    ("cut at request 4; session +1", IsReplaced),
    ("cut at request 4; session =0", IsPresumed),
    // What no client can see through.
    ("corrupt at getData; seed 1", Bears),
    ("corrupt at frame with 20%; seed 2", Bears),
    ("corrupt to server at frame with 20%; seed 3", Bears),
    ("corrupt at handshake on connections 1-3; seed 4", Bears),
    ("error -7777 at setData 2", Bears),
    ("duplicate to server at setData 2", Bears),
];

/// What has faults, and the server behind it.
enum Ground {
    Fake(FakeServer),
    Proxy(Proxy, SocketAddr),
}

impl Ground {
    fn connect_string(&self) -> String {
        match self {
            Self::Fake(server) => server.connect_string(),
            Self::Proxy(proxy, _) => proxy.connect_string(),
        }
    }

    fn faults(&self, script: &str) -> Strikes {
        let faults: Faults = script.parse().unwrap();
        match self {
            Self::Fake(server) => server.faults(faults),
            Self::Proxy(proxy, _) => proxy.faults(faults),
        }
    }

    /// For a look at the server without faults, when they are over.
    fn direct(&self) -> String {
        match self {
            Self::Fake(server) => server.connect_string(),
            Self::Proxy(_, server) => server.to_string(),
        }
    }
}

/// What a client was told.
#[derive(Debug, Default)]
struct Told {
    /// The last value that was reported as written.
    written: u32,
    done: i32,
    /// Writes of which it was said that they may have been applied.
    unsure: i32,
    /// What was read that cannot have been there.
    wrong: Option<String>,
    /// Why it gave up.
    ended: Option<Error>,
}

#[test]
fn on_the_fake_server() {
    run_rows(|| Some(Ground::Fake(FakeServer::start())));
}

#[test]
fn through_a_proxy_in_front_of_a_real_server() {
    run_rows(|| {
        let server = real::shared()?.addr();
        Some(Ground::Proxy(Proxy::start(server), server))
    });
}

/// All rows on all backends, side by side. Every one that fails is named.
fn run_rows(ground: fn() -> Option<Ground>) {
    let mut running = Vec::new();
    for backend in Backend::ALL {
        for (at, (script, fate)) in ROWS.iter().enumerate() {
            let Some(ground) = ground() else { return };
            let node = format!("/fault-{backend:?}-{at}");
            let run =
                move || with_watchdog(move || run_row(*backend, &ground, script, *fate, &node));
            running.push(((backend, script), thread::spawn(run)));
        }
    }
    let ended = running
        .into_iter()
        .map(|(row, thread)| (row, thread.join()));
    let failed: Vec<_> = ended
        .filter_map(|(row, result)| result.is_err().then_some(row))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

fn run_row(backend: Backend, ground: &Ground, script: &str, fate: Fate, node: &str) {
    let waits = script.contains("at ping");
    let told = backend.block_on(async {
        let direct = backend.builder(&ground.direct()).connect().await.unwrap();
        direct.create(node, b"0").await.unwrap();
        let strikes = ground.faults(script);
        let told = work(backend, ground, &strikes, waits, node).await;
        assert!(strikes.total() > 0, "{script}: it never struck");
        told
    });
    ground.faults("");
    let (value, version) = backend.block_on(async {
        let direct = backend.builder(&ground.direct()).connect().await.unwrap();
        let node = direct.get(node).await.unwrap();
        (value(&node.data), node.stat.version)
    });
    let end = told.ended.as_ref().map(|error| match error {
        Error::SessionEnded { end, .. } => end,
        error => panic!("{script}: {error}"),
    });
    match (fate, end) {
        (Lives, None)
        | (Expires, Some(SessionEnd::Expired { .. }))
        | (IsReplaced, Some(SessionEnd::Replaced { .. }))
        | (IsPresumed, Some(SessionEnd::PresumedExpired { .. }))
        | (Bears, _) => {}
        (_, end) => panic!("{script}: {end:?}"),
    }
    if fate != Bears {
        assert_eq!(told.wrong, None, "{script}: {told:?}");
        let value = value.unwrap_or_else(|| panic!("{script}: no number in the node"));
        assert!(value >= told.written, "{script}: {value} after {told:?}");
        let possible = told.done..=told.done + told.unsure;
        assert!(possible.contains(&version), "{script}: {version}, {told:?}");
    }
}

/// Writes and reads, and takes note of what it is told.
async fn work(
    backend: Backend,
    ground: &Ground,
    strikes: &Strikes,
    waits: bool,
    path: &str,
) -> Told {
    let client = backend
        .builder(&ground.connect_string())
        .session_timeout(SESSION_TIMEOUT)
        .start()
        .unwrap();
    let mut told = Told::default();
    for round in 1..=ROUNDS {
        if waits && round == 2 {
            let give_up = Instant::now() + SESSION_TIMEOUT * 3;
            while strikes.total() == 0 && Instant::now() < give_up {
                thread::sleep(Duration::from_millis(10));
            }
        }
        if !step(&client, &mut told, round, path).await {
            break;
        }
    }
    let _ = client.close().await;
    told
}

/// One write and one read; `false` when the session is over.
async fn step(client: &Client, told: &mut Told, round: u32, path: &str) -> bool {
    match client.set(path, round.to_string().as_bytes()).await {
        Ok(_) => {
            told.written = round;
            told.done += 1;
        }
        Err(error) => {
            told.unsure += i32::from(error.may_have_been_applied());
            if is_end(&error) {
                told.ended = Some(error);
                return false;
            }
        }
    }
    match client.get(path).await {
        Ok(node) => {
            let read = value(&node.data);
            let is_possible = |read| (told.written..=round).contains(&read);
            if !read.is_some_and(is_possible) {
                told.wrong = Some(format!("{read:?} in round {round}"));
            }
        }
        Err(error) if is_end(&error) => {
            told.ended = Some(error);
            return false;
        }
        Err(_) => {}
    }
    true
}

fn is_end(error: &Error) -> bool {
    matches!(error, Error::SessionEnded { .. } | Error::Closed { .. })
}

fn value(data: &[u8]) -> Option<u32> {
    std::str::from_utf8(data).ok()?.parse().ok()
}
