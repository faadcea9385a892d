//! A protocol that is not ZooKeeper's, over both transports: they know nothing of what they carry.
//!
//! ```text
//! cargo run -p homing-examples --bin other_protocol
//! ```
//!
//! The protocol is made up. A *shout service* gets texts and answers each with the same text in
//! upper case, in the order in which they came. On the wire a text is its length, in two bytes,
//! and then its bytes. What such a protocol needs on top of `homing-transport` is one type, the
//! [`Shouter`]: it says what to connect to, what to send, and whose answer has just arrived.
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, BytesMut};
use homing_transport::{
    Action, Down, Engine, Fate, Limits, Outbox, Outgoing, Queue, Request, Ticket, Transport,
    block_on,
};
use homing_transport_nio::Nio;
use homing_transport_tokio::Tokio;

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || serve(&listener));
    println!("A shout service is at {address}, in this process.");

    println!("\nOver nio, a thread on mio:");
    talk(&Nio::new(), address)?;
    println!("\nOver tokio, a task on a runtime of its own:");
    talk(&Tokio::private_thread(), address)?;
    println!("\nSame engine, same queue: neither transport knows what it carried.");
    Ok(())
}

/// Sends some texts at once, and pulls the answers when it likes.
fn talk(transport: &impl Transport, address: SocketAddr) -> Result<(), Box<dyn Error>> {
    // The queue is all that callers, engine and driver share.
    let queue = Arc::new(Queue::new(Limits::default()));
    let driver = transport.start(Box::new(Shouter::new(Arc::clone(&queue), address)))?;
    queue.attach(Arc::clone(&driver)); // so that a submission can wake the driver

    // Each request has a slot for its answer before it leaves: the ticket. Nothing waits here.
    let mut tickets = Vec::new();
    for text in ["one", "two", "three"] {
        tickets.push((
            text,
            queue.try_submit(request(text, Note::Text), encode(text))?,
        ));
        println!("  asked {text:?}");
    }
    // The last request. Nothing gets in behind it, and the session ends with its answer.
    let bye = request("bye", Note::Bye);
    let bye = queue.seal(Duration::from_secs(1), bye, encode("bye"));

    // Answers are pulled, in any order: by `.await`, or like this on a plain thread.
    let pull = |ticket: Ticket<Answer>| block_on(&*driver, ticket);
    for (text, ticket) in tickets.into_iter().rev() {
        match pull(ticket)? {
            Ok(shout) => println!("  {text:?} was answered with {shout:?}"),
            Err(fate) => println!("  {text:?} was not answered; what is known of it: {fate:?}"),
        }
    }
    if let Some(Ok(shout)) = bye.map(pull).transpose()? {
        println!("  the last answer was {shout:?}");
    }
    Ok(())
}

/// The reply, or what became of a request that had none.
type Answer = Result<String, Fate>;

/// What the session must remember of a request until its reply comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    Text,
    Bye,
}

fn request(text: &str, note: Note) -> Request<Note> {
    let within = Some(Duration::from_secs(5));
    let len = 2 + text.len();
    Request { len, within, note }
}

/// Writes a frame. The queue's number for the request is not needed: answers come in order.
fn encode(text: &str) -> impl FnOnce(i32, &mut BytesMut) {
    move |_xid, out| {
        out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
        out.put_slice(text.as_bytes());
    }
}

/// A session with a shout service: no socket, no clock, no thread. A driver asks it what to do
/// and tells it what happened.
#[derive(Debug)]
struct Shouter {
    queue: Arc<Queue<Note, Answer>>,
    actions: VecDeque<Action>,
    outbox: Outbox<Answer>,
}

impl Shouter {
    fn new(queue: Arc<Queue<Note, Answer>>, address: SocketAddr) -> Self {
        Self {
            queue,
            actions: VecDeque::from([Action::Dial { address }]),
            outbox: Outbox::new(),
        }
    }

    /// Nobody is left waiting.
    fn end(&mut self) {
        self.queue.end(&mut self.outbox, |_note, fate| Err(fate));
        self.actions.extend([Action::HangUp, Action::Stop]);
    }
}

impl Engine for Shouter {
    fn handle_bytes(&mut self, _now: Instant, input: &mut BytesMut) {
        // All frames that are there, under one lock. Each belongs to the request at the head of
        // the line: that is what the order of answers is good for.
        let is_over = self.queue.dispatch(&mut self.outbox, |line| {
            while let Some(shout) = split_frame(input) {
                let text = String::from_utf8_lossy(&shout).into_owned();
                // The end of the session, or an answer that nobody asked for.
                if line.pop(Ok(text)) != Some(Note::Text) {
                    return true;
                }
            }
            false
        });
        if is_over {
            self.end();
        }
    }

    fn handle_disconnected(&mut self, _now: Instant, unsent: Outgoing, _why: Down) {
        // What was not handed over stays in line. A session that comes back would dial again
        // here, and send it; this one ends.
        let lost = |_note: &Note| Err(Fate::MaybeApplied);
        self.queue.give_back(&unsent, &mut self.outbox, lost);
        self.end();
    }

    fn handle_turn(&mut self, now: Instant) {
        // Whatever is overdue ends here. (A real session would also see to its own closing.)
        let overdue = |_note: &Note, fate| Err(fate);
        let _ = self.queue.begin_turn(now, &mut self.outbox, overdue);
    }

    fn poll_transmit(&mut self, _now: Instant, out: &mut Outgoing) {
        // A session with a handshake would put it first, with `out.put_control`.
        self.queue.take_into(out);
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    // The queue knows when to wake up, whom to wake, and whether there is time to sleep.
    fn poll_timeout(&self) -> Option<Instant> {
        self.queue.poll_timeout()
    }

    fn take_wakers(&mut self, into: &mut Vec<Waker>) {
        self.outbox.take_wakers(into);
    }

    fn park(&mut self) -> bool {
        self.queue.park()
    }

    fn handle_connected(&mut self, _now: Instant) {}

    fn handle_resolved(&mut self, _now: Instant, _addresses: io::Result<Vec<SocketAddr>>) {}
}

impl Drop for Shouter {
    fn drop(&mut self) {
        self.end(); // in case the driver stopped by itself
        let mut wakers = Vec::new();
        self.outbox.take_wakers(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Takes a frame off the front, if it is whole.
fn split_frame(input: &mut BytesMut) -> Option<BytesMut> {
    let len = usize::from(u16::from_be_bytes(input.get(..2)?.try_into().ok()?));
    if input.len() < 2 + len {
        return None;
    }
    input.advance(2);
    Some(input.split_to(len))
}

/// The service: one connection after the other, each until the client hangs up.
fn serve(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        while shout(&mut stream).is_ok() {}
    }
}

fn shout(stream: &mut TcpStream) -> io::Result<()> {
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut text = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut text)?;
    text.make_ascii_uppercase();
    stream.write_all(&[&len, &text[..]].concat())
}
