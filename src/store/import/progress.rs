//! How far an import is, for the log and the health of a server that waits for it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// What an import is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not begun.
    Waiting = 0,
    /// What version 0.1 wrote to its log is brought into its tree.
    Replaying = 1,
    /// The tree is read into the catalog.
    Reading = 2,
    /// What the tree does not have any more leaves the catalog.
    Removing = 3,
    /// All is there.
    Done = 4,
}

/// How far an import is; shared with whoever waits for it.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    repositories: AtomicU64,
    manifests: AtomicU64,
    stopped: AtomicBool,
}

impl Progress {
    /// What is being done.
    pub fn phase(&self) -> Phase {
        let phase = self.phase.load(Ordering::Relaxed);
        [
            Phase::Waiting,
            Phase::Replaying,
            Phase::Reading,
            Phase::Removing,
        ]
        .into_iter()
        .find(|each| *each as u8 == phase)
        .unwrap_or(Phase::Done)
    }

    /// How many repositories were read.
    pub fn repositories(&self) -> u64 {
        self.repositories.load(Ordering::Relaxed)
    }

    /// How many manifests were read.
    pub fn manifests(&self) -> u64 {
        self.manifests.load(Ordering::Relaxed)
    }

    /// Asks the import to end soon; the next one goes on.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn repository(&self) {
        self.repositories.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn manifest(&self) {
        self.manifests.fetch_add(1, Ordering::Relaxed);
    }
}
