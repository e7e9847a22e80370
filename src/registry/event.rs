//! What comes in and what goes out: the closed lists of events and jobs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use log::Level;

use super::travel::Survey;
use crate::catalog::voyage::Voyage;
use crate::catalog::{Arrival, Change, Contents, Stored};
use crate::cid::{Import, Unixfs};
use crate::config::{FileCheck, HttpCheck, TcpCheck};
use crate::fault::Fault;
use crate::oci::digest::Hasher;
use crate::oci::range::ChunkRange;
use crate::oci::request::{NewManifest, Wanted};
use crate::oci::{
    Algorithm, Descriptor, Digest, Manifest, Reference, Refusal, Repository, Request, Response,
};

/// The right to say what happens next to an exchange, which stays with its connection. It moves
/// from event to job and back and can't be copied, so every exchange gets exactly one answer.
#[derive(Debug)]
pub struct Ticket {
    /// The client's address.
    pub peer: Arc<str>,
    /// Bytes of the request's body, if the client declared them.
    pub length: Option<u64>,
    desk: SyncSender<(Ticket, Task)>,
}

impl Ticket {
    /// A ticket for the exchange at whose desk tasks arrive.
    pub fn new(peer: Arc<str>, length: Option<u64>, desk: SyncSender<(Ticket, Task)>) -> Ticket {
        Ticket { peer, length, desk }
    }

    /// Hands a task, and this ticket, to the exchange.
    pub fn hand(self, task: Task) {
        let desk = self.desk.clone();
        // An exchange that is gone broke with its connection: nobody waits for the answer.
        let _ = desk.send((self, task));
    }
}

/// Something that has happened.
#[derive(Debug)]
pub enum Event {
    /// A client asked for something, or for what can't be understood.
    Asked(Ticket, Result<Request, Refusal>),
    /// What had to be read before a request could be decided.
    Learned(Ticket, Request, Result<Lesson, Fault>),
    /// The body of a manifest came in.
    ManifestRead(
        Ticket,
        Repository,
        Reference,
        NewManifest,
        Result<Box<Draft>, Setback>,
    ),
    /// The body of an upload came in; with a digest to finish it, a blob has arrived.
    Received(Ticket, Upload, Step, Result<Option<Box<Arrival>>, Setback>),
    /// A change of the catalog is durable; then this answer is due.
    Written(Ticket, Repository, Change, Response, Result<(), Fault>),
    /// The bytes of a blob went out, or the client left.
    Sent(Arc<str>),
    /// The bytes of a blob are not here.
    Missing(Ticket, Repository, Digest, Wanted),
    /// A blob was fetched from the network and went out; or why not, and whether it can still be
    /// answered.
    Relayed(Digest, Arc<str>, Result<(), (Option<Ticket>, Fault)>),
    /// What is on disk and has to travel.
    Surveyed(Result<Survey, Fault>),
    /// How far a blob came on its way to the network.
    Travelled(Digest, Voyage, Result<(), Fault>),
    /// Whether the local copy of a blob could go, since the network keeps it.
    Dropped(Digest, Result<bool, Fault>),
    /// A task ended in what it was not meant to.
    Failed(Ticket, Setback),
    /// Somebody asked for our health.
    Inspected(Ticket),
    /// A check of our health ended, with what was wrong.
    Checked(Probe, Result<Finding, String>),
    /// Time since the start.
    Tick(Duration),
    /// The process was told to stop.
    Stopped,
}

/// Something to be carried out.
#[derive(Debug)]
pub enum Job {
    /// By the exchange's own thread.
    At(Ticket, Task),
    /// By the clerk, who alone reads and changes the catalog on disk, in order.
    Clerk(Ticket, Paperwork),
    /// By nobody's thread in particular.
    Errand(Errand),
}

/// What an exchange's thread carries out.
#[derive(Debug)]
pub enum Task {
    /// Send this answer.
    Respond(Response),
    /// Read a manifest's bytes: [`Event::Learned`].
    FetchManifest(Request, Repository, Digest),
    /// Read the manifest in the body: [`Event::ManifestRead`].
    ReadManifest(Repository, Reference, NewManifest),
    /// Begin an upload session and send this answer.
    Begin(Upload, Response),
    /// Read the body into an upload session: [`Event::Received`].
    Receive(Upload, Step),
    /// Say how long an upload is; its location is given.
    Measure(Upload, String),
    /// Drop an upload and send this answer.
    Cancel(Upload, Response),
    /// Send a blob, whose CID may be known: [`Event::Sent`] or [`Event::Missing`].
    Send(Repository, Digest, Wanted, Option<String>),
    /// Fetch a blob from the network and send it on: [`Event::Relayed`].
    Relay(Digest, Wanted, Voyage),
}

/// What the clerk carries out.
#[derive(Debug)]
pub enum Paperwork {
    /// Read what a request needs to be decided: [`Event::Learned`].
    Learn(Request, Question),
    /// Make a change durable, which is then answered so: [`Event::Written`].
    Change(Repository, Change, Response),
}

