//! `mntr`: the names of all that a 3.8.0 server measures, in its own order.
//!
//! The hits and misses of the cache of responses, and the changes that were outstanding, are zero
//! as if they were a JVM's: they tell how a real server works rather than what it does. Names that
//! tell what paths are written and read (`…_per_namespace`) are left out: they count bytes as they
//! lie on a disk.

use std::fmt::{self, Write};

use super::{ServerMode, View};
use crate::path;
use crate::traffic::Summary;

/// What is so at the moment.
const GAUGES: [&str; 24] = [
    "ephemerals_count",
    "num_alive_connections",
    "avg_latency",
    "outstanding_requests",
    "znode_count",
    "global_sessions",
    "non_mtls_remote_conn_count",
    "last_client_response_size",
    "packets_sent",
    "packets_received",
    "max_client_response_size",
    "connection_drop_probability",
    "watch_count",
    "auth_failed_count",
    "min_latency",
    "max_file_descriptor_count",
    "approximate_data_size",
    "open_file_descriptor_count",
    "local_sessions",
    "uptime",
    "max_latency",
    "outstanding_tls_handshake",
    "min_client_response_size",
    "non_mtls_local_conn_count",
];

/// What was counted since the start, or since `srst`.
const COUNTERS: [&str; 47] = [
    "proposal_count",
    "watch_bytes",
    "outstanding_changes_removed",
    "throttled_ops",
    "stale_requests_dropped",
    "large_requests_rejected",
    "insecure_admin_count",
    "connection_rejected",
    "cnxn_closed_without_zk_server_running",
    "sessionless_connections_expired",
    "looking_count",
    "dead_watchers_queued",
    "stale_requests",
    "connection_drop_count",
    "learner_proposal_received_count",
    "digest_mismatches_count",
    "dead_watchers_cleared",
    "response_packet_cache_hits",
    "bytes_received_count",
    "add_dead_watcher_stall_time",
    "request_throttle_wait_count",
    "requests_not_forwarded_to_commit_processor",
    "response_packet_cache_misses",
    "ensemble_auth_success",
    "prep_processor_request_queued",
    "learner_commit_received_count",
    "stale_replies",
    "connection_request_count",
    "response_bytes",
    "ensemble_auth_fail",
    "diff_count",
    "response_packet_get_children_cache_misses",
    "connection_revalidate_count",
    "quit_leading_due_to_disloyal_voter",
    "snap_count",
    "unrecoverable_error_count",
    "unsuccessful_handshake",
    "commit_count",
    "stale_sessions_expired",
    "response_packet_get_children_cache_hits",
    "sync_processor_request_queued",
    "outstanding_changes_queued",
    "request_commit_queued",
    "ensemble_auth_skip",
    "skip_learner_request_to_next_processor_count",
    "tls_handshake_exceeded",
    "revalidate_count",
];

/// Of each: average, least, most, how many, sum.
const SUMMARIES: [&str; 41] = [
    "socket_closing_time",
    "proposal_process_time",
    "leader_unavailable_time",
    "node_created_watch_count",
    "session_queues_drained",
    "write_commit_proc_req_queued",
    "connection_token_deficit",
    "read_commit_proc_req_queued",
    "node_deleted_watch_count",
    "startup_txns_load_time",
    "sync_processor_queue_size",
    "follower_sync_time",
    "prep_processor_queue_size",
    "fsynctime",
    "inflight_snap_count",
    "reads_issued_from_session_queue",
    "learner_request_processor_queue_size",
    "snapshottime",
    "unavailable_time",
    "startup_txns_loaded",
    "reads_after_write_in_session_queue",
    "requests_in_session_queue",
    "write_commit_proc_issued",
    "prep_process_time",
    "pending_session_queue_size",
    "time_waiting_empty_pool_in_commit_processor_read_ms",
    "commit_process_time",
    "dbinittime",
    "inflight_diff_count",
    "netty_queued_buffer_capacity",
    "election_time",
    "commit_commit_proc_req_queued",
    "sync_processor_batch_size",
    "node_children_watch_count",
    "write_batch_time_in_commit_processor",
    "read_commit_proc_issued",
    "concurrent_request_processing_in_commit_processor",
    "observer_sync_time",
    "node_changed_watch_count",
    "sync_process_time",
    "startup_snap_load_time",
];

/// The same, and four percentiles.
const DISTRIBUTIONS: [&str; 23] = [
    "prep_processor_queue_time_ms",
    "jvm_pause_time_ms",
    "close_session_prep_time",
    "read_commitproc_time_ms",
    "updatelatency",
    "local_write_committed_time_ms",
    "request_throttle_queue_time_ms",
    "readlatency",
    "quorum_ack_latency",
    "om_commit_process_time_ms",
    "read_final_proc_time_ms",
    "commit_propagation_latency",
    "dead_watchers_cleaner_latency",
    "write_final_proc_time_ms",
    "proposal_ack_creation_latency",
    "proposal_latency",
    "om_proposal_process_time_ms",
    "sync_processor_queue_and_flush_time_ms",
    "propagation_latency",
    "server_write_committed_time_ms",
    "sync_processor_queue_time_ms",
    "sync_processor_queue_flush_time_ms",
    "write_commitproc_time_ms",
];

