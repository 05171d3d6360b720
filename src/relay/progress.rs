//! How far the relay has come on each channel, for publishers who must not outrun it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::event::{Catalog, ChannelId};

/// The offsets that were handed to the hub, and who waits for which.
#[derive(Debug)]
pub struct Progress {
    channels: Vec<Mutex<Channel>>,
}

#[derive(Debug, Default)]
struct Channel {
    reached: u64,
    /// By offset, so that each step wakes those alone who waited for it; and by a number, since several may wait for one.
    waiting: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    tickets: u64,
}

/// Somebody's place among those who wait, given up when it is dropped.
struct Place<'a> {
    channel: &'a Mutex<Channel>,
    key: (u64, u64),
    reached: oneshot::Receiver<()>,
}

impl Progress {
    /// For the catalogue's channels, none of which has moved.
    pub fn new(catalog: &Catalog) -> Self {
        Self { channels: catalog.channels().map(|_| Mutex::default()).collect() }
    }

    /// Waits until everything of a channel up to `offset` was handed to the hub.
    pub async fn reached(&self, channel: ChannelId, offset: u64) {
        if let Some(mut place) = Place::take(&self.channels[channel.0 as usize], offset) {
            let _ = (&mut place.reached).await;
        }
    }

    pub(super) fn note(&self, channel: ChannelId, offset: u64) {
        let mut channel = lock(&self.channels[channel.0 as usize]);
        channel.reached = offset;
        while let Some(first) = channel.waiting.first_entry() {
            if first.key().0 > offset {
                break;
            }
            // Who gave up waiting does not hear it.
            let _ = first.remove().send(());
        }
    }
}

impl<'a> Place<'a> {
    /// `None` where there is nothing to wait for.
    fn take(channel: &'a Mutex<Channel>, offset: u64) -> Option<Self> {
        let mut state = lock(channel);
        if state.reached >= offset {
            return None;
        }
        state.tickets += 1;
        let (key, (sender, reached)) = ((offset, state.tickets), oneshot::channel());
        state.waiting.insert(key, sender);
        Some(Self { channel, key, reached })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(self.channel).waiting.remove(&self.key);
    }
}

fn lock(channel: &Mutex<Channel>) -> MutexGuard<'_, Channel> {
    channel.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    #[test]
    fn a_step_wakes_those_who_waited_for_it_and_nobody_who_gave_up_stays() {
        let catalog = Catalog::builtin();
        let (progress, channel, other) = (Progress::new(&catalog), ChannelId(0), ChannelId(1));
        let mut waits: Vec<_> = [2, 1, 3, 2].map(|offset| progress.reached(channel, offset).boxed()).into();
        let ready = |waits: &mut Vec<BoxFuture<'_, ()>>| -> Vec<bool> {
            waits.iter_mut().map(|wait| wait.now_or_never().is_some()).collect()
        };
        assert_eq!(ready(&mut waits), [false; 4]);
        progress.note(other, 5);
        progress.note(channel, 1);
        assert!(waits.remove(1).now_or_never().is_some());
        assert_eq!(ready(&mut waits), [false; 3]);
        progress.note(channel, 2);
        assert!(waits.remove(2).now_or_never().is_some());
        assert!(waits.remove(0).now_or_never().is_some());
        assert_eq!(lock(&progress.channels[0]).waiting.len(), 1);
        drop(waits);
        assert_eq!(lock(&progress.channels[0]).waiting.len(), 0);
        assert!(progress.reached(channel, 2).now_or_never().is_some());
    }
}
