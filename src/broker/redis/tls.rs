//! TLS to Redis, by the parameters of the URL: the certificate authorities to trust, and the client certificate.

use std::path::Path;
use std::sync::Arc;

use fred::types::config::{TlsConfig, TlsConnector};
use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use crate::config::{Form, RedisUrl, read_error};

/// The URL's parameters for TLS.
pub(super) const PARAMETERS: [&str; 4] = ["tls", "cacert", "cert", "key"];

/// The TLS configuration of the URL. `None` without TLS: the URL has neither `rediss…://`, nor `tls=true`, nor a
/// certificate.
///
/// # Errors
/// What is wrong, with the parameter and the file.
pub(super) fn tls(url: &RedisUrl) -> Result<Option<TlsConfig>, String> {
    Ok(client_config(url)?.map(|config| TlsConnector::from(config).into()))
}

/// As [`tls`], for any client.
///
/// # Errors
/// As [`tls`].
pub(super) fn client_config(url: &RedisUrl) -> Result<Option<ClientConfig>, String> {
    let files =
        ["cacert", "cert", "key"].map(|name| url.parameter(name).map(|file| File { name, path: file.as_ref() }));
    let tls_scheme = url.scheme.starts_with("rediss") || url.scheme == "upstash+https";
    let wanted = tls_scheme || files.iter().any(Option::is_some);
    let wanted = match url.parameter("tls") {
        None => wanted,
        Some("true") => true,
        Some("false") if !wanted => false,
        Some("false") => {
            return Err(format!(
                "`tls=false` contradicts the rest of the {}:// URL: remove it, or what asks for TLS (rediss, cacert, cert or key)",
                url.scheme
            ));
        }
        Some(_) => return Err("`tls` must be true or false".into()),
    };
    if !wanted {
        return Ok(None);
    }
    if url.form == Form::Socket {
        return Err("a redis+unix:// URL cannot use TLS: remove its TLS parameters".into());
    }
    let [cacert, cert, key] = files;
    let roots = match cacert {
        Some(file) => file.roots()?,
        None => native_roots()?,
    };
    let config = builder(roots)?;
    match (cert, key) {
        (None, None) => Ok(Some(config.with_no_client_auth())),
        (Some(cert), Some(key)) => {
            let config = config.with_client_auth_cert(cert.certificates()?, key.key()?);
            config.map(Some).map_err(|error| format!("`cert` ({cert}) and `key` ({key}): {error}"))
        }
        _ => Err("`cert` and `key` must be given together: a certificate and its private key".into()),
    }
}

/// TLS that trusts nobody, for a client that never uses it.
///
/// # Errors
/// There is no way to make a TLS connection.
pub(super) fn without_roots() -> Result<ClientConfig, String> {
    Ok(builder(RootCertStore::empty())?.with_no_client_auth())
}

fn builder(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots))
}

/// A file in a parameter of the URL.
#[derive(Clone, Copy)]
struct File<'a> {
    name: &'static str,
    path: &'a Path,
}

impl File<'_> {
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates = CertificateDer::pem_file_iter(self.path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates = certificates.map_err(|error| self.error(&error))?;
        if certificates.is_empty() { Err(self.error(&Error::NoItemsFound)) } else { Ok(certificates) }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_file(self.path).map_err(|error| self.error(&error))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| format!("`{}` ({self}): {error}", self.name))?;
        }
        Ok(roots)
    }

    fn error(&self, error: &Error) -> String {
        let what = if self.name == "key" { "private key" } else { "certificate" };
        match error {
            Error::Io(error) => format!("`{}` ({self}) cannot be read: {}", self.name, read_error(error)),
            Error::NoItemsFound => format!("`{}` ({self}) has no {what} in PEM form", self.name),
            error => format!("`{}` ({self}) is no {what} in PEM form: {error}", self.name),
        }
    }
}

impl std::fmt::Display for File<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.display().fmt(f)
    }
}

/// The certificate authorities that this machine trusts.
fn native_roots() -> Result<RootCertStore, String> {
    let native = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Old certificates that cannot be parsed are common, and no reason to fail.
    if roots.add_parsable_certificates(native.certs).0 == 0 {
        let reason = native.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!("this machine has no trusted certificates{reason}: `cacert` names a file of them"));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem()
    }

    fn read(text: &str) -> Result<bool, String> {
        tls(&RedisUrl::parse(text).unwrap().unwrap()).map(|tls| tls.is_some())
    }

    #[test]
    fn tls_is_used_with_its_scheme_parameter_or_a_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, certificate()).unwrap();
        let ca = format!("cacert={}", file.display());
        for (text, wanted) in [
            ("redis://h".to_owned(), false),
            ("redis-sentinel://h/x?tls=false".to_owned(), false),
            (format!("rediss://h?{ca}"), true),
            (format!("rediss-sentinel://h/x?{ca}"), true),
            (format!("redis-cluster://h?{ca}"), true),
            (format!("redis-sentinel://h/x?tls=true&{ca}"), true),
        ] {
            assert_eq!(read(&text), Ok(wanted), "{text}");
        }
        for text in ["rediss://h?tls=false", "redis://h?tls=1", &format!("redis+unix:///s?{ca}")] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_names_the_parameter_and_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file.pem");
        let error_of = |text: &str, content: &str| {
            std::fs::write(&file, content).unwrap();
            read(&text.replace("FILE", file.to_str().unwrap())).unwrap_err()
        };
        let good = certificate();
        for (text, content, name, expected) in [
            ("rediss://h?cacert=FILE.not", "", "`cacert`", "cannot be read"),
            ("rediss://h?cacert=FILE", "nothing", "`cacert`", "no certificate"),
            (
                "rediss://h?cacert=FILE",
                "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n",
                "`cacert`",
                "no certificate",
            ),
            (
                "rediss://h?cacert=FILE",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "`cacert`",
                "",
            ),
            ("rediss://h?cacert=FILE&cert=FILE&key=FILE.not", &good, "`key`", "cannot be read"),
            ("rediss://h?cacert=FILE&cert=FILE&key=FILE", &good, "`key`", "no private key"),
        ] {
            let error = error_of(text, content);
            assert!(error.contains(name) && error.contains("file.pem") && error.contains(expected), "{text}: {error}");
        }
        assert!(error_of("rediss://h?cacert=FILE&key=FILE", &good).contains("together"));
    }
}
