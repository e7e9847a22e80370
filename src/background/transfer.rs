//! One blob on its way in: from one source after the other, until the whole is here, and right.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::fetch::Fetch;
use super::work::Core;
use crate::cid::Cid;
use crate::fault::{Fault, Neighbour, Trouble};
use crate::ipfs::{Sources, no_source};
use crate::oci::Digest;
use crate::oci::digest::Hasher;
use crate::outward::{Incoming, fault_within};

/// What is read from a source at a time.
const BUFFER_SIZE: usize = 256 << 10;

/// A transfer, in its own thread.
pub struct Transfer<'t> {
    core: &'t Arc<Core>,
    sources: &'t Sources,
    fetch: &'t Fetch,
    digest: Digest,
    hasher: Hasher,
    came: u64,
}

impl<'t> Transfer<'t> {
    pub(super) fn new(
        core: &'t Arc<Core>,
        sources: &'t Sources,
        fetch: &'t Fetch,
        digest: Digest,
    ) -> Transfer<'t> {
        Transfer {
            core,
            sources,
            fetch,
            digest,
            hasher: Hasher::new(digest.algorithm()),
            came: 0,
        }
    }

    /// Reads until the verified bytes are durable in the file.
    pub fn run(mut self, cid: &Cid) -> Result<(), Fault> {
        let mut fault = None;
        let places = self
            .sources
            .places(|place| self.core.health.answers(*place));
        let mut places = places.into_iter().peekable();
        let size = self.fetch.size;
        // Read on from where the source before was cut.
        while let Some(place) = places.peek()
            && let Some(incoming) = self.sources.read(*place, cid, size, self.came)
        {
            let is_patched = self.came > 0;
            let came = incoming.and_then(|incoming| self.take_in(incoming));
            match came.and_then(|url| self.verify(&url)) {
                Ok(()) => return self.fetch.file.sync_all().map_err(on_disk("sync")),
                Err(broken @ (Fault::Disk { .. } | Fault::DiskFull { .. })) => return Err(broken),
                Err(next) => {
                    let digest = self.digest;
                    log::warn!(cid = cid.to_string(); "{digest} is not to be had there: {next}");
                    // Where the bytes of several are wrong together, the last may still be right.
                    if self.came > 0 || !is_patched {
                        places.next();
                    }
                    // Who does not answer may have what another one does not.
                    if fault.as_ref().is_none_or(Fault::is_missing) {
                        fault = Some(next);
                    }
                }
            }
        }
        Err(fault.unwrap_or_else(|| no_source(cid)))
    }

    /// Reads a source to its end; its URL.
    fn take_in(&mut self, mut incoming: Incoming) -> Result<String, Fault> {
        let url = incoming.url().to_owned();
        let mut buffer = vec![0; BUFFER_SIZE];
        loop {
            let size = match incoming.read(&mut buffer) {
                Ok(0) => return Ok(url),
                Ok(size) => size,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => {
                    let cut = |err: io::Error| {
                        let trouble = Trouble::Unreachable(err.to_string());
                        Fault::neighbour(Neighbour::Gateway, &url, trouble)
                    };
                    return Err(fault_within(err, cut));
                }
            };
            if self.core.is_stopped() {
                return Err(on_disk("write")(io::Error::other(
                    "the registry has stopped",
                )));
            }
            let bytes = &buffer[..size];
            self.hasher.update(bytes);
            let written = self.fetch.file.write_all_at(bytes, self.came);
            written.map_err(on_disk("write"))?;
            self.came += size as u64;
            self.fetch.came(self.came);
        }
    }

    /// Whether what came is what it should be. If not, it is forgotten. Nothing can mend what a
    /// client has seen of it: he gets no more, and so knows that he has not all.
    fn verify(&mut self, url: &str) -> Result<(), Fault> {
        if self.came < self.fetch.size {
            let trouble = Trouble::Cut {
                expected: self.fetch.size,
                received: self.came,
            };
            return Err(Fault::neighbour(Neighbour::Gateway, url, trouble));
        }
        let algorithm = self.digest.algorithm();
        let found = std::mem::replace(&mut self.hasher, Hasher::new(algorithm)).finish();
        if found == self.digest {
            return Ok(());
        }
        self.came = 0;
        self.fetch.forget();
        let (expected, received) = (self.digest.to_string(), found.to_string());
        let lied = Trouble::Lied { expected, received };
        Err(Fault::neighbour(Neighbour::Gateway, url, lied))
    }
}

fn on_disk(op: &'static str) -> impl Fn(io::Error) -> Fault {
    move |err| Fault::disk(op, "a fetched blob", err)
}
