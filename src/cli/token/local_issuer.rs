//! The issuer in `auth.toml` whose tokens can be made here: one with a key file or a secret, and not an identity provider's.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::auth::sign::SigningKey;
use crate::cli::auth::PRIVATE_KEY;
use crate::cli::failure::Failure;
use crate::cli::remote::warn_of_file;
use crate::suggest;

/// What a token must have so that the daemon takes it as one of this issuer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LocalIssuer {
    pub iss: String,
    #[serde(default)]
    pub audience: Vec<String>,
    /// The claim in which the audience stands, as a JSON Pointer.
    #[serde(default = "default_audience_claim")]
    pub audience_claim: String,
    /// The public key.
    key_file: Option<PathBuf>,
    secret_file: Option<PathBuf>,
    /// The claim in which the grants stand, as a JSON Pointer. Empty: in none.
    #[serde(default = "default_grants")]
    pub grants: String,
    /// The claim in which the namespace stands.
    pub namespace_claim: Option<String>,
}

fn default_audience_claim() -> String {
    "/aud".into()
}

fn default_grants() -> String {
    "/tidings".into()
}

impl LocalIssuer {
    /// An issuer that is in no file.
    pub fn unconfigured(iss: String, audience: Vec<String>) -> Self {
        Self {
            iss,
            audience,
            audience_claim: default_audience_claim(),
            key_file: None,
            secret_file: None,
            grants: default_grants(),
            namespace_claim: None,
        }
    }

    /// The first issuer of the text of an `auth.toml` that has a local key: the one called `iss`, if that is given.
    ///
    /// # Errors
    /// There is none, or the text is no TOML.
    pub fn find(text: &str, iss: Option<&str>) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            issuer: Vec<LocalIssuer>,
        }
        let file: File = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
        let is_local = |issuer: &LocalIssuer| issuer.key_file.is_some() || issuer.secret_file.is_some();
        let named = |issuer: &LocalIssuer| iss.is_none_or(|iss| issuer.iss == iss);
        file.issuer.into_iter().find(|issuer| named(issuer) && is_local(issuer)).ok_or_else(|| match iss {
            Some(iss) => {
                format!("there is no [[issuer]] with `iss` {} and a key_file or secret_file", suggest::quoted(iss))
            }
            None => "there is no [[issuer]] with a key_file or secret_file, whose tokens could be made here".into(),
        })
    }

    /// The key that signs: that in `key_file`, else the issuer's secret, else the private key that `auth init` wrote beside
    /// the file. `folder` is that of `auth.toml`.
    ///
    /// # Errors
    /// It cannot be read, or is not the one that the daemon verifies with.
    pub fn signing_key(&self, key_file: Option<&Path>, folder: &Path) -> Result<SigningKey, Failure> {
        let path = match (key_file, &self.secret_file) {
            (Some(file), _) => file.to_owned(),
            (None, Some(secret)) => folder.join(secret),
            (None, None) => folder.join(PRIVATE_KEY),
        };
        let shown = path.display();
        let content = std::fs::read(&path).map(zeroize::Zeroizing::new);
        let content = content.map_err(|error| {
            format!("cannot read the key that signs from {shown}: {error}; give another one with --key-file")
        })?;
        warn_of_file(&path, "a key that signs tokens");
        let unusable = |error: &dyn std::fmt::Display| Failure::from(format!("{shown}: {error}"));
        let text = std::str::from_utf8(&content).ok().filter(|text| text.contains("-----BEGIN"));
        let Some(text) = text else {
            // As the daemon reads a secret: a line end at its end does not count.
            let secret =
                content.strip_suffix(b"\n").map_or(&content[..], |line| line.strip_suffix(b"\r").unwrap_or(line));
            return SigningKey::from_secret(secret).map_err(|error| unusable(&error));
        };
        let key = SigningKey::from_pem(text).map_err(|error| unusable(&error))?;
        if let Some(public) = self.key_file.as_ref().map(|public| folder.join(public))
            && let (Ok(configured), Some(own)) = (std::fs::read_to_string(&public), key.public_pem())
            && configured.contains("-----BEGIN PUBLIC KEY-----")
            && !squeezed(&configured).contains(&squeezed(&own))
        {
            let public = public.display();
            return Err(unusable(&format!(
                "this is not the private key of {public}, with which the daemon verifies: give the right one with --key-file"
            )));
        }
        Ok(key)
    }
}

/// The text without spaces and line ends, since PEM files differ in them.
fn squeezed(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_issuer_with_a_local_key_is_found() {
        let text = r#"
            clock_skew = "10s"
            [[issuer]]
            iss = "https://idp.example/"
            audience = ["a"]
            jwks = "https://idp.example/jwks"
            [[issuer]]
            iss = "one"
            audience = ["a", "b"]
            key_file = "one.pem"
            grants = "/x/y"
            [[issuer]]
            iss = "two"
            audience_claim = "/client"
            secret_file = "two.secret"
        "#;
        let first = LocalIssuer::find(text, None).unwrap();
        assert_eq!((&*first.iss, first.audience.len(), &*first.grants), ("one", 2, "/x/y"));
        assert_eq!(LocalIssuer::find(text, Some("two")).unwrap().audience_claim, "/client");
        assert!(LocalIssuer::find(text, Some("https://idp.example/")).unwrap_err().contains("key_file or secret_file"));
        assert!(LocalIssuer::find("[[issuer]", None).is_err());
        assert!(LocalIssuer::find("", None).is_err());
    }
}
