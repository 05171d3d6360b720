//! JSON Pointers (RFC 6901).

/// Escapes one reference token of a JSON Pointer (RFC 6901, section 3).
pub(crate) fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}
