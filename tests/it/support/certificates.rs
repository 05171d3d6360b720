//! A certificate authority for tests, which writes its own certificate and those that it signs to files.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// A self-signed authority; its files are deleted when it is dropped.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// The paths of a certificate and of its private key, both PEM.
pub struct Certificate {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        // TLS libraries look an issuer up by its name, so each authority needs a name of its own.
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", rand::random::<u32>()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a temporary directory");
        let authority = Self { issuer, folder };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    /// The path of the authority's own certificate.
    pub fn cacert(&self) -> String {
        self.path("ca.pem").display().to_string()
    }

    /// Signs a certificate for these host names and addresses. The first one becomes the file name.
    pub fn certificate(&self, names: &[&str]) -> Certificate {
        self.signed(names, |_| {})
    }

    /// The same, valid until the beginning of the day (UTC) in so many days.
    pub fn certificate_for_days(&self, names: &[&str], days: i64) -> Certificate {
        let end = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date() + jiff::Span::new().days(days);
        self.signed(names, |params| {
            params.not_after = rcgen::date_time_ymd(end.year().into(), end.month() as u8, end.day() as u8);
        })
    }

    fn signed(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let name = &names[0];
        let mut params = CertificateParams::new(names.clone()).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certificate {
            cert: self.write(&format!("{name}.pem"), &signed.pem()),
            key: self.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
