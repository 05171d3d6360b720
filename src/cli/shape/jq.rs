//! Programs of `--jq`, run by jaq, which is jq without a second binary.
//!
//! jaq keeps the text of a number that no double can hold, so that a program that only passes it on prints it as it was.

use jaq_core::load::{Arena, Error as LoadError, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, data, unwrap_valr};
use jaq_json::{Val, read};

/// A compiled program.
pub struct Jq {
    filter: Filter<data::JustLut<Val>>,
}

/// Checks a program, for the command line.
pub fn checked(program: &str) -> Result<String, String> {
    Jq::new(program).map(|_| program.to_owned())
}

impl Jq {
    /// Compiles a program.
    ///
    /// # Errors
    /// A sentence that names the place.
    pub fn new(program: &str) -> Result<Self, String> {
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let arena = Arena::default();
        let file = File { code: program, path: () };
        let loaded = Loader::new(definitions).load(&arena, file).map_err(|errors| {
            let first = errors.into_iter().next().map(|(_, error)| error);
            first.map_or_else(String::new, |error| not_read(program, error))
        })?;
        let filter = Compiler::default().with_funs(functions).compile(loaded).map_err(|errors| {
            let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
            first.map_or_else(String::new, |(name, kind)| format!("there is no {} {name:?}", kind.as_str()))
        })?;
        Ok(Self { filter })
    }

    /// Calls `print` with each result for a JSON text: a string without its quotes, anything else as JSON.
    ///
    /// # Errors
    /// What the program, or `print`, said. The results before it were printed.
    pub fn run<E: From<String>>(&self, json: &[u8], mut print: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        let input = read::parse_single(json).map_err(|error| error.to_string())?;
        let context = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new([]));
        for result in self.filter.id.run((context, input)).map(unwrap_valr) {
            match result.map_err(|error| error.to_string())? {
                Val::TStr(text) => print(&String::from_utf8_lossy(&text))?,
                other => print(&other.to_string())?,
            }
        }
        Ok(())
    }
}

/// What is wrong with a program that cannot be read, and where.
fn not_read(program: &str, error: LoadError<&str>) -> String {
    let at = |rest: &str| match program.len() - rest.len() {
        _ if rest.is_empty() => "at its end".to_owned(),
        bytes => format!("at {:?} (character {})", rest, program[..bytes].chars().count() + 1),
    };
    match error {
        LoadError::Io(errors) => errors.into_iter().next().map_or_else(String::new, |(_, error)| error),
        LoadError::Lex(errors) => {
            let first = errors.into_iter().next();
            first.map_or_else(String::new, |(expected, rest)| format!("expected {} {}", expected.as_str(), at(rest)))
        }
        LoadError::Parse(errors) => {
            let first = errors.into_iter().next();
            first.map_or_else(String::new, |(expected, found)| match found {
                "" => format!("expected {} at its end", expected.as_str()),
                found => format!("expected {}, not {found:?}", expected.as_str()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &str, json: &str) -> Result<Vec<String>, String> {
        let mut results = Vec::new();
        Jq::new(program)?.run(json.as_bytes(), |result| {
            results.push(result.to_owned());
            Ok::<_, String>(())
        })?;
        Ok(results)
    }

    #[test]
    fn results_are_printed_as_jq_prints_them_raw() {
        let line = r#"{"position":"k3:1","event":{"data":{"n":9007199254740993,"price":0.10000000000000000001,"name":"two words","tags":["x","y"]}}}"#;
        for (program, expected) in [
            (".event.data.name", vec!["two words"]),
            (".event.data.tags[]", vec!["x", "y"]),
            (".event.data | [.n, .name]", vec![r#"[9007199254740993,"two words"]"#]),
            (".event.data.price", vec!["0.10000000000000000001"]),
            ("select(.event.data.n > 1) | .position", vec!["k3:1"]),
            ("empty", vec![]),
            (r#""\(.position): \(.event.data.name | ascii_upcase)""#, vec!["k3:1: TWO WORDS"]),
        ] {
            assert_eq!(run(program, line).unwrap(), expected, "{program}");
        }
    }

    #[test]
    fn a_mistake_in_a_program_says_where() {
        for (program, fragment) in [
            (".event.", "at its end"),
            (".a | bogus", "no filter \"bogus\""),
            (". | $x", "no variable"),
            ("[.a", "at its end"),
            ("(.a §", "character"),
            (".a .b c", "\"c\""),
        ] {
            let error = run(program, "{}").unwrap_err();
            assert!(error.contains(fragment), "{program}: {error}");
        }
        assert!(run(".a.b", r#"{"a":1}"#).unwrap_err().contains("cannot index"));
    }
}
