//! What a check found, and how it is shown.

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::super::failure::Failure;
use super::super::output::{DIM, Output, columns, wrapped};

/// The width of the column before the name of a check.
const LEVELS: usize = 11;
/// The least width of the column of names.
const NAMES: usize = 11;
/// A terminal with fewer columns has messages below their names.
const NARROW: usize = 60;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Works, and will probably cause trouble.
    Warning,
    /// Does not work.
    Problem,
    /// Could not be looked at.
    Skipped,
}

/// What one check found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The name of the check.
    pub check: &'static str,
    pub level: Level,
    pub message: String,
    /// What to do. Every warning and every problem has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    pub fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: message.into(), fix: None }
    }

    pub fn warning(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, message: message.into(), fix: Some(fix.into()) }
    }

    pub fn problem(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, level: Level::Problem, message: message.into(), fix: Some(fix.into()) }
    }

    pub fn skipped(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Skipped, message: message.into(), fix: None }
    }

    /// The width of the column with the names of these findings.
    pub fn names(findings: &[Self]) -> usize {
        findings.iter().map(|finding| finding.check.len()).fold(NAMES, usize::max)
    }

    /// Whether it is a reason to exit with 1.
    pub fn is_trouble(&self) -> bool {
        matches!(self.level, Level::Warning | Level::Problem)
    }

    /// Prints the finding for people: a line, and one more for what to do. `names` is the width of the column of names.
    pub fn print(&self, output: &mut Output, names: usize) -> Result<(), Failure> {
        let (word, style) = match self.level {
            Level::Ok => ("ok", AnsiColor::Green.on_default()),
            Level::Warning => ("warning", AnsiColor::Yellow.on_default().bold()),
            Level::Problem => ("problem", AnsiColor::Red.on_default().bold()),
            Level::Skipped => ("skipped", Style::new().dimmed()),
        };
        // A narrow terminal has no room for the message beside the names.
        let columns = columns();
        let indent = match columns {
            Some(columns) if columns < NARROW => LEVELS,
            _ => LEVELS + names + 1,
        };
        let broken = |text: &str| match columns {
            Some(columns) => wrapped(text, columns.saturating_sub(indent).max(1)),
            None => vec![text.to_owned()],
        };
        let is_narrow = indent == LEVELS;
        let mut message = broken(&self.message).into_iter();
        let first = if is_narrow { String::new() } else { message.next().unwrap_or_default() };
        output.line(format!("  {style}{word:<8}{style:#} {:<names$} {first}", self.check).trim_end())?;
        message.try_for_each(|line| output.line(&format!("{:indent$}{line}", "")))?;
        let Some(fix) = &self.fix else { return Ok(()) };
        for (number, line) in broken(fix).iter().enumerate() {
            match (number, is_narrow) {
                (0, false) => output.line(&format!("  {:<8} {DIM}{:<names$}{DIM:#} {line}", "", "fix"))?,
                (0, true) => output.line(&format!("  {DIM}{:<8}{DIM:#} {line}", "fix"))?,
                _ => output.line(&format!("{:indent$}{line}", ""))?,
            }
        }
        Ok(())
    }
}
