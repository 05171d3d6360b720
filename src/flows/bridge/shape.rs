//! From a legacy message to an event and back. Pure: no I/O.

use jiff::Timestamp;

use super::pointer::Pointer;
use crate::event::{Catalog, EventType, Json, Member};

/// White space behind each message of `direction = "out"`. JSON allows it (RFC 8259, section 2), and nobody else writes it: a
/// bridge does not take in a message that ends so. So events that go out do not come back in, on any node.
const MARK: &str = " \t \t\t \t\t\t ";

/// How the messages of a bridge and events correspond.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    pub types: Types,
    /// Members that are not data.
    pub drop: Vec<Pointer>,
    /// The member of the data, and that of the message.
    pub map: Vec<(Pointer, Pointer)>,
    /// Members with a fixed value, where there is none: in the data, or in the message on the way out.
    pub set: Vec<(Pointer, Json<'static>)>,
    pub time: Option<Pointer>,
    pub id: Option<Pointer>,
}

/// The types of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Types {
    One(String),
    /// By the text at the pointer. `None`: such messages are ignored.
    From {
        pointer: Pointer,
        types: Vec<(String, Option<String>)>,
    },
}

/// What a message is.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    /// An event, not yet validated.
    Event(Json<'static>),
    /// A message that `types` says to ignore.
    Ignored,
    /// A message that a bridge has sent.
    Own,
}

impl Shape {
    /// The event of a message.
    ///
    /// # Errors
    /// Why it has none, as a sentence.
    pub fn event(&self, message: &[u8]) -> Result<Incoming, String> {
        if message.ends_with(MARK.as_bytes()) {
            return Ok(Incoming::Own);
        }
        let mut data = Json::parse_bytes(message).map_err(|error| format!("the message is not JSON: {error}"))?;
        if data.as_object().is_none() {
            return Err("the message is not a JSON object".into());
        }
        let Some(event_type) = self.event_type(&data)? else { return Ok(Incoming::Ignored) };
        let id = self.id.as_ref().map(|pointer| id(pointer, &data)).transpose()?;
        let time = self.time.as_ref().map_or(Ok(None), |pointer| time(pointer, &data))?;
        self.rename(&mut data, |(to, from)| (from, to))?;
        // Without an id of its own, so that an attempt that is repeated publishes the same event.
        let id = id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let mut event: Vec<Member<'_>> = vec![("type".into(), event_type.to_owned().into()), ("id".into(), id.into())];
        event.extend(time.map(|time| ("time".into(), time.into())));
        event.push(("data".into(), data));
        Ok(Incoming::Event(Json::Object(event).into_owned()))
    }

    /// Fits the data to the event's type. Adds the members of `set` that the type takes, where there are none. Takes those out
    /// that `id`, `time` and `type_from` name, where the type has no such field and allows no other. What `map` or `set` puts
    /// there is data.
    pub fn fit(&self, event: &mut Json<'_>, catalog: &Catalog) {
        let channel = event.get("type").and_then(Json::as_str).and_then(|name| catalog.channel(name));
        let Json::Object(members) = event else { return };
        let data = members.iter_mut().find_map(|(name, value)| (name == "data").then_some(value));
        let (Some(channel), Some(data)) = (channel, data) else { return };
        let kind = catalog.get(channel);
        self.add_fixed(data, kind);
        let type_from = match &self.types {
            Types::One(_) => None,
            Types::From { pointer, .. } => Some(pointer),
        };
        let is_data = |pointer: &&Pointer| {
            self.map.iter().any(|(to, _)| to == *pointer) || self.set.iter().any(|(to, _)| to == *pointer)
        };
        let named = [self.id.as_ref(), self.time.as_ref(), type_from].into_iter().flatten();
        let named: Vec<_> = named.filter(|pointer| !is_data(pointer) && pointer.get(data).is_some()).collect();
        let texts: Vec<_> = named.iter().map(|pointer| pointer.as_str()).collect();
        let unknown = kind.unknown(data, &texts);
        for pointer in named.iter().filter(|pointer| unknown.contains(&pointer.as_str())) {
            pointer.take(data);
        }
    }

