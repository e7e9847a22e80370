//! Fetching: a blob that networks alone have is read from them, hashed, and kept again where the
//! cache has room.
//!
//! Whoever asks for a blob that is already on its way reads along: one transfer writes a file, and
//! all read that. A large blob is given out while it comes in, but for its last bytes, which wait
//! until the digest is known to be right: so wrong bytes never end cleanly. A small one is given
//! out once the whole is verified; then a source that lies costs only time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex};

use uuid::Uuid;

use super::bell::Bell;
use super::transfer::Transfer;
use super::work::{Core, fault, lock};
use crate::fault::{Fault, Neighbour, Trouble};
use crate::ipfs::Ipfs;
use crate::oci::Digest;
use crate::store::pin::{self, State};
use crate::store::{Transaction, blob};

/// How the names of files begin that are on their way in.
const PREFIX: &str = "fetch-";
/// Content up to this size is given out only when it is verified.
const SMALL_SIZE_MAX: u64 = 1 << 20;
/// So many of the last bytes are held back until the digest is known to be right.
const HELD_SIZE: u64 = 256 << 10;

/// Which of what comes is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing: this machine's disk may not change.
    Nothing,
    /// What has at most so many bytes.
    UpTo(u64),
    /// All.
    Everything,
}

/// All blobs on their way in.
pub struct Fetches {
    core: Arc<Core>,
    ipfs: Arc<Ipfs>,
    room: Room,
    /// Rung when a blob is on this disk again.
    kept: Bell,
    /// Rung when networks are to be asked whether they still keep what nobody gave.
    doubted: Vec<Bell>,
    all: Mutex<HashMap<Digest, Arc<Fetch>>>,
}

/// One of them.
pub(super) struct Fetch {
    pub file: File,
    pub size: u64,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    /// Bytes that are in the file.
    came: u64,
    /// How often what had come was wrong, and was forgotten.
    forgotten: u32,
    result: Option<Result<(), Fault>>,
}

impl Fetches {
    /// Nothing is on its way yet. What an earlier process left of its own is removed, where this
    /// one has the disk for itself.
    pub fn new(
        core: &Arc<Core>,
        ipfs: &Arc<Ipfs>,
        room: Room,
        kept: Bell,
        doubted: Vec<Bell>,
    ) -> Result<Fetches, Fault> {
        if room != Room::Nothing {
            let store = core.store()?;
            for left_over in store.files().uploads_like(PREFIX)? {
                store.files().end_upload(&left_over)?;
            }
        }
        Ok(Fetches {
            core: Arc::clone(core),
            ipfs: Arc::clone(ipfs),
            room,
            kept,
            doubted,
            all: Mutex::default(),
        })
    }

    /// A reader of a blob of that size, from its first byte on.
    pub fn read(self: &Arc<Self>, digest: &Digest, size: u64) -> Result<Fetched, Fault> {
        let mut all = lock(&self.all);
        let fetch = match all.get(digest) {
            Some(fetch) => Arc::clone(fetch),
            None => {
                let fetch = self.start(*digest, size)?;
                all.insert(*digest, Arc::clone(&fetch));
                fetch
            }
        };
        drop(all);
        Ok(Fetched {
            fetch,
            at: 0,
            forgotten: 0,
        })
    }

    fn start(self: &Arc<Self>, digest: Digest, size: u64) -> Result<Arc<Fetch>, Fault> {
        let store = self.core.store()?;
        let pins = store
            .read(|tx| pin::of_digest(tx, &digest))
            .map_err(fault)?;
        // One that is kept rather than one that is on its way.
        let (kept, others): (Vec<_>, Vec<_>) =
            pins.into_iter().partition(|pin| pin.state == State::Pinned);
        let mut cids = kept
            .iter()
            .chain(&others)
            .filter_map(|pin| pin.cid.as_deref());
        let cid = cids.find_map(|text| text.parse().ok()).ok_or_else(|| {
            let unknown = Trouble::Missing("its CID is not known".into());
            Fault::neighbour(Neighbour::Gateway, &digest.to_string(), unknown)
        })?;
        let session = format!("{PREFIX}{}", Uuid::new_v4());
        let fetch = Arc::new(Fetch {
            file: store.files().start_transfer(&session)?,
            size,
            progress: Mutex::default(),
            changed: Condvar::new(),
        });
        let (fetches, shared) = (Arc::clone(self), Arc::clone(&fetch));
        let name = session.clone();
        let started = self.core.start("fetch", move |core| {
            let mut ended = Ended {
                fetches: &fetches,
                digest,
                fetch: &shared,
                result: Err(Fault::panicked("a transfer ended early")),
            };
            let transfer = Transfer::new(core, &fetches.ipfs.sources, &shared, digest);
            let result = transfer.run(&cid);
            fetches.note(&digest, result.as_ref().map(drop));
            ended.result = result.and_then(|()| fetches.keep(&name, &digest, size));
            fetches.discard(&name);
        });
        started.inspect_err(|_| self.discard(&session))?;
        Ok(fetch)
    }

