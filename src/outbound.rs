//! The HTTPS requests that the daemon sends to others, to issuers of tokens, to webhooks and to sinks: their TLS, and why they
//! fail.

use std::error::Error;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// The certificate authorities of the operating system.
///
/// # Errors
/// There are none.
pub fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!("the system has no certificate authorities, which https needs{errors}"));
    }
    Ok(roots)
}

/// TLS that trusts these certificate authorities.
///
/// # Errors
/// A sentence about what rustls refuses.
pub fn tls(roots: RootCertStore) -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Why there is no answer, as one line without the URL. The innermost cause: those around it say only that a request failed.
pub fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let what = if error.is_connect() { "no connection" } else { "the connection ended before an answer" };
    let innermost = std::iter::successors(error.source(), |&inner| inner.source()).last();
    let cause = innermost.map_or_else(|| error.to_string(), ToString::to_string);
    format!("{what}: {cause}").chars().filter(|char| !char.is_control()).collect()
}
