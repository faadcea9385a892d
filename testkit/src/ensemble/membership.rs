//! Who the members are, in the words of `/zookeeper/config` and of requests for other ones.
//!
//! What a real server makes of such words is read as it reads them, mistakes included: some cost
//! a request [`BadArguments`](ErrorCode::BadArguments), and over others it breaks down, which
//! clients are told as [`MarshallingError`](ErrorCode::MarshallingError).

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use homing_protocol::ErrorCode;

use super::server_line::ServerLine;

/// Servers by their numbers, and since which transaction they are the members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    servers: BTreeMap<i64, ServerLine>,
    version: i64,
}

/// What the others are to a server, if it is not their leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It has a vote, or is no member at all: then it follows as well, and has none.
    Follows,
    Observes,
}

impl Membership {
    /// Members that are numbered by their places. Those behind the first ones have no vote.
    pub(super) fn of(voters: usize, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let line = |(member, address)| {
            let is_observer = member >= voters;
            (id(member), ServerLine::of(member, address, is_observer))
        };
        Self {
            servers: addresses.into_iter().enumerate().map(line).collect(),
            version: 0,
        }
    }

    /// All servers anew, as in a server's own file: with line ends or commas between them.
    ///
    /// Groups and weights are not there: they are refused.
    pub(super) fn read(text: &str, has_standalone: bool) -> Result<Self, ErrorCode> {
        let text = text.replace(',', "\n");
        let entries: BTreeMap<_, _> = text.lines().filter_map(property).collect();
        let is_known = |key: &&str| key.starts_with("server.") || *key == "version";
        if !entries.keys().all(is_known) {
            return Err(ErrorCode::BadArguments);
        }
        let mut servers = BTreeMap::new();
        for (key, value) in entries {
            match key.strip_prefix("server.") {
                Some(number) => {
                    servers.insert(decimal(number)?, ServerLine::read(value)?);
                }
                None => {
                    i64::from_str_radix(value, 16).map_err(|_| ErrorCode::MarshallingError)?;
                }
            }
        }
        let new = Self {
            servers,
            version: 0,
        };
        let (voters, all) = (new.voters().count(), new.servers.len());
        // A server that could stand alone lets others say that there are too few.
        let is_absurd = match voters {
            0 => !has_standalone || all > 0,
            1 => has_standalone && all > 1,
            _ => false,
        };
        match is_absurd {
            true => Err(ErrorCode::MarshallingError),
            false => Ok(new),
        }
    }

    /// The same members, but for those that leave, and those that join or change.
    pub(super) fn changed(
        &self,
        leaving: Option<&str>,
        joining: Option<&str>,
    ) -> Result<Self, ErrorCode> {
        let mut new = self.clone();
        for number in list(leaving) {
            new.servers.remove(&decimal(number)?);
        }
        for server in list(joining) {
            let (id, line) = joiner(server)?;
            let mut others = new.servers.iter().filter(|(other, _)| **other != id);
            if others.any(|(_, other)| line.collides(other)) {
                return Err(ErrorCode::BadArguments);
            }
            new.servers.insert(id, line);
        }
        Ok(new)
    }

    /// Whether there are enough of them to go on.
    pub(super) fn check(&self, has_standalone: bool) -> Result<(), ErrorCode> {
        let least = if has_standalone { 2 } else { 1 };
        match self.voters().count() < least {
            true => Err(ErrorCode::BadArguments),
            false => Ok(()),
        }
    }

    /// The same members, since this transaction.
    pub(super) fn since(self, version: i64) -> Self {
        Self { version, ..self }
    }

    pub(super) fn version(&self) -> i64 {
        self.version
    }

    /// Whether so many of those who have a vote are a majority.
    pub(super) fn is_majority(&self, count: usize) -> bool {
        count > self.voters().count() / 2
    }

    pub(super) fn has_vote(&self, member: usize) -> bool {
        let line = self.servers.get(&id(member));
        line.is_some_and(|line| !line.is_observer())
    }

    pub(super) fn part(&self, member: usize) -> Part {
        match self.servers.get(&id(member)) {
            Some(line) if line.is_observer() => Part::Observes,
            _ => Part::Follows,
        }
    }

    /// Whether the others reach a member under both where they do under one.
    pub(super) fn is_found_alike(&self, other: &Self, member: usize) -> bool {
        let [one, another] =
            [self, other].map(|members| members.servers.get(&id(member)).map(ServerLine::quorum));
        one.is_some() && one == another
    }

    fn voters(&self) -> impl Iterator<Item = i64> {
        let voters = self.servers.iter().filter(|(_, line)| !line.is_observer());
        voters.map(|(id, _)| *id)
    }
}

/// The text of the node, in the order in which Java's hash tables have such numbers.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room: u64 = 16;
        while self.servers.len() as u64 * 4 > room * 3 {
            room *= 2;
        }
        let mut servers: Vec<_> = self.servers.iter().collect();
        servers.sort_by_key(|(id, _)| (bucket(**id) % room, **id));
        for (id, line) in servers {
            writeln!(f, "server.{id}={line}")?;
        }
        write!(f, "version={:x}", self.version)
    }
}

/// The number of a member by its place.
pub(super) fn id(member: usize) -> i64 {
    i64::try_from(member).map_or(i64::MAX, |member| member.saturating_add(1))
}

/// Where Java's hash tables put a number, before they look how much room they have.
fn bucket(id: i64) -> u64 {
    let id = id.cast_unsigned();
    let hash = (id ^ (id >> 32)) & 0xffff_ffff;
    hash ^ (hash >> 16)
}

/// A key and its value, in a file of Java's `Properties`. Escapes are taken as they stand.
fn property(line: &str) -> Option<(&str, &str)> {
    let is_blank = |it: char| matches!(it, ' ' | '\t' | '\x0c');
    let line = line.trim_start_matches(is_blank);
    if line.is_empty() || line.starts_with(['#', '!']) {
        return None;
    }
    let end = line.find(|it| is_blank(it) || matches!(it, '=' | ':'));
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    Some((key, rest.trim_start_matches(is_blank)))
}

/// What stands between commas.
fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    let items = text.unwrap_or_default().split(',').map(str::trim);
    items.filter(|item| !item.is_empty())
}

/// `server.N=…`, of which nobody looks at anything but the number.
fn joiner(server: &str) -> Result<(i64, ServerLine), ErrorCode> {
    let mut parts = server.split('=').map(str::trim).filter(|it| !it.is_empty());
    let (Some(name), Some(line), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(ErrorCode::BadArguments);
    };
    let number = name.rsplit('.').next().unwrap_or(name);
    let (id, line) = (decimal(number)?, ServerLine::read(line)?);
    match line.has_client_port() {
        true => Ok((id, line)),
        false => Err(ErrorCode::BadArguments),
    }
}

/// A server's number. A real server does not expect that it is none.
fn decimal(number: &str) -> Result<i64, ErrorCode> {
    number.parse().map_err(|_| ErrorCode::MarshallingError)
}
