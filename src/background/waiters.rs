//! Who waits until something is pinned: pushes, with `acknowledge: pinned`.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::work::lock;
use crate::fault::Fault;
use crate::oci::Digest;

/// All who wait.
#[derive(Debug, Default)]
pub struct Waiters {
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    next: u64,
    waiting: HashMap<u64, Waiting>,
}

/// What one of them waits for.
#[derive(Debug)]
struct Waiting {
    missing: HashSet<Digest>,
    fault: Option<Fault>,
}

/// How it stands with whoever waits.
enum Wait {
    /// All is pinned.
    Over,
    /// One of those that are missing could not be.
    Failed(Fault),
    /// Not yet.
    Goes,
}

impl Waiters {
    /// Takes in that something is pinned, or could not be.
    pub fn tell(&self, digest: &Digest, result: Result<(), &Fault>) {
        let mut known = lock(&self.known);
        for waiting in known.waiting.values_mut() {
            match result {
                Ok(()) => drop(waiting.missing.remove(digest)),
                Err(fault) if waiting.missing.contains(digest) => {
                    waiting.fault.get_or_insert_with(|| fault.clone());
                }
                Err(_) => {}
            }
        }
        drop(known);
        self.changed.notify_all();
    }

    /// Wakes everybody, to look again what they wait for.
    pub fn wake(&self) {
        // With the lock, so that nobody is between looking and waiting.
        drop(lock(&self.known));
        self.changed.notify_all();
    }

    /// Waits for what `missing` finds missing. It is asked with the lock that [`Waiters::tell`]
    /// takes, so that nothing is missed in between. `look` says, each time something happened, or
    /// at the latest after `pause`, whether to give up.
    pub fn wait(
        &self,
        missing: impl FnOnce() -> Result<HashSet<Digest>, Fault>,
        pause: Duration,
        mut look: impl FnMut() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut known = lock(&self.known);
        let missing = missing()?;
        let number = known.next;
        known.next += 1;
        let fault = None;
        known.waiting.insert(number, Waiting { missing, fault });
        let result = loop {
            let wait = known.waiting.get_mut(&number).map_or(Wait::Over, stand);
            match wait {
                Wait::Over => break Ok(()),
                Wait::Failed(fault) => break Err(fault),
                Wait::Goes => {}
            }
            if let Err(fault) = look() {
                break Err(fault);
            }
            known = match self.changed.wait_timeout(known, pause) {
                Ok((known, _)) => known,
                Err(poisoned) => poisoned.into_inner().0,
            };
        };
        known.waiting.remove(&number);
        result
    }
}

fn stand(waiting: &mut Waiting) -> Wait {
    match waiting.fault.take() {
        _ if waiting.missing.is_empty() => Wait::Over,
        Some(fault) => Wait::Failed(fault),
        None => Wait::Goes,
    }
}
