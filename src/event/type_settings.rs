//! The settings of one event type: what its log keeps, where that differs from the settings of the daemon, and whether the
//! newest event of each subject is kept.
//!
//! A schema says them with keywords of its own (`x-tidings-log-max-age`), the configuration with a table (`[types.NAME]`).

use std::time::Duration;

use serde_json::{Map, Value};

use super::SchemaError;
use super::duration::duration;
use super::sentence;

/// What a type says about its log. `None` means as the daemon's setting of this name, if there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TypeSettings {
    /// The most events that the log keeps.
    pub log_max_events: Option<u64>,
    /// How long the log keeps an event.
    pub log_max_age: Option<Duration>,
    /// How long the newest event of each subject is kept. `None`: it is not kept.
    pub latest: Option<Duration>,
}

/// The names of the settings.
pub const TYPE_SETTINGS: [&str; 3] = ["log_max_events", "log_max_age", "latest"];

/// The keywords of a schema, in the order of [`TYPE_SETTINGS`].
pub(super) const KEYWORDS: [&str; 3] = ["x-tidings-log-max-events", "x-tidings-log-max-age", "x-tidings-latest"];

impl TypeSettings {
    /// Reads the value of the setting `name`, which must be one of [`TYPE_SETTINGS`].
    ///
    /// # Errors
    /// What was expected instead, as a sentence.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let wrong = |expected: &str| format!("expected {expected}, not {}", sentence::shown(value));
        if name == "log_max_events" {
            let count = value.as_u64().filter(|count| *count > 0).ok_or_else(|| wrong("a whole number above zero"))?;
            self.log_max_events = Some(count);
        } else {
            let text = value.as_str().ok_or_else(|| wrong("a duration in quotes, such as \"24h\""))?;
            let long = Some(duration(text).map_err(|expected| wrong(&expected))?);
            *(if name == "latest" { &mut self.latest } else { &mut self.log_max_age }) = long;
        }
        Ok(())
    }

    /// These settings where they say something, otherwise those of `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            log_max_events: self.log_max_events.or(other.log_max_events),
            log_max_age: self.log_max_age.or(other.log_max_age),
            latest: self.latest.or(other.latest),
        }
    }

    /// The settings in the root of a schema, and what is wrong with them.
    pub(super) fn of_schema(root: &Map<String, Value>) -> (Self, Vec<SchemaError>) {
        let (mut settings, mut errors) = (Self::default(), Vec::new());
        for (name, keyword) in TYPE_SETTINGS.iter().zip(KEYWORDS) {
            if let Some(Err(message)) = root.get(keyword).map(|value| settings.set(name, value)) {
                errors.push(SchemaError { place: format!("/{keyword}"), message });
            }
        }
        (settings, errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_of_a_schema_are_read_and_mistakes_have_their_place() {
        let read = |schema: Value| TypeSettings::of_schema(schema.as_object().unwrap());
        let (settings, errors) =
            read(json!({"x-tidings-log-max-events": 7, "x-tidings-log-max-age": "2d", "x-tidings-latest": "7d"}));
        assert!(errors.is_empty(), "{errors:?}");
        let days = |days: u64| Some(Duration::from_secs(days * 24 * 3600));
        let expected = TypeSettings { log_max_events: Some(7), log_max_age: days(2), latest: days(7) };
        assert_eq!(settings, expected);
        let (_, errors) =
            read(json!({"x-tidings-log-max-events": 0, "x-tidings-log-max-age": 5, "x-tidings-latest": true}));
        let places: Vec<_> = errors.iter().map(|error| error.place.as_str()).collect();
        assert_eq!(places, ["/x-tidings-log-max-events", "/x-tidings-log-max-age", "/x-tidings-latest"]);
        assert!(errors[1].message.contains("a duration in quotes"), "{errors:?}");
    }

    #[test]
    fn what_is_not_said_is_taken_from_the_other() {
        let one = TypeSettings { log_max_events: Some(1), ..TypeSettings::default() };
        let other = TypeSettings { log_max_events: Some(2), log_max_age: Some(Duration::from_secs(1)), latest: None };
        assert_eq!(one.or(other), TypeSettings { log_max_events: Some(1), ..other });
    }
}
