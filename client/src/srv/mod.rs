//! Servers that are listed in DNS.

mod packet;

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use homing_session::{ConnectString, Server};

use self::packet::{Kind, Record, Reply};
use crate::helper::BoxError;
use crate::resolver::Resolver;

/// Finds servers by a record of DNS that lists them (SRV, RFC 2782): what a connect string with
/// `dns-srv://` does, with settings.
///
/// Priorities and weights are not looked at: the members of an ensemble are equal, and clients
/// are to be spread over all of them. The list is refreshed when [`Resolver::servers`] says.
///
/// ```no_run
/// # fn main() -> Result<(), homing::Error> {
/// use homing::{Client, SrvResolver};
/// // The same twice:
/// let client = Client::builder("dns-srv://_zookeeper._tcp.example.org/app").start()?;
/// let srv = SrvResolver::new("_zookeeper._tcp.example.org");
/// let client = Client::builder("zk.example.org/app").resolver(srv).start()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SrvResolver {
    name: String,
    nameservers: Option<Vec<SocketAddr>>,
}

/// How long a name server may take before the next one is asked, how often all of them are asked,
/// and how long all that may take. Sessions wait for 5 s.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_000);
const ROUNDS: usize = 2;
const ALL_WITHIN: Duration = Duration::from_millis(4_500);

/// As many as are looked at; the system's own resolver uses three.
const NAMESERVERS_MAX: usize = 3;

impl SrvResolver {
    /// By the record of this name, of which nothing is left out: `_service._tcp.domain`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.trim_end_matches('.').into(),
            nameservers: None,
        }
    }

    /// Asks these name servers, for the list and for the addresses of what is in it. By default
    /// the list is asked of those in `/etc/resolv.conf`, and addresses of the system.
    pub fn nameservers(mut self, nameservers: &[SocketAddr]) -> Self {
        self.nameservers = Some(nameservers.into());
        self
    }

    fn nameservers_now(&self) -> Result<Vec<SocketAddr>, BoxError> {
        let mut nameservers = match &self.nameservers {
            Some(nameservers) => nameservers.clone(),
            None => system_nameservers()?,
        };
        nameservers.truncate(NAMESERVERS_MAX);
        Ok(nameservers)
    }
}

#[async_trait]
impl Resolver for SrvResolver {
    async fn addresses(&self, host: &str, port: u16) -> Result<Option<Vec<SocketAddr>>, BoxError> {
        if self.nameservers.is_none() {
            return Ok(None);
        }
        let mut nameservers = self.nameservers_now()?;
        let found = [Kind::A, Kind::Aaaa].map(|kind| ask(&mut nameservers, host, kind));
        let mut addresses = Vec::new();
        let mut failure = None;
        for found in found {
            match found {
                Ok(records) => addresses.extend(records.into_iter().filter_map(|r| match r {
                    Record::Address(ip) => Some(SocketAddr::new(ip, port)),
                    Record::Service(..) => None,
                })),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if addresses.is_empty() => Err(error),
            _ => Ok(Some(addresses)),
        }
    }

    async fn servers(&self) -> Result<Option<Vec<Server>>, BoxError> {
        let found = ask(&mut self.nameservers_now()?, &self.name, Kind::Srv)?;
        let servers: Vec<_> = found.into_iter().filter_map(server).collect();
        if servers.is_empty() {
            return Err(format!("{} lists no servers", self.name).into());
        }
        Ok(Some(servers))
    }
}

/// A server of the list, if it can be one. An empty name says that there is no such service.
fn server(record: Record) -> Option<Server> {
    let Record::Service(name, port) = record else {
        return None;
    };
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.chars().all(is_part) {
        return None;
    }
    let parsed: ConnectString = format!("{name}:{port}").parse().ok()?;
    parsed.servers.into_iter().next()
}

/// Asks one name server after the other, until one answers. It is the first in the list then.
fn ask(nameservers: &mut [SocketAddr], name: &str, kind: Kind) -> Result<Vec<Record>, BoxError> {
    // Whoever writes such a name has made a mistake, or means harm.
    let is_name = format!("dns-srv://{name}").parse::<ConnectString>().is_ok();
    if !is_name || name.contains('/') {
        return Err(format!("{name:?} is no name that DNS could have").into());
    }
    let give_up = Instant::now() + ALL_WITHIN;
    let mut failure = BoxError::from("no name server is known");
    for _ in 0..nameservers.len() * ROUNDS {
        let Some(nameserver) = nameservers.first() else {
            break;
        };
        if Instant::now() >= give_up {
            break;
        }
        failure = match ask_one(*nameserver, name, kind) {
            Ok(Reply::Found(records)) => return Ok(records),
            Ok(Reply::NoSuchName) => return Err(format!("there is no name {name}").into()),
            Ok(Reply::Truncated) => "the answer is cut short even over TCP".into(),
            Ok(Reply::Refused(code)) => format!("it does not answer, with code {code}").into(),
            Err(error) => error.into(),
        };
        failure = format!("{name} at the name server {nameserver}: {failure}").into();
        nameservers.rotate_left(1);
    }
    Err(failure)
}

fn ask_one(nameserver: SocketAddr, name: &str, kind: Kind) -> io::Result<Reply> {
    match ask_udp(nameserver, name, kind)? {
        Reply::Truncated => ask_tcp(nameserver, name, kind),
        reply => Ok(reply),
    }
}

fn ask_udp(nameserver: SocketAddr, name: &str, kind: Kind) -> io::Result<Reply> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let local: IpAddr = match nameserver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // The system picks a port that cannot be foreseen, and takes answers of this peer alone.
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(nameserver)?;
    let id = rand::random();
    socket.send(&packet::question(id, name, kind))?;
    let mut buffer = [0; 4096];
    loop {
        socket.set_read_timeout(Some(time_left(deadline)?))?;
        let len = socket.recv(&mut buffer).map_err(named)?;
        // What is not the answer is somebody's try to be it, or came late.
        let reply = packet::read(buffer.get(..len).unwrap_or_default(), id, name, kind);
        if let Some(reply) = reply {
            return Ok(reply);
        }
    }
}

