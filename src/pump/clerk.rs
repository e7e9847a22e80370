//! The clerk: one thread that alone reads and changes the catalog on disk, in the order of its
//! inbox. Changes that wait together share one entry of the daybook, and are answered after it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::{Pump, message_of};
use crate::catalog::Change;
use crate::catalog::voyage::Voyage;
use crate::disk::{self, Settling};
use crate::fault::Fault;
use crate::oci::{Descriptor, Digest, Manifest, Repository, Request, Response};
use crate::registry::{Event, Lesson, Paperwork, Question, Ticket};

/// The most changes that share an entry.
const BATCH_MAX: usize = 64;

/// The way to the clerk's thread.
pub struct Clerk {
    inbox: Option<Sender<(Ticket, Paperwork)>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A change that is written down and waits for the sync.
type Written = (Ticket, Repository, Change, Response, Result<(), Fault>);

impl Clerk {
    /// Starts the clerk's thread.
    pub fn start(pump: Pump, report: impl Fn(Event) + Send + 'static) -> io::Result<Clerk> {
        let (inbox, papers) = channel();
        let work = move || pump.keep_books(&papers, &report);
        let thread = thread::Builder::new().name("clerk".into()).spawn(work)?;
        Ok(Clerk {
            inbox: Some(inbox),
            thread: Some(thread),
        })
    }

    /// Takes no more work; whether all that was taken is done.
    pub fn is_idle(&mut self) -> bool {
        self.inbox = None;
        self.thread
            .as_ref()
            .is_none_or(thread::JoinHandle::is_finished)
    }

    /// Puts work into the clerk's inbox.
    pub fn hand(&self, ticket: Ticket, paperwork: Paperwork) {
        if let Some(inbox) = &self.inbox {
            // The clerk catches every panic, so the thread lives as long as this sender does.
            let _ = inbox.send((ticket, paperwork));
        }
    }
}

impl Pump {
    fn keep_books(&self, papers: &Receiver<(Ticket, Paperwork)>, report: &impl Fn(Event)) {
        while let Ok(first) = papers.recv() {
            let mut settling = Settling::new(&self.root);
            let mut batch: Vec<Written> = Vec::new();
            let mut next = Some(first);
            while let Some((ticket, paperwork)) = next {
                match paperwork {
                    Paperwork::Learn(request, question) => {
                        report(self.answer(ticket, request, question));
                    }
                    Paperwork::Change(repository, change, response) => {
                        let mark = settling.mark();
                        let written = guarded(|| self.write(&mut settling, &repository, &change));
                        if written.is_err() {
                            settling.rewind(&mark);
                        }
                        batch.push((ticket, repository, change, response, written));
                    }
                }
                let more = batch.len() < BATCH_MAX;
                next = more.then(|| papers.try_recv().ok()).flatten();
            }
            let settled = settling.finish();
            for (ticket, repository, change, response, written) in batch {
                let result = written.and_then(|()| match &settled {
                    Ok(()) => Ok(()),
                    Err(fault) => Err(again(fault)),
                });
                if let (Change::KeepBlob(arrival), Ok(())) = (&change, &result) {
                    self.end_session(&arrival.path);
                }
                report(Event::Written(ticket, repository, change, response, result));
            }
        }
    }

    /// Drops what is left of an upload session whose file became a blob.
    fn end_session(&self, path: &Path) {
        if let Some(Err(fault)) = path.parent().map(disk::discard) {
            log::warn!("{fault}; the upload will be purged");
        }
    }

    /// Writes a change down: the bytes first, since all else refers to them.
    fn write(
        &self,
        settling: &mut Settling,
        repository: &Repository,
        change: &Change,
    ) -> Result<(), Fault> {
        match change {
            Change::PutManifest(new) => {
                self.blobs.write(settling, &new.digest, &new.stored.bytes)?;
                self.write_voyage(settling, &new.digest, new.voyage.as_ref())?;
            }
            Change::KeepBlob(arrival) => {
                self.blobs.place(settling, &arrival.path, &arrival.digest)?;
                self.write_voyage(settling, &arrival.digest, arrival.voyage.as_ref())?;
            }
            _ => {}
        }
        self.ledger.change(settling, repository, change)
    }

    /// Writes a voyage down, unless the blob is on one already.
    fn write_voyage(
        &self,
        settling: &mut Settling,
        digest: &Digest,
        voyage: Option<&Voyage>,
    ) -> Result<(), Fault> {
        let Some(voyage) = voyage else { return Ok(()) };
        let blob = self.blobs.path(digest);
        match Voyage::read(&blob)? {
            Some(_) => Ok(()),
            None => voyage.settle(settling, &blob),
        }
    }

    fn answer(&self, ticket: Ticket, request: Request, question: Question) -> Event {
        let lesson = guarded(|| match question {
            Question::Contents(repository) => {
                let contents = self.ledger.open(&repository)?;
                Ok(Lesson::Contents(repository, contents))
            }
            Question::Names => self.ledger.names().map(Lesson::Names),
            Question::Referrers(repository, manifests) => {
                let referrers = self.referrers(&repository, &manifests)?;
                Ok(Lesson::Referrers(repository, referrers))
            }
        });
        Event::Learned(ticket, request, lesson)
    }

    /// The referrers of every subject among these manifests of a repository.
    fn referrers(
        &self,
        repository: &Repository,
        manifests: &[Digest],
    ) -> Result<HashMap<Digest, BTreeMap<Digest, Descriptor>>, Fault> {
        let mut referrers: HashMap<Digest, BTreeMap<Digest, Descriptor>> = HashMap::new();
        for digest in manifests {
            let Some(stored) = self.fetch_manifest(repository, digest)? else {
                continue;
            };
            // What registry:2 took may be less strict than we are; it has no subject then.
            let manifest = Manifest::parse(&stored.bytes, Some(&stored.media_type));
            if let Ok(manifest) = manifest
                && let Some(subject) = &manifest.subject
            {
                let listed = manifest.as_referrer(*digest, stored.bytes.len() as u64);
                referrers
                    .entry(subject.digest)
                    .or_default()
                    .insert(*digest, listed);
            }
        }
        Ok(referrers)
    }
}

/// A panic must not take the clerk away.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Fault::panicked(message_of(&*panic))))
}

/// The same fault for another change of the batch.
fn again(fault: &Fault) -> Fault {
    match fault {
        Fault::Disk { op, path, cause } | Fault::DiskFull { op, path, cause } => {
            Fault::disk(op, path, io::Error::new(cause.kind(), cause.to_string()))
        }
        other => Fault::panicked(other.to_string()),
    }
}
