//! A time of day that can be stepped, for processes that the test starts. The machine's own clock is not touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What those who are started with its environment take for the time of day.
pub struct Clock {
    directory: TempDir,
}

impl Clock {
    pub fn start() -> Self {
        let clock = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        clock.step(0);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/clock.c");
        // The compiler that built SQLite.
        let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let built = Command::new(cc).args(["-shared", "-fPIC", "-O", "-o"]).arg(clock.library()).arg(source).status();
        assert!(built.is_ok_and(|status| status.success()), "a C compiler is needed, as for building the daemon");
        clock
    }

    /// From now on it is so many seconds away from the machine's.
    pub fn step(&self, seconds: i64) {
        // In place: the processes have the file's memory.
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(self.seconds()).expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&file, &seconds.to_ne_bytes(), 0).expect("it can be written");
    }

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
