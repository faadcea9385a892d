//! Times and limits.

use std::time::Duration;

use clap::Args;
use homing_testkit::FakeServerBuilder;

use super::positive;

/// How long and how much.
#[derive(Debug, Args)]
pub(super) struct Limits {
    /// Unit of the session clock, in milliseconds: sessions expire on its multiples (tickTime).
    #[arg(long, default_value_t = 2000, value_name = "MS", value_parser = positive())]
    tick_time_ms: u64,

    /// Shortest session time-out that is granted, in milliseconds (minSessionTimeout) [default: 2
    /// ticks].
    #[arg(long, value_name = "MS")]
    min_session_timeout_ms: Option<u64>,

    /// Longest session time-out that is granted, in milliseconds (maxSessionTimeout) [default: 20
    /// ticks].
    #[arg(long, value_name = "MS")]
    max_session_timeout_ms: Option<u64>,

    /// How long a connection may stay without a handshake, in milliseconds
    /// (zookeeper.nio.sessionlessCnxnTimeout).
    #[arg(long, default_value_t = 10_000, value_name = "MS", value_parser = positive())]
    handshake_timeout_ms: u64,

    /// Largest request in bytes (jute.maxbuffer).
    #[arg(long, default_value_t = 0xF_FFFF, value_name = "BYTES")]
    max_request: usize,

    /// Connections that one address may have (maxClientCnxns); 0 is no limit.
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_client_connections: usize,

    /// Connections that there may be from everywhere (maxCnxns); 0 is no limit.
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_connections: usize,

    /// Requests that may be outstanding before reading stops (zookeeper.globalOutstandingLimit).
    #[arg(long, default_value_t = 1000, value_name = "N")]
    outstanding_limit: usize,
}

impl Limits {
    pub(super) fn apply(self, builder: FakeServerBuilder) -> FakeServerBuilder {
        let ms = Duration::from_millis;
        builder
            .tick_time(ms(self.tick_time_ms))
            .handshake_timeout(ms(self.handshake_timeout_ms))
            .max_request(self.max_request)
            .max_client_connections(self.max_client_connections)
            .max_connections(self.max_connections)
            .outstanding_limit(self.outstanding_limit)
            .config(|config| {
                config.min_session_timeout = self.min_session_timeout_ms.map(ms);
                config.max_session_timeout = self.max_session_timeout_ms.map(ms);
            })
    }
}
