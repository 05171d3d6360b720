//! Which `[[bridge]]` tables are accepted, and what is said of the others.

use super::*;
use crate::config::Sources;

fn broker() -> BrokerConfig {
    let loaded = crate::config::load(Sources::default()).unwrap();
    let redis = BrokerUrl::parse("redis://127.0.0.1:6379").unwrap();
    BrokerConfig { broker: redis, ..loaded.config.broker }
}

#[test]
fn a_pattern_has_names() {
    for (pattern, name, has) in [
        ("channel:*", "channel:a:b", true),
        ("channel:*", "channel:", true),
        ("*:change", "a:change", true),
        ("a*b*c", "a--b--c", true),
        ("a*b*c", "a--c", false),
        ("a", "ab", false),
        ("a*a", "a", false),
    ] {
        assert_eq!(matches(pattern, name), has, "{pattern} {name}");
    }
}

#[test]
fn a_bridge_that_sends_knows_those_that_listen_on_its_channels() {
    let text = "[[bridge]]\nname = \"in\"\nchannels = [\"channel:*\"]\ntype = \"order-status\"\n\
                [[bridge]]\nname = \"out\"\ndirection = \"out\"\nchannels = [\"channel:orders\"]\ntype = \"order-status\"\n\
                [[bridge]]\nname = \"other\"\ndirection = \"out\"\nchannels = [\"orders\"]\ntype = \"order-status\"";
    let bridges = parsed(text, &broker()).unwrap();
    let names = |bridge: &BridgeSettings| bridge.listeners.iter().map(|other| other.name.clone()).collect::<Vec<_>>();
    assert_eq!(bridges.iter().map(names).collect::<Vec<_>>(), [vec![], vec!["in".to_owned()], vec![]]);
    assert_eq!((&*bridges[0].patterns, &*bridges[0].channels), (&["channel:*".to_owned()][..], &[][..]));
}

#[test]
fn a_bridge_whose_messages_are_all_ignored_is_a_mistake() {
    for direction in ["in", "out"] {
        let text = format!(
            "[[bridge]]\nname = \"a\"\ndirection = \"{direction}\"\nchannels = [\"a\"]\ntype_from = \"/type\"\ntypes = {{ x = false }}"
        );
        let mistakes = parsed(&text, &broker()).unwrap_err();
        let expected = "tidings.toml:6: bridge[0].types: none of these names an event type";
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(expected), "{mistakes:?}");
    }
}

#[test]
fn a_rest_interface_has_no_channels_for_a_bridge() {
    let rest = BrokerUrl::parse("upstash+https://t0ken@host.example").unwrap();
    let table = "[[bridge]]\nname = \"a\"\nchannels = [\"a\"]\ntype = \"order-status\"\n";
    for (text, place) in [
        (table.to_owned(), "tidings.toml:1: bridge[0]: `redis` is missing: a bridge cannot use the REST interface"),
        (
            format!("{table}redis = \"upstash+https://t0ken@host.example\""),
            "tidings.toml:5: bridge[0].redis: a bridge cannot use the REST interface",
        ),
    ] {
        let mistakes = parsed(&text, &BrokerConfig { broker: rest.clone(), ..broker() }).unwrap_err();
        assert!(mistakes[0].starts_with(place) && !mistakes[0].contains("t0ken"), "{mistakes:?}");
    }
}

#[test]
fn every_mistake_has_its_line_and_says_what_to_write() {
    let text = "[[bridge]]\nname = \"a b\"\nchannels = [\"tidings:default:x\", \"a:*\", \"a:b\", \"c?\"]\ntype = \"order-statu\"\n\
                [[bridge]]\nname = \"a\"\ndirection = \"up\"\nredis = \"http://x\"\nchannels = [\"a\"]\n\
                [[bridge]]\nname = \"a\"\ntype_from = \"type\"\ntypes = { x = 1 }\ndrop = [\"x\"]\nmap = { \"/a\" = 1 }\nchanels = 1";
    let mistakes = parsed(text, &broker()).unwrap_err();
    for expected in [
        "tidings.toml:2: bridge[0].name: expected 1 to 64",
        "tidings.toml:3: bridge[0].channels: names that begin with \"tidings:\" are those of tidings itself",
        "tidings.toml:3: bridge[0].channels: another entry has the same messages",
        "tidings.toml:3: bridge[0].channels: the only wildcard is `*`",
        "tidings.toml:4: bridge[0].type: there is no event type \"order-statu\"; did you mean",
        "tidings.toml:7: bridge[1].direction: expected in or out",
        "tidings.toml:8: bridge[1].redis: expected the URL of a Redis",
        "tidings.toml:5: bridge[1]: say which events the messages are",
        "tidings.toml:10: bridge[2]: `channels` is missing",
        "tidings.toml:12: bridge[2].type_from: expected a JSON Pointer",
        "tidings.toml:13: bridge[2].types: expected the name of an event type, or false",
        "tidings.toml:14: bridge[2].drop: expected a JSON Pointer",
        "tidings.toml:15: bridge[2].map: expected a JSON Pointer into the message",
        "tidings.toml:16: bridge[2]: unknown key \"chanels\"; did you mean `channels`?",
    ] {
        assert!(mistakes.iter().any(|mistake| mistake.starts_with(expected)), "{expected} is not in {mistakes:#?}");
    }
}

