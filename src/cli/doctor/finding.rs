//! What a check found, and how it is shown.

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::super::failure::Failure;
use super::super::output::{DIM, Output};

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

    /// Whether it is a reason to exit with 1.
    pub fn is_trouble(&self) -> bool {
        matches!(self.level, Level::Warning | Level::Problem)
    }

    /// Prints the finding for people: a line, and one more for what to do.
    pub fn print(&self, output: &mut Output) -> Result<(), Failure> {
        let (word, style) = match self.level {
            Level::Ok => ("ok", AnsiColor::Green.on_default()),
            Level::Warning => ("warning", AnsiColor::Yellow.on_default().bold()),
            Level::Problem => ("problem", AnsiColor::Red.on_default().bold()),
            Level::Skipped => ("skipped", Style::new().dimmed()),
        };
        output.line(&format!("  {style}{word:<8}{style:#} {:<11} {}", self.check, self.message))?;
        match &self.fix {
            Some(fix) => output.line(&format!("  {:<8} {DIM}{:<11}{DIM:#} {fix}", "", "fix")),
            None => Ok(()),
        }
    }
}
