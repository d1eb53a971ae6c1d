//! The machine that a bench runs on: processors to pin to, time that processes took, programs that are installed.
//!
//! Knows no bench. What is started within [`on`] runs on that processor, with all threads and processes that it starts.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Runs on a thread that is pinned to one processor. Children of that thread inherit it.
pub(crate) fn on<T: Send>(processor: usize, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    let pinned = thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            pin(processor)?;
            anyhow::Ok(work())
        });
        pinned.join()
    });
    pinned.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Pins the calling thread.
pub(crate) fn pin(processor: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).with_context(|| format!("run on processor {processor}"))
}

/// Where a program is, if it is installed.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are outside of many people's search path.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Processor time in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Spent {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }
}

/// A process and all that it started, and what these started.
pub(crate) fn tree(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended meanwhile.
        let Ok(fields) = stat(id) else { continue };
        children.entry(fields.first().copied().unwrap_or(0) as u32).or_default().push(id);
    }
    let (mut all, mut next) = (vec![root], 0);
    while let Some(id) = all.get(next) {
        all.extend(children.remove(id).unwrap_or_default());
        next += 1;
    }
    Ok(all)
}

/// What a process and all that it started have taken so far. Those that have ended are left out.
pub(crate) fn spent(root: u32) -> anyhow::Result<Spent> {
    let mut sum = Spent::default();
    for id in tree(root)? {
        let fields = stat(id)?;
        let seconds = |at: usize| fields.get(at).copied().unwrap_or(0) as f64 / 100.0;
        sum.user += seconds(10);
        sum.system += seconds(11);
    }
    Ok(sum)
}

/// Whether another process traces all threads of a process and of all that it started.
pub(crate) fn is_traced(root: u32) -> anyhow::Result<bool> {
    for id in tree(root)? {
        for thread in fs::read_dir(format!("/proc/{id}/task"))? {
            let status = fs::read_to_string(thread?.path().join("status"))?;
            if status.lines().any(|line| line.split_whitespace().eq(["TracerPid:", "0"])) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What this process and its children that have ended have taken so far.
pub(crate) fn spent_here() -> anyhow::Result<f64> {
    let fields = stat(std::process::id())?;
    Ok(fields.iter().skip(10).take(4).sum::<u64>() as f64 / 100.0)
}

/// What all processors have worked so far, in seconds.
pub(crate) fn worked() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("read what the processors did")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // User, nice, system; behind idle and waiting, both kinds of interrupts.
    let at = |field: usize| ticks.get(field).copied().unwrap_or(0);
    Ok((at(0) + at(1) + at(2) + at(5) + at(6)) as f64 / 100.0)
}

/// The numbers of a process's `stat` from its parent on: what stands behind the name and the state.
fn stat(id: u32) -> anyhow::Result<Vec<u64>> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(Path::new(&path)).with_context(|| format!("read {path}"))?;
    let (_, behind) = text.rsplit_once(") ").context("a name in parentheses")?;
    // Some are below zero, and nobody asks for those.
    Ok(behind.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect())
}
