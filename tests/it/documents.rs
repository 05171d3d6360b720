//! The documents: their links lead somewhere, what they list is what there is, and their commands are those of the program.

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

/// The document without its fenced blocks.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The targets of the links and images in a document.
fn links(text: &str) -> Vec<String> {
    let after = prose(text);
    let targets = after.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text);
    let headings =
        headings.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let documents = markdown_files();
    let mut broken = Vec::new();
    for (path, text) in &documents {
        for link in links(text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let reached = target.exists()
                && (anchor.is_empty()
                    || std::fs::read_to_string(&target)
                        .is_ok_and(|text| anchors(&text).iter().any(|one| one == anchor)));
            if !reached {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(documents.len() > 5 && broken.is_empty(), "broken links:\n{}", broken.join("\n"));
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
