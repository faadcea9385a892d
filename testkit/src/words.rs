//! Four-letter words: what an administrator sends in place of a handshake.

use crate::config::ServerConfig;
use crate::replica::Role;

/// All words that a 3.8 server knows. Anything else is read as a frame's length.
const KNOWN: [&[u8; 4]; 18] = [
    b"conf", b"cons", b"crst", b"dirs", b"dump", b"envi", b"gtmk", b"hash", b"isro", b"mntr",
    b"ruok", b"srst", b"srvr", b"stat", b"stmk", b"wchc", b"wchp", b"wchs",
];

/// What `srvr` tells about a server.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) connections: usize,
    pub(crate) zxid: i64,
    pub(crate) nodes: usize,
    pub(crate) is_read_only: bool,
    /// As a member of an ensemble.
    pub(crate) role: Option<Role>,
    pub(crate) watches: usize,
    pub(crate) sessions: usize,
}

/// The word at the front of what a fresh connection sent.
pub(crate) fn find(input: &[u8]) -> Option<&'static str> {
    let word = input.first_chunk()?;
    let known = KNOWN.iter().find(|known| **known == word)?;
    std::str::from_utf8(*known).ok()
}

/// The answer to a word, after which the connection is closed.
pub(crate) fn answer(word: &str, config: &ServerConfig, figures: &Figures) -> String {
    let listed = config
        .four_letter_words
        .iter()
        .any(|listed| listed == word || listed == "*");
    let is_serving = figures.is_read_only || figures.role != Some(Role::Looking);
    match word {
        "ruok" if listed => "imok".into(),
        "isro" if !is_serving && (listed || config.read_only_enabled) => "null".into(),
        _ if !is_serving && listed => NOT_SERVING.into(),
        "isro" if figures.is_read_only => "ro".into(),
        "isro" if listed || config.read_only_enabled => "rw".into(),
        "srvr" if listed => srvr(config, figures),
        "mntr" if listed => mntr(config, figures),
        _ => format!("{word} is not executed because it is not in the whitelist.\n"),
    }
}

fn srvr(config: &ServerConfig, figures: &Figures) -> String {
    let Figures {
        received,
        sent,
        connections,
        zxid,
        nodes,
        ..
    } = figures;
    let mode = mode(figures);
    let version = version(config);
    // A real server has the root in its table twice, and counts it so.
    let nodes = nodes + 1;
    format!(
        "Zookeeper version: {version}\n\
         Latency min/avg/max: 0/0.0/0\n\
         Received: {received}\n\
         Sent: {sent}\n\
         Connections: {connections}\n\
         Outstanding: 0\n\
         Zxid: {zxid:#x}\n\
         Mode: {mode}\n\
         Node count: {nodes}\n"
    )
}

fn mode(figures: &Figures) -> &'static str {
    match figures.role {
        _ if figures.is_read_only => "read-only",
        None | Some(Role::Looking) => "standalone",
        Some(Role::Leading) => "leader",
        Some(Role::Following) => "follower",
    }
}

/// What a member of an ensemble says that has no leader.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// A real server has some hundred lines more, of its ensemble and its JVM.
fn mntr(config: &ServerConfig, figures: &Figures) -> String {
    let Figures {
        received,
        sent,
        connections,
        zxid: _,
        nodes,
        watches,
        sessions,
        is_read_only,
        role: _,
    } = figures;
    let state = mode(figures);
    let version = version(config);
    let nodes = nodes + 1;
    format!(
        "zk_version\t{version}\n\
         zk_server_state\t{state}\n\
         zk_read_only_mode\t{is_read_only}\n\
         zk_packets_received\t{received}\n\
         zk_packets_sent\t{sent}\n\
         zk_num_alive_connections\t{connections}\n\
         zk_outstanding_requests\t0\n\
         zk_znode_count\t{nodes}\n\
         zk_watch_count\t{watches}\n\
         zk_global_sessions\t{sessions}\n"
    )
}

/// Clients that look for a version find the one whose answers these are.
fn version(config: &ServerConfig) -> String {
    let version = &config.version;
    format!("{version}-homing-testkit, built on 1970-01-01 00:00 UTC")
}
