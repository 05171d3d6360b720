//! `tidings tail --forward-to`: one event as a POST to a URL, signed as those of webhooks are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::Url;

use super::super::failure::{Failure, say, say_warning};
use super::super::output::DIM;
use super::super::remote::warn_of_file;
use super::super::shown::visible;
use super::item::{Attempt, Item, Refusal};
use crate::config;
use crate::flows::webhook::{Client, Outcome, Secrets, url_of};
use crate::suggest;

/// How long an answer may take. A person may sit in a debugger at the other end.
const TIMEOUT: &str = "30s";
/// The most characters of the target of a redirect that are shown.
const MAX_TARGET: usize = 200;

/// The flags of the receiver.
#[derive(Debug, Args)]
#[command(next_help_heading = "Forwarding")]
pub struct ForwardFlags {
    /// POST each event to this URL, in order, one at a time, signed as webhooks are, and print each answer. An event is tried
    /// again until the answer is 2xx.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, value_parser = url_of, conflicts_with_all = ["exec", "jq", "format", "sample"])]
    pub forward_to: Option<Url>,
    /// File with the secret to sign with, as in a webhook's `secret_file` [default: a random one, which is shown].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "forward_to")]
    secret_file: Option<PathBuf>,
    /// How long the receiver may take to answer.
    #[arg(long, value_name = "DURATION", default_value = TIMEOUT, value_parser = timeout, requires = "forward_to")]
    forward_timeout: Duration,
    /// Certificates of the authorities to trust for --forward-to, in PEM form [default: those of this system].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "forward_to")]
    forward_ca: Option<PathBuf>,
}

fn timeout(text: &str) -> Result<Duration, String> {
    match config::duration_or_zero(text) {
        Ok(Duration::ZERO) => Err("expected a duration above zero, such as 30s".into()),
        Ok(timeout) => Ok(timeout),
        Err(expected) => Err(format!("expected {expected}")),
    }
}

/// A receiver.
pub struct Forward {
    client: Client,
    secrets: Secrets,
}

impl ForwardFlags {
    /// The receiver of these flags, if they name one.
    ///
    /// # Errors
    /// The secret or the certificates cannot be read.
    pub fn receiver(&self) -> Result<Option<Forward>, Failure> {
        let Some(url) = &self.forward_to else { return Ok(None) };
        let roots = self.forward_ca.as_deref().map(authorities).transpose()?;
        let client = Client::of_user(url, self.forward_timeout, roots)?;
        let secrets = match &self.secret_file {
            Some(file) => {
                warn_of_file(file, "the secret that signs");
                let opened = Secrets::open(file, "--forward");
                let (secrets, warning) =
                    opened.map_err(|error| format!("--secret-file {}: {error}", file.display()))?;
                warning.iter().for_each(|warning| say_warning(warning));
                secrets
            }
            None => {
                let (secrets, text) = Secrets::random();
                say(&format!("{DIM}signed with{DIM:#} {} {DIM}(--secret-file FILE uses one of yours){DIM:#}", *text));
                secrets
            }
        };
        Ok(Some(Forward { client, secrets }))
    }
}

/// The certificates in a file.
fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let wrong = |cause: String| format!("--forward-ca {}: {cause}", file.display());
    let pem = std::fs::read(file).map_err(|error| wrong(config::read_error(&error)))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(format!("this is no certificate in PEM form: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(format!("a certificate cannot be used: {error}")))?;
    }
    match roots.is_empty() {
        true => Err(wrong("there is no certificate in PEM form".into())),
        false => Ok(roots),
    }
}

/// Where a redirect leads, for people: without a query, which may hold a secret, and cut if it is long.
fn target(location: &str) -> String {
    let path = location.split(['?', '#']).next().unwrap_or_default();
    let shown = match Url::parse(path) {
        Ok(url) if url.has_host() => format!("{}{}", url.origin().ascii_serialization(), url.path()),
        _ => path.to_owned(),
    };
    visible(&suggest::cut(&shown, MAX_TARGET))
}

impl Forward {
    /// Sends an event once.
    pub async fn attempt(&self, item: &Item) -> Attempt {
        match self.client.send(&item.message, &self.secrets).await {
            Outcome::Delivered { status } => Attempt::Taken { status: Some(status) },
            Outcome::Gone => Attempt::Refused(Refusal {
                status: Some(410),
                reason: "the receiver answered 410: it wants no more events".into(),
                is_final: true,
                retry_after: None,
            }),
            Outcome::Failed(failure) => Attempt::Refused(Refusal {
                status: failure.status,
                reason: match (failure.status, &failure.location) {
                    (Some(status), Some(location)) => {
                        format!(
                            "the receiver answered {status} to {}, a redirect, which is not followed",
                            target(location)
                        )
                    }
                    _ => failure.reason,
                },
                is_final: false,
                retry_after: failure.retry_after,
            }),
        }
    }
}
