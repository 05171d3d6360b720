//! JSON Web Signatures in the compact form (RFC 7515), as tokens use them.
//!
//! The algorithm is a part of the key, and the key comes from the configuration. What the header says is compared with it
//! and decides nothing (RFC 8725, section 3.1). So there is no `none`, and no way to verify a MAC with the bytes of a
//! public key. A header that asks for more than this module does is refused: `crit`, and every parameter that brings a key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::refusal::{Cause, Reason, shown};
use crate::event::Json;

/// A signature algorithm (RFC 7518, section 3; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in a header, and in `algorithms`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this name. `Ed25519` is the newer name of the one curve that is used for EdDSA here (RFC 9864).
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "Ed25519" => Some(Self::EdDsa),
            _ => Self::ALL.into_iter().find(|algorithm| algorithm.name() == name),
        }
    }
}

/// What verifies signatures: an algorithm and its key in one.
pub enum Key {
    Hs256(hmac::Key),
    Rs256(PublicKeyComponents<Box<[u8]>>),
    /// A point on P-256, uncompressed: 4, x, y.
    Es256([u8; 65]),
    EdDsa([u8; 32]),
}

impl Key {
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::Hs256,
            Self::Rs256(_) => Algorithm::Rs256,
            Self::Es256(_) => Algorithm::Es256,
            Self::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// Whether this is the key's signature of the message.
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Hs256(key) => hmac::verify(key, message, signature),
            Self::Rs256(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Self::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Self::EdDsa(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        };
        verified.is_ok()
    }
}

/// It could be a secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm().name())
    }
}

/// A signed text that was taken apart and not verified.
pub struct Jws<'a> {
    /// What the header names.
    pub algorithm: Algorithm,
    /// The header parameter `kid`.
    pub key_id: Option<String>,
    /// Header and payload, as they were signed.
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Takes `HEADER.PAYLOAD.SIGNATURE` apart.
    ///
    /// # Errors
    /// It does not have this form, the header has no known algorithm, or it asks for what nobody here does.
    pub fn parse(token: &'a str) -> Result<Self, Cause> {
        let malformed = |text: &str| Reason::Malformed.because(text);
        let parts = token.rsplit_once('.').and_then(|(signed, signature)| {
            let (header, payload) = signed.split_once('.')?;
            Some((signed, header, payload, signature))
        });
        let Some((signed, header, payload, signature)) = parts.filter(|(_, _, payload, _)| !payload.contains('.'))
        else {
            return Err(malformed("this is neither an API key nor a token of three parts"));
        };
        let decode = |name: &str, part: &str| {
            URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed(&format!("the {name} of the token is not base64url")))
        };
        let (header, payload) = (decode("header", header)?, decode("payload", payload)?);
        let signature = decode("signature", signature)?;
        let header = Json::parse_bytes(&header)
            .map_err(|error| malformed(&format!("the header of the token is not JSON: {}", error.message)))?;
        let (algorithm, key_id) = read_header(&header)?;
        Ok(Self { algorithm, key_id, signed, payload, signature })
    }

    /// The payload, whoever wrote it.
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Whether the signature is one of this key.
    pub fn is_signed_by(&self, key: &Key) -> bool {
        self.algorithm == key.algorithm() && key.verifies(self.signed.as_bytes(), &self.signature)
    }
}

/// The algorithm, and the id of the key.
fn read_header(header: &Json<'_>) -> Result<(Algorithm, Option<String>), Cause> {
    let Some(members) = header.as_object() else {
        return Err(Reason::Malformed.because("the header of the token is not an object"));
    };
    let (mut algorithm, mut key_id) = (None, None);
    for (name, value) in members {
        match (&**name, value) {
            // RFC 7515, section 4.1.11: an extension that is not understood makes the signature invalid. None is.
            ("crit", _) => return Err(Reason::Header.because("the token has `crit`, and no extension is understood")),
            // RFC 7797 allows it with `crit` only.
            ("b64", _) => return Err(Reason::Header.because("the token has `b64`, which is not understood")),
            ("jwk" | "jku" | "x5u" | "x5c", _) => {
                let text = format!("the token brings a key of its own in `{name}`, which is never used");
                return Err(Reason::Header.because(text));
            }
            ("alg", Json::String(name)) => match Algorithm::of(name) {
                Some(known) => algorithm = Some(known),
                None => {
                    return Err(Reason::Algorithm.because(format!("the token has the algorithm {}", shown(name))));
                }
            },
            ("alg", _) => return Err(Reason::Malformed.because("`alg` of the token is not a string")),
            ("kid", Json::String(id)) => key_id = Some(id.to_string()),
            ("kid", _) => return Err(Reason::Malformed.because("`kid` of the token is not a string")),
            // Everything else only informs, such as `typ`.
            _ => {}
        }
    }
    let algorithm = algorithm.ok_or_else(|| Reason::Malformed.because("the token has no `alg`"))?;
    Ok((algorithm, key_id))
}
