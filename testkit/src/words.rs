//! Four-letter words: what an administrator sends in place of a handshake.

use crate::config::ServerConfig;

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
    match word {
        "ruok" if listed => "imok".into(),
        "isro" if figures.is_read_only => "ro".into(),
        "isro" if listed || config.read_only_enabled => "rw".into(),
        "srvr" if listed => srvr(figures),
        _ => format!("{word} is not executed because it is not in the whitelist.\n"),
    }
}

fn srvr(figures: &Figures) -> String {
    let Figures {
        received,
        sent,
        connections,
        zxid,
        nodes,
        is_read_only,
    } = figures;
    let mode = if *is_read_only {
        "read-only"
    } else {
        "standalone"
    };
    // A real server has the root in its table twice, and counts it so.
    let nodes = nodes + 1;
    format!(
        "Zookeeper version: {VERSION}\n\
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

/// Clients that look for a version find the one whose answers these are.
const VERSION: &str = "3.8.0-homing-testkit, built on 1970-01-01 00:00 UTC";
