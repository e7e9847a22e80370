//! Verifying: bytes at rest are hashed when they are read whole for the first time since the start.
//!
//! What was pushed is verified already. A file that is not what its digest says is set aside, so
//! that a network or a push brings the blob again.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, RwLock};
use std::thread;

use super::Store;
use crate::fault::Fault;
use crate::oci::Digest;
use crate::oci::digest::Hasher;

/// The most files that wait to be verified.
const WAITING_MAX: usize = 64;

/// Which blobs were verified since the start: a bit for each row.
#[derive(Default)]
pub(super) struct Verified(RwLock<Vec<AtomicU64>>);

impl Verified {
    /// Whether the blob of that row was.
    pub fn contains(&self, id: i64) -> bool {
        let (word, bit) = place(id);
        // A bit can't be half set: a poisoned lock is as good as any.
        let words = self
            .0
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        words
            .get(word)
            .is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Notes that it was, or that it no longer counts.
    pub fn set(&self, id: i64, is_verified: bool) {
        let (word, bit) = place(id);
        let words = self
            .0
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(word) = words.get(word) {
            match is_verified {
                true => word.fetch_or(bit, Ordering::Relaxed),
                false => word.fetch_and(!bit, Ordering::Relaxed),
            };
            return;
        }
        drop(words);
        if is_verified {
            let mut words = self
                .0
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            if words.len() <= word {
                words.resize_with(word + 1, AtomicU64::default);
            }
            words[word].fetch_or(bit, Ordering::Relaxed);
        }
    }
}

fn place(id: i64) -> (usize, u64) {
    // Rows are numbered from 1.
    let id = id.unsigned_abs();
    ((id / 64) as usize, 1 << (id % 64))
}

/// The file of a blob, read whole and hashed on the way. The last bytes are given only when the
/// whole is what its digest says; else reading fails, and the file is set aside.
pub struct Verifying {
    store: Arc<Store>,
    id: i64,
    digest: Digest,
    file: File,
    left: u64,
    hasher: Option<Hasher>,
}

impl Verifying {
    /// Reads the file of a blob, which is open at its beginning.
    pub(super) fn new(
        store: Arc<Store>,
        id: i64,
        digest: Digest,
        size: u64,
        file: File,
    ) -> Verifying {
        Verifying {
            store,
            id,
            digest,
            file,
            left: size,
            hasher: Some(Hasher::new(digest.algorithm())),
        }
    }

    /// Has the file verified beside the caller, who may send parts of it meanwhile.
    pub fn later(self) -> Result<File, Fault> {
        let cloned = self.file.try_clone();
        let file = cloned.map_err(|err| Fault::disk("open", self.digest.to_string(), err))?;
        let store = Arc::clone(&self.store);
        store.to_verify.push(self);
        Ok(file)
    }
}

/// Files that are to be verified by a thread of their own, one after the other.
#[derive(Default)]
pub(super) struct Queue(Mutex<Option<SyncSender<Verifying>>>);

impl Queue {
    /// What finds no place is verified when it is read the next time.
    fn push(&self, file: Verifying) {
        // A sender is there or not: a poisoned lock is as good as any.
        let mut sender = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if sender.is_none() {
            // A thread that can't be had now is asked for again.
            *sender = start()
                .inspect_err(|err| log::warn!("nothing is verified: {err}"))
                .ok();
        }
        if let Some(sender) = &*sender {
            let _ = sender.try_send(file);
        }
    }
}

fn start() -> io::Result<SyncSender<Verifying>> {
    let (sender, waiting) = sync_channel::<Verifying>(WAITING_MAX);
    let verify = move || {
        for mut file in waiting {
            // What it found is in the log, and in the catalog.
            let _ = io::copy(&mut file, &mut io::sink());
        }
    };
    thread::Builder::new().name("verify".into()).spawn(verify)?;
    Ok(sender)
}

impl Read for Verifying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size_max = self.left.min(buffer.len() as u64) as usize;
        let size = self.file.read(&mut buffer[..size_max])?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..size]);
        }
        self.left -= size as u64;
        if (size == 0 || self.left == 0)
            && let Some(hasher) = self.hasher.take()
        {
            if hasher.finish() != self.digest {
                self.store.set_aside(&self.digest);
                let cause = format!("{} is damaged on this disk", self.digest);
                return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
            }
            self.store.verified.set(self.id, true);
        }
        Ok(size)
    }
}
