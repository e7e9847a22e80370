//! Lighthouse, a Docker registry whose images travel to IPFS and Filecoin.
//!
//! **Events come in, one thread decides, jobs go out.** The loop of [`Server::run`] is the whole
//! program:
//!
//! ```text
//! for event in inbox {
//!     for job in registry.decide(event) {
//!         start(job)
//!     }
//! }
//! ```
//!
//! One thread owns all state and takes every decision, in plain blocking Rust without locks
//! around state. Other threads only carry bytes, in straight-line code, and report one event each.
//!
//! # The map
//!
//! Imports point down; rooms on floor 1 do not know each other.
//!
//! | Floor | Room | What it does |
//! |---|---|---|
//! | 3 | `main` | the command line |
//! | 3 | this file | wires listener, inbox, registry and pump, and runs the loop |
//! | 2 | [`registry`] | decides |
//! | 2 | [`pump`] | carries |
//! | 2 | [`migrate`] | the other program of the house: copies images from another registry |
//! | 2 | [`status`] | tells how far images have come |
//! | 2 | [`export`] | writes the catalog to the network, and restores it from there |
//! | 1 | [`http`] | the clients: accepts, vets heads, reads bodies, writes answers |
//! | 1 | [`catalog`] | what is known: repositories, tags, manifests, referrers, CIDs |
//! | 1 | [`spool`], [`blobs`] | bytes on their way, bytes at rest |
//! | 1 | [`estuary`], [`kubo`], [`gateway`] | the outer world |
//! | 0 | [`oci`], [`cid`] | the specs' words as types |
//! | 0 | [`config`], [`fault`], [`logbook`] | settings, what can break, the log |
//! | 0 | [`disk`], [`outward`] | durable files, lines to neighbours |
//! | 0 | [`nearest`] | what a misspelt name may have meant |
#![forbid(unsafe_code)]

pub mod blobs;
pub mod catalog;
pub mod cid;
pub mod config;
pub mod disk;
pub mod estuary;
pub mod export;
pub mod fault;
pub mod gateway;
pub mod http;
pub mod kubo;
pub mod logbook;
pub mod migrate;
pub mod nearest;
pub mod oci;
pub mod outward;
pub mod pump;
pub mod registry;
pub mod spool;
pub mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use config::{Config, Net, Store};
use disk::Root;
use fault::Fault;
use http::{Common, Connection, Exchange, Listener, Tally};
use oci::{Refusal, Request, Response};
use pump::{Clerk, Network, Pump};
use registry::{Event, Job, Registry, Ticket};

/// Events that wait to be decided; whoever brings more waits as well.
const INBOX_MAX: usize = 1024;
/// How often time passes.
const TICK: Duration = Duration::from_secs(1);
/// How long the last answers of a stopping server may take.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// A registry that listens and is ready to run.
pub struct Server {
    config: Config,
    root: Root,
    temporary: Option<PathBuf>,
    listener: Listener,
    debug: Option<Listener>,
    inbox: Receiver<Event>,
    to_inbox: SyncSender<Event>,
}

/// What stops a running server.
#[derive(Clone)]
pub struct Stop(SyncSender<Event>);

impl Stop {
    /// Lets transfers that are under way end, within `http.draintimeout`, and ends the server.
    pub fn stop(&self) {
        // A server that is gone has stopped.
        let _ = self.0.send(Event::Stopped);
    }
}

impl Server {
    /// Opens the root directory and listens, but answers nobody yet.
    pub fn open(config: Config) -> Result<Server, Fault> {
        let (path, temporary) = root_directory(&config.storage.store);
        let root = match config.storage.read_only {
            true => Root::open(&path)?,
            false => Root::claim(&path)?,
        };
        let listener = match config.http.net {
            Net::Tcp => Listener::tcp(&config.http.addr),
            Net::Unix => Listener::unix(Path::new(&config.http.addr)),
        };
        let cannot = |address: &str| {
            let address = address.to_owned();
            move |err| Fault::disk("listen on", address, err)
        };
        let listener = listener.map_err(cannot(&config.http.addr))?;
        let debug = config.http.debug_addr.as_deref();
        let debug = debug
            .map(|address| Listener::tcp(address).map_err(cannot(address)))
            .transpose()?;
        let (to_inbox, inbox) = sync_channel(INBOX_MAX);
        Ok(Server {
            config,
            root,
            temporary,
            listener,
            debug,
            inbox,
            to_inbox,
        })
    }

