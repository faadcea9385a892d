//! Measures the fake server of `homing-testkit`, side by side with a real ZooKeeper.
//!
//! ```text
//! cargo run --release --manifest-path bench/Cargo.toml --bin testkit -- speed
//! cargo run --release --manifest-path bench/Cargo.toml --bin testkit -- core
//! cargo run --release --manifest-path bench/Cargo.toml --bin testkit -- start
//! ```
//!
//! `speed` sends pipelined requests, encoded beforehand, to four servers in turn: the fake one, a
//! real one as it is configured by default, a real one that does not wait for its disk, and the
//! floor, which answers without looking. `core` measures the fake server without its sockets, the
//! same in every run. `start` starts and drops servers. Set `TMPDIR` to a
//! folder on a RAM disk, such as `/dev/shm`, to keep the real server's data there. Debian's
//! package `zookeeper` must be installed for it; `--no-real` does without.

mod client;
mod core;
mod cpu;
mod floor;
mod life;
mod workload;

use std::error::Error;
use std::net::SocketAddr;
use std::process;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use homing_testkit::FakeServer;
use homing_testkit::real::{Builder, ZooKeeper};
use workload::Workload;

#[derive(Debug, Parser)]
#[command(about = "Measures the fake server, side by side with a real ZooKeeper.")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Requests per second, pipelined.
    Speed(Speed),
    /// The fake server's core, without sockets and threads.
    Core {
        /// How many requests of each kind.
        #[arg(long, default_value_t = 200_000)]
        requests: usize,
        /// Only these kinds: getData, exists, setData, create, delete, mixed.
        #[arg(long, value_delimiter = ',', default_values_t = Workload::ALL)]
        only: Vec<Workload>,
    },
    /// How long it takes to start and to drop a server.
    Start {
        /// How many servers.
        #[arg(long, default_value_t = 1000)]
        servers: usize,
    },
}

#[derive(Debug, Args)]
struct Speed {
    /// How often everything is measured, all servers in turn.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long one measurement is to take, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    millis: u64,
    /// How many connections share the requests; several numbers are measured one by one.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    connections: Vec<usize>,
    /// How many requests each connection has unanswered at most.
    #[arg(long, default_value_t = 500)]
    window: usize,
    /// How many seconds the real servers are warmed up.
    #[arg(long, default_value_t = 10)]
    warm_up: u64,
    /// Leaves the real servers out.
    #[arg(long)]
    no_real: bool,
    /// Only these kinds: getData, exists, setData, create, delete, mixed.
    #[arg(long, value_delimiter = ',', default_values_t = Workload::ALL)]
    only: Vec<Workload>,
}

fn main() -> Result<(), Box<dyn Error>> {
    match Arguments::parse().what {
        What::Speed(settings) => speed(&settings),
        What::Core { requests, only } => core::measure(&only, requests),
        What::Start { servers } => life::measure(servers),
    }
}

/// One server, and what was measured of it for one workload.
struct Target {
    name: &'static str,
    address: SocketAddr,
    /// Its process, and how the names of its threads begin.
    threads: (u32, &'static str),
    /// Requests per second, by round.
    rates: Vec<f64>,
    /// Seconds of the processor for each request, by round.
    costs: Vec<f64>,
}

impl Target {
    fn new(name: &'static str, address: SocketAddr, threads: (u32, &'static str)) -> Self {
        Self {
            name,
            address,
            threads,
            rates: Vec::new(),
            costs: Vec::new(),
        }
    }

    fn cpu(&self) -> f64 {
        let (process, name) = self.threads;
        cpu::used(process, name).map_or(f64::NAN, |used| used.as_secs_f64())
    }
}