    /// Adds the members of `set` that the type takes: with the others, the events of a table's other types would be none.
    fn add_fixed(&self, data: &mut Json<'_>, kind: &EventType) {
        let mut all = data.clone();
        // The objects on the way to a member are new, too.
        let new = |(pointer, _): &&(Pointer, _)| pointer.get(data).is_none();
        let absent: Vec<_> = self.set.iter().filter(new).collect();
        let paths: Vec<Vec<_>> = absent
            .iter()
            .map(|(pointer, _)| pointer.path().filter(|part| part.get(data).is_none()).collect())
            .collect();
        for (pointer, value) in &absent {
            pointer.add(&mut all, value.clone());
        }
        let texts: Vec<_> = paths.iter().flatten().map(Pointer::as_str).collect();
        let unknown = kind.unknown(&all, &texts);
        for ((pointer, value), path) in absent.into_iter().zip(&paths) {
            if !path.iter().any(|part| unknown.contains(&part.as_str())) {
                pointer.add(data, value.clone());
            }
        }
    }

    /// Takes out what `drop` names, and moves what `map` names: from the first member of the pair to the second.
    ///
    /// # Errors
    /// Which member cannot be taken or written, as a sentence.
    fn rename<'s>(
        &'s self,
        document: &mut Json<'_>,
        pair: impl Fn(&'s (Pointer, Pointer)) -> (&'s Pointer, &'s Pointer),
    ) -> Result<(), String> {
        for pointer in &self.drop {
            take(pointer, document, "drop")?;
        }
        // All are taken before any is set, so that two members can change places.
        let mut moved = Vec::new();
        for (from, to) in self.map.iter().map(pair) {
            moved.extend(take(from, document, "map")?.map(|value| (from, to, value)));
        }
        for (from, to, value) in moved {
            to.take(document);
            if !to.add(document, value) {
                let (from, to) = (from.as_str(), to.as_str());
                return Err(format!("{from} cannot be moved to {to}: what is on the way there is no object"));
            }
        }
        Ok(())
    }

    fn event_type(&self, message: &Json<'_>) -> Result<Option<&str>, String> {
        match &self.types {
            Types::One(event_type) => Ok(Some(event_type)),
            Types::From { pointer, types } => {
                let at = pointer.as_str();
                let Some(text) = pointer.get(message).and_then(Json::as_str) else {
                    return Err(format!("{at} is not there, or not a string: `type_from` needs it"));
                };
                match types.iter().find(|(known, _)| known == text) {
                    Some((_, event_type)) => Ok(event_type.as_deref()),
                    None => Err(format!("`types` has no entry for {text:?} at {at}")),
                }
            }
        }
    }

    /// The message of an event, as the text that is published. `None`: it is of another type.
    ///
    /// # Errors
    /// Which member of the data cannot be written, as a sentence.
    pub fn message(&self, mut event: Json<'_>) -> Result<Option<String>, String> {
        let text = |name: &str| event.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let (event_type, id, time) = (text("type"), text("id"), text("time"));
        let legacy_type = match &self.types {
            Types::One(known) if *known == event_type => None,
            Types::One(_) => return Ok(None),
            Types::From { pointer, types } => {
                match types.iter().find(|(_, known)| known.as_ref() == Some(&event_type)) {
                    Some((legacy, _)) => Some((pointer, legacy)),
                    None => return Ok(None),
                }
            }
        };
        let Json::Object(attributes) = &mut event else { return Ok(None) };
        let data = attributes.iter_mut().find_map(|(name, value)| (name == "data").then_some(value));
        let mut message = std::mem::replace(data.unwrap_or(&mut Json::Null), Json::Null);
        self.rename(&mut message, |(from, to)| (from, to))?;
        let mut put = |pointer: &Pointer, value: Json<'static>| match pointer.add(&mut message, value) {
            true => Ok(()),
            false => Err(format!("{} cannot be written: what is on the way there is no object", pointer.as_str())),
        };
        if let Some((pointer, legacy)) = legacy_type {
            put(pointer, legacy.clone().into())?;
        }
        if let Some(pointer) = &self.id {
            put(pointer, id.into())?;
        }
        if let Some(pointer) = &self.time {
            let millis = time.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond);
            put(pointer, Json::Number(millis.to_string().into()))?;
        }
        for (pointer, value) in &self.set {
            put(pointer, value.clone())?;
        }
        Ok(Some(format!("{message}{MARK}")))
    }
}

/// Takes a member out of a document, for this setting.
///
/// # Errors
/// It is an element of an array, or within one: those can only be read.
fn take<'j>(pointer: &Pointer, document: &mut Json<'j>, setting: &str) -> Result<Option<Json<'j>>, String> {
    match pointer.take(document) {
        None if pointer.get(document).is_some() => {
            Err(format!("`{setting}` cannot take {} out of an array", pointer.as_str()))
        }
        taken => Ok(taken),
    }
}

