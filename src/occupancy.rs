//! How many connections are open: in all, and from each address.
//!
//! A connection counts from the moment in which it is accepted, before it has said anything, to its end. So nobody can use
//! up the process's files with connections that stay silent. What a refused client is told is the transport's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::network::ClientNetwork;

/// Connections over the limit that are told so at a time. Others are closed without a word.
const MAX_REFUSED: usize = 64;
/// The most addresses that are counted.
const MAX_ADDRESSES: usize = 100_000;

/// The open connections of a node, and their limits.
#[derive(Debug)]
pub struct Occupancy {
    limit: usize,
    limit_of_address: Option<usize>,
    open: AtomicUsize,
    refused: AtomicUsize,
    /// The addresses with an open connection, if they are limited.
    addresses: Mutex<HashMap<ClientNetwork, usize>>,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The node has as many connections as it may have.
    Node,
    /// The address has.
    Address,
}

/// Counts as one open connection until it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit(Arc<Occupancy>);

/// Counts as one connection of an address until it is dropped.
#[derive(Debug)]
pub struct AddressPermit {
    occupancy: Arc<Occupancy>,
    address: ClientNetwork,
}

/// Counts as one refused connection until it is dropped.
#[derive(Debug)]
pub struct RefusedPermit(Arc<Occupancy>);

impl Occupancy {
    /// Up to `limit` connections, and up to `limit_of_address` of one address.
    pub fn new(limit: usize, limit_of_address: Option<usize>) -> Arc<Self> {
        let addresses = Mutex::default();
        Arc::new(Self { limit, limit_of_address, open: AtomicUsize::new(0), refused: AtomicUsize::new(0), addresses })
    }

    /// The most connections of one address, if that is limited.
    pub fn limit_of_address(&self) -> Option<usize> {
        self.limit_of_address
    }

    /// Counts a new connection.
    ///
    /// # Errors
    /// [`Full::Node`].
    pub fn admit(self: &Arc<Self>) -> Result<ConnectionPermit, Full> {
        match take_one(&self.open, self.limit) {
            true => Ok(ConnectionPermit(self.clone())),
            false => Err(Full::Node),
        }
    }

    /// Counts a connection of this address. `None` if addresses are not limited.
    ///
    /// # Errors
    /// [`Full::Address`], also if connections of too many other addresses are open.
    pub fn admit_address(self: &Arc<Self>, address: IpAddr) -> Result<Option<AddressPermit>, Full> {
        let Some(limit) = self.limit_of_address else { return Ok(None) };
        let address = ClientNetwork::from(address);
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let open = addresses.get(&address).copied().unwrap_or_default();
        if open >= limit || open == 0 && addresses.len() >= MAX_ADDRESSES {
            return Err(Full::Address);
        }
        addresses.insert(address, open + 1);
        drop(addresses);
        Ok(Some(AddressPermit { occupancy: self.clone(), address }))
    }

    /// Counts a connection that is to be told that it is refused. `None` if too many are.
    pub fn refuse(self: &Arc<Self>) -> Option<RefusedPermit> {
        take_one(&self.refused, MAX_REFUSED).then(|| RefusedPermit(self.clone()))
    }
}

/// Adds one, unless there are `limit`.
fn take_one(count: &AtomicUsize, limit: usize) -> bool {
    let more = |count: usize| (count < limit).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for RefusedPermit {
    fn drop(&mut self) {
        self.0.refused.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut addresses = self.occupancy.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = addresses.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_until_they_end() {
        let occupancy = Occupancy::new(2, None);
        let first = occupancy.admit().unwrap();
        let _second = occupancy.admit().unwrap();
        assert_eq!(occupancy.admit().err(), Some(Full::Node));
        drop(first);
        assert!(occupancy.admit().is_ok());
        assert!(occupancy.admit_address("192.0.2.1".parse().unwrap()).unwrap().is_none(), "addresses have no limit");
    }

    #[test]
    fn an_address_has_its_own_limit_and_is_forgotten_with_its_last_connection() {
        let occupancy = Occupancy::new(100, Some(2));
        let admit = |text: &str| occupancy.admit_address(text.parse().unwrap());
        let permits = [admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap()];
        assert_eq!(admit("2001:db8::3").err(), Some(Full::Address), "of the same /64");
        assert!(admit("2001:db8:1::1").is_ok_and(|permit| permit.is_some()));
        drop(permits);
        assert!(occupancy.addresses.lock().unwrap().is_empty());
        assert!(admit("2001:db8::3").is_ok());
    }

    #[test]
    fn few_connections_are_told_that_they_are_refused() {
        let occupancy = Occupancy::new(0, None);
        let permits: Vec<_> = (0..MAX_REFUSED).map(|_| occupancy.refuse().unwrap()).collect();
        assert!(occupancy.refuse().is_none());
        drop(permits);
        assert!(occupancy.refuse().is_some());
    }
}
