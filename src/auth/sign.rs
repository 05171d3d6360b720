//! Signs tokens: for `tidings token issue`, and for tests. The daemon itself only verifies.
//!
//! Two algorithms are enough to begin without an identity provider: EdDSA with a key pair, and HS256 with a secret that the
//! signer and the daemon share.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ring::{digest, hmac};
use rustls_pki_types::pem::{SectionKind, SliceIter};

use crate::event::json::write_string;

/// What precedes the 32 bytes of an Ed25519 private key in PKCS#8, version 1 (RFC 8410, section 7). Every other tool reads
/// this version; ring itself writes version 2.
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// What precedes the 32 bytes of an Ed25519 public key as a SubjectPublicKeyInfo (RFC 8410, section 4).
pub(super) const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The shortest secret for HS256, in bytes (RFC 7518, section 3.2).
pub(super) const MIN_SECRET: usize = 32;

/// A key that signs tokens. It has no `Debug`, so that no log can show it.
pub struct SigningKey {
    key: Key,
    /// The header parameter `kid` of the tokens.
    id: Option<Box<str>>,
}

enum Key {
    Ed25519(Box<Ed25519KeyPair>),
    Hs256(hmac::Key),
}

/// Why there is no key. It never contains a part of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignError(String);

impl SigningKey {
    /// A new Ed25519 key pair: the private key as PKCS#8, and the public key for `key_file`, both as PEM.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn generate_ed25519() -> Result<(String, String), SignError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| SignError("the system gives no random bytes".into()))?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|error| SignError(error.to_string()))?;
        let private = [&ED25519_PKCS8[..], &seed].concat();
        Ok((pem("PRIVATE KEY", &private), public_pem(&pair)))
    }

    /// The private key in a PEM file: Ed25519 as PKCS#8, as [`SigningKey::generate_ed25519`], `openssl genpkey` and others
    /// write it.
    ///
    /// # Errors
    /// There is no such key in the text. The message says what there is instead.
    pub fn from_pem(text: &str) -> Result<Self, SignError> {
        let refused = |why: &str| Err(SignError(why.to_owned()));
        let (kind, der) = match SliceIter::<(SectionKind, Vec<u8>)>::new(text.as_bytes()).next() {
            Some(Ok(section)) => section,
            Some(Err(_)) => return refused("this is not a well-formed PEM file"),
            None => return refused("there is no private key in PEM (-----BEGIN PRIVATE KEY-----)"),
        };
        match kind {
            SectionKind::PrivateKey => {}
            SectionKind::PublicKey => return refused("this is a public key: signing takes the private one"),
            _ => return refused("this is not an Ed25519 private key as PKCS#8 (-----BEGIN PRIVATE KEY-----)"),
        }
        match Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            Ok(pair) => Ok(Self { key: Key::Ed25519(Box::new(pair)), id: None }),
            Err(_) => refused("this is a private key of another kind than Ed25519"),
        }
    }

    /// A secret that the verifier has too, as in `secret_file`.
    ///
    /// # Errors
    /// The secret has less than 32 bytes.
    pub fn from_secret(secret: &[u8]) -> Result<Self, SignError> {
        match secret.len() {
            MIN_SECRET.. => Ok(Self { key: Key::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret)), id: None }),
            length => Err(SignError(format!("a secret for HS256 has at least {MIN_SECRET} bytes, not {length}"))),
        }
    }

    /// The same key, whose tokens name it in `kid`.
    pub fn with_id(self, id: &str) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// The public key for `key_file`, as PEM. `None` for a secret.
    pub fn public_pem(&self) -> Option<String> {
        match &self.key {
            Key::Ed25519(pair) => Some(public_pem(pair)),
            Key::Hs256(_) => None,
        }
    }

    /// The value of `algorithms` for this key.
    pub fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Ed25519(_) => "EdDSA",
            Key::Hs256(_) => "HS256",
        }
    }

    /// A token with these claims, which are a JSON object. Its `typ` is `at+jwt` (RFC 9068, section 2.1).
    pub fn sign(&self, claims: &str) -> String {
        let mut header = format!(r#"{{"alg":"{}","typ":"at+jwt""#, self.algorithm());
        if let Some(id) = &self.id {
            header.push_str(r#","kid":"#);
            write_string(id, &mut header);
        }
        header.push('}');
        self.sign_with_header(&header, claims)
    }

    /// A token with this header, right or wrong.
    pub(super) fn sign_with_header(&self, header: &str, claims: &str) -> String {
        let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = match &self.key {
            Key::Ed25519(pair) => URL_SAFE_NO_PAD.encode(pair.sign(token.as_bytes())),
            Key::Hs256(key) => URL_SAFE_NO_PAD.encode(hmac::sign(key, token.as_bytes())),
        };
        token.push('.');
        token.push_str(&signature);
        token
    }
}

fn public_pem(pair: &Ed25519KeyPair) -> String {
    pem("PUBLIC KEY", &[&ED25519_SPKI[..], pair.public_key().as_ref()].concat())
}

/// PEM (RFC 7468): lines of 64 characters.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_generated_key_signs_what_its_public_key_verifies() {
        let (private, public) = SigningKey::generate_ed25519().unwrap();
        assert!(
            private.starts_with("-----BEGIN PRIVATE KEY-----\n") && private.ends_with("-----END PRIVATE KEY-----\n")
        );
        let key = SigningKey::from_pem(&private).unwrap().with_id("a\"b");
        assert_eq!(key.public_pem().as_deref(), Some(public.as_str()));
        let token = key.sign(r#"{"sub":"u1"}"#);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let decode = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(decode(header), r#"{"alg":"EdDSA","typ":"at+jwt","kid":"a\"b"}"#);
        assert_eq!(decode(claims), r#"{"sub":"u1"}"#);
        let (_, der) = SliceIter::<(SectionKind, Vec<u8>)>::new(public.as_bytes()).next().unwrap().unwrap();
        let public = UnparsedPublicKey::new(&ED25519, &der[ED25519_SPKI.len()..]);
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    }

    #[test]
    fn what_is_no_ed25519_key_is_refused_with_what_it_is() {
        let (private, public) = SigningKey::generate_ed25519().unwrap();
        let damaged = private.replacen("MC4", "MC5", 1);
        for (text, refusal) in [
            ("", "there is no private key"),
            ("secret", "there is no private key"),
            (public.as_str(), "this is a public key"),
            (damaged.as_str(), "of another kind than Ed25519"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not an Ed25519 private key"),
            ("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n", "not a well-formed PEM file"),
        ] {
            let Err(error) = SigningKey::from_pem(text) else { panic!("{text} was read") };
            assert!(error.to_string().contains(refusal), "{text}: {error}");
        }
        assert!(SigningKey::from_secret(&[7; 31]).is_err());
        assert_eq!(SigningKey::from_secret(&[7; 32]).map(|key| key.algorithm()).ok(), Some("HS256"));
    }
}
