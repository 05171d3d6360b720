//! The flags `--url` and `--token` of every command that talks to a daemon, and the client they make.

use clap::Args;

use super::failure::Failure;
use crate::client::Client;

/// The address at which `tidings serve` listens by default.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7400";

/// The daemon that a command talks to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Daemon")]
pub struct Remote {
    /// Address of the daemon. For several nodes of one bus, separate the addresses with commas.
    #[arg(long, env = "TIDINGS_URL", default_value = DEFAULT_URL, value_delimiter = ',')]
    url: Vec<String>,

    /// Token to authenticate with.
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Remote {
    /// A client of the daemon.
    ///
    /// # Errors
    /// If a URL is not valid. Does not connect.
    pub fn client(&self) -> Result<Client, Failure> {
        // Deployment files often set a variable to an empty text to leave it out.
        let urls: Vec<_> = self.url.iter().map(String::as_str).filter(|url| !url.is_empty()).collect();
        let client = Client::for_nodes(if urls.is_empty() { vec![DEFAULT_URL] } else { urls })?;
        Ok(match self.token() {
            Some(token) => client.with_token(token),
            None => client,
        })
    }

    /// The token, if it is not empty.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }
}
