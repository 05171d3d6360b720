//! The flags `--url`, `--token`, `--ca` and their like of every command that talks to a daemon, and the client they make.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueHint};

use super::failure::{Failure, say};
use super::output::human;
use crate::client::{Client, Error};
use crate::config;

/// The address at which `tidings serve` listens by default.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7400";

/// The daemon that a command talks to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Daemon")]
pub struct Remote {
    /// Address of the daemon. For several nodes of one bus, separate the addresses with commas.
    #[arg(long, env = "TIDINGS_URL", default_value = DEFAULT_URL, value_delimiter = ',', value_hint = ValueHint::Url)]
    url: Vec<String>,

    /// Token to authenticate with.
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// Certificates of the authorities to trust, in PEM form, for https:// [default: those of this system].
    #[arg(long, value_name = "FILE", env = "TIDINGS_CA", value_hint = ValueHint::FilePath)]
    ca: Option<PathBuf>,

    /// Certificate to show to a daemon that asks for one, in PEM form.
    #[arg(long, value_name = "FILE", env = "TIDINGS_CLIENT_CERT", value_hint = ValueHint::FilePath, requires = "client_key")]
    client_cert: Option<PathBuf>,

    /// Private key of the client's certificate, in PEM form.
    #[arg(long, value_name = "FILE", env = "TIDINGS_CLIENT_KEY", value_hint = ValueHint::FilePath, requires = "client_cert")]
    client_key: Option<PathBuf>,

    /// How long to retry while the daemon cannot be reached or refuses for the moment, such as 30s
    /// [default: 0s if no connection can be made; otherwise publishing is retried for 15s].
    #[arg(long, value_name = "DURATION", env = "TIDINGS_RETRY_TIMEOUT", value_parser = retry_timeout)]
    retry_timeout: Option<RetryTimeout>,
}

/// The value of `--retry-timeout`; `None` for an empty variable.
#[derive(Debug, Clone, Copy)]
struct RetryTimeout(Option<Duration>);

fn retry_timeout(text: &str) -> Result<RetryTimeout, String> {
    if text.is_empty() {
        return Ok(RetryTimeout(None));
    }
    config::duration_or_zero(text)
        .map(|timeout| RetryTimeout(Some(timeout)))
        .map_err(|expected| format!("expected {expected}"))
}

impl Remote {
    /// A client of the daemon, which reports its first failed attempt on stderr.
    ///
    /// # Errors
    /// If a URL is not valid. Does not connect.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(self.silent_client()?.on_retry(report_first()))
    }

    /// The same, without messages.
    pub fn silent_client(&self) -> Result<Client, Failure> {
        // Deployment files often set a variable to an empty text to leave it out.
        let urls: Vec<_> = self.url.iter().map(String::as_str).filter(|url| !url.is_empty()).collect();
        let client = Client::for_nodes(if urls.is_empty() { vec![DEFAULT_URL] } else { urls })?;
        let client = self.with_tls(client)?;
        let client = match self.token() {
            Some(token) => client.with_token(token),
            None => client,
        };
        Ok(match self.retry_timeout.and_then(|timeout| timeout.0) {
            Some(timeout) => client.with_retry_timeout(timeout),
            None => client,
        })
    }

    /// Adds the authorities and the certificate of the flags.
    fn with_tls(&self, client: Client) -> Result<Client, Failure> {
        // As for `--url`, an empty variable counts as none.
        let given = |file: &'_ Option<PathBuf>| file.clone().filter(|path| !path.as_os_str().is_empty());
        let (ca, cert, key) = (given(&self.ca), given(&self.client_cert), given(&self.client_key));
        let client = match ca {
            Some(file) => client.with_ca(read(&file)?).map_err(|error| format!("--ca {}: {error}", file.display()))?,
            None => client,
        };
        match (cert, key) {
            (Some(cert), Some(key)) => {
                let shown = client.with_client_certificate(read(&cert)?, read(&key)?);
                Ok(shown.map_err(|error| format!("--client-cert {}: {error}", cert.display()))?)
            }
            _ => Ok(client),
        }
    }

    /// Whether the user chose how long to retry.
    pub fn has_retry_timeout(&self) -> bool {
        self.retry_timeout.is_some_and(|timeout| timeout.0.is_some())
    }

    /// The token, if it is not empty.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let read = std::fs::read(file);
    read.map_err(|error| format!("{} cannot be read: {}", file.display(), config::read_error(&error)).into())
}

/// Reports the first failed attempt, so that the user learns the cause at once.
fn report_first() -> impl Fn(&Error, Duration) + Send + Sync {
    let said = AtomicBool::new(false);
    move |error, timeout| {
        if !said.swap(true, Ordering::Relaxed) {
            say(&retrying(error, timeout));
        }
    }
}

/// The line of a failed attempt.
pub fn retrying(error: &Error, timeout: Duration) -> String {
    format!("{error}; retrying for up to {}", human(timeout))
}
