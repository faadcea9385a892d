//! A transport without sockets, threads or a clock: whoever waits drives it, and time jumps from
//! one event to the next. A round of a test takes a fraction of a millisecond, and is the same
//! every time for the same seed.

use std::io::ErrorKind;
use std::iter;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing::{Builder, Client};
use homing_protocol::op;
use homing_testkit::{ConnectionId, Now, Output, Server, ServerConfig};
use homing_transport::{Action, Down, Driver, Engine, Outgoing, Signal, StartError, Transport};

/// A server and the way to it.
#[derive(Clone)]
pub struct World(Arc<Mutex<Inner>>);

struct Inner {
    server: Server,
    engine: Option<Box<dyn Engine>>,
    stream: Option<Stream>,
    start: Instant,
    now: Instant,
    dice: Dice,
    /// Out of a thousand steps of a connection, how many cut it.
    cuts: u64,
    is_mute: bool,
    /// The codes of the operations that the server was asked for.
    asked: Vec<i32>,
    /// The nodes that it was asked to delete.
    deleted: Vec<String>,
}

struct Stream {
    id: ConnectionId,
    out: Outgoing,
    input: BytesMut,
    server_input: BytesMut,
    /// What was sent and not yet split into frames, to be listened in to.
    tap: BytesMut,
    has_shaken_hands: bool,
}

