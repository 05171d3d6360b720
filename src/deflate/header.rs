//! Parses the header `Sec-WebSocket-Extensions` (RFC 6455, section 9.1).
//!
//! It returns every extension that the client offers, of any name. `offer.rs` decides which of them is accepted.

/// The header violates RFC 6455, section 9.1. Such a handshake must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// One element of the list: an extension with its parameters, in their order.
#[derive(Debug, PartialEq, Eq)]
pub struct Extension {
    pub name: String,
    pub parameters: Vec<(String, Option<String>)>,
}

/// Parses one line of the header. An empty line is an empty list.
///
/// # Errors
/// [`Malformed`]: the line violates the grammar.
pub fn extensions(line: &[u8]) -> Result<Vec<Extension>, Malformed> {
    let mut rest = Rest(line);
    let mut found = Vec::new();
    loop {
        // A list may have empty elements (RFC 9110, section 5.6.1).
        while rest.accept(b',') {}
        if rest.0.is_empty() {
            return Ok(found);
        }
        let name = rest.token()?;
        let mut parameters = Vec::new();
        while rest.accept(b';') {
            let name = rest.token()?;
            let value = if rest.accept(b'=') { Some(rest.value()?) } else { None };
            parameters.push((name, value));
        }
        found.push(Extension { name, parameters });
        if !rest.0.is_empty() && !rest.accept(b',') {
            return Err(Malformed);
        }
    }
}

/// The rest of the line that is not parsed yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Consumes `separator` and the white space around it, if it is next; returns whether it was.
    fn accept(&mut self, separator: u8) -> bool {
        self.0 = self.0.trim_ascii_start();
        match self.0.split_first() {
            Some((first, rest)) if *first == separator => {
                self.0 = rest.trim_ascii_start();
                true
            }
            _ => false,
        }
    }

    /// Consumes a token.
    fn token(&mut self) -> Result<String, Malformed> {
        let length = self.0.iter().take_while(|byte| is_token(**byte)).count();
        let (token, rest) = self.0.split_at(length);
        self.0 = rest.trim_ascii_start();
        parse_token(token.to_vec())
    }

    /// Consumes a token, quoted or not.
    fn value(&mut self) -> Result<String, Malformed> {
        let Some(mut quoted) = self.0.strip_prefix(b"\"") else { return self.token() };
        let mut value = Vec::new();
        loop {
            match quoted {
                [b'"', rest @ ..] => {
                    self.0 = rest.trim_ascii_start();
                    // The grammar demands a token within the quotes too.
                    return parse_token(value);
                }
                [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                    value.push(*byte);
                    quoted = rest;
                }
                [] => return Err(Malformed),
            }
        }
    }
}

fn parse_token(token: Vec<u8>) -> Result<String, Malformed> {
    match !token.is_empty() && token.iter().copied().all(is_token) {
        true => String::from_utf8(token).map_err(|_| Malformed),
        false => Err(Malformed),
    }
}

/// Whether a token may have this byte (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Vec<Extension> {
        extensions(line.as_bytes()).unwrap()
    }

    fn extension(name: &str, parameters: &[(&str, Option<&str>)]) -> Extension {
        let parameter = |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
        Extension { name: name.into(), parameters: parameters.iter().map(parameter).collect() }
    }

    #[test]
    fn a_list_is_read_with_its_parameters() {
        assert_eq!(read("a"), [extension("a", &[])]);
        assert_eq!(
            read(" a , b;x ;\ty=1,c"),
            [extension("a", &[]), extension("b", &[("x", None), ("y", Some("1"))]), extension("c", &[]),]
        );
        assert_eq!(read(r#"a; x="1\0" ; y = "z","#), [extension("a", &[("x", Some("10")), ("y", Some("z"))])]);
        assert_eq!(read(", a,,b,"), [extension("a", &[]), extension("b", &[])]);
        assert_eq!(read(""), []);
        assert_eq!(read(" , "), []);
    }

    #[test]
    fn lines_outside_the_grammar_are_malformed() {
        for line in [
            "a;",
            "a;;b",
            ";a",
            "a=1",
            "a;=1",
            "a;x=",
            "a;x=,b",
            "a b",
            "a;x y",
            "a;x=1 2",
            "a;x=\"",
            "a;x=\"1",
            "a;x=\"1\\\"",
            "a;x=\"\"",
            "a;x=\"1 2\"",
            "a;x=\"1\"2",
            "a;x=\"a,b\"",
            "a@b",
            "(a)",
            "a;x={}",
            "é",
            "a;x=\"é\"",
        ] {
            assert_eq!(extensions(line.as_bytes()), Err(Malformed), "{line}");
        }
        assert_eq!(extensions(b"\xff"), Err(Malformed));
        assert_eq!(extensions(b"a\0"), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b';'), Just(b'=')], 0..60)) {
            let _ = extensions(&line);
        }
    }
}
