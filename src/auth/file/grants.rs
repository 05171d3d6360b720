//! `publish`, `subscribe` and `admin` of a table. They are checked as the grants of a token are; in a rule, a pin may have the
//! value of a claim.

use super::FileReader;
use crate::access::GrantList;
use crate::auth::rules::{Rule, RuleEntry, RuleGrants};
use crate::config::toml_tree::{Node, Table, Value};
use crate::event::{Filter, FilterError, Json};
use crate::suggest::{self, Known};

impl FileReader<'_> {
    /// The grants of a table without claims.
    pub(super) fn grants(&mut self, table: Table<'_>) -> GrantList {
        let grants = self.rule_grants(table, false);
        // Its mistakes were found just now, and refuse the file.
        let list = Rule { when: Vec::new(), grants }.grants(&Json::Null);
        list.ok().flatten().unwrap_or_default()
    }

    /// The grants of a table, which may have values of claims in their pins.
    pub(super) fn rule_grants(&mut self, table: Table<'_>, with_claims: bool) -> RuleGrants {
        let before = self.reader.mistakes.len();
        let mut grants = RuleGrants {
            publish: self.entries(table, "publish", with_claims),
            subscribe: self.entries(table, "subscribe", with_claims),
            admin: None,
        };
        if let Some(admin) = table.node.get("admin") {
            let json = admin.to_json();
            self.check(&Json::Object(vec![("admin".into(), json.clone())]), table);
            grants.admin = Some(json);
        }
        if self.reader.mistakes.len() == before {
            // What is wrong with the list as a whole: too many entries.
            let list = |entries: &[RuleEntry]| Json::Array(entries.iter().map(RuleEntry::without_claims).collect());
            let whole = vec![("publish".into(), list(&grants.publish)), ("subscribe".into(), list(&grants.subscribe))];
            self.check(&Json::Object(whole), table);
        }
        grants
    }

    fn entries(&mut self, table: Table<'_>, list: &str, with_claims: bool) -> Vec<RuleEntry> {
        let Some(node) = table.node.get(list) else { return Vec::new() };
        let Value::Array(elements) = &node.value else {
            self.reader.mistake(node.at, &table.at(list), "this is a list of channels");
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            entries.extend(self.entry(table, list, index, element, with_claims));
        }
        entries
    }

    fn entry(
        &mut self,
        table: Table<'_>,
        list: &str,
        index: usize,
        node: &Node,
        with_claims: bool,
    ) -> Option<RuleEntry> {
        let path = format!("{}[{index}]", table.at(list));
        let before = self.reader.mistakes.len();
        self.refuse_others(node, &path);
        let channel = node.as_str().or_else(|| node.get("channel")?.as_str());
        let catalog = self.catalog;
        let known = channel.and_then(|name| catalog.channel(name)).map(|channel| catalog.get(channel));
        let mut entry = RuleEntry { entry: node.to_json(), claims: Vec::new() };
        for member in node.get("where").and_then(Node::as_table).unwrap_or_default() {
            let [claim] = member.node.as_table().unwrap_or_default() else { continue };
            if claim.name != "claim" {
                continue;
            }
            let path = format!("{path}.where.{}", member.name);
            if !with_claims {
                self.reader.mistake(claim.at, &path, "only a rule of an issuer can use a claim");
                continue;
            }
            let Some(text) = claim.node.as_str() else {
                self.reader.mistake(claim.node.at, &path, "a claim is named by a JSON Pointer, such as \"/sub\"");
                continue;
            };
            // Whether the field can have the value of the claim shows when there is a token; whether it exists, now.
            let probe = Json::Object(vec![(member.name.as_str().into(), "x".into())]);
            if let Some(known) = known
                && let Err(error @ FilterError::UnknownField(_)) = Filter::parse(&probe, known)
            {
                self.reader.mistake(member.at, &path, error);
            }
            if let Some(pointer) = self.parse_pointer(claim.node.at, &path, text) {
                entry.claims.push((member.name.clone(), pointer));
                entry.remove(&member.name);
            }
        }
        if self.reader.mistakes.len() > before {
            return None;
        }
        let only = Json::Object(vec![(list.to_owned().into(), Json::Array(vec![entry.without_claims()]))]);
        self.check_entry(&only, node, &path, list);
        if let (None, Some(name)) = (known, channel)
            && !name.contains('*')
        {
            let names = self.catalog.types().iter().map(|known| &*known.name);
            let names = Known::new("channels", names);
            let refusal = format!("there is no channel {}, so this grants nothing", suggest::quoted(name));
            self.reader.warning(node.at, &path, names.refuse(&refusal, name));
        }
        (self.reader.mistakes.len() == before).then_some(entry)
    }

    /// Reads grants as those of a token are read, and reports the mistake.
    fn check(&mut self, grants: &Json<'_>, table: Table<'_>) {
        let result = GrantList::read(grants).and_then(|list| list.resolve(self.catalog));
        if let Err(error) = result {
            let text = error.to_string();
            let (pointer, text) = split_pointer(&text);
            self.reader.mistake(table.node.place(&pointer), &format!("{}{}", table.path, dotted(&pointer)), text);
        }
    }

    /// The same for one entry of a list, which has the index 0 there.
    fn check_entry(&mut self, grants: &Json<'_>, node: &Node, path: &str, list: &str) {
        let result = GrantList::read(grants).and_then(|list| list.resolve(self.catalog));
        if let Err(error) = result {
            let text = error.to_string();
            let (pointer, text) = split_pointer(&text);
            let within = pointer.strip_prefix(&format!("/{list}/0")).unwrap_or_default();
            self.reader.mistake(node.place(within), &format!("{path}{}", dotted(within)), text);
        }
    }

    fn refuse_others(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Other(what) => self.reader.mistake(node.at, path, format!("a {what} is not possible here")),
            Value::Array(elements) => elements.iter().for_each(|element| self.refuse_others(element, path)),
            Value::Table(members) => members.iter().for_each(|member| self.refuse_others(&member.node, path)),
            Value::String(_) | Value::Number(_) | Value::Bool(_) => {}
        }
    }
}

impl RuleEntry {
    /// Takes a field out of `where`.
    fn remove(&mut self, field: &str) {
        let Json::Object(members) = &mut self.entry else { return };
        for (_, pin) in members.iter_mut().filter(|(name, _)| name == "where") {
            if let Json::Object(fields) = pin {
                fields.retain(|(name, _)| name != field);
            }
        }
    }

    /// The entry to check: what it is without the fields whose values are claims.
    fn without_claims(&self) -> Json<'static> {
        let mut entry = self.entry.clone();
        if let Json::Object(members) = &mut entry
            && !self.claims.is_empty()
        {
            members.retain(|(name, pin)| name != "where" || pin.as_object().is_some_and(|fields| !fields.is_empty()));
        }
        entry
    }
}

/// The pointers at the begin of a mistake in grants, as one, and the rest: the second one is that of a filter.
fn split_pointer(mut text: &str) -> (String, &str) {
    let mut pointer = String::new();
    while let Some((step, rest)) = text.split_once(": ").filter(|(step, _)| step.starts_with('/')) {
        pointer.push_str(step);
        text = rest;
    }
    (pointer, text)
}

/// A pointer as the path of a key: `/where/customerId` is `.where.customerId`.
fn dotted(pointer: &str) -> String {
    pointer.replace('/', ".")
}
