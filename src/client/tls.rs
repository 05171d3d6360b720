//! TLS of the client: which authorities it trusts, and the certificate that it shows.
//!
//! HTTP requests and the WebSocket share one configuration of rustls. The cryptography is ring's; nothing is installed for
//! the whole process.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::Error;

/// What a client trusts and shows.
#[derive(Default)]
pub(super) struct TlsOptions {
    /// The authorities to trust; those of the system if there are none here.
    ca: Vec<CertificateDer<'static>>,
    /// The client's certificate and its key.
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// Takes every certificate of a daemon.
    #[cfg(feature = "server")]
    pub takes_any: bool,
}

impl Clone for TlsOptions {
    fn clone(&self) -> Self {
        let identity = self.identity.as_ref().map(|(chain, key)| (chain.clone(), key.clone_key()));
        Self {
            ca: self.ca.clone(),
            identity,
            #[cfg(feature = "server")]
            takes_any: self.takes_any,
        }
    }
}

impl TlsOptions {
    /// Trusts only these authorities, in PEM form.
    pub fn set_ca(&mut self, pem: &[u8]) -> Result<(), Error> {
        self.ca = certificates(pem)?;
        // Found now, and not at the first connection.
        self.roots().map(drop)
    }

    /// Shows this certificate, with its key, both in PEM form.
    pub fn set_identity(&mut self, cert: &[u8], key: &[u8]) -> Result<(), Error> {
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| Error::Url(format!("the client's key is no private key in PEM form: {error}")))?;
        self.identity = Some((certificates(cert)?, key));
        Ok(())
    }

    /// The configuration of connections. The authorities of the system are read only for `https`: a client of plain HTTP
    /// needs none.
    pub fn config(&self, https: bool) -> Result<Arc<ClientConfig>, Error> {
        let roots = match (self.ca.is_empty(), https) {
            (false, _) => self.roots()?,
            (true, true) => native_roots(),
            (true, false) => RootCertStore::empty(),
        };
        let invalid = |error: rustls::Error| Error::Url(format!("the client's certificate cannot be used: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(invalid)?;
        #[cfg(feature = "server")]
        let builder = match self.takes_any {
            true => builder.dangerous().with_custom_certificate_verifier(super::unverified::verifier()),
            false => builder.with_root_certificates(roots),
        };
        #[cfg(not(feature = "server"))]
        let builder = builder.with_root_certificates(roots);
        let mut config = match self.clone().identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(invalid)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &self.ca {
            roots
                .add(certificate.clone())
                .map_err(|error| Error::Url(format!("an authority's certificate cannot be used: {error}")))?;
        }
        Ok(roots)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Error::Url("there is no certificate in PEM form".into())),
        Err(error) => Err(Error::Url(format!("the text is no certificate in PEM form: {error}"))),
    }
}

/// The authorities that this machine trusts. Where there are none, every certificate is refused as that of an unknown
/// issuer. Old certificates that cannot be parsed are common, and no reason to fail.
fn native_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
