//! How much of the processor a server has taken: what other processes do on the machine shows
//! less in it than in what a clock says.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The time that all threads of a process have run whose name begins so; `None` where the
/// system does not tell.
pub fn used(process: u32, name: &str) -> Option<Duration> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let used = tasks.flatten().map(|task| of_thread(&task.path(), name));
    Some(used.flatten().sum())
}

fn of_thread(task: &Path, name: &str) -> Option<Duration> {
    let is_meant = fs::read_to_string(task.join("comm"))
        .ok()?
        .starts_with(name);
    let times = fs::read_to_string(task.join("schedstat")).ok()?;
    let nanos = times.split(' ').next()?.parse().ok()?;
    is_meant.then(|| Duration::from_nanos(nanos))
}
