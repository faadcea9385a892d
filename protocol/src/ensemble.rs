//! The text in which servers tell who belongs to their ensemble.

use std::fmt;

/// The node that tells who belongs to the ensemble.
pub const CONFIG_PATH: &str = "/zookeeper/config";

/// Who belongs to an ensemble, as the node `/zookeeper/config` has it.
///
/// ```text
/// server.1=zk1:2888:3888:participant;0.0.0.0:2181
/// server.2=zk2:2888:3888:observer;zk2:2181
/// version=100000000
/// ```
///
/// ```
/// use homing_protocol::EnsembleConfig;
/// let text = "server.1=zk1:2888:3888:participant;0.0.0.0:2181\nversion=100000000";
/// let config = EnsembleConfig::parse(text)?;
/// assert_eq!(config.version, 0x1_0000_0000);
/// let clients = config.members[0].client_address().unwrap();
/// assert_eq!(clients.to_string(), "zk1:2181");
/// # Ok::<(), homing_protocol::EnsembleConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnsembleConfig {
    /// The transaction that made it; grows with each change. 0 where none is told.
    pub version: i64,
    /// The members, in the order of the text. A server that stands alone tells none.
    pub members: Vec<Member>,
}

/// One server of an ensemble.
///
/// ```
/// use homing_protocol::{EnsembleConfig, Role};
/// let config = EnsembleConfig::parse("server.7=zk7:2888:3888:observer")?;
/// let member = &config.members[0];
/// assert_eq!((member.id, member.role), (7, Role::Observer));
/// assert_eq!(member.client_address(), None, "its own configuration file has it");
/// # Ok::<(), homing_protocol::EnsembleConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its number.
    pub id: i64,
    /// Where the other members reach it; one at least.
    pub addresses: Vec<MemberAddress>,
    /// Whether it votes.
    pub role: Role,
    /// Where clients reach it, as the text has it: the host may be a wildcard. `None` where the
    /// text does not say.
    pub client: Option<ClientAddress>,
    /// The same for TLS; told by servers since 3.10.
    pub secure_client: Option<ClientAddress>,
}

/// Where the members of an ensemble reach one of them.
///
/// ```
/// let config = homing_protocol::EnsembleConfig::parse("server.1=[::1]:2888:3888:participant")?;
/// let address = &config.members[0].addresses[0];
/// assert_eq!((&*address.host, address.quorum_port, address.election_port), ("::1", 2888, 3888));
/// # Ok::<(), homing_protocol::EnsembleConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberAddress {
    /// A name or an address; one of IPv6 without its brackets.
    pub host: String,
    /// Where followers find it when it leads.
    pub quorum_port: u16,
    /// Where the others find it when they elect a leader.
    pub election_port: u16,
}

/// Where clients reach a server.
///
/// ```
/// let config = homing_protocol::EnsembleConfig::parse("server.1=::1:2888:3888;2181");
/// let error = config.unwrap_err();
/// assert_eq!(error.to_string(), "line 1, \"server.1=::1:2888:3888;2181\": not host:port:port");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientAddress {
    /// A name or an address; one of IPv6 without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Whether a member of an ensemble votes.
///
/// ```
/// assert_eq!(homing_protocol::Role::Observer.to_string(), "observer");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// It votes.
    Participant,
    /// It follows without a vote.
    Observer,
}

impl EnsembleConfig {
    /// Reads the text of `/zookeeper/config`. Lines that are about something else, such as
    /// groups and weights, are passed over.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub fn parse(text: &str) -> Result<Self, EnsembleConfigError> {
        let mut config = Self {
            version: 0,
            members: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            config.add_line(line).map_err(|what| EnsembleConfigError {
                line: index + 1,
                text: line.into(),
                what,
            })?;
        }
        Ok(config)
    }

    fn add_line(&mut self, line: &str) -> Result<(), &'static str> {
        let Some((key, value)) = line.split_once('=') else {
            return Ok(());
        };
        if key == "version" {
            let version = i64::from_str_radix(value, 16);
            self.version = version.map_err(|_| "the version is not a hexadecimal number")?;
        } else if let Some(id) = key.strip_prefix("server.") {
            let id = id.parse().map_err(|_| "the server has no number")?;
            self.members.push(parse_member(id, value)?);
        }
        Ok(())
    }
}

impl Member {
    /// Where clients reach it: a wildcard is replaced by the host that the other members use.
    /// `None` where the text does not say.
    pub fn client_address(&self) -> Option<ClientAddress> {
        self.reachable(self.client.as_ref())
    }

    /// The same for TLS.
    pub fn secure_client_address(&self) -> Option<ClientAddress> {
        self.reachable(self.secure_client.as_ref())
    }

    fn reachable(&self, address: Option<&ClientAddress>) -> Option<ClientAddress> {
        let mut address = address?.clone();
        if matches!(&*address.host, "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0") {
            address.host = self.addresses.first()?.host.clone();
        }
        Some(address)
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Participant => "participant",
            Self::Observer => "observer",
        })
    }
}

