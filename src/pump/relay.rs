//! A blob that is not here: fetched from the network, hashed, kept again, and sent on.
//!
//! A large blob goes out while it comes in, all but its last buffer: that one waits until the
//! digest is known to be right, so wrong bytes never end cleanly. A small one, or a part, goes
//! out once the whole is verified; then a place that lies only costs time. In any case the next
//! place is asked, so that a client that comes again finds the blob here.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::transfer::RAW_SIZE_MAX;
use super::{Pump, say};
use crate::catalog::voyage::Voyage;
use crate::cid::Cid;
use crate::disk::Settling;
use crate::fault::{Fault, Neighbour, Trouble};
use crate::http::Exchange;
use crate::oci::digest::Hasher;
use crate::oci::request::Wanted;
use crate::oci::{Digest, Response};
use crate::outward::{Incoming, fault_within};
use crate::registry::{Event, Setback, Ticket};

/// What is read from a source at a time.
const BUFFER_SIZE: usize = 256 << 10;

/// A blob on its way back.
struct Return<'r, 'e, 'c> {
    digest: Digest,
    size: u64,
    file: File,
    hasher: Hasher,
    came: u64,
    /// The last buffer that came, which waits for the verdict.
    held: Vec<u8>,
    /// The client, if it is sent what comes as it comes.
    to: Option<&'r mut Exchange<'e>>,
    head: &'c Response,
}

impl Pump {
    /// Fetches a blob and sends it on.
    pub(super) fn relay(
        &self,
        ticket: Ticket,
        exchange: &mut Exchange,
        digest: Digest,
        wanted: &Wanted,
        voyage: &Voyage,
    ) -> Event {
        let peer = Arc::clone(&ticket.peer);
        let result = self
            .fetch(exchange, digest, wanted, voyage)
            .map_err(|fault| {
                let ticket = (!exchange.is_answered()).then_some(ticket);
                (ticket, fault)
            });
        Event::Relayed(digest, peer, result)
    }

    fn fetch(
        &self,
        exchange: &mut Exchange,
        digest: Digest,
        wanted: &Wanted,
        voyage: &Voyage,
    ) -> Result<(), Fault> {
        let part = wanted
            .range
            .map(|range| range.within(voyage.size))
            .transpose();
        let part = match part {
            Ok(part) => part,
            Err(refusal) => {
                say(exchange, &Setback::from(refusal).response());
                return Ok(());
            }
        };
        let head = Response::blob(&digest, voyage.size, part).with_cid(voyage.cid.as_deref());
        let streams = part.is_none() && voyage.size > RAW_SIZE_MAX;
        let (file, path) = self.root.temporary_file()?;
        let hasher = Hasher::new(digest.algorithm());
        let to = streams.then_some(&mut *exchange);
        let (size, held) = (voyage.size, Vec::new());
        let mut back = Return {
            digest,
            size,
            file,
            hasher,
            came: 0,
            held,
            to,
            head: &head,
        };
        let brought = self.bring(&mut back, voyage);
        brought.inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        let mut settling = Settling::new(&self.root);
        self.blobs.place(&mut settling, &path, &digest)?;
        settling.finish()?;
        // Whoever has all of it may rely on its being here.
        back.pass_on()?;
        let file = back.file;
        if !streams {
            let (offset, length) = part.unwrap_or((0, voyage.size));
            if let Err(err) = exchange.send(&head, &file, offset, length) {
                log::info!(remote = exchange.peer(); "{digest} did not get through: {err}");
            }
        }
        Ok(())
    }

    /// Reads from one source after the other until the whole is here, and right.
    fn bring(&self, back: &mut Return, voyage: &Voyage) -> Result<(), Fault> {
        let nowhere = || Fault::panicked("a blob without a network was to be fetched");
        let network = self.network.as_ref().ok_or_else(nowhere)?;
        let cid = voyage
            .cid
            .as_deref()
            .and_then(|text| text.parse::<Cid>().ok());
        let cid = cid.ok_or_else(nowhere)?;
        let mut fault = None;
        let mut place = 0;
        // Read on from where the place before was cut.
        while let Some(incoming) = network.read(place, &cid, back.size, back.came) {
            let is_patched = back.came > 0;
            let came = incoming.and_then(|incoming| back.take_in(incoming));
            match came.and_then(|url| back.verify(&url)) {
                Ok(()) => return back.finish(),
                Err(broken @ (Fault::Client(_) | Fault::Disk { .. } | Fault::DiskFull { .. })) => {
                    return Err(broken);
                }
                Err(next) => {
                    let digest = back.digest;
                    log::warn!(cid = cid.to_string(); "{digest} is not to be had there: {next}");
                    // Where the bytes of several are wrong together, the last may still be right.
                    let is_over = back.came > 0 || !is_patched;
                    place += usize::from(is_over);
                    fault = Some(next);
                }
            }
        }
        Err(fault.unwrap_or_else(nowhere))
    }
}

impl Return<'_, '_, '_> {
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
            let bytes = &buffer[..size];
            self.hasher.update(bytes);
            self.came += size as u64;
            self.file
                .write_all(bytes)
                .map_err(|err| Fault::disk("write", "a fetched blob", err))?;
            if self.to.is_some() {
                self.pass_on()?;
                self.held.extend_from_slice(bytes);
            }
        }
    }

    /// Sends what was held back.
    fn pass_on(&mut self) -> Result<(), Fault> {
        let Some(exchange) = &mut self.to else {
            return Ok(());
        };
        if !exchange.is_answered() {
            exchange
                .start(self.head, self.size)
                .map_err(Fault::client)?;
        }
        exchange.push(&self.held).map_err(Fault::client)?;
        self.held.clear();
        Ok(())
    }

    /// Whether what came is what it should be. If not, it is forgotten. Nothing can mend what a
    /// client has seen of it: he gets no more, and so knows that he has not all.
    fn verify(&mut self, url: &str) -> Result<(), Fault> {
        if self.came < self.size {
            let trouble = Trouble::Cut {
                expected: self.size,
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
        self.held.clear();
        self.to.take_if(|exchange| exchange.is_answered());
        let forgotten = self
            .file
            .set_len(0)
            .and_then(|()| io::Seek::rewind(&mut self.file));
        forgotten.map_err(|err| Fault::disk("write", "a fetched blob", err))?;
        let (expected, received) = (self.digest.to_string(), found.to_string());
        Err(Fault::neighbour(
            Neighbour::Gateway,
            url,
            Trouble::Lied { expected, received },
        ))
    }

    /// Makes the verified bytes durable.
    fn finish(&mut self) -> Result<(), Fault> {
        self.file
            .sync_all()
            .map_err(|err| Fault::disk("sync", "a fetched blob", err))
    }
}
