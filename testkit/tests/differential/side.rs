//! One server, and the clients that run a program on it.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::{ConnectResponse, Reader, ReplyHeader, Stat, op, xid};

use crate::known::{Asked, CONFIG, Known, RESERVED, is_event};
use crate::program::{Act, Body, Field, Program, Request, What};

/// How long an answer may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the super user logs in with; the server is started with its digest.
const SUPER: &str = "super:admin";
pub(crate) const SUPER_DIGEST: &str = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";

/// One server with its clients.
pub(crate) struct Side {
    address: SocketAddr,
    clients: Vec<Client>,
    /// Makes everything as it was before the next program.
    janitor: Wire,
    /// The nodes that are always there.
    reserved: &'static [&'static str],
    pub(crate) known: Known,
}

/// A client of a program.
#[derive(Default)]
struct Client {
    /// Its session, or zero, and the password.
    session: i64,
    password: Vec<u8>,
    wire: Option<Wire>,
    /// The session that it has closed last.
    closed: Option<(i64, Vec<u8>)>,
}

/// There was no answer.
#[derive(Debug)]
pub(crate) struct Silence;

impl Side {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let (janitor, _) = Wire::begin(address, 0, &[0; 16]).unwrap();
        let mut side = Self {
            address,
            clients: Vec::new(),
            janitor: janitor.unwrap(),
            reserved: &RESERVED,
            known: Known::default(),
        };
        let credentials = [Field::Int(0), text("digest"), text(SUPER)];
        assert_eq!(side.tidy(op::AUTH, &credentials).unwrap_err(), 0);
        let config = side.tidy(op::EXISTS, &[text(CONFIG), Field::Byte(0)]);
        if config.is_err() {
            // As before 3.5.
            side.reserved = RESERVED.split_last().unwrap().1;
        }
        side
    }

    /// What follows happens behind the transactions and versions that there are now.
    ///
    /// Whatever outlives a program has been changed once before it begins, so that transactions
    /// count from there on a server of any age.
    pub(crate) fn begin(&mut self) {
        self.clients.clear();
        let mut ops = Vec::new();
        for &path in self.reserved {
            let child = text(&format!("{}/before", path.trim_end_matches('/')));
            let acl = Field::List(vec![vec![Field::Int(31), text("world"), text("anyone")]]);
            ops.push((op::SET_DATA, vec![text(path), text(""), Field::Int(-1)]));
            let fields = vec![child.clone(), Field::Null, acl, Field::Int(0)];
            ops.push((op::CREATE, fields));
            ops.push((op::DELETE, vec![child, Field::Int(-1)]));
        }
        let body = Body::Ops(ops);
        let reply = self
            .janitor
            .call(&self.known, &Request::new(op::MULTI, body));
        self.known = Known {
            base: ReplyHeader::decode(&reply).unwrap().zxid,
            tally: std::mem::take(&mut self.known.tally),
            ..Known::default()
        };
        for &path in self.reserved {
            let stat = self.stat(path);
            let versions = (stat.version, stat.aversion);
            self.known.reserved.insert(path.into(), versions);
            self.known.seen.insert(path.into(), versions);
        }
    }

    /// How many children were ever created below each of the nodes that are always there.
    pub(crate) fn create_counters(&mut self) -> Vec<(&'static str, i32)> {
        let reserved = self.reserved;
        let counter = |&path| {
            let stat = self.stat(path);
            (path, stat.cversion.wrapping_add(stat.num_children) / 2)
        };
        reserved.iter().map(counter).collect()
    }

    fn stat(&mut self, path: &str) -> Stat {
        let reply = self
            .tidy(op::EXISTS, &[text(path), Field::Byte(0)])
            .unwrap();
        let mut reader = Reader::new(&reply);
        reader.skip(ReplyHeader::LEN, "header").unwrap();
        Stat::read(&mut reader).unwrap()
    }

    /// Ends all sessions, removes all nodes, and gives those that are left their lists back.
    pub(crate) fn clear(&mut self) {
        for mut client in std::mem::take(&mut self.clients) {
            // Whoever is deaf after a difference is done for anyway.
            if client.wire.is_none() && client.session != 0 {
                let (wire, _) =
                    Wire::begin(self.address, client.session, &client.password).unwrap_or_default();
                client.wire = wire;
            }
            if let Some(mut wire) = client.wire {
                wire.send(1, op::CLOSE_SESSION, b"");
                while let Ok(Some(_)) = wire.read() {}
            }
        }
        for &path in self.reserved {
            let permissions = if path == CONFIG { 1 } else { 31 };
            let entry = vec![Field::Int(permissions), text("world"), text("anyone")];
            let fields = [text(path), Field::List(vec![entry]), Field::Int(-1)];
            self.tidy(op::SET_ACL, &fields).unwrap();
        }
        self.remove_below("");
    }

    fn remove_below(&mut self, parent: &str) {
        let path = if parent.is_empty() { "/" } else { parent };
        let Ok(reply) = self.tidy(op::GET_CHILDREN, &[text(path), Field::Byte(0)]) else {
            return;
        };
        let mut reader = Reader::new(&reply);
        reader.skip(ReplyHeader::LEN, "header").unwrap();
        let count = reader.count("names", 4).unwrap().unwrap_or(0);
        for _ in 0..count {
            let child = format!("{parent}/{}", reader.string("name").unwrap());
            self.remove_below(&child);
            if !self.reserved.contains(&child.as_str()) {
                // It may have gone with its session, or in its time.
                let _ = self.tidy(op::DELETE, &[text(&child), Field::Int(-1)]);
            }
        }
    }

    /// A request of the janitor's: the reply, or its error. Zero is an answer without a body.
    fn tidy(&mut self, op: i32, fields: &[Field]) -> Result<Bytes, i32> {
        let request = Request::new(op, Body::Fields(fields.to_vec()));
        let reply = self.janitor.call(&self.known, &request);
        let err = ReplyHeader::decode(&reply).unwrap().err;
        if err != 0 || reply.len() == ReplyHeader::LEN {
            return Err(err);
        }
        Ok(reply)
    }
}

