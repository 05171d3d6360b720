//! A text that must not be shown: a token, or a private key.
//!
//! A [`Secret`] has no `Debug`, `Display` or `Serialize`, so it does not reach a log line, an error or a printed structure by
//! accident: a structure that holds one does not compile with `derive(Debug)`. Code that writes it somewhere says so with
//! [`Secret::expose`]. [`exposed`] warns of files with secrets that other users may read.

#[cfg(feature = "server")]
mod file_mode;

use zeroize::Zeroizing;

#[cfg(feature = "server")]
pub use file_mode::exposed;

/// A secret text. Its memory is overwritten when it is dropped.
///
/// The comparison is not in constant time: whoever checks a credential compares hashes instead.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, to be written where it belongs and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}
