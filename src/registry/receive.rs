//! Receiving: the body of a request into an upload session, hashed on the way.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::Registry;
use super::answer::Client;
use super::intake;
use super::session::{Hashed, Sessions};
use crate::cid::Cid;
use crate::fault::Fault;
use crate::http::Body;
use crate::oci::range::ChunkRange;
use crate::oci::{Algorithm, Digest, Refusal, Repository};
use crate::store::blob::Content;
use crate::store::upload::{self, Lease};
use crate::store::{Outcome, ROW_SIZE_MAX};

/// What is read from a client at a time; a smaller body takes less.
const BUFFER_SIZE: u64 = 256 << 10;

/// A session that a request writes to, and no other meanwhile.
pub(super) struct Upload<'r> {
    pub repository: Repository,
    pub session: String,
    /// Whether other requests know of it, by a row of the catalog.
    pub is_open: bool,
    /// What was hashed, which is exactly what the session holds.
    hashed: Option<Box<Hashed>>,
    sessions: &'r Sessions,
    /// Given back after what was hashed.
    _lease: Lease,
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let Some(hashed) = self.hashed.take() {
            self.sessions.keep(&self.session, hashed);
        }
    }
}

/// A blob that came in whole, verified.
pub(super) struct Received {
    pub content: Content,
    pub cid: Option<Cid>,
}

impl Registry {
    /// Takes a session to write to it.
    pub(super) fn begin(
        &self,
        repository: Repository,
        session: String,
        is_open: bool,
    ) -> Result<Upload<'_>, Refusal> {
        let lease = self.store.lease_upload(&session);
        Ok(Upload {
            _lease: lease.ok_or(Refusal::BlobUploadBusy)?,
            hashed: self.sessions.take(&session),
            sessions: &self.sessions,
            repository,
            session,
            is_open,
        })
    }

    /// Appends a body to a session; how many bytes it holds then. What came in stays there,
    /// whatever happens to the rest.
    pub(super) fn receive_chunk(
        &self,
        upload: &mut Upload,
        chunk: Option<ChunkRange>,
        client: &Client,
        body: &mut dyn Body,
    ) -> Outcome<u64> {
        let _place = self.places.take(&client.address)?;
        let file = self.store.files().append_upload(&upload.session)?;
        self.append(upload, &file, chunk, Algorithm::Sha256, body)
    }

    /// Receives the end of a blob, and verifies the whole.
    pub(super) fn receive_whole(
        &self,
        upload: &mut Upload,
        chunk: Option<ChunkRange>,
        digest: &Digest,
        client: &Client,
        body: &mut dyn Body,
    ) -> Outcome<Received> {
        let _place = self.places.take(&client.address)?;
        if chunk.is_some() || self.store.files().upload_length(&upload.session)? > 0 {
            return self.receive_file(upload, chunk, digest, body);
        }
        // What is small needs no file.
        let mut first = Vec::new();
        let read = (&mut *body).take(ROW_SIZE_MAX + 1).read_to_end(&mut first);
        if read.is_ok() && first.len() as u64 <= ROW_SIZE_MAX {
            return self.verify_bytes(upload, first, digest);
        }
        let mut begun = Begun {
            first: &first,
            rest: body,
            broken: read.err(),
        };
        self.receive_file(upload, None, digest, &mut begun)
    }

    fn receive_file(
        &self,
        upload: &mut Upload,
        chunk: Option<ChunkRange>,
        digest: &Digest,
        body: &mut dyn Body,
    ) -> Outcome<Received> {
        let file = self.store.files().append_upload(&upload.session)?;
        let size = self.append(upload, &file, chunk, digest.algorithm(), body)?;
        self.verify_file(upload, &file, size, digest)
    }

    /// Appends a body to the file of a session; the length of the whole.
    fn append(
        &self,
        upload: &mut Upload,
        file: &File,
        chunk: Option<ChunkRange>,
        algorithm: Algorithm,
        body: &mut dyn Body,
    ) -> Outcome<u64> {
        let path = self.store.files().upload_path(&upload.session);
        let on_disk = |op: &'static str| {
            let path = path.clone();
            move |err| Fault::disk(op, path.clone(), err)
        };
        let length = file.metadata().map_err(on_disk("measure"))?.len();
        if let Some(chunk) = chunk {
            fits(chunk, length, body.length(), &upload.session)?;
        }
        self.catch_up(upload, file, length, algorithm)
            .map_err(on_disk("read"))?;
        let size = body
            .length()
            .unwrap_or(BUFFER_SIZE)
            .clamp(4 << 10, BUFFER_SIZE);
        let hashed = &mut upload.hashed;
        match intake::append(body, file, hashed, size as usize) {
            Ok(()) => {}
            Err(intake::Failure::Client(err)) => return Err(Fault::client(err).into()),
            Err(intake::Failure::Write(err)) => {
                let fault = on_disk("write")(err);
                if let Fault::DiskFull { .. } = &fault {
                    // What came of this body would only keep the disk full. The fault says the
                    // rest.
                    let _ = file.set_len(length);
                }
                return Err(fault.into());
            }
            Err(intake::Failure::Sync(err)) => {
                self.drop_bytes(upload);
                return Err(on_disk("sync")(err).into());
            }
        }
        let size = hashed.as_ref().map_or(length, |hashed| hashed.size);
        if let Some(chunk) = chunk.filter(|chunk| length + chunk.length() != size) {
            file.set_len(length).map_err(on_disk("cut"))?;
            *hashed = None;
            let came = size - length;
            let cause = format!("the chunk has {came} bytes, not {}", chunk.length());
            return Err(Refusal::SizeInvalid(cause).into());
        }
        Ok(size)
    }

    /// Makes the hashers know what the session holds: they do already, or the session is empty,
    /// or what it holds is read again.
    fn catch_up(
        &self,
        upload: &mut Upload,
        file: &File,
        length: u64,
        algorithm: Algorithm,
    ) -> io::Result<()> {
        let hashed = &mut upload.hashed;
        if hashed.as_ref().is_none_or(|hashed| hashed.size != length) {
            *hashed = Some(Box::new(hash(file, length, algorithm, self.has_network())?));
        }
        Ok(())
    }

    /// Verifies the bytes of a small blob.
    fn verify_bytes(
        &self,
        upload: &mut Upload,
        bytes: Vec<u8>,
        digest: &Digest,
    ) -> Outcome<Received> {
        let found = Digest::of(digest.algorithm(), &bytes);
        if found != *digest {
            return Err(self.refuse_digest(upload, digest, &found)?.into());
        }
        let content = Content::Bytes(bytes.into());
        Ok(Received { content, cid: None })
    }

    /// Verifies what a session holds, and syncs it, or takes it into memory if it is small.
    fn verify_file(
        &self,
        upload: &mut Upload,
        file: &File,
        size: u64,
        digest: &Digest,
    ) -> Outcome<Received> {
        let path = self.store.files().upload_path(&upload.session);
        let on_disk = |op: &'static str| {
            let path = path.clone();
            move |err| Fault::disk(op, path.clone(), err)
        };
        if size <= ROW_SIZE_MAX {
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, 0).map_err(on_disk("read"))?;
            return self.verify_bytes(upload, bytes, digest);
        }
        let is_of_kind = |hashed: &Hashed| hashed.hasher.algorithm() == digest.algorithm();
        let hashed = match upload.hashed.take().filter(|hashed| is_of_kind(hashed)) {
            Some(hashed) => *hashed,
            // Announced as another algorithm, or not at all.
            None => {
                hash(file, size, digest.algorithm(), self.has_network()).map_err(on_disk("read"))?
            }
        };
        let found = hashed.hasher.finish();
        if found != *digest {
            return Err(self.refuse_digest(upload, digest, &found)?.into());
        }
        if let Err(err) = file.sync_all() {
            // The system tells of it once, and takes what it has in memory for durable from then
            // on: the client has to send it again.
            self.drop_bytes(upload);
            return Err(on_disk("sync")(err).into());
        }
        let cid = hashed.unixfs.map(|unixfs| unixfs.finish().cid);
        let content = Content::File(size);
        Ok(Received { content, cid })
    }

    /// Ends a session that holds another blob than it should.
    fn refuse_digest(
        &self,
        upload: &mut Upload,
        wanted: &Digest,
        found: &Digest,
    ) -> Outcome<Refusal> {
        if upload.is_open {
            let (name, id) = (upload.repository.clone(), upload.session.clone());
            self.store.note(move |tx| upload::end(tx, &name, &id))?;
        }
        self.drop_bytes(upload);
        let cause = format!("the blob hashes to {found}, not to {wanted}");
        Ok(Refusal::DigestInvalid(cause))
    }

    /// Drops what a session holds.
    pub(super) fn drop_bytes(&self, upload: &mut Upload) {
        upload.hashed = None;
        if let Err(fault) = self.store.files().end_upload(&upload.session) {
            log::error!("{fault}");
        }
    }
}