fn text(text: &str) -> Field {
    Field::Text(text.into())
}

// ---- a program ---------------------------------------------------------------------------------

impl Side {
    /// Does one step after the other and tells what came of each.
    pub(crate) fn run(&mut self, program: &Program) -> Vec<String> {
        let mut said = Vec::new();
        for step in program.steps() {
            let mut heard = Vec::new();
            let result = self.step(&program.0[step], &mut heard);
            if result.is_err() {
                heard.push("no answer".into());
            }
            said.push(heard.join("\n    "));
            if result.is_err() {
                break;
            }
        }
        said
    }

    fn step(&mut self, acts: &[Act], heard: &mut Vec<String>) -> Result<(), Silence> {
        let Some(first) = acts.first() else {
            return Ok(());
        };
        let at = first.client;
        while self.clients.len() <= at {
            self.clients.push(Client::default());
        }
        let mut tells_others = true;
        let mut out_of_order = false;
        match &first.what {
            What::Request(_) => {
                self.attach(at, heard)?;
                let requests = acts.iter().filter_map(|act| match &act.what {
                    What::Request(request) => Some(request),
                    _ => None,
                });
                let requests: Vec<&Request> = requests.collect();
                tells_others = requests.iter().any(|request| request.writes());
                out_of_order = requests
                    .iter()
                    .any(|request| request.op == op::CLOSE_SESSION);
                self.requests(at, &requests, heard)?;
            }
            What::Raw(bytes) => {
                self.attach(at, heard)?;
                if let Some(wire) = &mut self.clients[at].wire {
                    wire.write(bytes);
                }
                self.hear_the_end(at, heard)?;
            }
            What::Handshake(fields) => self.handshake(fields, heard)?,
            What::Reconnect => {
                let old = self.clients[at].wire.take();
                self.attach(at, heard)?;
                if let Some(old) = old {
                    let new = self.clients[at].wire.replace(old);
                    self.hear_the_end(at, heard)?;
                    self.clients[at].wire = new;
                }
            }
            What::Intrude => {
                self.attach(at, heard)?;
                let Client { session, .. } = self.clients[at];
                self.take_up(session, &[7; 16], heard)?;
                self.hear_the_end(at, heard)?;
            }
            What::Drop => {
                self.attach(at, heard)?;
                if let Some(wire) = &mut self.clients[at].wire {
                    let _ = wire.socket.get_ref().shutdown(Shutdown::Write);
                }
                self.hear_the_end(at, heard)?;
            }
            What::Haunt => {
                let closed = self.clients[at].closed.clone();
                let (session, password) = closed.unwrap_or((77, vec![7; 16]));
                self.take_up(session, &password, heard)?;
            }
        }
        if tells_others {
            self.ping(out_of_order, heard)?;
        }
        Ok(())
    }

