//! The store: small values and leases that a broker keeps beside its logs.
//!
//! Flows keep their state here: the position that a webhook reached, which node delivers for it, revoked credentials, dead
//! letters. Values survive what the log survives. A broker that loses its log may lose them too, or give back older ones.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::BrokerError;

/// The longest key, lease name and holder, in bytes.
pub const MAX_KEY_BYTES: usize = 256;

/// The largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The longest time for which a lease is taken.
pub const MAX_LEASE_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Values by key, and leases by name, for all nodes of a namespace.
///
/// Keys and lease names are separate: a value and a lease may have the same name. A key, a lease name and a holder have 1
/// to [`MAX_KEY_BYTES`] bytes, a value at most [`MAX_VALUE_BYTES`].
///
/// # Errors
/// Every method fails with [`BrokerError::Rejected`] outside these bounds, and otherwise with what is known of the call.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The value of a key, if it has one.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BrokerError>;

    /// Sets the value of a key.
    async fn put(&self, key: &str, value: &[u8]) -> Result<(), BrokerError>;

    /// Sets or deletes the value of a key if it is the expected one; answers whether it was.
    ///
    /// `expected` is `None` for a key without a value; `new` is `None` to delete. After [`BrokerError::Unavailable`] the
    /// change may have been made: read the value before trying again.
    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, BrokerError>;

    /// Takes or renews a lease: its fencing token if `holder` has it now, `None` if another holder has it.
    ///
    /// The lease ends `ttl` from now by the broker's clock, unless it is renewed; `ttl` is 1 ms to [`MAX_LEASE_TTL`]. On
    /// Redis that is the server's wall clock: a step back makes a lease last longer by the step.
    ///
    /// A renewal keeps the token. Taking a free lease raises it, also for its last holder, and it never falls. Each new
    /// token is at least the broker's time in milliseconds since 1970. A broker that lost its leases therefore gives higher
    /// tokens than before, unless its clock went back too.
    ///
    /// A holder may go on after its lease ended, because its clock or process stood still. Whatever the lease protects
    /// must therefore refuse a token smaller than one that it saw. The broker never deletes a token, so that lease names
    /// should be few and fixed.
    async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<u64>, BrokerError>;

    /// Gives a lease back before it ends, if this holder has it.
    async fn release(&self, name: &str, holder: &str) -> Result<(), BrokerError>;
}

/// Checks the bounds of keys, lease names and holders.
pub(super) fn check_keys(keys: &[&str]) -> Result<(), BrokerError> {
    match keys.iter().all(|key| (1..=MAX_KEY_BYTES).contains(&key.len())) {
        true => Ok(()),
        false => {
            Err(BrokerError::Rejected(format!("a key, a lease name or a holder must have 1 to {MAX_KEY_BYTES} bytes")))
        }
    }
}

/// Checks the bounds of values.
pub(super) fn check_values(values: &[Option<&[u8]>]) -> Result<(), BrokerError> {
    match values.iter().flatten().all(|value| value.len() <= MAX_VALUE_BYTES) {
        true => Ok(()),
        false => Err(BrokerError::Rejected(format!("a value must have at most {MAX_VALUE_BYTES} bytes"))),
    }
}

/// Checks the bounds of a lease's time; the time in milliseconds.
pub(super) fn check_ttl(ttl: Duration) -> Result<u64, BrokerError> {
    match (Duration::from_millis(1)..=MAX_LEASE_TTL).contains(&ttl) {
        true => Ok(ttl.as_millis() as u64),
        false => {
            Err(BrokerError::Rejected(format!("a lease must last 1 ms to {} hours", MAX_LEASE_TTL.as_secs() / 3600)))
        }
    }
}

/// The fencing token after `last`, at `now` (ms) by the broker's clock.
pub(super) fn next_token(last: u64, now: u64) -> u64 {
    now.max(last + 1)
}
