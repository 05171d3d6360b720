//! Query strings: the parameters of any route, and what a stream asks for, the same for `/v1/events`, `/v1/stream` and `/v1/ws`.

use std::borrow::Cow;
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

/// A query that cannot be read.
#[derive(Debug)]
pub struct UnreadableQuery {
    /// The channels that it names.
    pub channels: Vec<String>,
    pub problem: Problem,
}

/// The parameter that may be repeated.
const CHANNEL: &str = "channel";

/// The name and the value of a parameter.
type Parameter<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The parameters of a URL's query string, in their order.
///
/// # Errors
/// `bad-request` for a parameter that is not `known`, and for one that comes twice, unless it is `channel`: a misspelt or an
/// overwritten `where` must not become an unfiltered stream.
pub fn parameters<'a>(query: &'a str, known: &[&str]) -> Result<Vec<Parameter<'a>>, Problem> {
    let mut read: Vec<Parameter<'_>> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if !known.contains(&&*name) {
            let refusal = format!("there is no parameter {} here", suggest::quoted(&name));
            let known = Known::new("parameters", known.iter().copied());
            return Err(Problem::new(ErrorCode::BadRequest, known.refuse(&refusal, &name)));
        }
        if name != CHANNEL && read.iter().any(|(other, _)| *other == name) {
            return Err(Problem::new(ErrorCode::BadRequest, format!("`{name}` is given twice: send it once")));
        }
        read.push((name, value));
    }
    Ok(read)
}

impl StreamQuery {
    /// The channels that a URL's query string names, whatever else is in it. They are authorized before the rest is read.
    pub fn named(query: &str) -> Vec<String> {
        let parameters = url::form_urlencoded::parse(query.as_bytes());
        parameters.filter(|(name, _)| name == CHANNEL).map(|(_, channel)| channel.into_owned()).collect()
    }

    /// Reads a URL's query string. `own` names the parameters that the route has beside these; their values are returned
    /// as they were given.
    ///
    /// # Errors
    /// `malformed-json` for a filter with a member that occurs twice, `invalid-filter`, `invalid-position`, and those of
    /// [`parameters`].
    pub fn parse(query: &str, own: &[&str]) -> Result<(Self, HashMap<String, String>), Problem> {
        let (mut read, mut rest) = (Self::default(), HashMap::new());
        for (name, value) in parameters(query, &[&[CHANNEL, "where", "since"], own].concat())? {
            match &*name {
                CHANNEL if read.channels.iter().any(|other| *other == *value) => {}
                CHANNEL => read.channels.push(value.into_owned()),
                "where" => read.filter = Some(Self::filter(&value)?),
                "since" => read.resume(&value)?,
                _ => drop(rest.insert(name.into_owned(), value.into_owned())),
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