    /// Where clients reach it: `[::]:5005`, or the path of a socket.
    pub fn address(&self) -> &str {
        self.listener.address()
    }

    /// Where it keeps everything.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// What stops it, from any thread.
    pub fn stop(&self) -> Stop {
        Stop(self.to_inbox.clone())
    }

    /// Answers clients until it is stopped. A fault is one that keeps it from starting.
    pub fn run(self) -> Result<(), Fault> {
        let network = Network::new(&self.config.storage)?;
        let gateways = pump::network::gateways(&self.config.storage);
        let pump = Pump::new(&self.root, network);
        let at_work = Arc::new(());
        let tally = Arc::new(Tally::default());
        let to_inbox = self.to_inbox.clone();
        let report = move |event| drop(to_inbox.send(event));
        let clerk = Clerk::start(pump.clone(), report).map_err(no_thread)?;
        let common = || Common {
            headers: self.config.http.headers.clone(),
            tally: Arc::clone(&tally),
            ..Common::default()
        };
        let desk = Desk {
            to_inbox: self.to_inbox.clone(),
            pump: pump.clone(),
            prefix: self.config.http.prefix.clone(),
            at_work: Arc::clone(&at_work),
        };
        // Whoever is answered is at work; the desk itself keeps one count as well.
        let nobody = Arc::strong_count(&at_work);
        listen(self.listener, common(), move |connection| {
            desk.attend(connection)
        })?;
        if let Some(debug) = self.debug {
            let (to_inbox, pump) = (self.to_inbox.clone(), pump.clone());
            let metrics = self.config.http.prometheus_path.clone();
            let counts = Arc::clone(&tally);
            listen(debug, Common::default(), move |connection| {
                attend_debug(connection, &to_inbox, &pump, metrics.as_deref(), &counts);
            })?;
        }
        let mut registry = Registry::new(self.config, gateways);
        let start = |job| start(job, &clerk, &pump, &self.to_inbox);
        let started = Instant::now();
        let mut ticks = 0;
        while !registry.is_done() {
            let due = TICK * ticks;
            let event = match self
                .inbox
                .recv_timeout(due.saturating_sub(started.elapsed()))
            {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => {
                    ticks += 1;
                    Event::Tick(started.elapsed())
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            registry.decide(event).into_iter().for_each(start);
        }
        let is_quiet = || Arc::strong_count(&at_work) == nobody;
        say_farewell(clerk, &mut registry, &self.inbox, is_quiet);
        let closed = self.root.close();
        if let Some(path) = self.temporary {
            let _ = std::fs::remove_dir_all(path);
        }
        closed
    }
}

/// What the clerk has in hand is finished and answered, and nothing new is begun.
fn say_farewell(
    clerk: Clerk,
    registry: &mut Registry,
    inbox: &Receiver<Event>,
    is_quiet: impl Fn() -> bool,
) {
    let farewell = Instant::now();
    let mut clerk = clerk;
    while farewell.elapsed() < FAREWELL_MAX {
        // The clerk's last reports come before its end.
        let is_over = clerk.is_idle() && is_quiet();
        let Ok(event) = inbox.recv_timeout(Duration::from_millis(5)) else {
            match is_over {
                true => break,
                false => continue,
            }
        };
        for job in registry.decide(event) {
            if let Job::At(ticket, task) = job {
                ticket.hand(task);
            }
        }
    }
}

/// Has a job carried out by whoever carries such jobs.
fn start(job: Job, clerk: &Clerk, pump: &Pump, to_inbox: &SyncSender<Event>) {
    match job {
        Job::At(ticket, task) => ticket.hand(task),
        Job::Clerk(ticket, paperwork) => clerk.hand(ticket, paperwork),
        Job::Errand(errand) => {
            let (pump, to_inbox) = (pump.clone(), to_inbox.clone());
            let run = move || {
                pump.run(errand)
                    .into_iter()
                    .for_each(|event| drop(to_inbox.send(event)))
            };
            if let Err(err) = thread::Builder::new().name("errand".into()).spawn(run) {
                log::error!("no thread for an errand: {err}");
            }
        }
    }
}

/// What every connection's thread works with.
struct Desk {
    to_inbox: SyncSender<Event>,
    pump: Pump,
    prefix: String,
    at_work: Arc<()>,
}

impl Desk {
    /// Asks the registry about each request of a connection, and carries out what it says.
    fn attend(&self, mut connection: Connection) {
        while let Some(mut exchange) = connection.next_exchange() {
            let at_work = Arc::clone(&self.at_work);
            let request = {
                let header = |name| exchange.header(name);
                Request::parse(exchange.method(), exchange.target(), &self.prefix, header)
            };
            let asked = |ticket| Event::Asked(ticket, request);
            put(&mut exchange, &self.to_inbox, &self.pump, asked);
            let go_on = exchange.end();
            drop(at_work);
            if !go_on {
                break;
            }
        }
    }
}

/// Puts an exchange before the registry and carries out its tasks until it is answered, or can't
/// be.
fn put(
    exchange: &mut Exchange,
    to_inbox: &SyncSender<Event>,
    pump: &Pump,
    event: impl FnOnce(Ticket) -> Event,
) {
    let (desk, tasks) = sync_channel(1);
    let ticket = Ticket::new(pump::peer_of(exchange), exchange.length(), desk);
    let mut report = to_inbox.send(event(ticket));
    while report.is_ok() && !exchange.is_answered() {
        let Ok((ticket, task)) = tasks.recv() else {
            break;
        };
        if let Some(event) = pump.carry(ticket, task, exchange) {
            report = to_inbox.send(event);
        }
    }
}

/// Answers on `http.debug.addr`: health, and metrics where they are configured.
fn attend_debug(
    mut connection: Connection,
    to_inbox: &SyncSender<Event>,
    pump: &Pump,
    metrics: Option<&str>,
    tally: &Tally,
) {
    while let Some(mut exchange) = connection.next_exchange() {
        let path = exchange.target().split('?').next().unwrap_or_default();
        if path == "/debug/health" {
            put(&mut exchange, to_inbox, pump, Event::Inspected);
        } else {
            let response = match metrics == Some(path) {
                true => Response::metrics(tally.print()),
                false => Response::refusal(&Refusal::NotFound),
            };
            // If it does not get through, the exchange knows.
            let _ = exchange.respond(&response);
        }
        if !exchange.end() {
            break;
        }
    }
}

fn listen(
    listener: Listener,
    common: Common,
    serve: impl Fn(Connection) + Send + Sync + 'static,
) -> Result<(), Fault> {
    let accept = move || listener.run(common, serve);
    thread::Builder::new()
        .name("accept".into())
        .spawn(accept)
        .map_err(no_thread)?;
    Ok(())
}

fn no_thread(err: std::io::Error) -> Fault {
    Fault::panicked(format!("no thread can be started: {err}"))
}

/// Where a store is on this machine's disk; the second path is to be removed at the end.
fn root_directory(store: &Store) -> (PathBuf, Option<PathBuf>) {
    if let Some(path) = store.rootdirectory() {
        return (path.to_owned(), None);
    }
    let memory = Path::new("/dev/shm");
    let place = match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    };
    let path = place.join(format!("lighthouse-{}", uuid::Uuid::new_v4()));
    (path.clone(), Some(path))
}