#[test]
fn a_member_that_no_type_takes_and_a_value_that_a_type_refuses_are_mistakes() {
    let table = |more: &str| format!("[[bridge]]\nname = \"a\"\nchannels = [\"a\"]\n{more}");
    let one = "type = \"inventory-change\"\n";
    let two = "type_from = \"/type\"\ntypes = { a = \"inventory-change\", b = \"finance-change\" }\n";
    let out = "direction = \"out\"\ntype = \"inventory-change\"\n";
    for (tables, expected) in [
        (
            format!("{one}set = {{ \"/reason\" = 5 }}"),
            "5: bridge[0].set: the event type inventory-change refuses this value of /reason: it must be",
        ),
        (
            format!("{one}map = {{ \"/nosuch\" = \"/x\" }}"),
            "5: bridge[0].map: the event type inventory-change has no field /nosuch, and allows no other",
        ),
        (
            format!("{one}set = {{ \"/nosuch/a\" = 1 }}"),
            "5: bridge[0].set: the event type inventory-change has no field /nosuch/a",
        ),
        (
            format!("{two}set = {{ \"/nosuch\" = 1 }}"),
            "6: bridge[0].set: none of the 2 event types has a field /nosuch",
        ),
        (
            format!("{out}map = {{ \"/nosuch\" = \"/x\" }}"),
            "6: bridge[0].map: the event type inventory-change has no field /nosuch",
        ),
    ] {
        let mistakes = parsed(&table(&tables), &broker()).unwrap_err();
        let [mistake] = &mistakes[..] else { panic!("{tables}: {mistakes:?}") };
        assert!(mistake.starts_with(&format!("tidings.toml:{expected}")), "{mistake}");
    }
    for good in [
        format!("{two}set = {{ \"/reason\" = \"unknown\" }}\nmap = {{ \"/amountMinor\" = \"/amount\" }}"),
        format!("{out}set = {{ \"/version\" = 2 }}\nmap = {{ \"/productId\" = \"/sku\" }}"),
    ] {
        parsed(&table(&good), &broker()).unwrap();
    }
}

/// How far a bridge has sent the events of all of its types is one value of the store. One that takes messages in has none.
#[test]
fn a_bridge_that_sends_has_at_most_a_hundred_types() {
    let mut catalog = Catalog::builtin();
    let names: Vec<_> = (0..101).map(|number| format!("note-{number}")).collect();
    names.iter().for_each(|name| drop(catalog.add(name, r#"{"type": "object"}"#).unwrap()));
    let with = |direction: &str, names: &[String]| {
        let types: Vec<_> = names.iter().map(|name| format!("\"{name}\" = \"{name}\"")).collect();
        let table = format!(
            "[[bridge]]\nname = \"a\"\ndirection = \"{direction}\"\nredis = \"redis://localhost\"\n\
             channels = [\"c\"]\ntype_from = \"/type\"\ntypes = {{ {} }}",
            types.join(", ")
        );
        parsed_with(&table, &broker(), &catalog)
    };
    assert_eq!(with("out", &names[1..]).unwrap()[0].types().len(), 100);
    assert_eq!(with("in", &names).unwrap()[0].types().len(), 101);
    let mistakes = with("out", &names).unwrap_err();
    let expected = "tidings.toml:7: bridge[0].types: these are 101 channels, and a flow has at most 100";
    assert!(mistakes.len() == 1 && mistakes[0].starts_with(expected), "{mistakes:#?}");
}
