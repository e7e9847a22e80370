//! Places for bodies that are received: each takes a buffer, so there is a bound on their number,
//! and a share of it for each client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::RETRY_SECS;
use crate::oci::Refusal;

/// Bodies that are received at a time.
const PLACES_MAX: usize = 64;
/// Bodies that are received at a time from one client.
const PLACES_OF_CLIENT_MAX: usize = 48;

/// All places; how many each client has.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<String, usize>>>);

impl Places {
    /// Takes a place for a client. Refused with `TOOMANYREQUESTS` when none is left.
    pub fn take(&self, client: &str) -> Result<Place, Refusal> {
        let mut taken = self.lock();
        let all: usize = taken.values().sum();
        let own = taken.get(client).copied().unwrap_or(0);
        if all >= PLACES_MAX || own >= PLACES_OF_CLIENT_MAX {
            return Err(Refusal::TooManyRequests(RETRY_SECS));
        }
        taken.insert(client.to_owned(), own + 1);
        let (places, client) = (self.clone(), client.to_owned());
        Ok(Place { places, client })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        // Nothing panics between two states of the counts.
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A place that is given back when this is dropped.
pub struct Place {
    places: Places,
    client: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}
