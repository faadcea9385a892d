//! One end of a connection, for a thread that waits for what the other end says.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::decode::{Piece, Stream, Way};

/// How much one read brings in at most.
const READ_LEN: usize = 64 << 10;

/// Reads that are held for whoever takes them. Behind them the other end waits.
const READS_MAX: usize = 256;

/// A socket with a thread that reads it: however much the other end says, what is written to it
/// does not wait for what is read.
#[derive(Debug)]
pub(super) struct Peer {
    socket: Arc<TcpStream>,
    /// Always there until the end.
    reads: Option<Receiver<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    stream: Stream,
    /// The way of what comes in.
    way: Way,
    /// What has come in and was not taken yet.
    pub(super) pieces: VecDeque<Piece>,
    /// Nothing more comes in.
    pub(super) has_ended: bool,
}

impl Peer {
    /// Speaks on a socket, which whoever else has it may shut down: that ends a write at once, and
    /// what comes in. A write that gets nowhere for so long fails.
    pub(super) fn new(socket: Arc<TcpStream>, way: Way, patience: Duration) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(patience))?;
        let (sender, reads) = mpsc::sync_channel(READS_MAX);
        let source = Arc::clone(&socket);
        let reader = thread::Builder::new()
            .name("replay-reader".into())
            .spawn(move || read(&source, &sender))?;
        Ok(Self {
            socket,
            reads: Some(reads),
            reader: Some(reader),
            stream: Stream::new(),
            way,
            pieces: VecDeque::new(),
            has_ended: false,
        })
    }

    /// Says something to the other end. Should it be gone, that shows in what it says; should it
    /// take nothing, it gets nothing more behind what it has of this.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let way = self.way.back();
        self.stream.push(way, bytes);
        while self.stream.next(way).is_some() {}
        if (&*self.socket).write_all(bytes).is_err() {
            self.end();
        }
    }

    /// Has nothing more to say.
    pub(super) fn end(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Waits until something came in, or the end, and says whether it did.
    pub(super) fn receive(&mut self, until: Instant) -> bool {
        let Some(reads) = self.reads.as_ref().filter(|_| !self.has_ended) else {
            return false;
        };
        match reads.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(bytes) => {
                self.stream.push(self.way, &bytes);
                let pieces = std::iter::from_fn(|| self.stream.next(self.way));
                self.pieces.extend(pieces);
                true
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.pieces.extend(self.stream.finish(self.way));
                self.has_ended = true;
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Without anybody who takes it, the thread does not wait to hand on what it has read.
        self.reads = None;
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read(mut source: &TcpStream, sender: &SyncSender<Vec<u8>>) {
    let mut buffer = vec![0; READ_LEN];
    loop {
        let bytes = match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => buffer.get(..len).unwrap_or_default().to_vec(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if sender.send(bytes).is_err() {
            return;
        }
    }
}
