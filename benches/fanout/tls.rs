//! TLS between the load generator and a server: a certificate for one run, which nobody else trusts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use tidings::load::Tls;

/// The files of a server's certificate, and the settings by which the load generator trusts it.
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client: Tls,
}

impl Certificate {
    /// Writes a certificate for `localhost`, and its key, into a folder.
    pub fn new_in(folder: &Path) -> io::Result<Self> {
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let CertifiedKey { cert: certificate, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
        std::fs::write(&cert, certificate.pem())?;
        std::fs::write(&key, signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).map_err(io::Error::other)?;
        let versions = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let mut config = versions.with_root_certificates(roots).with_no_client_auth();
        // Each connection stands for a client of its own, which was never here before.
        config.resumption = Resumption::disabled();
        Ok(Self { cert, key, client: Tls::to("localhost", Arc::new(config))? })
    }
}
