//! A cable that can be pulled out: one client's way to its server.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Passes connections on to a server, a thread for each direction. Both ends see it when the
/// other one goes.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Connections are closed as soon as they are made.
    is_cut: bool,
    is_over: bool,
    /// What comes next this way is thrown away, and its connection breaks.
    loses: Option<Way>,
    /// Both ends of each connection.
    streams: Vec<TcpStream>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

impl Proxy {
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let proxy = Self {
            addr,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if lock(&shared).is_over {
                    return;
                }
                // A client or a server that is gone already is nothing to worry about.
                let _ = pass_on(client, server, &shared);
            }
        });
        proxy
    }

    pub fn connect_string(&self) -> String {
        self.addr.to_string()
    }

    /// Breaks all connections, and allows no new ones.
    pub fn cut(&self) {
        let mut shared = lock(&self.shared);
        shared.is_cut = true;
        for stream in shared.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Breaks a connection when the next answer comes, which is lost: the server has done what
    /// it was asked.
    pub fn lose_an_answer(&self) {
        lock(&self.shared).loses = Some(Way::ToClient);
    }

    /// Breaks a connection when the next request comes, which the server does not see.
    pub fn lose_a_request(&self) {
        lock(&self.shared).loses = Some(Way::ToServer);
    }

    /// Whether that has happened.
    pub fn has_lost_it(&self) -> bool {
        lock(&self.shared).loses.is_none()
    }

    /// Allows connections again.
    pub fn mend(&self) {
        lock(&self.shared).is_cut = false;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        lock(&self.shared).is_over = true;
        // Wakes the listener, so that it sees this.
        let _ = TcpStream::connect(self.addr);
    }
}

fn pass_on(client: TcpStream, server: SocketAddr, shared: &Arc<Mutex<Shared>>) -> io::Result<()> {
    if lock(shared).is_cut {
        return Ok(());
    }
    let server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ends = [client.try_clone()?, server.try_clone()?];
    let mut all = lock(shared);
    if all.is_cut {
        return Ok(());
    }
    all.streams.extend(ends);
    drop(all);
    let back = (server.try_clone()?, client.try_clone()?);
    let both = (Arc::clone(shared), Arc::clone(shared));
    thread::spawn(move || copy(client, server, Way::ToServer, &both.0));
    thread::spawn(move || copy(back.0, back.1, Way::ToClient, &both.1));
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, way: Way, shared: &Mutex<Shared>) {
    let mut buffer = vec![0; 64 << 10];
    let is_lost = || lock(shared).loses.take_if(|lost| *lost == way).is_some();
    loop {
        match from.read(&mut buffer) {
            Ok(len) if len > 0 && is_lost() => break,
            Ok(len) if len > 0 && to.write_all(&buffer[..len]).is_ok() => {}
            _ => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
