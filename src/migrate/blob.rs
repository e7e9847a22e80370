//! Blobs on their way: read from one registry while they are sent to the other.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::oci::digest::Hasher;
use crate::oci::{Descriptor, Digest, Repository};

use super::Failure;
use super::remote::{Remote, Upload};
use super::wire::{Payload, pause};

/// How a blob came to be at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was there.
    Present,
    /// Another repository there had it.
    Mounted,
    /// It was sent.
    Copied,
}

/// Both ends of a way that blobs take.
pub struct Way<'w> {
    /// Where blobs come from.
    pub source: &'w Remote,
    /// The repository there.
    pub from: &'w Repository,
    /// Where they go.
    pub destination: &'w Remote,
    /// The repository there.
    pub to: &'w Repository,
    /// Counts the bytes that arrive.
    pub meter: &'w AtomicU64,
}

impl Way<'_> {
    /// Brings a blob to the destination unless it is there; `elsewhere` is a repository of the
    /// destination that holds it.
    pub fn copy(
        &self,
        blob: &Descriptor,
        elsewhere: Option<&Repository>,
    ) -> Result<Arrival, Failure> {
        if self.destination.has_blob(self.to, &blob.digest)? {
            return Ok(Arrival::Present);
        }
        let mut upload = None;
        if let Some(elsewhere) = elsewhere {
            match self
                .destination
                .start_upload(self.to, Some((&blob.digest, elsewhere)))?
            {
                Upload::Mounted => return Ok(Arrival::Mounted),
                Upload::At(url) => upload = Some(url),
            }
        }
        self.destination
            .wire
            .retry(|| self.send(blob, upload.take()))??;
        Ok(Arrival::Copied)
    }

    /// Sends a blob from its first byte to an upload, or to a new one. The inner failure is the
    /// source's, which was given its chances and is final.
    fn send(
        &self,
        blob: &Descriptor,
        upload: Option<String>,
    ) -> Result<Result<(), Failure>, Failure> {
        let mut reader = Reader::new(self.source, self.from, blob, self.meter);
        // Before anything begins at the destination: the source may not have it.
        reader.open()?;
        if blob.size == 0 {
            // Nobody will ask for a byte of it.
            reader.verify()?;
        }
        let upload = match upload {
            Some(upload) => upload,
            None => match self.destination.start_upload(self.to, None)? {
                Upload::At(url) => url,
                Upload::Mounted => return Ok(Ok(())),
            },
        };
        let payload = Payload::Stream(&mut reader, blob.size);
        let sent = self
            .destination
            .finish_upload(self.to, &upload, blob, payload);
        let Err(failure) = sent else {
            return Ok(Ok(()));
        };
        // Bytes that were sent in vain have not arrived.
        self.meter.fetch_sub(reader.metered, Ordering::Relaxed);
        self.destination.cancel_upload(self.to, &upload);
        // If the source broke off, the destination only saw the consequence.
        reader
            .failure
            .map_or(Err(failure), |failure| Ok(Err(failure)))
    }
}

/// Reads a blob, and goes on where it broke off; the last byte is given only if all of them hash
/// to the digest, so that the other end never gets the whole of anything else.
struct Reader<'r> {
    remote: &'r Remote,
    repository: &'r Repository,
    digest: Digest,
    size: u64,
    offset: u64,
    hasher: Hasher,
    body: Option<ureq::BodyReader<'static>>,
    /// Interruptions since the last byte that came.
    interruptions: u32,
    /// Why it ended early: an error of `read` does not get through whole.
    failure: Option<Failure>,
    meter: &'r AtomicU64,
    /// What it has counted there.
    metered: u64,
}

