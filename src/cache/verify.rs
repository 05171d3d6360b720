//! Loads some hits again, and reports values that changed without an invalidation: a writer that publishes nothing, or a tag
//! that is missing or misspelt.

use std::sync::Arc;

use super::clock::duration;
use super::coherence::State;
use super::core::Core;
use super::events::Event;
use super::loads::{Context, Equal, Kind, Loader};
use super::store::Entry;

/// How many values are checked at the same time.
const MAX_CHECKS: usize = 4;

impl Core {
    /// Notices a hit, and checks it if it is in the sample.
    pub fn sample(self: &Arc<Self>, key: String, kind: &Kind, loader: impl FnOnce() -> Loader) {
        let Some((sample, equal)) = &kind.verify else { return };
        if self.environment.random() >= *sample {
            return;
        }
        let Some(entry) = self.shelves.get(&key) else { return };
        let (core, equal, loader) = (self.clone(), equal.clone(), loader());
        let mut checks = self.checks();
        if checks.len() >= MAX_CHECKS || !checks.insert(key.clone()) {
            return;
        }
        drop(checks);
        tokio::spawn(async move {
            let check = Check { core, key };
            check.run(&entry, &loader, &*equal).await;
        });
    }
}

struct Check {
    core: Arc<Core>,
    key: String,
}

impl Drop for Check {
    fn drop(&mut self) {
        self.core.checks().remove(&self.key);
    }
}

impl Check {
    async fn run(&self, entry: &Arc<Entry>, loader: &Loader, equal: &Equal) {
        let Self { core, key } = self;
        let bound = duration(core.bound);
        // An invalidation of what has just changed arrives meanwhile.
        core.environment.sleep(bound).await;
        if !self.is_served(entry) {
            return;
        }
        core.counters.loads.count();
        let Ok(loaded) = loader(Context::new(key, entry.value.clone(), None)).await else { return };
        if equal(&entry.value, &loaded) {
            return;
        }
        // The writer invalidates after its commit: give it the same time again.
        core.environment.sleep(bound).await;
        let demand = core.lock().proof.demand(0, 0);
        if !core.reaches(demand).await || !self.is_served(entry) {
            return;
        }
        let mut state = core.lock();
        let State { store, validity, .. } = &mut *state;
        store.delete(validity, key);
        core.counters.mismatches.count();
        let tags: Vec<String> = entry.validated.tags.iter().map(|tag| tag.name.to_string()).collect();
        tracing::warn!(key, ?tags, "a cached value has changed without an invalidation");
        core.counters.events.tell(|| Event::Mismatch { key: key.clone(), tags });
    }

    /// Whether the entry is still the one that readers get.
    fn is_served(&self, entry: &Arc<Entry>) -> bool {
        let state = self.core.lock();
        let is_stored = state.store.get(&self.key).is_some_and(|stored| Arc::ptr_eq(&stored, entry));
        is_stored && state.validity.is_valid(&self.key, &entry.validated, self.core.environment.now())
    }
}
