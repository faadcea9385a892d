//! The one line that says where a client connects to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use homing_protocol::{PathError, validate_path};

/// The port that ZooKeeper listens on unless told otherwise.
const DEFAULT_PORT: u16 = 2181;

/// What stands before a server that speaks TLS.
const TLS: &str = "tls://";

/// `[tls://]host[:port](,[tls://]host[:port])*[/chroot]`: as all ZooKeeper clients have it, and
/// with `tls://` before each server that is to be spoken to in TLS.
///
/// The default port is 2181; with TLS there is none. An IPv6 address stands in brackets where a
/// port follows. Spaces around servers are ignored. The chroot is a path; every path of the
/// client lies below it.
///
/// In place of the servers there may be the name of a record that lists them in DNS:
/// `dns-srv://_zookeeper._tcp.example.org[/chroot]`.
///
/// ```
/// use homing_session::ConnectString;
/// let parsed: ConnectString = "zk1, tls://zk2:2281,[::1]:2183/app".parse()?;
/// let servers: Vec<String> = parsed.servers.iter().map(ToString::to_string).collect();
/// assert_eq!(servers, ["zk1:2181", "tls://zk2:2281", "[::1]:2183"]);
/// assert_eq!(parsed.chroot, "/app");
///
/// let error = "zk1:port".parse::<ConnectString>().unwrap_err();
/// assert_eq!(error.to_string(), "connect string \"zk1:port\": server 1, \"zk1:port\": the port is not a number from 1 to 65535");
/// # Ok::<(), homing_session::ConnectStringError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectString {
    /// The servers, in the order of the string; one at least, unless DNS lists them.
    pub servers: Vec<Server>,
    /// The chroot without a slash at its end; empty for none.
    pub chroot: String,
    /// The name of a record in DNS that lists the servers.
    pub srv: Option<String>,
}

/// One server.
///
/// ```
/// use homing_session::{Host, Server};
/// let server = Server { host: Host::Name("zk1".into()), port: 2181, tls: false };
/// assert_eq!(server.to_string(), "zk1:2181");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its name or address.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// Whether to speak TLS to it, and nothing else.
    pub tls: bool,
}

/// Who a server is.
///
/// ```
/// use homing_session::Host;
/// assert_eq!(Host::Ip("127.0.0.1".parse()?).to_string(), "127.0.0.1");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, looked up anew for every attempt to connect.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tls {
            f.write_str(TLS)?;
        }
        match self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

impl FromStr for ConnectString {
    type Err = ConnectStringError;

    fn from_str(input: &str) -> Result<Self, ConnectStringError> {
        let error = |what| ConnectStringError {
            input: input.into(),
            what,
        };
        if let Some(rest) = input.strip_prefix(SRV) {
            let (name, chroot) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            return Ok(Self {
                servers: Vec::new(),
                chroot: parse_chroot(chroot).map_err(error)?,
                srv: Some(parse_name(name.trim()).map_err(error)?),
            });
        }
        let mut servers = Vec::new();
        let mut rest = input;
        let chroot = loop {
            let (scheme, server) = split_scheme(rest);
            let end = server.find([',', '/']).unwrap_or(server.len());
            let (server, behind) = server.split_at(end);
            let text = rest.get(..rest.len() - behind.len()).unwrap_or(rest).trim();
            if let Some(scheme) = scheme.filter(|scheme| !scheme.eq_ignore_ascii_case("tls")) {
                return Err(error(What::Scheme(scheme.into())));
            }
            let server = parse_server(server.trim(), scheme.is_some()).map_err(|why| {
                error(What::Server {
                    position: servers.len() + 1,
                    text: text.into(),
                    why,
                })
            })?;
            servers.push(server);
            match behind.strip_prefix(',') {
                Some(next) => rest = next,
                None => break behind,
            }
        };
        Ok(Self {
            servers,
            chroot: parse_chroot(chroot).map_err(error)?,
            srv: None,
        })
    }
}

/// What stands before the name of a record that lists the servers.
const SRV: &str = "dns-srv://";

fn parse_chroot(chroot: &str) -> Result<String, What> {
    let chroot = chroot.trim_end();
    if !chroot.is_empty() {
        validate_path(chroot).map_err(What::Chroot)?;
    }
    Ok(if chroot == "/" { "" } else { chroot }.into())
}

/// A name as DNS has them: labels of 1 to 63 letters, 253 in all.
fn parse_name(name: &str) -> Result<String, What> {
    let is_label = |label: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=63).contains(&label.len()) && label.chars().all(is_part)
    };
    let short = name.strip_suffix('.').unwrap_or(name);
    if short.len() > 253 || !short.split('.').all(is_label) {
        return Err(What::SrvName(name.into()));
    }
    Ok(short.into())
}

/// Splits the scheme off that the first server has, if it has one.
fn split_scheme(text: &str) -> (Option<&str>, &str) {
    match text.split_once("://") {
        Some((scheme, rest)) if !scheme.contains([',', '/']) => (Some(scheme.trim()), rest),
        _ => (None, text),
    }
}

fn parse_server(text: &str, tls: bool) -> Result<Server, &'static str> {
    let (host, port) = parse_host(text)?;
    let port = match port {
        Some(port) => port,
        None if tls => return Err("a port must follow: there is no usual one for TLS"),
        None => DEFAULT_PORT,
    };
    Ok(Server { host, port, tls })
}

