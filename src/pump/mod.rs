//! Carrying: each job is straight-line blocking code in one thread, and reports one event.
//!
//! Three kinds of thread carry. An exchange's own ([`Pump::carry`]) moves bytes between its
//! socket and the disk, so a slow client slows nobody else. The [`clerk`] alone reads and changes
//! the catalog on disk, so that its reads and changes have an order. An errand has a thread for
//! as long as it takes.

mod clerk;
mod errand;
mod intake;
pub mod network;
mod pace;
mod relay;
mod survey;
mod transfer;

use std::any::Any;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub use clerk::Clerk;
pub use network::Network;
use pace::Traffic;

use crate::blobs::Blobs;
use crate::catalog::voyage::Voyage;
use crate::catalog::{Ledger, Stored};
use crate::cid::{Import, Unixfs};
use crate::disk::Root;
use crate::fault::Fault;
use crate::http::Exchange;
use crate::oci::manifest::SIZE_MAX;
use crate::oci::{Algorithm, Digest, Manifest, Reference, Refusal, Repository, Response};
use crate::registry::{Draft, Event, Lesson, Setback, Task, Ticket};
use crate::spool::Spool;

/// All the places on disk that jobs move bytes between.
#[derive(Clone, Debug)]
pub struct Pump {
    root: Root,
    blobs: Blobs,
    spool: Spool,
    ledger: Ledger,
    network: Option<Arc<Network>>,
    traffic: Traffic,
}

impl Pump {
    /// A pump for what is under that root, and for the network, if there is one.
    pub fn new(root: &Root, network: Option<Network>) -> Pump {
        Pump {
            root: root.clone(),
            blobs: Blobs::new(root),
            spool: Spool::new(root),
            ledger: Ledger::new(root),
            network: network.map(Arc::new),
            traffic: Traffic::default(),
        }
    }

    /// Carries a task out for an exchange, in its own thread; what happened, if the registry has
    /// to know. A task that panics leaves its exchange unanswered.
    pub fn carry(&self, ticket: Ticket, task: Task, exchange: &mut Exchange) -> Option<Event> {
        let peer = Arc::clone(&ticket.peer);
        let moves_bytes = match &task {
            Task::Send(_, _, wanted, _) => !wanted.head_only,
            task => matches!(task, Task::Relay(..)),
        };
        let is_body = moves_bytes || matches!(task, Task::Receive(..));
        let _passage = is_body.then(|| self.traffic.join());
        let carried = catch_unwind(AssertUnwindSafe(|| self.carry_out(ticket, task, exchange)));
        carried.unwrap_or_else(|panic| {
            log::error!("{}", Fault::panicked(message_of(&*panic)));
            moves_bytes.then_some(Event::Sent(peer))
        })
    }

    fn carry_out(&self, ticket: Ticket, task: Task, exchange: &mut Exchange) -> Option<Event> {
        match task {
            Task::Respond(response) => {
                say(exchange, &response);
                None
            }
            Task::FetchManifest(request, repository, digest) => {
                let fetched = self.fetch_manifest(&repository, &digest);
                let lesson = fetched.map(|stored| Lesson::Manifest(repository, digest, stored));
                Some(Event::Learned(ticket, request, lesson))
            }
            Task::ReadManifest(repository, reference, new) => {
                let content_type = new.content_type.as_deref();
                let draft = guarded(|| self.read_manifest(exchange, &reference, content_type));
                Some(Event::ManifestRead(
                    ticket, repository, reference, new, draft,
                ))
            }
            Task::Begin(upload, response) => {
                let begun = self.spool.begin(&upload.repository, &upload.session);
                finish(ticket, exchange, begun.map(|()| response))
            }
            Task::Receive(mut upload, step) => {
                let received = guarded(|| self.receive(exchange, &mut upload, &step));
                if upload.is_new
                    && received.is_err()
                    && let Err(fault) = self.spool.cancel(&upload.repository, &upload.session)
                {
                    log::error!("{fault}");
                }
                Some(Event::Received(ticket, upload, step, received))
            }
            Task::Measure(upload, location) => {
                let length = self.spool.length(&upload.repository, &upload.session);
                let status = length.map_err(Setback::from).and_then(|length| {
                    let length = length.ok_or(Refusal::BlobUploadUnknown)?;
                    Ok(Response::upload_status(location, &upload.session, length))
                });
                finish(ticket, exchange, status)
            }
            Task::Cancel(upload, response) => {
                finish(ticket, exchange, self.cancel(&upload).map(|()| response))
            }
            Task::Send(repository, digest, wanted, cid) => {
                let is_transfer = !wanted.head_only;
                let blob = (repository, digest, wanted);
                let sent = self.send(ticket, exchange, blob, cid.as_deref());
                (is_transfer || !matches!(sent, Event::Sent(_))).then_some(sent)
            }
            Task::Relay(digest, wanted, voyage) => {
                Some(self.relay(ticket, exchange, digest, &wanted, &voyage))
            }
        }
    }

