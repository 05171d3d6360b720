//! Conditional requests: whether a client has what it asks for already (RFC 9110, section 13.1.2).

use axum::http::{HeaderMap, HeaderName, header};

/// Whether `If-None-Match` names this tag, or is `*`. Tags are compared weakly, as the header asks for.
pub(super) fn is_known(request: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let tag = opaque(tag);
    listed(request, &header::IF_NONE_MATCH).any(|known| known == "*" || opaque(known) == tag)
}

/// The entries of a header that is a list.
pub(super) fn listed<'a>(request: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = request.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_however_it_is_listed() {
        let knows = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::IF_NONE_MATCH, field.parse().unwrap());
            }
            (is_known(&headers, "\"a\""), is_known(&headers, "W/\"a\""))
        };
        for fields in [&["\"a\""][..], &["W/\"a\""], &["\"b\" , \"a\""], &["\"b\"", "\"a\""], &["*"]] {
            assert_eq!(knows(fields), (true, true), "{fields:?}");
        }
        for fields in [&[][..], &["\"b\""], &["a"], &[""], &["\"A\""]] {
            assert_eq!(knows(fields), (false, false), "{fields:?}");
        }
    }
}
