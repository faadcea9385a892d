//! A real server and fake ones that run the same programs.

use std::thread;
use std::time::Duration;

use homing_protocol::op;
use homing_testkit::{FakeServer, ServerConfig, real};

use crate::dialect;
use crate::generate;
use crate::known::Tally;
use crate::program::{Body, Field, Program, What};
use crate::side::{SUPER_DIGEST, Side};

/// One real server, which serves for all programs, and what it takes to start a fake one like it
/// for each.
pub(crate) struct Pair {
    server: real::ZooKeeper,
    real: Side,
    config: ServerConfig,
}

/// Where two runs of a program differ, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The number of the step.
    pub(crate) step: usize,
    pub(crate) real: String,
    pub(crate) fake: String,
}

/// Nothing expires or is reaped while a program runs.
const NEVER: Duration = Duration::from_secs(1_000_000);

impl Pair {
    /// `None` where there is no real server to be had, or none whose dialect is known.
    pub(crate) fn start() -> Option<Self> {
        real::requirement()?;
        let super_digest = "zookeeper.DigestAuthenticationProvider.superDigest";
        let server = real::ZooKeeper::builder()
            .tick_time(Duration::from_secs(2))
            .system_property(super_digest, SUPER_DIGEST)
            .system_property("zookeeper.enforceQuota", "true")
            .system_property("znode.container.checkIntervalMs", "1000000000")
            .start()
            .unwrap();
        let config = dialect::config(&server);
        let mut config = config.unwrap_or_else(|why| panic!("{why}"));
        config.extended_types_enabled = true;
        config.enforce_quota = true;
        config.container_check_interval = NEVER;
        config.super_digest = Some(SUPER_DIGEST.into());
        let mut real = Side::new(server.addr());
        real.clear();
        Some(Self {
            server,
            real,
            config,
        })
    }

    /// Whether an operation is one that these servers have.
    pub(crate) fn knows(&self, op: i32) -> bool {
        !self.config.unknown_operations.contains(&op)
    }

    /// A program without what these servers leave to chance: an operation that they do not know is
    /// refused without waiting for its turn, and what comes with it may be heard or not. Nor with
    /// what an old one never answers, or dies of.
    pub(crate) fn tame(&self, mut program: Program) -> Program {
        let mut is_alone = true;
        for act in program.0.iter_mut().rev() {
            if self.config.version.starts_with("3.4.") {
                tame_null(&mut act.what);
            }
            if self.config.quotas_are_soft {
                tame_limits(&mut act.what);
            }
            let What::Request(request) = &mut act.what else {
                continue;
            };
            let next_is_alone = is_alone;
            is_alone = !self.knows(request.op);
            request.with_next &= !(is_alone || next_is_alone);
        }
        program
    }

    /// Runs a program on both and says where they differ first.
    pub(crate) fn difference(&mut self, program: &Program) -> Option<Difference> {
        let (real, fake) = self.run(program);
        // One that has nothing to say any more is shorter.
        let len = real.len().max(fake.len());
        let at = |side: &[String], step| side.get(step).cloned().unwrap_or_default();
        (0..len).find_map(|step| {
            let (real, fake) = (at(&real, step), at(&fake, step));
            (real != fake).then_some(Difference { step, real, fake })
        })
    }

    fn run(&mut self, program: &Program) -> (Vec<String>, Vec<String>) {
        self.real.begin();
        let fake = self.fake();
        let mut fake_side = Side::new(fake.addr());
        fake_side.begin();
        for (path, counter) in self.real.create_counters() {
            assert!(fake.with_server(|server| server.set_create_counter(path, counter)));
        }
        let both = thread::scope(|scope| {
            let fake = scope.spawn(|| fake_side.run(program));
            (self.real.run(program), fake.join().unwrap())
        });
        self.real.clear();
        both
    }

    /// What the real server has answered.
    pub(crate) fn tally(&self) -> &Tally {
        &self.real.known.tally
    }

    fn fake(&self) -> FakeServer {
        let settings = self.config.clone();
        let builder = FakeServer::builder().config(|config| *config = settings);
        builder.start().unwrap()
    }

    /// What a program does, act by act, up to the first difference.
    pub(crate) fn tell(&mut self, program: &Program) -> String {
        let (real, fake) = self.run(program);
        let mut told = String::new();
        for (step, acts) in program.steps().into_iter().enumerate() {
            for act in &program.0[acts] {
                told += &format!("{act}\n");
            }
            let [real, fake] = [&real, &fake].map(|side| side.get(step));
            let said = |said: Option<&String>| said.cloned().unwrap_or_default();
            if real == fake {
                told += &format!("    {}\n", said(real));
                continue;
            }
            told += &format!("  real:\n    {}\n  fake:\n    {}\n", said(real), said(fake));
            break;
        }
        told
    }
}

/// Makes something of null where it would not be answered.
fn tame_null(what: &mut What) {
    match what {
        What::Request(request) if request.op == op::SASL => {
            request.body = Body::Fields(vec![Field::Bytes(Vec::new())]);
            request.cut = None;
        }
        What::Handshake(fields) => {
            for field in fields.iter_mut().filter(|field| **field == Field::Null) {
                *field = Field::Bytes(vec![0; 16]);
            }
        }
        _ => {}
    }
}

/// Lets what is written into the nodes of a quota make sense.
fn tame_limits(what: &mut What) {
    let What::Request(request) = what else {
        return;
    };
    let writes: Vec<&mut Vec<Field>> = match &mut request.body {
        Body::Fields(fields) => vec![fields],
        Body::Ops(ops) => ops.iter_mut().map(|(_, fields)| fields).collect(),
    };
    let is_quotas = |path: &str| path.ends_with("_limits") || path.ends_with("_stats");
    let makes_sense = |data: &Field| {
        let mut limits = generate::LIMITS.iter();
        limits.any(|limits| *data == Field::Text((*limits).into()))
    };
    for fields in writes {
        if let [Field::Text(path), data, _, ..] = &mut fields[..]
            && is_quotas(path)
            && !makes_sense(data)
        {
            *data = Field::Text(generate::LIMITS[0].into());
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if thread::panicking() && self.server.ask("ruok").is_err() {
            // It is dead, which it may have something to say about.
            let log = self.server.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("the real server's log ends with:\n{}", last.join("\n"));
        }
    }
}

const LOG_LINES_SHOWN: usize = 40;
