//! The strict reader: what it takes, what it keeps, and what it says of a text that is not JSON.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn message(text: &str) -> String {
    Json::parse(text).unwrap_err().to_string()
}

#[test]
fn numbers_and_strings_are_kept() {
    let long = "9".repeat(400);
    for number in ["0", "-0", "1E5", "1e+5", "1.10", "-0.00", "18446744073709551616", "1e-400", "1e400", &long] {
        let text = format!(r#" {{ "a" : [ {number} , "\u0041\/" ] }} "#);
        assert_eq!(Json::parse(&text).unwrap().to_string(), format!(r#"{{"a":[{number},"A/"]}}"#));
    }
}

/// serde_json gives an object with one of these names a meaning of its own.
#[test]
fn no_name_has_a_meaning() {
    for name in ["$serde_json::private::RawValue", "$serde_json::private::Number", "__proto__"] {
        let text = format!(r#"{{"{name}":"[1]"}}"#);
        assert_eq!(Json::parse(&text).unwrap().to_string(), text);
    }
}

#[test]
fn a_member_that_occurs_twice_is_refused_at_any_depth() {
    for (text, pointer, column) in [
        (r#"{"type":"a","type":"b"}"#, "/type", 13),
        (r#"{"\u0074ype":1,"type":2}"#, "/type", 16),
        (r#"[0,{"a":{"b":[{"c/d":1,"c/d":1}]}}]"#, "/1/a/b/0/c~1d", 24),
        (r#"{"a":{"":1,"":{}}}"#, "/a/", 12),
    ] {
        let error = Json::parse(text).unwrap_err();
        assert_eq!((error.pointer.as_str(), error.line, error.column), (pointer, 1, column), "{text}: {error}");
        assert!(error.repeated.is_some() && error.message.contains("occurs twice"), "{error}");
    }
    let members = |last: usize| {
        let members: Vec<String> = (0..100).chain([last]).map(|n| format!(r#""m{n}":{n}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    for last in [0, 15, 16, 17, 99] {
        assert_eq!(Json::parse(&members(last)).unwrap_err().pointer, format!("/m{last}"));
        assert_eq!(Json::parse_logged(&members(last)).unwrap().as_object().unwrap().len(), 100);
    }
    assert!(Json::parse(&members(100)).is_ok());
    assert_eq!(Json::parse_logged(r#"{"a":1,"a":2}, rest"#).unwrap().to_string(), r#"{"a":2}"#);
}

#[test]
fn each_mistake_is_named_with_its_place() {
    for (text, expected) in [
        ("", "the text is empty: send JSON (line 1, column 1)"),
        (" \n ", "the text is empty: send JSON (line 2, column 2)"),
        ("\u{feff}{}", "the text begins with a byte order mark: send it without one (line 1, column 1)"),
        ("{\0}", "the text has zero bytes, as UTF-16 does: send JSON in UTF-8 (line 1, column 2)"),
        (r#"[{"a":NaN}]"#, "NaN and Infinity are not JSON: use null or a string (line 1, column 7, at /0/a)"),
        ("[-Infinity]", "NaN and Infinity are not JSON: use null or a string (line 1, column 2, at /0)"),
        ("[1,\n 2,]", "there is a comma before the closing bracket: remove it (line 2, column 4)"),
        (r#"{"a":1,}"#, "there is a comma before the closing bracket: remove it (line 1, column 8)"),
        ("{'a':1}", "a string or a name must be in double quotes (\") (line 1, column 2)"),
        (r#"{"a":'b'}"#, "a string or a name must be in double quotes (\") (line 1, column 6, at /a)"),
        ("{a:1}", "the name of a member was expected, in double quotes (\") (line 1, column 2)"),
        ("{\n// note\n\"a\":1}", "JSON has no comments: remove it (line 2, column 1)"),
        ("[1 /* note */]", "JSON has no comments: remove it (line 1, column 4)"),
        ("[True]", "the words of JSON are true, false and null (line 1, column 2, at /0)"),
        (
            "[nul]",
            "a value was expected: an object, an array, a string, a number, true, false or null (line 1, column 2, at /0)",
        ),
        (
            "[01]",
            "a number is written as 10, -0.5 or 1e9, without a leading zero or plus sign (line 1, column 2, at /0)",
        ),
        (
            "[+1]",
            "a number is written as 10, -0.5 or 1e9, without a leading zero or plus sign (line 1, column 2, at /0)",
        ),
        (
            "[1.]",
            "a number is written as 10, -0.5 or 1e9, without a leading zero or plus sign (line 1, column 2, at /0)",
        ),
        (
            "[.5]",
            "a number is written as 10, -0.5 or 1e9, without a leading zero or plus sign (line 1, column 2, at /0)",
        ),
        ("[0x1F]", "a comma or ] was expected (line 1, column 3)"),
        (r#"{"a" 1}"#, "a colon was expected after the name of a member (line 1, column 6)"),
        (r#"{"a":1 "b":2}"#, "a comma or } was expected (line 1, column 8)"),
        (r#"{"a":[1,{"b":"#, "the text ends before a value: is it complete? (line 1, column 14, at /a/1/b)"),
        (r#"{"a":"half"#, "the text ends within a string: is it complete? (line 1, column 11, at /a)"),
        ("[1", "the text ends within an array: is it complete? (line 1, column 3)"),
        ("{\"a\":1}\n{\"a\":2}", "another value follows the first: send several in one array (line 2, column 1)"),
        ("{} x", "there is text after the end of the value: remove it (line 1, column 4)"),
        ("a=b&c=d", "this is form data (name=value): send JSON (line 1, column 1)"),
        ("<html>", "this is HTML or XML: send JSON (line 1, column 1)"),
        (
            "[\"a\tb\"]",
            "a string has a control character: write it as an escape, such as \\n (line 1, column 4, at /0)",
        ),
        (r#"["é", "\x"]"#, "\\x is not an escape of JSON: write \\\\ for a backslash (line 1, column 8, at /1)"),
        (
            r#"[0, {"a":"b\ud800"}]"#,
            "\\ud800 is half of a surrogate pair: write both halves, or the character itself (line 1, column 12, at /1/a)",
        ),
        (
            r#"["\ud800\u0041"]"#,
            "\\ud800 is half of a surrogate pair: write both halves, or the character itself (line 1, column 3, at /0)",
        ),
        (
            r#"["\ud800x"]"#,
            "\\ud800 is half of a surrogate pair: write both halves, or the character itself (line 1, column 3, at /0)",
        ),
        (
            r#"["\udc00"]"#,
            "\\udc00 is half of a surrogate pair: write both halves, or the character itself (line 1, column 3, at /0)",
        ),
        (
            r#"{"\ud83d":1}"#,
            "\\ud83d is half of a surrogate pair: write both halves, or the character itself (line 1, column 3)",
        ),
    ] {
        assert_eq!(message(text), expected, "{text}");
    }
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(Json::parse(&deep(MAX_DEPTH)).is_ok());
    assert!(message(&deep(MAX_DEPTH + 1)).starts_with("there are more than 128 levels of nesting"));
    assert!(message(&"7".repeat(4_301)).starts_with("a number has more than 4,300 digits"));
    assert!(Json::parse(&"7".repeat(4_300)).is_ok());
    for (bytes, expected) in [
        (&b"[\"ab\n\xff\"]"[..], "byte 6 is not UTF-8: send JSON in UTF-8 (line 2, column 1)"),
        (b"\xff\xfe{\0}\0", "the text is UTF-16: send JSON in UTF-8 (line 1, column 1)"),
        (
            b"\x1f\x8b\x08\0",
            "the text is compressed with gzip: name it in the header Content-Encoding (line 1, column 2)",
        ),
    ] {
        assert_eq!(Json::parse_bytes(bytes).unwrap_err().to_string(), expected);
    }
}

#[test]
fn the_elements_of_an_array_are_bounded() {
    let read = |text: &'static str| Json::parse_elements(text.as_bytes(), 2, 5);
    assert_eq!(read(r#" [ "abc" , [1,2] ] "#).unwrap().len(), 2);
    assert!(matches!(read("[1,2,3]"), Err(ElementsError::TooMany)));
    assert!(matches!(read(r#"[1,"abcd"]"#), Err(ElementsError::TooLarge(1))));
    assert!(matches!(read("[[1, 2]]"), Err(ElementsError::TooLarge(0))));
    let Err(ElementsError::Malformed(error)) = read(r#"[1,{"a"}]"#) else { panic!("another error") };
    assert_eq!(error.pointer, "/1");
}

/// Any JSON text, with numbers and white space as people write them.
fn any_json() -> impl Strategy<Value = String> {
    let space = "[ \n\r\t]{0,2}";
    let number = "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?";
    let string = any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap());
    let escaped = "\"(\\\\u00[4-6][0-9]|\\\\/|\\\\ud83d\\\\ude00|[a-z]){0,5}\"";
    let leaf = prop_oneof![
        number.prop_map(String::from),
        string,
        escaped.prop_map(String::from),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
    ];
    let leaf = (space, leaf, space).prop_map(|(before, leaf, after)| [before, leaf, after].concat());
    leaf.prop_recursive(4, 64, 8, move |inner| {
        let member = (0..9, inner.clone());
        let name =
            |(name, value): (i32, String)| format!(r#"{}"{name}":{value}"#, if name % 2 == 0 { " " } else { "" });
        prop_oneof![
            prop::collection::vec(inner, 0..8).prop_map(|elements| format!("[{}]", elements.join(","))),
            prop::collection::vec(member, 0..8).prop_map(move |members| {
                let members: Vec<String> = members.into_iter().map(name).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// The numbers of a JSON text outside strings, as they are written.
fn numbers(text: &str) -> Vec<String> {
    let mut outside = String::new();
    let (mut in_string, mut escaped) = (false, false);
    for letter in text.chars() {
        match (in_string, letter) {
            (true, _) if escaped => escaped = false,
            (true, '\\') => escaped = true,
            (_, '"') => in_string = !in_string,
            (true, _) => {}
            (false, letter) => outside.push(letter),
        }
    }
    let parts = outside.split(|letter: char| !letter.is_ascii_alphanumeric() && !"+-.".contains(letter));
    parts.filter(|part| part.contains(|letter: char| letter.is_ascii_digit())).map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_what_was_read(text in any_json()) {
        let Ok(read) = Json::parse(&text) else {
            // Only a member that occurs twice is refused.
            prop_assert!(Json::parse(&text).unwrap_err().repeated.is_some());
            return Ok(());
        };
        let written = read.to_string();
        prop_assert_eq!(numbers(&written), numbers(&text));
        prop_assert!(written.len() <= text.len());
        prop_assert_eq!(&Json::parse(&written).unwrap().to_string(), &written);
        // serde_json has no number beyond the largest double.
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            prop_assert_eq!(&serde_json::from_str::<Value>(&written).unwrap(), &value);
            prop_assert_eq!(read.to_value(), value);
        }
    }

    #[test]
    fn what_serde_json_refuses_is_refused(text in any_json(), at in any::<prop::sample::Index>(), byte in "[\\]\\[{}\",:0-9a-z\\\\ .eE+-]") {
        let chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        let damaged: String = chars[..at].iter().chain(byte.chars().collect::<Vec<_>>().iter()).chain(&chars[at + 1..]).collect();
        // A raw value may have a number of any size, and a lone surrogate.
        let is_raw = serde_json::from_str::<&serde_json::value::RawValue>(&damaged).is_ok();
        match Json::parse(&damaged) {
            Ok(_) => prop_assert!(is_raw, "{}", damaged),
            Err(error) => {
                let is_taken = is_raw && error.repeated.is_none() && serde_json::from_str::<Value>(&damaged).is_ok();
                prop_assert!(!is_taken, "{}: {}", damaged, error);
            }
        }
    }
}

#[test]
fn an_owned_value_outlives_its_text() {
    let text = r#"{"a":[null,true,1e400,"x\n"],"b":{}}"#.to_owned();
    let owned = Json::parse(&text).unwrap().into_owned();
    drop(text);
    assert_eq!(owned.to_string(), r#"{"a":[null,true,1e400,"x\n"],"b":{}}"#);
}