impl<'r> Reader<'r> {
    fn new(
        remote: &'r Remote,
        repository: &'r Repository,
        blob: &Descriptor,
        meter: &'r AtomicU64,
    ) -> Reader<'r> {
        Reader {
            remote,
            repository,
            digest: blob.digest,
            size: blob.size,
            offset: 0,
            hasher: Hasher::new(blob.digest.algorithm()),
            body: None,
            interruptions: 0,
            failure: None,
            meter,
            metered: 0,
        }
    }

    fn url(&self) -> String {
        self.remote
            .origin
            .url(&format!("/v2/{}/blobs/{}", self.repository, self.digest))
    }

    /// Asks for the bytes from the offset on.
    fn open(&mut self) -> Result<(), Failure> {
        let answer = self
            .remote
            .open_blob(self.repository, &self.digest, self.offset)?;
        let url = self.url();
        let header = |name| {
            answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let start = match answer.status().as_u16() {
            206 => header("content-range").and_then(first_of),
            200 => Some(0),
            _ => None,
        };
        let start = start.filter(|start| *start <= self.offset).ok_or_else(|| {
            let status = answer.status();
            Failure::protocol(
                &url,
                format!("{status} is no answer to the question for a blob"),
            )
        })?;
        let length = header("content-length").and_then(|text| text.parse::<u64>().ok());
        if let Some(length) = length.filter(|length| start.checked_add(*length) != Some(self.size))
        {
            return Err(Failure::Corrupt {
                url,
                expected: self.digest,
                received: format!("{} bytes where it has {}", start + length, self.size),
            });
        }
        let mut body = answer.into_body().into_reader();
        // A server that knows no ranges begins anew: what we have is passed over.
        let known = io::copy(&mut (&mut body).take(self.offset - start), &mut io::sink());
        known.map_err(|cause| Failure::unreachable(&url, cause))?;
        self.body = Some(body);
        Ok(())
    }

    /// The next bytes; 0 only at the end.
    fn step(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let rest = usize::try_from(self.size - self.offset).unwrap_or(usize::MAX);
        let length = rest.min(buffer.len());
        if length == 0 {
            return if rest == 0 {
                self.verify().map(|()| 0)
            } else {
                Ok(0)
            };
        }
        loop {
            let trouble = match self.read_on(&mut buffer[..length]) {
                Ok(count) => {
                    self.hasher.update(&buffer[..count]);
                    self.offset += count as u64;
                    self.interruptions = 0;
                    if self.offset == self.size {
                        self.verify()?;
                    }
                    self.metered += count as u64;
                    self.meter.fetch_add(count as u64, Ordering::Relaxed);
                    return Ok(count);
                }
                Err(trouble) => trouble,
            };
            self.body = None;
            if !trouble.is_transient() || self.interruptions >= self.remote.wire.retries_max() {
                return Err(trouble);
            }
            log::debug!("{trouble}; going on at byte {}", self.offset);
            pause(self.interruptions);
            self.interruptions += 1;
        }
    }

    /// One read that brings at least a byte.
    fn read_on(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        if self.body.is_none() {
            self.open()?;
        }
        let body = self.body.as_mut().expect("open() has just set it");
        match body.read(buffer) {
            Ok(0) => Err(Failure::unreachable(
                &self.url(),
                format!("it broke off after {} of {} bytes", self.offset, self.size),
            )),
            Ok(count) => Ok(count),
            Err(cause) => Err(Failure::unreachable(&self.url(), cause)),
        }
    }

    fn verify(&self) -> Result<(), Failure> {
        let digest = self.hasher.clone().finish();
        if digest == self.digest {
            return Ok(());
        }
        let received = digest.to_string();
        Err(Failure::Corrupt {
            url: self.url(),
            expected: self.digest,
            received,
        })
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.step(buffer).map_err(|failure| {
            let cause = io::Error::other(failure.to_string());
            self.failure = Some(failure);
            cause
        })
    }
}

/// The first byte of a `Content-Range: bytes 5-9/10`.
fn first_of(header: &str) -> Option<u64> {
    header
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .parse()
        .ok()
}
