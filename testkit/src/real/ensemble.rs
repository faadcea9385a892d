//! Several real servers that make one ensemble.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::failure::Failure;
use super::port::free_addr;
use super::{Builder, Installation, START_TIMEOUT, Shell, StartError, ZooKeeper, requirement};

/// The ensemble that all tests of this process share, one after the other, started by the first
/// who asks. `None` where [`requirement`] says so.
///
/// It has three members and the settings of [`Ensemble::start`], and ends with the process.
/// Whoever gets it finds it [healed](Ensemble::heal), whatever the one before did to it.
///
/// ```no_run
/// if let Some(mut ensemble) = homing_testkit::real::shared_ensemble() {
///     ensemble.member_mut(0).kill();
/// }
/// ```
///
/// # Panics
/// ZooKeeper is required and not installed, or it is installed and does not start.
pub fn shared_ensemble() -> Option<MutexGuard<'static, Ensemble>> {
    static SHARED: OnceLock<Option<Mutex<Ensemble>>> = OnceLock::new();
    let start = || {
        requirement()?;
        let ensemble = Ensemble::start().unwrap_or_else(|error| panic!("{error}"));
        Some(Mutex::new(ensemble))
    };
    let shared = SHARED.get_or_init(start).as_ref()?;
    let mut ensemble = shared.lock().unwrap_or_else(PoisonError::into_inner);
    ensemble.heal().unwrap_or_else(|error| panic!("{error}"));
    Some(ensemble)
}

/// Several servers with a leader. Dropping it kills them and removes their data.
///
/// Each member is a [`ZooKeeper`], to be killed, paused and started again by itself.
///
/// ```no_run
/// let mut ensemble = homing_testkit::real::Ensemble::start()?;
/// let leader = ensemble.leader().expect("all of them serve");
/// ensemble.member_mut(leader).kill();
/// println!("the others, of {}, elect another one", ensemble.connect_string());
/// ensemble.heal()?;
/// # Ok::<(), homing_testkit::real::StartError>(())
/// ```
#[derive(Debug)]
pub struct Ensemble {
    members: Vec<ZooKeeper>,
    /// How each is written in the configuration that they were started with.
    lines: Vec<String>,
    settings: Builder,
}

impl Ensemble {
    /// Starts three servers with the builder's defaults, and returns when all of them serve.
    ///
    /// # Errors
    /// ZooKeeper is not installed, or a server did not start; then the error has the end of its
    /// log.
    pub fn start() -> Result<Self, StartError> {
        Self::builder().start()
    }

    /// An ensemble with other settings.
    pub fn builder() -> EnsembleBuilder {
        EnsembleBuilder::default()
    }

