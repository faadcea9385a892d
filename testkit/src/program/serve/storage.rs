//! Nodes.

#[cfg(feature = "tree")]
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use homing_testkit::FakeServerBuilder;
#[cfg(feature = "tree")]
use homing_testkit::InitialTree;

use super::{millis, positive};

/// The end of the last epoch but one, so that there are transactions to come.
const FIRST_ZXID_MAX: i64 = 0x7FFF_FFFE_FFFF_FFFF;

/// What is stored.
#[derive(Debug, Args)]
pub(super) struct Storage {
    /// Begin with the nodes in this file, in JSON or YAML: an object with paths for its keys, and
    /// for each its data as text, or an object with any of data, base64, acl (scheme:id:cdrwa or a
    /// list of such), container, ttl_ms and next_sequence.
    #[cfg(feature = "tree")]
    #[arg(long, value_name = "FILE")]
    tree: Option<PathBuf>,

    /// Allow nodes with a time to live (zookeeper.extendedTypesEnabled).
    #[arg(long)]
    extended_types: bool,

    /// How often containers and nodes with a time to live are reaped, in milliseconds
    /// (znode.container.checkIntervalMs).
    #[arg(long, default_value_t = 60_000, value_name = "MS", value_parser = positive())]
    container_check_interval_ms: u64,

    /// How long a container may stay that never had a child, in milliseconds
    /// (znode.container.maxNeverUsedIntervalMs); 0 is forever.
    #[arg(long, default_value_t = 0, value_name = "MS", value_parser = millis())]
    container_max_never_used_ms: u64,

    /// Enforce hard limits of quotas (enforceQuota).
    #[arg(long)]
    enforce_quota: bool,

    /// The transaction to begin behind.
    #[arg(
        long,
        default_value_t = 0,
        value_name = "ZXID",
        allow_negative_numbers = true
    )]
    #[arg(value_parser = clap::value_parser!(i64).range(0..=FIRST_ZXID_MAX))]
    first_zxid: i64,
}

impl Storage {
    /// The name of the file, for errors.
    pub(super) fn tree_file(&self) -> String {
        #[cfg(feature = "tree")]
        if let Some(path) = &self.tree {
            return path.display().to_string();
        }
        String::from("the tree")
    }

    pub(super) fn apply(self, builder: FakeServerBuilder) -> Result<FakeServerBuilder, String> {
        let ms = Duration::from_millis;
        let builder = builder
            .extended_types(self.extended_types)
            .container_check_interval(ms(self.container_check_interval_ms))
            .container_max_never_used(ms(self.container_max_never_used_ms))
            .enforce_quota(self.enforce_quota)
            .first_zxid(self.first_zxid);
        #[cfg(feature = "tree")]
        let builder = match &self.tree {
            Some(path) => {
                let tree = InitialTree::from_file(path).map_err(|error| {
                    format!("{error}\n\"homing-testkit serve --help\" says what --tree takes")
                })?;
                builder.tree(tree)
            }
            None => builder,
        };
        Ok(builder)
    }
}
