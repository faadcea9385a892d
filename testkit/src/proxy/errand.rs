//! What a fault wants said to the server over a connection of its own.

use std::io::{ErrorKind, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use mio::net::TcpStream;

use crate::faults::Errand;

/// More than any answer to an errand has.
const ANSWER_MAX: usize = 64 << 10;

/// A connection on an errand.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) stream: TcpStream,
    errand: Errand,
    left: Bytes,
    answer: BytesMut,
}

impl Runner {
    pub(crate) fn new(stream: TcpStream, errand: Errand) -> Self {
        Self {
            stream,
            left: errand.request.clone(),
            errand,
            answer: BytesMut::new(),
        }
    }

    /// Goes on, and says whether it is done: answered, or in vain.
    pub(crate) fn turn(&mut self, scratch: &mut [u8]) -> bool {
        if matches!(self.stream.take_error(), Ok(Some(_)) | Err(_)) {
            return true;
        }
        if self.stream.peer_addr().is_err() {
            // Not connected yet.
            return false;
        }
        while !self.left.is_empty() {
            match self.stream.write(&self.left) {
                Ok(len) if len > 0 => self.left.advance(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return true,
            }
        }
        loop {
            match self.stream.read(scratch) {
                Ok(len) if len > 0 && self.answer.len() < ANSWER_MAX => {
                    let bytes = scratch.get(..len).unwrap_or_default();
                    self.answer.extend_from_slice(bytes);
                    if self.errand.is_answered(&self.answer) {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return true,
            }
        }
    }
}
