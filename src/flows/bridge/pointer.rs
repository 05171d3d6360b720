//! JSON Pointers (RFC 6901) into messages and events: read, take and set a member.

use crate::event::Json;

/// A pointer to a member: at least one name. Elements of arrays can be read only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    names: Vec<String>,
}

impl Pointer {
    /// Reads a pointer. `None`: it is none, or points to the whole document.
    pub fn parse(text: &str) -> Option<Self> {
        let names = text.strip_prefix('/')?.split('/').map(|name| {
            let escaped = name.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
            escaped.then(|| name.replace("~1", "/").replace("~0", "~"))
        });
        Some(Self { text: text.to_owned(), names: names.collect::<Option<_>>()? })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value that it points to.
    pub fn get<'d, 'j>(&self, document: &'d Json<'j>) -> Option<&'d Json<'j>> {
        self.names.iter().try_fold(document, |value, name| match value {
            Json::Object(_) => value.get(name),
            Json::Array(elements) => elements.get(name.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Takes the member out of the document, if it is there.
    pub fn take<'j>(&self, document: &mut Json<'j>) -> Option<Json<'j>> {
        let (last, parents) = self.names.split_last()?;
        let parent = parents.iter().try_fold(document, |value, name| member(value, name))?;
        let Json::Object(members) = parent else { return None };
        let at = members.iter().position(|(name, _)| name == last)?;
        Some(members.remove(at).1)
    }

    /// Sets the member, if the document has none there. Makes the objects on the way. `false`: something on the way is there, and
    /// is no object.
    pub fn add<'j>(&self, document: &mut Json<'j>, value: Json<'j>) -> bool {
        let mut parent = document;
        for (number, name) in self.names.iter().enumerate() {
            let Json::Object(members) = parent else { return false };
            let at = members.iter().position(|(known, _)| known == name);
            let is_last = number + 1 == self.names.len();
            let at = match (at, is_last) {
                (Some(_), true) => return true,
                (Some(at), false) => at,
                (None, true) => {
                    members.push((name.clone().into(), value));
                    return true;
                }
                (None, false) => {
                    members.push((name.clone().into(), Json::Object(Vec::new())));
                    members.len() - 1
                }
            };
            parent = &mut members[at].1;
        }
        true
    }

    /// This pointer and those to the members that it goes through, the shortest first.
    pub fn path(&self) -> impl Iterator<Item = Self> {
        let slashes = self.text.match_indices('/').skip(1).map(|(at, _)| at);
        slashes.chain([self.text.len()]).filter_map(|end| Self::parse(&self.text[..end]))
    }
}

fn member<'d, 'j>(value: &'d mut Json<'j>, name: &str) -> Option<&'d mut Json<'j>> {
    match value {
        Json::Object(members) => members.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_taken_and_added() {
        let mut json = Json::parse(r#"{"a":{"b/c":[1,{"~":2}]},"d":3}"#).unwrap();
        let at = |text: &str| Pointer::parse(text).unwrap();
        assert_eq!(at("/a/b~1c/1/~0").get(&json).unwrap().to_string(), "2");
        assert_eq!(at("/a/x").get(&json), None);
        assert_eq!(at("/d").take(&mut json).unwrap().to_string(), "3");
        assert_eq!(at("/d/e").take(&mut json), None);
        assert!(at("/x/y").add(&mut json, true.to_string().into()));
        assert!(at("/a/b~1c").add(&mut json, Json::Null), "it is there already");
        assert!(!at("/a/b~1c/0/z").add(&mut json, Json::Null), "an array");
        assert_eq!(json.to_string(), r#"{"a":{"b/c":[1,{"~":2}]},"x":{"y":"true"}}"#);
        let path: Vec<_> = at("/a/b~1c//d").path().map(|pointer| pointer.text).collect();
        assert_eq!(path, ["/a", "/a/b~1c", "/a/b~1c/", "/a/b~1c//d"]);
        for text in ["", "a", "/a~", "/~2"] {
            assert_eq!(Pointer::parse(text), None, "{text}");
        }
        assert!(Pointer::parse("/").is_some(), "a member without a name");
    }
}