    /// Where clients connect to: all members, as `127.0.0.1:port,127.0.0.1:port,…`.
    pub fn connect_string(&self) -> String {
        let addresses = self.members.iter().map(ZooKeeper::connect_string);
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The members, alive or not.
    pub fn members(&self) -> &[ZooKeeper] {
        &self.members
    }

    /// A member, to be disturbed.
    ///
    /// # Panics
    /// There are not so many.
    pub fn member_mut(&mut self, index: usize) -> &mut ZooKeeper {
        let members = self.members.len();
        let member = self.members.get_mut(index);
        member.unwrap_or_else(|| panic!("member {index} of {members}"))
    }

    /// The member that clients reach at this address.
    pub fn position(&self, addr: SocketAddr) -> Option<usize> {
        self.members.iter().position(|member| member.addr == addr)
    }

    /// How a server is written in the configuration that it was started with:
    /// `server.N=host:port:port:role;host:port`.
    ///
    /// # Panics
    /// There are not so many.
    pub fn server_line(&self, index: usize) -> &str {
        let members = self.lines.len();
        let line = self.lines.get(index);
        line.unwrap_or_else(|| panic!("member {index} of {members}"))
    }

    /// Starts one more server, and says which one it is when it serves. It knows the others, and
    /// they do not count it: a member it becomes by a reconfiguration.
    ///
    /// # Errors
    /// ZooKeeper is not installed, or the server did not start; then the error has the end of its
    /// log.
    pub fn add_server(&mut self) -> Result<usize, StartError> {
        let installation = Installation::find().map_err(StartError::NotInstalled)?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let mut chosen = self.members.iter().map(|member| member.addr).collect();
            let (member, line) = new_member(
                self.members.len(),
                false,
                &installation,
                &self.settings,
                &mut chosen,
            )?;
            self.lines.push(line);
            write_files(&member, self.lines.len(), &self.lines, &self.settings)?;
            self.members.push(member);
            match self.try_heal(deadline) {
                Ok(()) => return Ok(self.members.len() - 1),
                // Between the choice and the start somebody else took a port.
                Err(Failure::PortTaken(_)) if Instant::now() < deadline => {
                    self.members.pop();
                    self.lines.pop();
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// The member that says that it leads; `None` while there is none.
    pub fn leader(&self) -> Option<usize> {
        let leads = |member: &ZooKeeper| {
            let state = member.ask("srvr").unwrap_or_default();
            state.contains("Mode: leader")
        };
        self.members.iter().position(leads)
    }

    /// Starts the dead members again, lets the paused ones go on, and returns when all of them
    /// serve as members of one ensemble.
    ///
    /// # Errors
    /// A server did not start; the error has the end of its log.
    pub fn heal(&mut self) -> Result<(), StartError> {
        self.try_heal(Instant::now() + START_TIMEOUT)
            .map_err(StartError::from)
    }

    fn try_heal(&mut self, deadline: Instant) -> Result<(), Failure> {
        // All are started before any is waited for: one alone does not serve.
        let mut log_starts = Vec::new();
        for member in &mut self.members {
            let is_dead = member.pid == 0 || member.shell.jvm_exited();
            log_starts.push(match is_dead {
                true => member.boot()?,
                false => {
                    member.resume();
                    member.shell.log_len()
                }
            });
        }
        for (member, log_start) in self.members.iter_mut().zip(log_starts) {
            member.wait_until(is_in_quorum, log_start, deadline)?;
        }
        Ok(())
    }
}

fn is_in_quorum(state: &str) -> bool {
    ["leader", "follower", "observer"]
        .iter()
        .any(|mode| state.contains(&format!("Mode: {mode}")))
}

/// Settings of an ensemble to be started.
///
/// ```no_run
/// use std::time::Duration;
/// use homing_testkit::real::{Ensemble, ZooKeeper};
/// let each = ZooKeeper::builder().tick_time(Duration::from_millis(200));
/// let ensemble = Ensemble::builder().each(each).read_only().start()?;
/// # Ok::<(), homing_testkit::real::StartError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct EnsembleBuilder {
    members: usize,
    observers: usize,
    each: Builder,
    is_read_only: bool,
}

impl Default for EnsembleBuilder {
    fn default() -> Self {
        Self {
            members: 3,
            observers: 0,
            each: Builder::default(),
            is_read_only: false,
        }
    }
}

impl EnsembleBuilder {
    /// How many servers with a vote; three unless set.
    ///
    /// # Panics
    /// It is zero.
    pub fn members(mut self, members: usize) -> Self {
        assert_ne!(members, 0, "an ensemble of nobody");
        self.members = members;
        self
    }

    /// How many servers without a vote there are behind them; none unless set.
    pub fn observers(mut self, observers: usize) -> Self {
        self.observers = observers;
        self
    }

    /// The settings of each server. The ensemble adds its own in front (`initLimit`,
    /// `syncLimit`, `standaloneEnabled`, `reconfigEnabled`), so that those here count; the
    /// members and their addresses (`server.N`, `dynamicConfigFile`) are not to be chosen.
    pub fn each(mut self, each: Builder) -> Self {
        self.each = each;
        self
    }

    /// A member that sees no quorum serves reads to the clients that allow it
    /// (`readonlymode.enabled`). That takes local sessions: one without ephemeral nodes lives at
    /// its server alone, and is upgraded with the first of them.
    pub fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// Starts the servers and returns when all of them serve.
    ///
    /// # Errors
    /// ZooKeeper is not installed, or a server did not start; then the error has the end of its
    /// log.
    pub fn start(self) -> Result<Ensemble, StartError> {
        let installation = Installation::find().map_err(StartError::NotInstalled)?;
        let deadline = Instant::now() + START_TIMEOUT;
        let builder = self.settings();
        loop {
            let mut ensemble = self.set_up(&builder, &installation)?;
            match ensemble.try_heal(deadline) {
                Ok(()) => return Ok(ensemble),
                // Between the choice and the start somebody else took a port.
                Err(Failure::PortTaken(_)) if Instant::now() < deadline => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    fn settings(&self) -> Builder {
        let mut own = Builder::default();
        for (key, value) in CONFIG {
            own = own.property(key, value);
        }
        if self.is_read_only {
            own = own
                .property("localSessionsEnabled", "true")
                .property("localSessionsUpgradingEnabled", "true")
                .system_property("readonlymode.enabled", "true");
        }
        let each = self.each.clone();
        own.properties.extend(each.properties);
        own.system_properties.extend(each.system_properties);
        own.jaas = each.jaas;
        own.tick_time = each.tick_time;
        own
    }

    /// Folders, ports and configurations of servers that do not run yet.
    fn set_up(
        &self,
        builder: &Builder,
        installation: &Installation,
    ) -> Result<Ensemble, StartError> {
        let (mut members, mut lines) = (Vec::new(), Vec::new());
        let mut chosen = BTreeSet::new();
        for index in 0..self.members + self.observers {
            let is_observer = index >= self.members;
            let (member, line) =
                new_member(index, is_observer, installation, builder, &mut chosen)?;
            members.push(member);
            lines.push(line);
        }
        for (member, id) in members.iter().zip(1..) {
            write_files(member, id, &lines, builder)?;
        }
        Ok(Ensemble {
            members,
            lines,
            settings: builder.clone(),
        })
    }
}

/// A server that does not run yet, and how it is written in a configuration.
fn new_member(
    index: usize,
    is_observer: bool,
    installation: &Installation,
    builder: &Builder,
    chosen: &mut BTreeSet<SocketAddr>,
) -> Result<(ZooKeeper, String), StartError> {
    let mut command_line = builder.command_line(installation);
    // Behind the java of the line, and before its class: the later one counts.
    let class_path = command_line.iter().position(|word| word == "-cp");
    command_line.insert(class_path.unwrap_or(1), "-Xmx128m".into());
    let [client, quorum, election] = free_addrs(chosen).map_err(StartError::Io)?;
    let (id, quorum, election) = (index + 1, quorum.port(), election.port());
    let role = if is_observer {
        "observer"
    } else {
        "participant"
    };
    let member = ZooKeeper {
        shell: Shell::spawn(&command_line).map_err(StartError::Io)?,
        tls: None,
        config: None,
        addr: client,
        pid: 0,
        version: String::new(),
    };
    let line = format!("server.{id}=127.0.0.1:{quorum}:{election}:{role};{client}");
    Ok((member, line))
}

/// What a server reads when it starts.
fn write_files(
    member: &ZooKeeper,
    id: usize,
    lines: &[String],
    builder: &Builder,
) -> Result<(), StartError> {
    let (folder, data) = (member.folder(), member.data_folder());
    let dynamic = folder.join("zoo.cfg.dynamic");
    let config = builder.config()
        + &format!(
            "dataDir={}\ndynamicConfigFile={}\n",
            data.display(),
            dynamic.display(),
        );
    fs::create_dir(&data)
        .and_then(|()| fs::write(data.join("myid"), format!("{id}\n")))
        .and_then(|()| fs::write(dynamic, lines.join("\n") + "\n"))
        .and_then(|()| fs::write(folder.join("zoo.cfg"), config))
        .and_then(|()| builder.write_jaas(folder))
        .map_err(StartError::Io)
}

/// Patience with members on a busy machine, in ticks; an ensemble whatever its size; and members
/// that can be changed while it runs.
const CONFIG: [(&str, &str); 4] = [
    ("initLimit", "60"),
    ("syncLimit", "20"),
    ("standaloneEnabled", "false"),
    ("reconfigEnabled", "true"),
];

/// Three addresses that differ, from each other and from those that were chosen before.
fn free_addrs(chosen: &mut BTreeSet<SocketAddr>) -> std::io::Result<[SocketAddr; 3]> {
    let mut next = || -> std::io::Result<SocketAddr> {
        loop {
            // A port that nobody listens on yet can be proposed twice.
            let addr = free_addr()?;
            if chosen.insert(addr) {
                return Ok(addr);
            }
        }
    };
    Ok([next()?, next()?, next()?])
}
