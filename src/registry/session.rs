//! Upload sessions: what was hashed of them. All else is in the store, and what is forgotten here
//! is read again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::cid::{Import, Unixfs};
use crate::oci::Algorithm;
use crate::oci::digest::Hasher;

/// How long what was hashed waits for the next chunk.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// The most sessions of which it waits.
const IDLE_COUNT_MAX: usize = 1000;

/// The bytes of an upload that were hashed.
#[derive(Clone, Debug)]
pub struct Hashed {
    /// How many.
    pub size: u64,
    /// For their digest.
    pub hasher: Hasher,
    /// For their CID, where there is a network.
    pub unixfs: Option<Unixfs>,
}

impl Hashed {
    /// Nothing yet.
    pub fn new(algorithm: Algorithm, has_network: bool) -> Hashed {
        Hashed {
            size: 0,
            hasher: Hasher::new(algorithm),
            unixfs: has_network.then(|| Unixfs::new(Import::ESTUARY)),
        }
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hasher.update(bytes);
        if let Some(unixfs) = &mut self.unixfs {
            unixfs.write(bytes);
        }
    }
}

/// What was hashed of sessions between two requests.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, (Box<Hashed>, Instant)>>);

impl Sessions {
    /// What was hashed of a session, if that is still known.
    pub fn take(&self, id: &str) -> Option<Box<Hashed>> {
        self.lock().remove(id).map(|(hashed, _)| hashed)
    }

    /// Keeps what was hashed until the next request, if there is room.
    pub fn keep(&self, id: &str, hashed: Box<Hashed>) {
        let mut sessions = self.lock();
        if sessions.len() >= IDLE_COUNT_MAX {
            sessions.retain(|_, (_, since)| since.elapsed() < IDLE_MAX);
        }
        if sessions.len() < IDLE_COUNT_MAX {
            sessions.insert(id.to_owned(), (hashed, Instant::now()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Box<Hashed>, Instant)>> {
        // Nothing panics between two states of the map.
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
