//! Answers that have a shape.

/// What `srvr` tells.
///
/// What a server does not tell, because it is older or plays another role, is `None`; what it
/// tells beyond this is among the others.
///
/// ```
/// fn is_busy(srvr: &homing::admin::Srvr) -> bool {
///     srvr.outstanding.is_some_and(|requests| requests > 100)
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Srvr {
    /// The version with its build, such as `3.8.0-5a02a05…, built on 2022-02-25 08:49 UTC`.
    pub version: String,
    /// `leader`, `follower`, `observer`, `standalone` or `read-only`.
    pub mode: String,
    /// The last transaction.
    pub zxid: i64,
    /// How long requests took, in milliseconds: shortest, average, longest.
    pub latency_ms: Option<(f64, f64, f64)>,
    /// How many packets came.
    pub received: Option<u64>,
    /// How many packets went.
    pub sent: Option<u64>,
    /// How many connections there are.
    pub connections: Option<u64>,
    /// How many requests wait.
    pub outstanding: Option<u64>,
    /// How many nodes there are.
    pub node_count: Option<u64>,
    /// All other lines: what stands before the colon, and what behind it.
    pub others: Vec<(String, String)>,
}

impl Srvr {
    /// From the answer's text; an error says what is missing.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut lines: Vec<_> = text.lines().filter_map(|line| split(line, ':')).collect();
        let version = take(&mut lines, "Zookeeper version").ok_or("there is no version")?;
        let mode = take(&mut lines, "Mode").ok_or("there is no line `Mode`")?;
        let zxid = take(&mut lines, "Zxid").ok_or("there is no line `Zxid`")?;
        let zxid = parse_hex(&zxid).ok_or_else(|| format!("{zxid:?} is no transaction"))?;
        Ok(Self {
            version,
            mode,
            zxid,
            latency_ms: take_if(&mut lines, "Latency min/avg/max", parse_three),
            received: take_number(&mut lines, "Received"),
            sent: take_number(&mut lines, "Sent"),
            connections: take_number(&mut lines, "Connections"),
            outstanding: take_number(&mut lines, "Outstanding"),
            node_count: take_number(&mut lines, "Node count"),
            others: lines,
        })
    }
}

/// What `mntr` tells: some hundred lines, the most wanted of which have a field each.
///
/// ```
/// fn followers(mntr: &homing::admin::Mntr) -> Option<u64> {
///     mntr.get("zk_synced_followers")?.parse().ok()
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mntr {
    /// `zk_version`: the version with its build.
    pub version: String,
    /// `zk_server_state`: `leader`, `follower`, `observer`, `standalone` or `read-only`.
    pub server_state: String,
    /// `zk_znode_count`: how many nodes there are.
    pub znode_count: Option<u64>,
    /// `zk_watch_count`: how many watches are set.
    pub watch_count: Option<u64>,
    /// `zk_ephemerals_count`: how many ephemeral nodes there are.
    pub ephemerals_count: Option<u64>,
    /// `zk_num_alive_connections`: how many connections there are.
    pub num_alive_connections: Option<u64>,
    /// `zk_outstanding_requests`: how many requests wait.
    pub outstanding_requests: Option<u64>,
    /// Every line in its order: name and value.
    pub values: Vec<(String, String)>,
}

impl Mntr {
    /// The value of this name, which begins with `zk_`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.values.iter();
        let (_, value) = values.find(|(known, _)| known == name)?;
        Some(value)
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let values: Vec<_> = text.lines().filter_map(|line| split(line, '\t')).collect();
        let mut mntr = Self {
            version: String::new(),
            server_state: String::new(),
            znode_count: None,
            watch_count: None,
            ephemerals_count: None,
            num_alive_connections: None,
            outstanding_requests: None,
            values,
        };
        let text = |name: &str| mntr.get(name).map(str::to_owned);
        let number = |name: &str| mntr.get(name)?.parse().ok();
        let version = text("zk_version").ok_or("there is no line `zk_version`")?;
        let state = text("zk_server_state").ok_or("there is no line `zk_server_state`")?;
        let znode_count = number("zk_znode_count");
        let watch_count = number("zk_watch_count");
        let ephemerals_count = number("zk_ephemerals_count");
        let num_alive_connections = number("zk_num_alive_connections");
        let outstanding_requests = number("zk_outstanding_requests");
        mntr.version = version;
        mntr.server_state = state;
        mntr.znode_count = znode_count;
        mntr.watch_count = watch_count;
        mntr.ephemerals_count = ephemerals_count;
        mntr.num_alive_connections = num_alive_connections;
        mntr.outstanding_requests = outstanding_requests;
        Ok(mntr)
    }
}

