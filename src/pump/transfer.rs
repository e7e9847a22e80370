//! Bytes between a socket and the disk.

use std::fs::File;

use super::{Pump, intake, say};
use crate::catalog::Arrival;
use crate::catalog::voyage::Voyage;
use crate::cid::{Cid, Import};
use crate::disk;
use crate::fault::Fault;
use crate::http::Exchange;
use crate::oci::range::ChunkRange;
use crate::oci::request::Wanted;
use crate::oci::{Algorithm, Digest, Refusal, Repository, Response};
use crate::registry::{Event, Hashed, Setback, Step, Ticket, Upload};

/// What is read from a socket at a time; a smaller body takes less.
const BUFFER_SIZE: u64 = 256 << 10;
/// Content up to this size is one block on the network, whose CID is the content's own SHA-256.
pub(super) const RAW_SIZE_MAX: u64 = Import::ESTUARY.chunk_size as u64;

impl Pump {
    /// Reads a body into an upload session and, with a digest, keeps it as a blob. What came in
    /// stays in the session whatever happens to the rest.
    pub(super) fn receive(
        &self,
        exchange: &mut Exchange,
        upload: &mut Upload,
        step: &Step,
    ) -> Result<Option<Box<Arrival>>, Setback> {
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
        let wants_cid = exchange
            .length()
            .is_none_or(|more| length + more > RAW_SIZE_MAX);
        if let Some(hashed) = upload.hashed.as_mut().filter(|_| !wants_cid) {
            // The digest will say it.
            hashed.unixfs = None;
        }
        let taken = intake::append(exchange, &file, &mut upload.hashed, buffer.len(), on_disk);
        if let Err(Fault::DiskFull { .. }) = &taken {
            // What came of this body would only keep the disk full. The fault says the rest.
            let _ = file.set_len(length);
        }
        taken?;
        if let (Some(chunk), Some(hashed)) = (chunk, &upload.hashed)
            && hashed.size != length + chunk.length()
        {
            let came = hashed.size - length;
            let cause = format!("the chunk has {came} bytes, not {}", chunk.length());
            file.set_len(length).map_err(on_disk)?;
            upload.hashed = None;
            return Err(Refusal::SizeInvalid(cause).into());
        }
        match digest {
            Some(digest) => self.take(&file, upload, digest, &mut buffer).map(Some),
            None => Ok(None),
        }
    }

    /// Makes the hashers know what the session holds: they do already, or the session is empty,
    /// or what it holds is read again.
    fn catch_up(
        &self,
        upload: &mut Upload,
        length: u64,
        algorithm: Algorithm,
        buffer: &mut [u8],
    ) -> Result<(), Fault> {
        if upload
            .hashed
            .as_ref()
            .is_none_or(|hashed| hashed.size != length)
        {
            let mut hashed = Hashed::new(algorithm, self.network.is_some());
            if length > 0 {
                let (repository, session) = (&upload.repository, &upload.session);
                self.spool
                    .reread(repository, session, buffer, |bytes| hashed.update(bytes))?;
            }
            upload.hashed = Some(Box::new(hashed));
        }
        Ok(())
    }

    /// Verifies what a session holds, and syncs it if it is large.
    fn take(
        &self,
        file: &File,
        upload: &mut Upload,
        digest: &Digest,
        buffer: &mut [u8],
    ) -> Result<Box<Arrival>, Setback> {
        let (repository, session) = (&upload.repository, &upload.session);
        let hashed = upload.hashed.take().map(|hashed| *hashed);
        let of_kind = |hashed: &Hashed| hashed.hasher.algorithm() == digest.algorithm();
        let Hashed {
            size,
            hasher,
            unixfs,
        } = match hashed.filter(of_kind) {
            Some(hashed) => hashed,
            None => {
                // Announced as another algorithm, or not at all.
                let mut hashed = Hashed::new(digest.algorithm(), self.network.is_some());
                self.spool
                    .reread(repository, session, buffer, |bytes| hashed.update(bytes))?;
                hashed
            }
        };
        let found = hasher.finish();
        if found != *digest {
            self.spool.cancel(repository, session)?;
            let cause = format!("the blob hashes to {found}, not to {digest}");
            return Err(Refusal::DigestInvalid(cause).into());
        }
        let path = self.spool.path(repository, session);
        if !disk::is_small(size) {
            file.sync_all()
                .map_err(|err| Fault::disk("sync", &path, err))?;
        }
        let voyage = self.network.as_ref().map(|_| {
            let cid = unixfs.map(|unixfs| unixfs.finish().cid);
            let cid = cid
                .or_else(|| raw_cid(digest, size))
                .map(|cid| cid.to_string());
            Voyage {
                cid,
                ..Voyage::of(size)
            }
        });
        let (digest, session) = (*digest, session.clone());
        Ok(Box::new(Arrival {
            digest,
            path,
            session,
            voyage,
        }))
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
        (repository, digest, wanted): (Repository, Digest, Wanted),
        cid: Option<&str>,
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
                let head = Response::blob(&digest, size, part).with_cid(cid);
                exchange.send(&head, &file, offset, length)
            }
            Err(refusal) => exchange.respond(&Setback::from(refusal).response()),
        };
        if let Err(err) = sent {
            log::info!(remote = exchange.peer(); "blob {digest} did not get through: {err}");
        }
        Event::Sent(ticket.peer)
    }
}

/// The CID of content that is one block on the network.
pub(super) fn raw_cid(digest: &Digest, size: u64) -> Option<Cid> {
    match digest {
        Digest::Sha256(hash) if size <= RAW_SIZE_MAX => Some(Cid::raw(*hash)),
        _ => None,
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
