//! A proxy that records what goes through it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::decode::Way;
use crate::recording::{Entry, Recorder};

/// How much one read brings in at most.
const READ_LEN: usize = 64 << 10;

/// How long to wait for the server to take a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How long to wait when a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// Stands between clients and a server, passes on what they say as it is, and records it.
///
/// Dropping it closes all connections.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use std::sync::mpsc;
/// use homing_testkit::FakeServer;
/// use homing_testkit::recording::{Recorder, Recording, Tap};
///
/// let server = FakeServer::start();
/// let (sender, lines) = mpsc::channel();
/// let tap = Tap::start(
///     "127.0.0.1:0".parse()?,
///     server.connect_string(),
///     Recorder::new(),
///     move |entry| drop(sender.send(entry)),
/// )?;
/// let mut client = TcpStream::connect(tap.addr())?;
/// client.write_all(b"srvr")?;
/// client.read_to_string(&mut String::new())?;
/// drop(tap);
/// let recording: Recording = lines.iter().collect();
/// assert!(recording.to_string().contains("-> word \"srvr\""));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// Listens, and connects to `upstream` (a host and a port) for each client. `sink` is given
    /// the lines of the recording in their order.
    ///
    /// # Errors
    /// The address is taken or not this machine's, or the system has no thread left.
    pub fn start(
        listen: SocketAddr,
        upstream: impl Into<String>,
        recorder: Recorder,
        sink: impl FnMut(Entry) + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: upstream.into(),
            journal: Mutex::new(Journal {
                start: Instant::now(),
                recorder,
                sink: Box::new(sink),
            }),
            sockets: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(format!("tap-{}", address.port()))
            .spawn(move || accept(&listener, &own))?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // The thread waits for a connection: here is one.
        let woken = TcpStream::connect_timeout(&loopback(self.address), Duration::from_secs(1));
        for socket in lock(&self.shared.sockets).values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            let _ = thread.join();
        }
    }
}

/// What all threads of a tap have in common.
struct Shared {
    upstream: String,
    journal: Mutex<Journal>,
    /// One end of each connection, to end it.
    sockets: Mutex<BTreeMap<(u64, Way), TcpStream>>,
    is_over: AtomicBool,
}

struct Journal {
    start: Instant,
    recorder: Recorder,
    sink: Box<dyn FnMut(Entry) + Send>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Records something that happened just now. The lock is held until the sink has it, so that
    /// lines are in the order of their times.
    fn record<T: IntoIterator<Item = Entry>>(
        &self,
        happened: impl FnOnce(&mut Recorder, Duration) -> T,
    ) {
        let mut journal = lock(&self.journal);
        let at = journal.start.elapsed();
        for entry in happened(&mut journal.recorder, at) {
            (journal.sink)(entry);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An address to reach a listener at, which may listen on all of them.
fn loopback(listener: SocketAddr) -> SocketAddr {
    let mut address = listener;
    if listener.ip().is_unspecified() {
        address.set_ip(match listener {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for connection in 1.. {
        let accepted = listener.accept();
        if shared.is_over.load(Ordering::SeqCst) {
            break;
        }
        threads.retain(|thread| !thread.is_finished());
        match accepted {
            Ok((client, _)) => {
                shared.record(|recorder, at| [recorder.opened(at, connection)]);
                threads.extend(pass_on(shared, connection, client));
            }
            // There is no descriptor left, or the client has gone already.
            Err(_) => thread::sleep(ACCEPT_RETRY),
        }
    }
    // Those of connections that were made while the others were being ended.
    for socket in lock(&shared.sockets).values() {
        let _ = socket.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Connects a client to the server, and starts a thread for each way.
fn pass_on(shared: &Arc<Shared>, connection: u64, client: TcpStream) -> Vec<JoinHandle<()>> {
    let Ok(upstream) = connect(&shared.upstream) else {
        // To the client it looks as if the server had closed it, without a word.
        shared.record(|recorder, at| recorder.ended(at, connection, Way::ToClient));
        return Vec::new();
    };
    match pumps(shared, connection, client, upstream) {
        Ok(pumps) => pumps.into_iter().filter_map(Pump::start).collect(),
        // Without descriptors nothing can be done for this client.
        Err(_) => Vec::new(),
    }
}

fn pumps(
    shared: &Arc<Shared>,
    connection: u64,
    client: TcpStream,
    upstream: TcpStream,
) -> io::Result<[Pump; 2]> {
    let ends = [(Way::ToServer, &client), (Way::ToClient, &upstream)];
    for (way, end) in ends {
        end.set_nodelay(true)?;
        lock(&shared.sockets).insert((connection, way), end.try_clone()?);
    }
    let pump = |way, from, to| Pump {
        shared: Arc::clone(shared),
        connection,
        way,
        from,
        to,
    };
    Ok([
        pump(Way::ToServer, client.try_clone()?, upstream.try_clone()?),
        pump(Way::ToClient, upstream, client),
    ])
}

fn connect(upstream: &str) -> io::Result<TcpStream> {
    let mut result = Err(io::Error::other("the name has no address"));
    for address in upstream.to_socket_addrs()? {
        result = TcpStream::connect_timeout(&address, CONNECT_MAX);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// One way of a connection.
struct Pump {
    shared: Arc<Shared>,
    connection: u64,
    way: Way,
    from: TcpStream,
    to: TcpStream,
}

impl Pump {
    fn start(self) -> Option<JoinHandle<()>> {
        let thread = thread::Builder::new().name("tap-connection".into());
        // Without a thread it is closed.
        thread.spawn(move || self.run()).ok()
    }

    fn run(mut self) {
        self.pass();
        let (connection, way) = (self.connection, self.way);
        self.shared
            .record(|recorder, at| recorder.ended(at, connection, way));
        // The other way may go on.
        let _ = self.to.shutdown(Shutdown::Write);
        let mut sockets = lock(&self.shared.sockets);
        sockets.remove(&(connection, way));
        if !sockets.contains_key(&(connection, way.back())) {
            drop(sockets);
            lock(&self.shared.journal).recorder.gone(connection);
        }
    }

    /// Passes everything on, until either end has had enough.
    fn pass(&mut self) {
        let (connection, way) = (self.connection, self.way);
        let mut buffer = vec![0; READ_LEN];
        while !self.shared.is_over.load(Ordering::SeqCst) {
            let bytes = match self.from.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => buffer.get(..len).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            // Before it is passed on: its answer is then behind it.
            self.shared
                .record(|recorder, at| recorder.bytes(at, connection, way, bytes));
            if self.to.write_all(bytes).is_err() {
                let _ = self.from.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}
