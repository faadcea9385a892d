//! One server in the words of a configuration: `host:port:port[:role][;[host:]port]`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use homing_protocol::ErrorCode;

use crate::acl::java_text;

/// Where a server talks to the others and to its clients, and whether it has a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerLine {
    quorum: Address,
    election: Address,
    is_observer: bool,
    client: Option<Address>,
}

/// A host as Java writes it, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: u16,
}

impl ServerLine {
    /// A server where clients reach it. The ports behind which nobody listens are those of all
    /// examples, or near them.
    pub(super) fn of(member: usize, client: SocketAddr, is_observer: bool) -> Self {
        let host = java_text(client.ip());
        let offset = u16::try_from(member).unwrap_or(u16::MAX);
        let address = |port: u16| Address {
            host: host.clone(),
            port,
        };
        Self {
            quorum: address(QUORUM_PORT.saturating_add(offset)),
            election: address(ELECTION_PORT.saturating_add(offset)),
            is_observer,
            client: Some(address(client.port())),
        }
    }

    /// Reads what stands behind `server.N=`, in a real server's order.
    pub(super) fn read(text: &str) -> Result<Self, ErrorCode> {
        let (server, client) = match split(text, ';')[..] {
            [] => return Err(ErrorCode::MarshallingError),
            [server] => (server, None),
            [server, client] => (server, Some(read_client(client)?)),
            [..] => return Err(ErrorCode::BadArguments),
        };
        // Several addresses of one server take a setting that is off.
        if server.contains('|') {
            return Err(ErrorCode::BadArguments);
        }
        let (host, quorum, election, role) = match host_and_ports(server)?[..] {
            [host, quorum, election] => (host, quorum, election, "participant"),
            [host, quorum, election, role] => (host, quorum, election, role),
            _ => return Err(ErrorCode::BadArguments),
        };
        let (quorum, election) = (Address::read(host, quorum)?, Address::read(host, election)?);
        if quorum.port == election.port {
            return Err(ErrorCode::BadArguments);
        }
        let is_observer = match role.trim().to_lowercase().as_str() {
            "observer" => true,
            "participant" => false,
            _ => return Err(ErrorCode::BadArguments),
        };
        Ok(Self {
            quorum,
            election,
            is_observer,
            client,
        })
    }

    pub(super) fn is_observer(&self) -> bool {
        self.is_observer
    }

    pub(super) fn has_client_port(&self) -> bool {
        self.client.is_some()
    }

    /// Where the others reach it.
    pub(super) fn quorum(&self) -> &Address {
        &self.quorum
    }

    /// Whether two servers would listen at one address. Those of one machine are not looked at,
    /// nor are names, which this server does not resolve.
    pub(super) fn collides(&self, other: &Self) -> bool {
        let mine = self.addresses();
        mine.filter(|address| address.is_elsewhere())
            .any(|address| other.addresses().any(|it| it == address))
    }

    fn addresses(&self) -> impl Iterator<Item = &Address> {
        [&self.quorum, &self.election]
            .into_iter()
            .chain(&self.client)
    }
}

impl fmt::Display for ServerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.is_observer {
            true => "observer",
            false => "participant",
        };
        write!(f, "{}:{}:{role}", self.quorum, self.election.port)?;
        match &self.client {
            Some(client) => write!(f, ";{client}"),
            None => Ok(()),
        }
    }
}

impl Address {
    fn read(host: &str, port: &str) -> Result<Self, ErrorCode> {
        let port: i32 = port.parse().map_err(|_| ErrorCode::BadArguments)?;
        // A number that is no port is nothing that a real server expects.
        let port = u16::try_from(port).map_err(|_| ErrorCode::MarshallingError)?;
        let host = match host.parse::<IpAddr>() {
            Ok(ip) => java_text(ip),
            // Java's resolver takes nothing for this.
            Err(_) if host.is_empty() => "localhost".to_owned(),
            Err(_) => host.to_owned(),
        };
        Ok(Self { host, port })
    }

    fn is_elsewhere(&self) -> bool {
        let ip = self.host.parse::<IpAddr>();
        ip.is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// ZooKeeper's usual ones.
const QUORUM_PORT: u16 = 2888;
const ELECTION_PORT: u16 = 3888;

/// A port, or a host and a port.
fn read_client(text: &str) -> Result<Address, ErrorCode> {
    match host_and_ports(text)?[..] {
        [] => Err(ErrorCode::MarshallingError),
        [port] => Address::read("0.0.0.0", port),
        [host, port] => Address::read(host, port),
        _ => Err(ErrorCode::BadArguments),
    }
}

/// What stands between colons. An address of IPv6 has brackets around its own.
fn host_and_ports(text: &str) -> Result<Vec<&str>, ErrorCode> {
    let Some(inner) = text.strip_prefix('[') else {
        return Ok(split(text, ':'));
    };
    let (host, rest) = inner.split_once(']').ok_or(ErrorCode::BadArguments)?;
    let mut rest = rest.chars();
    // Whatever stands behind the bracket, a colon was meant.
    let has_colon = rest.next().is_some();
    match rest.as_str() {
        "" if has_colon => Err(ErrorCode::BadArguments),
        "" => Ok(vec![host]),
        ports => {
            let mut parts = vec![host];
            parts.extend(split(ports, ':'));
            Ok(parts)
        }
    }
}

/// As Java splits: empty parts at the end are none.
fn split(text: &str, at: char) -> Vec<&str> {
    match text.trim_end_matches(at) {
        "" if !text.is_empty() => Vec::new(),
        text => text.split(at).collect(),
    }
}
