//! The keys of an issuer: read from a PEM file, a JSON Web Key (RFC 7517) or a set of them, or a secret.
//!
//! A key decides its algorithm: RSA verifies RS256, P-256 verifies ES256, Ed25519 verifies EdDSA. Where a JSON Web Key has
//! `alg`, `use` or `key_ops`, they bind: a key for encryption verifies nothing.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rsa::PublicKeyComponents;
use rustls_pki_types::pem::{SectionKind, SliceIter};

use super::jws::{Algorithm, Jws, Key};
use super::refusal::shown;
use super::sign::{ED25519_SPKI, MIN_SECRET, sha256};
use crate::event::Json;

/// The most keys of a set. Those behind are not used.
const MAX_KEYS: usize = 100;
/// The most keys that one token is verified with: those that its `kid` does not rule out.
const MAX_TRIED: usize = 16;
/// The sizes of an RSA modulus, in bits. RFC 7518, section 3.3, requires 2048.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// What precedes a point on P-256 as a SubjectPublicKeyInfo (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The algorithm identifier rsaEncryption with its parameter NULL (RFC 3279, section 2.3.1).
const RSA_ENCRYPTION: [u8; 13] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// A key, and the name that its issuer gave it.
#[derive(Debug)]
pub struct VerifyingKey {
    /// `kid`.
    pub id: Option<Box<str>>,
    key: Key,
    /// The SHA-256 of the id, the algorithm and the key.
    fingerprint: [u8; 32],
}

/// The keys of one issuer.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<Arc<VerifyingKey>>,
}

/// The text is not a key, or not one that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError(String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn refused<T>(text: impl Into<String>) -> Result<T, KeyError> {
    Err(KeyError(text.into()))
}

impl VerifyingKey {
    fn new(id: Option<&str>, key: Key, material: &[&[u8]]) -> Self {
        let name = key.algorithm().name().as_bytes();
        let mut text = Vec::new();
        for part in [id.unwrap_or_default().as_bytes(), &[u8::from(id.is_some())], name].iter().chain(material) {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
        Self { id: id.map(Box::from), key, fingerprint: sha256(&text) }
    }

    fn hs256(secret: &[u8]) -> Self {
        Self::new(None, Key::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret)), &[secret])
    }

    fn rs256(id: Option<&str>, n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let [n, e] = [n, e].map(|number| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            &number[zeros..]
        });
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return refused(format!("an RSA key has {} to {} bits, not {bits}", RSA_BITS.start(), RSA_BITS.end()));
        }
        // ring refuses other exponents at every signature.
        if e.len() > 4 || e.last().is_none_or(|last| last % 2 == 0) || e == [1] {
            return refused("the exponent of an RSA key is an odd number from 3 to 2^32");
        }
        let key = PublicKeyComponents { n: Box::from(n), e: Box::from(e) };
        Ok(Self::new(id, Key::Rs256(key), &[n, e]))
    }

    fn es256(id: Option<&str>, point: &[u8]) -> Result<Self, KeyError> {
        match <[u8; 65]>::try_from(point) {
            Ok(key) if key[0] == 4 => Ok(Self::new(id, Key::Es256(key), &[point])),
            _ => refused("this is not an uncompressed point on P-256"),
        }
    }

    fn eddsa(id: Option<&str>, key: &[u8]) -> Result<Self, KeyError> {
        match <[u8; 32]>::try_from(key) {
            Ok(bytes) => Ok(Self::new(id, Key::EdDsa(bytes), &[key])),
            Err(_) => refused("an Ed25519 key has 32 bytes"),
        }
    }

    /// A JSON Web Key that verifies signatures.
    ///
    /// # Errors
    /// It is another kind of key, it is not for signatures, or it is private.
    pub fn from_jwk(jwk: &Json<'_>) -> Result<Self, KeyError> {
        if jwk.as_object().is_none() {
            return refused("a JSON Web Key is an object");
        }
        let text = |name: &str| match jwk.get(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(&**text)),
            Some(_) => refused(format!("`{name}` is not a string")),
        };
        let (id, kind) = (text("kid")?, text("kty")?);
        if kind == Some("oct") {
            return refused("this is a secret (`oct`): only `secret_file` takes one");
        }
        if jwk.get("d").is_some() {
            return refused("this is a private key: verifying takes the public one");
        }
        if let Some(purpose) = text("use")?.filter(|purpose| *purpose != "sig") {
            return refused(format!("its `use` is {}, not \"sig\"", shown(purpose)));
        }
        match jwk.get("key_ops") {
            None => {}
            Some(Json::Array(operations)) if operations.iter().any(|name| name.as_str() == Some("verify")) => {}
            Some(_) => return refused("its `key_ops` does not have \"verify\""),
        }
        let bytes = |name: &str| match text(name)?.map(|text| URL_SAFE_NO_PAD.decode(text)) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(_)) => refused(format!("`{name}` is not base64url")),
            None => refused(format!("`{name}` is missing")),
        };
        let key = match (kind, text("crv")?) {
            (Some("RSA"), _) => Self::rs256(id, &bytes("n")?, &bytes("e")?)?,
            (Some("EC"), Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if [x.len(), y.len()] != [32, 32] {
                    return refused("the coordinates of a point on P-256 have 32 bytes");
                }
                Self::es256(id, &[&[4][..], &x, &y].concat())?
            }
            (Some("OKP"), Some("Ed25519")) => Self::eddsa(id, &bytes("x")?)?,
            (Some(kind), curve) => {
                let curve = curve.map(|curve| format!(" on {}", shown(curve))).unwrap_or_default();
                return refused(format!("keys of the kind {}{curve} are not used", shown(kind)));
            }
            (None, _) => return refused("`kty` is missing"),
        };
        match text("alg")? {
            Some(name) if Algorithm::of(name) != Some(key.algorithm()) => {
                refused(format!("its `alg` is {}, and it could only verify {}", shown(name), key.algorithm().name()))
            }
            _ => Ok(key),
        }
    }

    /// A SubjectPublicKeyInfo (RFC 5280, section 4.1), DER.
    fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(key) = der.strip_prefix(&ED25519_SPKI) {
            return Self::eddsa(None, key);
        }
        if let Some(point) = der.strip_prefix(&P256_SPKI) {
            return Self::es256(None, point);
        }
        match rsa_of_spki(der) {
            Some((n, e)) => Self::rs256(None, n, e),
            None => refused("this is a public key of another kind than RSA, P-256 and Ed25519"),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }

    /// Whether a token with this header may have been signed by this key.
    fn fits(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        let same_id = match (&self.id, id) {
            (Some(own), Some(id)) => **own == *id,
            _ => true,
        };
        same_id && self.algorithm() == algorithm
    }
}

