//! The machine that the figures were measured on: enough to judge them by, and nothing that identifies it.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::usage::counts_instructions;

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub virtual_machine: bool,
    pub kernel: String,
    pub memory_gib: u64,
    pub counts_instructions: bool,
    /// The versions of tidings and of the installed peers.
    pub versions: Vec<(String, String)>,
}

impl Machine {
    pub fn this() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let of_cpu = |name: &str| {
            let line = cpus.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib: u64 = memory.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or_default();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: of_cpu("model name"),
            virtual_machine: of_cpu("flags").split(' ').any(|flag| flag == "hypervisor"),
            // The part after the hyphen names the builder.
            kernel: format!("Linux {}", release.trim().split('-').next().unwrap_or_default()),
            memory_gib: (kib + (1 << 19)) >> 20,
            counts_instructions: counts_instructions(),
            versions: versions(),
        }
    }

    /// The machine in a sentence.
    pub fn sentence(&self) -> String {
        let Self { cores, cpu, kernel, memory_gib, .. } = self;
        let kind = if self.virtual_machine { "virtual machine" } else { "machine" };
        let counters = match self.counts_instructions {
            true => "Its processor counts instructions.",
            false => "It has no counters for instructions, so kernel and user space are compared by CPU time.",
        };
        format!("A {kind} with {cores} cores ({cpu}), {memory_gib} GiB of memory, {kernel}. {counters}")
    }
}

fn versions() -> Vec<(String, String)> {
    let mut versions = vec![("tidings".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    for name in ["bun", "ws", "ioredis", "socket.io", "@socket.io/redis-adapter"] {
        let path = format!("{}/benches/peers/node_modules/{name}/package.json", env!("CARGO_MANIFEST_DIR"));
        let package: Option<serde_json::Value> =
            fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok());
        versions.extend(package.and_then(|package| Some((name.to_owned(), package["version"].as_str()?.to_owned()))));
    }
    for (program, flag) in
        [("node", "--version"), ("nginx", "-v"), ("nats-server", "--version"), ("redis-server", "--version")]
    {
        let nats = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/nats-server/bin");
        let path = format!("{nats}:{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let Ok(output) = Command::new("env").arg(format!("PATH={path}")).args([program, flag]).output() else {
            continue;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let number = text.split(|other: char| !other.is_ascii_digit() && other != '.').find(|word| word.contains('.'));
        versions.extend(number.map(|number| (program.to_owned(), number.to_owned())));
    }
    versions
}
