//! Writes the measurements into `docs/performance.md`: it fills the tables between markers, and keeps the prose around
//! them.

use std::path::Path;
use std::{fs, io};

use crate::results::Results;
use crate::scenarios;
use crate::svg;
use crate::table::Table;
use crate::targets;

/// The end of a block, which begins with `<!-- bench:NAME -->`.
const BLOCK_END: &str = "<!-- /bench -->";

/// Writes the tables into the document, and the plots beside it.
pub fn write(results: &Results) -> io::Result<()> {
    if results.samples.is_empty() {
        return Err(io::Error::other("there are no measurements yet: run `make bench`"));
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let document = docs.join("performance.md");
    let text = fill_blocks(&fs::read_to_string(&document)?, |name| block(results, name)).map_err(io::Error::other)?;
    fs::write(&document, text)?;
    fs::write(docs.join("performance.svg"), svg::cost(results))?;
    fs::write(docs.join("performance-delay.svg"), svg::delay(results))?;
    println!("{}, performance.svg and performance-delay.svg are written", document.display());
    Ok(())
}

/// The content of a block.
fn block(results: &Results, name: &str) -> Option<String> {
    match name {
        "machine" => {
            let versions = results.machine.versions.iter().map(|(name, version)| format!("{name} {version}"));
            Some(format!("{} {}.\n", results.machine.sentence(), versions.collect::<Vec<_>>().join(", ")))
        }
        "targets" => Some(targets::table(results).markdown()),
        _ => {
            let scenario = scenarios::all().into_iter().find(|scenario| scenario.name == name)?;
            let titled = |table: Table| format!("**{}**\n\n{}", table.title, table.markdown());
            Some((scenario.tables)(results).into_iter().map(titled).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// Returns the document with new content in every block.
fn fill_blocks(text: &str, block: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("<!-- bench:") {
        let (name, after) = after.split_once(" -->").ok_or("a marker has no end")?;
        let (_, after) = after.split_once(BLOCK_END).ok_or_else(|| format!("the block {name} has no end"))?;
        let content = block(name).ok_or_else(|| format!("there is nothing for the block {name}"))?;
        filled += &format!("{before}<!-- bench:{name} -->\n\n{content}\n{BLOCK_END}");
        rest = after;
    }
    Ok(filled + rest)
}
