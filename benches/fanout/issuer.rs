//! An issuer of RS256 tokens, as identity providers are, and the `auth.toml` of a daemon that trusts it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::RSA_PKCS1_SHA256;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::events::CHANNEL;

/// A key that everybody knows: that of the tests.
const KEY: &[u8] = include_bytes!("../../src/auth/tests/rsa.pem");

/// Signs tokens.
pub struct Issuer {
    key: KeyPair,
    random: SystemRandom,
}

impl Issuer {
    pub fn new() -> io::Result<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(KEY).map_err(io::Error::other)?;
        let key = KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { key, random: SystemRandom::new() })
    }

    /// Writes `auth.toml` and the public key into a folder. Publishers and those who revoke need no credential.
    pub fn trusted_in(&self, folder: &Path) -> io::Result<PathBuf> {
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.key.public());
        let [n, e] = [n, e].map(|number| URL_SAFE_NO_PAD.encode(number));
        let jwk = json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "n": n, "e": e });
        std::fs::write(folder.join("issuer.json"), jwk.to_string())?;
        let auth = folder.join("auth.toml");
        let issuer = "iss = 'https://issuer.test/'\naudience = ['https://bus.test']\nkey_file = 'issuer.json'\n\
                      algorithms = ['RS256']\ngrants = '/tidings'\n";
        std::fs::write(
            &auth,
            format!("[anonymous]\npublish = ['{CHANNEL}']\nadmin = ['revoke']\n\n[[issuer]]\n{issuer}"),
        )?;
        Ok(auth)
    }

    /// The token of a user. Its id is the user's name. `entry` is what it may subscribe to.
    pub fn token(&self, user: &str, entry: &Value) -> io::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_secs();
        let claims = json!({
            "iss": "https://issuer.test/", "aud": "https://bus.test", "sub": user, "jti": user,
            "iat": now, "exp": now + 3_600, "tidings": { "subscribe": [entry] },
        });
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let text = format!("{}.{}", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        let signed = self.key.sign(&RSA_PKCS1_SHA256, &self.random, text.as_bytes(), &mut signature);
        signed.map_err(|_| io::Error::other("the token cannot be signed"))?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
