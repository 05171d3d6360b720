//! API keys: `tdg_ID_SECRET`, for programs that no identity provider knows.
//!
//! ```text
//! key    = "tdg_" id "_" secret      ; the last `_` separates the two
//! id     = 1*64 (letter / digit / "_" / "-")
//! secret = 1*128 (letter / digit)    ; made here: 43 of them, 256 random bits
//! ```
//!
//! The prefix lets secret scanners find a key that was published by mistake. The configuration has the SHA-256 of the
//! secret: a secret with 256 random bits needs no slow hash, which would let strangers burn CPU time.

use std::fmt::Write as _;

use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq as _;

use super::sign::sha256;

/// What every key begins with.
pub const PREFIX: &str = "tdg_";
/// The length of a secret that is made here: 62^43 is more than 2^256.
const SECRET: usize = 43;
/// The length of an id that is made here.
const ID: usize = 8;
const MAX_ID: usize = 64;
const MAX_SECRET: usize = 128;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new key. It has no `Debug`, so that no log can show it.
pub struct ApiKey {
    /// The key itself: it is shown once, and kept nowhere.
    pub text: String,
    /// The table `[[key]]` for `auth.toml`, without grants.
    pub table: String,
    /// The public part.
    pub id: String,
}

/// A key that a client presents.
pub struct Presented<'a> {
    pub id: &'a str,
    hash: [u8; 32],
}

/// The SHA-256 of a secret, as the configuration has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl ApiKey {
    /// Makes a key for a publisher or subscriber of this name.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn generate(name: &str) -> Result<Self, String> {
        let (id, secret) = (random_letters(ID)?, random_letters(SECRET)?);
        let hash = SecretHash(sha256(secret.as_bytes()));
        let table = format!("[[key]]\nid = \"{id}\"\nhash = \"{hash}\"\nname = {}\n", toml_string(name));
        Ok(Self { text: format!("{PREFIX}{id}_{secret}"), table, id })
    }
}

impl<'a> Presented<'a> {
    /// Reads a key. `None` if it does not have the form of one.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.rsplit_once('_')?;
        let is_secret =
            (1..=MAX_SECRET).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (is_id(id) && is_secret).then(|| Self { id, hash: sha256(secret.as_bytes()) })
    }

    /// Compares in constant time.
    pub fn has(&self, hash: &SecretHash) -> bool {
        self.hash.ct_eq(&hash.0).into()
    }
}

impl SecretHash {
    /// Reads `sha256:` and 64 hex digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64)?;
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Some(Self(hash))
    }
}

impl std::fmt::Display for SecretHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whether this can be the id of a key.
pub fn is_id(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(is_letter)
}

/// Letters and digits, each with the same probability.
fn random_letters(count: usize) -> Result<String, String> {
    let random = SystemRandom::new();
    let mut letters = String::with_capacity(count);
    while letters.len() < count {
        let mut bytes = [0; 64];
        random.fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
        // 248 is the largest multiple of 62 in a byte: what is beyond would make the first letters more probable.
        let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| LETTERS[*byte as usize % LETTERS.len()] as char);
        letters.extend(fair.take(count - letters.len()));
    }
    Ok(letters)
}

/// A basic string of TOML.
fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                // Writing into a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", letter as u32);
            }
            letter => quoted.push(letter),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_fits_the_table_that_is_printed_with_it() {
        let key = ApiKey::generate("shop \"back\\end\"\n").unwrap();
        let table: toml::Table = toml::from_str(&key.table).unwrap();
        let table = table["key"][0].as_table().unwrap();
        assert_eq!(table["name"].as_str(), Some("shop \"back\\end\"\n"));
        let presented = Presented::parse(&key.text).unwrap();
        assert_eq!(Some(presented.id), table["id"].as_str());
        let hash = SecretHash::parse(table["hash"].as_str().unwrap()).unwrap();
        assert!(presented.has(&hash));
        assert_eq!(key.text.len(), PREFIX.len() + ID + 1 + SECRET);
        let other = ApiKey::generate("shop").unwrap();
        assert!(other.id != key.id && !Presented::parse(&other.text).unwrap().has(&hash));
    }

    #[test]
    fn the_last_underscore_separates_the_secret() {
        assert_eq!(Presented::parse("tdg_a_b_c-d_secret").map(|key| key.id), Some("a_b_c-d"));
        let long = format!("tdg_{}_s", "a".repeat(MAX_ID + 1));
        for text in ["", "tdg_", "tdg_a", "tdg_a_", "tdg__s", "tdg_a_s!", "tdg_ä_s", "xdg_a_s", "tdg_a_s ", &long] {
            assert!(Presented::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_hash_has_one_form() {
        let hash = SecretHash(sha256(b"secret"));
        let text = hash.to_string();
        assert_eq!(SecretHash::parse(&text), Some(hash));
        assert_eq!(text, "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b");
        for text in [&text[7..], &text.to_uppercase(), &text[..70], &format!("{text}0"), &text.replace('2', "g")] {
            assert_eq!(SecretHash::parse(text), None, "{text}");
        }
    }
}