impl KeySet {
    /// The secret of a `secret_file`. A newline at its end does not count.
    ///
    /// # Errors
    /// It is too short, or a public key by mistake: then everybody could sign.
    pub fn from_secret(content: &[u8]) -> Result<Self, KeyError> {
        let secret = content.strip_suffix(b"\n").unwrap_or(content);
        let secret = secret.strip_suffix(b"\r").filter(|_| content.len() > secret.len()).unwrap_or(secret);
        if content.windows(11).any(|window| window == b"-----BEGIN ") {
            return refused("this is a PEM file, and not a secret: a public key belongs into `key_file`");
        }
        if Json::parse_bytes(content).is_ok_and(|json| json.get("kty").is_some() || json.get("keys").is_some()) {
            return refused("this is a JSON Web Key, and not the bytes of a secret");
        }
        if secret.len() < MIN_SECRET {
            return refused(format!("a secret for HS256 has at least {MIN_SECRET} bytes, not {}", secret.len()));
        }
        Ok(Self { keys: vec![Arc::new(VerifyingKey::hs256(secret))] })
    }

    /// The public keys of a `key_file`: PEM, one or several; a JSON Web Key; or a set of them.
    ///
    /// # Errors
    /// One of them is no key that can be used.
    pub fn from_file(content: &[u8]) -> Result<Self, KeyError> {
        let keys = match content.trim_ascii_start().first() {
            Some(b'{') => {
                let json = Json::parse_bytes(content).map_err(|error| KeyError(format!("it is not JSON: {error}")))?;
                match json.get("keys") {
                    Some(Json::Array(keys)) => {
                        keys.iter().map(VerifyingKey::from_jwk).collect::<Result<Vec<_>, _>>()?
                    }
                    Some(_) => return refused("`keys` is not an array"),
                    None => vec![VerifyingKey::from_jwk(&json)?],
                }
            }
            _ => SliceIter::<(SectionKind, Vec<u8>)>::new(content)
                .map(|section| pem_key(section.ok()))
                .collect::<Result<Vec<_>, _>>()?,
        };
        if keys.is_empty() {
            return refused("there is no key in it: PEM (-----BEGIN PUBLIC KEY-----) or a JSON Web Key was expected");
        }
        if keys.len() > MAX_KEYS {
            return refused(format!("it has {} keys; {MAX_KEYS} are possible", keys.len()));
        }
        Ok(Self { keys: keys.into_iter().map(Arc::new).collect() })
    }

