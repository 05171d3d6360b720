//! The daemon that a client command talks to.

use clap::Args;

use super::failure::Failure;
use crate::client::Client;

/// Where `tidings serve` listens by default.
pub const DEFAULT: &str = "http://127.0.0.1:7400";

#[derive(Debug, Args)]
#[command(next_help_heading = "Daemon")]
pub struct Remote {
    /// Address of the daemon; those of several nodes of one bus with commas between them.
    #[arg(long, env = "TIDINGS_URL", default_value = DEFAULT, value_delimiter = ',')]
    url: Vec<String>,

    /// Token to authenticate with.
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Remote {
    pub fn client(&self) -> Result<Client, Failure> {
        // A variable that is set but empty is how deployment files leave one out.
        let named: Vec<_> = self.url.iter().map(String::as_str).filter(|url| !url.is_empty()).collect();
        let client = Client::of_any(if named.is_empty() { vec![DEFAULT] } else { named })?;
        Ok(match self.token() {
            Some(token) => client.with_token(token),
            None => client,
        })
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }
}
