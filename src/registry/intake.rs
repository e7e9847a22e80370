//! Taking a body in: read, written and hashed in one thread, which the disk and a second hash
//! keep up with from threads of their own.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle, scope};

use super::session::Hashed;
use crate::cid::Unixfs;
use crate::http::Body;

/// How much of an upload may be written before it is worth a sync.
const SYNC_SIZE: usize = 32 << 20;
/// How much of an upload may be written before it is worth waking the thread that names it.
const UNNAMED_SIZE: usize = 1 << 20;
/// What that thread reads at a time.
const NAMING_SIZE: usize = 64 << 10;

/// Why a body did not come in whole.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client's connection broke or stalled.
    Client(io::Error),
    /// The disk took no more. What it took before is there.
    Write(io::Error),
    /// A sync failed: of all that the file holds, nobody knows what the disk has.
    Sync(io::Error),
}

/// Appends a body to a file, hashing it. The hashers always know exactly what is in the file, or
/// nothing at all.
pub(super) fn append(
    body: &mut dyn Body,
    mut file: &File,
    hashed: &mut Option<Box<Hashed>>,
    buffer_size: usize,
) -> Result<(), Failure> {
    let is_large = body.length().is_none_or(|length| length > SYNC_SIZE as u64);
    let mut buffer = vec![0; buffer_size];
    scope(|scope| {
        let mut syncs = is_large.then(|| SyncsAhead::start(scope, file));
        let unixfs = hashed.as_mut().and_then(|hashed| hashed.unixfs.take());
        let length = hashed.as_ref().map_or(0, |hashed| hashed.size);
        let mut naming = unixfs.map(|unixfs| Naming::start(scope, file, length, unixfs));
        let received = loop {
            let (size, read) = fill(body, &mut buffer);
            if let Err(err) = file.write_all(&buffer[..size]) {
                *hashed = None;
                break Err(Failure::Write(err));
            }
            if let Some(hashed) = hashed {
                hashed.update(&buffer[..size]);
            }
            if let Some(syncs) = &mut syncs {
                syncs.grown(size);
            }
            if let Some(naming) = &mut naming {
                naming.grown(size);
            }
            match read {
                Err(err) => break Err(Failure::Client(err)),
                Ok(()) if size == 0 => break Ok(()),
                Ok(()) => {}
            }
        };
        if let Some(hashed) = hashed {
            // Where it failed, the CID is computed once more before the blob travels.
            hashed.unixfs = naming.and_then(|naming| naming.end().ok());
        }
        if let Some(Err(err)) = syncs.map(SyncsAhead::end) {
            *hashed = None;
            return Err(Failure::Sync(err));
        }
        received
    })
}

/// Reads what has arrived, until the buffer is full: how much there is, none at the end, and what
/// went wrong after it. Chunks come in small pieces, each of which would cost a write.
fn fill(body: &mut dyn Body, buffer: &mut [u8]) -> (usize, io::Result<()>) {
    let mut filled = 0;
    while filled < buffer.len() && (filled == 0 || body.has_arrived()) {
        match body.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(size) => filled += size,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return (filled, Err(err)),
        }
    }
    (filled, Ok(()))
}

/// Computes the CID of what is written: a second hash as costly as the first, so in a thread of
/// its own. It reads the file again, behind those who write to it, so that nobody waits for it
/// before the end; the bytes are still in memory then.
struct Naming<'s> {
    length: u64,
    unnamed: usize,
    written: Sender<u64>,
    thread: ScopedJoinHandle<'s, io::Result<Unixfs>>,
}

impl<'s> Naming<'s> {
    /// Goes on naming a file from `length` on, which is all that `unixfs` knows so far.
    fn start(
        scope: &'s Scope<'s, '_>,
        file: &'s File,
        length: u64,
        mut unixfs: Unixfs,
    ) -> Naming<'s> {
        let (written, lengths) = channel();
        let mut at = length;
        let thread = scope.spawn(move || {
            let mut buffer = vec![0; NAMING_SIZE];
            for length in lengths {
                while at < length {
                    let wanted = (length - at).min(NAMING_SIZE as u64) as usize;
                    file.read_exact_at(&mut buffer[..wanted], at)?;
                    unixfs.write(&buffer[..wanted]);
                    at += wanted as u64;
                }
            }
            Ok(unixfs)
        });
        Naming {
            length,
            unnamed: 0,
            written,
            thread,
        }
    }

    fn grown(&mut self, size: usize) {
        self.length += size as u64;
        self.unnamed += size;
        if self.unnamed >= UNNAMED_SIZE {
            self.unnamed = 0;
            // If the thread is gone, its end tells why.
            let _ = self.written.send(self.length);
        }
    }

    fn end(self) -> io::Result<Unixfs> {
        let _ = self.written.send(self.length);
        drop(self.written);
        join(self.thread)
    }
}

/// Syncs a file now and then, beside those who write to it: the disk is then busy while the
/// client sends, and not only after it.
struct SyncsAhead<'s> {
    unsynced: usize,
    due: SyncSender<()>,
    thread: ScopedJoinHandle<'s, io::Result<()>>,
}

impl<'s> SyncsAhead<'s> {
    fn start(scope: &'s Scope<'s, '_>, file: &'s File) -> SyncsAhead<'s> {
        let (due, waiting) = sync_channel(0);
        let thread = scope.spawn(move || waiting.iter().try_for_each(|()| file.sync_data()));
        SyncsAhead {
            unsynced: 0,
            due,
            thread,
        }
    }

    fn grown(&mut self, size: usize) {
        self.unsynced += size;
        // While a sync is under way, the next one can wait for more.
        if self.unsynced >= SYNC_SIZE && self.due.try_send(()).is_ok() {
            self.unsynced = 0;
        }
    }

    /// Whether all syncs went well: the system tells of a failed one only once, so the last
    /// sync of the file must not be believed alone.
    fn end(self) -> io::Result<()> {
        drop(self.due);
        join(self.thread)
    }
}

/// What a thread beside the body came to.
fn join<T>(thread: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    let panicked = |_| Err(io::Error::other("a thread beside the body panicked"));
    thread.join().unwrap_or_else(panicked)
}
