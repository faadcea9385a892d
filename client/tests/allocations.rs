//! What a pipelined request costs in allocations.
//!
//! A counting allocator sees every thread of the process but the server's. The server is written
//! by hand, so that its replies are ready before they are asked for.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use homing::Client;
use support::script::{data_and_stat, handshake, reply};
use support::{Backend, with_watchdog};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is left out of the count.
    static IS_LEFT_OUT: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    // A thread that is ending, and has lost its locals, counts.
    if !IS_LEFT_OUT.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator as it came. Counting allocates
// nothing: the thread local is a plain value without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of this same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, len) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many requests are on their way at once.
const IN_LINE: usize = 128;
const WARM_UP_ROUNDS: usize = 100;
const ROUNDS: usize = 500;
const DATA: [u8; 100] = [b'x'; 100];

/// One test, so that nobody else is counted.
#[test]
fn two_allocations_for_a_pipelined_get() {
    with_watchdog(|| {
        for backend in Backend::ALL {
            let servers = serve();
            let counted = backend.block_on(measure(*backend, &servers));
            let gets = (ROUNDS * IN_LINE) as u64;
            let more = counted.saturating_sub(2 * gets);
            eprintln!("{backend:?}: {counted} allocations for {gets} gets: 2 for each, and {more}");
            // The slot and the data; what comes on top are read buffers, of which each serves
            // hundreds of replies.
            assert!(more < gets / 100, "{backend:?}: {counted} for {gets} gets");
        }
    });
}

async fn measure(backend: Backend, servers: &str) -> u64 {
    let client = backend.builder(servers).connect().await.unwrap();
    let mut pending = Vec::with_capacity(IN_LINE);
    let mut before = 0;
    for round in 0..WARM_UP_ROUNDS + ROUNDS {
        if round == WARM_UP_ROUNDS {
            before = ALLOCATIONS.load(Ordering::SeqCst);
        }
        ask(&client, &mut pending).await;
    }
    ALLOCATIONS.load(Ordering::SeqCst) - before
}

async fn ask(client: &Client, pending: &mut Vec<homing::Pending<homing::ops::Get<'static>>>) {
    for _ in 0..IN_LINE {
        pending.push(client.get("/a/path/of/some/length").submit().unwrap());
    }
    for get in pending.drain(..) {
        let node = get.await.unwrap();
        assert_eq!(node.data[..], DATA);
    }
}

/// A server that answers every request with the same data, as fast as it can, for one
/// connection. It is not counted.
fn serve() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let servers = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        IS_LEFT_OUT.set(true);
        let (stream, _) = listener.accept().unwrap();
        // It ends when the client is gone.
        let _ = answer_all(stream);
    });
    servers
}

fn answer_all(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::new();
    let mut output = Vec::new();
    let mut chunk = [0; 64 << 10];
    let mut is_new = true;
    let template = reply(0, 1, 0, &data_and_stat(Some(&DATA)));
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        input.extend_from_slice(&chunk[..count]);
        let mut rest = &input[..];
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let len = usize::try_from(i32::from_be_bytes(*len)).unwrap();
            let Some((frame, tail)) = tail.split_at_checked(len) else {
                break;
            };
            rest = tail;
            if std::mem::take(&mut is_new) {
                output.extend(handshake(30_000, 1));
                continue;
            }
            // The same reply for all, but for the xid.
            let start = output.len();
            output.extend_from_slice(&template);
            output[start + 4..start + 8].copy_from_slice(&frame[..4]);
        }
        let taken = input.len() - rest.len();
        input.drain(..taken);
        stream.write_all(&output)?;
        output.clear();
    }
}