fn ask_tcp(nameserver: SocketAddr, name: &str, kind: Kind) -> io::Result<Reply> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let mut stream = TcpStream::connect_timeout(&nameserver, ANSWER_WITHIN)?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let id = rand::random();
    let question = packet::question(id, name, kind);
    let len = u16::try_from(question.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&len.to_be_bytes()[..], &question].concat())?;
    let mut len = [0; 2];
    read_exact(&mut stream, &mut len, deadline)?;
    let mut answer = vec![0; u16::from_be_bytes(len).into()];
    read_exact(&mut stream, &mut answer, deadline)?;
    packet::read(&answer, id, name, kind).ok_or_else(|| io::Error::other("its answer is malformed"))
}

/// As [`Read::read_exact`], with a deadline for all of it.
fn read_exact(stream: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        match stream.read(buffer).map_err(named)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            len => buffer = buffer.get_mut(len..).unwrap_or_default(),
        }
    }
    Ok(())
}

fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(named(ErrorKind::TimedOut.into()));
    }
    Ok(left)
}

/// Systems differ in what they call a time-out of a socket.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            io::Error::new(ErrorKind::TimedOut, "it did not answer in time")
        }
        _ => error,
    }
}

fn system_nameservers() -> Result<Vec<SocketAddr>, BoxError> {
    const FILE: &str = "/etc/resolv.conf";
    let text = fs::read_to_string(FILE).map_err(|error| {
        format!("{FILE}, which names the name servers, cannot be read: {error}")
    })?;
    Ok(parse_resolv_conf(&text))
}

fn parse_resolv_conf(text: &str) -> Vec<SocketAddr> {
    let nameserver = |line: &str| {
        let (keyword, value) = line.trim().split_once(char::is_whitespace)?;
        let ip: IpAddr = value.trim().parse().ok()?;
        (keyword == "nameserver").then(|| SocketAddr::new(ip, 53))
    };
    let found: Vec<_> = text.lines().filter_map(nameserver).collect();
    match found.is_empty() {
        // What the system's resolver does then.
        true => vec![(Ipv4Addr::LOCALHOST, 53).into()],
        false => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_the_system() {
        let text = "# nameserver 1.1.1.1\nsearch a b\nnameserver 10.0.0.1\n  nameserver\t::1 \nnameserver fe80::1%eth0\nnameserver x\n";
        let expected: [SocketAddr; 2] = [([10, 0, 0, 1], 53).into(), "[::1]:53".parse().unwrap()];
        assert_eq!(parse_resolv_conf(text), expected);
        assert_eq!(parse_resolv_conf(""), [([127, 0, 0, 1], 53).into()]);
    }

    #[test]
    fn a_list_has_only_what_can_be_a_server() {
        let server = |name: &str, port| server(Record::Service(name.into(), port));
        assert_eq!(
            server("zk1.example.org", 2182).unwrap().to_string(),
            "zk1.example.org:2182"
        );
        assert_eq!(server("10.0.0.1", 1).unwrap().to_string(), "10.0.0.1:1");
        for (name, port) in [
            ("", 2181),
            ("zk1", 0),
            ("a,b", 1),
            ("a/b", 1),
            ("a b", 1),
            ("\u{fffd}", 1),
        ] {
            assert_eq!(server(name, port), None, "{name}:{port}");
        }
    }

    #[test]
    fn names_that_cannot_be_are_not_asked_for() {
        let error = ask(&mut [([127, 0, 0, 1], 9).into()], "a..b", Kind::Srv).unwrap_err();
        assert_eq!(error.to_string(), "\"a..b\" is no name that DNS could have");
    }
}
