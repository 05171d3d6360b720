//! What a server uses: CPU time, memory and, where the machine counts them, instructions, of a process and all below it.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

/// What was used since a [`Meter`] was started.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_ns: f64,
    /// User and kernel instructions; `None` where the machine does not count them (most virtual ones).
    pub instructions: Option<(f64, f64)>,
}

/// Runs from [`Meter::start`] to [`Meter::stop`].
pub struct Meter {
    pid: u32,
    cpu: u64,
    perf: Option<Child>,
}

impl Meter {
    pub fn start(pid: u32) -> Self {
        let pids: Vec<String> = tree(pid).iter().map(u32::to_string).collect();
        let perf = counts_instructions().then(|| {
            Command::new("perf")
                .args(["stat", "-x,", "-e", "instructions:u,instructions:k", "-p", &pids.join(",")])
                .stderr(Stdio::piped())
                .spawn()
                .expect("perf was there a moment ago")
        });
        if perf.is_some() {
            // It says nothing when it has attached.
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        Self { pid, cpu: cpu_ns(pid), perf }
    }

    pub fn stop(self) -> Usage {
        let cpu_ns = (cpu_ns(self.pid) - self.cpu) as f64;
        let instructions = self.perf.and_then(|mut perf| {
            Command::new("kill").args(["-INT", &perf.id().to_string()]).status().ok()?;
            let mut text = String::new();
            perf.stderr.take()?.read_to_string(&mut text).ok()?;
            perf.wait().ok()?;
            let mut counts = text.lines().filter_map(|line| line.split(',').next()?.parse().ok());
            Some((counts.next()?, counts.next()?))
        });
        Usage { cpu_ns, instructions }
    }
}

/// Whether this machine has counters for instructions and `perf` to read them.
pub fn counts_instructions() -> bool {
    let perf = Command::new("perf").args(["stat", "-x,", "-e", "instructions:u", "true"]).output();
    perf.is_ok_and(|perf| perf.status.success() && !String::from_utf8_lossy(&perf.stderr).contains("not "))
}

/// The resident memory of a process and all below it, in bytes.
pub fn resident(pid: u32) -> u64 {
    let of = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() * 1024
    };
    tree(pid).iter().map(of).sum()
}

/// The CPU time of all threads so far, in nanoseconds.
fn cpu_ns(pid: u32) -> u64 {
    let threads = tree(pid).into_iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten());
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// A process and all below it.
fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for thread in threads {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(tree));
    }
    all
}
