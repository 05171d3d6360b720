//! The certificate of the listener: reads its files, and reads them again when they change.
//!
//! The files are compared by content every few seconds. So it does not matter how they are renewed: written in place,
//! moved, or by a symbolic link to another folder, as Kubernetes does it. New connections get the new certificate, and
//! open ones go on. Files that do not fit together change nothing. A certificate that has ended, or ends soon, is a warning.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{Error, RootCertStore, ServerConfig};
use tokio::sync::watch;

use crate::config::{TlsConfig, read_error};
use crate::metrics::Metrics;
use crate::transport::{Remaining, days_between, end_of};

/// How often the files are read.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long the files must stay the same before they are used: a renewal writes one after the other.
const SETTLE: Duration = Duration::from_millis(250);

/// The TLS configuration of new connections.
pub type CurrentTls = watch::Receiver<Arc<ServerConfig>>;

/// Reads the files again when they change.
pub struct Certificates {
    files: TlsConfig,
    current: watch::Sender<Arc<ServerConfig>>,
    /// The fingerprint of the files that were read last and were used, or refused.
    known: u64,
    /// When the certificate in use ends, if that can be read.
    end: Option<Timestamp>,
    /// What was said last of that end.
    said: Remaining,
    metrics: Arc<Metrics>,
}

/// What the files hold.
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Certificates {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// What is wrong, with the setting and the file.
    pub fn load(files: TlsConfig, metrics: Arc<Metrics>) -> Result<(Self, CurrentTls), String> {
        let contents = Contents::read(&files)?;
        let (current, receiver) = watch::channel(Arc::new(contents.config(&files)?));
        let (known, end) = (contents.fingerprint(), contents.end(&files));
        let mut loaded = Self { files, current, known, end, said: Remaining::Enough, metrics };
        loaded.note_end(end);
        Ok((loaded, receiver))
    }

    /// Follows the files for ever.
    pub async fn follow(mut self) {
        let (mut seen, mut unreadable) = (self.known, None);
        let mut pause = INTERVAL;
        loop {
            tokio::time::sleep(pause).await;
            pause = INTERVAL;
            self.warn_of_end();
            let files = self.files.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || Contents::read(&files)).await else { continue };
            match read {
                Err(reason) => {
                    if unreadable.as_ref() != Some(&reason) {
                        self.keep(&reason);
                        unreadable = Some(reason);
                    }
                }
                Ok(contents) => {
                    unreadable = None;
                    let fingerprint = contents.fingerprint();
                    if fingerprint == self.known {
                        seen = fingerprint;
                    } else if fingerprint != seen {
                        seen = fingerprint;
                        pause = SETTLE;
                    } else {
                        self.known = fingerprint;
                        self.renew(&contents);
                    }
                }
            }
        }
    }

    fn renew(&mut self, contents: &Contents) {
        match contents.config(&self.files) {
            Ok(config) => {
                self.current.send_replace(Arc::new(config));
                tracing::info!(cert = %self.files.cert.display(), "the TLS certificate was renewed");
                self.note_end(contents.end(&self.files));
            }
            Err(reason) => self.keep(&reason),
        }
    }

    /// Notes when the certificate in use ends.
    fn note_end(&mut self, end: Option<Timestamp>) {
        (self.end, self.said) = (end, Remaining::Enough);
        self.metrics.tls_certificate_expiry.set(end.map_or(0, Timestamp::as_second));
        self.warn_of_end();
    }

    /// Warns once when the end is near, and once more when it has come.
    fn warn_of_end(&mut self) {
        let (Some(end), now) = (self.end, Timestamp::now()) else { return };
        let remaining = Remaining::at(now, end);
        if std::mem::replace(&mut self.said, remaining) == remaining {
            return;
        }
        let (cert, days) = (self.files.cert.display(), days_between(now, end));
        match remaining {
            Remaining::Enough => {}
            Remaining::Soon => tracing::warn!(
                %cert, %end, days,
                "the TLS certificate ends soon: write a newer one to the same files, which are read again by themselves"
            ),
            Remaining::Nothing => tracing::warn!(
                %cert, %end,
                "the TLS certificate has expired, so clients refuse this node: write a newer one to the same files, which are \
                 read again by themselves"
            ),
        }
    }

    fn keep(&self, reason: &str) {
        self.metrics.tls_reload_failures.inc();
        tracing::error!(reason, "the TLS files have changed and cannot be used; the certificate stays as it was");
    }
}

impl Contents {
    fn read(files: &TlsConfig) -> Result<Self, String> {
        let read = |name: &str, path: &Path| {
            std::fs::read(path)
                .map_err(|error| format!("{name} ({}) cannot be read: {}", path.display(), read_error(&error)))
        };
        Ok(Self {
            cert: read("tls_cert", &files.cert)?,
            key: read("tls_key", &files.key)?,
            client_ca: files.client_ca.as_deref().map(|path| read("tls_client_ca", path)).transpose()?,
        })
    }

