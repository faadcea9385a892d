//! One question on one connection, with blocking sockets.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use homing_session::{ConnectString, Host, Server};
use homing_transport::{SecureStream, resolve};

use super::{Question, Why};
use crate::backend;

/// The longest answer, in bytes. A line for each of a hundred thousand connections.
const ANSWER_LEN_MAX: usize = 16 << 20;

impl Question {
    /// The answer, as text.
    pub(super) fn ask(&self) -> Result<String, Why> {
        if self.word.len() != 4 || !self.word.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Why::NotAWord);
        }
        let server = self.server()?;
        let layer = self.layer(&server)?;
        let call = Call {
            deadline: Instant::now().checked_add(self.within),
            within: self.within,
        };
        let stream = call.connect(&server)?;
        let answer = match layer {
            None => call.exchange(stream, &self.word)?,
            Some(layer) => call.exchange_secure(stream, layer, &self.word)?,
        };
        self.judge(answer)
    }

    fn server(&self) -> Result<Server, Why> {
        let parsed: ConnectString = self
            .server
            .parse()
            .map_err(|error| Why::BadServer(format!("{error}")))?;
        match <[Server; 1]>::try_from(parsed.servers) {
            Ok([server]) if parsed.chroot.is_empty() => Ok(server),
            Ok(_) => Err(Why::BadServer("a server has no chroot".into())),
            Err(servers) => {
                let count = servers.len();
                Err(Why::BadServer(format!("one server is asked, not {count}")))
            }
        }
    }

    fn layer(&self, server: &Server) -> Result<Option<Box<dyn SecureStream>>, Why> {
        if !server.tls {
            return Ok(None);
        }
        let Some(secure) = &self.secure else {
            let how = backend::HOW_TO_SPEAK_TLS;
            return Err(Why::Tls(format!("it is not set up: {how}")));
        };
        let layer = secure.begin(&server.host.to_string());
        layer.map(Some).map_err(|error| Why::Tls(error.to_string()))
    }

    fn judge(&self, answer: Vec<u8>) -> Result<String, Why> {
        // A TLS alert: content type 21, version 3.x.
        if answer.starts_with(&[21, 3]) {
            return Err(Why::Tls(
                "it answers in TLS, which `tls://` in front of its name asks for".into(),
            ));
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        let refusal = format!("{} is not executed because it is not in the", self.word);
        if text.starts_with(&refusal) {
            return Err(Why::NotInWhitelist);
        }
        if text.starts_with("This ZooKeeper instance is not currently serving") {
            return Err(Why::NotServing);
        }
        if text.is_empty() {
            return Err(Why::NoAnswer);
        }
        Ok(text)
    }
}

struct Call {
    /// `None` where the clock does not go so far.
    deadline: Option<Instant>,
    within: Duration,
}

impl Call {
    /// What is left of the time; never zero, which sockets take for ever.
    fn time_left(&self) -> Result<Duration, Why> {
        let Some(deadline) = self.deadline else {
            return Ok(Duration::from_secs(3_600));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Why::TimedOut(self.within));
        }
        Ok(left)
    }

    fn failed(&self, error: &io::Error) -> Why {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Why::TimedOut(self.within),
            _ => Why::Connect(error.to_string()),
        }
    }

    fn connect(&self, server: &Server) -> Result<TcpStream, Why> {
        let addresses = self.addresses(server)?;
        let mut failure = None;
        for (index, address) in addresses.iter().enumerate() {
            // What is left of the time, for what is left of the addresses.
            let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = (self.time_left()? / others).max(Duration::from_millis(1));
            match TcpStream::connect_timeout(address, share) {
                Ok(stream) => {
                    // It is one small write: without effect, if it fails.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => failure = Some(self.failed(&error)),
            }
        }
        Err(failure.unwrap_or_else(|| Why::Connect("the name has no address".into())))
    }

    fn addresses(&self, server: &Server) -> Result<Vec<SocketAddr>, Why> {
        let name = match &server.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, server.port)]),
            Host::Name(name) => name.clone(),
        };
        let (found, answer) = mpsc::sync_channel(1);
        resolve::lookup(name, server.port, move |addresses| {
            // Too late, if nobody waits any more.
            let _ = found.try_send(addresses);
        });
        match answer.recv_timeout(self.time_left()?) {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(Why::Connect(error.to_string())),
            Err(_) => Err(Why::TimedOut(self.within)),
        }
    }

    fn exchange(&self, mut stream: TcpStream, word: &str) -> Result<Vec<u8>, Why> {
        self.write(&mut stream, word.as_bytes())?;
        let mut answer = BytesMut::new();
        let mut buffer = vec![0; 16 << 10];
        loop {
            match self.read(&mut stream, &mut buffer)? {
                [] => return Ok(answer.into()),
                bytes => answer.extend_from_slice(bytes),
            }
            check_len(&answer)?;
        }
    }

    fn exchange_secure(
        &self,
        mut stream: TcpStream,
        mut layer: Box<dyn SecureStream>,
        word: &str,
    ) -> Result<Vec<u8>, Why> {
        let mut answer = BytesMut::new();
        let mut buffer = vec![0; 16 << 10];
        let mut question = word.as_bytes();
        while !layer.is_ended() {
            let taken = layer
                .send(question)
                .map_err(|error| Why::Tls(error.to_string()))?;
            question = question.get(taken..).unwrap_or_default();
            if !layer.pending().is_empty() {
                self.write(&mut stream, layer.pending())?;
                let len = layer.pending().len();
                layer.advance(len);
                continue;
            }
            let (error, is_cut) = match self.read(&mut stream, &mut buffer) {
                Ok([]) => (layer.ended(None), true),
                Ok(bytes) => (layer.receive(bytes, &mut answer).err(), false),
                Err(Why::Connect(what)) => (layer.ended(Some(&io::Error::other(what))), true),
                Err(why) => return Err(why),
            };
            if let Some(error) = error {
                return Err(Why::Tls(error.to_string()));
            }
            if is_cut {
                // Anybody could have cut it here, and the answer has no length.
                return Err(Why::Tls("the answer was cut off".into()));
            }
            check_len(&answer)?;
        }
        Ok(answer.into())
    }

    fn write(&self, stream: &mut TcpStream, bytes: &[u8]) -> Result<(), Why> {
        let written = stream
            .set_write_timeout(Some(self.time_left()?))
            .and_then(|()| stream.write_all(bytes));
        written.map_err(|error| self.failed(&error))
    }

    /// Reads once; nothing at the end.
    fn read<'a>(&self, stream: &mut TcpStream, buffer: &'a mut [u8]) -> Result<&'a [u8], Why> {
        loop {
            let read = stream
                .set_read_timeout(Some(self.time_left()?))
                .and_then(|()| stream.read(buffer));
            match read {
                Ok(count) => return Ok(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }
}

fn check_len(answer: &BytesMut) -> Result<(), Why> {
    if answer.len() > ANSWER_LEN_MAX {
        return Err(Why::TooLong(ANSWER_LEN_MAX));
    }
    Ok(())
}
