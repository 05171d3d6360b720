//! What a loader gets, and the loader without the type of its values.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::downcast;
use crate::cache::error::{BoxError, Error};
use crate::cache::loads::{Context, Loader};

/// What a loader gets. Cheap to clone.
pub struct LoadContext<T> {
    context: Context,
    values: PhantomData<fn() -> T>,
}

impl<T: Send + Sync + 'static> LoadContext<T> {
    /// The key as it is stored: with the name of the cache.
    pub fn key(&self) -> &str {
        &self.context.key
    }

    /// The last value of the key, which may not be served any more, if it is still there.
    pub fn previous(&self) -> Option<Arc<T>> {
        downcast(self.context.previous.clone())?
    }

    /// Adds tags to the entry, which are known only now.
    pub fn tag(&self, names: impl IntoIterator<Item = impl Into<String>>) {
        self.context.tag(names.into_iter().map(Into::into));
    }

    /// Sets the TTL of the entry.
    pub fn ttl(&self, ttl: Duration) {
        self.context.ttl(ttl);
    }

    /// The value is returned and not stored.
    pub fn skip(&self) {
        self.context.skip();
    }
}

impl<T> Clone for LoadContext<T> {
    fn clone(&self) -> Self {
        Self { context: self.context.clone(), values: self.values }
    }
}

/// The loader without the type of its values.
pub fn loader<T, Load, Loading, Loaded, E>(load: Load) -> Loader
where
    T: Send + Sync + 'static,
    Load: Fn(LoadContext<T>) -> Loading + Send + Sync + 'static,
    Loading: Future<Output = Result<Loaded, E>> + Send + 'static,
    Loaded: Into<Option<T>>,
    E: Into<BoxError>,
{
    Arc::new(move |context| {
        let loading = load(LoadContext { context, values: PhantomData });
        async move {
            let loaded: Option<T> = loading.await.map_err(Error::failed)?.into();
            Ok(loaded.map(|value| -> Arc<dyn Any + Send + Sync> { Arc::new(value) }))
        }
        .boxed()
    })
}