fn speed(settings: &Speed) -> Result<(), Box<dyn Error>> {
    let fake = FakeServer::start();
    let real = match settings.no_real {
        true => None,
        false => Some((real(true).start()?, real(false).start()?)),
    };
    let mut targets = vec![Target::new("fake", fake.addr(), (process::id(), "fake-"))];
    if let Some((synced, unsynced)) = &real {
        println!(
            "real: ZooKeeper {}, data in {}",
            synced.version(),
            synced.folder().display()
        );
        targets.push(Target::new("real", synced.addr(), (synced.pid(), "")));
        targets.push(Target::new(
            "real, forceSync=no",
            unsynced.addr(),
            (unsynced.pid(), ""),
        ));
    }
    for target in &targets {
        workload::prepare(target.address)?;
    }
    targets.push(Target::new(
        "floor",
        floor::start()?,
        (process::id(), "floor"),
    ));
    for target in targets
        .iter()
        .filter(|target| target.name.starts_with("real"))
    {
        warm_up(target.address, settings)?;
    }
    for &connections in &settings.connections {
        println!();
        println!(
            "{connections} connections, {} unanswered each:",
            settings.window
        );
        for &workload in &settings.only {
            measure(&mut targets, workload, connections, settings)?;
            report(&targets, workload);
        }
    }
    Ok(())
}

/// A real server with room to be fast in: no limit that a pipelining client would run into, the
/// JVM's best compiler, and memory.
fn real(force_sync: bool) -> Builder {
    ZooKeeper::builder()
        .tick_time(Duration::from_secs(2))
        .property("forceSync", if force_sync { "yes" } else { "no" })
        .property("globalOutstandingLimit", "100000")
        .property("snapCount", "1000000")
        .system_property("zookeeper.preAllocSize", "65536")
        .jvm_option("-Xms2g")
        .jvm_option("-Xmx2g")
        .jvm_option("-XX:TieredStopAtLevel=4")
}

fn warm_up(server: SocketAddr, settings: &Speed) -> Result<(), Box<dyn Error>> {
    let until = Instant::now() + Duration::from_secs(settings.warm_up);
    while Instant::now() < until {
        for workload in Workload::ALL {
            workload.run(server, 4, 8000, settings.window)?;
        }
    }
    Ok(())
}

/// All targets in turn, round by round. Each gets as many requests as fill the time.
fn measure(
    targets: &mut [Target],
    workload: Workload,
    connections: usize,
    settings: &Speed,
) -> Result<(), Box<dyn Error>> {
    let wanted = Duration::from_millis(settings.millis).as_secs_f64();
    for target in &mut *targets {
        target.rates.clear();
        target.costs.clear();
    }
    let mut counts = vec![10_000; targets.len()];
    // The first round finds out how many requests that is.
    for round in 0..=settings.rounds {
        for (target, count) in targets.iter_mut().zip(&mut counts) {
            // What is created is deleted and the other way round, in the same number.
            let undo = match workload {
                Workload::Create => Some(Workload::Delete),
                Workload::Delete => Some(Workload::Create),
                _ => None,
            };
            if workload == Workload::Delete {
                Workload::Create.run(target.address, connections, *count, settings.window)?;
            }
            let cpu = target.cpu();
            let took = workload.run(target.address, connections, *count, settings.window)?;
            let cost = (target.cpu() - cpu) / *count as f64;
            if workload == Workload::Create
                && let Some(undo) = undo
            {
                undo.run(target.address, connections, *count, settings.window)?;
            }
            let rate = *count as f64 / took.as_secs_f64();
            *count = ((rate * wanted) as usize).clamp(1000, workload.max());
            if round > 0 {
                target.rates.push(rate);
                target.costs.push(cost);
            }
        }
    }
    Ok(())
}

fn report(targets: &[Target], workload: Workload) {
    for target in targets {
        let (_, rate, _) = spread(target.rates.iter().copied());
        let (_, cost, _) = spread(target.costs.iter().copied());
        let (name, cost) = (target.name, cost * 1e9);
        println!("{workload:8}  {name:18} {rate:9.0}/s, {cost:6.0} ns of its processor each");
    }
    let Some((fake, others)) = targets.split_first() else {
        return;
    };
    for other in others {
        let ratios = fake.rates.iter().zip(&other.rates).map(|(a, b)| a / b);
        let (min, median, max) = spread(ratios);
        println!(
            "           fake / {}: {median:.2} ({min:.2} to {max:.2})",
            other.name
        );
    }
}

/// The least, the middle and the greatest.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let last = values.len().saturating_sub(1);
    (at(0), at(last / 2), at(last))
}
