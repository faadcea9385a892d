//! A port, the thread that serves it, and the handle that tells this thread what to do.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::faults::{Faults, Plan, Strikes};
use crate::listening::Listening;

/// Something that another thread wants done, on the thread that owns the sockets.
type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// How long somebody who has taken the port may take to return it.
const REBIND_MAX: Duration = Duration::from_secs(5);

/// How long to wait when the process has no descriptor left for a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
/// From here on, tokens are those of connections.
pub(crate) const FIRST_TOKEN: usize = 2;

/// What is done on the thread that owns the sockets: jobs, [`wake`](Self::wake) for each event,
/// [`turn`](Self::turn), in this order and again and again.
pub(crate) trait Work: Send + Sized + 'static {
    fn gate(&mut self) -> &mut Gate<Self>;

    /// Something has happened to a socket.
    fn wake(&mut self, token: Token);

    /// What is to be done now.
    fn turn(&mut self);

    /// How long the next wait may take.
    fn timeout(&self, now: Instant) -> Option<Duration>;

    /// Another script from now on, for the connections that there are too.
    fn set_faults(&mut self, plan: Arc<Plan>);

    /// Closes the gate and all connections.
    fn stop(&mut self);

    /// The gate is open again, behind a [`stop`](Self::stop).
    fn restarted(&mut self) {}

    /// Nobody has the handle any more.
    fn end(&mut self) {}
}

/// The thread's side: where connections and jobs come in.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    poll: Poll,
    jobs: Receiver<Option<Job<T>>>,
    listening: Listening,
    /// Where it listens, or did before it was closed.
    address: SocketAddr,
    /// While it is open, the port is only kept: nobody listens.
    refuses: bool,
    accepted: Arc<AtomicU64>,
    /// Somebody may have come.
    is_acceptable: bool,
    /// When to try again to accept.
    accept_after: Option<Instant>,
    /// It has been told that nothing can be accepted.
    is_short: bool,
}

impl<T> Gate<T> {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections have been accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.listening.is_closed()
    }

    pub(crate) fn close(&mut self) {
        self.listening = Listening::Closed;
    }

    fn open(&mut self) -> io::Result<()> {
        // It may hold the port.
        self.close();
        (self.listening, self.address) =
            Listening::open(self.poll.registry(), LISTENER, self.address)?;
        if self.refuses {
            self.listening.refuse(self.address);
        }
        self.is_acceptable = true;
        Ok(())
    }

    /// Whether everybody is refused from now on.
    fn refuse(&mut self, refuses: bool) -> io::Result<()> {
        self.refuses = refuses;
        match (&self.listening, refuses) {
            (Listening::Open(_), true) => self.listening.refuse(self.address),
            (Listening::Refusing { .. }, false) => {
                if let Err(error) = self.open() {
                    // To be tried again from where it was.
                    self.listening.refuse(self.address);
                    return Err(error);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The next connection that has been made; an error once while there is no room for one.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        if !self.is_acceptable || self.accept_after.is_some_and(|after| after > now) {
            return None;
        }
        self.accept_after = None;
        loop {
            match self.listening.accept() {
                Ok(connection) => {
                    self.is_short = false;
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    return Some(Ok(connection));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_acceptable = false;
                    return None;
                }
                // A client that has given up already.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.accept_after = Some(now + ACCEPT_RETRY);
                    let was_short = std::mem::replace(&mut self.is_short, true);
                    return (!was_short).then_some(Err(error));
                }
            }
        }
    }

    /// When to try to accept: `None` if nobody has come.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.is_acceptable.then(|| self.accept_after.unwrap_or(now))
    }

    /// Has the thread woken by what happens to a connection.
    pub(crate) fn register(&self, stream: &mut TcpStream, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream, token, both)
    }
}

