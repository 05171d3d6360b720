//! How far the relay has come on each channel of a namespace.
//!
//! The relay notes each position that it has handed to the hub. A publisher's answer waits a moment for
//! its own positions, a long-poll for the next one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::event::{Catalog, ChannelId, Epoch, PerChannel, Position};

/// How many past epochs are remembered: more than can pass while somebody waits.
const PAST_EPOCHS: usize = 8;

/// The position that each channel has reached, and the waiters for later ones.
#[derive(Debug)]
pub struct Progress(PerChannel<Mutex<ChannelProgress>>);

#[derive(Debug, Default)]
struct ChannelProgress {
    /// `None` until the log was read for the first time.
    reached: Option<Position>,
    /// The first position that was reached.
    first: Option<Position>,
    past_epochs: VecDeque<Epoch>,
    /// The waiters by offset, so that each step wakes only those that it concerns. The second number tells waiters for
    /// one offset apart.
    waiters: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    last_waiter: u64,
}

/// An entry among a channel's waiters, removed when this is dropped.
struct Waiter<'a> {
    channel: &'a Mutex<ChannelProgress>,
    key: (u64, u64),
    woken: oneshot::Receiver<()>,
}

impl Progress {
    /// Progress on the catalogue's channels, whose positions are not known yet.
    pub fn new(catalog: &Catalog) -> Self {
        Self(PerChannel::new(catalog, |_| Mutex::default()))
    }

    /// The last position of a channel that was handed to the hub; `None` until its log was read for the first time.
    pub fn position(&self, channel: ChannelId) -> Option<Position> {
        lock(&self.0[channel]).reached.clone()
    }

    /// Where a channel was when its log was read for the first time.
    pub fn first(&self, channel: ChannelId) -> Option<Position> {
        lock(&self.0[channel]).first.clone()
    }

    /// Waits until everything of a channel up to `position` was handed to the hub, or the position's epoch is over.
    pub async fn reached(&self, channel: ChannelId, position: &Position) {
        while let Some(mut waiter) = Waiter::register(&self.0[channel], position) {
            let _ = (&mut waiter.woken).await;
        }
    }

    /// Notes that everything of a channel up to `position` was handed to the hub.
    pub fn note(&self, channel: ChannelId, position: &Position) {
        let mut channel = lock(&self.0[channel]);
        let before = channel.reached.replace(position.clone());
        channel.first.get_or_insert_with(|| position.clone());
        let new_epoch = before.as_ref().is_none_or(|before| !before.same_epoch(position));
        if new_epoch {
            channel.past_epochs.extend(before.map(|before| before.epoch));
            channel.past_epochs.retain(|epoch| *epoch != position.epoch);
            if channel.past_epochs.len() > PAST_EPOCHS {
                channel.past_epochs.pop_front();
            }
        }
        while let Some(first) = channel.waiters.first_entry() {
            // A waiter may mean its offset in another epoch: it compares again when it is woken.
            if first.key().0 > position.offset && !new_epoch {
                break;
            }
            // A waiter that gave up does not listen any more.
            let _ = first.remove().send(());
        }
    }
}

impl<'a> Waiter<'a> {
    /// Registers a waiter, or returns `None` if there is nothing to wait for.
    fn register(channel: &'a Mutex<ChannelProgress>, position: &Position) -> Option<Self> {
        let mut state = lock(channel);
        let has_come = |at: &Position| {
            at.same_epoch(position) && at.offset >= position.offset || state.past_epochs.contains(&position.epoch)
        };
        if state.reached.as_ref().is_some_and(has_come) {
            return None;
        }
        state.last_waiter += 1;
        let (key, (sender, woken)) = ((position.offset, state.last_waiter), oneshot::channel());
        state.waiters.insert(key, sender);
        Some(Self { channel, key, woken })
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        lock(self.channel).waiters.remove(&self.key);
    }
}

fn lock(channel: &Mutex<ChannelProgress>) -> MutexGuard<'_, ChannelProgress> {
    channel.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    #[test]
    fn a_step_wakes_its_waiters_and_an_abandoned_waiter_is_removed() {
        let catalog = Catalog::builtin();
        let (progress, channel, other) = (
            Progress::new(&catalog),
            catalog.channel("order-status").unwrap(),
            catalog.channel("data-update").unwrap(),
        );
        let at = |text: &str| text.parse::<Position>().unwrap();
        progress.note(channel, &at("a:0"));
        let positions = ["a:2", "a:1", "a:3", "a:2"].map(at);
        let mut waits: Vec<_> = positions.each_ref().map(|position| progress.reached(channel, position).boxed()).into();
        let ready = |waits: &mut Vec<BoxFuture<'_, ()>>| -> Vec<bool> {
            waits.iter_mut().map(|wait| wait.now_or_never().is_some()).collect()
        };
        assert_eq!(ready(&mut waits), [false; 4]);
        progress.note(other, &at("a:5"));
        progress.note(channel, &at("a:1"));
        assert!(waits.remove(1).now_or_never().is_some());
        assert_eq!(ready(&mut waits), [false; 3]);
        progress.note(channel, &at("a:2"));
        assert!(waits.remove(2).now_or_never().is_some());
        assert!(waits.remove(0).now_or_never().is_some());
        assert_eq!(lock(&progress.0[channel]).waiters.len(), 1);
        drop(waits);
        assert_eq!(lock(&progress.0[channel]).waiters.len(), 0);
        assert!(progress.reached(channel, &positions[0]).now_or_never().is_some());
    }

    #[test]
    fn a_new_epoch_wakes_the_waiters_of_the_epoch_before() {
        let catalog = Catalog::builtin();
        let (progress, channel) = (Progress::new(&catalog), catalog.channel("order-status").unwrap());
        let [old, low, high] = ["a:50", "b:3", "b:60"].map(|text| text.parse::<Position>().unwrap());
        let mut waits = [&old, &low, &high].map(|position| progress.reached(channel, position).boxed());
        let mut ready = || waits.each_mut().map(|wait| wait.now_or_never().is_some());
        assert_eq!(ready(), [false; 3]);
        progress.note(channel, &Position { offset: 40, ..old.clone() });
        assert_eq!(ready(), [false; 3], "offsets are not compared over epochs");
        progress.note(channel, &low);
        assert_eq!(ready(), [true, true, false]);
        drop(waits);
        // A position of a past epoch cannot come any more, so nobody waits for it.
        assert!(progress.reached(channel, &old).now_or_never().is_some());
    }
}
