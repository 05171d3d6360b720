//! A wall clock that a test can step, for the processes that it starts. The machine's own clock stays as it is.
//!
//! A small library (`clock.c`) is loaded into each process by `LD_PRELOAD`. It adds an offset, read from a file, to the system
//! time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The wall clock of every process that is started with [`environment`](Self::environment).
pub struct Clock {
    directory: TempDir,
}

impl Clock {
    /// Compiles the library; panics where there is no C compiler.
    pub fn start() -> Self {
        let clock = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        clock.step(0);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/clock.c");
        // The compiler that also built SQLite, so one is installed.
        let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let built = Command::new(cc).args(["-shared", "-fPIC", "-O", "-o"]).arg(clock.library()).arg(source).status();
        assert!(built.is_ok_and(|status| status.success()), "a C compiler is needed, as for building the daemon");
        clock
    }

    /// Sets the offset from the machine's clock, in seconds; running processes see it at once.
    pub fn step(&self, seconds: i64) {
        // In place, because the processes have mapped the file into memory.
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(self.seconds()).expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&file, &seconds.to_ne_bytes(), 0).expect("it can be written");
    }

    /// The environment variables that give a process this clock.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![("LD_PRELOAD", self.library()), ("TEST_CLOCK", self.seconds())]
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("clock.so")
    }

    fn seconds(&self) -> PathBuf {
        self.directory.path().join("seconds")
    }
}
