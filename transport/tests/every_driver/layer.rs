//! A layer that is simple enough to be spoken by hand: it says `HELLO`, waits for `WELCOME`,
//! and sets the top bit of every byte from then on, which plain bytes have not. `.` is the end,
//! `?` a refusal, and all else without that bit is against the rules.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use homing_transport::{Action, Layer, Secure, SecureError, SecureStream};

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Toy {
    pub(crate) cannot_begin: bool,
}

#[derive(Debug)]
struct Stream {
    pending: Vec<u8>,
    /// What has come of the greeting.
    greeting: Vec<u8>,
    is_ended: bool,
}

const WELCOME: &[u8] = b"WELCOME";

/// How many bytes it takes from above at a time.
const TAKES: usize = 10;

/// What goes over the wire for this, and back.
pub(crate) fn mask(plain: &[u8]) -> Vec<u8> {
    plain.iter().map(|byte| byte ^ 0x80).collect()
}

/// A dial through it.
pub(crate) fn begin(address: SocketAddr, toy: Toy) -> Action {
    let layer = layer(toy);
    Action::DialSecure { address, layer }
}

pub(crate) fn layer(toy: Toy) -> Layer {
    Layer {
        secure: Arc::new(toy),
        host: "toy".into(),
    }
}

impl Secure for Toy {
    fn begin(&self, host: &str) -> Result<Box<dyn SecureStream>, SecureError> {
        assert_eq!(host, "toy");
        if self.cannot_begin {
            return Err(SecureError::new("no toys today"));
        }
        Ok(Box::new(Stream {
            pending: b"HELLO".into(),
            greeting: Vec::new(),
            is_ended: false,
        }))
    }
}

impl Stream {
    fn refuse(&mut self, why: &str) -> Result<(), SecureError> {
        self.pending.push(b'?');
        Err(SecureError::new(why))
    }
}

impl SecureStream for Stream {
    fn receive(&mut self, wire: &[u8], plain: &mut BytesMut) -> Result<(), SecureError> {
        for byte in wire {
            if !self.is_open() {
                self.greeting.push(*byte);
                if !WELCOME.starts_with(&self.greeting) {
                    return self.refuse("it is not a toy");
                }
            } else if *byte & 0x80 != 0 {
                plain.extend_from_slice(&mask(&[*byte]));
            } else if *byte == b'.' {
                self.is_ended = true;
                return Ok(());
            } else {
                return self.refuse("it broke the rules");
            }
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) -> Result<usize, SecureError> {
        if !self.is_open() || !self.pending.is_empty() {
            return Ok(0);
        }
        let len = plain.len().min(TAKES);
        self.pending = mask(&plain[..len]);
        Ok(len)
    }

    fn pending(&self) -> &[u8] {
        &self.pending
    }

    fn advance(&mut self, count: usize) {
        self.pending.drain(..count);
    }

    fn is_open(&self) -> bool {
        self.greeting == WELCOME
    }

    fn is_ended(&self) -> bool {
        self.is_ended
    }

    fn close(&mut self) {
        if self.is_open() && self.pending.is_empty() {
            self.pending.push(b'.');
        }
    }

    fn ended(&self, _error: Option<&io::Error>) -> Option<SecureError> {
        (!self.is_open()).then(|| SecureError::new("it ended early"))
    }
}
