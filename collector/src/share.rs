//! What one host may have at once of what all hosts share, so that none takes it all from the others: a certificate speaks for
//! a host, and whoever got hold of one must not be able to lock out the rest.
//!
//! Limit: as many hosts are remembered as the authority issued certificates for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

/// A semaphore of the same size for each host.
#[derive(Debug)]
pub(crate) struct Shares {
    permits: usize,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Shares {
    pub(crate) fn new(permits: usize) -> Self {
        Self { permits, hosts: Mutex::default() }
    }

    /// The share of a host.
    pub(crate) fn of(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = hosts.get(host) {
            return Arc::clone(share);
        }
        let share = Arc::new(Semaphore::new(self.permits));
        hosts.insert(host.to_owned(), Arc::clone(&share));
        share
    }
}
