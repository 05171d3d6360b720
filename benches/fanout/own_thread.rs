//! A runtime with one thread, for what must not wait until thousands of subscribers have read.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// The runtime. Its tasks end when this is dropped.
pub struct OwnThread {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl OwnThread {
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        // A runtime may not be dropped within another one, because that waits for its threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
