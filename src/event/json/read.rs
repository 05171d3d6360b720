//! Reads JSON text into a tree: jiter tokenizes, this module builds, bounds, and refuses members that occur twice.

use std::borrow::Cow;
use std::collections::HashSet;

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};

use super::error::{Cause, Failure, MAX_DEPTH, Step};
use super::{Json, JsonError, Member};

/// The most members of an object that are compared one by one. With more, a set finds a name that occurs twice.
const COMPARED_MEMBERS: usize = 16;

/// Why the elements of an array were not read.
#[derive(Debug)]
pub enum ElementsError {
    /// The text is not JSON.
    Malformed(JsonError),
    /// There are more elements than allowed.
    TooMany,
    /// The element at this index has more bytes than allowed.
    TooLarge(usize),
}

impl<'a> Json<'a> {
    /// Reads a JSON text.
    ///
    /// # Errors
    /// The text is not JSON (RFC 8259), has a member twice in one object, or more than [`MAX_DEPTH`] levels.
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        Reader::new(text, true).whole().map_err(|failure| JsonError::new(text, *failure))
    }

    /// Reads a JSON text in bytes, which must be UTF-8.
    ///
    /// # Errors
    /// As [`Json::parse`].
    pub fn parse_bytes(bytes: &'a [u8]) -> Result<Self, JsonError> {
        Self::parse(utf8(bytes)?)
    }

    /// Reads a JSON text in the log, which another program may have written: the last member of a name counts.
    ///
    /// The text may go on after the value.
    ///
    /// # Errors
    /// The text does not begin with JSON.
    pub fn parse_logged(text: &'a str) -> Result<Self, JsonError> {
        let mut reader = Reader::new(text, false);
        let value = reader.first().and_then(|peek| reader.value(peek, MAX_DEPTH));
        value.map_err(|failure| JsonError::new(text, *failure))
    }

    /// Reads an array, but no more than `max_elements`, each of at most `max_bytes`.
    ///
    /// # Errors
    /// The text is not JSON, as for [`Json::parse`], or exceeds a bound.
    pub fn parse_elements(bytes: &'a [u8], max_elements: usize, max_bytes: usize) -> Result<Vec<Self>, ElementsError> {
        let text = utf8(bytes).map_err(ElementsError::Malformed)?;
        let mut reader = Reader::new(text, true);
        match reader.elements(max_elements, max_bytes) {
            Ok(elements) => elements,
            Err(failure) => Err(ElementsError::Malformed(JsonError::new(text, *failure))),
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, JsonError> {
    std::str::from_utf8(bytes).map_err(|error| JsonError::not_utf8(bytes, error.valid_up_to()))
}

type Read<T> = Result<T, Box<Failure>>;

struct Reader<'a> {
    text: &'a str,
    jiter: Jiter<'a>,
    /// Whether a member that occurs twice is an error.
    strict: bool,
    /// Reading stops when a value begins after this byte.
    end: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, strict: bool) -> Self {
        Self { text, jiter: Jiter::new(text.as_bytes()), strict, end: usize::MAX }
    }

    fn whole(&mut self) -> Read<Json<'a>> {
        let peek = self.first()?;
        let value = self.value(peek, MAX_DEPTH)?;
        self.jiter.finish().map_err(failure)?;
        Ok(value)
    }

    fn first(&mut self) -> Read<Peek> {
        self.jiter.peek().map_err(failure)
    }

    fn elements(&mut self, max_elements: usize, max_bytes: usize) -> Read<Result<Vec<Json<'a>>, ElementsError>> {
        self.first()?;
        let mut elements = Vec::new();
        let mut next = self.jiter.next_array().map_err(failure)?;
        while let Some(peek) = next {
            if elements.len() == max_elements {
                return Ok(Err(ElementsError::TooMany));
            }
            let begin = self.jiter.current_index();
            self.end = begin.saturating_add(max_bytes);
            let element = self.value(peek, MAX_DEPTH - 1).map_err(|failure| failure.within_index(elements.len()));
            let too_large = self.jiter.current_index() > self.end;
            match element {
                Ok(element) if !too_large => elements.push(element),
                Err(failure) if !matches!(failure.cause, Cause::TooLong) => return Err(failure),
                _ => return Ok(Err(ElementsError::TooLarge(elements.len()))),
            }
            next = self.jiter.array_step().map_err(failure)?;
        }
        self.jiter.finish().map_err(failure)?;
        Ok(Ok(elements))
    }

    /// Reads the value at which the tokenizer stands; `peek` is its first byte.
    fn value(&mut self, peek: Peek, depth: usize) -> Read<Json<'a>> {
        if self.jiter.current_index() > self.end {
            return Err(Failure::boxed(Cause::TooLong, self.jiter.current_index()));
        }
        Ok(match peek {
            Peek::String => {
                let text = self.text;
                Json::String(borrowed(text, self.jiter.known_str().map_err(failure)?))
            }
            Peek::Object => Json::Object(self.object(self.deeper(depth)?)?),
            Peek::Array => Json::Array(self.array(self.deeper(depth)?)?),
            Peek::True | Peek::False => Json::Bool(self.jiter.known_bool(peek).map_err(failure)?),
            Peek::Null => {
                self.jiter.known_null().map_err(failure)?;
                Json::Null
            }
            _ => {
                let begin = self.jiter.current_index();
                self.jiter.known_number_bytes(peek).map_err(failure)?;
                Json::Number(self.text[begin..self.jiter.current_index()].into())
            }
        })
    }

    fn deeper(&self, depth: usize) -> Read<usize> {
        depth.checked_sub(1).ok_or_else(|| {
            Failure::boxed(Cause::Syntax(JsonErrorType::RecursionLimitExceeded), self.jiter.current_index())
        })
    }

    fn array(&mut self, depth: usize) -> Read<Vec<Json<'a>>> {
        let mut elements = Vec::new();
        let mut next = self.jiter.known_array().map_err(failure)?;
        while let Some(peek) = next {
            let element = self.value(peek, depth).map_err(|failure| failure.within_index(elements.len()))?;
            elements.push(element);
            next = self.jiter.array_step().map_err(failure)?;
        }
        Ok(elements)
    }

    fn object(&mut self, depth: usize) -> Read<Vec<Member<'a>>> {
        let text = self.text;
        let mut members: Vec<Member<'a>> = Vec::new();
        let mut names = HashSet::new();
        let mut next = self.jiter.known_object().map_err(failure)?.map(|name| borrowed(text, name));
        while let Some(name) = next {
            let repeated = match members.len() {
                0..COMPARED_MEMBERS => members.iter().any(|(known, _)| *known == name),
                COMPARED_MEMBERS => {
                    names.extend(members.iter().map(|(known, _)| known.clone()));
                    !names.insert(name.clone())
                }
                _ => !names.insert(name.clone()),
            };
            if repeated && self.strict {
                // A name with escapes is not a part of the text: then the place is behind it.
                let begin = offset(text, &name).and_then(|begin| begin.checked_sub(1));
                let at = begin.unwrap_or_else(|| self.jiter.current_index());
                let failure = Failure::boxed(Cause::Repeated(name.as_ref().into()), at);
                return Err(failure.within(Step::Member(name.into_owned())));
            }
            let value = self.jiter.peek().map_err(failure).and_then(|peek| self.value(peek, depth));
            let value = value.map_err(|failure| failure.within(Step::Member(name.as_ref().into())))?;
            match members.iter_mut().find(|(known, _)| repeated && *known == name) {
                Some(member) => member.1 = value,
                None => members.push((name, value)),
            }
            next = self.jiter.next_key().map_err(failure)?.map(|name| borrowed(text, name));
        }
        Ok(members)
    }
}

fn failure(error: JiterError) -> Box<Failure> {
    let cause = match error.error_type {
        JiterErrorType::JsonError(kind) => kind,
        // No value of a certain type is asked for.
        JiterErrorType::WrongType { .. } => JsonErrorType::ExpectedSomeValue,
    };
    Failure::boxed(Cause::Syntax(cause), error.index)
}

/// `part` as a part of `text`, if it is one. A string with escapes is not: the tokenizer decoded it elsewhere.
fn borrowed<'a>(text: &'a str, part: &str) -> Cow<'a, str> {
    let own = offset(text, part).and_then(|begin| text.get(begin..begin + part.len()));
    own.map_or_else(|| Cow::Owned(part.to_owned()), Cow::Borrowed)
}

/// Where `part` begins in `text`, if it is a part of it.
fn offset(text: &str, part: &str) -> Option<usize> {
    let begin = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    (begin.checked_add(part.len())? <= text.len()).then_some(begin)
}
