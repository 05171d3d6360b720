//! What the tables of all flows have in common: the name, and where a new flow begins.

use std::sync::Arc;

use crate::event::Since;

/// The longest name of a flow, in bytes.
const MAX_NAME: usize = 64;

/// The name of a flow.
///
/// # Errors
/// What a name is.
pub fn name(text: &str) -> Result<Arc<str>, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(good) && !text.starts_with('.') {
        true => Ok(text.into()),
        false => Err("1 to 64 letters, digits, `.`, `_` or `-`, the first of them no `.`".into()),
    }
}

/// Where a new flow begins: nowhere that only one channel has, and nowhere that is no position of the log.
///
/// # Errors
/// What may be written.
pub fn since(text: &str) -> Result<Since, String> {
    match text.parse() {
        Ok(since @ (Since::Now | Since::Start | Since::AcceptedFrom(_))) => Ok(since),
        _ => Err("now, start, an age such as 10m, or an RFC 3339 time".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_does_not_begin_with_a_dot() {
        for good in ["a", "A.b_c-9", &"x".repeat(64)] {
            assert_eq!(&*name(good).unwrap(), good);
        }
        for bad in ["", ".a", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(name(bad).unwrap_err().ends_with("the first of them no `.`"), "{bad}");
        }
    }

    #[test]
    fn a_flow_begins_at_no_position_and_not_with_the_latest() {
        assert_eq!(since("start"), Ok(Since::Start));
        assert_eq!(since("now"), Ok(Since::Now));
        assert!(matches!(since("10m"), Ok(Since::AcceptedFrom(_))));
        for bad in ["latest", "k3:4", "", "soon"] {
            assert!(since(bad).unwrap_err().starts_with("now, start, an age"), "{bad}");
        }
    }
}
