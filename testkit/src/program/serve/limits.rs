//! Times and limits.

use std::time::Duration;

use clap::Args;
use homing_testkit::{FakeServerBuilder, ServerConfig};

use super::{MILLIS_MAX, millis, positive};

/// How long and how much.
#[derive(Debug, Args)]
pub(super) struct Limits {
    /// Unit of the session clock, in milliseconds: sessions expire on its multiples (tickTime).
    #[arg(long, default_value_t = 2000, value_name = "MS", value_parser = positive())]
    tick_time_ms: u64,

    /// Shortest session time-out that is granted, in milliseconds (minSessionTimeout) [default: 2
    /// ticks].
    #[arg(long, value_name = "MS", value_parser = millis())]
    min_session_timeout_ms: Option<u64>,

    /// Longest session time-out that is granted, in milliseconds (maxSessionTimeout) [default: 20
    /// ticks].
    #[arg(long, value_name = "MS", value_parser = positive())]
    max_session_timeout_ms: Option<u64>,

    /// How long a connection may be silent that has no session yet, in milliseconds, and the step
    /// in which that is looked at (zookeeper.nio.sessionlessCnxnTimeout).
    #[arg(long, default_value_t = 10_000, value_name = "MS", value_parser = positive())]
    handshake_timeout_ms: u64,

    /// Largest request in bytes (jute.maxbuffer) [default: 1048575].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=0x7FFF_FFFF))]
    max_request: Option<u32>,

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
    /// What is not said stays as the dialect has it.
    pub(super) fn apply(self, builder: FakeServerBuilder) -> Result<FakeServerBuilder, String> {
        let ms = Duration::from_millis;
        let mut checked = Ok(());
        let builder = builder
            .tick_time(ms(self.tick_time_ms))
            .handshake_timeout(ms(self.handshake_timeout_ms))
            .max_client_connections(self.max_client_connections)
            .max_connections(self.max_connections)
            .outstanding_limit(self.outstanding_limit)
            .config(|config| {
                let (min, max) = (self.min_session_timeout_ms, self.max_session_timeout_ms);
                config.min_session_timeout = min.map(ms).or(config.min_session_timeout);
                config.max_session_timeout = max.map(ms).or(config.max_session_timeout);
                checked = check(config);
            });
        checked?;
        Ok(match self.max_request.map(usize::try_from) {
            Some(Ok(bytes)) => builder.max_request(bytes),
            _ => builder,
        })
    }
}

/// Whether there are session time-outs that can be granted.
fn check(config: &ServerConfig) -> Result<(), String> {
    let ticks = |count| config.tick_time.saturating_mul(count).as_millis();
    let or_ticks = |set: Option<Duration>, count| set.map_or(ticks(count), |it| it.as_millis());
    let min = or_ticks(config.min_session_timeout, 2);
    let max = or_ticks(config.max_session_timeout, 20);
    if max > MILLIS_MAX.into() {
        return Err(format!(
            "cannot use --tick-time-ms: the longest session time-out, 20 ticks unless \
             --max-session-timeout-ms says another, is {max} ms, and {MILLIS_MAX} ms at most"
        ));
    }
    if min > max {
        return Err(format!(
            "cannot grant session time-outs from {min} to {max} ms: see --min-session-timeout-ms \
             (2 ticks if it is not given) and --max-session-timeout-ms (20 ticks)"
        ));
    }
    Ok(())
}
