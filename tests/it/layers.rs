//! The rooms of the house: which code may know of which.

use std::fs;
use std::path::{Path, PathBuf};

/// What does I/O, or is there for the sake of it.
const IO: [&str; 14] = [
    "async_trait",
    "axum",
    "fred",
    "futures_util",
    "hyper",
    "hyper_util",
    "reqwest",
    "rusqlite",
    "rustix",
    "socket2",
    "tokio",
    "tokio_tungstenite",
    "tracing",
    "tungstenite",
];

fn sources(at: &Path, found: &mut Vec<PathBuf>) {
    if at.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            sources(&entry.unwrap().path(), found);
        }
    } else if at.extension().is_some_and(|extension| extension == "rs") {
        found.push(at.to_owned());
    }
}

#[test]
fn the_domain_names_no_crate_that_does_io() {
    let mut files = Vec::new();
    for room in ["src/event", "src/protocol.rs"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(room), &mut files);
    }
    assert!(files.len() > 8, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (number, line) in code {
            let mut words = line.split(|character: char| !(character.is_alphanumeric() || character == '_'));
            let io = words.find(|word| IO.contains(word));
            assert_eq!(io, None, "{}:{}: {line}", file.display(), number + 1);
        }
    }
}
