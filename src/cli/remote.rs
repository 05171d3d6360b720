//! The flags `--url`, `--token-file`, `--token`, `--cacert` and their like of every command that talks to a daemon, and the client
//! that they make.
//!
//! A token in a file is read again when it is about to expire or was refused, so that another program can renew it.

use std::convert::Infallible;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueHint};

use super::context::{self, Stored};
use super::daemon_flags::{DaemonFlags, Named};
use super::failure::{Failure, say, say_warning};
use super::output::human;
use super::secret_input;
use crate::client::{Client, Error, Token};
use crate::config;
use crate::secret::{Secret, exposed};

/// The address at which `tidings serve` listens by default.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7400";

/// The variable with a token or an API key.
pub const TOKEN_VARIABLE: &str = "TIDINGS_TOKEN";

/// The daemon that a command talks to.
#[derive(Args)]
#[command(next_help_heading = "Daemon")]
pub struct Remote {
    #[command(flatten)]
    daemon: DaemonFlags,

    #[command(flatten)]
    credential: CredentialFlags,

    /// Certificates of the authorities to trust, in PEM form, for https:// [default: those of this system].
    #[arg(long = "cacert", alias = "ca", value_name = "FILE", env = "TIDINGS_CA", value_hint = ValueHint::FilePath)]
    ca: Option<PathBuf>,

    /// Take every certificate of the daemon. An attacker on the way can read the token and the events, and change them.
    /// For a try on one machine: --cacert is the safe way.
    #[arg(long)]
    insecure_tls: bool,

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

/// The token or API key of a command.
#[derive(Args)]
pub struct CredentialFlags {
    /// File with the token or API key to authenticate with; `-` asks for it. The file is read again when the token expires
    /// [default: the token in TIDINGS_TOKEN, if it is set].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,

    /// The token itself. Others on this machine see it in the list of processes: prefer --token-file or TIDINGS_TOKEN.
    #[arg(long, value_name = "TOKEN", value_parser = secret, conflicts_with = "token_file")]
    token: Option<Secret>,
}

/// An argument that is a secret.
pub fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// Without the token.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// Without the token.
impl fmt::Debug for CredentialFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialFlags").field("token_file", &self.token_file).finish_non_exhaustive()
    }
}

/// Where a credential came from.
pub enum Given {
    /// A file, and what it held just now.
    File(PathBuf, Secret),
    /// The variable, the prompt or the argument.
    Text(Secret),
}

impl CredentialFlags {
    /// These flags, or the token file of a context if they name no token.
    fn or(&self, context: &Stored) -> Self {
        match (&self.token, &self.token_file) {
            (None, None) => Self { token: None, token_file: context.token_file.clone() },
            (token, file) => Self { token: token.clone(), token_file: file.clone() },
        }
    }

    /// The credential, if there is one. Asks for it if the user wants that.
    ///
    /// # Errors
    /// The file cannot be read or is empty; nothing was typed; the variable is not Unicode.
    pub fn given(&self) -> Result<Option<Given>, Failure> {
        if let Some(token) = &self.token {
            warn_of_argument("--token");
            return Ok(Some(Given::Text(token.clone())));
        }
        match self.token_file.as_deref() {
            Some(path) if path == Path::new("-") => Ok(Some(Given::Text(secret_input::ask("token")?))),
            Some(path) => {
                let token = secret_input::from_file(path, "token")?;
                warn_of_file(path, "a token");
                Ok(Some(Given::File(path.to_owned(), token)))
            }
            None => Ok(from_environment()?.map(Given::Text)),
        }
    }

    /// The same for a completion, which asks and says nothing.
    fn silently_given(&self) -> Option<Given> {
        if let Some(token) = &self.token {
            return Some(Given::Text(token.clone())).filter(|_| !token.expose().is_empty());
        }
        match self.token_file.as_deref() {
            Some(path) if path == Path::new("-") => None,
            Some(path) => Some(Given::File(path.to_owned(), secret_input::from_file(path, "token").ok()?)),
            None => from_environment().ok()?.map(Given::Text),
        }
    }
}

/// Warns of a file with a secret that other users may read.
pub fn warn_of_file(file: &Path, holds: &str) {
    if let Some(warning) = exposed(file, holds) {
        say_warning(&warning);
    }
}

/// Warns that a secret was given as an argument.
pub fn warn_of_argument(argument: &str) {
    say_warning(&format!(
        "{argument} is in the list of processes, where others on this machine can read it: use --token-file or {TOKEN_VARIABLE}"
    ));
}

