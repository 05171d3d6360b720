//! What the query string of a stream asks for: the same for `/v1/events`, `/v1/stream` and `/v1/ws`.

use std::collections::HashMap;

use crate::event::{Json, JsonText, Since};
use crate::protocol::{ErrorCode, Problem};
use crate::suggest::{self, Known};

/// The channels, filter and starting point that a client asks for.
#[derive(Debug, Default)]
pub struct StreamQuery {
    /// The channels by name, without repetition. None means all that the caller may subscribe to.
    pub channels: Vec<String>,
    /// The filter, as it was given.
    pub filter: Option<JsonText>,
    /// Where the stream begins; with live events if it is absent.
    pub since: Option<Since>,
}

impl StreamQuery {
    /// Reads a URL's query string. `own` names the parameters that the route has beside these; their values are returned
    /// as they were given, the last one if a name is repeated.
    ///
    /// # Errors
    /// `malformed-json` for a filter with a member that occurs twice, `invalid-filter`, `invalid-position`, and `bad-request` for a parameter that the route does not have: a misspelt
    /// `where` must not become an unfiltered stream.
    pub fn parse(query: &str, own: &[&str]) -> Result<(Self, HashMap<String, String>), Problem> {
        let (mut read, mut rest) = (Self::default(), HashMap::new());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "channel" if read.channels.iter().any(|other| *other == *value) => {}
                "channel" => read.channels.push(value.into_owned()),
                "where" => read.filter = Some(Self::filter(&value)?),
                "since" => read.resume(&value)?,
                name if own.contains(&name) => drop(rest.insert(name.to_owned(), value.into_owned())),
                name => {
                    let known = Known::new("parameters", ["channel", "where", "since"].iter().chain(own).copied());
                    let refusal = format!("there is no parameter {} here", suggest::quoted(name));
                    return Err(Problem::new(ErrorCode::BadRequest, known.refuse(&refusal, name)));
                }
            }
        }
        Ok((read, rest))
    }

    /// Reads the value of the parameter `where`.
    ///
    /// # Errors
    /// `malformed-json` for a member that occurs twice, `invalid-filter`.
    pub fn filter(value: &str) -> Result<JsonText, Problem> {
        let filter = Json::parse(value).map_err(|error| match error.repeated {
            Some(_) => Problem::new(ErrorCode::MalformedJson, format!("`where`: {error}")),
            None => {
                let detail = format!(
                    "`where` is not JSON: {error}; write an object from fields to values, percent-encoded, such as \
                     where={{\"productId\":\"123\"}}"
                );
                Problem::new(ErrorCode::InvalidFilter, detail)
            }
        })?;
        Ok(filter.into())
    }

    /// Begins the stream here instead.
    ///
    /// # Errors
    /// `invalid-position`.
    pub fn resume(&mut self, since: &str) -> Result<(), Problem> {
        self.since = Some(parse_since(since)?);
        Ok(())
    }
}

/// Reads a `since`, in whichever form the client gave it.
pub(super) fn parse_since(text: &str) -> Result<Since, Problem> {
    text.parse::<Since>().map_err(|error| Problem::new(ErrorCode::InvalidPosition, error.to_string()))
}