    /// Tells contents apart without keeping a second copy of the key.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.cert, &self.key, &self.client_ca).hash(&mut hasher);
        hasher.finish()
    }

    /// When the certificate ends. Those of authorities after it end later, as a rule.
    fn end(&self, files: &TlsConfig) -> Option<Timestamp> {
        let pem = Pem { name: "tls_cert", path: &files.cert, text: &self.cert };
        end_of(pem.certificates().ok()?.first()?)
    }

    fn config(&self, files: &TlsConfig) -> Result<ServerConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let cert = Pem { name: "tls_cert", path: &files.cert, text: &self.cert };
        let key = Pem { name: "tls_key", path: &files.key, text: &self.key };
        let client_ca = files.client_ca.as_deref().zip(self.client_ca.as_deref());
        let client_ca = client_ca.map(|(path, text)| Pem { name: "tls_client_ca", path, text });
        let builder = match &client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(pem.roots()?), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| pem.says(&error.to_string()))?)
            }
        };
        let config = builder.with_single_cert(cert.certificates()?, key.key()?);
        let mut config = config.map_err(|error| match error {
            Error::InconsistentKeys(_) => format!(
                "tls_cert ({}) and tls_key ({}) do not belong together",
                files.cert.display(),
                files.key.display()
            ),
            error => format!("{}; {}", cert.says(&error.to_string()), key.says("its private key")),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Tickets need no memory for each client. A client opens one connection at a time, so that one ticket is enough.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if client_ca.is_some() {
            // A resumed session is not verified again: it could outlive the authority that once vouched for the client.
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
            config.send_tls13_tickets = 1;
        }
        Ok(config)
    }
}

/// The text of a file, with the setting that names the file.
struct Pem<'a> {
    name: &'static str,
    path: &'a Path,
    text: &'a [u8],
}

impl Pem<'_> {
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates = CertificateDer::pem_slice_iter(self.text).collect::<Result<Vec<_>, _>>();
        match certificates {
            Ok(certificates) if certificates.is_empty() => Err(self.says("there is no certificate in PEM form in it")),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(self.says(&format!("it is no certificate in PEM form: {error}"))),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(self.text).map_err(|error| match error {
            PemError::NoItemsFound => self.says("there is no private key in PEM form in it, or only an encrypted one"),
            error => self.says(&format!("it is no private key in PEM form: {error}")),
        })
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.says(&error.to_string()))?;
        }
        Ok(roots)
    }

    fn says(&self, what: &str) -> String {
        format!("{} ({}): {what}", self.name, self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        fn load(&self, client_ca: bool) -> Result<Arc<ServerConfig>, String> {
            let file = |name: &str| self.0.path().join(name);
            let files = TlsConfig { cert: file("cert"), key: file("key"), client_ca: client_ca.then(|| file("ca")) };
            Certificates::load(files, Arc::default()).map(|(_, current)| current.borrow().clone())
        }
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_mistake_is_told_with_its_setting_and_its_file() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let ((cert, key), (_, other_key)) = (pair(), pair());
        let error_of = |cert: &str, key: &str, ca: &str, expected: &[&str]| {
            folder.write("cert", cert);
            folder.write("key", key);
            folder.write("ca", ca);
            let error = folder.load(true).unwrap_err();
            assert!(expected.iter().all(|part| error.contains(part)), "{error}");
        };
        error_of("", &key, &cert, &["tls_cert (", "/cert)", "no certificate"]);
        error_of(&cert, "", &cert, &["tls_key (", "/key)", "no private key"]);
        error_of(&cert, &key, "", &["tls_client_ca (", "/ca)", "no certificate"]);
        error_of(&cert, &other_key, &cert, &["/cert)", "/key)", "do not belong together"]);
        error_of(&cert, &cert, &cert, &["tls_key", "no private key"]);
        std::fs::remove_file(folder.0.path().join("cert")).unwrap();
        assert!(folder.load(false).unwrap_err().contains("tls_cert"));
    }

    /// A resumed session would skip the check of the client's certificate.
    #[test]
    fn with_client_certificates_no_session_is_resumed() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let (cert, key) = pair();
        folder.write("cert", &cert);
        folder.write("key", &key);
        folder.write("ca", &cert);
        let mutual = folder.load(true).unwrap();
        assert_eq!((mutual.send_tls13_tickets, mutual.ticketer.enabled()), (0, false));
        assert!(!mutual.session_storage.can_cache());
        let open = folder.load(false).unwrap();
        assert!(open.ticketer.enabled() && !open.session_storage.can_cache());
    }
}
