//! `tidings health`: says by its exit code whether a daemon is alive or ready, for images that have no curl.

use clap::Args;

use super::failure::Failure;
use super::output::Output;
use super::remote::Remote;

/// Check that the daemon is alive, or with --ready that it can publish and receive.
///
/// Exit code 0 if it is, 1 if not, with the reason on stderr. For the HEALTHCHECK of a container, and for scripts that
/// wait for a daemon: `--retry-timeout 30s` waits so long for it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings health\n  tidings health --ready --retry-timeout 30s\n  HEALTHCHECK CMD [\"/tidings\", \"health\"]"
)]
pub struct Health {
    /// Ask for readiness: the node reaches its broker, and is not about to stop.
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Health {
    pub async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let state =
            if self.ready { client.ready().await.map(|()| "ready") } else { client.alive().await.map(|()| "alive") };
        let mut output = Output::new();
        output.line(state?)?;
        output.flush()
    }
}