impl View<'_> {
    pub(super) fn mntr(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "zk_version\t{}", self.version())?;
        writeln!(out, "zk_server_state\t{}", self.mode())?;
        for (name, value) in self.of_ensemble() {
            writeln!(out, "zk_{name}\t{value}")?;
        }
        for name in GAUGES.iter().chain(&COUNTERS) {
            let value = match *name {
                "avg_latency" => self.average().into(),
                "connection_drop_probability" => "0.0".into(),
                name => self.measure(name).to_string(),
            };
            writeln!(out, "zk_{name}\t{value}")?;
        }
        for name in SUMMARIES {
            summary(out, name, self.summarized(name))?;
        }
        for name in DISTRIBUTIONS {
            let count = self.measure(name);
            let all_zero = Summary::default();
            summary(out, name, Summary { count, ..all_zero })?;
            for percentile in ["p50", "p95", "p99", "p999"] {
                writeln!(out, "zk_{percentile}_{name}\t0")?;
            }
        }
        Ok(())
    }

    /// What is measured here, each time, of more than one figure.
    fn summarized(&self, name: &str) -> Summary {
        let told = &self.server.totals.told;
        match name {
            "node_created_watch_count" => told.created,
            "node_deleted_watch_count" => told.deleted,
            "node_changed_watch_count" => told.data_changed,
            "node_children_watch_count" => told.children_changed,
            _ => Summary::default(),
        }
    }

    /// What is measured here; 0 for all the rest.
    fn measure(&self, name: &str) -> i64 {
        let server = self.server;
        let totals = &server.totals;
        let sessions = |is_local| {
            let all = server.sessions.iter();
            all.filter(|(_, it)| it.is_local == is_local).count()
        };
        let size = |size: fn(&crate::traffic::Sizes) -> usize| {
            let size = totals.sizes.as_ref().map(size);
            size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1)
        };
        let count = match name {
            "last_client_response_size" => return size(|sizes| sizes.last),
            "min_client_response_size" => return size(|sizes| sizes.min),
            "max_client_response_size" => return size(|sizes| sizes.max),
            "ephemerals_count" => {
                let ephemerals = server.tree.all_ephemerals().values();
                ephemerals.map(|paths| paths.len() as u64).sum()
            }
            "num_alive_connections" => server.connections.len() as u64,
            "outstanding_requests" => server.outstanding() as u64,
            "znode_count" => self.node_count() as u64,
            "global_sessions" => sessions(false) as u64,
            "local_sessions" => sessions(true) as u64,
            "watch_count" => server.watches.len() as u64,
            "approximate_data_size" => server.tree.data_size() as u64,
            "uptime" => u64::try_from(self.elapsed_ms(self.now)).unwrap_or(u64::MAX),
            "packets_received" => totals.received,
            "packets_sent" => totals.sent,
            "bytes_received_count" => totals.received_bytes,
            "connection_request_count" => totals.handshakes,
            "connection_rejected" => totals.rejected,
            "connection_revalidate_count" => totals.returns,
            "connection_drop_count" => totals.dropped,
            "stale_sessions_expired" => totals.expired,
            "response_bytes" => totals.response_bytes,
            "watch_bytes" => totals.notice_bytes,
            "prep_processor_request_queued" | "sync_processor_request_queued" => {
                totals.reads + totals.writes
            }
            "readlatency" => totals.reads,
            "updatelatency" => totals.writes,
            _ => 0,
        };
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// What only members of an ensemble tell.
    fn of_ensemble(&self) -> Vec<(&'static str, String)> {
        let (state, gauges): (_, &[&'static str]) = match self.place() {
            ServerMode::Standalone => return Vec::new(),
            _ if self.is_read_only => ("looking", &[]),
            ServerMode::Leader => ("leading - broadcast", &LEADER_GAUGES),
            ServerMode::Follower => ("following - broadcast", &[]),
            ServerMode::Observer => ("observing - broadcast", &[]),
        };
        let (voters, observers) = self.members();
        let followers = voters.saturating_sub(1);
        let mut lines = vec![
            ("peer_state", state.to_owned()),
            ("quorum_size", voters.to_string()),
        ];
        lines.extend(gauges.iter().map(|name| {
            let value = match *name {
                "learners" => (followers + observers).to_string(),
                "synced_followers" => followers.to_string(),
                "synced_observers" => observers.to_string(),
                "last_proposal_size" | "max_proposal_size" | "min_proposal_size" => "-1".into(),
                _ => "0".into(),
            };
            (*name, value)
        }));
        lines
    }

    /// How many servers the configuration has with a vote, and how many without one.
    fn members(&self) -> (usize, usize) {
        let node = self.server.tree.get(path::CONFIG);
        let text = node.and_then(|node| node.data.clone()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let members = text.lines().filter(|it| it.starts_with("server."));
        let (observers, voters): (Vec<_>, Vec<_>) =
            members.partition(|it| it.contains(":observer"));
        (voters.len(), observers.len())
    }
}

/// What a leader has more than others. All members are taken to be there, and nobody else.
const LEADER_GAUGES: [&str; 9] = [
    "learners",
    "synced_followers",
    "synced_non_voting_followers",
    "synced_observers",
    "pending_syncs",
    "leader_uptime",
    "last_proposal_size",
    "max_proposal_size",
    "min_proposal_size",
];

fn summary(out: &mut String, name: &str, summary: Summary) -> fmt::Result {
    let Summary {
        count,
        sum,
        min,
        max,
    } = summary;
    // Four digits behind the point, of which there is always one.
    let average = match count {
        0 => 0.0,
        _ => (sum as f64 / count as f64 * 1e4).round() / 1e4,
    };
    writeln!(out, "zk_avg_{name}\t{average:?}")?;
    writeln!(out, "zk_min_{name}\t{min}")?;
    writeln!(out, "zk_max_{name}\t{max}")?;
    writeln!(out, "zk_cnt_{name}\t{count}")?;
    writeln!(out, "zk_sum_{name}\t{sum}")
}
