//! The list of settings: name, group, help text and default of each, parsed from the commented defaults file.
//!
//! `tidings.default.toml` is the only place that describes a setting; flags, variables and `--help` are made from it. In
//! that file `## X` begins a group, and `# text` before a setting is its help. `#name = value` (no blank after the `#`)
//! is a setting without a default, with an example.

use std::sync::OnceLock;

/// The commented defaults file, which a user may copy as a `tidings.toml`.
pub const DEFAULTS: &str = include_str!("tidings.default.toml");

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key in the file. [`Setting::flag`] and [`Setting::variable`] are its other forms.
    pub name: &'static str,
    /// The heading in the file and in `--help`.
    pub group: &'static str,
    /// The help text, one or more sentences.
    pub help: String,
    /// The default as text, if the setting has one.
    pub default: Option<&'static str>,
}

impl Setting {
    /// The name of the flag, without its dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The name of the environment variable.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// Whether the flag is a switch, which needs no value.
    pub fn is_switch(&self) -> bool {
        self.default == Some("false")
    }

    /// Whether the value is a list: text with commas, or an array of strings in the file.
    pub fn is_list(&self) -> bool {
        LISTS.contains(&self.name)
    }
}

/// The settings whose value is a list.
const LISTS: [&str; 3] = ["allowed_origins", "allowed_hosts", "trusted_proxies"];

/// The prefix of all environment variables.
pub const PREFIX: &str = "TIDINGS_";

/// All settings, in the order of the defaults file.
pub fn settings() -> &'static [Setting] {
    static SETTINGS: OnceLock<Vec<Setting>> = OnceLock::new();
    SETTINGS.get_or_init(|| parse(DEFAULTS))
}

fn parse(text: &'static str) -> Vec<Setting> {
    let mut found = Vec::new();
    let (mut group, mut help) = ("", Vec::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            group = heading;
        } else if let Some(words) = line.strip_prefix("# ") {
            help.push(words);
        } else if let Some((name, value)) = line.split_once(" = ") {
            let (name, default) = match name.strip_prefix('#') {
                Some(name) => (name, None),
                None => (name, Some(value.trim_matches('"'))),
            };
            found.push(Setting { name, group, help: help.join(" "), default });
        } else if line.is_empty() {
            help.clear();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_file_is_toml_with_the_values_of_the_settings() {
        let file: toml::Table = toml::from_str(DEFAULTS).unwrap();
        let defaults: Vec<_> = settings().iter().filter(|setting| setting.default.is_some()).collect();
        assert_eq!(file.keys().collect::<Vec<_>>(), defaults.iter().map(|setting| setting.name).collect::<Vec<_>>());
        for setting in defaults {
            let text = match &file[setting.name] {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                other => other.as_bool().unwrap().to_string(),
            };
            assert_eq!(setting.default, Some(text.as_str()), "{}", setting.name);
        }
    }

    #[test]
    fn every_setting_has_a_help_text_and_a_group() {
        for setting in settings() {
            assert!(setting.help.ends_with('.') && !setting.group.is_empty(), "{setting:?}");
        }
        let limit = settings().iter().find(|setting| setting.name == "max_event_bytes").unwrap();
        assert_eq!((limit.flag(), limit.variable()), ("max-event-bytes".into(), "TIDINGS_MAX_EVENT_BYTES".into()));
    }
}
