//! Taking a body in: read, written and hashed in one thread, which the disk and a second hash
//! keep up with from threads of their own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle, scope};

use crate::cid::Unixfs;
use crate::fault::Fault;
use crate::http::Exchange;
use crate::registry::Hashed;

/// How much of an upload may be written before it is worth a sync.
const SYNC_SIZE: usize = 32 << 20;
/// Buffers between the thread that reads and the one that computes the CID.
const BUFFERS: usize = 3;

/// Appends a body to a file, hashing it. The hashers always know exactly what is in the file, or
/// nothing at all.
pub(super) fn append(
    exchange: &mut Exchange,
    mut file: &File,
    hashed: &mut Option<Box<Hashed>>,
    buffer_size: usize,
    on_disk: impl Fn(io::Error) -> Fault,
) -> Result<(), Fault> {
    let is_large = exchange
        .length()
        .is_none_or(|length| length > SYNC_SIZE as u64);
    let mut body = exchange.body();
    let mut buffer = vec![0; buffer_size];
    scope(|scope| {
        let mut syncs = is_large.then(|| SyncsAhead::start(scope, file));
        let unixfs = hashed.as_mut().and_then(|hashed| hashed.unixfs.take());
        let mut naming = unixfs.map(|unixfs| Naming::start(scope, unixfs, buffer_size));
        let received = loop {
            let size = match body.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(size) => size,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => break Err(Fault::client(err)),
            };
            if let Err(err) = file.write_all(&buffer[..size]) {
                *hashed = None;
                break Err(on_disk(err));
            }
            if let Some(hashed) = hashed {
                hashed.update(&buffer[..size]);
            }
            if let Some(syncs) = &mut syncs {
                syncs.grown(size);
            }
            if let Some(naming) = &mut naming {
                naming.take(&mut buffer, size);
            }
        };
        let unixfs = naming.and_then(Naming::end);
        if let Some(hashed) = hashed {
            hashed.unixfs = unixfs;
        }
        if let Some(Err(err)) = syncs.map(SyncsAhead::end) {
            *hashed = None;
            return Err(on_disk(err));
        }
        received
    })
}

/// Computes the CID of what passes: a second hash as costly as the first, so in a thread of its
/// own, a few buffers behind.
struct Naming<'s> {
    full: SyncSender<(Vec<u8>, usize)>,
    empty: Receiver<Vec<u8>>,
    thread: ScopedJoinHandle<'s, Unixfs>,
}

impl<'s> Naming<'s> {
    fn start(scope: &'s Scope<'s, '_>, mut unixfs: Unixfs, buffer_size: usize) -> Naming<'s> {
        let (full, passing) = sync_channel::<(Vec<u8>, usize)>(BUFFERS);
        let (give_back, empty) = sync_channel(BUFFERS);
        for _ in 1..BUFFERS {
            // There is room for all of them.
            let _ = give_back.try_send(vec![0; buffer_size]);
        }
        let thread = scope.spawn(move || {
            for (buffer, size) in passing {
                unixfs.write(&buffer[..size]);
                // Nobody reads on once the body has ended.
                let _ = give_back.try_send(buffer);
            }
            unixfs
        });
        Naming {
            full,
            empty,
            thread,
        }
    }

    /// Takes a buffer's first `size` bytes and leaves another buffer in its place.
    fn take(&mut self, buffer: &mut Vec<u8>, size: usize) {
        // The thread ends only when this does, unless it panicked; then there is no CID.
        if let Ok(other) = self.empty.recv() {
            let _ = self.full.send((std::mem::replace(buffer, other), size));
        }
    }

    fn end(self) -> Option<Unixfs> {
        drop(self.full);
        self.thread.join().ok()
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
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a sync panicked")))
    }
}
