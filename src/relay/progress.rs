//! How far the relay has come on each channel, for publishers who must not outrun it, and for those who wait for events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::event::{Catalog, ChannelId, Epoch, Position};

/// Epochs that are remembered after their end: longer than anybody waits.
const OVER: usize = 8;

/// The positions that were handed to the hub, and who waits for which.
#[derive(Debug)]
pub struct Progress {
    channels: Vec<Mutex<Channel>>,
}

#[derive(Debug, Default)]
struct Channel {
    /// `None` until the log was read for the first time.
    reached: Option<Position>,
    /// The epochs before.
    over: VecDeque<Epoch>,
    /// By offset, so that each step wakes those alone who waited for it; and by a number, since several may wait for one.
    waiting: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    tickets: u64,
}

/// Somebody's place among those who wait, given up when it is dropped.
struct Place<'a> {
    channel: &'a Mutex<Channel>,
    key: (u64, u64),
    woken: oneshot::Receiver<()>,
}

impl Progress {
    /// For the catalogue's channels, none of which has moved.
    pub fn new(catalog: &Catalog) -> Self {
        Self { channels: catalog.channels().map(|_| Mutex::default()).collect() }
    }

    /// Waits until everything of a channel up to `position` was handed to the hub, or its epoch is over.
    pub async fn reached(&self, channel: ChannelId, position: &Position) {
        while let Some(mut place) = Place::take(&self.channels[channel.0 as usize], position) {
            let _ = (&mut place.woken).await;
        }
    }

    pub(super) fn note(&self, channel: ChannelId, position: &Position) {
        let mut channel = lock(&self.channels[channel.0 as usize]);
        let before = channel.reached.replace(position.clone());
        let changed = before.as_ref().is_none_or(|before| !before.same_epoch(position));
        if changed {
            channel.over.extend(before.map(|before| before.epoch));
            channel.over.retain(|epoch| *epoch != position.epoch);
            if channel.over.len() > OVER {
                channel.over.pop_front();
            }
        }
        while let Some(first) = channel.waiting.first_entry() {
            // Who waits for an offset may mean it in another epoch, and sees for himself.
            if first.key().0 > position.offset && !changed {
                break;
            }
            // Who gave up waiting does not hear it.
            let _ = first.remove().send(());
        }
    }
}

impl<'a> Place<'a> {
    /// `None` where there is nothing to wait for.
    fn take(channel: &'a Mutex<Channel>, position: &Position) -> Option<Self> {
        let mut state = lock(channel);
        let has_come = |at: &Position| {
            at.same_epoch(position) && at.offset >= position.offset || state.over.contains(&position.epoch)
        };
        if state.reached.as_ref().is_some_and(has_come) {
            return None;
        }
        state.tickets += 1;
        let (key, (sender, woken)) = ((position.offset, state.tickets), oneshot::channel());
        state.waiting.insert(key, sender);
        Some(Self { channel, key, woken })
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
        assert_eq!(lock(&progress.channels[0]).waiting.len(), 1);
        drop(waits);
        assert_eq!(lock(&progress.channels[0]).waiting.len(), 0);
        assert!(progress.reached(channel, &positions[0]).now_or_never().is_some());
    }

    #[test]
    fn a_new_epoch_wakes_those_who_waited_in_the_one_before() {
        let (progress, channel) = (Progress::new(&Catalog::builtin()), ChannelId(0));
        let [old, low, high] = ["a:50", "b:3", "b:60"].map(|text| text.parse::<Position>().unwrap());
        let mut waits = [&old, &low, &high].map(|position| progress.reached(channel, position).boxed());
        let mut ready = || waits.each_mut().map(|wait| wait.now_or_never().is_some());
        assert_eq!(ready(), [false; 3]);
        progress.note(channel, &Position { offset: 40, ..old.clone() });
        assert_eq!(ready(), [false; 3], "offsets are not compared over epochs");
        progress.note(channel, &low);
        assert_eq!(ready(), [true, true, false]);
        drop(waits);
        // Nobody waits for what cannot come any more.
        assert!(progress.reached(channel, &old).now_or_never().is_some());
    }
}
