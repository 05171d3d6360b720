//! What was invalidated lately, whether or not an entry had it: for loads in progress and for entries of L2.
//!
//! A load can learn its tags late, and an entry of L2 comes with tags that no stored entry has. Both have a fence, and are
//! judged against everything after it. The history is bounded: of two halves, the older is forgotten when the younger is full.
//! What has a fence before the oldest known invalidation counts as invalidated.

use hashbrown::HashMap;

use crate::event::CacheInvalidate;

/// The last invalidation of a tag, key or prefix.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Its number in this cache.
    number: u64,
    /// Its offset in the log.
    offset: i64,
}

/// The offset of an invalidation that has none yet.
pub const NO_OFFSET: i64 = -1;
/// How many names a half of the history has before it becomes the older half.
pub const HALF_SIZE: usize = 50_000;
/// A prefix is compared with every key that is judged, so it counts as so many names.
const PREFIX_WEIGHT: usize = 50;

type Marks = HashMap<String, Mark>;

struct Half {
    tags: Marks,
    keys: Marks,
    prefixes: Marks,
    number: u64,
    offset: i64,
}

impl Half {
    fn new() -> Self {
        Self { tags: Marks::new(), keys: Marks::new(), prefixes: Marks::new(), number: 0, offset: NO_OFFSET }
    }

    fn size(&self) -> usize {
        self.tags.len() + self.keys.len() + PREFIX_WEIGHT * self.prefixes.len()
    }

    fn record(&mut self, what: &CacheInvalidate, number: u64, offset: i64) {
        for (names, marks) in
            [(&what.tags, &mut self.tags), (&what.keys, &mut self.keys), (&what.prefixes, &mut self.prefixes)]
        {
            for name in names {
                let mark = marks.entry_ref(name.as_str()).or_insert(Mark { number, offset });
                *mark = Mark { number: number.max(mark.number), offset: offset.max(mark.offset) };
            }
        }
        self.number = self.number.max(number);
        self.offset = self.offset.max(offset);
    }

    fn any(&self, key: &str, tags: &[String], is_after: &dyn Fn(&Mark) -> bool) -> bool {
        self.keys.get(key).is_some_and(is_after)
            || tags.iter().any(|tag| self.tags.get(tag.as_str()).is_some_and(is_after))
            || self.prefixes.iter().any(|(prefix, mark)| is_after(mark) && key.starts_with(prefix.as_str()))
    }
}

/// The last invalidations.
pub struct History {
    half_size: usize,
    young: Half,
    old: Half,
    /// What has a lower number is not known any more.
    floor_number: u64,
    /// What has a lower offset is not known. `None` until the first position is.
    floor_offset: Option<i64>,
}

impl History {
    pub fn new(half_size: usize) -> Self {
        Self { half_size, young: Half::new(), old: Half::new(), floor_number: 0, floor_offset: None }
    }

    /// Records an invalidation. Its offset is [`NO_OFFSET`] if it has none yet.
    pub fn record(&mut self, what: &CacheInvalidate, number: u64, offset: i64) {
        self.young.record(what, number, offset);
        if self.young.size() < self.half_size {
            return;
        }
        self.floor_number = self.floor_number.max(self.old.number);
        self.floor_offset = Some(self.floor_offset.unwrap_or(self.old.offset).max(self.old.offset));
        self.old = std::mem::replace(&mut self.young, Half::new());
    }

    /// The log is known from `offset` on, if that was not known before.
    pub fn begin(&mut self, offset: i64) {
        self.floor_offset.get_or_insert(offset);
    }

    /// Forgets everything up to the invalidation `number`. With `offset`, the log is known from there on.
    pub fn clear(&mut self, number: u64, offset: Option<i64>) {
        if self.young.size() + self.old.size() > 0 {
            (self.young, self.old) = (Half::new(), Half::new());
        }
        self.floor_number = number;
        self.floor_offset = offset.or(self.floor_offset);
    }

    /// Whether an invalidation with a higher number than `fence` may match.
    pub fn matches_since(&self, fence: u64, key: &str, tags: &[String]) -> bool {
        fence < self.floor_number || self.any(key, tags, &|mark| mark.number > fence)
    }

    /// Whether an invalidation after `offset` may match.
    pub fn matches_after(&self, offset: i64, key: &str, tags: &[String]) -> bool {
        self.floor_offset.is_none_or(|floor| offset < floor) || self.any(key, tags, &|mark| mark.offset > offset)
    }

    fn any(&self, key: &str, tags: &[String], is_after: &dyn Fn(&Mark) -> bool) -> bool {
        self.young.any(key, tags, is_after) || self.old.any(key, tags, is_after)
    }
}

/// Whether an invalidation names this key or one of these tags.
pub fn names(what: &CacheInvalidate, key: &str, tags: &[String]) -> bool {
    what.keys.iter().any(|named| named == key)
        || tags.iter().any(|tag| what.tags.contains(tag))
        || what.prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
}