    /// Sends them all, and then hears the answers.
    fn requests(
        &mut self,
        at: usize,
        requests: &[&Request],
        heard: &mut Vec<String>,
    ) -> Result<(), Silence> {
        let Self { clients, known, .. } = self;
        let client = &mut clients[at];
        let Some(wire) = &mut client.wire else {
            heard.push("no connection".into());
            return Ok(());
        };
        let mut frames = BytesMut::new();
        let mut asked = Vec::new();
        for request in requests {
            let (what, body) = known.encode(request);
            let xid = wire.number(request);
            put_frame(&mut frames, xid, request.op, &body);
            asked.push((answered_as(request.op, xid), what));
        }
        wire.write(&frames);
        for (xid, asked) in &asked {
            let mut events = Vec::new();
            let reply = wire.read_until(*xid, &mut events)?;
            let mut events: Vec<_> = events.iter().map(|it| known.text(None, it)).collect();
            if asked.op == op::CLOSE_SESSION {
                events.sort_unstable();
            }
            heard.append(&mut events);
            let Some(reply) = reply else {
                heard.push("end".into());
                client.wire = None;
                return Ok(());
            };
            heard.push(known.text(Some(asked), &reply));
            if is_last(asked.op, &reply) {
                if asked.op == op::CLOSE_SESSION {
                    client.closed = Some((client.session, std::mem::take(&mut client.password)));
                    client.session = 0;
                }
                return self.hear_the_end(at, heard);
            }
        }
        Ok(())
    }

    /// Whatever else a connection says, up to its end.
    fn hear_the_end(&mut self, at: usize, heard: &mut Vec<String>) -> Result<(), Silence> {
        let Some(mut wire) = self.clients[at].wire.take() else {
            return Ok(());
        };
        while let Some(frame) = wire.read()? {
            heard.push(self.known.text(None, &frame));
        }
        heard.push("end".into());
        Ok(())
    }

    /// Sees to it that a client has a connection.
    fn attach(&mut self, at: usize, heard: &mut Vec<String>) -> Result<(), Silence> {
        if self.clients[at].wire.is_some() {
            return Ok(());
        }
        if self.clients[at].session != 0 {
            let Client {
                session, password, ..
            } = &self.clients[at];
            let (session, password) = (*session, password.clone());
            self.clients[at].wire = self.take_up(session, &password, heard)?;
        }
        if self.clients[at].wire.is_none() {
            let (wire, response) = Wire::begin(self.address, 0, &[0; 16])?;
            let client = &mut self.clients[at];
            client.wire = wire;
            if let Some(response) = response {
                client.session = response.session_id;
                client.password = response.password.as_bytes().to_vec();
                let session = self.known.session(client.session);
                heard.push(format!("{session} begins"));
            }
        }
        Ok(())
    }