    /// The usable keys of a JSON Web Key Set (RFC 7517, section 5), and why the others are not. A key that `known` has is
    /// taken from there.
    ///
    /// # Errors
    /// It is no such set, or none of its keys can be used.
    pub fn from_jwks(text: &[u8], known: &Self) -> Result<(Self, Vec<String>), String> {
        let set = Json::parse_bytes(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let Some(Json::Array(keys)) = set.get("keys") else { return Err("it has no array `keys`".into()) };
        let (mut usable, mut others) = (Vec::new(), Vec::new());
        for (index, jwk) in keys.iter().enumerate() {
            match VerifyingKey::from_jwk(jwk) {
                Ok(_) if usable.len() == MAX_KEYS => {
                    others.push(format!("keys from {index} on: {MAX_KEYS} are enough"));
                    break;
                }
                Ok(key) => {
                    let same = known.keys.iter().find(|old| old.fingerprint == key.fingerprint);
                    usable.push(same.cloned().unwrap_or_else(|| Arc::new(key)));
                }
                Err(error) => others.push(format!("key {index}: {error}")),
            }
        }
        match usable.is_empty() {
            false => Ok((Self { keys: usable }, others)),
            true => {
                Err(format!("it has no key that can be used ({})", others.first().map_or("it is empty", |other| other)))
            }
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The algorithms of the keys, each once.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        Algorithm::ALL.into_iter().filter(|each| self.keys.iter().any(|key| key.algorithm() == *each)).collect()
    }

    /// Whether one of the keys may have signed this token, by its header.
    pub fn has_for(&self, jws: &Jws<'_>) -> bool {
        self.keys.iter().any(|key| key.fits(jws.algorithm, jws.key_id.as_deref()))
    }

    /// The key that signed the token.
    pub fn signer(&self, jws: &Jws<'_>) -> Option<&Arc<VerifyingKey>> {
        let candidates = self.keys.iter().filter(|key| key.fits(jws.algorithm, jws.key_id.as_deref()));
        candidates.take(MAX_TRIED).find(|key| jws.is_signed_by(&key.key))
    }

    /// Whether this very key is in the set.
    pub fn contains(&self, key: &Arc<VerifyingKey>) -> bool {
        self.keys.iter().any(|own| own.fingerprint == key.fingerprint)
    }

    /// Whether all keys of the other set are in this one.
    pub fn contains_all(&self, other: &Self) -> bool {
        other.keys.iter().all(|key| self.contains(key))
    }
}

fn pem_key(section: Option<(SectionKind, Vec<u8>)>) -> Result<VerifyingKey, KeyError> {
    match section {
        Some((SectionKind::PublicKey, der)) => VerifyingKey::from_spki(&der),
        Some((SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _)) => {
            refused("this is a private key: verifying takes the public one (openssl pkey -pubout)")
        }
        Some((SectionKind::Certificate, _)) => {
            refused("this is a certificate: take the public key out of it (openssl x509 -pubkey -noout)")
        }
        Some(_) => refused("this is not a public key (-----BEGIN PUBLIC KEY-----)"),
        None => refused("this is not a well-formed PEM file"),
    }
}

/// Modulus and exponent of an RSA key as a SubjectPublicKeyInfo: `SEQUENCE { SEQUENCE { rsaEncryption, NULL }, BIT STRING {
/// SEQUENCE { INTEGER, INTEGER } } }`.
fn rsa_of_spki(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    let spki = only(der, SEQUENCE)?;
    let (algorithm, rest) = element(spki, SEQUENCE)?;
    let bits = only(rest, 0x03)?.strip_prefix(&[0])?;
    let (n, rest) = element(only(bits, SEQUENCE)?, 0x02)?;
    let e = only(rest, 0x02)?;
    (algorithm == RSA_ENCRYPTION).then_some((n, e))
}

/// The content of the one DER element that this is.
fn only(der: &[u8], tag: u8) -> Option<&[u8]> {
    element(der, tag).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

/// The content of the first DER element, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        0..=0x7f => (length as usize, rest),
        0x81 => (*rest.first()? as usize, &rest[1..]),
        0x82 => {
            let (bytes, rest) = rest.split_first_chunk::<2>()?;
            (u16::from_be_bytes(*bytes) as usize, rest)
        }
        _ => return None,
    };
    (found == tag && length <= rest.len()).then(|| rest.split_at(length))
}