/// What `isro` tells.
///
/// ```
/// use homing::admin::Isro;
/// assert_ne!(Isro::ReadOnly, Isro::ReadWrite);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isro {
    /// It serves reads and writes.
    ReadWrite,
    /// It is cut off from its ensemble, and serves reads alone.
    ReadOnly,
    /// It serves nothing yet, or no more.
    NotServing,
}

impl Isro {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "rw" => Ok(Self::ReadWrite),
            "ro" => Ok(Self::ReadOnly),
            "null" => Ok(Self::NotServing),
            _ => Err("it is neither rw nor ro nor null".into()),
        }
    }
}

/// Name and value of a line; `None` for an empty one.
fn split(line: &str, at: char) -> Option<(String, String)> {
    let (name, value) = line.split_once(at).unwrap_or((line, ""));
    let (name, value) = (name.trim(), value.trim());
    (!name.is_empty()).then(|| (name.into(), value.into()))
}

/// Takes the line of this name out.
fn take(lines: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    take_if(lines, name, |value| Some(value.to_owned()))
}

fn take_number(lines: &mut Vec<(String, String)>, name: &str) -> Option<u64> {
    take_if(lines, name, |value| value.parse().ok())
}

/// Takes the line of this name out, unless its value is not what it should be.
fn take_if<T>(
    lines: &mut Vec<(String, String)>,
    name: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let at = lines.iter().position(|(known, _)| known == name)?;
    let value = parse(&lines.get(at)?.1)?;
    lines.remove(at);
    Some(value)
}

/// All 64 bits: the epoch can have the top one.
fn parse_hex(text: &str) -> Option<i64> {
    let digits = text.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok().map(u64::cast_signed)
}

fn parse_three(text: &str) -> Option<(f64, f64, f64)> {
    let mut parts = text.split('/').map(|part| part.parse().ok());
    let three = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(three)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_says_more_than_is_known_here() {
        let text = "Zookeeper version: 3.9.2-e454e8c7283100c7caec6dcae2bc82aaecb63023, built on 2024-02-12 20:59 UTC\n\
            Latency min/avg/max: 0/0.5714/10\nReceived: 21\nSent: 20\nConnections: 1\n\
            Outstanding: 0\nZxid: 0xf00000000000002a\nMode: follower\nNode count: 5\n\
            Proposal sizes last/min/max: 48/48/36\nsomething new\n";
        let srvr = Srvr::parse(text).unwrap();
        assert!(srvr.version.ends_with("2024-02-12 20:59 UTC"));
        assert_eq!(srvr.latency_ms, Some((0.0, 0.5714, 10.0)));
        assert_eq!(srvr.zxid, i64::MIN | 0x7000_0000_0000_002a);
        assert_eq!(srvr.mode, "follower");
        let figures = (srvr.received, srvr.sent, srvr.connections, srvr.outstanding);
        assert_eq!(figures, (Some(21), Some(20), Some(1), Some(0)));
        assert_eq!(srvr.node_count, Some(5));
        let other = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [
            other("Proposal sizes last/min/max", "48/48/36"),
            other("something new", ""),
        ];
        assert_eq!(srvr.others, expected);
    }

    #[test]
    fn a_line_that_is_not_understood_is_kept() {
        let text = "Zookeeper version: 3\nMode: leader\nZxid: 0x1\nSent: many\n";
        let srvr = Srvr::parse(text).unwrap();
        assert_eq!(srvr.sent, None);
        assert_eq!(srvr.others, [("Sent".to_owned(), "many".to_owned())]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let says = |text| Srvr::parse(text).unwrap_err();
        assert_eq!(says("hello"), "there is no version");
        assert_eq!(says("Zookeeper version: 3"), "there is no line `Mode`");
        let text = "Zookeeper version: 3\nMode: leader\nZxid: 12\n";
        assert_eq!(says(text), "\"12\" is no transaction");
        let error = Mntr::parse("zk_version\t3").unwrap_err();
        assert_eq!(error, "there is no line `zk_server_state`");
        assert!(Isro::parse("yes").is_err());
        assert_eq!(Isro::parse("null"), Ok(Isro::NotServing));
    }
}