    fn take_up(
        &mut self,
        session: i64,
        password: &[u8],
        heard: &mut Vec<String>,
    ) -> Result<Option<Wire>, Silence> {
        let (wire, response) = Wire::begin(self.address, session, password)?;
        heard.push(match response {
            None => "not a word".into(),
            Some(response) if response.session_id == 0 => "refused".into(),
            Some(response) => format!(
                "{} goes on, {} ms",
                self.known.session(response.session_id),
                response.timeout_ms
            ),
        });
        Ok(wire)
    }

    /// A connection that asks for a session in its own words, and closes it at once.
    fn handshake(&mut self, fields: &[Field], heard: &mut Vec<String>) -> Result<(), Silence> {
        let mut request = BytesMut::new();
        self.known.fields(0, fields, 0, &mut request);
        let mut wire = Wire::connect(self.address)?;
        wire.write(&framed(&request));
        let Some(frame) = wire.read()? else {
            heard.push("not a word".into());
            return Ok(());
        };
        let Ok(response) = ConnectResponse::decode(&frame) else {
            heard.push(format!("unreadable: {frame:?}"));
            return Ok(());
        };
        let known = match response.session_id {
            0 => "none".into(),
            session => self.known.session(session),
        };
        heard.push(format!(
            "{} bytes: {known}, {} ms, read-only {:?}, a password: {}",
            frame.len(),
            response.timeout_ms,
            response.read_only,
            response.password.as_bytes() != [0; 16]
        ));
        if response.session_id != 0 {
            wire.send(1, op::CLOSE_SESSION, b"");
        }
        let close = Asked::bare(op::CLOSE_SESSION);
        while let Some(frame) = wire.read()? {
            heard.push(self.known.text(Some(&close), &frame));
        }
        heard.push("end".into());
        Ok(())
    }

    /// Whatever clients were told has arrived before the answer to their ping.
    fn ping(&mut self, out_of_order: bool, heard: &mut Vec<String>) -> Result<(), Silence> {
        let wires = self
            .clients
            .iter_mut()
            .filter_map(|client| client.wire.as_mut());
        wires.for_each(|wire| wire.send(xid::PING, op::PING, b""));
        for (at, client) in self.clients.iter_mut().enumerate() {
            let Some(wire) = &mut client.wire else {
                continue;
            };
            let mut events = Vec::new();
            let pong = wire.read_until(xid::PING, &mut events)?;
            let events = events.iter().map(|event| self.known.text(None, event));
            let mut events: Vec<_> = events.collect();
            if out_of_order {
                events.sort_unstable();
            }
            heard.extend(
                events
                    .into_iter()
                    .map(|event| format!("client {at}: {event}")),
            );
            if pong.is_none() {
                heard.push(format!("client {at}: end"));
                client.wire = None;
            }
        }
        Ok(())
    }
}

/// The number that the answer to a request has.
fn answered_as(op: i32, xid: i32) -> i32 {
    if op == op::PING { xid::PING } else { xid }
}

/// Whether a server hangs up behind its answer.
fn is_last(op: i32, reply: &Bytes) -> bool {
    let header = ReplyHeader::decode(reply);
    // Of −6 there are two kinds: only that of an unknown operation has no transaction.
    let fatal =
        header.is_ok_and(|it| matches!(it.err, -115 | -124) || (it.err, it.zxid) == (-6, -1));
    op == op::CLOSE_SESSION || fatal
}

// ---- a connection ------------------------------------------------------------------------------

struct Wire {
    socket: BufReader<TcpStream>,
    xid: i32,
}

impl Wire {
    fn connect(address: SocketAddr) -> Result<Self, Silence> {
        let socket = TcpStream::connect(address).map_err(|_| Silence)?;
        socket.set_nodelay(true).map_err(|_| Silence)?;
        socket
            .set_read_timeout(Some(PATIENCE))
            .map_err(|_| Silence)?;
        socket
            .set_write_timeout(Some(PATIENCE))
            .map_err(|_| Silence)?;
        Ok(Self {
            socket: BufReader::new(socket),
            xid: 0,
        })
    }

