//! The documents: what they list is what there is, and their commands are those of the program. `make lint` checks their links.

mod commands;
mod reference;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tidings::config::settings;

/// Markdown files of the repository.
fn markdown_files() -> Vec<(PathBuf, String)> {
    const SKIPPED: [&str; 3] = ["target", "node_modules", "dist"];
    fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                collect(&path, found);
            } else if name.ends_with(".md") {
                found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    found
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let summary = std::fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let links = summary.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let listed: Vec<_> = links.map(|(link, _)| docs.join(link).canonicalize().unwrap()).collect();
    let files = markdown_files().into_iter().map(|(path, _)| path.canonicalize().unwrap());
    // scripts/site adds the decisions below their page.
    let decisions = docs.join("decisions").canonicalize().unwrap();
    let pages = files.filter(|path| !path.ends_with("docs/SUMMARY.md"));
    let pages = pages.filter(|path| path.parent() != Some(&decisions) || path.ends_with("README.md"));
    let missing: Vec<_> = pages.filter(|path| !listed.contains(path)).collect();
    assert!(listed.len() > 30 && missing.is_empty(), "docs/SUMMARY.md lacks {missing:?}");
}

/// The settings as a table for each group.
fn settings_tables() -> String {
    let mut tables = String::new();
    let mut group = "";
    for setting in settings() {
        if setting.group != group {
            group = setting.group;
            write!(tables, "### {group}\n\n| setting | default | meaning |\n|---|---|---|\n").unwrap();
        }
        let default = setting.default.map_or("–".to_owned(), |default| format!("`{default}`"));
        let last = settings().iter().rfind(|other| other.group == group).is_some_and(|other| other == setting);
        let end = if last { "\n\n" } else { "\n" };
        write!(tables, "| `{}` | {default} | {} |{end}", setting.name, setting.help.replace('|', "\\|")).unwrap();
    }
    tables
}

#[test]
fn the_documented_settings_are_those_of_the_daemon() {
    generated("docs/configuration.md", "settings", &settings_tables());
}

/// Asserts that the part `name` of a document is this text. It is generated: `TIDINGS_WRITE_DOCS=1 cargo test --test it
/// documents` writes it.
pub fn generated(document: &str, name: &str, expected: &str) {
    let (begin, end) = (format!("<!-- {name} -->\n\n"), format!("<!-- /{name} -->"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(&begin).expect("the part has a beginning");
    let (part, after) = rest.split_once(&end).expect("the part has an end");
    if std::env::var_os("TIDINGS_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{begin}{expected}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(
        part, expected,
        "{document} is out of date: TIDINGS_WRITE_DOCS=1 cargo test --test it documents writes it"
    );
}
