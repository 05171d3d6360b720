//! Commands and answers of the REST interface as JSON.
//!
//! All texts of an answer are in Base64, except `OK`, the status reply, which is no Base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fred::bytes::Bytes;
use fred::types::Value;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::super::transport::{CallError, Command};
use super::{BrokerError, unreadable};

/// The answer to one command.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    error: Option<String>,
}

/// A command as JSON.
///
/// # Errors
/// An argument is no text.
pub(super) fn command(command: &Command) -> Result<Vec<u8>, BrokerError> {
    json(&Words(command))
}

/// Several commands as JSON.
///
/// # Errors
/// As [`command`].
pub(super) fn commands(commands: &[Command]) -> Result<Vec<u8>, BrokerError> {
    json(&commands.iter().map(Words).collect::<Vec<_>>())
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, BrokerError> {
    serde_json::to_vec(value)
        .map_err(|_| BrokerError::Rejected("the REST interface takes no bytes that are no text".into()))
}

struct Words<'a>(&'a Command);

impl Serialize for Words<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, arguments) = self.0;
        let texts = arguments.iter().map(|argument| text(argument).ok_or_else(|| serde::ser::Error::custom("no text")));
        serializer.collect_seq(std::iter::once(Ok(*name)).chain(texts).collect::<Result<Vec<_>, S::Error>>()?)
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
}

/// Whether a request can carry this argument.
pub(super) fn is_text(value: &Value) -> bool {
    text(value).is_some()
}

/// The bytes of an argument in hexadecimal digits.
pub(super) fn hexadecimal(value: &Value) -> Value {
    let bytes = value.as_bytes().unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// The reply in the answer to a command.
pub(super) fn one(answer: &[u8]) -> Result<Result<Value, CallError>, BrokerError> {
    serde_json::from_slice::<Answer>(answer).map_err(|_| unreadable())?.reply()
}

/// The replies in the answer to so many commands.
pub(super) fn each(answer: &[u8], count: usize) -> Result<Vec<Result<Value, CallError>>, BrokerError> {
    let answers = serde_json::from_slice::<Vec<Answer>>(answer).map_err(|_| unreadable())?;
    if answers.len() != count {
        return Err(unreadable());
    }
    answers.iter().map(Answer::reply).collect()
}

/// The text of an answer with an error.
pub(super) fn error_text(answer: &[u8]) -> Option<String> {
    serde_json::from_slice::<Answer>(answer).ok()?.error
}

impl Answer<'_> {
    fn reply(&self) -> Result<Result<Value, CallError>, BrokerError> {
        match (&self.error, self.result) {
            (Some(error), _) => Ok(Err(CallError::reply(error.clone()))),
            // Of a member that is null, serde makes `None` as of one that is missing: both are the reply of nothing.
            (None, None) => Ok(Ok(Value::Null)),
            (None, Some(result)) => {
                let result = serde_json::from_str(result.get()).map_err(|_| unreadable())?;
                value(result).map(Ok).ok_or_else(unreadable)
            }
        }
    }
}

/// A reply as the Redis protocol has it.
fn value(json: serde_json::Value) -> Option<Value> {
    Some(match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Boolean(value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            None => Value::Double(number.as_f64()?),
        },
        serde_json::Value::String(text) if text == "OK" => text.into(),
        serde_json::Value::String(text) => {
            let bytes = Bytes::from(STANDARD.decode(text).ok()?);
            match fred::bytes_utils::Str::from_inner(bytes.clone()) {
                Ok(text) => Value::String(text),
                Err(_) => Value::Bytes(bytes),
            }
        }
        serde_json::Value::Array(values) => Value::Array(values.into_iter().map(value).collect::<Option<_>>()?),
        serde_json::Value::Object(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_texts() {
        let of = |args: Vec<Value>| command(&("EVALSHA", args)).map(|json| String::from_utf8(json).unwrap());
        assert_eq!(
            of(vec!["a\"\u{0}ü".into(), Value::Bytes(Bytes::from_static(b"1"))]),
            Ok(r#"["EVALSHA","a\"\u0000ü","1"]"#.into())
        );
        let bytes = Value::Bytes(Bytes::from_static(b"\xff\x00a"));
        assert!(matches!(of(vec![bytes.clone()]), Err(BrokerError::Rejected(_))));
        assert!(!is_text(&bytes));
        assert_eq!(hexadecimal(&bytes), "ff0061".into());
        let commands = commands(&[("GET", vec!["a".into()]), ("PING", Vec::new())]).unwrap();
        assert_eq!(commands, br#"[["GET","a"],["PING"]]"#);
    }

    #[test]
    fn an_answer_is_a_reply_or_an_error() {
        let reply = |json: &str| one(json.as_bytes()).unwrap().map_err(|error| error.cause);
        assert_eq!(reply(r#"{"result":null}"#), Ok(Value::Null));
        assert_eq!(reply(r#"{"result":"OK"}"#), Ok("OK".into()));
        assert_eq!(reply(r#"{"result":"T0s="}"#), Ok("OK".into()));
        assert_eq!(reply(r#"{"result":"/wA="}"#), Ok(Value::Bytes(Bytes::from_static(b"\xff\x00"))));
        let list = Value::Array(vec![Value::Integer(-7), "".into(), Value::Array(vec![Value::Null])]);
        assert_eq!(reply(r#"{"result":[-7,"",[null]]}"#), Ok(list));
        let error = reply(r#"{"error":"WRONGTYPE Operation against a key"}"#);
        assert!(matches!(error, Err(BrokerError::Rejected(_))), "{error:?}");
        for other in ["", "[]", "<html>", r#"{"result":"no base64"}"#, r#"{"result":{}}"#] {
            assert_eq!(one(other.as_bytes()).map(drop), Err(unreadable()), "{other}");
        }
    }

    #[test]
    fn a_pipeline_has_an_answer_for_each_command() {
        let replies = each(br#"[{"result":1},{"error":"NOSCRIPT none"}]"#, 2).unwrap();
        assert_eq!(replies[0].as_ref().unwrap(), &Value::Integer(1));
        assert!(replies[1].as_ref().unwrap_err().text.starts_with("NOSCRIPT"));
        assert!(each(br#"[{"result":1}]"#, 2).is_err());
    }
}