    /// Begins a session or takes one up. There is no connection where there is no session.
    fn begin(
        address: SocketAddr,
        session: i64,
        password: &[u8],
    ) -> Result<(Option<Self>, Option<ConnectResponse>), Silence> {
        let mut wire = Self::connect(address)?;
        let mut request = BytesMut::new();
        request.put_i32(0);
        request.put_i64(0);
        request.put_i32(40_000);
        request.put_i64(session);
        request.put_i32(password.len() as i32);
        request.put_slice(password);
        request.put_u8(0);
        wire.write(&framed(&request));
        let Some(frame) = wire.read()? else {
            return Ok((None, None));
        };
        let response = ConnectResponse::decode(&frame).ok();
        let lives = response.as_ref().is_some_and(|it| it.session_id != 0);
        Ok((lives.then_some(wire), response))
    }

    fn number(&mut self, request: &Request) -> i32 {
        self.xid += 1;
        request.xid.unwrap_or(self.xid)
    }

    /// A request and its reply, where nothing can come between.
    fn call(&mut self, known: &Known, request: &Request) -> Bytes {
        let (_, body): (Asked, _) = known.encode(request);
        let xid = self.number(request);
        self.send(xid, request.op, &body);
        self.read().unwrap().unwrap()
    }

    fn send(&mut self, xid: i32, op: i32, body: &[u8]) {
        let mut frame = BytesMut::new();
        put_frame(&mut frame, xid, op, body);
        self.write(&frame);
    }

    fn write(&mut self, bytes: &[u8]) {
        // If the peer has gone, so says the read.
        let _ = self.socket.get_mut().write_all(bytes);
    }

    /// Everything up to a reply, which is `None` at the end of the connection.
    fn read_until(&mut self, xid: i32, events: &mut Vec<Bytes>) -> Result<Option<Bytes>, Silence> {
        while let Some(frame) = self.read()? {
            let header = ReplyHeader::decode(&frame);
            if !is_event(&frame) && header.is_ok_and(|header| header.xid == xid) {
                return Ok(Some(frame));
            }
            events.push(frame);
        }
        Ok(None)
    }

    fn read(&mut self) -> Result<Option<Bytes>, Silence> {
        let mut len = [0; 4];
        match self.socket.read_exact(&mut len) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(Silence);
            }
            Err(_) => return Ok(None),
        }
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        let read = self.socket.read_exact(&mut frame);
        Ok(read.ok().map(|()| frame.into()))
    }
}

fn framed(payload: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_i32(payload.len() as i32);
    frame.put_slice(payload);
    frame
}

fn put_frame(frames: &mut BytesMut, xid: i32, op: i32, body: &[u8]) {
    frames.put_i32(8 + body.len() as i32);
    frames.put_i32(xid);
    frames.put_i32(op);
    frames.put_slice(body);
}

/// Whether the server has READ asked for by exists, and for events.
pub(crate) fn probe(address: SocketAddr) -> (bool, bool) {
    let known = Known::default();
    let mut client = Wire::begin(address, 0, &[0; 16]).unwrap().0.unwrap();
    let mut call = |op, fields: &[Field]| {
        let body = Body::Fields(fields.to_vec());
        let request = Request::new(op, body);
        let (_, body): (Asked, _) = known.encode(&request);
        let xid = client.number(&request);
        client.send(xid, op, &body);
        let mut events = Vec::new();
        let reply = client.read_until(xid, &mut events).unwrap().unwrap();
        (ReplyHeader::decode(&reply).unwrap().err, events.len())
    };
    let watched = [text("/probe"), Field::Byte(1)];
    let entry = vec![Field::Int(30), text("world"), text("anyone")];
    let secret = [
        text("/probe"),
        Field::Null,
        Field::List(vec![entry]),
        Field::Int(0),
    ];
    call(op::EXISTS, &watched);
    let (_, events) = call(op::CREATE, &secret);
    let (err, _) = call(op::EXISTS, &watched);
    call(op::DELETE, &[text("/probe"), Field::Int(-1)]);
    call(op::CLOSE_SESSION, &[]);
    (err == -102, events == 0)
}
