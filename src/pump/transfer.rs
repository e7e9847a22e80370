//! Bytes between a socket and the disk.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use super::{Pump, say};
use crate::fault::Fault;
use crate::http::Exchange;
use crate::oci::digest::Hasher;
use crate::oci::range::ChunkRange;
use crate::oci::request::Wanted;
use crate::oci::{Algorithm, Digest, Refusal, Repository, Response};
use crate::registry::{Event, Setback, Step, Ticket, Upload};

/// What is read from a socket at a time; a smaller body takes less.
const BUFFER_SIZE: u64 = 256 << 10;
/// How much of an upload may be written before it is worth a sync.
const SYNC_SIZE: usize = 32 << 20;

impl Pump {
    /// Reads a body into an upload session and, with a digest, keeps it as a blob. What came in
    /// stays in the session whatever happens to the rest.
    pub(super) fn receive(
        &self,
        exchange: &mut Exchange,
        upload: &mut Upload,
        step: &Step,
    ) -> Result<(), Setback> {
        let (chunk, digest) = match step {
            Step::Append(chunk) => (chunk, None),
            Step::Finish(chunk, digest) => (chunk, Some(digest)),
        };
        if upload.is_new {
            self.spool.begin(&upload.repository, &upload.session)?;
        }
        let opened = self.spool.open(&upload.repository, &upload.session)?;
        let (file, length) = opened.ok_or(Refusal::BlobUploadUnknown)?;
        let size = exchange
            .length()
            .unwrap_or(BUFFER_SIZE)
            .clamp(4 << 10, BUFFER_SIZE);
        let mut buffer = vec![0; size as usize];
        let algorithm = digest.map_or(Algorithm::Sha256, Digest::algorithm);
        self.catch_up(upload, length, algorithm, &mut buffer)?;
        if let Some(chunk) = chunk {
            fits(*chunk, length, exchange.length(), upload)?;
        }
        let path = self.spool.path(&upload.repository, &upload.session);
        let on_disk = |err| Fault::disk("write", &path, err);
        append(exchange, &file, upload, &mut buffer, on_disk)?;
        if let (Some(chunk), Some((taken, _))) = (chunk, &upload.hashed)
            && *taken != length + chunk.length()
        {
            let cause = format!(
                "the chunk has {} bytes, not {}",
                taken - length,
                chunk.length()
            );
            file.set_len(length).map_err(on_disk)?;
            upload.hashed = None;
            return Err(Refusal::SizeInvalid(cause).into());
        }
        match digest {
            Some(digest) => self.keep(&file, upload, digest, &mut buffer),
            None => Ok(()),
        }
    }

    /// Makes the hasher know what the session holds: it does already, or the session is empty,
    /// or what it holds is read again.
    fn catch_up(
        &self,
        upload: &mut Upload,
        length: u64,
        algorithm: Algorithm,
        buffer: &mut [u8],
    ) -> Result<(), Fault> {
        let knows = |(hashed, _): &(u64, Hasher)| *hashed == length;
        if !upload.hashed.as_ref().is_some_and(knows) {
            let mut hasher = Hasher::new(algorithm);
            if length > 0 {
                self.spool
                    .rehash(&upload.repository, &upload.session, &mut hasher, buffer)?;
            }
            upload.hashed = Some((length, hasher));
        }
        Ok(())
    }

    /// Makes a blob of a session: synced, at its final name.
    fn keep(
        &self,
        file: &File,
        upload: &mut Upload,
        digest: &Digest,
        buffer: &mut [u8],
    ) -> Result<(), Setback> {
        let (repository, session) = (&upload.repository, &upload.session);
        let hasher = upload.hashed.take().map(|(_, hasher)| hasher);
        let of_kind = |hasher: &Hasher| hasher.algorithm() == digest.algorithm();
        let hasher = match hasher.filter(of_kind) {
            Some(hasher) => hasher,
            None => {
                // Announced as another algorithm, or not at all.
                let mut hasher = Hasher::new(digest.algorithm());
                self.spool
                    .rehash(repository, session, &mut hasher, buffer)?;
                hasher
            }
        };
        let found = hasher.finish();
        if found != *digest {
            self.spool.cancel(repository, session)?;
            let cause = format!("the blob hashes to {found}, not to {digest}");
            return Err(Refusal::DigestInvalid(cause).into());
        }
        let path = self.spool.path(repository, session);
        file.sync_all()
            .map_err(|err| Fault::disk("sync", &path, err))?;
        self.blobs.keep(&path, digest)?;
        self.spool.cancel(repository, session)?;
        Ok(())
    }

