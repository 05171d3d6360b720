//! The resources that a server uses: CPU time, memory and instructions of a process and all its descendants.
//!
//! Instructions are counted where the machine has counters for them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::ops::AddAssign;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Figures by name.
pub type Figures = BTreeMap<String, f64>;

/// CPU time in nanoseconds.
pub const CPU: &str = "cpu ns";
/// Instructions in user space.
pub const USER: &str = "user instructions";
/// Instructions in user space and in the kernel.
pub const INSTRUCTIONS: &str = "instructions";

const INSTRUCTION_EVENTS: &str = "instructions:u,instructions:k";

/// The resources used between the start and the stop of a [`Meter`].
#[derive(Debug, Default, Clone, Copy)]
pub struct Usage {
    cpu_ns: f64,
    /// User and kernel instructions; `None` where the machine does not count them, as most virtual machines do not.
    instructions: Option<(f64, f64)>,
}

/// Measures a process from [`Meter::start`] to [`Meter::stop`].
pub struct Meter {
    pid: u32,
    cpu: u64,
    perf: Option<Perf>,
}

impl Meter {
    pub fn start(pid: u32) -> Self {
        let perf = Perf::counts(INSTRUCTION_EVENTS).then(|| Perf::start(pid, INSTRUCTION_EVENTS)).flatten();
        Self { pid, cpu: cpu_ns(pid), perf }
    }

    pub fn stop(self) -> Usage {
        let cpu_ns = (cpu_ns(self.pid).saturating_sub(self.cpu)) as f64;
        let instructions = self.perf.and_then(|perf| match perf.stop()?[..] {
            [user, kernel] => Some((user, kernel)),
            _ => None,
        });
        Usage { cpu_ns, instructions }
    }
}

/// `perf stat`, which counts events of a process and all its descendants.
pub struct Perf(Child);

impl Perf {
    /// Whether this machine counts these events, and has `perf` to read the counters.
    pub fn counts(events: &str) -> bool {
        static COUNTS: Mutex<BTreeMap<String, bool>> = Mutex::new(BTreeMap::new());
        *COUNTS.lock().unwrap_or_else(PoisonError::into_inner).entry(events.into()).or_insert_with(|| {
            let perf = Command::new("perf").args(["stat", "-x,", "-e", events, "true"]).output();
            // `perf` succeeds even if it counts nothing; it then prints `<not supported>`.
            perf.is_ok_and(|perf| perf.status.success() && !String::from_utf8_lossy(&perf.stderr).contains("<not "))
        })
    }

    /// Starts counting.
    pub fn start(pid: u32, events: &str) -> Option<Self> {
        let pids: Vec<String> = tree(pid).iter().map(u32::to_string).collect();
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x,", "-e", events, "-p", &pids.join(",")]).stderr(Stdio::piped());
        let perf = perf.spawn().ok()?;
        // `perf` does not report when it has started to count.
        std::thread::sleep(Duration::from_millis(200));
        Some(Self(perf))
    }

    /// Stops, and returns the counts in the order of the events.
    pub fn stop(mut self) -> Option<Vec<f64>> {
        Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().ok()?;
        let mut text = String::new();
        self.0.stderr.take()?.read_to_string(&mut text).ok()?;
        self.0.wait().ok()?;
        Some(text.lines().filter_map(|line| line.split(',').next()?.parse().ok()).collect())
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.cpu_ns += more.cpu_ns;
        if let Some((user, kernel)) = more.instructions {
            let sum = self.instructions.get_or_insert_default();
            *sum = (sum.0 + user, sum.1 + kernel);
        }
    }
}

impl Usage {
    /// The usage divided by `count`.
    pub fn each(&self, count: u64) -> Figures {
        let each = |value: f64| value / count.max(1) as f64;
        let mut figures = Figures::from([(CPU.to_owned(), each(self.cpu_ns))]);
        if let Some((user, kernel)) = self.instructions {
            figures.extend([(USER.to_owned(), each(user)), (INSTRUCTIONS.to_owned(), each(user + kernel))]);
        }
        figures
    }
}

/// Whether this machine counts instructions.
pub fn counts_instructions() -> bool {
    Perf::counts(INSTRUCTION_EVENTS)
}

/// The resident memory of a process and all its descendants, in bytes.
pub fn resident(pid: u32) -> f64 {
    let of = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default() * 1024.0
    };
    tree(pid).iter().map(of).sum()
}

/// The CPU time of all threads of a process and its descendants, in nanoseconds.
fn cpu_ns(pid: u32) -> u64 {
    let threads = tree(pid).into_iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten());
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// A process and all its descendants.
fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for thread in threads {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(tree));
    }
    all
}
