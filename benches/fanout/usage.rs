//! What a server uses: CPU time, memory and, where the machine counts them, instructions, of a process and all below it.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::results::Figures;

/// CPU time in nanoseconds.
pub const CPU: &str = "cpu ns";
/// Instructions in user space.
pub const USER: &str = "user instructions";
/// Instructions in user space and in the kernel.
pub const INSTRUCTIONS: &str = "instructions";

/// What was used since a [`Meter`] was started.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    cpu_ns: f64,
    /// User and kernel instructions; `None` where the machine does not count them (most virtual ones).
    instructions: Option<(f64, f64)>,
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
        let counted = counts_instructions().then(|| {
            let mut perf = Command::new("perf");
            perf.args(["stat", "-x,", "-e", "instructions:u,instructions:k", "-p", &pids.join(",")]);
            perf.stderr(Stdio::piped()).spawn().ok()
        });
        let perf = counted.flatten();
        if perf.is_some() {
            // It does not say when it counts.
            std::thread::sleep(Duration::from_millis(200));
        }
        Self { pid, cpu: cpu_ns(pid), perf }
    }

    pub fn stop(self) -> Usage {
        let cpu_ns = (cpu_ns(self.pid).saturating_sub(self.cpu)) as f64;
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

impl Usage {
    /// A share of it, for each of so many.
    pub fn each(&self, count: u64) -> Figures {
        let each = |value: f64| value / count.max(1) as f64;
        let mut figures = Figures::from([(CPU.to_owned(), each(self.cpu_ns))]);
        if let Some((user, kernel)) = self.instructions {
            figures.extend([(USER.to_owned(), each(user)), (INSTRUCTIONS.to_owned(), each(user + kernel))]);
        }
        figures
    }
}

/// Whether this machine has counters for instructions and `perf` to read them.
pub fn counts_instructions() -> bool {
    static COUNTS: OnceLock<bool> = OnceLock::new();
    *COUNTS.get_or_init(|| {
        let perf = Command::new("perf").args(["stat", "-x,", "-e", "instructions:u,instructions:k", "true"]).output();
        // It succeeds where it counts nothing, and says `<not supported>` then.
        perf.is_ok_and(|perf| perf.status.success() && !String::from_utf8_lossy(&perf.stderr).contains("<not "))
    })
}

/// The resident memory of a process and all below it, in bytes.
pub fn resident(pid: u32) -> f64 {
    let of = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default() * 1024.0
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
