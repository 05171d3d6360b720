//! `tidings man`: the manual pages, made from the same texts as `--help`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, ValueHint};
use clap_mangen::Man as Page;

use super::failure::Failure;
use super::output::Output;
use crate::suggest::Known;

/// Print a manual page, or write all of them to a folder.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings man tail | man -l -\n  tidings man token issue | man -l -\n  tidings man --out /usr/local/share/man/man1"
)]
pub struct Man {
    /// The command to print the page of, such as `tail`, `token issue` or `token-issue` [default: that of tidings itself].
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write the pages of all commands to this folder, as tidings-tail.1 and so on.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "command")]
    out: Option<PathBuf>,
}

impl Man {
    pub fn run(self) -> Result<(), Failure> {
        let mut program = super::Cli::command();
        program.build();
        match &self.out {
            Some(folder) => {
                fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
                write_all(&program, folder)
            }
            None => print(&program, &self.command),
        }
    }
}

fn print(program: &clap::Command, words: &[String]) -> Result<(), Failure> {
    let mut command = program;
    for word in words {
        let known = Known::new("commands", command.get_subcommands().map(clap::Command::get_name));
        let unknown = || known.refuse(&format!("{} has no command {word:?}", file_name(command)), word);
        command = find(command, word).ok_or_else(unknown)?;
    }
    let mut output = Output::new();
    output.line(String::from_utf8_lossy(&page(command)?).trim_end())?;
    output.flush()
}

/// The subcommand of this name, or of names with hyphens between them, as those of the pages are.
fn find<'a>(command: &'a clap::Command, name: &str) -> Option<&'a clap::Command> {
    let deeper =
        || name.match_indices('-').find_map(|(at, _)| find(command.find_subcommand(&name[..at])?, &name[at + 1..]));
    command.find_subcommand(name).or_else(deeper)
}

/// Writes the pages of a command and of those below it.
fn write_all(command: &clap::Command, folder: &Path) -> Result<(), Failure> {
    let file = folder.join(format!("{}.1", file_name(command)));
    fs::write(&file, page(command)?).map_err(|error| format!("{}: {error}", file.display()))?;
    command.get_subcommands().try_for_each(|command| write_all(command, folder))
}

fn file_name(command: &clap::Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// The page of a command, in the language of man.
fn page(command: &clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    // Without a date, the same program writes the same pages.
    let source = concat!("tidings ", env!("CARGO_PKG_VERSION"));
    Page::new(command.clone()).manual("tidings").source(source).render(&mut page)?;
    Ok(page)
}
