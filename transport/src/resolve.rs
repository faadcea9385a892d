//! Looking names up without blocking a driver.

#![allow(
    clippy::disallowed_methods,
    reason = "beside `ask`, the one place with a thread of its own: the system's resolver blocks"
)]

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// How many lookups may be under way in one process. The system's resolver can hang for minutes
/// and cannot be interrupted; whoever asked gives up long before. The next ones fail at once
/// instead of piling up threads.
const LOOKUPS_MAX: usize = 64;

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// Looks `host` up with the system's resolver, on a thread of its own, and calls `deliver` there
/// with what it found: one address at least, or the error. If there can be no thread, `deliver`
/// is called with that error before this returns.
///
/// ```
/// use std::sync::mpsc;
/// let (sender, receiver) = mpsc::channel();
/// homing_transport::resolve::lookup("127.0.0.1".into(), 2181, move |found| {
///     let _ = sender.send(found);
/// });
/// assert_eq!(receiver.recv()??, ["127.0.0.1:2181".parse()?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn lookup(
    host: String,
    port: u16,
    deliver: impl FnOnce(io::Result<Vec<SocketAddr>>) + Send + 'static,
) {
    if LOOKUPS.fetch_add(1, Ordering::Relaxed) >= LOOKUPS_MAX {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
        let message = format!("{LOOKUPS_MAX} earlier lookups have not been answered yet");
        return deliver(Err(io::Error::other(message)));
    }
    let deliver = Arc::new(Mutex::new(Some(deliver)));
    let on_thread = Arc::clone(&deliver);
    let started = thread::Builder::new()
        .name("homing-resolve".into())
        .spawn(move || {
            let found = resolve(&host, port);
            LOOKUPS.fetch_sub(1, Ordering::Relaxed);
            if let Some(deliver) = take(&on_thread) {
                deliver(found);
            }
        });
    if let Err(error) = started {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
        if let Some(deliver) = take(&deliver) {
            deliver(Err(error));
        }
    }
}

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<_> = (host, port).to_socket_addrs()?.collect();
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok(found)
}

fn take<T>(shared: &Mutex<Option<T>>) -> Option<T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner).take()
}