/// The handle. Dropping it ends the thread, and with it all that the thread has.
#[derive(Debug)]
pub(crate) struct Worker<T> {
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
    strikes: Mutex<Strikes>,
    /// Nothing in place of a job is the end.
    jobs: Sender<Option<Job<T>>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl<T> Worker<T> {
    /// Takes a port, or says which it cannot take. The thread is still to be started.
    pub(crate) fn bind(listen: SocketAddr, plan: &Arc<Plan>) -> io::Result<(Self, Gate<T>)> {
        let what = format_args!("cannot listen on {listen}");
        Self::take(listen, plan).map_err(|error| explained(what, &error))
    }

    fn take(listen: SocketAddr, plan: &Arc<Plan>) -> io::Result<(Self, Gate<T>)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (sender, jobs) = mpsc::channel();
        let accepted = Arc::new(AtomicU64::new(0));
        let mut gate = Gate {
            poll,
            jobs,
            listening: Listening::Closed,
            address: listen,
            refuses: plan.refuses(),
            accepted: Arc::clone(&accepted),
            is_acceptable: false,
            accept_after: None,
            is_short: false,
        };
        gate.open()?;
        let worker = Self {
            address: gate.address,
            accepted,
            strikes: Mutex::new(Strikes(Arc::clone(plan))),
            jobs: sender,
            waker: Arc::new(waker),
            thread: None,
        };
        Ok((worker, gate))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// How often the faults in force have struck.
    pub(crate) fn strikes(&self) -> Strikes {
        let strikes = self.strikes.lock();
        strikes.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the thread look around.
    pub(crate) fn wake(&self) {
        // A thread that cannot be woken is gone.
        let _ = self.waker.wake();
    }

    fn tell(&self, job: Option<Job<T>>) {
        // Should it fail, so does the wait for what comes of it.
        let _ = self.jobs.send(job);
        self.wake();
    }
}

impl<T: Work> Worker<T> {
    /// Starts the thread, which has this name and the port's number.
    pub(crate) fn start(&mut self, name: &str, work: T) -> io::Result<()> {
        let name = format!("{name}-{}", self.address.port());
        let thread = thread::Builder::new().name(name);
        let thread = thread.spawn(move || run(work));
        let what = format_args!("cannot start a thread for {}", self.address);
        self.thread = Some(thread.map_err(|error| explained(what, &error))?);
        Ok(())
    }

    /// Runs a job on the thread that owns the sockets, and waits for it.
    #[allow(
        clippy::expect_used,
        reason = "the thread ends before its handle only by a bug"
    )]
    pub(crate) fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> R {
        let (done, result) = mpsc::sync_channel(1);
        self.tell(Some(Box::new(move |work| {
            // Nobody waits any more only if the caller's thread is being torn down.
            let _ = done.send(job(work));
        })));
        result
            .recv()
            .expect("the thread that owns the sockets is running")
    }

    /// Stops it if it runs, and starts it on the same port.
    pub(crate) fn restart(&self) -> io::Result<()> {
        self.rebind(|work| {
            work.stop();
            work.gate().open()?;
            work.restarted();
            Ok(())
        })
    }

    /// Puts another script in force, and says how often it strikes.
    #[allow(
        clippy::expect_used,
        reason = "a test that has lost its port cannot go on"
    )]
    pub(crate) fn faults(&self, faults: &Faults) -> Strikes {
        let plan = Arc::new(Plan::new(faults));
        let strikes = Strikes(Arc::clone(&plan));
        let refuses = plan.refuses();
        // Until the end: of several callers at once, the last has the last word in both.
        let mut in_force = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        self.run(move |work| work.set_faults(plan));
        self.rebind(move |work| work.gate().refuse(refuses))
            .expect("listen again on the port of before");
        *in_force = strikes.clone();
        strikes
    }

    /// Does what may need the port once more, for as long as somebody else could return it.
    fn rebind(
        &self,
        job: impl Fn(&mut T) -> io::Result<()> + Clone + Send + 'static,
    ) -> io::Result<()> {
        let give_up = Instant::now() + REBIND_MAX;
        loop {
            match self.run(job.clone()) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < give_up => {
                    thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.tell(None);
        if let Some(thread) = self.thread.take() {
            // A panic over there has been printed already.
            let _ = thread.join();
        }
    }
}

/// The same error, and what could not be done because of it.
fn explained(what: fmt::Arguments<'_>, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// The thread.
fn run(mut work: impl Work) {
    let mut events = Events::with_capacity(256);
    let mut is_over = false;
    while !is_over {
        let timeout = work.timeout(Instant::now());
        match work.gate().poll.poll(&mut events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // Without events there is nothing that could be done.
            Err(_) => return,
        }
        while let Ok(job) = work.gate().jobs.try_recv() {
            match job {
                Some(job) => job(&mut work),
                None => is_over = true,
            }
        }
        for event in &events {
            match event.token() {
                WAKER => {}
                LISTENER => work.gate().is_acceptable = true,
                token => work.wake(token),
            }
        }
        work.turn();
    }
    work.end();
}
