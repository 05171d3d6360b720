//! The value of a `ce-` header as text (CloudEvents 1.0, HTTP protocol binding, section 3.1.3.2).
//!
//! A publisher should send ASCII with percent-encoding. Some libraries send UTF-8 as it is, and it is taken too.

use percent_encoding::percent_decode;

/// The text of a header's value.
///
/// # Errors
/// What is wrong with the value, as the end of a sentence about it.
pub fn decode(value: &[u8]) -> Result<String, &'static str> {
    if std::str::from_utf8(value).is_err() {
        return Err("is not UTF-8 (it may be Latin-1): send UTF-8, or percent-encode it");
    }
    let text = unquoted(value);
    let decoded = percent_decode(text.as_deref().unwrap_or(value)).decode_utf8();
    decoded.map(Into::into).map_err(|_| "is not UTF-8 after percent-decoding: percent-encode its text as UTF-8")
}

/// The content of a quoted string (RFC 9110, section 5.6.4), without the backslashes of its escapes; `None` if the value is
/// no quoted string, and so stands for itself.
fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let inner = value.strip_prefix(b"\"")?;
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    loop {
        match bytes.next()? {
            b'"' => return bytes.next().is_none().then_some(text),
            b'\\' => text.push(bytes.next()?),
            byte => text.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_escapes_and_percent_encoding_are_removed() {
        for (value, text) in [
            ("plain", "plain"),
            ("Euro%20%E2%82%AC 100%+F", "Euro € 100%+F"),
            ("Gr\u{f6}\u{df}e \u{1f600}", "Gr\u{f6}\u{df}e \u{1f600}"),
            (r#""quoted""#, "quoted"),
            (r#""a \"b\" \\ c""#, r#"a "b" \ c"#),
            (r#""100%25 \%41""#, "100% A"),
            (r#""""#, ""),
            (r#""open"#, r#""open"#),
            (r#""two" parts""#, r#""two" parts""#),
            (r#""ends in \""#, r#""ends in \""#),
            (r"a\b", r"a\b"),
        ] {
            assert_eq!(decode(value.as_bytes()).as_deref(), Ok(text), "{value}");
        }
        assert!(decode(b"caf\xe9").unwrap_err().contains("Latin-1"));
        assert!(decode(b"%FF").unwrap_err().contains("percent-encode"));
    }
}