/// `host:port:port[|host:port:port]*[:role][;client[;secure client]]`
fn parse_member(id: i64, text: &str) -> Result<Member, &'static str> {
    let mut parts = text.split(';');
    let servers = parts.next().unwrap_or_default();
    let (servers, role) = match servers.rsplit_once(':') {
        Some((rest, "participant")) => (rest, Role::Participant),
        Some((rest, "observer")) => (rest, Role::Observer),
        _ => (servers, Role::Participant),
    };
    let addresses = servers.split('|').map(parse_address);
    let mut client = || {
        parts
            .next()
            .filter(|text| !text.is_empty())
            .map(parse_client)
    };
    Ok(Member {
        id,
        addresses: addresses.collect::<Result<_, _>>()?,
        role,
        client: client().transpose()?,
        secure_client: client().transpose()?,
    })
}

fn parse_address(text: &str) -> Result<MemberAddress, &'static str> {
    let what = "not host:port:port";
    let (rest, election) = text.rsplit_once(':').ok_or(what)?;
    let (host, quorum) = rest.rsplit_once(':').ok_or(what)?;
    Ok(MemberAddress {
        host: parse_host(host).ok_or(what)?,
        quorum_port: parse_port(quorum)?,
        election_port: parse_port(election)?,
    })
}

/// `[host:]port`; without a host it is the wildcard.
fn parse_client(text: &str) -> Result<ClientAddress, &'static str> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("0.0.0.0", text));
    Ok(ClientAddress {
        host: parse_host(host).ok_or("clients have no host to connect to")?,
        port: parse_port(port)?,
    })
}

/// A host; one of IPv6 stands in brackets, where ports follow.
fn parse_host(text: &str) -> Option<String> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => Some(text).filter(|text| !text.contains(':'))?,
    };
    Some(bare).filter(|host| !host.is_empty()).map(Into::into)
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a port is not a number from 1 to 65535"),
        Ok(port) => Ok(port),
    }
}

/// A text that does not say who belongs to an ensemble.
///
/// ```
/// let error = homing_protocol::EnsembleConfig::parse("server.1=zk1").unwrap_err();
/// assert_eq!(error.to_string(), "line 1, \"server.1=zk1\": not host:port:port");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnsembleConfigError {
    line: usize,
    text: String,
    what: &'static str,
}

impl fmt::Display for EnsembleConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, {:?}: {}", self.line, self.text, self.what)
    }
}

impl std::error::Error for EnsembleConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_servers_write() {
        let text = "server.1=zk1:2888:3888:participant;0.0.0.0:2181\n\
             server.2=10.0.0.2:2888:3888|10.1.0.2:2889:3889:observer;10.0.0.2:2182\n\
             server.3=[fe80::1]:2888:3888:participant;[0:0:0:0:0:0:0:0]:2181;[::1]:2281\n\
             server.4=zk4:2888:3888;2184\n\
             server.5=zk5:2888:3888:participant\n\
             server.6=zk6:2888:3888:participant;;0.0.0.0:2281\n\
             group.1=1:2\n\
             weight.1=1\n\
             version=1f00000002";
        let config = EnsembleConfig::parse(text).unwrap();
        assert_eq!(config.version, 0x1f_0000_0002);
        let told = |member: &Member| {
            let plain = member.client_address().map(|address| address.to_string());
            let secure = member.secure_client_address();
            let secure = secure.map(|address| address.to_string());
            (plain.unwrap_or_default(), secure.unwrap_or_default())
        };
        let told: Vec<_> = config.members.iter().map(told).collect();
        let expected = [
            ("zk1:2181", ""),
            ("10.0.0.2:2182", ""),
            ("[fe80::1]:2181", "[::1]:2281"),
            ("zk4:2184", ""),
            ("", ""),
            ("", "zk6:2281"),
        ];
        assert_eq!(told, expected.map(|(a, b)| (a.to_string(), b.to_string())));
        let second = &config.members[1];
        assert_eq!((second.id, second.role), (2, Role::Observer));
        let ports = |address: &MemberAddress| (address.quorum_port, address.election_port);
        let ports: Vec<_> = second.addresses.iter().map(ports).collect();
        assert_eq!(ports, [(2888, 3888), (2889, 3889)]);
    }

    #[test]
    fn nobody_is_a_member_of_a_server_that_stands_alone() {
        let config = EnsembleConfig::parse("").unwrap();
        assert_eq!((config.version, config.members.len()), (0, 0));
    }

    #[test]
    fn what_is_refused_says_where_and_why() {
        let check = |line: &str, what: &str| {
            let text = format!("version=1\n{line}\n");
            let error = EnsembleConfig::parse(&text).unwrap_err().to_string();
            assert_eq!(error, format!("line 2, {line:?}: {what}"));
        };
        check("server.x=a:1:2", "the server has no number");
        check("server.1=", "not host:port:port");
        check("server.1=a:1", "not host:port:port");
        check("server.1=a:b:1:2", "not host:port:port");
        check("server.1=[::1:1:2", "not host:port:port");
        check("server.1=a:1:2:leader", "not host:port:port");
        check(
            "server.1=a:1:65536",
            "a port is not a number from 1 to 65535",
        );
        check(
            "server.1=a:1:2;b:0",
            "a port is not a number from 1 to 65535",
        );
        check("server.1=a:1:2;:5", "clients have no host to connect to");
        check("version=xyz", "the version is not a hexadecimal number");
    }
}