/// What is done beside all exchanges.
#[derive(Debug)]
pub enum Errand {
    /// Look whether something is well: [`Event::Checked`].
    Check(Probe),
    /// Look what has to travel: [`Event::Surveyed`].
    Survey,
    /// Bring a blob further on its way to the network: [`Event::Travelled`].
    Travel(Digest, Voyage),
    /// Drop the local copy of a blob if the network still keeps it: [`Event::Dropped`].
    Drop(Digest, Voyage),
    /// Drop upload sessions that nobody goes on with.
    Purge {
        /// Idle for longer than this.
        age: Duration,
        /// Only say which.
        dry_run: bool,
    },
}

/// What a check of our health looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The disk: can a file be written, synced and removed?
    Disk,
    /// The content network: does it answer?
    Network,
    /// A gateway, by its place in the list: does it answer?
    Gateway(usize),
    /// A file that must not exist.
    File(FileCheck),
    /// A URL that must answer with a certain status.
    Http(HttpCheck),
    /// An address that must take a connection.
    Tcp(TcpCheck),
}

/// What a check found where nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All is as it should be.
    Well,
    /// A gateway that only we can read; why, and what to do about it.
    NotForClients(String),
}

/// What the catalog on disk can be asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// What does a repository hold?
    Contents(Repository),
    /// Which repositories are there?
    Names,
    /// Who refers to whom among these manifests of a repository?
    Referrers(Repository, Vec<Digest>),
}

/// What the catalog on disk answered.
#[derive(Debug)]
pub enum Lesson {
    /// All that a repository holds.
    Contents(Repository, Contents),
    /// The repositories that hold a manifest.
    Names(BTreeSet<Repository>),
    /// The referrers of each subject in a repository.
    Referrers(Repository, HashMap<Digest, BTreeMap<Digest, Descriptor>>),
    /// A manifest of a repository; None if its bytes are gone.
    Manifest(Repository, Digest, Option<Stored>),
}

/// A manifest that a client sent.
#[derive(Debug)]
pub struct Draft {
    /// What the bytes hash to.
    pub digest: Digest,
    /// The bytes and what they are.
    pub stored: Stored,
    /// What they say.
    pub manifest: Manifest,
    /// What it is on the network, if there is one.
    pub voyage: Option<Voyage>,
}

/// An upload session in use.
#[derive(Debug)]
pub struct Upload {
    /// The repository it is for.
    pub repository: Repository,
    /// Its name.
    pub session: String,
    /// Whether it is still to be begun.
    pub is_new: bool,
    /// What was hashed so far, if that is known.
    pub hashed: Option<Box<Hashed>>,
}

/// The bytes of an upload that were hashed.
#[derive(Clone, Debug)]
pub struct Hashed {
    /// How many.
    pub size: u64,
    /// For their digest.
    pub hasher: Hasher,
    /// For their CID, where there is a network.
    pub unixfs: Option<Unixfs>,
}

impl Hashed {
    /// Nothing yet.
    pub fn new(algorithm: Algorithm, has_network: bool) -> Hashed {
        let unixfs = has_network.then(|| Unixfs::new(Import::ESTUARY));
        Hashed {
            size: 0,
            hasher: Hasher::new(algorithm),
            unixfs,
        }
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hasher.update(bytes);
        if let Some(unixfs) = &mut self.unixfs {
            unixfs.write(bytes);
        }
    }
}

/// What a body does to an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It grows, by a chunk that says where it belongs or by a stream.
    Append(Option<ChunkRange>),
    /// It grows and is then whole.
    Finish(Option<ChunkRange>, Digest),
}

/// Why something went no further.
#[derive(Debug)]
pub enum Setback {
    /// The client's fault.
    Refused(Refusal),
    /// Ours, or a neighbour's.
    Broke(Fault),
}

impl From<Refusal> for Setback {
    fn from(refusal: Refusal) -> Setback {
        Setback::Refused(refusal)
    }
}

impl From<Fault> for Setback {
    fn from(fault: Fault) -> Setback {
        Setback::Broke(fault)
    }
}

impl Setback {
    /// What the client is told; the log is told more.
    pub fn response(&self) -> Response {
        match self {
            Setback::Refused(refusal) => {
                let level = if refusal.is_routine() {
                    Level::Debug
                } else {
                    Level::Warn
                };
                log::log!(level, "{refusal}");
                Response::refusal(refusal)
            }
            Setback::Broke(fault @ Fault::Client(_)) => {
                log::info!("{fault}");
                Response::refusal(&Refusal::SizeInvalid(fault.summary().into()))
            }
            Setback::Broke(fault) => {
                log::error!("{fault}");
                Response::fault(fault.status(), fault.summary(), fault.retry_after())
            }
        }
    }
}