/// The token of the variable. Deployment files often set a variable to an empty text to leave it out.
fn from_environment() -> Result<Option<Secret>, String> {
    match env::var_os(TOKEN_VARIABLE).as_deref().map(OsStr::to_str) {
        None | Some(Some("")) => Ok(None),
        Some(Some(token)) => Ok(Some(Secret::new(token))),
        Some(None) => Err(format!("{TOKEN_VARIABLE} is not text: set it to the token and nothing else")),
    }
}

impl From<Given> for Token {
    fn from(given: Given) -> Self {
        match given {
            Given::Text(token) => token.into(),
            Given::File(path, _) => Self::from_provider(move || {
                let read = secret_input::from_file(&path, "token");
                async move { read }
            }),
        }
    }
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
    /// If a URL is not valid, or the token cannot be read. Does not connect.
    pub fn client(&self) -> Result<Client, Failure> {
        self.client_of(self.context()?)
    }

    /// A client of the daemon at `url`, for a command that names none. The current context counts only if it has that address.
    ///
    /// # Errors
    /// Those of [`Remote::client`].
    pub fn client_at(&self, url: String) -> Result<Client, Failure> {
        let current = context::chosen(None)?.filter(|current| current.url == [url.as_str()]);
        self.client_of(current.unwrap_or_else(|| Stored { url: vec![url], ..Stored::default() }))
    }

    /// Whether a flag or a variable says which daemon is meant.
    pub fn names_a_daemon(&self) -> bool {
        !matches!(self.daemon.named(), Ok(Named::Nothing))
    }

    fn client_of(&self, context: Stored) -> Result<Client, Failure> {
        let client = self.client_with(&context, self.credential.or(&context).given()?)?;
        if let Some(key) = self.client_key.as_ref().or(context.client_key.as_ref()) {
            warn_of_file(key, "the private key of the client's certificate");
        }
        if client.takes_any_certificate() {
            say_warning(&format!(
                "--insecure-tls: the certificate of {} is not checked, so an attacker on the way can read the token and the \
                 events; --cacert FILE trusts an authority of your own",
                client.url()
            ));
        }
        Ok(client.on_retry(report_first()))
    }

    /// The same, without messages and without a question.
    pub fn silent_client(&self) -> Result<Client, Failure> {
        let context = self.context()?;
        self.client_with(&context, self.credential.or(&context).silently_given())
    }

    /// The context of this command, or one with the addresses that were given. Nothing of a context is used for another
    /// address than its own: a token would go to a stranger.
    fn context(&self) -> Result<Stored, Failure> {
        let name = match self.daemon.named()? {
            Named::Addresses(url) => return Ok(Stored { url, ..Stored::default() }),
            Named::Context(name) => Some(name),
            Named::Nothing => None,
        };
        let default = || Stored { url: vec![DEFAULT_URL.into()], ..Stored::default() };
        Ok(context::chosen(name.as_deref())?.unwrap_or_else(default))
    }

    fn client_with(&self, context: &Stored, token: Option<Given>) -> Result<Client, Failure> {
        let client = self.with_tls(Client::for_nodes(&context.url)?, context)?;
        let client = match token {
            Some(token) => client.with_token(token),
            None => client,
        };
        Ok(match self.retry_timeout() {
            Some(timeout) => client.with_retry_timeout(timeout),
            None => client,
        })
    }

    /// Adds the authorities and the certificate of the flags, or of the context.
    fn with_tls(&self, client: Client, context: &Stored) -> Result<Client, Failure> {
        // As for `--url`, an empty variable counts as none.
        let given = |flag: &Option<PathBuf>, stored: &Option<PathBuf>| {
            flag.clone().filter(|path| !path.as_os_str().is_empty()).or_else(|| stored.clone())
        };
        let ca = given(&self.ca, &context.ca);
        let client = match self.insecure_tls || context.insecure_tls {
            true => client.without_verification()?,
            false => client,
        };
        let (cert, key) =
            (given(&self.client_cert, &context.client_cert), given(&self.client_key, &context.client_key));
        let client = match ca {
            Some(file) => {
                client.with_ca(read(&file)?).map_err(|error| format!("--cacert {}: {error}", file.display()))?
            }
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

    /// How long to retry, if the user chose it.
    pub fn retry_timeout(&self) -> Option<Duration> {
        self.retry_timeout.and_then(|timeout| timeout.0)
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
