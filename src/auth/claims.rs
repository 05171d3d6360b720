//! The claims of a token: found by JSON Pointer, and tested in the language of `where`.

use std::borrow::Cow;
use std::fmt;

use super::refusal::{Cause, Reason};
use crate::event::{Decimal, Json, Scalar, Test};

/// Claims that a user may write into their own token at some identity providers: Supabase's and Clerk's.
const USER_EDITABLE: [&str; 3] = ["user_metadata", "unsafeMetadata", "unsafe_metadata"];
/// The latest moment that a date may name, in seconds since 1970: year 9999.
const MAX_DATE: i64 = 253_402_300_799;

/// A JSON Pointer (RFC 6901) to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: Box<str>,
    steps: Box<[Box<str>]>,
}

impl Pointer {
    /// Reads a pointer to a claim, which has at least one step.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence; also for claims that users may write themselves.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            let escaped = text.replace('~', "~0").replace('/', "~1");
            return Err(format!("a claim is named by a JSON Pointer, such as \"/{escaped}\""));
        };
        let mut steps = Vec::new();
        for step in path.split('/') {
            let rest = step.replace("~0", "").replace("~1", "");
            if rest.contains('~') {
                return Err("in a JSON Pointer `~` is written ~0, and `/` within a name ~1 (RFC 6901)".into());
            }
            steps.push(step.replace("~1", "/").replace("~0", "~").into_boxed_str());
        }
        if let Some(step) = steps.iter().find(|step| USER_EDITABLE.contains(&&***step)) {
            return Err(format!("users write `{step}` into their own tokens, so it must not decide what they may do"));
        }
        Ok(Self { text: text.into(), steps: steps.into() })
    }

    /// A claim at the top.
    pub fn of(name: &str) -> Self {
        Self { text: format!("/{name}").into(), steps: Box::new([name.into()]) }
    }

    /// The claim, if the token has it.
    pub fn find<'a, 'b>(&self, claims: &'a Json<'b>) -> Option<&'a Json<'b>> {
        self.steps.iter().try_fold(claims, |value, step| match value {
            Json::Array(elements) => {
                let index = step.parse::<usize>().ok().filter(|index| index.to_string() == **step)?;
                elements.get(index)
            }
            value => value.get(step),
        })
    }

    /// Whether a string there is a list: `scope` (RFC 8693, section 4.2) and Microsoft's `scp`.
    pub fn is_scope(&self) -> bool {
        self.steps.last().is_some_and(|last| matches!(&**last, "scope" | "scp"))
    }

    /// What a rule writes into a pin: the claim's value as a literal, or its elements. `None` where it is absent, null,
    /// empty, an object, or an array with such an element.
    pub fn literal(&self, claims: &Json<'_>) -> Option<Json<'static>> {
        let scalar = |value: &Json<'_>| match value {
            Json::String(text) if text.is_empty() => None,
            Json::String(_) | Json::Number(_) | Json::Bool(_) => Some(value.clone().into_owned()),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        };
        let list = |values: Vec<Json<'static>>| (!values.is_empty()).then_some(Json::Array(values));
        match self.find(claims)? {
            Json::String(text) if self.is_scope() => list(words(text).map(|word| word.to_owned().into()).collect()),
            Json::Array(elements) => list(elements.iter().map(scalar).collect::<Option<_>>()?),
            value => scalar(value),
        }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The words of a list in a string, which are separated by spaces (RFC 6749, section 3.3).
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// A condition on a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimTest {
    pub pointer: Pointer,
    pub test: Test,
}

impl ClaimTest {
    /// Whether it holds. A missing claim never does; of an array one element is enough.
    pub fn holds(&self, claims: &Json<'_>) -> bool {
        match self.pointer.find(claims) {
            None => false,
            Some(Json::String(text)) if self.pointer.is_scope() => {
                words(text).any(|word| self.test.holds(Scalar::String(word)))
            }
            Some(Json::Array(elements)) => {
                elements.iter().filter_map(Scalar::of).any(|value| self.test.holds(value.lent()))
            }
            Some(value) => Scalar::<Cow<'_, str>>::of(value).is_some_and(|value| self.test.holds(value.lent())),
        }
    }
}

/// The string of a claim.
///
/// # Errors
/// It is something else, empty, or has control characters, which no name needs.
pub fn text<'a>(claims: &'a Json<'_>, name: &str) -> Result<Option<&'a str>, Cause> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::String(text)) if !text.is_empty() && !text.chars().any(char::is_control) => Ok(Some(text)),
        Some(_) => Err(Reason::Claim.because(format!("the claim `{name}` is not a string with printable characters"))),
    }
}

/// A date (RFC 7519, section 2): seconds since 1970, which may have a fraction. The result is rounded down.
///
/// # Errors
/// It is no number, or beyond the year 9999.
pub fn date(claims: &Json<'_>, name: &str) -> Result<Option<i64>, Cause> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = match value {
        Json::Number(text) => Decimal::parse(text).plain(40).and_then(|plain| {
            let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
            let down = i64::from(plain.starts_with('-') && !fraction.is_empty());
            whole.parse::<i64>().ok()?.checked_sub(down)
        }),
        _ => None,
    };
    match seconds.filter(|seconds| (-MAX_DATE..=MAX_DATE).contains(seconds)) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(Reason::Claim.because(format!("the claim `{name}` is not a number of seconds since 1970"))),
    }
}