/// Numbers from a seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Something below `end`. (SplitMix64.)
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % end.max(1)
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut config = ServerConfig::default();
        config.extended_types_enabled = true;
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Inner {
            server: Server::new(config),
            engine: None,
            stream: None,
            start: now,
            now,
            dice: Dice::new(seed),
            cuts: 0,
            is_mute: false,
            asked: Vec::new(),
            deleted: Vec::new(),
        })))
    }

    pub fn builder(&self, seed: u64) -> Builder {
        // Three ways to the same server: after a loss the next one is tried at once.
        Client::builder("10.0.0.1,10.0.0.2,10.0.0.3")
            .seed(seed)
            .transport(self.clone())
    }

    pub fn server<T>(&self, look: impl FnOnce(&mut Server) -> T) -> T {
        look(&mut self.lock().server)
    }

    /// Out of a thousand steps of a connection, how many cut it, with whatever is on its way.
    pub fn set_cuts(&self, per_thousand: u64) {
        self.lock().cuts = per_thousand;
    }

    pub fn cut(&self) {
        self.lock().disconnect(Down::Closed);
    }

    /// What the server says is lost until it is told otherwise; connections stay.
    pub fn set_mute(&self, is_mute: bool) {
        self.lock().is_mute = is_mute;
    }

    /// What the server was asked for since this was asked last.
    pub fn asked(&self) -> Vec<i32> {
        std::mem::take(&mut self.lock().asked)
    }

    /// The paths of the nodes that it was asked to delete since this was asked last.
    pub fn deleted(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().deleted)
    }

    pub fn elapsed(&self) -> Duration {
        let inner = self.lock();
        inner.now - inner.start
    }

    /// One turn of the driver's, and a jump in time if it has nothing else to do.
    pub fn step(&self) {
        let mut wakers = Vec::new();
        self.lock().step(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Steps until it is so.
    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..100_000 {
            if is_so() {
                return;
            }
            self.step();
        }
        panic!("it never came to this: {what}");
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl Transport for World {
    fn start(&self, engine: Box<dyn Engine>) -> Result<Arc<dyn Driver>, StartError> {
        self.lock().engine = Some(engine);
        Ok(Arc::new(self.clone()))
    }
}

impl Driver for World {
    fn ring(&self) {}

    fn block(&self, signal: &Signal) {
        while !signal.take() {
            self.step();
        }
    }
}

impl Inner {
    fn step(&mut self, wakers: &mut Vec<Waker>) {
        if self.cuts > 0 && self.stream.is_some() && self.dice.below(1_000) < self.cuts {
            self.disconnect(Down::Failed(ErrorKind::ConnectionReset.into()));
        }
        let mut is_busy = self.read();
        let now = self.now;
        let Some(engine) = &mut self.engine else {
            return;
        };
        engine.handle_turn(now);
        while let Some(action) = self.engine.as_mut().and_then(|engine| engine.poll_action()) {
            is_busy = true;
            self.act(action);
        }
        is_busy |= self.write();
        let Some(engine) = &mut self.engine else {
            return;
        };
        engine.take_wakers(wakers);
        if !is_busy && wakers.is_empty() && engine.park() {
            let at = [engine.poll_timeout(), self.server.poll_timeout()];
            if let Some(at) = at.into_iter().flatten().min() {
                self.now = self.now.max(at);
                self.server.handle_timeout(now_of(self.start, self.now));
            }
        }
    }

    fn act(&mut self, action: Action) {
        let now = self.now;
        match (action, &mut self.engine) {
            (Action::Resolve { .. }, Some(engine)) => {
                engine.handle_resolved(now, Err(ErrorKind::Unsupported.into()));
            }
            (Action::Ask(_), Some(engine)) => {
                engine.handle_answer(now, Err(ErrorKind::Unsupported.into()));
            }
            (Action::Dial { .. }, Some(engine)) => {
                let peer = Ipv4Addr::LOCALHOST.into();
                self.stream = Some(Stream {
                    id: self.server.accept(now_of(self.start, now), peer),
                    out: Outgoing::new(),
                    input: BytesMut::new(),
                    server_input: BytesMut::new(),
                    tap: BytesMut::new(),
                    has_shaken_hands: false,
                });
                engine.handle_connected(now);
            }
            (Action::DialSecure { .. }, Some(engine)) => {
                let down = Down::Dial(ErrorKind::Unsupported.into());
                engine.handle_disconnected(now, Outgoing::new(), down);
            }
            (Action::HangUp, _) => self.disconnect(Down::HungUp),
            (Action::Stop, _) => self.engine = None,
            (_, None) => {}
        }
    }

    /// Whether anything has come.
    fn read(&mut self) -> bool {
        let outputs: Vec<_> = iter::from_fn(|| self.server.poll_output()).collect();
        let has_come = !outputs.is_empty();
        for output in outputs {
            match (output, &mut self.stream, &mut self.engine) {
                (Output::Send(from, bytes), Some(stream), Some(engine))
                    if stream.id == from && !self.is_mute =>
                {
                    stream.input.extend_from_slice(&bytes);
                    engine.handle_bytes(self.now, &mut stream.input);
                }
                (Output::Close(from), Some(stream), _) if stream.id == from => {
                    self.disconnect(Down::Closed);
                }
                _ => {} // of an earlier stream
            }
        }
        has_come
    }

    /// Writes some bytes, so that requests are cut in two here and there. Whether there were any.
    fn write(&mut self) -> bool {
        let (Some(stream), Some(engine)) = (&mut self.stream, &mut self.engine) else {
            return false;
        };
        engine.poll_transmit(self.now, &mut stream.out);
        let pending = stream.out.pending();
        let count = match self.dice.below(4) {
            0 => pending.len().min(20),
            _ => pending.len(),
        };
        stream.server_input.extend_from_slice(&pending[..count]);
        stream.tap.extend_from_slice(&pending[..count]);
        stream.out.advance(count);
        stream.listen_in(&mut self.asked, &mut self.deleted);
        let now = now_of(self.start, self.now);
        self.server
            .handle_bytes(now, stream.id, &mut stream.server_input);
        count > 0
    }

    fn disconnect(&mut self, why: Down) {
        if let Some(stream) = self.stream.take() {
            let now = now_of(self.start, self.now);
            self.server.handle_disconnected(now, stream.id);
            if let Some(engine) = &mut self.engine {
                engine.handle_disconnected(self.now, stream.out, why);
            }
        }
    }
}

impl Stream {
    fn listen_in(&mut self, asked: &mut Vec<i32>, deleted: &mut Vec<String>) {
        while let Some(len) = self.tap.first_chunk::<4>() {
            let len = 4 + u32::from_be_bytes(*len) as usize;
            if self.tap.len() < len {
                return;
            }
            let frame = self.tap.split_to(len);
            if std::mem::replace(&mut self.has_shaken_hands, true) {
                let number = |at| i32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
                let code = number(8);
                asked.push(code);
                if code == op::DELETE {
                    let end = 16 + usize::try_from(number(12)).unwrap();
                    deleted.push(String::from_utf8(frame[16..end].to_vec()).unwrap());
                }
            }
        }
    }
}

fn now_of(start: Instant, now: Instant) -> Now {
    let unix_ms = 1_700_000_000_000 + i64::try_from((now - start).as_millis()).unwrap();
    Now {
        instant: now,
        unix_ms,
    }
}
