//! Whether the table has every text: compares it with the source.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tidings::protocol::ErrorCode;

use super::table::Table;

/// Codes with fewer texts in the table than places in the source, by how many, and why.
const FEWER: &[(&str, usize, &str)] = &[
    ("request-timeout", 1, "it takes 30 s"),
    ("method-not-allowed", 1, "a response to HEAD has no body"),
    ("unknown-subscription", 1, "a connection that ends while it subscribes"),
    (
        "overloaded",
        2,
        "a body waits 30 s to be parsed, as in a test of src/http/parse_limit.rs; no file is left, as in tests/it/edge/files.rs",
    ),
    ("draining", 3, "a request whose head arrives in the moment in which the node stops to accept connections"),
    ("internal", 2, "a handler that panics; tests/it/supervision.rs has one; a read without a page"),
    (
        "not-found",
        4,
        "types that keep no newest events come first; tests/it/console.rs and tests/it/latest.rs have the others",
    ),
    (
        "invalid-position",
        2,
        "a cursor of newest events where the type keeps none; a second `since: latest` on a connection, as in tests/it/latest/seam.rs",
    ),
    ("payload-too-large", 1, "a broker that takes no call as large, as in tests/it/upstash.rs"),
    ("bad-request", 1, "a body that breaks off closes the connection with it"),
    (
        "broker-unavailable",
        4,
        "a node without its broker for 15 s, or before its first contact; a read log that is refused",
    ),
    ("unauthenticated", 6, "every refused credential has one text; tests/it/access/matrix.rs has each"),
    ("forbidden", 2, "one text too; tests/it/access/matrix.rs has each"),
];

/// Texts of `#[error(…)]` that the table does not have, and why.
const NOT_PROVOKED: &[(&str, &str)] = &[
    ("another node may have the lease", "a log line of a flow: another node goes on"),
    ("the value ", "a log line of a flow"),
    ("the system gives no thread", "the system has no threads left"),
    ("the service ", "a service of the daemon panics; tests/it/supervision.rs has one"),
    ("a fan-out thread has died", "a thread of the daemon panics; tests/it/supervision.rs has one"),
    ("the file of the setting auth cannot be used", "tests/it/auth_file.rs has the mistakes of such a file"),
    ("TLS cannot be used", "tests/it/tls.rs has files that cannot be used"),
    ("the client sent plain HTTP to a TLS port", "a log line: the client gets a response"),
    ("it is damaged", "a log line: the daemon sets a damaged file aside and starts"),
    ("a position is EPOCH:OFFSET", "a daemon that sends a wrong position"),
    ("the loader panicked", "the Rust cache, for its caller; src/cache/tests has its errors"),
    ("the invalidation was not acknowledged", "the same"),
    ("the cache is closed", "the same"),
    ("L2 has something else under", "the same, which counts it and loads"),
];

/// The code of the source without its tests: each file's path and text.
fn sources() -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                found.push((path, lines.collect::<Vec<_>>().join("\n")));
            }
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

/// Checks that every error code occurs, as often as the source makes it, and that every public error's text does. Adds the
/// exceptions to the table.
pub fn check(table: &mut Table) {
    let sources = sources();
    let mut texts: BTreeMap<&str, usize> = BTreeMap::new();
    for (code, _) in &table.refusals {
        *texts.entry(code).or_default() += 1;
    }
    let mut missing = Vec::new();
    for code in ErrorCode::ALL {
        let made = |(_, text): &(PathBuf, String)| text.matches(&format!("ErrorCode::{code:?}, ")).count();
        let made: usize = sources.iter().map(made).sum();
        let fewer = FEWER.iter().find(|(name, ..)| *name == code.as_str()).map_or(0, |(_, fewer, _)| *fewer);
        let found = texts.get(code.as_str()).copied().unwrap_or(0);
        if found + fewer < made.max(1) {
            missing.push(format!("{code}: {found} texts, {made} places"));
        }
    }
    for (path, text) in &sources {
        for attribute in text.split("#[error(\"").skip(1) {
            let literal = attribute.split('"').next().unwrap();
            // The longest part without placeholders.
            let parts = literal.split(['{', '}']).step_by(2);
            let part = parts.max_by_key(|part| part.len()).unwrap_or_default();
            let excepted = NOT_PROVOKED.iter().any(|(start, _)| literal.starts_with(start));
            if part.len() > 3 && !excepted && !table.contains(part.trim()) {
                missing.push(format!("{}: {literal}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "the table has too few texts:\n{}", missing.join("\n"));
    table.section("Not provoked");
    for (what, why) in
        FEWER.iter().map(|(code, _, why)| (code, why)).chain(NOT_PROVOKED.iter().map(|(text, why)| (text, why)))
    {
        table.add(what, why);
    }
}
