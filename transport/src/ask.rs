//! Asking a server something over a connection of its own, without blocking a driver.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "beside `resolve`, the one place with a thread, and with a socket for one question"
)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::secure::{Layer, SecureStream};

/// What is asked, and of whom.
///
/// ```
/// use std::time::Duration;
/// let question = homing_transport::Question {
///     host: "127.0.0.1".into(),
///     port: 2181,
///     question: b"ruok",
///     answer_len_max: 64,
///     within: Duration::from_secs(1),
///     layer: None,
/// };
/// assert_eq!(question.question.len(), 4);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// A host name, or an IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The bytes that are sent, once.
    pub question: &'static [u8],
    /// The longest answer that is read, in bytes; a longer one is an error.
    pub answer_len_max: usize,
    /// How long it may take from the first connection on. The lookup of the name is not counted:
    /// nothing can interrupt it.
    pub within: Duration,
    /// What the connection is to have between itself and the bytes; `None` for nothing.
    pub layer: Option<Layer>,
}

/// What a server has answered, up to the end of the connection.
///
/// ```
/// let asked = homing_transport::Asked {
///     address: "127.0.0.1:2181".parse()?,
///     answer: b"imok".to_vec(),
/// };
/// assert_eq!(asked.address.port(), 2181);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Which of the host's addresses has answered.
    pub address: SocketAddr,
    /// The answer.
    pub answer: Vec<u8>,
}

/// How many questions may be on their way in one process; the next ones fail at once instead of
/// piling up threads.
const QUESTIONS_MAX: usize = 64;

static QUESTIONS: AtomicUsize = AtomicUsize::new(0);

/// Asks on a thread of its own, and calls `deliver` there with the answer, or with the error. If
/// there can be no thread, `deliver` is called with that error before this returns.
///
/// ```
/// use std::io::{Read, Write};
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use homing_transport::{Question, ask::ask};
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let server = std::thread::spawn(move || -> std::io::Result<()> {
///     let (mut stream, _) = listener.accept()?;
///     stream.read_exact(&mut [0; 4])?;
///     stream.write_all(b"imok")
/// });
/// let question = Question {
///     host: address.ip().to_string(),
///     port: address.port(),
///     question: b"ruok",
///     answer_len_max: 64,
///     within: Duration::from_secs(10),
///     layer: None,
/// };
/// let (sender, receiver) = mpsc::channel();
/// ask(question, move |answer| drop(sender.send(answer)));
/// assert_eq!(receiver.recv()??.answer, b"imok");
/// # server.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn ask(question: Question, deliver: impl FnOnce(io::Result<Asked>) + Send + 'static) {
    if QUESTIONS.fetch_add(1, Ordering::Relaxed) >= QUESTIONS_MAX {
        QUESTIONS.fetch_sub(1, Ordering::Relaxed);
        let message = format!("{QUESTIONS_MAX} earlier questions have not been answered yet");
        return deliver(Err(io::Error::other(message)));
    }
    let deliver = Arc::new(Mutex::new(Some(deliver)));
    let on_thread = Arc::clone(&deliver);
    let started = thread::Builder::new()
        .name("homing-ask".into())
        .spawn(move || {
            let answer = answer(&question);
            QUESTIONS.fetch_sub(1, Ordering::Relaxed);
            if let Some(deliver) = take(&on_thread) {
                deliver(answer);
            }
        });
    if let Err(error) = started {
        QUESTIONS.fetch_sub(1, Ordering::Relaxed);
        if let Some(deliver) = take(&deliver) {
            deliver(Err(error));
        }
    }
}

/// The answer of the first address that gives one.
fn answer(question: &Question) -> io::Result<Asked> {
    let addresses = (question.host.as_str(), question.port).to_socket_addrs()?;
    let until = Instant::now() + question.within;
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match answer_of(address, question, until) {
            Ok(answer) => return Ok(Asked { address, answer }),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn answer_of(address: SocketAddr, question: &Question, until: Instant) -> io::Result<Vec<u8>> {
    let layer = question.layer.as_ref();
    let layer = layer.map(|layer| layer.secure.begin(&layer.host));
    let layer = layer.transpose().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, time_left(until)?)?;
    stream.set_write_timeout(Some(time_left(until)?))?;
    if let Some(layer) = layer {
        return answer_through(stream, layer, question, until);
    }
    stream.write_all(question.question)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 512];
    loop {
        match read(&mut stream, &mut buffer, until)? {
            [] => return Ok(answer),
            bytes => answer.extend_from_slice(bytes),
        }
        check_len(answer.len(), question)?;
    }
}

fn answer_through(
    mut stream: TcpStream,
    mut layer: Box<dyn SecureStream>,
    question: &Question,
    until: Instant,
) -> io::Result<Vec<u8>> {
    let mut left = question.question;
    let mut answer = BytesMut::new();
    let mut buffer = [0; 4096];
    while !layer.is_ended() {
        let taken = layer.send(left).map_err(io::Error::other)?;
        left = left.get(taken..).unwrap_or_default();
        if !layer.pending().is_empty() {
            stream.write_all(layer.pending())?;
            let len = layer.pending().len();
            layer.advance(len);
            continue;
        }
        let bytes = read(&mut stream, &mut buffer, until)?;
        if bytes.is_empty() {
            // Anybody could have cut it here, and the answer has no length.
            return Err(ErrorKind::UnexpectedEof.into());
        }
        layer
            .receive(bytes, &mut answer)
            .map_err(io::Error::other)?;
        check_len(answer.len(), question)?;
    }
    Ok(answer.into())
}

/// Reads once; nothing at the end.
fn read<'a>(stream: &mut TcpStream, buffer: &'a mut [u8], until: Instant) -> io::Result<&'a [u8]> {
    loop {
        stream.set_read_timeout(Some(time_left(until)?))?;
        match stream.read(buffer) {
            Ok(count) => return Ok(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn check_len(len: usize, question: &Question) -> io::Result<()> {
    if len > question.answer_len_max {
        return Err(io::Error::other("the answer is too long"));
    }
    Ok(())
}

fn time_left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

fn take<T>(shared: &Mutex<Option<T>>) -> Option<T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn serve(answer: &'static [u8]) -> Question {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 4]).unwrap();
            stream.write_all(answer).unwrap();
        });
        Question {
            host: address.ip().to_string(),
            port: address.port(),
            question: b"isro",
            answer_len_max: 4,
            within: Duration::from_secs(60),
            layer: None,
        }
    }

    #[test]
    fn an_answer_ends_with_the_connection_and_has_a_limit() {
        for text in [&b""[..], b"ro", b"null"] {
            let question = serve(text);
            let asked = answer(&question).unwrap();
            assert_eq!(
                (asked.address.port(), asked.answer),
                (question.port, text.to_vec())
            );
        }
        let error = answer(&serve(b"nulls")).unwrap_err();
        assert_eq!(error.to_string(), "the answer is too long");
    }

    #[test]
    fn whoever_does_not_answer_is_waited_for_no_longer_than_that() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let question = Question {
            host: address.ip().to_string(),
            port: address.port(),
            question: b"isro",
            answer_len_max: 4,
            within: Duration::from_millis(50),
            layer: None,
        };
        let error = answer(&question).unwrap_err().kind();
        let expected = [ErrorKind::TimedOut, ErrorKind::WouldBlock];
        assert!(expected.contains(&error), "{error:?}");
    }
}
