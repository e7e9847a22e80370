//! A registry that serves: what wires listener, registry and store together.
//!
//! ```text
//! while let Some(exchange) = connection.next_exchange() {
//!     let answer = registry.answer(request, client, body);
//!     exchange.send(answer)
//! }
//! ```
//!
//! Each connection has a thread of its own with a small stack, and does all of this in it, in plain
//! blocking code: one slow client slows nobody else.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::background::{Background, Load};
use crate::config::{self, Config, Net};
use crate::disk::Root;
use crate::fault::Fault;
use crate::http::{Common, Connection, Exchange, Listener, Tally};
use crate::ipfs::Ipfs;
use crate::oci::{Refusal, Request, Response};
use crate::registry::{Answer, Client, Registry};
use crate::store::import::{self, Progress};
use crate::store::{Store, filesystem};

/// How long the last answers of a stopping server may take.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(2);
/// Seconds after which a client of a stopping server should come back.
const RETRY_SECS: u32 = 2;

/// A registry that listens and is ready to run.
pub struct Server {
    config: Arc<Config>,
    root: Root,
    temporary: Option<PathBuf>,
    store: Arc<Store>,
    listener: Listener,
    debug: Option<Listener>,
    stop: Stop,
    stopped: Receiver<()>,
}

/// What stops a running server.
#[derive(Clone)]
pub struct Stop(SyncSender<()>);

impl Stop {
    /// Lets transfers that are under way end, within `http.draintimeout`, and ends the server.
    pub fn stop(&self) {
        // A server that is gone, or was told already, has stopped.
        let _ = self.0.try_send(());
    }
}

