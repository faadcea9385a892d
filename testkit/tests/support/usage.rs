//! What a process has of the system's: for tests that are alone in theirs.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file has a copy of it and uses a part"
)]

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Threads, descriptors and listening ports of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    threads: usize,
    descriptors: usize,
    ports: BTreeSet<String>,
}

impl Usage {
    pub fn now() -> Self {
        let count = |folder| fs::read_dir(folder).unwrap().count();
        Self {
            threads: count("/proc/self/task"),
            descriptors: count("/proc/self/fd"),
            ports: listening(),
        }
    }

    /// That this is what there is again. A thread that was joined may take a moment to leave the
    /// kernel's list.
    pub fn assert_restored(&self) {
        let give_up = Instant::now() + Duration::from_secs(10);
        while Self::now() != *self && Instant::now() < give_up {
            std::thread::yield_now();
        }
        assert_eq!(Self::now(), *self);
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    pub fn ports(&self) -> usize {
        self.ports.len()
    }
}

/// The addresses on which this process listens, as the kernel writes them.
fn listening() -> BTreeSet<String> {
    let mine: BTreeSet<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|target| {
            let target = target.to_str()?;
            let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let listens = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_mine = fields[3] == "0A" && mine.contains(fields[9]);
        is_mine.then(|| fields[1].to_owned())
    };
    table.lines().skip(1).filter_map(listens).collect()
}

/// Lets this process have so many descriptors, where a shell has set a lower limit.
pub fn allow_descriptors(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            ..limit
        };
        setrlimit(Resource::Nofile, raised)
            .unwrap_or_else(|error| panic!("{wanted} descriptors are needed: {error}"));
    }
}