/// Hashes the first bytes of a file.
fn hash(file: &File, length: u64, algorithm: Algorithm, has_network: bool) -> io::Result<Hashed> {
    let mut hashed = Hashed::new(algorithm, has_network);
    let mut buffer = vec![0; BUFFER_SIZE.min(length) as usize];
    while hashed.size < length {
        let wanted = (length - hashed.size).min(BUFFER_SIZE) as usize;
        file.read_exact_at(&mut buffer[..wanted], hashed.size)?;
        hashed.update(&buffer[..wanted]);
    }
    Ok(hashed)
}

/// Whether a chunk begins where the session ends, and has the length that it says.
fn fits(
    chunk: ChunkRange,
    offset: u64,
    declared: Option<u64>,
    session: &str,
) -> Result<(), Refusal> {
    if chunk.first != offset {
        let session = session.to_owned();
        return Err(Refusal::ChunkOutOfOrder { session, offset });
    }
    match declared {
        Some(length) if length != chunk.length() => {
            let said = chunk.length();
            let cause = format!("Content-Range has {said} bytes, the body {length}");
            Err(Refusal::SizeInvalid(cause))
        }
        _ => Ok(()),
    }
}

/// A body of which the first bytes were read already, and how that ended.
struct Begun<'b> {
    first: &'b [u8],
    rest: &'b mut dyn Body,
    broken: Option<io::Error>,
}

impl Read for Begun<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.first.is_empty() {
            return self.first.read(buffer);
        }
        match self.broken.take() {
            Some(error) => Err(error),
            None => self.rest.read(buffer),
        }
    }
}

impl Body for Begun<'_> {
    fn length(&self) -> Option<u64> {
        self.rest.length()
    }

    fn has_arrived(&self) -> bool {
        !self.first.is_empty() || self.broken.is_some() || self.rest.has_arrived()
    }
}