fn parse_host(text: &str) -> Result<(Host, Option<u16>), &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, port) = rest.split_once(']').ok_or("a bracket is not closed")?;
        let ip = ip
            .parse()
            .map_err(|_| "the brackets do not hold an IPv6 address")?;
        let port = match port {
            "" => None,
            _ => Some(parse_port(
                port.strip_prefix(':')
                    .ok_or("a colon must follow the bracket")?,
            )?),
        };
        return Ok((Host::Ip(IpAddr::V6(ip)), port));
    }
    let (host, port) = match text.split_once(':') {
        // Two colons and no bracket: an IPv6 address, to which no port could be told apart.
        Some((_, rest)) if rest.contains(':') => (text, None),
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (text, None),
    };
    if let Ok(ip) = host.parse() {
        return Ok((Host::Ip(ip), port));
    }
    if host.is_empty() {
        return Err("there is no host");
    }
    if host.contains(':') {
        return Err("neither an IPv6 address nor a host with one port");
    }
    if !host
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
    {
        return Err("the host has a character that no host name has");
    }
    Ok((Host::Name(host.into()), port))
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("the port is not a number from 1 to 65535"),
        Ok(port) => Ok(port),
    }
}

/// A connect string that is not one.
///
/// ```
/// let error = "".parse::<homing_session::ConnectString>().unwrap_err();
/// assert_eq!(error.to_string(), "connect string \"\": server 1, \"\": there is no host");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectStringError {
    input: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Server {
        position: usize,
        text: String,
        why: &'static str,
    },
    Chroot(PathError),
    Scheme(String),
    SrvName(String),
}

impl fmt::Display for ConnectStringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connect string {:?}: ", self.input)?;
        match &self.what {
            What::Server {
                position,
                text,
                why,
            } => {
                write!(f, "server {position}, {text:?}: {why}")
            }
            What::Chroot(why) => write!(f, "the chroot is not a path: {why}"),
            What::SrvName(name) => write!(f, "{name:?} is no name that DNS could have"),
            What::Scheme(scheme) => {
                write!(
                    f,
                    "a scheme ({scheme}) is no part of it, but for tls: begin with the first server"
                )
            }
        }
    }
}

impl std::error::Error for ConnectStringError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_says_where_and_why() {
        let check = |input: &str, message: &str| {
            let error = input.parse::<ConnectString>().unwrap_err().to_string();
            assert!(error.ends_with(message), "{input:?}: {error}");
        };
        check("zk1,,zk2", "server 2, \"\": there is no host");
        check("/app", "server 1, \"\": there is no host");
        check("zk1:0", "the port is not a number from 1 to 65535");
        check("zk1:65536", "the port is not a number from 1 to 65535");
        check("zk 1", "the host has a character that no host name has");
        check(
            "http://zk1:2181",
            "a scheme (http) is no part of it, but for tls: begin with the first server",
        );
        check("dns-srv://", "\"\" is no name that DNS could have");
        check(
            "dns-srv://a..b/x",
            "\"a..b\" is no name that DNS could have",
        );
        check("dns-srv://a,b", "\"a,b\" is no name that DNS could have");
        check(
            "dns-srv://a/b/",
            "the chroot is not a path: it ends with a slash",
        );
        check("zk1,https://zk2:443", "begin with the first server");
        check(
            "tls://zk1",
            "a port must follow: there is no usual one for TLS",
        );
        check(
            "zk1:2181, tls://zk2/app",
            "server 2, \"tls://zk2\": a port must follow: there is no usual one for TLS",
        );
        check("tls://", "server 1, \"tls://\": there is no host");
        check("[::1", "a bracket is not closed");
        check("[zk1]:2181", "the brackets do not hold an IPv6 address");
        check("[::1]2181", "a colon must follow the bracket");
        check("a:b:c", "neither an IPv6 address nor a host with one port");
        check("zk1/app/", "the chroot is not a path: it ends with a slash");
        check(
            "zk1//app",
            "the chroot is not a path: an empty component at byte 1",
        );
    }

    #[test]
    fn what_is_accepted() {
        let parsed: ConnectString = "10.0.0.1,::1,[fe80::1],a_b.c:1/".parse().unwrap();
        let servers: Vec<_> = parsed.servers.iter().map(ToString::to_string).collect();
        assert_eq!(
            servers,
            ["10.0.0.1:2181", "[::1]:2181", "[fe80::1]:2181", "a_b.c:1"]
        );
        assert_eq!((parsed.chroot.as_str(), parsed.srv), ("", None));
        let parsed: ConnectString = "dns-srv://_zookeeper._tcp.example.org./app"
            .parse()
            .unwrap();
        assert_eq!((parsed.servers.len(), parsed.chroot.as_str()), (0, "/app"));
        assert_eq!(parsed.srv.unwrap(), "_zookeeper._tcp.example.org");
    }

    #[test]
    fn each_server_says_for_itself_whether_it_speaks_tls() {
        let input = "zk1:1,tls://zk2:2, TLS://[::1]:3/a,b";
        let parsed: ConnectString = input.parse().unwrap();
        let servers: Vec<_> = parsed.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["zk1:1", "tls://zk2:2", "tls://[::1]:3"]);
        assert_eq!(parsed.chroot, "/a,b");
    }
}
