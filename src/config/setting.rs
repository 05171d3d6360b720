//! The settings there are: read from the commented file of defaults, which is their only list.
//!
//! The names, help texts and defaults of the flags come from `tidings.default.toml`, so that a setting is described in
//! one place. In that file `## X` begins a group, `# text` before a setting is its help, and `#name = value` (no blank
//! after the `#`) is a setting without a default, with an example for it.

use std::sync::OnceLock;

/// The commented file of defaults, as a user may copy it.
pub const DEFAULTS: &str = include_str!("tidings.default.toml");

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key in the file; see [`Setting::flag`] and [`Setting::variable`] for its other forms.
    pub name: &'static str,
    pub group: &'static str,
    pub help: String,
    /// The text of the value where none is given.
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

    /// Whether it is a switch: its flag needs no value.
    pub fn is_switch(&self) -> bool {
        self.default == Some("false")
    }
}

/// What the names of all our variables start with.
pub const PREFIX: &str = "TIDINGS_";

/// All settings, in the order of the file.
pub fn settings() -> &'static [Setting] {
    static SETTINGS: OnceLock<Vec<Setting>> = OnceLock::new();
    SETTINGS.get_or_init(|| parse(DEFAULTS))
}

/// The name among `known` that is most like `name`, however little.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> &'a str {
    let likeness = |other: &str| strsim::jaro_winkler(&name.to_ascii_lowercase(), &other.to_ascii_lowercase());
    known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default()
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
    fn the_file_of_defaults_is_toml_and_says_what_the_settings_say() {
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