impl Server {
    /// Opens the root directory and listens, but answers nobody yet.
    pub fn open(config: Config) -> Result<Server, Fault> {
        let mut config = config;
        let (path, mut temporary) = root_directory(&config.storage.store);
        if !config.storage.read_only && path.is_dir() && filesystem::is_read_only(&path)? {
            log::info!(
                "{} can't be written: pulls alone are served",
                path.display()
            );
            config.storage.read_only = true;
        }
        let root = match config.storage.read_only {
            true => Root::open(&path)?,
            false => Root::claim(&path, config.http.drain_timeout)?,
        };
        let store = Arc::new(open_store(&root, &config.storage, &mut temporary)?);
        let cannot = |address: &str| {
            let address = address.to_owned();
            move |err| Fault::disk("listen on", address, err)
        };
        let listener = match config.http.net {
            Net::Tcp => Listener::tcp(&config.http.addr),
            Net::Unix => Listener::unix(Path::new(&config.http.addr)),
        };
        let listener = listener.map_err(cannot(&config.http.addr))?;
        let debug = config.http.debug_addr.as_deref();
        let debug = debug
            .map(|address| Listener::tcp(address).map_err(cannot(address)))
            .transpose()?;
        let (stop, stopped) = sync_channel(1);
        Ok(Server {
            config: Arc::new(config),
            root,
            temporary,
            store,
            listener,
            debug,
            stop: Stop(stop),
            stopped,
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
        self.stop.clone()
    }

    /// Answers clients until it is stopped. A fault is one that keeps it from starting.
    pub fn run(self) -> Result<(), Fault> {
        let tally = Arc::new(Tally::default());
        let requests = Arc::new(Requests::default());
        let background = Arc::new(Background::start(
            Arc::clone(&self.store),
            &self.config,
            Arc::new(Ipfs::new(&self.config.storage)?),
            requests.load.clone(),
        )?);
        let import = Import::start(&self, &requests, &background)?;
        let door = Door {
            registry: Registry::new(
                Arc::clone(&self.config),
                Arc::clone(&self.store),
                Arc::clone(&background),
            ),
            prefix: self.config.http.prefix.clone(),
            requests: Arc::clone(&requests),
        };
        let common = Common {
            headers: self.config.http.headers.clone(),
            tally: Arc::clone(&tally),
            ..Common::default()
        };
        listen(self.listener, common, move |connection| {
            door.serve(connection)
        })?;
        if let Some(debug) = self.debug {
            let metrics = self.config.http.prometheus_path.clone();
            let background = Arc::clone(&background);
            listen(debug, Common::default(), move |connection| {
                serve_debug(connection, metrics.as_deref(), &tally, &background);
            })?;
        }
        // The sender is in `self`.
        let _ = self.stopped.recv();
        requests.drain(self.config.http.drain_timeout);
        background.stop();
        import.end()?;
        self.store.close();
        if let Some(path) = self.temporary {
            let _ = std::fs::remove_dir_all(path);
        }
        Ok(())
    }
}

/// What every connection's thread works with.
struct Door {
    registry: Registry,
    prefix: String,
    requests: Arc<Requests>,
}

impl Door {
    fn serve(&self, mut connection: Connection) {
        while let Some(mut exchange) = connection.next_exchange() {
            let counted = self.requests.begin();
            if let Some(refusal) = counted.refused() {
                send(
                    &mut exchange,
                    Answer::Whole(Response::refusal(&refusal).closing()),
                );
            } else {
                let answered = catch_unwind(AssertUnwindSafe(|| self.answer(&mut exchange)));
                if answered.is_err() && !exchange.is_answered() {
                    // The panic said on standard error where.
                    log::error!("{} {}: a panic", exchange.method(), exchange.target());
                    let fault = Fault::panicked("a request");
                    let response = Response::fault(fault.status(), fault.summary(), None);
                    send(&mut exchange, Answer::Whole(response.closing()));
                }
            }
            let goes_on = exchange.end();
            drop(counted);
            if !goes_on {
                break;
            }
        }
    }

    fn answer(&self, exchange: &mut Exchange) {
        let header = |name| exchange.header(name);
        let request = Request::parse(exchange.method(), exchange.target(), &self.prefix, header);
        let client = Client {
            address: exchange.peer().to_owned(),
        };
        let receiving = (exchange.length() != Some(0)).then(|| self.requests.load.begin());
        let answer = self.registry.answer(request, &client, &mut exchange.body());
        drop(receiving);
        let is_long = !matches!(answer, Answer::Whole(_));
        let _sending = is_long.then(|| self.requests.load.begin());
        send(exchange, answer);
    }
}

/// Sends an answer. If the client is gone there is nobody left to tell.
fn send(exchange: &mut Exchange, answer: Answer) {
    let sent = match answer {
        Answer::Whole(response) => exchange.respond(&response),
        Answer::File {
            head,
            file,
            offset,
            length,
        } => exchange.send(&head, &file, offset, length),
        Answer::Stream {
            head,
            mut body,
            length,
        } => exchange.stream(&head, &mut *body, length),
    };
    if let Err(err) = sent {
        log::info!(remote = exchange.peer(); "the answer did not get through: {err}");
    }
}

/// The requests under way, and whether any are taken.
#[derive(Default)]
struct Requests {
    /// Whether the catalog is not whole yet.
    is_importing: AtomicBool,
    is_stopping: AtomicBool,
    count: Mutex<usize>,
    ended: Condvar,
    /// What background work stands back behind.
    load: Load,
}

impl Requests {
    fn begin(&self) -> Counted<'_> {
        *self.lock() += 1;
        Counted(self)
    }

    /// Refuses new requests, and waits for those that are under way.
    fn drain(&self, time_max: Duration) {
        self.is_stopping.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + time_max.max(LAST_ANSWERS_MAX);
        let mut count = self.lock();
        while *count > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.ended.wait_timeout(count, left);
            count = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        // Nothing panics while it counts.
        self.count
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A request under way, until this is dropped.
struct Counted<'r>(&'r Requests);

impl Counted<'_> {
    /// Why it is not answered now, if it is not.
    fn refused(&self) -> Option<Refusal> {
        let cause = if self.0.is_stopping.load(Ordering::SeqCst) {
            "the registry is stopping"
        } else if self.0.is_importing.load(Ordering::SeqCst) {
            "the registry reads what another program left in its directory"
        } else {
            return None;
        };
        Some(Refusal::Unavailable(cause, RETRY_SECS))
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.ended.notify_all();
    }
}

/// The import of a tree that another program left in the root directory, in a thread of its own.
/// Nobody is answered before it is whole.
struct Import {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<Result<(), Fault>>>,
}

impl Import {
    fn start(
        server: &Server,
        requests: &Arc<Requests>,
        background: &Arc<Background>,
    ) -> Result<Import, Fault> {
        let progress = Arc::new(Progress::default());
        let (store, root) = (Arc::clone(&server.store), server.root.clone());
        let config = Arc::clone(&server.config);
        if !import::is_needed(&root) {
            if !config.storage.read_only {
                // Nothing is read, and distribution's garbage collector is kept away.
                import::run(&store, &root, &import::Options::default(), &progress)?;
            }
            background.start_pinning()?;
            return Ok(Import {
                progress,
                thread: None,
            });
        }
        requests.is_importing.store(true, Ordering::SeqCst);
        let requests = Arc::clone(requests);
        let (told, stop) = (Arc::clone(&progress), server.stop());
        let background = Arc::clone(background);
        let run = move || {
            let options = import::Options {
                network: config.storage.store.network_name(),
                is_readonly: config.storage.read_only,
            };
            let imported = import::run(&store, &root, &options, &told);
            let started = imported.and_then(|summary| match summary {
                Some(_) => background.start_pinning().map(|()| true),
                None => Ok(false),
            });
            match &started {
                Ok(true) => requests.is_importing.store(false, Ordering::SeqCst),
                Ok(false) => {}
                Err(_) => stop.stop(),
            }
            started.map(drop)
        };
        let thread = thread::Builder::new().name("import".into()).spawn(run);
        let thread = Some(thread.map_err(no_thread)?);
        Ok(Import { progress, thread })
    }

