//! The table of error texts: collects them, and compares them with the committed file.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::support::daemon::Ended;
use crate::support::http::Response;

const FILE: &str = "tests/it/error_texts.txt";
const HEAD: &str = "\
Every error text of the daemon, the command line and the Rust client
=====================================================================

The tests in tests/it/error_texts/ provoke each text for real: through HTTP and WebSocket frames of a daemon, with the
binary, configurations, schema files, brokers that fail, and servers that are no daemon. They compare the texts with this
file. `TIDINGS_WRITE_DOCS=1 cargo test --test it -- error_texts` writes it anew.

Each entry is what was done, and below it what the user reads. Ports, ids and folders are replaced by names. A test checks
that every error code occurs, that every `#[error(…)]` text of the source occurs, and that each code has as many texts as
places in the source that make it. The end of this file names the exceptions and why.
";

#[derive(Default)]
pub struct Table {
    text: String,
    /// The text of each refusal by its code, as often as it differs.
    pub refusals: BTreeSet<(String, String)>,
}

impl Table {
    /// Begins a section.
    pub fn section(&mut self, title: &str) {
        write!(self.text, "\n\n{title}\n{}\n", "-".repeat(title.chars().count())).unwrap();
    }

    /// Adds what was done, and what the user reads.
    pub fn add(&mut self, done: &str, read: &str) {
        let lines = normalised(read);
        let lines = lines.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let mut done = normalised(done);
        if let Some((end, _)) = done.char_indices().nth(160) {
            done.truncate(end);
            done.push('…');
        }
        write!(self.text, "\n{done}\n{lines}").unwrap();
    }

    /// Adds a problem document.
    pub fn problem(&mut self, done: &str, response: &Response) {
        let problem = response.json();
        let [code, detail] =
            ["code", "detail"].map(|name| problem[name].as_str().unwrap_or_else(|| panic!("{problem}")));
        let mut read = format!("{} {code}\n{detail}", response.status);
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        // The detail has the only mistake.
        for error in errors.iter().filter(|_| errors.len() > 1) {
            let [pointer, message] = ["pointer", "message"].map(|name| error[name].as_str().unwrap());
            let colon = if pointer.is_empty() { "" } else { ": " };
            write!(read, "\n  {pointer}{colon}{message}").unwrap();
        }
        self.add(done, &read);
        self.refusals.insert((code.to_owned(), normalised(detail)));
    }

    /// Adds an `error` frame.
    pub fn frame(&mut self, done: &str, frame: &Value) {
        let [code, message] = ["code", "message"].map(|name| frame[name].as_str().unwrap_or_else(|| panic!("{frame}")));
        self.add(done, &format!("{code}\n{message}"));
        self.refusals.insert((code.to_owned(), normalised(message)));
    }

    /// Adds the stderr of a command that failed.
    pub fn command(&mut self, done: &str, ended: &Ended) {
        assert_ne!(ended.code, Some(0), "{done}: {ended:?}");
        self.add(&format!("$ {done}"), &format!("exit code {}\n{}", ended.code.unwrap(), ended.err.trim_end()));
    }

    /// Whether a part of the table has this text.
    pub fn contains(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// Compares the table with the file, or writes the file.
    pub fn compare(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
        let expected = format!("{HEAD}{}", self.text);
        if std::env::var_os("TIDINGS_WRITE_DOCS").is_some() {
            std::fs::write(&path, expected).unwrap();
            return;
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let differs =
            expected.lines().zip(committed.lines().chain(std::iter::repeat(""))).find(|(one, other)| one != other);
        assert!(
            expected == committed,
            "{FILE} is out of date, first at {differs:#?} (now, committed): TIDINGS_WRITE_DOCS=1 cargo test --test it -- \
             error_texts writes it"
        );
    }
}

/// The text with a name for everything that differs from run to run.
pub fn normalised(text: &str) -> String {
    // The commands name the program as it was called.
    let text = text.replace(env!("CARGO_BIN_EXE_tidings"), "tidings");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_alphanumeric()) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let is_port = out.ends_with(':') && word.parse::<u32>().is_ok_and(|port| (10_000..=65_535).contains(&port));
        if let Some(uuid) = rest.get(..36).filter(|text| is_uuid(text)) {
            out.push_str("ID");
            rest = &rest[uuid.len()..];
            continue;
        }
        // An epoch has 8 letters and digits, and an offset follows.
        let is_epoch = word.len() == 8
            && !word.bytes().any(|byte| byte.is_ascii_uppercase())
            && after.strip_prefix(':').is_some_and(|after| after.starts_with(|letter: char| letter.is_ascii_digit()));
        out.push_str(match (is_port, is_epoch) {
            (true, _) => "PORT",
            (_, true) => "EPOCH",
            _ => word,
        });
        rest = after;
    }
    out.push_str(rest);
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}
