//! What a URL selects: `channel` (repeated; all where there is none), `where` and `since`.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::App;
use super::problem::{Code, Problem};
use crate::event::{ChannelId, Filter, FilterError, Since};

/// What a URL selects.
pub struct Selection {
    pub channels: Vec<Selected>,
    since: Option<Since>,
    /// No channel was named: all are meant.
    all: bool,
    /// The route's own parameters.
    pub rest: HashMap<String, String>,
}

/// A channel, and which of its events.
pub struct Selected {
    pub name: String,
    pub channel: ChannelId,
    pub filter: Arc<Filter>,
}

impl Selection {
    /// Reads a query; `own` are the parameters that the route has beside these.
    pub fn read(app: &App, query: &str, own: &[&str]) -> Result<Self, Problem> {
        let (mut names, mut filter, mut since, mut rest) = (Vec::new(), None, None, HashMap::new());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "channel" if names.iter().any(|other| *other == *value) => {}
                "channel" => names.push(value.into_owned()),
                "where" => {
                    filter =
                        Some(serde_json::from_str::<Value>(&value).map_err(|error| {
                            Problem::new(Code::InvalidFilter, format!("`where` is not JSON: {error}"))
                        })?);
                }
                "since" => {
                    let read = value.parse::<Since>();
                    since = Some(read.map_err(|error| Problem::new(Code::InvalidPosition, error.to_string()))?);
                }
                name if own.contains(&name) => drop(rest.insert(name.to_owned(), value.into_owned())),
                // A `were` that was passed over would make an unfiltered stream.
                name => return Err(Problem::new(Code::BadRequest, format!("there is no parameter {name:?} here"))),
            }
        }
        let all = names.is_empty();
        if all {
            names = app.catalog.channels().map(|id| app.catalog.get(id).name.to_string()).collect();
        }
        let mut channels = Vec::new();
        for name in names {
            match Selected::find(app, name, filter.as_ref()) {
                // Of all channels, those that have what the filter names.
                Err(problem) if all && problem.code() == Code::UnknownField => {}
                selected => channels.push(selected?),
            }
        }
        if channels.is_empty() {
            return Err(Problem::new(Code::UnknownField, "no channel has the fields that `where` names"));
        }
        let selection = Self { channels, since, all, rest };
        selection.check()?;
        Ok(selection)
    }

    /// Goes on from here instead.
    pub fn resume(&mut self, since: &str) -> Result<(), Problem> {
        let read = since.parse::<Since>();
        self.since = Some(read.map_err(|error| Problem::new(Code::InvalidPosition, error.to_string()))?);
        self.check()
    }

    /// Where the stream of a channel begins; with what is live, where nothing says. A cursor for all channels that does not
    /// know one is older than that: it is new.
    pub fn since(&self, name: &str) -> Option<Since> {
        let since = self.since.as_ref()?;
        since.of(name).or_else(|| self.all.then_some(Since::Start))
    }

    /// Whether `since` is one for these channels.
    fn check(&self) -> Result<(), Problem> {
        for Selected { name, .. } in &self.channels {
            match &self.since {
                Some(Since::Cursor(cursor)) if !self.all && !cursor.0.contains_key(name) => {
                    return Err(Problem::new(Code::InvalidPosition, format!("this cursor says nothing of {name}")));
                }
                Some(Since::After(_)) if self.channels.len() > 1 => {
                    let detail = "a position is of one channel: give a cursor, or one channel";
                    return Err(Problem::new(Code::InvalidPosition, detail));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Selected {
    fn find(app: &App, name: String, filter: Option<&Value>) -> Result<Self, Problem> {
        let Some(channel) = app.catalog.channel(&name) else {
            let meant = app.catalog.nearest(&name).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(Problem::new(Code::UnknownChannel, format!("there is no channel {name:?} here{meant}")));
        };
        let filter = match filter {
            None => Filter::default(),
            Some(filter) => Filter::parse(filter, app.catalog.get(channel)).map_err(|error| match error {
                FilterError::UnknownField(message) => Problem::new(Code::UnknownField, message),
                FilterError::Invalid(message) => Problem::new(Code::InvalidFilter, message),
            })?,
        };
        Ok(Self { name, channel, filter: Arc::new(filter) })
    }

    /// Whether an event of the channel is selected.
    pub fn lets(&self, event: &RawValue) -> Result<bool, serde_json::Error> {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(borrow)]
            data: &'a RawValue,
        }
        if self.filter.is_empty() {
            return Ok(true);
        }
        let event: Event<'_> = serde_json::from_str(event.get())?;
        Ok(self.filter.matches(&serde_json::from_str(event.data.get())?))
    }
}