    /// Notes whether a blob is to be had anywhere, before whoever asked for it is told.
    fn note(&self, digest: &Digest, result: Result<(), &Fault>) {
        let is_missing = match result {
            Ok(()) => false,
            Err(fault) if fault.is_missing() => true,
            Err(_) => return,
        };
        if self.room == Room::Nothing {
            return;
        }
        let digest = *digest;
        let noted = self.core.store().and_then(|store| {
            let note = move |tx: &Transaction| match is_missing {
                true => blob::miss(tx, &digest),
                false => blob::find_again(tx, &digest),
            };
            store.note(note).map_err(fault)
        });
        match noted {
            Ok(()) if is_missing => self.doubted.iter().for_each(Bell::ring),
            Ok(()) => {}
            Err(fault) => log::warn!("what became of {digest} is not noted: {fault}"),
        }
    }

    /// Keeps verified bytes, if there is room for them.
    fn keep(&self, session: &str, digest: &Digest, size: u64) -> Result<(), Fault> {
        match self.room {
            Room::Nothing => return Ok(()),
            Room::UpTo(size_max) if size > size_max => return Ok(()),
            Room::UpTo(_) | Room::Everything => {}
        }
        self.core
            .store()?
            .put_back(session, digest, size)
            .map_err(fault)?;
        self.kept.ring();
        Ok(())
    }

    fn discard(&self, session: &str) {
        let ended = self
            .core
            .store()
            .and_then(|store| store.files().end_upload(session));
        if let Err(fault) = ended {
            log::warn!("{fault}; the next start removes it");
        }
    }
}

/// Tells all who read a blob how its transfer ended, whatever became of its thread.
struct Ended<'f> {
    fetches: &'f Fetches,
    digest: Digest,
    fetch: &'f Fetch,
    result: Result<(), Fault>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        lock(&self.fetches.all).remove(&self.digest);
        lock(&self.fetch.progress).result = Some(self.result.clone());
        self.fetch.changed.notify_all();
    }
}

impl Fetch {
    /// So many bytes are in the file now.
    pub fn came(&self, came: u64) {
        lock(&self.progress).came = came;
        self.changed.notify_all();
    }

    /// What came was wrong: whoever has read of it must not end well.
    pub fn forget(&self) {
        let mut progress = lock(&self.progress);
        progress.came = 0;
        progress.forgotten += 1;
        drop(progress);
        self.changed.notify_all();
    }

    /// How many bytes may be given out.
    fn given(&self, progress: &Progress) -> u64 {
        match &progress.result {
            Some(Ok(())) => self.size,
            _ if self.size <= SMALL_SIZE_MAX => 0,
            _ => progress.came.saturating_sub(HELD_SIZE),
        }
    }
}

/// A blob on its way in, as one client reads it. An error carries the [`Fault`] within.
pub struct Fetched {
    fetch: Arc<Fetch>,
    at: u64,
    /// How often the transfer had begun anew when this began to read.
    forgotten: u32,
}

impl Fetched {
    /// Waits until the whole is here and verified. From then on each part of it can be read.
    pub fn verified(&self) -> Result<&File, Fault> {
        let mut progress = lock(&self.fetch.progress);
        loop {
            match &progress.result {
                Some(Ok(())) => return Ok(&self.fetch.file),
                Some(Err(fault)) => return Err(fault.clone()),
                None => progress = self.wait(progress),
            }
        }
    }

    /// Waits until its first bytes are here, so that a failure before them can still be told.
    pub fn begun(&mut self) -> Result<(), Fault> {
        self.ready().map(drop)
    }

    fn wait<'p>(
        &self,
        progress: std::sync::MutexGuard<'p, Progress>,
    ) -> std::sync::MutexGuard<'p, Progress> {
        let waited = self.fetch.changed.wait(progress);
        waited.unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until there are bytes to be read; how far they reach.
    fn ready(&mut self) -> Result<u64, Fault> {
        let mut progress = lock(&self.fetch.progress);
        loop {
            if self.at == 0 {
                self.forgotten = progress.forgotten;
            }
            let given = self.fetch.given(&progress);
            if progress.forgotten != self.forgotten {
                let trouble = Trouble::Protocol("what a source gave first was wrong".into());
                return Err(Fault::neighbour(Neighbour::Gateway, "a source", trouble));
            }
            match &progress.result {
                Some(Err(fault)) => return Err(fault.clone()),
                Some(Ok(())) => return Ok(given),
                None if given > self.at => return Ok(given),
                None => progress = self.wait(progress),
            }
        }
    }
}

impl Read for Fetched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let given = self.ready().map_err(io::Error::other)?;
        let left = usize::try_from(given - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let size = self.fetch.file.read_at(&mut buffer[..wanted], self.at)?;
        // What was read may have been forgotten while it was read.
        if lock(&self.fetch.progress).forgotten != self.forgotten {
            return self.ready().map(|_| 0).map_err(io::Error::other);
        }
        self.at += size as u64;
        Ok(size)
    }
}
