//! The media type of a body: its essence in lower case, its parameters, and its charset.

use std::fmt;

/// A `Content-Type` (RFC 9110, section 8.3.1).
#[derive(Debug, PartialEq)]
pub struct MediaType<'a> {
    /// Type and subtype, in lower case.
    pub essence: String,
    /// What follows, with the first semicolon.
    parameters: &'a str,
}

impl<'a> MediaType<'a> {
    pub fn parse(text: &'a str) -> Self {
        let (essence, parameters) = text.split_at(text.find(';').unwrap_or(text.len()));
        Self { essence: essence.trim().to_ascii_lowercase(), parameters }
    }

    /// JSON, or JSON with a name of its own (RFC 6839, section 3.1).
    pub fn is_json(&self) -> bool {
        self.essence == "application/json"
            || self.essence.starts_with("application/") && self.essence.ends_with("+json")
    }

    /// A charset other than UTF-8 and its part US-ASCII. JSON is UTF-8 (RFC 8259, section 8.1), and its subscribers would
    /// read the event's `datacontenttype`.
    pub fn foreign_charset(&self) -> Option<&'a str> {
        let charset = self.parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
        });
        charset.filter(|charset| !["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known)))
    }
}

impl fmt::Display for MediaType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.essence, self.parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_charset_other_than_utf8_is_foreign() {
        for (text, foreign) in [
            ("application/json", None),
            ("application/json; charset=utf-8", None),
            ("application/json;CHARSET=\"UTF-8\"", None),
            ("application/json; a=b; charset=US-ASCII", None),
            ("application/json; charset=utf-16", Some("utf-16")),
            ("application/json ; charset = \"ISO-8859-1\"", Some("ISO-8859-1")),
            ("application/json; charset=", Some("")),
        ] {
            assert_eq!(MediaType::parse(text).foreign_charset(), foreign, "{text}");
        }
    }
}
