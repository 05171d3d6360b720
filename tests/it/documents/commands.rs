//! docs/commands.md is generated from the flags of the program, and each `tidings …` in any document is a command that it takes.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command};
use tidings::config::settings;

use super::{generated, markdown_files};

/// The heading of the flags that all commands share which talk to a daemon. They are listed once.
const SHARED: &str = "Daemon";

/// The program, with everything that clap adds.
fn program() -> Command {
    let mut program = tidings::cli::command();
    program.build();
    program
}

/// The commands that do something, each with its words: `token issue`.
fn commands<'a>(command: &'a Command, words: &str, found: &mut Vec<(String, &'a Command)>) {
    for below in command.get_subcommands() {
        let words = format!("{words} {}", below.get_name());
        match below.has_subcommands() {
            true => commands(below, &words, found),
            false => found.push((words, below)),
        }
    }
}

/// The arguments that a reader sees, but for `--help` and `--version`.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let shown = |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    command.get_arguments().filter(shown)
}

fn has_shared(command: &Command) -> bool {
    arguments(command).any(|arg| arg.get_help_heading() == Some(SHARED))
}

/// A text of clap in a cell of a table.
fn cell(text: &str) -> String {
    text.trim().replace('\n', " ").replace('|', "\\|").replace('<', "&lt;")
}

fn row(arg: &Arg) -> String {
    let values = arg.get_action().takes_values() || arg.is_positional();
    let values = if values { arg.get_value_names().unwrap_or_default() } else { &[] };
    let mut name = match (arg.get_long(), arg.get_short()) {
        (Some(long), Some(short)) => format!("-{short}, --{long}"),
        (Some(long), None) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => String::new(),
    };
    for value in values {
        let many = matches!(arg.get_action(), ArgAction::Append) && arg.is_positional();
        let (blank, end) = (if name.is_empty() { "" } else { " " }, if many { "…" } else { "" });
        write!(name, "{blank}{value}{end}").unwrap();
    }
    let mut help = arg.get_long_help().or(arg.get_help()).map(|help| cell(&help.to_string())).unwrap_or_default();
    if !help.ends_with(['.', ']']) {
        help.push('.');
    }
    let possible: Vec<_> = arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if !values.is_empty() && !possible.is_empty() {
        write!(help, " One of {}.", possible.join(", ")).unwrap();
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !values.is_empty() && !defaults.is_empty() {
        write!(help, " [default: {}]", cell(&defaults.join(" "))).unwrap();
    }
    if let Some(variable) = arg.get_env() {
        write!(help, " [env: `{}`]", variable.to_string_lossy()).unwrap();
    }
    if arg.is_required_set() {
        help.push_str(" Required.");
    }
    format!("| `{}` | {help} |\n", name.replace('|', "\\|"))
}

/// A table of arguments, or nothing.
fn table<'a>(title: &str, arguments: impl Iterator<Item = &'a Arg>) -> String {
    let rows: String = arguments.map(row).collect();
    if rows.is_empty() { rows } else { format!("| {title} | meaning |\n|---|---|\n{rows}\n") }
}

fn section(words: &str, command: &Command) -> String {
    let mut text = format!("## tidings{words}\n\n");
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    writeln!(text, "{}\n", about.trim().replace('<', "&lt;")).unwrap();
    let usage = command.clone().render_usage().to_string();
    writeln!(text, "```text\n{}\n```\n", usage.trim_start_matches("Usage: ").trim()).unwrap();
    text += &table("argument", arguments(command).filter(|arg| arg.is_positional()));
    let own = |arg: &&Arg| !arg.is_positional() && arg.get_help_heading() != Some(SHARED);
    // The settings are options of several commands. They are listed once.
    let is_serve = command.get_name() == "serve";
    let is_setting = |arg: &Arg| settings().iter().any(|setting| setting.name == arg.get_id().as_str());
    let has_settings = arguments(command).any(is_setting);
    let own = |arg: &&Arg| own(arg) && (is_serve || !is_setting(arg));
    let mut headings: Vec<_> = arguments(command).filter(own).map(Arg::get_help_heading).collect();
    headings.dedup();
    for heading in headings {
        let title = heading.map_or("option".to_owned(), |heading| format!("option: {}", heading.to_lowercase()));
        text += &table(&title, arguments(command).filter(own).filter(|arg| arg.get_help_heading() == heading));
    }
    if has_settings && !is_serve {
        text += "It also takes the settings that are options of [`tidings serve`](#tidings-serve).\n\n";
    }
    if has_shared(command) {
        text += "It also takes the options of [every command that talks to a daemon](#the-daemon).\n\n";
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (before, examples) = after.split_once("Examples:\n").or_else(|| after.split_once("Example:\n")).unwrap();
    if !before.trim().is_empty() {
        writeln!(text, "{}\n", before.trim()).unwrap();
    }
    let examples: Vec<_> = examples.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    writeln!(text, "```sh\n{}\n```\n", examples.join("\n").trim_end()).unwrap();
    text
}

#[test]
fn the_documented_commands_are_those_of_the_program() {
    let program = program();
    let mut found = Vec::new();
    commands(&program, "", &mut found);
    let mut text = "| command | what it does |\n|---|---|\n".to_owned();
    for (words, command) in &found {
        let about = cell(&command.get_about().unwrap().to_string());
        let anchor = words.replace(' ', "-");
        writeln!(text, "| [`tidings{words}`](#tidings{anchor}) | {about} |").unwrap();
    }
    text += "\n## The daemon\n\nThese options are those of every command that talks to a daemon.\n\n";
    let (_, with_shared) = found.iter().find(|(_, command)| has_shared(command)).unwrap();
    text += &table("option", arguments(with_shared).filter(|arg| arg.get_help_heading() == Some(SHARED)));
    text.extend(found.iter().map(|(words, command)| section(words, command)));
    generated("docs/commands.md", "commands", &text);
}

/// The words of the first command of a shell line, as far as a shell would pass them to one program. `None`: quotes that do not
/// end on this line.
fn shell_words(line: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => word.push(letter),
            (None, '\'' | '"') => (quote, begun) = (Some(letter), true),
            (None, '\\') => word.extend(letters.next()),
            (None, '|' | '>' | '<' | ';' | '&' | ')') => break,
            (None, '#') if !begun && word.is_empty() => break,
            (None, ' ') if begun || !word.is_empty() => (words.push(std::mem::take(&mut word)), begun = false).1,
            (None, ' ') => {}
            (None, _) => word.push(letter),
        }
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    quote.is_none().then_some(words)
}

#[test]
fn every_command_of_the_documents_is_one_that_the_program_takes() {
    let mut wrong = Vec::new();
    let mut taken = 0;
    for (path, text) in markdown_files() {
        let blocks = text.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
        let shell = blocks.filter(|(language, _)| matches!(language.trim(), "sh" | "bash" | "sh setup"));
        for line in shell.flat_map(|(_, code)| code.lines()) {
            let line = line.trim_start_matches("target/release/").trim_start_matches("source <(");
            // A test of a page that changes more of its lines first is beside that page.
            let Some(words) = line.starts_with("tidings ").then(|| shell_words(line)).flatten() else { continue };
            if let Err(error) = tidings::cli::command().try_get_matches_from(&words)
                && error.use_stderr()
            {
                let said = error.to_string();
                wrong.push(format!("{}: {line}\n  {}", path.display(), said.lines().next().unwrap()));
            }
            taken += 1;
        }
    }
    assert!(taken > 100, "{taken} commands");
    assert!(wrong.is_empty(), "commands that the program refuses:\n{}", wrong.join("\n"));
}
