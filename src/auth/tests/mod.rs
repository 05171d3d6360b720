//! Credentials, good and bad, against configurations in files.

mod api_keys;
mod configuration;
mod documentation;
mod fetched_keys;
mod peer;
mod reloads;
mod rules;
mod tokens;
mod vectors;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::sign::SigningKey;
use super::*;
use crate::access::Rule as Granted;
use crate::event::ChannelId;

const ISSUER: &str = "https://issuer.example/";
const AUDIENCE: &str = "https://bus.example";
/// A secret for HS256.
const SECRET: &[u8] = b"a secret of exactly thirty-two b";

/// The private key of an issuer.
enum PrivateKey {
    Own(SigningKey),
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl PrivateKey {
    fn ed25519() -> Self {
        let (private, _) = SigningKey::generate_ed25519().unwrap();
        Self::Own(SigningKey::from_pem(&private).unwrap())
    }

    fn secret() -> Self {
        Self::Own(SigningKey::from_secret(SECRET).unwrap())
    }

    /// For tests only: everybody knows it.
    fn rsa() -> Self {
        let der = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("rsa.pem")).unwrap();
        Self::Rsa(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap())
    }

    fn p256() -> Self {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Own(key) => key.algorithm(),
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
        }
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = match self {
            Self::Own(key) => return key.sign_with_header(header, claims),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&SystemRandom::new(), token.as_bytes()).unwrap().as_ref().to_vec(),
        };
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        token
    }

    /// A token of this key with the header that belongs to it.
    fn token(&self, claims: &Value) -> String {
        self.sign(&format!(r#"{{"alg":"{}"}}"#, self.algorithm()), &claims.to_string())
    }

    /// The public key.
    fn jwk(&self, id: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Own(key) => {
                let pem = key.public_pem().unwrap();
                let der = rustls_pki_types::SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).unwrap();
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(&der[12..]), "kid": id })
            }
            Self::Rsa(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "n": encode(&public.n), "e": encode(&public.e), "kid": id })
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]), "kid": id })
            }
        }
    }
}

/// A folder with an `auth.toml` and key files, and what is read from it.
struct Setup {
    folder: tempfile::TempDir,
    auth: Arc<Auth>,
}

/// Writes the files and reads `auth.toml`, which is the first.
fn open(files: &[(&str, &str)]) -> Result<Setup, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let file = folder.path().join(files[0].0);
    let auth = Auth::open(&file, Arc::new(Catalog::builtin()), "default", Arc::new(Metrics::default()))?;
    Ok(Setup { folder, auth })
}

impl Setup {
    /// One issuer with this key, and more lines for its table.
    fn with_key(key: &PrivateKey, more: &str) -> Self {
        let (name, source, content) = match key {
            PrivateKey::Own(SigningKey { .. }) if key.algorithm() == "HS256" => {
                ("secret", "secret_file", String::from_utf8(SECRET.to_vec()).unwrap())
            }
            PrivateKey::Own(own) => ("key", "key_file", own.public_pem().unwrap()),
            other => ("key", "key_file", other.jwk("k1").to_string()),
        };
        let text =
            format!("[[issuer]]\niss = \"{ISSUER}\"\naudience = [\"{AUDIENCE}\"]\n{source} = \"{name}\"\n{more}\n");
        open(&[("auth.toml", &text), (name, &content)]).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    }

    fn write(&self, name: &str, text: &str) {
        // As editors do it: the file is never half written.
        let path = self.folder.path().join("new");
        fs::write(&path, text).unwrap();
        fs::rename(path, self.folder.path().join(name)).unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn principal(&self, credential: &str) -> Result<Arc<Principal>, Refusal> {
        self.auth.authenticate(credential, SystemTime::now()).await
    }

    /// Why the credential is refused.
    async fn refusal(&self, credential: &str) -> Reason {
        match self.principal(credential).await {
            Ok(principal) => panic!("{credential} was accepted: {principal:?}"),
            Err(refusal) => {
                check_text(&refusal, credential);
                refusal.reason()
            }
        }
    }
}

/// A log line has neither a part of the credential nor a control character.
fn check_text(refusal: &Refusal, credential: &str) {
    let text = refusal.text();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    for part in credential.split(['.', '_']).filter(|part| part.len() > 8) {
        assert!(!text.contains(part), "{text}");
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// The claims of a good token, with these in addition. `null` removes one.
fn claims(more: Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "iat": now(), "exp": now() + 600 });
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn channel(name: &str) -> ChannelId {
    Catalog::builtin().channel(name).unwrap()
}

/// Whether the principal gets an event of the channel with this data.
fn gets(principal: &Principal, name: &str, data: Value) -> bool {
    principal.grants.subscribe(channel(name)).is_some_and(|rule: &Granted| rule.allows(&data.into()))
}

/// Waits for a condition that a task brings about.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen");
}