    /// Reads a manifest from a body, and whether it is what its reference says.
    fn read_manifest(
        &self,
        exchange: &mut Exchange,
        reference: &Reference,
        content_type: Option<&str>,
    ) -> Result<Box<Draft>, Setback> {
        let too_large = || Setback::Refused(Refusal::ManifestTooLarge(SIZE_MAX));
        let declared = exchange.length().unwrap_or(0);
        if declared > SIZE_MAX {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(declared as usize);
        let body = exchange.body();
        body.take(SIZE_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(Fault::client)?;
        if bytes.len() as u64 > SIZE_MAX {
            return Err(too_large());
        }
        let digest = match reference {
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, &bytes),
            Reference::Digest(digest) => Digest::of(digest.algorithm(), &bytes),
        };
        if let Reference::Digest(wanted) = reference
            && *wanted != digest
        {
            let cause = format!("the manifest hashes to {digest}, not to {wanted}");
            return Err(Refusal::DigestInvalid(cause).into());
        }
        let manifest = Manifest::parse(&bytes, content_type)?;
        let stored = Stored {
            media_type: manifest.media_type.clone(),
            bytes: bytes.into(),
        };
        let voyage = self
            .network
            .as_ref()
            .map(|_| voyage_of_manifest(&digest, &stored.bytes));
        Ok(Box::new(Draft {
            digest,
            stored,
            manifest,
            voyage,
        }))
    }

    fn fetch_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Stored>, Fault> {
        let Some(bytes) = self.blobs.read(digest)? else {
            return Ok(None);
        };
        let media_type = self.ledger.media_type(repository, digest, &bytes)?;
        Ok(Some(Stored {
            media_type,
            bytes: bytes.into(),
        }))
    }
}

/// The voyage that a manifest with these bytes sets out on.
fn voyage_of_manifest(digest: &Digest, bytes: &[u8]) -> Voyage {
    let size = bytes.len() as u64;
    let cid = transfer::raw_cid(digest, size).unwrap_or_else(|| {
        let mut unixfs = Unixfs::new(Import::ESTUARY);
        unixfs.write(bytes);
        unixfs.finish().cid
    });
    Voyage {
        cid: Some(cid.to_string()),
        is_manifest: true,
        ..Voyage::of(size)
    }
}

/// Answers, or reports why not.
fn finish<E: Into<Setback>>(
    ticket: Ticket,
    exchange: &mut Exchange,
    answer: Result<Response, E>,
) -> Option<Event> {
    match answer {
        Ok(response) => {
            say(exchange, &response);
            None
        }
        Err(setback) => Some(Event::Failed(ticket, setback.into())),
    }
}

/// Sends an answer. If the client is gone there is nobody left to tell.
fn say(exchange: &mut Exchange, response: &Response) {
    if let Err(err) = exchange.respond(response) {
        log::info!(remote = exchange.peer(); "the answer did not get through: {err}");
    }
}

/// Runs a piece of work; a panic in it is a fault like others, and is reported like them.
fn guarded<T>(work: impl FnOnce() -> Result<T, Setback>) -> Result<T, Setback> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Fault::panicked(message_of(&*panic)).into()))
}

/// What a panic said.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// The peer's name as tickets carry it.
pub fn peer_of(exchange: &Exchange) -> Arc<str> {
    Arc::from(exchange.peer())
}