    pub(super) fn cancel(&self, upload: &Upload) -> Result<(), Setback> {
        let length = self.spool.length(&upload.repository, &upload.session)?;
        length.ok_or(Refusal::BlobUploadUnknown)?;
        Ok(self.spool.cancel(&upload.repository, &upload.session)?)
    }

    /// Sends a blob, or the part that is wanted.
    pub(super) fn send(
        &self,
        ticket: Ticket,
        exchange: &mut Exchange,
        repository: Repository,
        digest: Digest,
        wanted: Wanted,
    ) -> Event {
        let (file, size) = match self.blobs.open(&digest) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Event::Missing(ticket, repository, digest, wanted),
            Err(fault) => {
                say(exchange, &Setback::from(fault).response());
                return Event::Sent(ticket.peer);
            }
        };
        let part = wanted.range.map(|range| range.within(size)).transpose();
        let sent = match part {
            Ok(part) => {
                let (offset, length) = part.unwrap_or((0, size));
                exchange.send(&Response::blob(&digest, size, part), &file, offset, length)
            }
            Err(refusal) => exchange.respond(&Setback::from(refusal).response()),
        };
        if let Err(err) = sent {
            log::info!(remote = exchange.peer(); "blob {digest} did not get through: {err}");
        }
        Event::Sent(ticket.peer)
    }
}

/// Whether a chunk begins where the session ends, and has the length that it says.
fn fits(
    chunk: ChunkRange,
    offset: u64,
    declared: Option<u64>,
    upload: &Upload,
) -> Result<(), Refusal> {
    if chunk.first != offset {
        return Err(Refusal::ChunkOutOfOrder {
            session: upload.session.clone(),
            offset,
        });
    }
    match declared {
        Some(length) if length != chunk.length() => {
            let cause = format!(
                "Content-Range has {} bytes, the body {length}",
                chunk.length()
            );
            Err(Refusal::SizeInvalid(cause))
        }
        _ => Ok(()),
    }
}

/// Appends a body to a session's file, hashing it. The hasher always knows exactly what is in
/// the file, or nothing at all.
fn append(
    exchange: &mut Exchange,
    mut file: &File,
    upload: &mut Upload,
    buffer: &mut [u8],
    on_disk: impl Fn(io::Error) -> Fault,
) -> Result<(), Fault> {
    let large = exchange
        .length()
        .is_none_or(|length| length > SYNC_SIZE as u64);
    let mut body = exchange.body();
    thread::scope(|scope| {
        let mut syncs = large.then(|| SyncsAhead::start(scope, file));
        let received = loop {
            let size = match body.read(buffer) {
                Ok(0) => break Ok(()),
                Ok(size) => size,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => break Err(Fault::client(err)),
            };
            if let Err(err) = file.write_all(&buffer[..size]) {
                upload.hashed = None;
                break Err(on_disk(err));
            }
            if let Some((hashed, hasher)) = &mut upload.hashed {
                hasher.update(&buffer[..size]);
                *hashed += size as u64;
            }
            if let Some(syncs) = &mut syncs {
                syncs.grown(size);
            }
        };
        if let Some(Err(err)) = syncs.map(SyncsAhead::end) {
            upload.hashed = None;
            return Err(on_disk(err));
        }
        received
    })
}

/// Syncs a file now and then, beside those who write to it: the disk is then busy while the
/// client sends, and not only after it.
struct SyncsAhead<'s> {
    unsynced: usize,
    due: SyncSender<()>,
    thread: thread::ScopedJoinHandle<'s, io::Result<()>>,
}

impl<'s> SyncsAhead<'s> {
    fn start(scope: &'s thread::Scope<'s, '_>, file: &'s File) -> SyncsAhead<'s> {
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
