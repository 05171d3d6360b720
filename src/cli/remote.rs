//! The daemon that a client command talks to.

use clap::Args;

use super::failure::Failure;
use crate::client::Client;

/// Where `tidings serve` listens by default.
pub const DEFAULT: &str = "http://127.0.0.1:7400";

#[derive(Debug, Args)]
#[command(next_help_heading = "Daemon")]
pub struct Remote {
    /// Address of the daemon.
    #[arg(long, env = "TIDINGS_URL", default_value = DEFAULT)]
    url: String,

    /// Token to authenticate with.
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Remote {
    pub fn client(&self) -> Result<Client, Failure> {
        // A variable that is set but empty is how deployment files leave one out.
        let client = Client::new(if self.url.is_empty() { DEFAULT } else { &self.url })?;
        Ok(match self.token() {
            Some(token) => client.with_token(token),
            None => client,
        })
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }
}
