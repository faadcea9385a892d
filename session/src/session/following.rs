//! Following an ensemble whose members change.
//!
//! The session reads the node `/zookeeper/config` by a request of its own, on each new connection
//! and whenever that node changes, with a watch that nobody else knows of. What it finds becomes
//! its list of servers, as if somebody had set it.

use std::time::Instant;

use homing_protocol::{
    CONFIG_PATH, ClientAddress, EnsembleConfig, EventType, GetData, RequestHeader, op, put_request,
    reply, request_len,
};
use homing_transport::Request;

use super::{Phase, Session};
use crate::answer::{Note, Reply};
use crate::connect_string::{ConnectString, Server};

/// What is known of the ensemble.
#[derive(Debug, Default)]
pub(super) struct Following {
    is_wanted: bool,
    /// The node is to be read, again or for the first time on this connection.
    is_due: bool,
    /// The version of the newest list that was followed. A server that is behind may tell an
    /// older one.
    version: i64,
}

impl Following {
    pub(super) fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            ..Self::default()
        }
    }

    /// There is a new connection, without the watch of the one before; or the node has changed.
    pub(super) fn ask(&mut self) {
        self.is_due = self.is_wanted;
    }

    /// The servers may have begun anew.
    pub(super) fn forget_version(&mut self) {
        self.version = 0;
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }
}

/// Whether the node is changed by what an event tells.
pub(crate) fn is_config_event(path: &str, kind: EventType) -> bool {
    path == CONFIG_PATH && kind == EventType::NodeDataChanged
}

impl Session {
    pub(super) fn read_config_if_due(&mut self) {
        if !matches!(self.phase, Phase::Connected(_)) || !std::mem::take(&mut self.following.is_due)
        {
            return;
        }
        let watches = &self.shared.watches;
        self.shared.queue.submit_reserved(
            || {
                // A watch that stays would be spoilt by this one, and tells as much.
                let watch = !watches.has_lasting(CONFIG_PATH);
                let path = CONFIG_PATH.into();
                vec![GetData { path, watch }]
            },
            |body| Request {
                len: request_len(body),
                within: None,
                note: Note::Config,
            },
            |body, xid, out| {
                let header = RequestHeader {
                    xid,
                    op: op::GET_DATA,
                };
                put_request(out, header, body);
            },
        );
    }

    /// The ensemble was read.
    pub(super) fn follow(&mut self, now: Instant, answer: &Reply) {
        let config = match read_config(answer) {
            Ok(config) => config,
            Err(why) => {
                return self
                    .span
                    .in_scope(|| tracing::warn!("{CONFIG_PATH} cannot be followed: {why}"));
            }
        };
        // Who came by TLS is not sent away in plain text.
        let is_secure = self.server.as_ref().is_some_and(|server| server.tls);
        let servers = servers(&config, is_secure);
        if config.version <= self.following.version || servers.is_empty() {
            return;
        }
        self.following.version = config.version;
        self.span.in_scope(|| {
            let version = format_args!("{:#x}", config.version);
            tracing::info!(version, servers = servers.len(), "the ensemble has changed");
        });
        self.replace_servers(now, servers);
    }
}

fn read_config(answer: &Reply) -> Result<EnsembleConfig, String> {
    if answer.err != 0 {
        let code = homing_protocol::ErrorCode::from_code(answer.err);
        return Err(format!("the server says {code}"));
    }
    let (data, _) = reply::get_data(&answer.frame).map_err(|error| error.to_string())?;
    let data = data.unwrap_or_default();
    let text = std::str::from_utf8(&data).map_err(|error| error.to_string())?;
    EnsembleConfig::parse(text).map_err(|error| error.to_string())
}

/// The members whose addresses for clients are told. Where a member keeps its own in a file of
/// its own, nobody else knows it.
fn servers(config: &EnsembleConfig, is_secure: bool) -> Vec<Server> {
    let addresses = config.members.iter().filter_map(|member| match is_secure {
        true => member.secure_client_address(),
        false => member.client_address(),
    });
    let servers = addresses.filter_map(|address| server(&address));
    servers
        .map(|server| Server {
            tls: is_secure,
            ..server
        })
        .collect()
}

/// By the rules for connect strings: a host that could not stand there is none.
fn server(address: &ClientAddress) -> Option<Server> {
    let parsed: ConnectString = address.to_string().parse().ok()?;
    parsed.servers.into_iter().next()
}