/// The id of a message. Every node must find the same one, so a message without an id has none.
fn id(pointer: &Pointer, message: &Json<'_>) -> Result<String, String> {
    match pointer.get(message) {
        Some(Json::String(text)) if !text.is_empty() => Ok(text.clone().into_owned()),
        Some(Json::Number(text)) => Ok(text.clone().into_owned()),
        _ => Err(format!("{} is not there, or neither a text nor a number: `id` needs it", pointer.as_str())),
    }
}

/// The time of a message, if it has one: milliseconds since 1970, or RFC 3339, which the event's schema checks.
fn time(pointer: &Pointer, message: &Json<'_>) -> Result<Option<String>, String> {
    match pointer.get(message) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone().into_owned())),
        Some(Json::Number(text)) => {
            let millis = text.parse::<f64>().ok().filter(|millis| millis.fract() == 0.0).map(|millis| millis as i64);
            let time = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
            let time = time.ok_or_else(|| format!("{} is no number of milliseconds since 1970", pointer.as_str()))?;
            Ok(Some(format!("{time:.3}")))
        }
        Some(_) => Err(format!("{} is neither milliseconds since 1970 nor an RFC 3339 time", pointer.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    fn shape() -> Shape {
        let types = vec![("inventory:change".into(), Some("inventory-change".into())), ("ping".into(), None)];
        Shape {
            types: Types::From { pointer: at("/type"), types },
            drop: vec![at("/type"), at("/timestamp"), at("/eventId")],
            map: vec![(at("/productId"), at("/sku")), (at("/newQuantity"), at("/stock/now"))],
            set: vec![(at("/reason"), "legacy".into())],
            time: Some(at("/timestamp")),
            id: Some(at("/eventId")),
        }
    }

    fn read(message: &Value) -> Result<Value, String> {
        match shape().event(message.to_string().as_bytes())? {
            Incoming::Event(event) => Ok(event.to_value()),
            Incoming::Ignored => Ok(json!("ignored")),
            Incoming::Own => Ok(json!("own")),
        }
    }

    fn message() -> Value {
        json!({"type": "inventory:change", "eventId": 7, "timestamp": 1_700_000_000_123_u64, "sku": "a", "stock": {"now": 3}})
    }

    #[test]
    fn a_message_becomes_an_event() {
        let expected = json!({
            "type": "inventory-change", "id": "7", "time": "2023-11-14T22:13:20.123Z",
            "data": {"stock": {}, "productId": "a", "newQuantity": 3},
        });
        assert_eq!(read(&message()).unwrap(), expected);
        let mut other = message();
        other["timestamp"] = json!("2026-01-31T12:00:00Z");
        other["reason"] = json!("sale");
        let event = read(&other).unwrap();
        assert_eq!((&event["time"], &event["data"]["reason"]), (&json!("2026-01-31T12:00:00Z"), &json!("sale")));
        assert_eq!(read(&json!({"type": "ping"})).unwrap(), json!("ignored"));
    }

    #[test]
    fn a_member_that_says_what_the_message_is_is_data_only_where_the_type_takes_it() {
        let mut catalog = Catalog::empty();
        let schema =
            |more: &str| format!(r#"{{"type":"object","properties":{{"a":{{}},"b":{{"properties":{{}}}}}}{more}}}"#);
        let closed = r#","additionalProperties":false"#;
        let one_of = r#"{"oneOf":[{"properties":{"a":{},"eventId":{}},"additionalProperties":false,"required":["no"]},
            {"properties":{"a":{},"at":{}},"additionalProperties":false,"required":["a"]}]}"#;
        let field = schema(closed).replace(r#""a":{}"#, r#""a":{},"at":{"type":"string"}"#);
        let all_of = format!(r#"{{"allOf":[{}],"unevaluatedProperties":false}}"#, schema(""));
        for (name, text) in [
            ("strict", &schema(closed)),
            ("free", &schema("")),
            ("field", &field),
            ("all", &all_of),
            ("one", &one_of.into()),
        ] {
            catalog.add(name, text).unwrap();
        }
        let types: Vec<_> = catalog.types().iter().map(|known| known.name.to_string()).collect();
        let types = types.into_iter().map(|name| (name.clone(), Some(name))).collect();
        let (id, time) = (Some(at("/eventId")), Some(at("/at")));
        let types = Types::From { pointer: at("/kind"), types };
        let shape = Shape { types, drop: vec![], map: vec![(at("/kind2"), at("/x"))], set: vec![], time, id };
        let data = |shape: &Shape, kind: &str| {
            let message = json!({"kind": kind, "eventId": "e", "at": 1_700_000_000_000_u64, "a": 1});
            let Ok(Incoming::Event(mut event)) = shape.event(message.to_string().as_bytes()) else {
                panic!("no event")
            };
            shape.fit(&mut event, &catalog);
            assert_eq!((event.get("id").and_then(Json::as_str), event.get("time").is_some()), (Some("e"), true));
            event.to_value()["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(data(&shape, "strict"), ["a"]);
        assert_eq!(data(&shape, "all"), ["a"]);
        assert_eq!(data(&shape, "free"), ["kind", "eventId", "at", "a"]);
        assert_eq!(data(&shape, "field"), ["at", "a"], "a wrong value is a mistake of the message");
        assert_eq!(data(&shape, "one"), ["eventId", "at", "a"], "one of the forms has each of them");
        let fixed = [("/a", "no"), ("/x/y", "no"), ("/b/c", "set")];
        let set = fixed.map(|(pointer, value)| (at(pointer), value.into())).into();
        let fixed = Shape { set, ..shape.clone() };
        assert_eq!(data(&fixed, "strict"), ["a", "b"], "/b/c is no field that is refused, /x is");
        assert_eq!(data(&fixed, "free"), ["kind", "eventId", "at", "a", "x", "b"]);
        let mapped = Shape { map: vec![(at("/at"), at("/a"))], ..shape };
        assert_eq!(data(&mapped, "strict"), ["at"], "`map` says that this is data");
    }

    #[test]
    fn what_is_no_event_says_why() {
        let why = |change: &dyn Fn(&mut Value)| {
            let mut message = message();
            change(&mut message);
            read(&message).unwrap_err()
        };
        assert!(
            why(&|message| message["type"] = json!("other")).contains(r#"`types` has no entry for "other" at /type"#)
        );
        assert!(why(&|message| message["type"] = json!(1)).contains("/type is not there, or not a string"));
        assert!(why(&|message| message["eventId"] = json!("")).contains("/eventId is not there"));
        assert!(why(&|message| message["timestamp"] = json!(1e300)).contains("/timestamp is no number"));
        assert!(why(&|message| message["timestamp"] = json!([])).contains("/timestamp is neither"));
        assert!(why(&|message| *message = json!([1])).contains("not a JSON object"));
        assert!(shape().event(b"\xff\x00{").unwrap_err().contains("not JSON"));
    }

    #[test]
    fn a_value_that_cannot_be_moved_is_a_mistake_of_the_message() {
        let map = vec![(at("/price/amount"), at("/amount"))];
        let shape = |drop: &str| Shape {
            types: Types::One("t".into()),
            drop: vec![at(drop)],
            map: map.clone(),
            set: vec![],
            time: None,
            id: None,
        };
        let read = |drop: &str, text: &str| shape(drop).event(text.as_bytes()).unwrap_err();
        let expected = "/amount cannot be moved to /price/amount: what is on the way there is no object";
        assert_eq!(read("/x", r#"{"amount":6,"price":"EUR"}"#), expected);
        assert_eq!(read("/list/0", r#"{"list":[1]}"#), "`drop` cannot take /list/0 out of an array");
        let back = Shape { map: vec![(at("/amount"), at("/price/amount"))], ..shape("/x") };
        let sent = back.message(json!({"type":"t","data":{"amount":6,"price":"EUR"}}).into());
        assert_eq!(sent, Err(expected.to_owned()));
    }

    #[test]
    fn an_event_becomes_a_message_which_does_not_come_back() {
        let event = json!({
            "specversion": "1.0", "id": "e1", "source": "x", "type": "inventory-change", "time": "2026-01-31T12:00:00Z",
            "data": {"productId": "a", "newQuantity": 3, "oldQuantity": 4},
        });
        let message = shape().message(event.clone().into()).unwrap().unwrap();
        let expected = json!({
            "oldQuantity": 4, "sku": "a", "stock": {"now": 3}, "type": "inventory:change", "eventId": "e1",
            "timestamp": 1_769_860_800_000_u64, "reason": "legacy",
        });
        assert_eq!(serde_json::from_str::<Value>(&message).unwrap(), expected);
        assert_eq!(shape().event(message.as_bytes()), Ok(Incoming::Own));
        assert!(matches!(shape().event(message.trim_end().as_bytes()), Ok(Incoming::Event(_))));
        let mut other = event;
        other["type"] = "order-status".into();
        assert_eq!(shape().message(other.into()), Ok(None));
    }
}
