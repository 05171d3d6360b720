//! Values by channel: the one way from a [`ChannelId`] to what a module keeps for that channel.
//!
//! All per-channel state of a namespace is held in this type, so that several namespaces can stand side by side in one
//! process, each with values of its own.

use std::ops::{Index, IndexMut};

use super::{Catalog, ChannelId};

/// One value for each channel of a catalogue.
#[derive(Debug, Clone)]
pub struct PerChannel<T>(Box<[T]>);

impl<T> PerChannel<T> {
    /// Makes the value of each channel.
    pub fn new(catalog: &Catalog, value: impl FnMut(ChannelId) -> T) -> Self {
        Self(catalog.channels().map(value).collect())
    }

    /// The values, in the order of the catalogue's channels.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &T> {
        self.0.iter()
    }

    /// Another value for each channel, made of this one.
    pub fn map<U>(&self, value: impl FnMut(&T) -> U) -> PerChannel<U> {
        PerChannel(self.0.iter().map(value).collect())
    }

    /// Each channel with its value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ChannelId, &T)> {
        self.0.iter().enumerate().map(|(number, value)| (ChannelId(number as u32), value))
    }
}

impl<T> Index<ChannelId> for PerChannel<T> {
    type Output = T;

    #[inline]
    fn index(&self, channel: ChannelId) -> &T {
        &self.0[channel.0 as usize]
    }
}

impl<T> IndexMut<ChannelId> for PerChannel<T> {
    #[inline]
    fn index_mut(&mut self, channel: ChannelId) -> &mut T {
        &mut self.0[channel.0 as usize]
    }
}
