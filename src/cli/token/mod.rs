//! `tidings token`: makes tokens and API keys, shows what is in them, and revokes them.

mod api_key;
mod grants;
mod inspect;
mod issue;
mod local_issuer;
mod revoke;

use clap::Subcommand;

use super::failure::Failure;

/// Make, inspect or revoke tokens and API keys.
#[derive(Debug, Subcommand)]
pub enum Token {
    Issue(issue::Issue),
    ApiKey(api_key::ApiKey),
    Inspect(inspect::Inspect),
    Revoke(revoke::Revoke),
}

impl Token {
    pub async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Issue(issue) => issue.run(),
            Self::ApiKey(api_key) => api_key.run(),
            Self::Inspect(inspect) => inspect.run().await,
            Self::Revoke(revoke) => revoke.run().await,
        }
    }
}