    /// Waits for the end of an import, which is asked for; the next start goes on.
    fn end(self) -> Result<(), Fault> {
        self.progress.stop();
        let Some(thread) = self.thread else {
            return Ok(());
        };
        let panicked = |_| Err(Fault::panicked("the import"));
        thread.join().unwrap_or_else(panicked)
    }
}

/// Opens the store of a root directory. Of one that is only served, a tree that another program
/// left there is read into a catalog of this process alone, in a folder that goes with it.
fn open_store(
    root: &Root,
    storage: &config::Storage,
    temporary: &mut Option<PathBuf>,
) -> Result<Store, Fault> {
    let catalog = storage.catalog.as_deref();
    if !storage.read_only {
        return Store::open(root, catalog);
    }
    if !import::is_needed(root) {
        return Store::open_read_only(root, catalog);
    }
    log::info!("what another program left here is read into a temporary catalog");
    let folder = temporary_folder();
    *temporary = Some(folder.clone());
    Store::open(root, Some(&folder.join("catalog.sqlite")))
}

/// Answers on `http.debug.addr`: health, and metrics where they are configured.
fn serve_debug(
    mut connection: Connection,
    metrics: Option<&str>,
    tally: &Tally,
    background: &Background,
) {
    while let Some(mut exchange) = connection.next_exchange() {
        let path = exchange.target().split('?').next().unwrap_or_default();
        let response = if path == "/debug/health" {
            let causes = background.health().causes();
            let status = if causes.is_empty() { 200 } else { 503 };
            Response::json(status, &serde_json::json!(causes))
        } else if metrics == Some(path) {
            Response::metrics(tally.print())
        } else {
            Response::refusal(&Refusal::NotFound)
        };
        send(&mut exchange, Answer::Whole(response));
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
    let started = thread::Builder::new().name("accept".into()).spawn(accept);
    started.map(drop).map_err(no_thread)
}

fn no_thread(err: io::Error) -> Fault {
    Fault::panicked(format!("no thread can be started: {err}"))
}

/// Where a store is on this machine's disk; the second path is to be removed at the end.
fn root_directory(store: &config::Store) -> (PathBuf, Option<PathBuf>) {
    if let Some(path) = store.rootdirectory() {
        return (path.to_owned(), None);
    }
    let path = temporary_folder();
    (path.clone(), Some(path))
}

/// A folder in memory, if there is a place for such.
fn temporary_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let place = match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    };
    place.join(format!("lighthouse-{}", uuid::Uuid::new_v4()))
}
